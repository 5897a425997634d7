package libvirt

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	rpc "github.com/digitalocean/go-libvirt"
)

// advised returns an error of connecting with what to do about it, as far as that is known.
func advised(err error) error {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var said rpc.Error
	var advice string
	switch {
	case errors.Is(err, fs.ErrPermission):
		advice = "the user of Weir may not open the socket: name the read-only one, /run/libvirt/libvirt-sock-ro, or add the user to the socket's group, libvirt on most systems"
	case errors.Is(err, fs.ErrNotExist):
		advice = "is libvirtd, or virtqemud, running? Its sockets are in /run/libvirt, and ?socket=PATH of the uri names another one"
	case errors.Is(err, syscall.ECONNREFUSED):
		advice = "does libvirt listen there? With TLS by systemctl enable --now libvirtd-tls.socket, or virtproxyd-tls.socket"
	case errors.As(err, &authority):
		advice = "name the authority that signed the host's certificate, as /etc/pki/CA/cacert.pem there, in ca_file"
	case errors.As(err, &name):
		advice = "use a name in the uri that the host's certificate is for, or sign one for this name"
	case errors.As(err, &invalid):
		advice = "the host needs another certificate, or one of the clocks is wrong"
	case errors.As(err, &said) && (said.Code == uint32(rpc.ErrAuthUnavailable) || said.Code == uint32(rpc.ErrAuthFailed) || said.Code == uint32(rpc.ErrAuthCancelled)):
		advice = "the socket asks who is there: name the read-only one, /run/libvirt/libvirt-sock-ro, which does not"
	case errors.As(err, &said):
		advice = "libvirt is there and refuses the uri: virsh -c URI list, on the host, must work with it"
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, advice)
}
