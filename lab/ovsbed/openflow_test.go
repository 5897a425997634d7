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
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
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

// What the coming and going of controllers does to what a bridge holds, of which docs/explanation/open-vswitch.md tells.
func TestWhatControllersDoToFlows(t *testing.T) {
	bed := ovsbedtest.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	farm, err := bed.Farm(ctx, 1, 2)
	must(err)
	userspace, err := bed.Host(ctx, "hv1")
	must(err)
	must(userspace.AddBridge(ctx, "br0"))
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "0.0.0.0:0")
	must(err)
	defer l.Close()
	alive := uint16(l.Addr().(*net.TCPAddr).Port)
	for _, h := range []*ovsbed.Host{farm.Hosts[0], userspace} {
		controller := func(service bool, port uint16) ovsbed.Controller {
			return ovsbed.Controller{Target: fmt.Sprint("tcp:", netip.AddrPortFrom(h.Root, port)), Service: service, OutOfBand: true}
		}
		set := func(c ...ovsbed.Controller) func() {
			return func() { t.Helper(); must(h.SetControllers(ctx, "br0", c...)) }
		}
		column := func(what string) func() {
			return func() {
				t.Helper()
				_, err := h.VSCtl(ctx, "--", "set", "controller", "br0", what)
				must(err)
			}
		}
		weir, first, second := controller(true, 11), controller(false, 12), controller(false, 13)
		type step struct {
			what    string
			do      func()
			cleared bool
		}
		alone := []step{
			{"a service controller comes", set(weir), false},
			{"it dials somewhere else", func() { set(controller(true, alive))(); dialled(t, l) }, false},
			{"it is not in-band", column("connection_mode=in-band"), false},
			{"it is probed", column("inactivity_probe=1000"), false},
			{"it is called primary, which is not noticed", column("type=primary"), false},
			{"it goes", set(), false},
			{"the first primary controller comes", set(first), true},
			{"a service controller comes beside it", set(first, weir), false},
			{"the last primary controller goes, not the service controller", set(weir), true},
			{"a primary controller takes its place", set(first), true},
			{"another comes", set(first, second), false},
			{"it goes again", set(first), false},
			{"the last primary controller goes", set(), true},
		}
		for _, mode := range []string{"", "standalone", "secure"} {
			set()()
			if mode == "" {
				_, err := h.VSCtl(ctx, "clear", "bridge", "br0", "fail_mode")
				must(err)
			} else {
				_, err := h.VSCtl(ctx, "set", "bridge", "br0", "fail_mode="+mode)
				must(err)
			}
			must(h.SetForeign(ctx, "br0"))
			before, err := h.OpenFlow(ctx, "br0")
			must(err)
			for _, s := range alone {
				s.do()
				after, err := h.OpenFlow(ctx, "br0")
				must(err)
				if cleared := after != before; cleared != s.cleared {
					t.Errorf("%s, fail_mode %q: %s: cleared is %v, want %v", h.Name, mode, s.what, cleared, s.cleared)
				}
				if after != before {
					if strings.Contains(after, "tp_dst") || strings.Contains(after, "group") || strings.Contains(after, "meter ") {
						t.Errorf("%s, fail_mode %q: %s: something is left:\n%s", h.Name, mode, s.what, after)
					}
					must(h.SetForeign(ctx, "br0"))
				}
			}
		}
		for mode, want := range map[string]bool{"secure": true, "standalone": true} { // with a service controller only
			set(weir)()
			_, err := h.VSCtl(ctx, "set", "bridge", "br0", "fail_mode="+map[string]string{"secure": "standalone", "standalone": "secure"}[mode])
			must(err)
			must(h.SetForeign(ctx, "br0"))
			before, err := h.OpenFlow(ctx, "br0")
			must(err)
			_, err = h.VSCtl(ctx, "set", "bridge", "br0", "fail_mode="+mode)
			must(err)
			after, err := h.OpenFlow(ctx, "br0")
			must(err)
			if cleared := after != before; cleared != want {
				t.Errorf("%s: fail_mode becomes %s: cleared is %v, want %v", h.Name, mode, cleared, want)
			}
		}
	}
}

// A host whose own address is at a bridge that passes nothing, as after a restart, reaches a controller through it by in-band control, also a
// service controller; the flows for that stand above all others and are of any port.
func TestInBandControl(t *testing.T) {
	bed := ovsbedtest.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	h, err := bed.Host(ctx, "hv1")
	must(err)
	lan, err := bed.Host(ctx, "lan")
	must(err)
	must(errors.Join(h.AddBridge(ctx, "br0"), lan.AddBridge(ctx, "br0")))
	_, _, err = h.Join(ctx, "br0", lan, "br0")
	must(err)
	must(h.AddAddress(ctx, "br0", netip.MustParsePrefix("10.9.0.1/24")))
	vm, err := lan.AddVM(ctx, ovsbed.VM{Name: "weir", Bridge: "br0", MAC: "02:00:00:00:00:77", Addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.2/24")}})
	must(err)
	_, err = vm.Namespace.Run(ctx, "ethtool", "-K", "eth0", "tx", "off") // checksums of TCP are not left to a card that is not there
	must(err)
	var l net.Listener
	must(vm.Namespace.Do(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(ctx, "tcp4", "10.9.0.2:6653")
		return err
	}))
	defer l.Close()

	must(h.Secure(ctx, "br0"))
	must(h.SetControllers(ctx, "br0", ovsbed.Controller{Target: "tcp:10.9.0.2:6653", Service: true}))
	must(h.RestartSwitch(ctx))
	if from := dialled(t, l); from != netip.MustParseAddr("10.9.0.1") {
		t.Errorf("dialled from %v", from)
	}
	hidden := func() bool {
		t.Helper()
		out, err := h.AppCtl(ctx, "bridge/dump-flows", "br0")
		must(err)
		return strings.Contains(out, "priority=180007,tcp,nw_dst=10.9.0.2,tp_dst=6653,actions=NORMAL")
	}
	if !hidden() {
		t.Error("no flow of in-band control")
	}
	if out, err := h.OpenFlow(ctx, "br0"); err != nil || out != "" {
		t.Errorf("controllers see %q, %v; want that flows of in-band control are hidden", out, err)
	}
	_, err = h.VSCtl(ctx, "set", "bridge", "br0", "other_config:disable-in-band=true")
	must(err)
	if hidden() {
		t.Error("flows of in-band control stay although it is disabled")
	}
}
