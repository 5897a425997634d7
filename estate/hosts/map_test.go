package hosts_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/ovs/ovsdb"
)

// database makes the rows of a host.
type database struct {
	*ovsdb.Rows
	n int
}

func newDatabase(rootIDs ...string) *database {
	return &database{Rows: &ovsdb.Rows{
		Root:    ovsdb.Root{ExternalIDs: pairs(rootIDs), OVSVersion: "2.17.7"},
		Bridges: map[ovsdb.UUID]*ovsdb.Bridge{}, Ports: map[ovsdb.UUID]*ovsdb.Port{}, Interfaces: map[ovsdb.UUID]*ovsdb.Interface{},
		Controllers: map[ovsdb.UUID]*ovsdb.Controller{}, NetFlows: map[ovsdb.UUID]*ovsdb.NetFlow{}, IPFIXs: map[ovsdb.UUID]*ovsdb.IPFIX{},
		SampleSets: map[ovsdb.UUID]*ovsdb.SampleSet{},
	}}
}

func pairs(list []string) map[string]string {
	m := map[string]string{}
	for _, p := range list {
		k, v, _ := strings.Cut(p, "=")
		m[k] = v
	}
	return m
}

func (d *database) uuid() ovsdb.UUID {
	d.n++
	return ovsdb.UUID(fmt.Sprintf("00000000-0000-4000-8000-%012d", d.n))
}

func (d *database) bridge(name string) *ovsdb.Bridge {
	b := &ovsdb.Bridge{UUID: d.uuid(), Name: name}
	d.Bridges[b.UUID] = b
	d.Root.Bridges = append(d.Root.Bridges, b.UUID)
	d.port(b, 0, name, "internal", 65534)
	return b
}

// port adds a port with an interface of the same name; tag 0 is none.
func (d *database) port(b *ovsdb.Bridge, tag int64, name, kind string, ofPort int64, ids ...string) *ovsdb.Port {
	i := &ovsdb.Interface{UUID: d.uuid(), Name: name, Type: kind, OFPort: ofPort, IfIndex: ofPort + 100, LinkState: "up", ExternalIDs: pairs(ids)}
	p := &ovsdb.Port{UUID: d.uuid(), Name: name, Interfaces: []ovsdb.UUID{i.UUID}, OtherConfig: map[string]string{}}
	if tag != 0 {
		p.Tag = &tag
	}
	d.Interfaces[i.UUID], d.Ports[p.UUID] = i, p
	b.Ports = append(b.Ports, p.UUID)
	return p
}

func (d *database) iface(name string) *ovsdb.Interface {
	for _, i := range d.Interfaces {
		if i.Name == name {
			return i
		}
	}
	panic("BUG: no interface " + name)
}

func ours(ids map[string]string) bool { return ids["owner"] == "weir" }

// text returns an inventory as lines.
func text(inv *hosts.Inventory) []string {
	var lines []string
	add := func(format string, args ...any) {
		lines = append(lines, strings.TrimRight(fmt.Sprintf(format, args...), " "))
	}
	for _, b := range inv.Bridges {
		add("bridge %s domains=%v virtual=%q rules=%v", b.Name, b.ObservationDomains, b.VirtualObsID, b.RuleSampling)
		for _, f := range b.Fake {
			add("  fake %s vlan=%d", f.Name, f.VLAN)
		}
		for _, c := range b.Controllers {
			add("  controller %s ours=%v", c.Target, c.Ours)
		}
	}
	for _, p := range inv.Ports {
		line := fmt.Sprintf("port %s/%s %s of=%d if=%d", p.Bridge, p.Name, p.Kind, p.OFPort, p.IfIndex)
		for _, x := range []struct {
			name  string
			value any
			show  bool
		}{
			{"mac", p.MAC, p.MAC != 0},
			{"vlan", p.VLAN, p.VLAN != 0},
			{"mode", p.VLANMode, p.VLANMode != ""},
			{"trunks", p.Trunks, p.Trunks != nil},
			{"bond", p.Bond, p.Bond != ""},
			{"bonded", p.BondMode, p.BondMode != ""},
			{"lacp", p.LACP, p.LACP},
			{"active", p.Active, p.Active},
			{"remote", p.Remote, p.Remote != ""},
			{"error", p.Error, p.Error != ""},
		} {
			if x.show {
				line += fmt.Sprintf(" %s=%v", x.name, x.value)
			}
		}
		add("%s", line)
	}
	for _, v := range inv.VIFs {
		var ports []string
		for _, p := range v.Ports {
			ports = append(ports, inv.Ports[p].Name)
		}
		add("vif %s by %s vm=%s (%s) device=%q mac=%s net=%s %s/%d ports=%s", v.Key, v.By, v.VM.Key, v.VM.Name, v.Device, v.MAC, v.Network, v.Bridge, v.VLAN, strings.Join(ports, ","))
	}
	return lines
}

const (
	vifA = "aaaaaaaa-0000-4000-8000-00000000000a"
	vifB = "bbbbbbbb-0000-4000-8000-00000000000b"
	vm1  = "11111111-0000-4000-8000-000000000001"
	vm2  = "22222222-0000-4000-8000-000000000002"
	net1 = "cccccccc-0000-4000-8000-00000000000c"
	net2 = "dddddddd-0000-4000-8000-00000000000d"
)

func check(t *testing.T, inv *hosts.Inventory, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, text(inv)); diff != "" {
		t.Errorf("Map (-want +got):\n%s", diff)
	}
}

func TestMapXenServer(t *testing.T) {
	d := newDatabase("xs-system-uuid=EEEEEEEE-0000-4000-8000-00000000000E", "system-id=not the one")
	b := d.bridge("xenbr0")
	b.ExternalIDs = map[string]string{"xs-network-uuids": net2} // of its last VLAN only: tells nothing
	d.port(b, 0, "eth0", "", 1)
	d.port(b, 7, "xapi1", "internal", 2).FakeBridge = true
	// A VM without drivers of its own yet: both its interfaces are there, one says so by its name alone.
	d.port(b, 0, "vif5.0", "", 3, "xs-vif-uuid="+strings.ToUpper(vifA), "xs-vm-uuid="+vm1, "xs-network-uuid="+net1, "attached-mac=02:00:00:00:00:0A", "iface-id="+vifB)
	d.port(b, 0, "tap5.0", "", 4)
	d.port(b, 7, "vif5.1", "", 5, "xs-vif-uuid="+vifB, "xs-vm-uuid="+vm1, "xs-network-uuid="+net2, "attached-mac=02:00:00:00:00:0b", "iface-status=active")
	d.port(b, 7, "tap5.1", "", 6, "xs-vif-uuid="+vifB, "xs-vm-uuid="+vm1, "iface-status=inactive")
	// One that is just being made, and one that was not.
	d.port(b, 0, "vif6.0", "", 0, "attached-mac=02:00:00:00:00:0c")
	d.port(b, 0, "vif7.0", "", -1).Trunks = []int64{0, 3, 9999}
	d.iface("vif7.0").Error = "could not open network device vif7.0 (No such device)"

	inv := hosts.Map(hosts.Settings{Key: "k", Name: "xcp1", Pool: "lab"}, d.Rows, ours)
	check(t, inv,
		`bridge xenbr0 domains=[] virtual="" rules=false`,
		`  fake xapi1 vlan=7`,
		`port xenbr0/eth0 uplink of=1 if=101`,
		`port xenbr0/tap5.0 vif of=4 if=104`,
		`port xenbr0/tap5.1 vif of=6 if=106 vlan=7`,
		`port xenbr0/vif5.0 vif of=3 if=103`,
		`port xenbr0/vif5.1 vif of=5 if=105 vlan=7`,
		`port xenbr0/vif6.0 vif of=0 if=100`,
		`port xenbr0/vif7.0 vif of=0 if=99 trunks=[0 3] error=could not open network device vif7.0 (No such device)`,
		`port xenbr0/xapi1 local of=2 if=102 vlan=7`,
		`port xenbr0/xenbr0 local of=65534 if=65634`,
		`vif `+vifA+` by xs-vif-uuid vm=`+vm1+` (`+vm1+`) device="0" mac=02:00:00:00:00:0a net=`+net1+` xenbr0/0 ports=tap5.0,vif5.0`,
		`vif `+vifB+` by xs-vif-uuid vm=`+vm1+` (`+vm1+`) device="1" mac=02:00:00:00:00:0b net=`+net2+` xenbr0/7 ports=vif5.1,tap5.1`,
		`vif eeeeeeee-0000-4000-8000-00000000000e/vif7.0 by name vm=vif/eeeeeeee-0000-4000-8000-00000000000e/vif7.0 (vif7.0) device="0" mac= net= xenbr0/0 ports=vif7.0`,
		`vif lab/02:00:00:00:00:0c by attached-mac vm=vif/lab/02:00:00:00:00:0c (vif6.0) device="0" mac=02:00:00:00:00:0c net= xenbr0/0 ports=vif6.0`,
	)
	if want := "eeeeeeee-0000-4000-8000-00000000000e"; inv.UUID != want {
		t.Errorf("UUID = %q, want %q", inv.UUID, want)
	}
}

func TestMapLibvirtAndOpenStack(t *testing.T) {
	d := newDatabase("system-id=eeeeeeee-0000-4000-8000-00000000000f")
	b := d.bridge("br-int")
	d.port(b, 20, "vnet3", "", 1, "iface-id="+vifA, "vm-id="+vm1, "attached-mac=52:54:00:00:00:01", "iface-status=active")
	d.port(b, 0, "vnet4", "", 2)
	d.port(b, 4, "tapc0ffee00-01", "", 3, "iface-id="+vifB, "vm-uuid="+vm2, "attached-mac=fa:16:3e:00:00:02").OtherConfig = map[string]string{"net_uuid": net1}
	d.port(b, 0, "ovn0", "", 4, "iface-id=node-1")
	d.port(b, 0, "int-br-ex", "patch", 5)
	d.iface("int-br-ex").Options = map[string]string{"peer": "phy-br-ex"}
	d.port(b, 0, "vxlan-c0a8", "vxlan", 6)
	d.iface("vxlan-c0a8").Options = map[string]string{"remote_ip": "192.168.50.2"}
	bond := d.port(b, 0, "bond0", "", 7)
	second := &ovsdb.Interface{UUID: d.uuid(), Name: "eth1", OFPort: 8}
	d.Interfaces[second.UUID] = second
	bond.Interfaces = append(bond.Interfaces, second.UUID, "gone")
	d.iface("bond0").Name = "eth0"
	d.iface("eth0").MACInUse, second.MACInUse = "0c:00:00:00:00:01", "0c:00:00:00:00:02"
	bond.BondMode, bond.BondActiveSlave, bond.LACP, bond.VLANMode = "balance-slb", "0c:00:00:00:00:02", "active", "trunk"

	inv := hosts.Map(hosts.Settings{Key: "kvm1", Name: "kvm1"}, d.Rows, ours)
	check(t, inv,
		`bridge br-int domains=[] virtual="" rules=false`,
		`port br-int/br-int local of=65534 if=65634`,
		`port br-int/eth0 uplink of=7 if=107 mac=0c:00:00:00:00:01 mode=trunk bond=bond0 bonded=balance-slb lacp=true`,
		`port br-int/eth1 uplink of=8 if=0 mac=0c:00:00:00:00:02 mode=trunk bond=bond0 bonded=balance-slb lacp=true active=true`,
		`port br-int/int-br-ex patch of=5 if=105 remote=phy-br-ex`,
		`port br-int/ovn0 vif of=4 if=104`,
		`port br-int/tapc0ffee00-01 vif of=3 if=103 vlan=4`,
		`port br-int/vnet3 vif of=1 if=101 vlan=20`,
		`port br-int/vnet4 vif of=2 if=102`,
		`port br-int/vxlan-c0a8 tunnel of=6 if=106 remote=192.168.50.2`,
		`vif `+vifA+` by iface-id vm=`+vm1+` (`+vm1+`) device="" mac=52:54:00:00:00:01 net= br-int/20 ports=vnet3`,
		`vif `+vifB+` by iface-id vm=`+vm2+` (`+vm2+`) device="" mac=fa:16:3e:00:00:02 net=`+net1+` br-int/4 ports=tapc0ffee00-01`,
		`vif eeeeeeee-0000-4000-8000-00000000000f/vnet4 by name vm=vif/eeeeeeee-0000-4000-8000-00000000000f/vnet4 (vnet4) device="" mac= net= br-int/0 ports=vnet4`,
		`vif iface-id/node-1 by iface-id vm=vif/iface-id/node-1 (ovn0) device="" mac= net= br-int/0 ports=ovn0`,
	)
	m := inv.Model(nil)
	for _, n := range m.Networks {
		if n.VLAN != 0 || n.Bridge != "" {
			t.Errorf("network %q has bridge %q and VLAN %d, which OpenStack chooses anew on each host", n.Name, n.Bridge, n.VLAN)
		}
	}
}

func TestMapProxmox(t *testing.T) {
	d := newDatabase("system-id=eeeeeeee-0000-4000-8000-000000000010")
	b := d.bridge("vmbr0")
	d.port(b, 0, "enp3s0", "", 1)
	d.port(b, 30, "tap101i0", "", 2)
	d.port(b, 30, "fwln101o1", "internal", 3) // behind its firewall bridge
	d.port(b, 0, "veth205i0", "", 4)          // a container
	d.port(b, 0, "mgmt", "internal", 5)
	d.port(b, 0, "vethx", "system", 6)

	inv := hosts.Map(hosts.Settings{Key: "pve1", Name: "pve1", Pool: "pve"}, d.Rows, ours)
	check(t, inv,
		`bridge vmbr0 domains=[] virtual="" rules=false`,
		`port vmbr0/enp3s0 uplink of=1 if=101`,
		`port vmbr0/fwln101o1 vif of=3 if=103 vlan=30`,
		`port vmbr0/mgmt internal of=5 if=105`,
		`port vmbr0/tap101i0 vif of=2 if=102 vlan=30`,
		`port vmbr0/veth205i0 vif of=4 if=104`,
		`port vmbr0/vethx unknown of=6 if=106`,
		`port vmbr0/vmbr0 local of=65534 if=65634`,
		`vif pve/101/0 by name vm=pve/101 (101) device="0" mac= net= vmbr0/30 ports=tap101i0`,
		`vif pve/101/1 by name vm=pve/101 (101) device="1" mac= net= vmbr0/30 ports=fwln101o1`,
		`vif pve/205/0 by name vm=pve/205 (205) device="0" mac= net= vmbr0/0 ports=veth205i0`,
	)
}

// A port that gets copies of traffic is neither the network nor unknown, whoever mirrors to it; one of a VM or of the host is theirs.
func TestMapMirrors(t *testing.T) {
	d := newDatabase()
	b := d.bridge("br0")
	want := map[string]hosts.PortKind{"br0": hosts.KindLocal}
	d.Mirrors = map[ovsdb.UUID]*ovsdb.Mirror{}
	for n, p := range []struct {
		name, kind   string
		made, copies bool
		want         hosts.PortKind
	}{
		{"eth0", "", false, false, hosts.KindUplink},
		{"eth1", "", false, true, hosts.KindMirror},
		{"gre0", "gre", false, false, hosts.KindTunnel},
		{"gre1", "gre", false, true, hosts.KindMirror},
		{"weirm1", "gre", true, false, hosts.KindMirror}, // whose mirror is not there yet
		{"int0", "internal", false, true, hosts.KindMirror},
		{"veth1", "", false, true, hosts.KindMirror},
		{"vif1.0", "", false, true, hosts.KindVIF},
	} {
		port := d.port(b, 0, p.name, p.kind, int64(n+1))
		if p.made {
			port.ExternalIDs = map[string]string{"owner": "weir"}
		}
		if p.copies {
			m := &ovsdb.Mirror{UUID: d.uuid(), OutputPort: port.UUID}
			d.Mirrors[m.UUID] = m
			b.Mirrors = append(b.Mirrors, m.UUID)
		}
		want[p.name] = p.want
	}
	got := map[string]hosts.PortKind{}
	for _, p := range hosts.Map(hosts.Settings{Key: "h"}, d.Rows, ours).Ports {
		got[p.Name] = p.Kind
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kinds of ports (-want +got):\n%s", diff)
	}
}

func TestMapSampling(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	d := newDatabase()
	a, b, c := d.bridge("a"), d.bridge("b"), d.bridge("c")
	set := func(bridge *ovsdb.Bridge, x *ovsdb.IPFIX, owner ...string) {
		x.UUID = d.uuid()
		d.IPFIXs[x.UUID] = x
		s := &ovsdb.SampleSet{UUID: d.uuid(), Bridge: bridge.UUID, IPFIX: x.UUID, ExternalIDs: pairs(owner)}
		d.SampleSets[s.UUID] = s
	}
	x := &ovsdb.IPFIX{UUID: d.uuid(), ObsDomainID: n(7), OtherConfig: pairs([]string{"virtual_obs_id=h/a"})}
	d.IPFIXs[x.UUID] = x
	a.IPFIX = x.UUID
	set(b, &ovsdb.IPFIX{ObsDomainID: n(65543), ExternalIDs: pairs([]string{"owner=weir"}), OtherConfig: pairs([]string{"virtual_obs_id=h/b"})}, "owner=weir", "weir-totals=true")
	set(c, &ovsdb.IPFIX{ObsDomainID: n(9), ExternalIDs: pairs([]string{"owner=weir"}), OtherConfig: pairs([]string{"virtual_obs_id=h/c"})}, "owner=other")
	for i, bridge := range []*ovsdb.Bridge{a, b, c} {
		id := int64(i)
		if bridge == c {
			id = 1 // as b, by mistake
		}
		f := &ovsdb.NetFlow{UUID: d.uuid(), EngineType: n(2), EngineID: n(id)}
		d.NetFlows[f.UUID] = f
		bridge.NetFlow = f.UUID
	}
	d.Controllers["ctl"] = &ovsdb.Controller{UUID: "ctl", Target: "tcp:192.0.2.1:6653"}
	a.Controllers = []ovsdb.UUID{"ctl", "gone"}
	inv := hosts.Map(hosts.Settings{Name: "h"}, d.Rows, ours)
	check(t, inv,
		`bridge a domains=[7 512] virtual="h/a" rules=false`,
		`  controller tcp:192.0.2.1:6653 ours=false`,
		`bridge b domains=[65543] virtual="h/b" rules=true`,
		`bridge c domains=[] virtual="h/c" rules=false`,
		`port a/a local of=65534 if=65634`,
		`port b/b local of=65534 if=65634`,
		`port c/c local of=65534 if=65634`,
	)
	if b := inv.Bridges; b[0].TotalsElsewhere || b[1].TotalsElsewhere || b[2].TotalsElsewhere {
		t.Errorf("totals elsewhere: %+v, want none: what b's rules sample is the totals, and those of the others are not told of", b)
	}
	for _, s := range d.SampleSets {
		s.ExternalIDs["weir-totals"] = "false"
	}
	if b := hosts.Map(hosts.Settings{Name: "h"}, d.Rows, ours).Bridges; !b[1].RuleSampling || !b[1].TotalsElsewhere || b[2].TotalsElsewhere {
		t.Errorf("totals elsewhere: %+v, want b's alone", b)
	}
}

// What a host says makes an estate in which its VIFs are found by the numbers of their ports.
func TestModelIsFound(t *testing.T) {
	d := newDatabase("xs-system-uuid=eeeeeeee-0000-4000-8000-00000000000e")
	b := d.bridge("xenbr0")
	d.port(b, 7, "xapi1", "internal", 2).FakeBridge = true
	d.port(b, 7, "vif5.0", "", 3, "xs-vif-uuid="+vifA, "xs-vm-uuid="+vm1, "xs-network-uuid="+net1, "attached-mac=02:00:00:00:00:0a")
	d.port(b, 7, "tap5.0", "", 4)
	peer := netip.MustParseAddr("::ffff:192.0.2.11")
	m := hosts.Map(hosts.Settings{Name: "xcp1", Pool: "lab", Peer: peer, Exporters: []netip.Addr{netip.MustParseAddr("192.0.2.99")}}, d.Rows, ours).Model(nil)
	holder := estate.NewHolder()
	estate.NewAssembler(estate.AssemblerDeps{Estate: holder}).Set("host:k", m, now)
	s := holder.Load()
	if len(s.Warnings()) > 0 {
		t.Fatalf("Warnings() = %v, want none", s.Warnings())
	}
	for _, exporter := range []string{"192.0.2.99", "192.0.2.11"} {
		v := s.Vantage(netip.MustParseAddr(exporter).As16(), 0, 0)
		for _, number := range []struct {
			version uint8
			index   uint32
		}{{5, 3}, {5, 4}, {10, 103}, {10, 104}} {
			ref, match := s.Port(&v, number.version, number.index)
			if e, _ := s.Entity(entityID(s.Endpoint(ref).ID)); match != estate.Hit || e.Key != vifA {
				t.Errorf("from %s, version %d: Port(%d) = %q, %d; want %s", exporter, number.version, number.index, e.Key, match, vifA)
			}
		}
		if n, _ := s.Entity(entityID(s.Network(s.VLAN(&v, 7)))); n.Name != "xapi1" {
			t.Errorf("VLAN(7) = %q, want xapi1", n.Name)
		}
	}
}
