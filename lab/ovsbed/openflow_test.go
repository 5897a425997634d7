package ovsbed_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
)

// hello is the type of the message with which either end of an OpenFlow connection begins, after the version.
const hello = 0

// dialled awaits a switch that dials in, and returns its address.
func dialled(t *testing.T, l net.Listener) netip.Addr {
	t.Helper()
	if d, is := l.(interface{ SetDeadline(time.Time) error }); is {
		if err := d.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatalf("no switch dials: %v", err)
	}
	defer conn.Close()
	header := make([]byte, 8)
	if err := errors.Join(conn.SetDeadline(time.Now().Add(patience)), func() error { _, err := io.ReadFull(conn, header); return err }()); err != nil {
		t.Fatal(err)
	}
	if header[1] != hello {
		t.Errorf("the switch begins with a message of type %d, want %d", header[1], hello)
	}
	return conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
}

// Bridges dial controllers, with and without TLS, of a simulated datapath and of a real one.
func TestBridgesDialControllers(t *testing.T) {
	bed := ovsbedtest.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	farm, err := bed.Farm(ctx, 2, 3)
	must(err)
	h, err := bed.Host(ctx, "hv1")
	must(err)
	must(h.AddBridge(ctx, "br0"))

	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "0.0.0.0:0") // hosts have different ways here
	must(err)
	defer l.Close()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	must(errors.Join(farm.Secure(ctx), h.Secure(ctx, "br0")))
	for _, x := range append(farm.Hosts, h) {
		must(x.SetForeign(ctx, "br0"))
		before, err := x.OpenFlow(ctx, "br0")
		must(err)
		if n := strings.Count(before, "\n") + 1; n != 40 || strings.Count(before, "group ") != 2 || strings.Count(before, "meter ") != 1 {
			t.Errorf("%d flows, groups and meters, want 40:\n%s", n, before)
		}
		must(x.SetControllers(ctx, "br0", ovsbed.Controller{Target: "tcp:" + netip.AddrPortFrom(x.Root, port).String(), Service: true}))
		if from := dialled(t, l); from != x.Exporter {
			t.Errorf("%s dials from %v, want %v", x.Name, from, x.Exporter)
		}
		must(x.SetControllers(ctx, "br0"))
		after, err := x.OpenFlow(ctx, "br0")
		must(err)
		if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(after, "\n")); diff != "" {
			t.Errorf("%s (-before +after):\n%s", x.Name, diff)
		}
	}
	if out, err := farm.Hosts[0].AppCtl(ctx, "ofproto/trace", "br0", "in_port=1,udp,udp_dst=40000"); err != nil || !strings.Contains(out, "Datapath actions:") {
		t.Errorf("trace: %q, %v", out, err)
	}

	dir := t.TempDir()
	key, certificate := filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	if out, err := exec.CommandContext(ctx, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-keyout", key, "-out", certificate, "-subj", "/CN=weir").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	own, err := tls.LoadX509KeyPair(certificate, key)
	must(err)
	secure := tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAnyClientCert})
	for _, x := range []*ovsbed.Host{farm.Hosts[0], h} {
		must(x.SetTLS(ctx, ovsbed.TLS{Key: key, Certificate: certificate, CA: certificate}))
		must(x.SetControllers(ctx, "br0", ovsbed.Controller{Target: fmt.Sprintf("ssl:%v", netip.AddrPortFrom(x.Root, port)), Service: true}))
		if from := dialled(t, secure); from != x.Exporter {
			t.Errorf("%s dials with TLS from %v, want %v", x.Name, from, x.Exporter)
		}
		must(x.SetControllers(ctx, "br0"))
	}
}
