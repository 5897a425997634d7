package estate_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/estatetest"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
)

var dense = estatetest.Size{
	Pools: 3, Hosts: 6, Networks: 8, VMs: 25, VIFs: 3, AddressGroups: 6, Prefixes: 60, VMGroups: 8, Dense: true,
}

// name returns the name of the entity with an id; of 0 it is "".
func name(t testing.TB, s *estate.Snapshot, id uint64) string {
	t.Helper()
	if id == 0 {
		return ""
	}
	e, ok := s.Entity(flow.ID(id))
	if !ok {
		t.Fatalf("no entity has id %d", id)
	}
	return e.Name
}

func sortedNames(t testing.TB, s *estate.Snapshot, ids []uint64) []string {
	t.Helper()
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Fatalf("groups %v are not in ascending order", ids)
	}
	var names []string
	for _, id := range ids {
		names = append(names, name(t, s, id))
	}
	slices.Sort(names)
	return names
}

// Every look-up of random estates says what a walk through the model says.
func TestLookupsAgreeWithTwin(t *testing.T) {
	r := rand.New(rand.NewPCG(chance.Seed(t), 0))
	hits := map[string]int{}
	for round := range 30 {
		m := estatetest.Random(r, dense)
		s, err := estate.Compile(m)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		twin := estatetest.Twin{Model: m}
		networks := map[string]estate.NetworkRef{"": 0}
		for i, n := range m.Networks {
			networks[n.Name] = estate.NetworkRef(i + 1)
			if got := name(t, s, s.Network(networks[n.Name])); got != n.Name {
				t.Fatalf("Network(%d) = %q, want %q", i+1, got, n.Name)
			}
		}
		check := func(what string, got, want any, args ...any) {
			t.Helper()
			if got != want {
				t.Fatalf("round %d: %s%v = %v, want %v", round, what, args, got, want)
			}
			if want != "" && want != estate.Miss {
				hits[what]++
			}
		}
		for range 400 {
			exporter := netip.MustParseAddr("192.0.2.1")
			if h := m.Hosts[r.IntN(len(m.Hosts))]; r.IntN(10) > 0 {
				exporter = h.Exporters[r.IntN(len(h.Exporters))]
			}
			domain, virtual := uint32(r.IntN(5)), ""
			switch h := m.Hosts[r.IntN(len(m.Hosts))].Name; r.IntN(4) {
			case 0:
				virtual = fmt.Sprintf("xenbr%d", r.IntN(4))
			case 1:
				virtual = fmt.Sprintf("%s/xenbr%d", h, r.IntN(4))
			}
			v := s.Vantage(exporter.As16(), flow.VirtualID(virtual), domain)
			place := twin.Place(exporter, virtual, domain)
			check("host", name(t, s, v.Host), place.Host, exporter)
			check("pool", name(t, s, v.Pool), place.Pool, exporter)
			check("bridge", name(t, s, v.Bridge), place.Bridge, exporter, virtual, domain)
			check("open vswitch", v.OpenVSwitch, place.OpenVSwitch, exporter, virtual, domain)
			check("rule sampling", v.RuleSampling, place.RuleSampling, exporter, virtual, domain)
			check("totals elsewhere", v.TotalsElsewhere, place.TotalsElsewhere, exporter, virtual, domain)

			version := []uint8{5, 9, 10}[r.IntN(3)]
			index := uint32(r.IntN(12))
			if r.IntN(3) == 0 {
				index += 100_000
			}
			ref, match := s.Port(&v, version, index)
			wantVIF, wantMatch := twin.Port(place, version, index)
			check("port", name(t, s, s.Endpoint(ref).ID), wantVIF, place, version, index)
			check("port match", match, wantMatch, place, version, index)

			vlan := uint16(r.IntN(6))
			check("vlan", name(t, s, s.Network(s.VLAN(&v, vlan))), twin.VLAN(place, vlan), place, vlan)

			addr := netip.AddrFrom4([4]byte{10, byte(r.IntN(2)), byte(r.IntN(2)), byte(r.IntN(22))})
			if r.IntN(3) == 0 {
				b := netip.MustParseAddr("2001:db8::").As16()
				b[7], b[15] = byte(r.IntN(5)), byte(r.IntN(22))
				addr = netip.AddrFrom16(b)
			}
			check("subnet", name(t, s, s.Network(s.Subnet(&v, addr.As16()))), twin.Subnet(place, addr), place, addr)

			network := ""
			if n := r.IntN(len(m.Networks) + 1); n > 0 {
				network = m.Networks[n-1].Name
			}
			ref, match = s.Addr(addr.As16(), networks[network])
			wantVIF, wantMatch = twin.Addr(addr, network)
			check("addr", name(t, s, s.Endpoint(ref).ID), wantVIF, addr, network)
			check("addr match", match, wantMatch, addr, network)

			mac := estate.MAC(0x020000000000 + r.Uint64N(24))
			ref, match = s.MAC(uint64(mac), networks[network])
			wantVIF, wantMatch = twin.MAC(mac, network)
			check("mac", name(t, s, s.Endpoint(ref).ID), wantVIF, mac, network)
			check("mac match", match, wantMatch, mac, network)
			if match == estate.Hit {
				e := s.Endpoint(ref)
				vif, vm := twin.VIF(wantVIF)
				check("vm of vif", name(t, s, e.VM), vm.Name, wantVIF)
				check("network of vif", name(t, s, e.Network), vif.Network, wantVIF)
				check("network of vif", e.NetworkRef, networks[vif.Network], wantVIF)
				check("bridge of vif", name(t, s, e.Bridge), twin.BridgeOf(wantVIF), wantVIF)
				host := ""
				if e.Host != 0 {
					host = m.Hosts[e.Host-1].Name
				}
				check("host of vif", host, twin.HostOf(vm.Name), wantVIF)
				if got, want := sortedNames(t, s, s.VMGroups(ref)), twin.VMGroups(vm.Name); !slices.Equal(got, want) {
					t.Fatalf("round %d: VM groups of %s = %v, want %v", round, vm.Name, got, want)
				}
			}
			if got, want := sortedNames(t, s, s.AddressGroups(addr.As16())), twin.AddressGroups(addr); !slices.Equal(got, want) {
				t.Fatalf("round %d: AddressGroups(%s) = %v, want %v", round, addr, got, want)
			} else if len(want) > 1 {
				hits["nested groups"]++
			}
		}
	}
	for _, what := range []string{
		"host", "pool", "bridge", "port", "vlan", "subnet", "addr", "mac", "vm of vif", "host of vif", "bridge of vif", "nested groups",
	} {
		if hits[what] < 50 {
			t.Errorf("%s was found %d times only: the test shows little", what, hits[what])
		}
	}
	t.Logf("found: %v", hits)
}

// large compiles the estate of 100 000 VIFs once.
func large(tb testing.TB) (*estate.Model, *estate.Snapshot) {
	tb.Helper()
	m := estatetest.Random(rand.New(rand.NewPCG(1, 2)), estatetest.Large)
	s, err := estate.Compile(m)
	if err != nil {
		tb.Fatal(err)
	}
	return m, s
}

// keys are what rows of the large estate ask for, in random order.
type keys struct {
	exporters []flow.Addr
	ports     []uint32
	macs      []uint64
	addrs     []flow.Addr
}

func keysOf(m *estate.Model) keys {
	r := rand.New(rand.NewPCG(3, 4))
	byName := map[string]flow.Addr{}
	for _, h := range m.Hosts {
		byName[h.Name] = h.Exporters[0].As16()
	}
	var k keys
	for range 1 << 16 {
		vm := &m.VMs[r.IntN(len(m.VMs))]
		vif := &vm.VIFs[0]
		k.macs, k.addrs = append(k.macs, uint64(vif.MAC)), append(k.addrs, vif.IPs[0].As16())
		host, index := vm.Host, uint32(0)
		if len(vif.Ports) > 0 {
			index = vif.Ports[0].IfIndex
			if vif.Ports[0].Host != "" {
				host = vif.Ports[0].Host
			}
		}
		k.exporters, k.ports = append(k.exporters, byName[host]), append(k.ports, index)
	}
	return k
}

func TestLookupsDoNotAllocate(t *testing.T) {
	m := estatetest.Random(rand.New(rand.NewPCG(1, 2)), dense)
	s, err := estate.Compile(m)
	if err != nil {
		t.Fatal(err)
	}
	k := keysOf(m)
	live := estate.NewLiveness(time.Minute)
	seen := netip.MustParseAddr("192.0.2.1")
	live.Seen(seen, 1)
	i := 0
	got := testing.AllocsPerRun(1000, func() {
		i++
		v := s.Vantage(k.exporters[i], 0, 1)
		s.Port(&v, 9, k.ports[i])
		s.VLAN(&v, 3)
		ref, _ := s.MAC(k.macs[i], 1)
		_ = s.Endpoint(ref)
		s.Addr(k.addrs[i], 2)
		s.Subnet(&v, k.addrs[i])
		s.AddressGroups(k.addrs[i])
		live.Seen(seen, int64(i))
	})
	if got != 0 {
		t.Errorf("look-ups allocate %v times, want 0", got)
	}
}

func BenchmarkLookup(b *testing.B) {
	m, s := large(b)
	k := keysOf(m)
	i, hits := 0, 0
	run := func(name string, f func(i int) bool) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			hits = 0
			for b.Loop() {
				i = (i + 1) & (1<<16 - 1)
				if f(i) {
					hits++
				}
			}
			b.ReportMetric(float64(hits)/float64(b.N), "hits/op")
		})
	}
	run("vantage", func(i int) bool { return s.Vantage(k.exporters[i], 0, 1).HostRef != 0 })
	vantages := make([]estate.Vantage, 1<<16)
	for i := range vantages {
		vantages[i] = s.Vantage(k.exporters[i], 0, 0)
	}
	run("port", func(i int) bool { _, m := s.Port(&vantages[i], 9, k.ports[i]); return m == estate.Hit })
	run("mac", func(i int) bool { _, m := s.MAC(k.macs[i], 0); return m == estate.Hit })
	run("addr", func(i int) bool { _, m := s.Addr(k.addrs[i], 0); return m == estate.Hit })
	run("groups", func(i int) bool { return len(s.AddressGroups(k.addrs[i])) > 0 })
	run("subnet", func(i int) bool { return s.Subnet(&vantages[i], k.addrs[i]) != 0 })
}

func BenchmarkCompile(b *testing.B) {
	m := estatetest.Random(rand.New(rand.NewPCG(1, 2)), estatetest.Large)
	b.ReportAllocs()
	before, n := cpuTime(b), 0
	for b.Loop() {
		if _, err := estate.Compile(m); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(float64((cpuTime(b)-before).Milliseconds())/float64(n), "cpu-ms/op")
}
