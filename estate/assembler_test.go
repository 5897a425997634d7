package estate_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
)

const (
	uuidVM   = "11111111-0000-4000-8000-000000000001"
	uuidVIF  = "aaaaaaaa-0000-4000-8000-00000000000a"
	uuidHost = "eeeeeeee-0000-4000-8000-00000000000e"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// bed is an assembler and its holder.
type bed struct {
	t *testing.T
	*estate.Assembler
	*estate.Holder
	at time.Time
}

func newBed(t *testing.T) *bed {
	h := estate.NewHolder()
	return &bed{t, estate.NewAssembler(estate.AssemblerDeps{Estate: h}), h, noon}
}

func (b *bed) set(source string, m *estate.Model) {
	b.t.Helper()
	b.at = b.at.Add(time.Second)
	b.Set(source, m, b.at)
}

// fileModel names what the hosts of onHost have, by MAC address, without uuids.
func fileModel() *estate.Model {
	return &estate.Model{
		Pools: []estate.Pool{{Name: "lab"}},
		Hosts: []estate.Host{
			{Name: "xcp1", Pool: "lab", Exporters: addrs("192.0.2.11"), Bridges: []estate.Bridge{{Name: "xenbr0", ObservationDomains: []uint32{7}}}},
			{Name: "xcp2", Pool: "lab"},
		},
		Networks: []estate.Network{
			{Name: "front", Pool: "lab", Bridge: "xenbr0", VLAN: 7, Subnets: prefixes("10.0.0.0/24")},
			{Name: "back", Pool: "lab", Bridge: "xenbr0", VLAN: 8},
		},
		VMs: []estate.VM{{
			Name: "web", Pool: "lab", Host: "xcp1", Tags: []string{"www"}, Attributes: map[string]string{"owner": "ann"},
			VIFs: []estate.VIF{{Device: "0", Network: "front", MAC: 0x020000000001, IPs: addrs("10.0.0.5"), Ports: []estate.Port{{IfIndex: 99, Bridge: "xenbr0"}}}},
		}},
		VMGroups: []estate.VMGroup{{Name: "fronts", VMs: []string{"web"}}, {Name: "known by uuid", VMs: []string{uuidVM}}},
	}
}

// plug is a VIF at a host.
type plug struct {
	vm, vif string // UUIDs; empty: the host does not tell
	mac     estate.MAC
	ofPort  uint32
	vlan    uint16
	since   time.Duration // after noon
}

// onHost is what a host's database says.
func onHost(name string, plugs ...plug) *estate.Model {
	m := &estate.Model{
		Pools: []estate.Pool{{Name: "lab"}},
		Hosts: []estate.Host{{Name: name, Pool: "lab", UUID: uuidHost[:35] + name[len(name)-1:], Bridges: []estate.Bridge{{Name: "xenbr0", VirtualObsID: name}}}},
	}
	for _, p := range plugs {
		vif := estate.VIF{UUID: p.vif, MAC: p.mac, Ports: []estate.Port{{
			Host: name, Bridge: "xenbr0", OFPort: p.ofPort, IfIndex: 100 + p.ofPort, VLAN: p.vlan, Name: fmt.Sprintf("vif%d.0", p.ofPort), Since: noon.Add(p.since),
		}}}
		vm := estate.VM{UUID: p.vm, Name: p.vm, Pool: "lab", Host: name}
		if p.vif == "" {
			vif.Key = "lab/" + p.mac.String()
		}
		if p.vm == "" {
			vm.Key, vm.Name, vm.Anonymous = "vif/"+vif.Key+vif.UUID, vif.Ports[0].Name, true
		}
		vm.VIFs = []estate.VIF{vif}
		m.VMs = append(m.VMs, vm)
	}
	return m
}

// text returns what is in the merged estate, a line each.
func (b *bed) text() []string {
	s := b.Load()
	var lines []string
	name := func(id flow.ID) string { e, _ := s.Entity(id); return e.Name }
	for _, e := range s.Entities() {
		if e.Kind == flow.KindVM || e.Kind == flow.KindVIF {
			line := fmt.Sprintf("%s %s %s <%s> %v %s", e.Kind, e.Key, e.Name, name(e.Parent), e.Attributes, e.Source)
			if e.SameAs != 0 {
				same, _ := s.Entity(e.SameAs)
				line = fmt.Sprintf("%s %s = %s", e.Kind, e.Key, same.Key)
			}
			lines = append(lines, line)
		}
	}
	for _, w := range s.Warnings() {
		lines = append(lines, "warning "+w.Error())
	}
	return lines
}

func (b *bed) check(want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.text()); diff != "" {
		b.t.Errorf("estate (-want +got):\n%s", diff)
	}
}

// finds checks which VIF, by its name, is found behind an OpenFlow port of a host.
func (b *bed) finds(host string, ofPort uint32, want string) {
	b.t.Helper()
	s := b.Load()
	v := s.Vantage(flow.Addr{}, flow.VirtualID(host), 0)
	ref, _ := s.Port(&v, 5, ofPort)
	if got := name(b.t, s, s.Endpoint(ref).ID); got != want {
		b.t.Errorf("port %d of %s is of %q, want %q", ofPort, host, got, want)
	}
}

// A VM that the file knows by MAC address, and a host by UUID, is one, and has the id that it had first.
func TestOneVMOfFileAndHost(t *testing.T) {
	web := "vm lab/web web <lab> map[host:xcp1 owner:ann tags:www] file,host"
	vif := "vif lab/web/0 web/0 <web> map[device:0 ips:10.0.0.5 mac:02:00:00:00:00:01 network:front ports:xcp1/xenbr0/vif3.0] file,host"
	p := plug{vm: uuidVM, vif: uuidVIF, mac: 0x020000000001, ofPort: 3, vlan: 7}

	b := newBed(t)
	b.set("file", fileModel())
	b.check(
		"vm lab/web web <lab> map[host:xcp1 owner:ann tags:www] file",
		"vif lab/web/0 web/0 <web> map[device:0 ips:10.0.0.5 mac:02:00:00:00:00:01 network:front] file",
	)
	before := b.Load().Entities()
	b.set("host:1", onHost("xcp1", p))
	b.check(web, vif, "vm "+uuidVM+" = lab/web", "vif "+uuidVIF+" = lab/web/0")
	b.finds("xcp1", 3, "web/0")
	s := b.Load()
	for _, e := range before {
		if _, ok := s.Entity(e.ID); !ok {
			t.Errorf("%s %q has another id since the host is known", e.Kind, e.Key)
		}
	}
	v := s.Vantage(netip.MustParseAddr("192.0.2.11").As16(), 0, 7)
	if v.Bridge == 0 || v.Host != s.Vantage(flow.Addr{}, flow.VirtualID("xcp1"), 0).Host {
		t.Errorf("Vantage of the file's exporter and domain = %+v, want the host that is dialled", v)
	}
	if _, m := s.Port(&v, 9, 99); m != estate.Miss {
		t.Errorf("the file's port of a host whose database is read is found: %v, want a miss", m)
	}
	for _, e := range []string{"fronts", "known by uuid"} {
		ref, _ := s.MAC(0x020000000001, 0)
		if got := sortedNames(t, s, s.VMGroups(ref)); !slices.Contains(got, e) {
			t.Errorf("VM groups of web = %q, want %q among them", got, e)
		}
	}

	// The other way round it has the id of its UUID, and keeps that when the file forgets it.
	b = newBed(t)
	b.set("host:1", onHost("xcp1", p))
	b.set("file", fileModel())
	b.check(strings.Replace(web, "lab/web", uuidVM, 1), strings.Replace(vif, "lab/web/0", uuidVIF, 1))
	b.Remove("file", b.at)
	b.check(
		"vm "+uuidVM+" "+uuidVM+" <lab> map[host:xcp1] host",
		"vif "+uuidVIF+" "+uuidVM+"/02:00:00:00:00:01 <"+uuidVM+"> map[device:02:00:00:00:00:01 mac:02:00:00:00:00:01 ports:xcp1/xenbr0/vif3.0] host",
	)

	// After a restart the hosts may be there before the file is read, and yet nothing has another id.
	b = newBed(t)
	b.Recall([]estate.Identity{{Kind: flow.KindVM, Key: "lab/web"}, {Kind: flow.KindVIF, Key: "lab/web/0"}, {Kind: flow.KindVM, Key: uuidVM, SameAs: "lab/web"}}, b.at)
	b.set("host:1", onHost("xcp1", p))
	if got := b.text()[0]; !strings.HasPrefix(got, "vm lab/web ") {
		t.Errorf("after a restart, before the file: %q, want vm lab/web", got)
	}
	b.set("file", fileModel())
	b.check(web, vif, "vm "+uuidVM+" = lab/web", "vif "+uuidVIF+" = lab/web/0")
}

// A VM that moves is at both hosts for a while: one VIF, found behind both ports, at the host where it was plugged last.
func TestVIFOnTwoHosts(t *testing.T) {
	p := plug{vm: uuidVM, vif: uuidVIF, mac: 0x020000000001, ofPort: 3, vlan: 7, since: time.Minute}
	q := p
	q.ofPort, q.since = 5, 2*time.Minute
	b := newBed(t)
	b.set("file", fileModel())
	hostOf := func(want string) {
		t.Helper()
		if got := b.text()[0]; !strings.Contains(got, "host:"+want+" ") {
			t.Errorf("VM = %q, want host %s", got, want)
		}
	}
	b.set("host:1", onHost("xcp1", p))
	b.set("host:2", onHost("xcp2", q))
	hostOf("xcp2")
	b.finds("xcp1", 3, "web/0")
	b.finds("xcp2", 5, "web/0")
	b.set("host:1", onHost("xcp1"))
	hostOf("xcp2")
	b.finds("xcp1", 3, "")
	b.finds("xcp2", 5, "web/0")

	// A host that is lost keeps its word, but another's counts more, whenever it was.
	p.since = 3 * time.Minute
	b.set("host:1", onHost("xcp1", p))
	hostOf("xcp1")
	b.Lost("host:1", b.at)
	hostOf("xcp2")
	b.finds("xcp1", 3, "web/0")
	if s := b.Sources(); s[1].Name != "host:1" || s[1].Stale.IsZero() || !s[2].Stale.IsZero() {
		t.Errorf("Sources() = %+v, want host:1 stale", s)
	}
	b.Remove("host:1", b.at)
	b.finds("xcp1", 3, "")
}

func TestMergeTells(t *testing.T) {
	mac := estate.MAC(0x020000000001)
	f := func(name string, change func(m *estate.Model), host *estate.Model, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			m := fileModel()
			m.VMGroups = nil
			change(m)
			b.set("file", m)
			b.set("host:1", host)
			b.check(want...)
		})
	}
	f("the host knows a MAC address only, and the VLAN tells another network", func(*estate.Model) {},
		onHost("xcp1", plug{mac: mac, ofPort: 3, vlan: 8}),
		// In another network it is another VIF that has the same MAC address.
		"vm lab/web web <lab> map[host:xcp1 owner:ann tags:www] file",
		"vif lab/web/0 web/0 <web> map[device:0 ips:10.0.0.5 mac:02:00:00:00:00:01 network:front] file",
		"vm vif/lab/02:00:00:00:00:01 vif3.0 <lab> map[host:xcp1] host",
		"vif lab/02:00:00:00:00:01 vif3.0/02:00:00:00:00:01 <vif3.0> map[device:02:00:00:00:00:01 mac:02:00:00:00:00:01 network:back ports:xcp1/xenbr0/vif3.0] host",
	)
	f("two VIFs of the file have the MAC address in networks that the host does not tell", func(m *estate.Model) {
		m.VMs = append(m.VMs, estate.VM{Name: "db", Pool: "lab", VIFs: []estate.VIF{{Network: "back", MAC: mac}}})
	}, onHost("xcp1", plug{mac: mac, ofPort: 3, vlan: 9}),
		"vm lab/web web <lab> map[host:xcp1 owner:ann tags:www] file",
		"vif lab/web/0 web/0 <web> map[device:0 ips:10.0.0.5 mac:02:00:00:00:00:01 network:front] file",
		"vm lab/db db <lab> map[] file",
		"vif lab/db/02:00:00:00:00:01 db/02:00:00:00:00:01 <db> map[device:02:00:00:00:00:01 mac:02:00:00:00:00:01 network:back] file",
		"vm vif/lab/02:00:00:00:00:01 vif3.0 <lab> map[host:xcp1] host",
		"vif lab/02:00:00:00:00:01 vif3.0/02:00:00:00:00:01 <vif3.0> map[device:02:00:00:00:00:01 mac:02:00:00:00:00:01 ports:xcp1/xenbr0/vif3.0] host",
	)
	f("the network tells which of two", func(m *estate.Model) {
		m.VMs = append(m.VMs, estate.VM{Name: "db", Pool: "lab", VIFs: []estate.VIF{{Network: "back", MAC: mac}}})
	}, onHost("xcp1", plug{mac: mac, ofPort: 3, vlan: 8}),
		"vm lab/web web <lab> map[host:xcp1 owner:ann tags:www] file",
		"vif lab/web/0 web/0 <web> map[device:0 ips:10.0.0.5 mac:02:00:00:00:00:01 network:front] file",
		"vm lab/db db <lab> map[host:xcp1] file,host",
		"vif lab/db/02:00:00:00:00:01 db/02:00:00:00:00:01 <db> map[device:02:00:00:00:00:01 mac:02:00:00:00:00:01 network:back ports:xcp1/xenbr0/vif3.0] file,host",
	)
	f("two VMs by their UUIDs have one MAC address", func(m *estate.Model) { m.VMs[0].UUID = someUUID },
		onHost("xcp1", plug{vm: uuidVM, vif: uuidVIF, mac: mac, ofPort: 3, vlan: 7}),
		"vm "+strings.ToLower(someUUID)+" web <lab> map[host:xcp1 owner:ann tags:www] file",
		"vif "+strings.ToLower(someUUID)+"/0 web/0 <web> map[device:0 ips:10.0.0.5 mac:02:00:00:00:00:01 network:front] file",
		"vm "+uuidVM+" "+uuidVM+" <lab> map[host:xcp1] host",
		"vif "+uuidVIF+" "+uuidVM+"/02:00:00:00:00:01 <"+uuidVM+"> map[device:02:00:00:00:00:01 mac:02:00:00:00:00:01 network:front ports:xcp1/xenbr0/vif3.0] host",
		`warning VM "`+uuidVM+`".vifs[0].mac: the same MAC address in network "front" as VM "web".vifs[0].mac: look-ups by it find no VIF`,
	)
	f("both VIFs of a VM are known by their MAC addresses", func(m *estate.Model) {
		m.VMs[0].VIFs = append(m.VMs[0].VIFs, estate.VIF{Device: "1", MAC: 0x020000000002})
	}, onHost("xcp1", plug{mac: mac, ofPort: 3, vlan: 7}, plug{mac: 0x020000000002, ofPort: 4, vlan: 8}),
		"vm lab/web web <lab> map[host:xcp1 owner:ann tags:www] file,host",
		"vif lab/web/0 web/0 <web> map[device:0 ips:10.0.0.5 mac:02:00:00:00:00:01 network:front ports:xcp1/xenbr0/vif3.0] file,host",
		"vif lab/web/1 web/1 <web> map[device:1 mac:02:00:00:00:00:02 network:back ports:xcp1/xenbr0/vif4.0] file,host",
	)
}

// change makes random models of sources that are about the same few VMs and contradict each other.
type changer struct{ *rand.Rand }

func (r changer) uuid(kind, n int) string {
	if r.IntN(3) == 0 {
		return ""
	}
	return fmt.Sprintf("%08d-0000-4000-8000-%012d", kind, r.IntN(n))
}

func (r changer) source(name string) *estate.Model {
	m := &estate.Model{}
	pool := ""
	if r.IntN(4) > 0 {
		pool = fmt.Sprint("pool", r.IntN(2))
		m.Pools = []estate.Pool{{Name: pool, UUID: r.uuid(1, 2)}}
	}
	isHost := strings.HasPrefix(name, "host:")
	for i := range 2 {
		h := estate.Host{Name: fmt.Sprint("xcp", i), Pool: pool, UUID: fmt.Sprintf("00000002-0000-4000-8000-%012d", i), Bridges: []estate.Bridge{{Name: "br0", VirtualObsID: fmt.Sprint("xcp", i)}}}
		if isHost {
			if fmt.Sprint("host:", i) != name {
				continue
			}
		} else if r.IntN(2) == 0 {
			h.UUID = ""
		}
		m.Hosts = append(m.Hosts, h)
	}
	for i := range 3 {
		n := estate.Network{Name: fmt.Sprint("net", i), UUID: r.uuid(3, 3), Pool: pool, Bridge: "br0", VLAN: uint16(i)}
		if r.IntN(2) == 0 && !slices.ContainsFunc(m.Networks, func(o estate.Network) bool { return o.UUID == n.UUID && n.UUID != "" }) {
			m.Networks = append(m.Networks, n)
		}
	}
	perm := r.Perm(6)
	for i, k := range perm[:r.IntN(6)] { // VM k is called so everywhere, if it is called anything
		vm := estate.VM{Name: fmt.Sprint("vm", k), Pool: pool, Tags: []string{fmt.Sprint(r.IntN(2))}}
		if r.IntN(2) == 0 {
			vm.UUID = fmt.Sprintf("00000004-0000-4000-8000-%012d", k)
		}
		if vm.Anonymous = isHost && vm.UUID == ""; vm.Anonymous {
			vm.Key, vm.Name = fmt.Sprint("vif/", k), fmt.Sprint("vif", i)
		}
		if len(m.Hosts) > 0 && (isHost || r.IntN(2) == 0) {
			vm.Host = m.Hosts[r.IntN(len(m.Hosts))].Name
		}
		for j := range 1 + r.IntN(2) {
			vif := estate.VIF{Device: fmt.Sprint(j), MAC: estate.MAC(0x020000000000 + r.Uint64N(8))}
			if r.IntN(2) == 0 {
				vif.IPs = []netip.Addr{address(r.IntN(8)), address(8 + r.IntN(2))}
			}
			if r.IntN(2) == 0 {
				vif.UUID = fmt.Sprintf("00000005-0000-4000-8000-%012d", 2*k+j)
			}
			if len(m.Networks) > 0 && r.IntN(2) == 0 {
				vif.Network = m.Networks[r.IntN(len(m.Networks))].Name
			}
			if vm.Host != "" && r.IntN(2) == 0 {
				vif.Ports = []estate.Port{{Bridge: "br0", OFPort: uint32(1 + 2*i + j), VLAN: uint16(r.IntN(3)), Name: fmt.Sprint("p", i, j), Since: noon.Add(time.Duration(r.IntN(3)))}}
			}
			vm.VIFs = append(vm.VIFs, vif)
		}
		m.VMs = append(m.VMs, vm)
	}
	if name == "file" && len(m.VMs) > 0 {
		m.AddressGroups = []estate.AddressGroup{{Name: "low", Members: []string{"10.0.0.0/30"}}, {Name: fmt.Sprint("of", r.IntN(20)), Members: []string{"10.0.0.2", "2001:db8::/32"}}}
		m.VMGroups = []estate.VMGroup{{Name: "some", VMs: []string{fmt.Sprintf("00000004-0000-4000-8000-%012d", r.IntN(5))}, Select: []estate.Selector{{Tags: []string{"1"}}}}}
	}
	return m
}

// address returns one of ten addresses.
func address(i int) netip.Addr {
	if i >= 8 {
		return netip.MustParseAddr(fmt.Sprint("2001:db8::", i))
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
}

// answers returns what a snapshot says to every question that can be asked about the sources of a changer, now and before.
func answers(s *estate.Snapshot, at time.Time) []string {
	var list []string
	say := func(what string, ref estate.Ref, m estate.Match, addr flow.Addr) {
		e := s.Endpoint(ref)
		var ends [1]uint64
		groups := s.AppendGroups(nil, ends[:], []estate.Ref{ref}, []flow.Addr{addr})
		list = append(list, fmt.Sprint(what, m, e.ID, e.VM, e.Network, e.Bridge, e.NetworkRef, e.Host, s.VMGroups(ref), groups))
	}
	late, _ := s.Late()
	for network := range estate.NetworkRef(3) {
		for i := range 10 {
			addr := flow.Addr(address(i).As16())
			ref, m := s.Addr(addr, network)
			say(fmt.Sprint("addr ", i, network), ref, m, addr)
			mac := uint64(0x020000000000 + i)
			ref, m = s.MAC(mac, network)
			say(fmt.Sprint("mac ", i, network), ref, m, flow.Addr{})
			for _, ago := range []time.Duration{time.Second / 2, 3 * time.Second, 20 * time.Second} {
				ms := at.Add(-ago).UnixMilli()
				say(fmt.Sprint("late addr ", i, network, ago), late.Addr(addr, network, ms), 0, addr)
				say(fmt.Sprint("late mac ", i, network, ago), late.MAC(mac, network, ms), 0, flow.Addr{})
			}
		}
	}
	for _, host := range []string{"xcp0", "xcp1"} {
		v := s.Vantage(flow.Addr{}, flow.VirtualID(host), 0)
		for n := range uint32(14) {
			ref, m := s.Port(&v, 5, n)
			say(fmt.Sprint("port ", host, n), ref, m, flow.Addr{})
			say(fmt.Sprint("late port ", host, n), late.Port(v.PortKey(5, n), at.Add(-3*time.Second).UnixMilli()), 0, flow.Addr{})
		}
	}
	return list
}

// little changes one VM of a source, or leaves one out.
func (r changer) little(m *estate.Model) *estate.Model {
	c := *m
	c.VMs = slices.Clone(m.VMs)
	if len(c.VMs) == 0 {
		return &c
	}
	i := r.IntN(len(c.VMs))
	vm := &c.VMs[i]
	switch r.IntN(3) {
	case 0:
		c.VMs = slices.Delete(c.VMs, i, i+1)
	case 1:
		vm.Tags = []string{fmt.Sprint(r.IntN(3))}
	default:
		vm.VIFs = slices.Clone(vm.VIFs)
		for j := range vm.VIFs {
			vm.VIFs[j].MAC = estate.MAC(0x020000000000 + r.Uint64N(6))
		}
	}
	return &c
}

// keyTwice returns a key that two entities of a kind have.
func keyTwice(m *estate.Model) string {
	seen := map[string]bool{}
	twice := ""
	note := func(kind, key string) {
		if seen[kind+key] {
			twice = kind + " " + key
		}
		seen[kind+key] = true
	}
	for _, p := range m.Pools {
		note("pool", p.Key)
	}
	for _, h := range m.Hosts {
		note("host", h.Key)
	}
	for _, n := range m.Networks {
		note("network", n.Key)
	}
	for _, vm := range m.VMs {
		note("vm", vm.Key)
		for _, vif := range vm.VIFs {
			note("vif", vif.Key)
		}
	}
	return twice
}

// anonymous returns m without keys, which depend on what was seen when: references are by what the entities are.
func anonymous(m *estate.Model) *estate.Model {
	names := map[string]string{"": ""}
	c := *m
	c.Past = nil // what was before is another way's
	c.Pools, c.Hosts, c.Networks, c.VMs = slices.Clone(c.Pools), slices.Clone(c.Hosts), slices.Clone(c.Networks), slices.Clone(c.VMs)
	c.VMGroups = slices.Clone(c.VMGroups)
	for i := range c.Pools {
		p := &c.Pools[i]
		names["pool"+p.Key] = fmt.Sprint(p.Name, " ", p.UUID, " ", p.Origin)
		p.Key, p.SameAs = "", nil
	}
	for i := range c.Hosts {
		h := &c.Hosts[i]
		h.Pool = names["pool"+h.Pool]
		names["host"+h.Key] = fmt.Sprint(h.Name, " ", h.UUID, " ", h.Origin, " ", h.Pool)
		h.Key, h.SameAs = "", nil
	}
	for i := range c.Networks {
		n := &c.Networks[i]
		n.Pool = names["pool"+n.Pool]
		names["network"+n.Key] = fmt.Sprint(n.Name, " ", n.UUID, " ", n.VLAN, " ", n.Pool)
		n.Key, n.SameAs = "", nil
	}
	for i := range c.VMs {
		vm := &c.VMs[i]
		vm.Pool, vm.Host = names["pool"+vm.Pool], names["host"+vm.Host]
		names["vm"+vm.Key] = fmt.Sprint(i)
		vm.Key, vm.SameAs = "", nil
		vm.VIFs = slices.Clone(vm.VIFs)
		for j := range vm.VIFs {
			vif := &vm.VIFs[j]
			vif.Network = names["network"+vif.Network]
			vif.Key, vif.SameAs = "", nil
			vif.Ports = slices.Clone(vif.Ports)
			for k := range vif.Ports {
				vif.Ports[k].Host = names["host"+vif.Ports[k].Host]
			}
		}
	}
	for i := range c.VMGroups {
		g := &c.VMGroups[i]
		g.VMs = slices.Clone(g.VMs)
		for j := range g.VMs {
			g.VMs[j] = names["vm"+g.VMs[j]]
		}
	}
	// In the order of their keys before.
	slices.SortFunc(c.Pools, func(a, b estate.Pool) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	slices.SortFunc(c.Hosts, func(a, b estate.Host) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	slices.SortFunc(c.Networks, func(a, b estate.Network) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return &c
}

// However the sources came to say what they say, the estate is that of all of them at once.
func TestAssembledAtOnceIsTheSame(t *testing.T) {
	seed := chance.Seed(t)
	r := changer{rand.New(rand.NewPCG(seed, 0))}
	names := []string{"file", "host:0", "host:1", "xapi:lab"}
	merged := 0
	for round := range 5 {
		step := newBed(t)
		said, lost := map[string]*estate.Model{}, map[string]bool{}
		for n := range 40 {
			source := names[r.IntN(len(names))]
			m := said[source]
			switch k := r.IntN(10); {
			case k == 0:
				step.Remove(source, step.at)
				delete(said, source)
				delete(lost, source)
			case k == 1:
				step.Lost(source, step.at)
				lost[source] = m != nil
			case k < 6 && m != nil:
				said[source] = r.little(m)
				step.set(source, said[source])
				delete(lost, source)
			default:
				said[source] = r.source(source)
				step.set(source, said[source])
				delete(lost, source)
			}
			once := newBed(t)
			once.Recall(step.Identities(), step.at)
			var changes []estate.Change
			for name, m := range said {
				changes = append(changes, estate.Change{Source: name, Model: m})
			}
			once.Apply(step.at, changes...)
			for name := range lost {
				if lost[name] {
					once.Lost(name, step.at)
				}
			}
			if diff := cmp.Diff(anonymous(once.Model()), anonymous(step.Model()), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("seed %d, round %d, step %d, %s: at once - and step by step +:\n%s", seed, round, n, source, diff)
			}
			// What was compiled in parts is what is compiled as a whole.
			whole, err := estate.Compile(step.Model())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(whole.Entities(), step.Load().Entities()); diff != "" {
				t.Fatalf("seed %d, round %d, step %d, %s: entities, as a whole - and in parts +:\n%s", seed, round, n, source, diff)
			}
			if diff := cmp.Diff(answers(whole, step.at), answers(step.Load(), step.at)); diff != "" {
				t.Fatalf("seed %d, round %d, step %d, %s: look-ups, as a whole - and in parts +:\n%s", seed, round, n, source, diff)
			}
			for _, e := range whole.Entities() {
				if got, ok := step.Load().Entity(e.ID); !ok || !got.Equal(&e) {
					t.Fatalf("seed %d, round %d, step %d: Entity(%d) = %+v, %v; want %+v", seed, round, n, e.ID, got, ok, e)
				}
			}
			for _, m := range []*estate.Model{once.Model(), step.Model()} {
				if twice := keyTwice(m); twice != "" {
					t.Fatalf("seed %d, round %d, step %d: two entities have the key %s", seed, round, n, twice)
				}
			}
			for _, vm := range step.Model().VMs {
				if strings.Contains(vm.Origin, ",") {
					merged++
				}
			}
		}
	}
	if merged < 100 {
		t.Errorf("only %d entities were of several sources: the test compares too little", merged)
	}
}

// A pool that is asked by its management has hosts in common with the databases that are read: by UUID, by the exporter's address, or by name.
func TestHostsOfASource(t *testing.T) {
	b := newBed(t)
	database := func(n int, change func(h *estate.Host)) {
		m := onHost(fmt.Sprint("xcp", n))
		change(&m.Hosts[0])
		b.set(fmt.Sprint("host:", n), m)
	}
	database(1, func(h *estate.Host) { h.Name = "renamed" })                                           // the same UUID
	database(2, func(h *estate.Host) { h.Name, h.UUID, h.Exporters = "two", "", addrs("192.0.2.12") }) // the same address
	database(3, func(h *estate.Host) { h.UUID = "" })                                                  // the same name
	database(5, func(*estate.Host) {})                                                                 // of the pool, as people say
	database(6, func(h *estate.Host) { h.Pool = "" })                                                  // of another
	m := &estate.Model{Pools: []estate.Pool{{Name: "lab", UUID: someUUID}}}
	for i := range 4 {
		h := onHost(fmt.Sprint("xcp", i+1)).Hosts[0]
		h.Exporters = addrs(fmt.Sprint("192.0.2.1", i+1))
		m.Hosts = append(m.Hosts, h)
	}
	b.set("xapi:lab", m)
	uuid := func(n int) string { return fmt.Sprint(uuidHost[:35], n) }
	want := []estate.SourceHost{
		{Name: "xcp1", UUID: uuid(1), Pool: "lab", Told: true, Database: "host:renamed"},
		{Name: "xcp2", UUID: uuid(2), Pool: "lab", Told: true, Database: "host:two"},
		{Name: "xcp3", UUID: uuid(3), Pool: "lab", Told: true, Database: "host:xcp3"},
		{Name: "xcp4", UUID: uuid(4), Pool: "lab", Told: true},
		{Name: "xcp5", UUID: uuid(5), Pool: "lab", Database: "host:xcp5"},
	}
	s := b.Sources()
	if diff := cmp.Diff(want, s[0].Hosts); s[0].Name != "xapi:lab" || diff != "" {
		t.Errorf("hosts of %s (-want +got):\n%s", s[0].Name, diff)
	}
	for _, o := range s[1:] {
		if len(o.Hosts) > 0 {
			t.Errorf("hosts of %s: %+v", o.Name, o.Hosts)
		}
	}
}
