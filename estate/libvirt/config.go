package libvirt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/strictyaml"
)

// Config is an element of estate.libvirt in the configuration file: one host.
type Config struct {
	Name     string        `yaml:"name" doc:"What Weir calls the host as a source, in messages, metrics and listings."`
	URI      string        `yaml:"uri" doc:"As virsh takes it: qemu:///system on this machine, qemu+unix:///system?socket=/run/libvirt/libvirt-sock-ro, or qemu+tls://kvm1.example/system."`
	Host     string        `yaml:"host" doc:"Name of the host in the estate, as in weir hosts add; empty is what libvirt calls it."`
	Pool     string        `yaml:"pool" doc:"Pool that the host is in."`
	CAFile   string        `yaml:"ca_file" doc:"With tls: file with certificates (PEM) of the authority that signed the host's; empty: those that the machine trusts."`
	CertFile string        `yaml:"cert_file" doc:"With tls: certificate that Weir presents (PEM)."`
	KeyFile  string        `yaml:"key_file" doc:"With tls: its key (PEM), readable by Weir alone."`
	Timeout  time.Duration `yaml:"timeout" doc:"Longest wait for a connection, and for an answer."`
	Resync   time.Duration `yaml:"resync" doc:"All domains are read again so often, whatever libvirt told; addresses of guests come no other way."`
}

// SetDefaults makes c the libvirt of this machine.
func (c *Config) SetDefaults() {
	*c = Config{URI: "qemu:///system", Timeout: 10 * time.Second, Resync: time.Minute}
}

// Validate reports everything that is wrong with c, each with its key.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	if c.Name == "" || strings.ContainsAny(c.Name, ":/ \t\n") {
		refuse("name", "found %q, want a name without spaces, colons and slashes", c.Name)
	}
	if _, err := parseURI(c.URI); err != nil {
		errs = append(errs, strictyaml.At("uri", err))
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		refuse("cert_file", "found one of cert_file and key_file, want both or none")
	}
	if c.Timeout < 100*time.Millisecond || c.Timeout > 5*time.Minute {
		refuse("timeout", "found %s, want 100ms to 5m", c.Timeout)
	}
	if c.Resync < time.Second {
		refuse("resync", "found %s, want at least 1s", c.Resync)
	}
	return errors.Join(errs...)
}

// Sockets of libvirtd, and its port for TLS (https://libvirt.org/uri.html).
const (
	defaultSocket = "/run/libvirt/libvirt-sock-ro"
	defaultPort   = "16514"
)

// target is where a URI leads.
type target struct {
	network, address string // unix or tcp
	tls              bool
	name             string // that the certificate must be for
	driver           string // URI that libvirtd is asked for: qemu:///system
}

// parseURI reads the forms of libvirt's URIs that lead somewhere without a helper program.
func parseURI(text string) (*target, error) {
	wrong := fmt.Errorf("found %q, want a URI as qemu:///system or qemu+tls://kvm1.example/system", text)
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Opaque != "" {
		return nil, wrong
	}
	driver, transport, _ := strings.Cut(u.Scheme, "+")
	t := &target{driver: (&url.URL{Scheme: driver, Path: u.Path}).String(), network: "unix", address: defaultSocket}
	t.driver = driver + "://" + u.Path
	if transport == "" && u.Host != "" {
		transport = "tls"
	}
	switch transport {
	case "", "unix":
		if u.Host != "" {
			return nil, wrong
		}
		if s := u.Query().Get("socket"); s != "" {
			t.address = s
		}
	case "tls":
		if u.Hostname() == "" {
			return nil, wrong
		}
		port := u.Port()
		if port == "" {
			port = defaultPort
		}
		t.network, t.address, t.tls, t.name = "tcp", net.JoinHostPort(u.Hostname(), port), true, u.Hostname()
	default:
		return nil, fmt.Errorf("found transport %q in %q, want unix or tls: forward the socket of the host for others, as ssh -L does", transport, text)
	}
	if driver == "" || u.Path == "" {
		return nil, wrong
	}
	return t, nil
}

// Check looks whether the files that c names are there and hold what they should.
func (c *Config) Check() error {
	var open error
	if c.KeyFile != "" {
		if info, err := os.Stat(c.KeyFile); err == nil && info.Mode().Perm()&0o007 != 0 {
			open = fmt.Errorf("read key_file %q: everybody on this machine can read it too (mode %o): chmod 600", c.KeyFile, info.Mode().Perm())
		}
	}
	_, err := c.secure("")
	return errors.Join(err, open)
}

// secure returns how Weir and a host of that name believe each other, by the files that c names.
func (c *Config) secure(name string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name}
	var errs []error
	if c.CAFile != "" {
		conf.RootCAs = x509.NewCertPool()
		switch b, err := os.ReadFile(c.CAFile); {
		case err != nil:
			errs = append(errs, fmt.Errorf("read ca_file: %w", err))
		case !conf.RootCAs.AppendCertsFromPEM(b):
			errs = append(errs, fmt.Errorf("read ca_file %q: it holds no certificate in PEM form", c.CAFile))
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			errs = append(errs, fmt.Errorf("read cert_file and key_file: %w", err))
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, errors.Join(errs...)
}

// dial connects, and with TLS waits until the host accepts what Weir presents.
func (c *Config) dial(ctx context.Context, t *target) (net.Conn, error) {
	d := net.Dialer{Timeout: c.Timeout}
	if !t.tls {
		return d.DialContext(ctx, t.network, t.address)
	}
	conf, err := c.secure(t.name)
	if err != nil {
		return nil, err
	}
	conn, err := (&tls.Dialer{NetDialer: &d, Config: conf}).DialContext(ctx, t.network, t.address)
	if err != nil {
		return nil, err
	}
	// libvirtd says by one byte whether it takes the certificate of a client (virNetTLSSessionHandshake, daemon's verification).
	verdict := make([]byte, 1)
	_ = conn.SetReadDeadline(time.Now().Add(c.Timeout))
	_, err = io.ReadFull(conn, verdict)
	if err == nil && verdict[0] != 1 {
		err = fmt.Errorf("found %d, want 1", verdict[0])
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the host does not take the certificate that Weir presents: sign one by its authority, and name it in cert_file and key_file: %w", err), conn.Close())
	}
	return conn, conn.SetReadDeadline(time.Time{})
}
