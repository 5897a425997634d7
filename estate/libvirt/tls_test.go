package libvirt_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/estate/libvirt"
	"github.com/weirhq/weir/lab/libvirtd"
	"github.com/weirhq/weir/pki"
)

// keysOf returns files with the keys of a host that an authority signs.
func keysOf(t *testing.T, a *pki.Authority, name string) libvirtd.TLS {
	t.Helper()
	dir := t.TempDir()
	pair, err := a.Issue(pki.Request{Name: name, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.WriteHost(dir, pair); err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	return libvirtd.TLS{Certificate: file(name + "-cert.pem"), Key: file(name + "-privkey.pem"), CA: file("weir-ca.pem")}
}

// With TLS both sides know each other, and who is not known is told what to do. The other side is a real libvirtd.
func TestTLS(t *testing.T) {
	authority, err := pki.Init(filepath.Join(t.TempDir(), "ca"), pki.RSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, err := pki.Init(filepath.Join(t.TempDir(), "ca"), pki.RSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	host, weir, stranger := keysOf(t, authority, "kvm1"), keysOf(t, authority, "weir-1"), keysOf(t, other, "weir-1")
	d := libvirtd.StartTLS(t, host)
	_, port, _ := net.SplitHostPort(d.Addr)
	run := func(change func(*libvirt.Config)) *libvirt.Host {
		t.Helper()
		var cfg libvirt.Config
		cfg.SetDefaults()
		cfg.Name, cfg.URI = "kvm1", "test+tls://"+d.Addr+"/default"
		cfg.CAFile, cfg.CertFile, cfg.KeyFile = host.CA, weir.Certificate, weir.Key
		change(&cfg)
		s := &sink{}
		h, err := libvirt.New(cfg, libvirt.Deps{Log: slog.New(slog.DiscardHandler), Estate: s, Events: s})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { _ = h.Run(ctx); close(done) }()
		t.Cleanup(func() { cancel(); <-done })
		return h
	}
	right := run(func(*libvirt.Config) {})
	until(t, "it is read with TLS", func() bool { st := right.Status(); return st.State == libvirt.StateConnected && st.Domains == 1 })
	for name, c := range map[string]struct {
		change func(*libvirt.Config)
		want   string
	}{
		"another authority": {func(cfg *libvirt.Config) { cfg.CAFile = stranger.CA }, "name the authority that signed the host's certificate"},
		"no authority":      {func(cfg *libvirt.Config) { cfg.CAFile = "" }, "in ca_file"},
		"another name":      {func(cfg *libvirt.Config) { cfg.URI = "test+tls://localhost:" + port + "/default" }, "use a name in the uri"},
		"a certificate of another authority": {
			func(cfg *libvirt.Config) { cfg.CertFile, cfg.KeyFile = stranger.Certificate, stranger.Key },
			"the host does not take the certificate that Weir presents: sign one by its authority",
		},
		"no certificate":        {func(cfg *libvirt.Config) { cfg.CertFile, cfg.KeyFile = "", "" }, "the host does not take the certificate that Weir presents"},
		"no file":               {func(cfg *libvirt.Config) { cfg.CAFile = "/nowhere.pem" }, "read ca_file: open /nowhere.pem"},
		"another driver":        {func(cfg *libvirt.Config) { cfg.URI = "qemu+tls://" + d.Addr + "/system" }, "virsh -c URI list"},
		"a file without a cert": {func(cfg *libvirt.Config) { cfg.CAFile = host.Key }, "it holds no certificate in PEM form"},
	} {
		h := run(c.change)
		until(t, name+": "+c.want, func() bool { return strings.Contains(h.Status().Error, c.want) })
	}
}

// Who may not open a socket is told which one he may. (Tests run as root, who may open all.)
func TestForbiddenSocket(t *testing.T) {
	err := libvirt.Advised(&net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)})
	if !strings.Contains(err.Error(), "/run/libvirt/libvirt-sock-ro") {
		t.Errorf("got %v", err)
	}
	if err := errors.New("x"); libvirt.Advised(err) != err { //nolint:errorlint // it is the very same
		t.Errorf("got %v, want it as it was", libvirt.Advised(err))
	}
}
