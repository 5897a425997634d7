package xapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/xapi"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/internal/chance"
	fake "github.com/weirhq/weir/lab/xapi"
	"github.com/weirhq/weir/ovs/ovsdb"
)

const patience = time.Minute

// sink keeps what a pool says.
type sink struct {
	mu     sync.Mutex
	models []*estate.Model // guarded by mu
	lost   int             // guarded by mu
	events []event.Event   // guarded by mu
}

func (s *sink) Set(_ string, m *estate.Model, _ time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.models = append(s.models, m)
}

func (s *sink) Lost(string, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost++
}

func (s *sink) Emit(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func (s *sink) model() *estate.Model {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.models) == 0 {
		return nil
	}
	return s.models[len(s.models)-1]
}

func (s *sink) told(kind event.Kind) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.events {
		if s.events[i].Kind == kind {
			n++
		}
	}
	return n
}

// rig is a pool of the lab with two hosts, and a Pool that follows it.
type rig struct {
	*xapi.Pool
	t     *testing.T
	site  *fake.Site
	hosts []*fake.Server
	sink  *sink
	reg   *prometheus.Registry
}

// newSite is a pool that nobody is to change by its API.
func newSite(t *testing.T, cfg fake.Config) (*fake.Site, []*fake.Server) {
	t.Helper()
	site, hosts := build(t, cfg)
	t.Cleanup(func() {
		if n := site.Changes(); n != 0 {
			t.Errorf("%d calls wanted to change something, want none", n)
		}
	})
	return site, hosts
}

func build(t *testing.T, cfg fake.Config) (*fake.Site, []*fake.Server) {
	t.Helper()
	cfg.User, cfg.Password, cfg.Batch = "weir", "a password", time.Millisecond
	site := fake.NewSite(cfg, "berlin")
	var hosts []*fake.Server
	for i := range 2 {
		h, err := site.Serve("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		hosts = append(hosts, h)
		site.AddHost(fmt.Sprintf("xcp-%d", i+1), h.Address())
	}
	front := site.AddNetwork("front", "xenbr0", 0, "")
	back := site.AddNetwork("back", "xapi1", 30, front)
	for i := range 3 {
		vm := site.AddVM(fmt.Sprintf("web-%02d", i+1), site.Refs("host")[i%2], "web")
		site.AddVIF(vm, front, fmt.Sprintf("06:00:00:00:01:%02x", i), fmt.Sprintf("192.0.2.%d", 100+i), "2001:db8::"+fmt.Sprint(i+1))
		site.AddVIF(vm, back, fmt.Sprintf("06:00:00:00:02:%02x", i))
	}
	site.AddVM("halted", "")
	return site, hosts
}

// config is that of a pool at hosts, with their certificates.
func config(t *testing.T, hosts ...*fake.Server) xapi.Config {
	t.Helper()
	var c xapi.Config
	c.SetDefaults()
	c.Name, c.User, c.PasswordFile, c.Timeout = "berlin", "weir", filepath.Join(t.TempDir(), "password"), 30*time.Second
	if err := os.WriteFile(c.PasswordFile, []byte("a password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		c.Addresses = append(c.Addresses, "https://"+h.Address())
		c.Pins = append(c.Pins, ovsdb.FingerprintOf(h.Certificate()))
	}
	return c
}

func follow(t *testing.T, cfg xapi.Config, change ...func(*xapi.Deps)) (*xapi.Pool, *sink, *prometheus.Registry) {
	t.Helper()
	s, reg := &sink{}, prometheus.NewRegistry()
	deps := xapi.Deps{Log: slog.New(slog.DiscardHandler), Estate: s, Events: s, Metrics: reg, Own: func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.5") }}
	for _, f := range change {
		f(&deps)
	}
	p, err := xapi.New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p, s, reg
}

func start(t *testing.T, cfg fake.Config) *rig {
	t.Helper()
	r := &rig{t: t}
	r.site, r.hosts = newSite(t, cfg)
	r.Pool, r.sink, r.reg = follow(t, config(t, r.hosts...))
	r.equal("at first")
	return r
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) { // between polls
		if time.Now().After(deadline) {
			t.Fatalf("waited for: %s", what)
		}
	}
}

var exact = cmp.Exporter(func(reflect.Type) bool { return true })

// equal waits until what was told of the pool is what a fresh look at all of it finds.
func (r *rig) equal(when string) {
	r.t.Helper()
	var diff string
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) { // between polls
		want, err := r.Fresh(r.t.Context())
		if err == nil {
			if diff = cmp.Diff(want, r.sink.model(), exact); diff == "" {
				return
			}
		} else {
			diff = err.Error()
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s the estate is not the pool's: %s\nstatus %+v", when, diff, r.Status())
		}
	}
}

// The model of a pool has what its records say.
func TestModel(t *testing.T) {
	r := start(t, fake.Config{})
	m := r.sink.model()
	if len(m.Pools) != 1 || m.Pools[0].Name != "berlin" || m.Pools[0].UUID == "" {
		t.Errorf("pools %+v", m.Pools)
	}
	hosts := map[string]string{}
	for _, h := range m.Hosts {
		hosts[h.Name] = h.UUID
		if h.Pool != m.Pools[0].UUID || len(h.Bridges) != 1 || h.Bridges[0].Name != "xenbr0" || h.Attributes["network_backend"] != "openvswitch" || h.Attributes["live"] != "true" {
			t.Errorf("host %+v", h)
		}
	}
	networks := map[string]estate.Network{}
	for _, n := range m.Networks {
		networks[n.Name] = n
	}
	if n := networks["front"]; n.Bridge != "xenbr0" || n.VLAN != 0 || fmt.Sprint(n.Subnets) != "[192.0.2.0/24]" {
		t.Errorf("network front %+v", n)
	}
	if n := networks["back"]; n.Bridge != "xenbr0" || n.VLAN != 30 || len(n.Subnets) != 0 {
		t.Errorf("network back %+v", n)
	}
	names := []string{}
	for _, vm := range m.VMs {
		names = append(names, vm.Name)
		if vm.Name == "halted" {
			if vm.Host != "" || vm.Attributes["power_state"] != "halted" {
				t.Errorf("halted VM %+v", vm)
			}
			continue
		}
		if len(vm.VIFs) != 2 || vm.VIFs[0].Device != "0" || len(vm.VIFs[0].IPs) != 2 || vm.VIFs[0].Network != networks["front"].UUID || vm.VIFs[1].Network != networks["back"].UUID ||
			vm.VIFs[0].MAC == 0 || !slices.Contains(vm.Tags, "web") || vm.Attributes["os"] != "Debian 12" || (vm.Host != hosts["xcp-1"] && vm.Host != hosts["xcp-2"]) {
			t.Errorf("VM %+v", vm)
		}
	}
	if slices.Sort(names); fmt.Sprint(names) != "[halted web-01 web-02 web-03]" {
		t.Errorf("VMs %v", names)
	}
	until(t, "it says that it is connected", func() bool { return r.Status().State == xapi.StateConnected }) // a moment after the estate has it
	if s := r.Status(); s.Hosts != 2 || s.Networks != 2 || s.VMs != 4 || s.VIFs != 6 || s.Error != "" || s.Read.IsZero() {
		t.Errorf("status %+v", s)
	}
	if problems, err := promlint.NewWithMetricFamilies(gather(t, r.reg)).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("metrics %v %v", problems, err)
	}
}

// Whatever happens in a pool is in the estate.
func TestChanges(t *testing.T) {
	t.Parallel()
	for _, numbers := range []bool{false, true} {
		t.Run(fmt.Sprintf("numbers=%t", numbers), func(t *testing.T) {
			r := start(t, fake.Config{Numbers: numbers})
			s := r.site
			vms, hosts, networks := s.Refs("VM"), s.Refs("host"), s.Refs("network")
			web := vms[slices.IndexFunc(vms, func(v string) bool { return s.Record("VM", v)["name_label"] == "web-01" })]
			step := func(what string, change func()) {
				change()
				r.equal(what)
			}
			step("renamed", func() { s.Set("VM", web, fake.Record{"name_label": "shop"}) })
			step("tagged", func() { s.Tag(web, "shop", "eu", "eu", "") })
			step("configured", func() { s.Configure("VM", web, map[string]string{"owner": "alice", "long": strings.Repeat("x", 5000)}) })
			step("with another address", func() {
				s.SetAddresses(web, 0, "192.0.2.200", "192.0.2.201", "fe80::1%eth0", "0.0.0.0", "2001:db8::200")
			})
			step("limited", func() {
				s.Set("VIF", s.Refs("VIF")[0], fake.Record{
					"locking_mode": "locked", "ipv4_allowed": []string{"192.0.2.1", "192.0.2.2"}, "ipv6_allowed": []string{"2001:db8::1"},
					"qos_algorithm_type": "ratelimit", "qos_algorithm_params": map[string]string{"kbps": "1000"},
				})
			})
			limited := 0
			for _, vm := range r.sink.model().VMs {
				for _, v := range vm.VIFs {
					switch a := fmt.Sprint(v.Attributes); a {
					case "map[ipv4_allowed:192.0.2.1,192.0.2.2 ipv6_allowed:2001:db8::1 locking_mode:locked rate_limit:8192]":
						limited++
					case "map[locking_mode:unlocked]": // of its network
					default:
						t.Errorf("VIF %s/%s: attributes %s", vm.Name, v.Device, a)
					}
				}
			}
			if limited != 1 {
				t.Errorf("%d VIFs are limited, want 1", limited)
			}
			step("plugged", func() { s.AddVIF(web, networks[0], "06:00:00:00:03:01", "192.0.2.210") })
			step("unplugged", func() { s.Destroy("VIF", s.Refs("VIF")[0]) })
			finish := s.Migrate(web, hosts[1])
			r.equal("announced to move")
			if host := s.Record("host", hosts[1])["name_label"]; s.Record("VM", web)["resident_on"] != hosts[1] && find(r.sink.model(), "shop").Attributes["moving_to"] != host {
				t.Errorf("a VM that is announced to move to %v: %+v", host, find(r.sink.model(), "shop"))
			}
			step("moved", finish)
			step("halted", func() {
				s.Set("VM", web, fake.Record{"power_state": "Halted", "resident_on": fake.Null, "guest_metrics": fake.Null})
			})
			step("made a template", func() { s.Set("VM", web, fake.Record{"is_a_template": true}) })
			step("with a new network", func() { s.AddNetwork("dmz", "xapi2", 40, networks[0]) })
			step("away", func() { s.Set("host_metrics", s.Refs("host_metrics")[0], fake.Record{"live": false}) })
			step("destroyed", func() { s.Destroy("VM", vms[0]) })
		})
	}
}

func find(m *estate.Model, name string) estate.VM {
	for _, vm := range m.VMs {
		if vm.Name == name {
			return vm
		}
	}
	return estate.VM{}
}

// Random changes, with the connection cut and sessions ended in between, leave the estate equal to the pool.
func TestRandomChanges(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(chance.Seed(t), 1))
	r := start(t, fake.Config{})
	s := r.site
	networks := s.Refs("network")
	for round := range 20 {
		for i := range 1 + random.IntN(10) {
			vms, vifs, hosts := s.Refs("VM"), s.Refs("VIF"), s.Refs("host")
			pick := func(list []string) string { return list[random.IntN(len(list))] }
			switch random.IntN(12) {
			case 0:
				s.AddVM(fmt.Sprintf("new-%d-%d", round, i), pick(hosts), "new")
			case 1:
				s.Destroy("VM", pick(vms))
			case 2, 3:
				s.AddVIF(pick(vms), pick(networks), fmt.Sprintf("06:00:00:01:%02x:%02x", round, i))
			case 4:
				if len(vifs) > 0 {
					s.Destroy("VIF", pick(vifs))
				}
			case 5:
				s.Set("VM", pick(vms), fake.Record{"name_label": fmt.Sprint("name-", random.IntN(5))})
			case 6:
				s.Tag(pick(vms), fmt.Sprint("tag-", random.IntN(3)))
			case 7:
				s.Migrate(pick(vms), pick(hosts))()
			case 8:
				s.EndSessions()
			case 9:
				s.Fail("event.from", "")
			case 10:
				s.Fail("event.from", "EVENT_FROM_TOKEN_PARSE_FAILURE")
			case 11:
				s.Slow("event.from", time.Millisecond)
			}
			if len(s.Refs("VM")) == 0 {
				s.AddVM("last", pick(hosts))
			}
		}
		r.equal(fmt.Sprint("in round ", round))
	}
}

func gather(t *testing.T, reg *prometheus.Registry) []*dto.MetricFamily {
	t.Helper()
	list, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A pool whose coordinator changes, whose service restarts, or that lost an event is followed on.
func TestCoordinatorChanges(t *testing.T) {
	t.Parallel()
	r := start(t, fake.Config{})
	first := r.Status().Coordinator
	if first != r.hosts[0].Address() {
		t.Fatalf("coordinator %s, want %s", first, r.hosts[0].Address())
	}
	r.site.SetMaster(r.hosts[1].Address())
	until(t, "the new coordinator is asked", func() bool {
		return r.Status().Coordinator == r.hosts[1].Address() && r.Status().State == xapi.StateConnected
	})
	r.site.AddVM("after", r.site.Refs("host")[0])
	r.equal("with another coordinator")

	r.site.Restart()
	r.site.Destroy("VM", r.site.Refs("VM")[0])
	r.equal("after a restart")

	// The coordinator dies, and the other host takes over.
	r.site.SetMaster(r.hosts[0].Address())
	r.hosts[1].Close()
	until(t, "the first host is asked again", func() bool { return r.Status().Coordinator == first && r.Status().State == xapi.StateConnected })
	r.equal("after a failover")
	if n := r.sink.told(event.PoolConnected); n == 0 {
		t.Error("no event tells that the pool is connected")
	}
}

// When the pool counts otherwise than what it told, all is read again; once, if it goes on to do so.
func TestDrift(t *testing.T) {
	t.Parallel()
	r := start(t, fake.Config{})
	r.site.Lie("vm", 1)
	r.site.AddVM("one", r.site.Refs("host")[0])
	until(t, "all is read again", func() bool { return r.Status().Drift == 1 })
	r.equal("after drift")
	for i := range 20 {
		r.site.AddVM(fmt.Sprint("more-", i), r.site.Refs("host")[0])
		r.equal("with a count that is wrong for good")
	}
	if d := r.Status().Drift; d != 1 {
		t.Errorf("all was read again %d times", d)
	}
}

func TestForeignController(t *testing.T) {
	t.Parallel()
	r := start(t, fake.Config{})
	ref := r.site.Create("SDN_controller", fake.Record{"uuid": "c", "protocol": "ssl", "address": "198.51.100.7", "port": 6632})
	until(t, "it is told of", func() bool { return r.sink.told(event.PoolController) == 1 })
	if s := r.Status(); fmt.Sprint(s.Controllers) != "[ssl:198.51.100.7:6632]" || !strings.Contains(strings.Join(s.Problems, "\n"), "SDN controller ssl:198.51.100.7:6632, which is not Weir") {
		t.Errorf("controllers %v, problems %q", s.Controllers, s.Problems)
	}
	// Weir itself is none, nor is one that waits for whoever dials.
	for _, own := range []fake.Record{{"address": "192.0.2.5"}, {"address": "", "port": 0, "protocol": "pssl"}} {
		r.site.Set("SDN_controller", ref, own)
		until(t, "it is another", func() bool { return r.Status().Controllers[0].Address == own["address"] })
		if s := r.Status(); len(s.Problems) > 0 {
			t.Errorf("controllers %v, problems %q", s.Controllers, s.Problems)
		}
	}
	r.site.Destroy("SDN_controller", ref)
	until(t, "it is gone", func() bool { return len(r.Status().Controllers) == 0 })
	if n := r.sink.told(event.PoolController); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

// What will be wrong after the coordinator changes is said before.
func TestPinsOfHalfThePool(t *testing.T) {
	site, hosts := newSite(t, fake.Config{})
	p, _, _ := follow(t, config(t, hosts[0]))
	until(t, "it is connected", func() bool { return p.Status().State == xapi.StateConnected })
	if s := p.Status(); len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "pins has fingerprints of 1 of the 2 hosts") || s.Pool != "berlin" || s.Master != "xcp-1" || s.Version != "XCP-ng 8.3.0" {
		t.Errorf("status %+v", s)
	}
	// The coordinator is gone, and what remains names it.
	hosts[0].Close()
	cfg := config(t, hosts...)
	cfg.Addresses = cfg.Addresses[1:]
	p, _, _ = follow(t, cfg)
	until(t, "it says so", func() bool { return strings.Contains(p.Status().Error, "only members of the pool answer") })
	// The member takes over, and its certificate is not pinned.
	site.SetMaster(hosts[1].Address())
	cfg = config(t, hosts...)
	cfg.Pins = cfg.Pins[:1]
	p, _, _ = follow(t, cfg)
	until(t, "it says so", func() bool {
		return strings.Contains(p.Status().Error, "not among pins: compare it at the host, and add it")
	})
}

// What is wrong with the way to a pool is said with what to do.
func TestRefusals(t *testing.T) {
	t.Parallel()
	site, hosts := newSite(t, fake.Config{})
	_, others := newSite(t, fake.Config{})
	for name, test := range map[string]struct {
		change func(*xapi.Config)
		want   string
	}{
		"password":          {func(c *xapi.Config) { write(t, c.PasswordFile, "wrong\n") }, "check user and password_file"},
		"no password file":  {func(c *xapi.Config) { c.PasswordFile = filepath.Join(t.TempDir(), "none") }, "read password_file"},
		"pin":               {func(c *xapi.Config) { c.Pins = []ovsdb.Fingerprint{ovsdb.FingerprintOf(others[0].Certificate())} }, "not among pins"},
		"unknown authority": {func(c *xapi.Config) { c.Pins = nil }, "set ca_file"},
		"another authority": {func(c *xapi.Config) { c.Pins, c.CAFile = nil, pemFile(t, others[0]) }, "set ca_file"},
		"name": {func(c *xapi.Config) {
			c.Pins, c.CAFile = nil, pemFile(t, hosts[0])
			c.Addresses = []string{strings.Replace(c.Addresses[0], "127.0.0.1", "localhost", 1)}
		}, "use the name that the certificate is for"},
		"nobody there":        {func(c *xapi.Config) { c.Addresses = []string{"https://127.0.0.1:1"} }, "connection refused"},
		"member of two pools": {func(c *xapi.Config) { c.Addresses = []string{c.Addresses[1]}; c.Pins = c.Pins[1:] }, "not among pins"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, hosts...)
			test.change(&cfg)
			p, sink, _ := follow(t, cfg)
			until(t, "it says so", func() bool { return strings.Contains(p.Status().Error, test.want) })
			if sink.model() != nil {
				t.Error("something came into the estate")
			}
			if s := p.Status(); s.State != xapi.StateBackoff || strings.Contains(s.Error, "a password") {
				t.Errorf("status %+v", s)
			}
		})
	}
	// A member leads to the coordinator, and the authority of a certificate is as good as its pin.
	cfg := config(t, hosts...)
	cfg.Addresses = cfg.Addresses[1:]
	p, _, _ := follow(t, cfg)
	until(t, "the member leads to the coordinator", func() bool {
		return p.Status().State == xapi.StateConnected && p.Status().Coordinator == hosts[0].Address()
	})
	cfg = config(t, hosts[0])
	cfg.Pins, cfg.CAFile = nil, pemFile(t, hosts[0])
	p, _, _ = follow(t, cfg)
	until(t, "it is connected by its authority", func() bool { return p.Status().State == xapi.StateConnected })

	// A role that may not read.
	site.Fail("event.from", "RBAC_PERMISSION_DENIED")
	p, _, _ = follow(t, config(t, hosts...))
	until(t, "it says so", func() bool {
		return strings.Contains(p.Status().Error, "role read-only") || p.Status().State == xapi.StateConnected
	})
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func pemFile(t *testing.T, h *fake.Server) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	write(t, name, string(h.PEM()))
	return name
}

// Whatever an answer says, nothing panics, and what is read of it makes a model within bounds.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":{"events":[],"token":"00000000000000000001,00000000000000000000","valid_ref_counts":{"vm":0}}}`))
	f.Add([]byte(`{"error":{"code":1,"message":"HOST_IS_SLAVE","data":["HOST_IS_SLAVE","192.0.2.1"]}}`))
	f.Add([]byte(`{"result":{"events":[{"class":"VM","operation":"add","ref":"OpaqueRef:1","snapshot":{"uuid":"u","name_label":"web","domid":"-1","resident_on":"OpaqueRef:2","guest_metrics":"OpaqueRef:3","tags":["a"]}},
		{"class":"VIF","operation":"add","ref":"OpaqueRef:4","snapshot":{"VM":"OpaqueRef:1","device":"0","MAC":"06:00:00:00:00:01","network":"OpaqueRef:5"}},
		{"class":"VM_guest_metrics","operation":"mod","ref":"OpaqueRef:3","snapshot":{"networks":{"0/ip":"192.0.2.1","0/ipv6/0":"fe80::1%eth0 2001:db8::1"}}},
		{"class":"PIF","operation":"add","ref":"OpaqueRef:6","snapshot":{"network":"OpaqueRef:5","host":"OpaqueRef:2","IP":"192.0.2.9","netmask":"255.255.255.0","VLAN":"7"}},
		{"class":"VLAN","operation":"add","ref":"OpaqueRef:7","snapshot":{"tagged_PIF":"OpaqueRef:6","untagged_PIF":"OpaqueRef:6","tag":7}},
		{"class":"network","operation":"del","ref":"OpaqueRef:5"},{"class":"network","operation":"add","ref":"OpaqueRef:5","snapshot":{"bridge":"xenbr0","MTU":1500}}],"token":"t"}}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		m, err := xapi.ModelOf(answer)
		if err != nil {
			return
		}
		for _, vm := range m.VMs {
			if len(vm.Tags) > 64 || len(vm.Attributes) > 64 {
				t.Errorf("VM %q has %d tags and %d attributes", vm.Name, len(vm.Tags), len(vm.Attributes))
			}
			for _, vif := range vm.VIFs {
				if len(vif.IPs) > 256 || slices.ContainsFunc(vif.IPs, func(a netip.Addr) bool { return !a.IsValid() || a.Zone() != "" }) {
					t.Errorf("VIF %q has addresses %v", vif.Device, vif.IPs)
				}
			}
		}
	})
}
