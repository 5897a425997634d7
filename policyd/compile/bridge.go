package compile

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/policy"
)

// bridge is what of an Input says how packets go through the bridge, in the terms of the pipeline.
type bridge struct {
	vifs     []vif
	networks []port          // uplinks, patch ports and tunnels
	hosts    []port          // of the host itself
	mirrors  []openflow.Port // which get copies of traffic
	hostMACs []estate.MAC
	segments []segment // by VLAN: those that have VIFs
	plain    []uint16  // other VLANs that a port says to be in; ascending
	copies   []uint16  // VLANs for copies of traffic; ascending
	weir     []netip.Addr

	warnings []string
}

// vif is a VIF that is plugged into the bridge. Its index is the OpenFlow port by which it is reached.
type vif struct {
	ports    []openflow.Port // the active one first
	mac      estate.MAC      // 0: not known
	vlan     uint16
	zone     uint16
	net      uint32 // number of its network, in registers; 0: none
	bypassed bool
	isolated bool // quarantined, and not bypassed
	rules    *policy.Interface
	rate     policy.Limit // that a meter has in force; Rate 0: none
	meter    uint32       // id; 0: none
	guard    policy.Guard // of nothing, if it is bypassed
}

// port is a port of the bridge that is no VIF, as switches know it: one, or the interfaces of a bond.
type port struct {
	name    string
	members []openflow.Port // that which is active first
	bonded  openflow.BundleAlgorithm
	oneWay  bool // multicast is taken from the active member only: each of a bond's gets a copy
	reflect bool // what is sent by one member may come back by another
	vlans   vlans
}

// segment is a VLAN of the bridge that has VIFs.
type segment struct {
	vlan, zone uint16
	vifs       []vif // by port
}

// vlans is in which VLANs a port is; 0 is that of untagged frames.
type vlans struct {
	native int  // that of frames without a tag; -1: they are not taken
	tagged bool // frames of the native VLAN leave with a tag
	trunk  bool
	only   []uint16 // of a trunk: in these only; nil: all. Ascending
}

// carries reports whether frames of a VLAN leave by the port, and whether with a tag.
func (v *vlans) carries(vlan uint16) (tagged, ok bool) {
	if int(vlan) == v.native {
		return v.tagged, true
	}
	if vlan == 0 || !v.trunk {
		return false, false
	}
	_, listed := slices.BinarySearch(v.only, vlan)
	return true, v.only == nil || listed
}

// untagged reports whether frames without a tag that come in by the port are in a VLAN.
func (v *vlans) untagged(vlan uint16) bool { return int(vlan) == v.native }

// takes reports whether frames with the tag of a VLAN come in by the port.
func (v *vlans) takes(vlan uint16) bool {
	if vlan == 0 { // a tag that carries a priority only
		return v.native >= 0
	}
	if !v.trunk {
		return false
	}
	_, listed := slices.BinarySearch(v.only, vlan)
	return v.only == nil || listed || int(vlan) == v.native
}

// vlansOf returns in which VLANs a port is (ovs-vswitchd.conf.db(5), Port, VLAN Configuration).
func vlansOf(p *hosts.Port) vlans {
	mode := p.VLANMode
	if mode == "" {
		mode = "access"
		if p.VLAN == 0 {
			mode = "trunk"
		}
	}
	var only []uint16
	if len(p.Trunks) > 0 {
		only = slices.Compact(slices.Sorted(slices.Values(p.Trunks)))
	}
	switch mode {
	case "trunk":
		if len(only) > 0 && only[0] != 0 { // frames without a tag are in VLAN 0
			return vlans{native: -1, trunk: true, only: only}
		}
		return vlans{trunk: true, only: only}
	case "native-tagged":
		return vlans{native: int(p.VLAN), tagged: p.VLAN != 0, trunk: true, only: only}
	case "native-untagged":
		return vlans{native: int(p.VLAN), trunk: true, only: only}
	}
	return vlans{native: int(p.VLAN)} // access; dot1q-tunnel, whose inner tags are not taken
}

// ofPort returns the number of a port in OpenFlow 1.3: databases say that of the bridge itself in 16 bits.
func ofPort(p *hosts.Port) openflow.Port {
	const local = 0xfffe
	if p.OFPort == local {
		return openflow.PortLocal
	}
	return openflow.Port(p.OFPort)
}

// newBridge reads an Input.
func newBridge(in *Input) (*bridge, error) {
	if !slices.ContainsFunc(in.Inventory.Bridges, func(b hosts.Bridge) bool { return b.Name == in.Bridge }) {
		return nil, fmt.Errorf("find bridge %q of host %q: there is none", in.Bridge, in.Inventory.Settings.Name)
	}
	if len(in.VIFs) != len(in.Inventory.VIFs) {
		return nil, fmt.Errorf("compile bridge %q: found %d VIFs for the %d of the inventory", in.Bridge, len(in.VIFs), len(in.Inventory.VIFs))
	}
	b := &bridge{weir: in.Weir.Addrs}
	b.readPorts(in)
	b.readVIFs(in)
	if p := in.Policy.Pools[in.Pool]; p != nil {
		b.copies = slices.Compact(slices.Sorted(slices.Values(p.MirrorVLANs)))
	}
	b.readSegments()
	return b, nil
}

// readPorts finds the ports that are no VIFs.
func (b *bridge) readPorts(in *Input) {
	networks, locals := map[string]*port{}, map[string]*port{}
	macs := map[estate.MAC]bool{}
	for i := range in.Inventory.Ports {
		p := &in.Inventory.Ports[i]
		if p.Bridge != in.Bridge {
			continue
		}
		var of map[string]*port
		switch p.Kind {
		case hosts.KindUplink, hosts.KindPatch, hosts.KindTunnel:
			of = networks
		case hosts.KindLocal, hosts.KindInternal:
			of = locals
			if p.MAC != 0 {
				macs[p.MAC] = true
			}
		case hosts.KindVIF:
			continue
		case hosts.KindMirror:
			if p.OFPort != 0 {
				b.mirrors = append(b.mirrors, ofPort(p))
			}
			continue
		default:
			b.warnings = append(b.warnings, fmt.Sprintf("port %q: nothing says what it is of, so what comes in by it is dropped", p.Name))
			continue
		}
		if p.VLANMode == "dot1q-tunnel" {
			b.warnings = append(b.warnings, fmt.Sprintf("port %q: what has a tag already is not taken (vlan_mode dot1q-tunnel)", p.Name))
		}
		if p.OFPort == 0 {
			continue
		}
		name := cmp.Or(p.Bond, p.Name)
		found := of[name]
		if found == nil {
			found = &port{name: name, vlans: vlansOf(p)}
			of[name] = found
		}
		found.add(p)
	}
	b.networks, b.hosts = sortedPorts(networks), sortedPorts(locals)
	b.hostMACs = slices.Sorted(maps.Keys(macs))
}

// add adds an interface.
func (p *port) add(i *hosts.Port) {
	at := len(p.members)
	if i.Active {
		at = 0
	}
	p.members = slices.Insert(p.members, at, ofPort(i))
	if i.Bond == "" {
		return
	}
	p.oneWay, p.reflect = !i.LACP, !i.LACP && i.BondMode == "balance-slb"
	p.bonded = openflow.BundleHRW
	if i.BondMode == "" || i.BondMode == "active-backup" {
		p.bonded = openflow.BundleActiveBackup
	}
}

func sortedPorts(of map[string]*port) []port {
	var list []port
	for _, name := range slices.Sorted(maps.Keys(of)) {
		list = append(list, *of[name])
	}
	return list
}

// plugged returns the ports of a VIF on the bridge of in, the active one first.
func (in *Input) plugged(v *hosts.VIF) []*hosts.Port {
	var list []*hosts.Port
	for _, i := range v.Ports {
		if p := &in.Inventory.Ports[i]; p.Bridge == in.Bridge && p.OFPort != 0 {
			list = append(list, p)
		}
	}
	return list
}

// VIFAt returns the index in the inventory of the VIF that is reached by a port; -1: none is.
func (in *Input) VIFAt(port openflow.Port) int {
	for i := range in.Inventory.VIFs {
		if list := in.plugged(&in.Inventory.VIFs[i]); len(list) > 0 && ofPort(list[0]) == port {
			return i
		}
	}
	return -1
}

// Interfaces returns each VIF of the inventory as rules see it at this bridge, by index; nil for those that are not plugged into
// it. Rules are those of the pool of the host; the network of a VIF of which it is not known is that of the others in its VLAN,
// if they are in one.
func (in *Input) Interfaces() []*policy.Interface {
	list := make([]*policy.Interface, len(in.Inventory.VIFs))
	networks, several := map[uint16]flow.ID{}, map[uint16]bool{}
	vlan := make([]uint16, len(list))
	for i := range list {
		ports := in.plugged(&in.Inventory.VIFs[i])
		if len(ports) == 0 {
			continue
		}
		vlan[i] = accessVLAN(ports[0])
		known := in.Estate.VIFs[in.VIFs[i]]
		if known == nil {
			known = &policy.Interface{ID: in.VIFs[i], Pool: in.Pool}
		}
		list[i] = known
		if n := known.Network; n != 0 {
			if other := networks[vlan[i]]; other != 0 && other != n {
				several[vlan[i]] = true
			}
			networks[vlan[i]] = n
		}
	}
	for i, known := range list {
		if known == nil {
			continue
		}
		network := known.Network
		if network == 0 && !several[vlan[i]] {
			network = networks[vlan[i]]
		}
		if network != known.Network || known.Pool != in.Pool {
			other := *known
			other.Network, other.Pool = network, in.Pool
			list[i] = &other
		}
	}
	return list
}

// accessVLAN returns in which VLAN the frames of a VIF are, which have no tag.
func accessVLAN(p *hosts.Port) uint16 { return uint16(max(vlansOf(p).native, 0)) }

// readVIFs finds the VIFs that are plugged into the bridge.
func (b *bridge) readVIFs(in *Input) {
	zones := zonesOf(in.Inventory)
	rules := in.Interfaces()
	numbers := numbersOf(rules)
	for i, r := range rules {
		if r == nil {
			continue
		}
		inv := &in.Inventory.VIFs[i]
		plugged := in.plugged(inv)
		v := vif{mac: cmp.Or(inv.MAC, r.MAC), vlan: accessVLAN(plugged[0]), net: numbers[r.Network], rules: r}
		v.zone = zones[place{in.Bridge, v.vlan}]
		for _, p := range plugged {
			v.ports = append(v.ports, ofPort(p))
		}
		v.bypassed = in.bypassed(inv, r)
		if !v.bypassed {
			v.isolated = in.Quarantined[r.ID] && r.ID != 0
			s := in.Policy.SettingsOf(r)
			if in.Capabilities.Meters && !s.RateOut.Off && !in.Bypass {
				v.rate = s.RateOut
			}
			v.guard = policy.GuardOf(&s, v.mac, r.Told)
			if s.GuardMAC == policy.On && v.guard.MACs == nil {
				b.warnings = append(b.warnings, fmt.Sprintf("port %q of a VIF: its MAC address is not known, so that none is guarded", plugged[0].Name))
			}
		}
		b.vifs = append(b.vifs, v)
		if m := plugged[0].VLANMode; m != "" && m != "access" {
			b.warnings = append(b.warnings, fmt.Sprintf("port %q of a VIF: it gets and sends frames without tags only (vlan_mode %s)", plugged[0].Name, m))
		}
	}
	slices.SortFunc(b.vifs, func(x, y vif) int { return cmp.Compare(x.ports[0], y.ports[0]) })
	b.numberMeters()
	b.checkAddresses()
}

// bypassed reports whether policy is off for a VIF: somebody said so, or it is Weir's own.
func (in *Input) bypassed(v *hosts.VIF, r *policy.Interface) bool {
	return in.BypassVIFs[r.ID] && r.ID != 0 || in.Weir.Is(cmp.Or(v.MAC, r.MAC), r.Told)
}

// checkAddresses takes MAC addresses that are not a VIF's alone away from it: what is sent to them goes elsewhere.
func (b *bridge) checkAddresses() {
	type address struct {
		mac  estate.MAC
		vlan uint16
	}
	known := map[address]bool{}
	for i := range b.vifs {
		v := &b.vifs[i]
		at, whose := address{v.mac, v.vlan}, ""
		switch {
		case v.mac == 0:
			continue
		case v.mac&multicastBit != 0:
			whose = "of a group"
		case slices.Contains(b.hostMACs, v.mac):
			whose = "that of the host, too"
		case known[at]:
			whose = "that of two VIFs"
		}
		known[at] = true
		if whose != "" {
			b.warnings = append(b.warnings, fmt.Sprintf("MAC address %s is %s in VLAN %d: the VIF at port %d does not get what is sent to it", v.mac, whose, v.vlan, v.ports[0]))
			v.mac = 0
		}
	}
}

// readSegments gathers VLANs.
func (b *bridge) readSegments() {
	byVLAN := map[uint16]*segment{}
	for _, v := range b.vifs {
		s := byVLAN[v.vlan]
		if s == nil {
			s = &segment{vlan: v.vlan, zone: v.zone}
			byVLAN[v.vlan] = s
		}
		s.vifs = append(s.vifs, v)
	}
	for _, vlan := range slices.Sorted(maps.Keys(byVLAN)) {
		b.segments = append(b.segments, *byVLAN[vlan])
		if n := len(byVLAN[vlan].vifs); n > manyVIFs {
			b.warnings = append(b.warnings, fmt.Sprintf("VLAN %d has %d VIFs: where everything is sampled, Open vSwitch does not send a broadcast to more than %d for certain", vlan, n, manyVIFs))
		}
	}
	plain := map[uint16]bool{}
	for _, p := range slices.Concat(b.networks, b.hosts) {
		for _, vlan := range p.vlans.only {
			plain[vlan] = true
		}
		if p.vlans.native >= 0 {
			plain[uint16(p.vlans.native)] = true
		}
	}
	b.copies = slices.DeleteFunc(b.copies, func(vlan uint16) bool {
		if byVLAN[vlan] != nil {
			b.warnings = append(b.warnings, fmt.Sprintf("VLAN %d is for copies of traffic (mirror_vlans), and has VIFs: they get those of this host, and what they send is not for copies", vlan))
		}
		return byVLAN[vlan] != nil
	})
	for _, vlan := range b.copies {
		delete(plain, vlan)
	}
	for vlan := range byVLAN {
		delete(plain, vlan)
	}
	b.plain = slices.Sorted(maps.Keys(plain))
}

// place is a VLAN of a bridge.
type place struct {
	bridge string
	vlan   uint16
}

// zonesOf returns the zone of connection tracking of every VLAN of a host that has VIFs. They are stable: what they are made of
// is the bridge's name and the VLAN, unless two are equal by chance.
func zonesOf(inv *hosts.Inventory) map[place]uint16 {
	zones := map[place]uint16{}
	for i := range inv.VIFs {
		for _, n := range inv.VIFs[i].Ports {
			p := &inv.Ports[n]
			zones[place{p.Bridge, accessVLAN(p)}] = 0
		}
	}
	taken := map[uint16]bool{}
	places := slices.SortedFunc(maps.Keys(zones), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.bridge, b.bridge), cmp.Compare(a.vlan, b.vlan))
	})
	for _, p := range places {
		h := fnv.New32a()
		_, _ = h.Write(fmt.Appendf(nil, "%s/%d", p.bridge, p.vlan)) // never fails
		n := h.Sum32() % zoneCount
		for taken[uint16(n)] {
			n = (n + 1) % zoneCount
		}
		taken[uint16(n)] = true
		zones[p] = uint16(zoneFirst + n)
	}
	return zones
}

// numbersOf returns numbers of the networks of VIFs for registers: the low half of their ids, unless two are equal by chance.
func numbersOf(vifs []*policy.Interface) map[flow.ID]uint32 {
	numbers := map[flow.ID]uint32{}
	for _, v := range vifs {
		if v != nil && v.Network != 0 {
			numbers[v.Network] = 0
		}
	}
	taken := map[uint32]bool{0: true}
	for _, id := range slices.Sorted(maps.Keys(numbers)) {
		n := uint32(id)
		for taken[n] {
			n++
		}
		taken[n], numbers[id] = true, n
	}
	return numbers
}
