// Package compiletest makes bridges of random worlds for tests: what a host's database would say of one with the world's VIFs.
package compiletest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

// Bridge is the name of the bridge of an Input of this package, and LocalPort the number of the host's own port in databases.
const (
	Bridge    = "xenbr0"
	LocalPort = 0xfffe
)

// HostMAC is the host's own MAC address.
const HostMAC estate.MAC = 0x02aa00000001

// Plain returns the input of a bridge with a trunk as uplink, ofport 1, the host's own port, and the VIFs of a world whose pool is
// the first, from ofport 11 on in the order of the world: VLANs are those of their networks. Everything is sampled, and
// connections are tracked.
func Plain(w *policytest.World) *compile.Input {
	inv := &hosts.Inventory{
		Settings: hosts.Settings{Key: "host0", Name: "host0"},
		Bridges:  []hosts.Bridge{{Name: Bridge, DatapathID: "0000020000000001"}},
		Ports: []hosts.Port{
			{Kind: hosts.KindUplink, Bridge: Bridge, Name: "eth0", OFPort: 1, LinkUp: true, VIF: -1},
			{Kind: hosts.KindLocal, Bridge: Bridge, Name: Bridge, Type: "internal", OFPort: LocalPort, MAC: HostMAC, VIF: -1},
		},
	}
	in := &compile.Input{
		Inventory: inv, Bridge: Bridge, Host: flow.NewID(flow.KindHost, "host0"), Pool: flow.NewID(flow.KindPool, w.Model.Pools[0].Key),
		Policy: w.Set, Estate: w.Estate, Sampling: compile.SampleFull, CollectorSet: 1, Domain: 7, Generation: 1,
		Capabilities: compile.Capabilities{ConnTrack: true, Sample: true, Meters: true},
	}
	for _, v := range w.VIFs() {
		if v.Pool == in.Pool {
			AddVIF(in, v.ID, v.MAC, VLANOf(w, v.Network))
		}
	}
	return in
}

// AddVIF plugs a VIF into the bridge, at the next port: 0 is one of which the estate knows nothing, and MAC address 0 none.
func AddVIF(in *compile.Input, id flow.ID, mac estate.MAC, vlan uint16) {
	inv := in.Inventory
	n := len(inv.VIFs)
	port := uint32(11 + n)
	inv.Ports = append(inv.Ports, hosts.Port{
		Kind: hosts.KindVIF, Bridge: in.Bridge, Name: fmt.Sprintf("vif%d.0", port), OFPort: port, VLAN: vlan, LinkUp: true, VIF: n,
	})
	inv.VIFs = append(inv.VIFs, hosts.VIF{Key: fmt.Sprint("vif", n), MAC: mac, Bridge: in.Bridge, VLAN: vlan, Ports: []int{len(inv.Ports) - 1}})
	in.VIFs = append(in.VIFs, id)
}

// VLANOf returns the VLAN of a network of a world.
func VLANOf(w *policytest.World, network flow.ID) uint16 {
	for _, n := range w.Model.Networks {
		if flow.NewID(flow.KindNetwork, n.Key) == network {
			return n.VLAN
		}
	}
	return 0
}

// Random returns the input of Plain with what else there may be on a bridge.
func Random(r *rand.Rand, w *policytest.World) *compile.Input {
	in := Plain(w)
	inv := in.Inventory
	chance := func(percent int) bool { return r.IntN(100) < percent }
	add := func(p hosts.Port) {
		p.Bridge, p.VIF, p.LinkUp = in.Bridge, -1, true
		inv.Ports = append(inv.Ports, p)
	}
	if chance(30) { // a bond in place of the uplink
		p := &inv.Ports[0]
		p.Bond, p.BondMode, p.LACP, p.MAC, p.Active = "bond0", []string{"", "active-backup", "balance-slb", "balance-tcp"}[r.IntN(4)], chance(30), 0x02bb00000001, chance(50)
		second := *p
		second.Name, second.OFPort, second.MAC, second.Active = "eth1", 2, 0x02bb00000002, !p.Active
		add(second)
	}
	if chance(20) {
		inv.Ports[0].Trunks = []uint16{0, 10, 30}
		if p := &inv.Ports[len(inv.Ports)-1]; p.Bond != "" {
			p.Trunks = inv.Ports[0].Trunks
		}
	}
	if chance(20) {
		add(hosts.Port{Kind: hosts.KindPatch, Name: "patch0", Type: "patch", OFPort: 3, VLAN: uint16(r.IntN(2) * 10)})
	}
	if chance(20) {
		add(hosts.Port{Kind: hosts.KindTunnel, Name: "gre0", Type: "gre", OFPort: 4, VLAN: 20, VLANMode: []string{"", "access", "native-untagged", "native-tagged", "trunk"}[r.IntN(5)]})
	}
	if chance(40) { // the port of a fake bridge
		inv.Bridges[0].Fake = []hosts.FakeBridge{{Name: "xapi1", VLAN: 10}}
		add(hosts.Port{Kind: hosts.KindLocal, Name: "xapi1", Type: "internal", OFPort: 5, VLAN: 10, MAC: HostMAC})
	}
	if chance(20) {
		add(hosts.Port{Kind: hosts.KindInternal, Name: "int0", Type: "internal", OFPort: 6, VLAN: 40, MAC: HostMAC + 1})
	}
	if chance(20) {
		add(hosts.Port{Kind: hosts.KindUnknown, Name: "veth9", OFPort: 7})
	}
	for i := range inv.VIFs {
		v := &inv.VIFs[i]
		switch {
		case chance(8): // no address
			v.MAC = 0
		case chance(8): // no device yet
			inv.Ports[v.Ports[0]].OFPort = 0
		case chance(10): // a tap beside the vif
			p := inv.Ports[v.Ports[0]]
			p.Name, p.OFPort = "tap"+p.Name, p.OFPort+100
			inv.Ports = append(inv.Ports, p)
			v.Ports = append(v.Ports, len(inv.Ports)-1)
			if chance(50) {
				slices.Reverse(v.Ports)
			}
		case chance(5):
			in.BypassVIFs = map[flow.ID]bool{in.VIFs[i]: true}
		}
		if chance(8) {
			if in.Quarantined == nil {
				in.Quarantined = map[flow.ID]bool{}
			}
			in.Quarantined[in.VIFs[i]] = true
		}
	}
	if chance(30) {
		AddVIF(in, 0, 0x02cc00000001, uint16(10*r.IntN(4)))
	}
	if chance(20) {
		in.Weir.Addrs = []netip.Addr{netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("2001:db8::3")}
		if n := len(inv.VIFs); n > 0 && chance(50) { // else its addresses are also those of VIFs that are not Weir's
			in.Weir.MACs = []estate.MAC{inv.VIFs[r.IntN(n)].MAC}
		}
	}
	if entries := w.Set.Entries(); chance(30) && len(entries) > 0 {
		in.Retired = []uint32{policytest.FirstInstance - 1, policytest.FirstInstance - 2}
	}
	in.Capabilities.ConnTrack = !chance(20)
	in.Sampling = []compile.Sampling{compile.SampleFull, compile.SampleFull, compile.SampleNew, compile.SampleOff}[r.IntN(4)]
	if chance(10) {
		inv.OVSVersion = "2.5.3"
	}
	in.Bypass = chance(5)
	return in
}
