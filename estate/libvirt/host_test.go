package libvirt_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/libvirt"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/lab/libvirtd"
)

const patience = time.Minute

// sink keeps what a host says.
type sink struct {
	mu     sync.Mutex
	last   *estate.Model // guarded by mu
	lost   int           // guarded by mu
	events []event.Kind  // guarded by mu
}

func (s *sink) Set(_ string, m *estate.Model, _ time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = m
}

func (s *sink) Lost(string, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost++
}

func (s *sink) Emit(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e.Kind)
}

func (s *sink) vm(name string) (estate.VM, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		return estate.VM{}, false
	}
	for _, vm := range s.last.VMs {
		if vm.Name == name {
			return vm, true
		}
	}
	return estate.VM{}, false
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) { // between polls
		if time.Now().After(deadline) {
			t.Fatalf("waited for: %s", what)
		}
	}
}

// start follows a daemon; all is read anew once an hour only, so that what is seen came by events.
func start(t *testing.T, uri string) (*libvirt.Host, *sink) {
	t.Helper()
	var cfg libvirt.Config
	cfg.SetDefaults()
	cfg.Name, cfg.URI, cfg.Pool, cfg.Host, cfg.Resync = "kvm1", uri, "lab", "kvm-1", time.Hour
	s, reg := &sink{}, prometheus.NewRegistry()
	h, err := libvirt.New(cfg, libvirt.Deps{Log: slog.New(slog.DiscardHandler), Estate: s, Events: s, Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if problems, err := promlint.NewWithMetricFamilies(must(reg.Gather())).Lint(); err != nil || len(problems) > 0 {
			t.Errorf("metrics %v %v", problems, err)
		}
	})
	return h, s
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// admin is a connection that changes domains.
func admin(t *testing.T, d *libvirtd.Daemon) *rpc.Libvirt {
	t.Helper()
	conn, err := net.Dial("unix", d.Socket())
	if err != nil {
		t.Fatal(err)
	}
	l := rpc.NewWithDialer(dialers.NewAlreadyConnected(conn))
	if err := l.ConnectToURI("test:///default"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return l
}

const webXML = `<domain type='test'>
  <name>web-01</name><uuid>aaaaaaaa-0000-4000-8000-00000000000a</uuid><title>The shop</title>
  <metadata>
    <weir:domain xmlns:weir="urn:weir:domain"><weir:tag>web</weir:tag><weir:tag>eu</weir:tag><weir:attribute name="owner">alice</weir:attribute></weir:domain>
    <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1"><nova:name>shop</nova:name><nova:owner><nova:project uuid="p-1">sales</nova:project></nova:owner></nova:instance>
    <other:x xmlns:other="urn:other"><other:y>z</other:y></other:x>
  </metadata>
  <memory unit='KiB'>1024</memory><vcpu>1</vcpu><os><type>hvm</type></os>
  <devices>
    <interface type='bridge'>
      <mac address='52:54:00:00:00:01'/><source bridge='br-int'/><vlan><tag id='30'/></vlan>
      <virtualport type='openvswitch'><parameters interfaceid='BBBBBBBB-0000-4000-8000-00000000000b'/></virtualport>
    </interface>
    <interface type='network'><mac address='52:54:00:00:00:02'/><source network='default'/></interface>
    <interface type='user'><mac address='52:54:00:00:00:03'/></interface>
  </devices>
</domain>`

// What happens to domains of a real libvirtd is in the estate, by its events.
func TestDomains(t *testing.T) {
	d := libvirtd.Start(t)
	h, s := start(t, d.URI())
	until(t, "the first domain is known", func() bool { vm, ok := s.vm("test"); return ok && vm.Host == "kvm-1" })
	l := admin(t, d)

	dom := must(l.DomainDefineXML(webXML))
	until(t, "a domain that is defined is known", func() bool { _, ok := s.vm("web-01"); return ok })
	vm, _ := s.vm("web-01")
	if vm.UUID != "aaaaaaaa-0000-4000-8000-00000000000a" || vm.Pool != "lab" || vm.Host != "" || fmt.Sprint(vm.Tags) != "[eu web]" || vm.Attributes["owner"] != "alice" || vm.Attributes["title"] != "The shop" ||
		vm.Attributes["power_state"] != "shut off" || vm.Attributes["nova:name"] != "shop" || vm.Attributes["nova:project"] != "sales" || len(vm.VIFs) != 3 {
		t.Errorf("VM %+v", vm)
	}
	if v := vm.VIFs[0]; v.UUID != "bbbbbbbb-0000-4000-8000-00000000000b" || v.MAC != 0x525400000001 || v.Network != "br-int.30" {
		t.Errorf("VIF at a bridge %+v", v)
	}
	if v := vm.VIFs[1]; v.UUID != "" || v.MAC != 0x525400000002 || v.Network != "default" {
		t.Errorf("VIF in a network %+v", v)
	}
	if v := vm.VIFs[2]; v.Network != "" || v.MAC != 0x525400000003 {
		t.Errorf("VIF of a user %+v", v)
	}
	s.mu.Lock()
	at := slices.IndexFunc(s.last.Networks, func(n estate.Network) bool { return n.Name == "br-int.30" })
	if at < 0 || s.last.Networks[at].Bridge != "br-int" || s.last.Networks[at].VLAN != 30 || len(s.last.Hosts) != 1 || s.last.Hosts[0].Name != "kvm-1" {
		t.Errorf("networks %+v, hosts %+v", s.last.Networks, s.last.Hosts)
	}
	s.mu.Unlock()

	state := func(want string, host string) {
		t.Helper()
		until(t, "it is "+want, func() bool { vm, _ := s.vm("web-01"); return vm.Attributes["power_state"] == want && vm.Host == host })
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(l.DomainCreate(dom))
	state("running", "kvm-1")
	until(t, "it has addresses", func() bool { vm, _ := s.vm("web-01"); return len(vm.VIFs) == 3 && len(vm.VIFs[1].IPs) > 0 })
	check(l.DomainSuspend(dom))
	state("paused", "kvm-1")
	check(l.DomainResume(dom))
	state("running", "kvm-1")
	check(l.DomainSetMetadata(dom, int32(rpc.DomainMetadataElement), rpc.OptString{`<domain><tag>db</tag></domain>`}, rpc.OptString{"weir"}, rpc.OptString{"urn:weir:domain"}, 0))
	until(t, "it has another tag", func() bool {
		vm, _ := s.vm("web-01")
		return fmt.Sprint(vm.Tags) == "[db]" && vm.Attributes["owner"] == ""
	})
	check(l.DomainDestroy(dom))
	state("shut off", "")
	check(l.DomainUndefine(dom))
	until(t, "it is gone", func() bool { _, ok := s.vm("web-01"); return !ok })
	if st := h.Status(); st.State != libvirt.StateConnected || st.Domains != 1 || st.Events == 0 || st.Version == "" || st.Skipped != 0 {
		t.Errorf("status %+v", st)
	}
}

// A daemon that ends and comes back is followed on.
func TestRestart(t *testing.T) {
	d := libvirtd.Start(t)
	h, s := start(t, d.URI())
	until(t, "it is read", func() bool { return h.Status().State == libvirt.StateConnected })
	d.Stop()
	until(t, "it is lost", func() bool { return h.Status().State == libvirt.StateBackoff })
	if _, ok := s.vm("test"); !ok {
		t.Error("its domains were forgotten")
	}
	d.Run()
	until(t, "it is read again", func() bool { return h.Status().State == libvirt.StateConnected })
	s.mu.Lock()
	defer s.mu.Unlock()
	if fmt.Sprint(s.events) != "[libvirt_connected libvirt_lost libvirt_connected]" || s.lost == 0 {
		t.Errorf("events %v, lost %d times", s.events, s.lost)
	}
}

// What is wrong with the way to a host is said.
func TestRefusals(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	d := libvirtd.Start(t)
	for uri, want := range map[string]string{
		"test+unix:///default?socket=" + filepath.Join(t.TempDir(), "none"): "is libvirtd, or virtqemud, running?",
		"qemu+unix:///system?socket=" + d.Socket():                          "must work with it",
		"qemu+tls://127.0.0.1:1/system":                                     "does libvirt listen there?",
	} {
		h, s := start(t, uri)
		until(t, uri+" is refused", func() bool { return strings.Contains(h.Status().Error, want) })
		if s.last != nil {
			t.Errorf("%s: something came into the estate", uri)
		}
	}
	for uri, want := range map[string]string{
		"": "want a URI", "qemu+ssh://kvm1/system": "found transport \"ssh\"", "qemu+tls:///system": "want a URI", "qemu+unix://kvm1/system": "want a URI", "qemu": "want a URI",
	} {
		var cfg libvirt.Config
		cfg.SetDefaults()
		cfg.Name, cfg.URI = "kvm1", uri
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", uri, err, want)
		}
	}
}
