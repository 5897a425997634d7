package policyd

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/policy"
)

// What policy asks of VIFs is what is copied of them at their bridge: in which direction, unless they get the copies, and into VLANs that the pool has marked only.
func TestMirrorsOf(t *testing.T) {
	const pool, elsewhere, vlan = flow.ID(90), flow.ID(91), 900
	inv := &hosts.Inventory{Bridges: []hosts.Bridge{{Name: "br0"}, {Name: "br1"}}}
	in := &compile.Input{
		Inventory: inv, Bridge: "br0", Pool: pool, Estate: &policy.Estate{VIFs: map[flow.ID]*policy.Interface{}},
		Policy: &policy.Set{
			Settings: map[policy.LevelID]*policy.Said{}, Pools: map[flow.ID]*policy.PoolSettings{pool: {MirrorVLANs: []uint16{vlan}}},
			MirrorTargets: map[string]policy.MirrorTarget{
				"ids": {Name: "ids", GRE: netip.MustParseAddr("::ffff:192.0.2.7")}, "far": {Name: "far", ERSPAN: netip.MustParseAddr("192.0.2.8"), Key: 5}, "wire": {Name: "wire", VLAN: vlan},
				"other": {Name: "other", VLAN: 901}, "tap": {Name: "tap", Port: "eth3"},
			},
		},
	}
	port := func(bridge, name string, kind hosts.PortKind) int {
		inv.Ports = append(inv.Ports, hosts.Port{UUID: ovsdb.UUID(name), Bridge: bridge, Name: name, Kind: kind, OFPort: uint32(len(inv.Ports) + 1)})
		return len(inv.Ports) - 1
	}
	vif := func(bridge, mirror string, vlan uint16, addrs ...string) {
		t.Helper()
		id := flow.ID(len(inv.VIFs) + 1)
		known := &policy.Interface{ID: id, Pool: in.Pool, Name: fmt.Sprintf("vm%d/0", id)}
		for _, a := range addrs {
			known.Addrs = append(known.Addrs, netip.MustParseAddr(a))
		}
		in.Estate.VIFs[id], in.VIFs = known, append(in.VIFs, id)
		inv.VIFs = append(inv.VIFs, hosts.VIF{Bridge: bridge, VLAN: vlan, Ports: []int{port(bridge, fmt.Sprintf("vif%d.0", id), hosts.KindVIF)}})
		if mirror == "" {
			return
		}
		m, err := policy.ParseMirror(mirror)
		if err != nil {
			t.Fatal(err)
		}
		in.Policy.Settings[policy.LevelID{Kind: flow.KindVIF, Of: id}] = &policy.Said{Settings: policy.Settings{Mirror: m}}
	}
	vif("br0", "ids", 0)
	vif("br0", "ids in", 0)
	vif("br0", "ids out", 0)
	vif("br0", "off", 0)
	vif("br0", "", 0)
	vif("br1", "ids", 0)
	vif("br0", "ids", 0, "198.51.100.1", "192.0.2.7")
	vif("br0", "far", 0, "192.0.2.8")
	vif("br0", "far", 0, "192.0.2.7")
	vif("br0", "wire", 7)
	vif("br0", "wire", vlan)
	vif("br0", "other", vlan)
	vif("br0", "tap", 0, "192.0.2.7")
	for name, kind := range map[string]hosts.PortKind{
		"eth0": hosts.KindUplink, "patch": hosts.KindPatch, "tunnel": hosts.KindTunnel, "br0": hosts.KindLocal, "internal": hosts.KindInternal, "copies": hosts.KindMirror, "unknown": hosts.KindUnknown,
	} {
		port("br0", name, kind)
	}
	port("br1", "eth1", hosts.KindUplink)

	copies := func(in *compile.Input) (got []string) {
		for _, c := range mirrorsOf(in).Copies {
			words := []string{c.VIF, "by", string(c.Ports[0]), "to", c.To.Name}
			for word, is := range map[string]bool{"in": c.In, "out": c.Out, "sink": c.Sink, c.Why: c.Why != ""} {
				if is {
					words = append(words, word)
				}
			}
			slices.Sort(words[5:])
			got = append(got, strings.Join(words, " "))
		}
		slices.Sort(got)
		return got
	}
	const unmarked = "VLAN %d is not among the mirror_vlans of the pool"
	want := []string{
		"vm1/0 by vif1.0 to ids in out", "vm10/0 by vif10.0 to wire in out", "vm11/0 by vif11.0 to wire in out sink", "vm12/0 by vif12.0 to other " + fmt.Sprintf(unmarked, 901) + " in out",
		"vm13/0 by vif13.0 to tap in out", "vm2/0 by vif2.0 to ids in", "vm3/0 by vif3.0 to ids out", "vm7/0 by vif7.0 to ids in out sink", "vm8/0 by vif8.0 to far in out sink", "vm9/0 by vif9.0 to far in out",
	}
	if diff := cmp.Diff(want, copies(in)); diff != "" {
		t.Errorf("copies (-want +got):\n%s", diff)
	}
	o := mirrorsOf(in)
	slices.Sort(o.Network)
	if want := []ovsdb.UUID{"eth0", "patch", "tunnel"}; !slices.Equal(o.Network, want) {
		t.Errorf("ways to the network %v, want %v", o.Network, want)
	}
	if len(o.Guests) != 13 || !slices.Contains(o.Guests, "unknown") || slices.Contains(o.Guests, "vif6.0") {
		t.Errorf("ports of guests %v, want the twelve VIFs of the bridge, and the one that nothing is known of", o.Guests)
	}

	moved := *in // what another pool has marked is nothing here
	moved.Pool = elsewhere
	if got := copies(&moved); !slices.Contains(got, "vm10/0 by vif10.0 to wire "+fmt.Sprintf(unmarked, vlan)+" in out") {
		t.Errorf("in a pool that has marked no VLAN: %q", got)
	}
	for _, said := range in.Policy.Settings {
		said.Mirror = policy.Mirror{Off: true}
	}
	if o := mirrorsOf(in); o.Copies != nil || o.Guests != nil || o.Network != nil {
		t.Errorf("nothing is asked: %+v", o)
	}
}
