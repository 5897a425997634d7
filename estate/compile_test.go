package estate_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

const someUUID = "3F1C5A9E-8D7B-4C06-9A53-0E2B6D4F8C11"

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// small is an estate of which all names are known.
func small() *estate.Model {
	return &estate.Model{
		Pools: []estate.Pool{{Name: "lab", Attributes: map[string]string{"site": "ber"}}},
		Hosts: []estate.Host{
			{
				Name: "h1", Pool: "lab", Exporters: addrs("192.0.2.11", "2001:db8::11"),
				Bridges: []estate.Bridge{{Name: "xenbr0", ObservationDomains: []uint32{1}}, {Name: "xenbr1"}},
			},
			{Name: "h2", Pool: "lab", Exporters: addrs("192.0.2.12")},
		},
		Networks: []estate.Network{
			{Name: "prod", Pool: "lab", Bridge: "xenbr0", VLAN: 10, Subnets: prefixes("10.0.0.0/24")},
			{Name: "test", Pool: "lab", UUID: someUUID},
		},
		VMs: []estate.VM{
			{
				Name: "web", Pool: "lab", Host: "h1", Tags: []string{"www", "linux"}, Attributes: map[string]string{"owner": "ann"},
				VIFs: []estate.VIF{{
					Device: "0", Network: "prod", MAC: 0x020000000001, IPs: addrs("10.0.0.5", "2001:db8::5"),
					Ports: []estate.Port{{IfIndex: 7, Bridge: "xenbr0"}},
				}},
			},
			{Name: "db", Host: "h2", VIFs: []estate.VIF{{Network: "lab/prod", MAC: 0x020000000002, IPs: addrs("10.0.0.6")}}},
		},
		AddressGroups: []estate.AddressGroup{{Name: "inside", Members: []string{"10.0.0.0/8"}}},
		VMGroups:      []estate.VMGroup{{Name: "front", VMs: []string{"web"}}},
	}
}

func TestEntities(t *testing.T) {
	s, err := estate.Compile(small())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range s.Entities() {
		parent, _ := s.Entity(e.Parent)
		pool, _ := s.Entity(e.Pool)
		if e.ID != flow.NewID(e.Kind, e.Key) {
			t.Errorf("%s %q has id %d, want NewID of its key", e.Kind, e.Key, e.ID)
		}
		got = append(got, fmt.Sprintf("%s %s %s <%s> (%s) %v", e.Kind, e.Key, e.Name, parent.Name, pool.Name, e.Attributes))
	}
	want := []string{
		"pool lab lab <> (lab) map[site:ber]",
		"host lab/h1 h1 <lab> (lab) map[exporters:192.0.2.11,2001:db8::11]",
		"bridge lab/h1/xenbr0 xenbr0 <h1> (lab) map[]",
		"bridge lab/h1/xenbr1 xenbr1 <h1> (lab) map[]",
		"host lab/h2 h2 <lab> (lab) map[exporters:192.0.2.12]",
		"network lab/prod prod <lab> (lab) map[bridge:xenbr0 subnets:10.0.0.0/24 vlan:10]",
		"network 3f1c5a9e-8d7b-4c06-9a53-0e2b6d4f8c11 test <lab> (lab) map[]",
		"vm lab/web web <lab> (lab) map[host:h1 owner:ann tags:www,linux]",
		"vif lab/web/0 web/0 <web> (lab) map[device:0 ips:10.0.0.5,2001:db8::5 mac:02:00:00:00:00:01 network:prod]",
		// The pool follows from the host, so it is no part of the key.
		"vm db db <lab> (lab) map[host:h2]",
		"vif db/02:00:00:00:00:02 db/02:00:00:00:00:02 <db> (lab) map[device:02:00:00:00:00:02 ips:10.0.0.6 mac:02:00:00:00:00:02 network:prod]",
		"address_group inside inside <> () map[]",
		"vm_group front front <> () map[]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("Entities (-want +got):\n%s", diff)
	}
	if n := s.Count(flow.KindVM); n != 2 {
		t.Errorf("Count(vm) = %d, want 2", n)
	}
	if len(s.Warnings()) != 0 {
		t.Errorf("Warnings() = %v, want none", s.Warnings())
	}
}

// Moving a VM, or giving it other addresses, tags or groups, changes no id.
func TestIDsStay(t *testing.T) {
	before, err := estate.Compile(small())
	if err != nil {
		t.Fatal(err)
	}
	m := small()
	m.VMs[0].Host, m.VMs[0].VIFs[0].Ports = "h2", nil
	m.VMs[1].Host = "h1"
	m.VMs[1].VIFs[0].IPs = addrs("10.0.0.99")
	m.VMs[0].Tags = nil
	slices.Reverse(m.VMs)
	slices.Reverse(m.Hosts)
	after, err := estate.Compile(m)
	if err != nil {
		t.Fatal(err)
	}
	changed, gone := after.Diff(before)
	if len(gone) != 0 || len(changed) != 3 { // both VMs, and the VIF with another address
		t.Errorf("Diff = %v, %v; want 3 changed and none gone", changed, gone)
	}
	m.VMs = m.VMs[:1]
	m.VMGroups = nil
	fewer, err := estate.Compile(m)
	if err != nil {
		t.Fatal(err)
	}
	changed, gone = fewer.Diff(after)
	if len(changed) != 0 || len(gone) != 3 {
		t.Errorf("Diff = %v, %v; want a VM, its VIF and a group gone", changed, gone)
	}
	if changed, _ := fewer.Diff(nil); len(changed) != len(fewer.Entities()) {
		t.Errorf("Diff(nil) has %d entities, want all %d", len(changed), len(fewer.Entities()))
	}
}

func TestCompileRefuses(t *testing.T) {
	f := func(want string, change func(m *estate.Model)) {
		t.Helper()
		m := small()
		change(m)
		_, err := estate.Compile(m)
		var problems *estate.Problems
		if !errors.As(err, &problems) || !slices.ContainsFunc(problems.List, func(p estate.Problem) bool { return p.Error() == want }) {
			t.Fatalf("Compile: %v\nwant %s", err, want)
		}
		if len(problems.List) != 1 {
			t.Fatalf("Compile: %d problems, want only\n%s\ngot\n%v", len(problems.List), want, err)
		}
	}
	f(`pools[1]: pool "lab" is also pools[0]: give it another name, or both a uuid`,
		func(m *estate.Model) { m.Pools = append(m.Pools, estate.Pool{Name: "lab"}) })
	f(`hosts[1]: host "lab/h1" is also hosts[0]: give it another name, or both a uuid`,
		func(m *estate.Model) {
			m.Hosts[1].Name, m.VMs[1].Host = "h1", ""
			m.VMs[0].Host = ""
			m.VMs[0].VIFs[0].Ports = nil
		})
	f(`hosts[0].bridges[1]: bridge "lab/h1/xenbr0" is also hosts[0].bridges[0]: give it another name, or both a uuid`,
		func(m *estate.Model) { m.Hosts[0].Bridges[1].Name = "xenbr0" })
	f(`hosts[0].bridges[1].observation_domains: 1 is also that of bridge "xenbr0"`,
		func(m *estate.Model) { m.Hosts[0].Bridges[1].ObservationDomains = []uint32{2, 1} })
	f(`hosts[1].exporters[0]: 192.0.2.11 is also an exporter of hosts[0] "h1"`,
		func(m *estate.Model) { m.Hosts[1].Exporters = addrs("::ffff:192.0.2.11") })
	f(`hosts[1].exporters[0]: fe80::1%eth0 has a zone, which means nothing to other hosts`,
		func(m *estate.Model) { m.Hosts[1].Exporters = addrs("fe80::1%eth0") })
	f(`hosts[1].pool: "lba" is no pool; did you mean "lab"?`, func(m *estate.Model) { m.Hosts[1].Pool = "lba" })
	f(`networks[0].vlan: found 4095, want 0 (untagged) to 4094`, func(m *estate.Model) { m.Networks[0].VLAN = 4095 })
	f(`networks[0].subnets[0]: 10.0.0.1/24 has bits set beyond /24: write 10.0.0.0/24 for the prefix`,
		func(m *estate.Model) { m.Networks[0].Subnets = prefixes("10.0.0.1/24", "10.0.0.0/16") })
	f(`networks[1].uuid: found "123", want a UUID, e.g. "3f1c5a9e-8d7b-4c06-9a53-0e2b6d4f8c11"`,
		func(m *estate.Model) { m.Networks[1].UUID = "123" })
	f(`networks[1].uuid: 3f1c5a9e-8d7b-4c06-9a53-0e2b6d4f8c11 is also the uuid of networks[0]`,
		func(m *estate.Model) { m.Networks[0].UUID = strings.ToLower(someUUID) })
	f(`vms[1].name: missing`, func(m *estate.Model) { m.VMs[1].Name = "" })
	f(`vms[1].name: found "a\nb", want a name without control characters and spaces around it`,
		func(m *estate.Model) { m.VMs[1].Name = "a\nb" })
	f(`vms[1].host: "h3" is no host; did you mean "h1"?`, func(m *estate.Model) { m.VMs[1].Host = "h3" })
	f(`vms[1].vifs[0].network: "lab/prd" is no network`, func(m *estate.Model) { m.VMs[1].VIFs[0].Network = "lab/prd" })
	f(`vms[1].vifs[0].network: "prod" is the name of 2 networks: write it as pool/name or by uuid`,
		func(m *estate.Model) {
			m.Pools = append(m.Pools, estate.Pool{Name: "p2"})
			m.Networks = append(m.Networks, estate.Network{Name: "prod", Pool: "p2"})
			m.VMs[1].Host, m.VMs[1].VIFs[0].Network = "", "prod"
		})
	f(`vms[1].pool: found "p2", but it is on host "h2" of pool "lab"`,
		func(m *estate.Model) {
			m.Pools, m.VMs[1].Pool = append(m.Pools, estate.Pool{Name: "p2"}), "p2"
		})
	f(`vms[1].vifs[0].mac: 33:33:00:00:00:01 is a multicast address, which no interface has`,
		func(m *estate.Model) { m.VMs[1].VIFs[0].MAC = 0x333300000001 })
	f(`vms[1].vifs[0].ips[0]: 224.0.0.1 is no address of one interface`, func(m *estate.Model) { m.VMs[1].VIFs[0].IPs = addrs("224.0.0.1") })
	f(`vms[1].vifs[0]: has none of device, mac and uuid: nothing identifies it`, func(m *estate.Model) { m.VMs[1].VIFs[0].MAC = 0 })
	f(`vms[0].vifs[1]: VIF "lab/web/0" is also vms[0].vifs[0]: give it another name, or both a uuid`,
		func(m *estate.Model) { m.VMs[0].VIFs = append(m.VMs[0].VIFs, estate.VIF{Device: "0"}) })
	f(`vms[0].vifs[0].ports[0].bridge: "xenbr9" is no bridge of host "h1"; did you mean "xenbr0"?`,
		func(m *estate.Model) { m.VMs[0].VIFs[0].Ports[0].Bridge = "xenbr9" })
	f(`vms[0].vifs[0].ports[0]: has neither if_index nor of_port`, func(m *estate.Model) { m.VMs[0].VIFs[0].Ports[0].IfIndex = 0 })
	f(`vms[1].vifs[0].ports[0].host: missing, and the VM names no host either`,
		func(m *estate.Model) { m.VMs[1].Host, m.VMs[1].VIFs[0].Ports = "", []estate.Port{{IfIndex: 1}} })
	f(`vms[1].vifs[0].ports[0].if_index: 7 is also that of another VIF at host "h1" (vms[0].vifs[0].ports[0].if_index)`,
		func(m *estate.Model) { m.VMs[1].VIFs[0].Ports = []estate.Port{{Host: "h1", IfIndex: 7}} })
	f(`address_groups[0].members[1]: "inside" is an address group: groups do not hold groups, list its members`,
		func(m *estate.Model) { m.AddressGroups[0].Members = append(m.AddressGroups[0].Members, "inside") })
	f(`address_groups[0].members[0]: 10.0.0.1/8 has bits set beyond /8: write 10.0.0.0/8 for the prefix, 10.0.0.1 for the address`,
		func(m *estate.Model) { m.AddressGroups[0].Members[0] = "10.0.0.1/8" })
	f(`address_groups[0].members[0]: found range "10.0.0.9-10.0.0.1", want the lower address first, both of one family`,
		func(m *estate.Model) { m.AddressGroups[0].Members[0] = "10.0.0.9-10.0.0.1" })
	f(`address_groups[0].members[0]: found "example.org", want an address, prefix or range, e.g. "192.0.2.1", "192.0.2.0/24", "192.0.2.1-192.0.2.9"`,
		func(m *estate.Model) { m.AddressGroups[0].Members[0] = "example.org" })
	f(`vm_groups[0].vms[0]: "front" is a VM group: groups do not hold groups, list its VMs or select them`,
		func(m *estate.Model) { m.VMGroups[0].VMs[0] = "front" })
	f(`vm_groups[0].vms[0]: "wbe" is no VM; did you mean "web"?`, func(m *estate.Model) { m.VMGroups[0].VMs[0] = "wbe" })
	f(`vm_groups[0].select[0]: selects by nothing: say what the VMs have in common, or name: "*" for all`,
		func(m *estate.Model) { m.VMGroups[0].Select = []estate.Selector{{}} })
	f(`vm_groups[0].select[0].network: "nowhere" is no network`,
		func(m *estate.Model) { m.VMGroups[0].Select = []estate.Selector{{Network: "nowhere"}} })
}

func TestCompileListsBoundedProblems(t *testing.T) {
	m := &estate.Model{VMs: make([]estate.VM, 1000)}
	_, err := estate.Compile(m)
	var problems *estate.Problems
	if !errors.As(err, &problems) || len(problems.List) != 100 || problems.More != 900 || !strings.HasSuffix(err.Error(), "… and 900 more") {
		t.Fatalf("Compile of 1000 problems: %v", err)
	}
}

// What live networks do have is no reason to refuse an estate.
func TestCompileWarns(t *testing.T) {
	f := func(want string, change func(m *estate.Model)) *estate.Snapshot {
		t.Helper()
		m := small()
		change(m)
		s, err := estate.Compile(m)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Warnings()) != 1 || s.Warnings()[0].Error() != want {
			t.Fatalf("Warnings() = %v\nwant %s", s.Warnings(), want)
		}
		return s
	}
	s := f(`vms[1].vifs[0].ips[0]: the same IP address in network "prod" as vms[0].vifs[0].ips[0]: look-ups by it find no VIF`,
		func(m *estate.Model) { m.VMs[1].VIFs[0].IPs = addrs("10.0.0.5") })
	if ref, match := s.Addr(netip.MustParseAddr("10.0.0.5").As16(), 1); ref != 0 || match != estate.Ambiguous {
		t.Errorf("Addr of an address of two VIFs = %v, %v", ref, match)
	}
	s = f(`vms[1].vifs[0].mac: the same MAC address in network "prod" as vms[0].vifs[0].mac: look-ups by it find no VIF`,
		func(m *estate.Model) { m.VMs[1].VIFs[0].MAC = 0x020000000001 })
	if ref, match := s.MAC(0x020000000001, 1); ref != 0 || match != estate.Ambiguous {
		t.Errorf("MAC of two VIFs = %v, %v", ref, match)
	}
	f(`vms[1].vifs[0].ips[0]: 10.9.0.1 is in none of the subnets of network "lab/prod"`,
		func(m *estate.Model) { m.VMs[1].VIFs[0].IPs = addrs("10.9.0.1") })
	f(`networks[1].subnets[0]: 10.0.0.0/24 is also a subnet of another network there: an address in it tells neither`,
		func(m *estate.Model) { m.Networks[1].Subnets = prefixes("10.0.0.0/24") })
}

// One address in two networks is no conflict: the network of the observation tells them apart.
func TestOverlappingNetworks(t *testing.T) {
	m := small()
	m.VMs[1].VIFs[0].Network, m.VMs[1].VIFs[0].IPs, m.VMs[1].VIFs[0].MAC = "test", addrs("10.0.0.5"), 0x020000000001
	s, err := estate.Compile(m)
	if err != nil || len(s.Warnings()) != 0 {
		t.Fatalf("Compile: %v, warnings %v", err, s.Warnings())
	}
	addr := netip.MustParseAddr("10.0.0.5").As16()
	f := func(network estate.NetworkRef, vif string, want estate.Match) {
		t.Helper()
		ref, match := s.Addr(addr, network)
		if match != want || name(t, s, s.Endpoint(ref).ID) != vif {
			t.Fatalf("Addr in network %d = %q, %v; want %q, %v", network, name(t, s, s.Endpoint(ref).ID), match, vif, want)
		}
		ref, match = s.MAC(0x020000000001, network)
		if match != want || name(t, s, s.Endpoint(ref).ID) != vif {
			t.Fatalf("MAC in network %d = %q, %v; want %q, %v", network, name(t, s, s.Endpoint(ref).ID), match, vif, want)
		}
	}
	f(1, "web/0", estate.Hit)
	f(2, "db/02:00:00:00:00:01", estate.Hit)
	f(0, "", estate.Ambiguous)
}

// Open vSwitch numbers ports by OpenFlow in NetFlow 5, per bridge, and by interface index elsewhere.
func TestPortsByProtocol(t *testing.T) {
	m := small()
	m.VMs[0].VIFs[0].Ports[0].OFPort = 3
	m.VMs = append(m.VMs, estate.VM{Name: "other", Host: "h1", VIFs: []estate.VIF{{
		Device: "0", Ports: []estate.Port{{Bridge: "xenbr1", IfIndex: 3, OFPort: 7}},
	}}})
	s, err := estate.Compile(m)
	if err != nil {
		t.Fatal(err)
	}
	exporter := netip.MustParseAddr("192.0.2.11").As16()
	f := func(domain uint32, version uint8, index uint32, want string) {
		t.Helper()
		v := s.Vantage(exporter, 0, domain)
		ref, _ := s.Port(&v, version, index)
		if got := name(t, s, s.Endpoint(ref).ID); got != want {
			t.Fatalf("Port(domain %d, version %d, %d) = %q, want %q", domain, version, index, got, want)
		}
	}
	f(1, 5, 3, "web/0")
	f(1, 10, 7, "web/0")
	f(1, 5, 7, "") // on the other bridge
	f(9, 5, 7, "other/0")
	f(9, 10, 3, "other/0")
	f(9, 10, 99, "")
}

func TestVMGroupSelectors(t *testing.T) {
	f := func(sel estate.Selector, want ...string) {
		t.Helper()
		m := small()
		m.VMGroups = []estate.VMGroup{{Name: "g", Select: []estate.Selector{sel}}}
		s, err := estate.Compile(m)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i, vm := range m.VMs {
			if len(s.VMGroups(estate.Ref(i+1))) > 0 {
				got = append(got, vm.Name)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%+v selects %v, want %v", sel, got, want)
		}
	}
	f(estate.Selector{Tags: []string{"www"}}, "web")
	f(estate.Selector{Tags: []string{"www", "windows"}})
	f(estate.Selector{Name: "*"}, "web", "db")
	f(estate.Selector{Name: "?b"}, "db")
	f(estate.Selector{Name: "w*b*"}, "web")
	f(estate.Selector{Name: "W*"})
	f(estate.Selector{Network: "prod"}, "web", "db")
	f(estate.Selector{Network: "test"})
	f(estate.Selector{Pool: "lab"}, "web", "db")
	f(estate.Selector{Attributes: map[string]string{"owner": "ann"}}, "web")
	f(estate.Selector{Attributes: map[string]string{"none": ""}})
	f(estate.Selector{Pool: "lab", Name: "d*", Network: "prod"}, "db")
}

// A range is in a group from its first address to its last, whatever prefixes it takes.
func TestAddressRanges(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 300 {
		var a, b [16]byte
		copy(a[:], netip.MustParseAddr("2001:db8::").AsSlice())
		size := 4
		if r.IntN(2) == 0 {
			size = 16
		}
		for i := size - 2; i < size; i++ {
			a[i], b[i] = byte(r.Uint32()), byte(r.Uint32())
		}
		copy(b[:size-2], a[:size-2])
		from, _ := netip.AddrFromSlice(a[:size])
		to, _ := netip.AddrFromSlice(b[:size])
		if to.Less(from) {
			from, to = to, from
		}
		s, err := estate.Compile(&estate.Model{AddressGroups: []estate.AddressGroup{{Name: "g", Members: []string{from.String() + " - " + to.String()}}}})
		if err != nil {
			t.Fatal(err)
		}
		for addr, want := range map[netip.Addr]bool{from: true, to: true, from.Prev(): false, to.Next(): false} {
			if got := len(s.AddressGroups(addr.As16())) == 1; got != want {
				t.Fatalf("%s in %s-%s = %v, want %v", addr, from, to, got, want)
			}
		}
	}
	s, err := estate.Compile(&estate.Model{AddressGroups: []estate.AddressGroup{{Name: "g", Members: []string{"0.0.0.0-255.255.255.255"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.AddressGroups(netip.MustParseAddr("198.51.100.1").As16())) != 1 || len(s.AddressGroups(netip.MustParseAddr("::1").As16())) != 0 ||
		len(s.AddressGroups(flow.Addr{})) != 0 {
		t.Error("the range of all IPv4 addresses has other addresses, or not all")
	}
}

func TestMAC(t *testing.T) {
	for _, text := range []string{"02:00:0a:00:00:ff", "02-00-0A-00-00-FF", "0200.0a00.00ff"} {
		m, err := estate.ParseMAC(text)
		if err != nil || m != 0x02000a0000ff || m.String() != "02:00:0a:00:00:ff" {
			t.Errorf("ParseMAC(%q) = %x, %v", text, uint64(m), err)
		}
	}
	for _, text := range []string{"", "02:00:00:00:00", "02:00:00:00:00:00:00:01", "zz:00:00:00:00:00", "1"} {
		if m, err := estate.ParseMAC(text); err == nil {
			t.Errorf("ParseMAC(%q) = %s, want an error", text, m)
		}
	}
}
