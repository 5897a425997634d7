package policytest

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/policy"
)

// Traffic is a packet on its way. Source or destination is a VIF of the world, or both are.
type Traffic struct {
	Packet  policy.Packet
	Network flow.ID           // where it is
	Src     *policy.Interface // from which it comes, in Network; nil: from outside, by the uplink
	Dst     *policy.Interface // whose MAC address is the packet's, in Network; nil: nobody in the estate, or a group address
}

// Traffic returns a random packet: mostly one that a rule that its ends have matches, or just does not match: their edges are
// tried. It comes from a VIF with the VIF's MAC address.
func (w *World) Traffic(r *rand.Rand) Traffic {
	vif := pick(r, w.vifs...)
	rule := w.rule(r, vif)
	stage := pick(r, flow.StageEgress, flow.StageIngress)
	switch {
	case chance(r, 10):
	case rule.Rule.Direction == policy.To:
		stage = flow.StageEgress
	case rule.Rule.Direction == policy.From:
		stage = flow.StageIngress
	}
	p := w.packet(r, rule, vif, stage)
	t := Traffic{Network: vif.Network}
	var peers []*policy.Interface
	for _, o := range w.vifs {
		if o.Network == vif.Network && o != vif {
			peers = append(peers, o)
		}
	}
	byMAC := func(mac estate.MAC) *policy.Interface {
		if i := slices.IndexFunc(peers, func(o *policy.Interface) bool { return o.MAC == mac }); i >= 0 {
			return peers[i]
		}
		return nil
	}
	if stage == flow.StageEgress {
		t.Src, p.SrcMAC = vif, vif.MAC
		switch {
		case p.DstMAC != 0: // the rule's
		case len(peers) > 0 && chance(r, 60):
			p.DstMAC = pick(r, peers...).MAC
		case chance(r, 25):
			p.DstMAC = pick(r, groupMACs...)
		default:
			p.DstMAC = pick(r, outside...)
		}
		if p.DstMAC == vif.MAC {
			p.DstMAC = outside[0]
		}
		t.Dst = byMAC(p.DstMAC)
	} else {
		t.Dst, p.DstMAC = vif, vif.MAC
		if p.SrcMAC == 0 && len(peers) > 0 && chance(r, 40) {
			p.SrcMAC = pick(r, peers...).MAC
		}
		if p.SrcMAC == 0 || p.SrcMAC>>40&1 != 0 || p.SrcMAC == vif.MAC { // nobody sends from a group address
			p.SrcMAC = pick(r, outside...)
		}
		if t.Src = byMAC(p.SrcMAC); t.Src == nil && slices.ContainsFunc(w.vifs, func(o *policy.Interface) bool { return o.MAC == p.SrcMAC }) {
			p.SrcMAC = pick(r, outside...) // of a VIF in another network
		}
	}
	t.Packet = p
	return t
}

// Conn returns what connection tracking may know of a packet that is not kept: one of a connection that the world's rules let in.
func (w *World) Conn(r *rand.Rand) policy.Conn {
	instance := func() uint32 {
		entries := w.Set.Entries()
		if chance(r, 20) {
			return 0
		}
		return entries[r.IntN(len(entries))].Instance
	}
	switch r.IntN(10) {
	case 0:
		return policy.Conn{State: policy.Invalid}
	case 1, 2:
		return policy.Conn{State: policy.Reply, Egress: instance(), Ingress: instance(), Blocked: chance(r, 20), Retired: chance(r, 10)}
	case 3, 4:
		return policy.Conn{State: policy.Established, Egress: instance(), Ingress: instance(), Blocked: chance(r, 20)}
	}
	return policy.Conn{State: policy.New}
}

// rule returns a rule that applies to vif, or one of none.
func (w *World) rule(r *rand.Rand, vif *policy.Interface) *policy.Entry {
	var all []*policy.Entry
	for _, e := range w.Set.Entries() {
		if of := e.Scope.Of; of == 0 || of == vif.ID || of == vif.VM || of == vif.Network || of == vif.Pool {
			all = append(all, e)
		}
	}
	return pick(r, all...)
}

// packet returns a packet of vif that is like the entry's rule says. Of the MAC addresses, those that the rule does not ask for are 0.
func (w *World) packet(r *rand.Rand, e *policy.Entry, vif *policy.Interface, stage flow.Stage) policy.Packet {
	rule := &e.Rule
	var p policy.Packet
	w.protocol(r, rule.Protocol, &p)
	local, remote := addr(r), w.remoteAddr(r, e)
	if len(vif.Addrs) > 0 && chance(r, 85) {
		local = pick(r, vif.Addrs...)
	}
	// One family: that of the protocol, else of the remote.
	is6 := p.EtherType == policy.EtherIPv6 || p.EtherType == 0 && remote.Is6()
	local, remote = ofFamily(r, local, is6), ofFamily(r, remote, is6)
	switch {
	case p.EtherType == 0 && is6:
		p.EtherType = policy.EtherIPv6
	case p.EtherType == 0:
		p.EtherType = policy.EtherIPv4
	}
	localPort, remotePort := port(r, rule.LocalPorts), port(r, rule.RemotePorts)
	out := stage == flow.StageEgress
	if p.EtherType == policy.EtherIPv6 && p.IP == policy.IPICMP || p.EtherType == policy.EtherIPv4 && p.IP == policy.IPICMPv6 {
		p.Type, p.Code = 0, 0 // not ICMP to anybody
	}
	if p.IP == policy.IPUDP && chance(r, 15) { // DHCP
		localPort, remotePort = 68, 67
		if is6 {
			localPort, remotePort = 546, 547
		}
	}
	if chance(r, 4) {
		localPort, remotePort = remotePort, localPort
	}
	var mac estate.MAC
	if rule.Remote.MAC != 0 && chance(r, 80) {
		mac = rule.Remote.MAC
	}
	if out {
		p.Src, p.Dst, p.SrcPort, p.DstPort, p.DstMAC = local, remote, localPort, remotePort, mac
	} else {
		p.Src, p.Dst, p.SrcPort, p.DstPort, p.SrcMAC = remote, local, remotePort, localPort, mac
	}
	if p.EtherType != policy.EtherARP && p.EtherType != policy.EtherIPv4 && p.EtherType != policy.EtherIPv6 {
		p.Src, p.Dst = netip.Addr{}, netip.Addr{}
	}
	if !(policy.Protocol{IP: p.IP}).HasPorts() {
		p.SrcPort, p.DstPort = 0, 0
	}
	return p
}

// protocol makes p a packet of a protocol, or in some cases of another.
func (w *World) protocol(r *rand.Rand, proto policy.Protocol, p *policy.Packet) {
	if proto == (policy.Protocol{}) || chance(r, 8) || proto.IP == 0 && proto.EtherType == policy.EtherIPv4 || proto.IP == 0 && proto.EtherType == policy.EtherIPv6 {
		text := pick(r, "tcp", "tcp", "tcp", "udp", "udp", "sctp", "icmp", "icmpv6", "ip/47", "arp", "ethertype/0x88cc", "rarp")
		of := proto.EtherType
		proto, _ = policy.ParseProtocol(text)
		if (of == policy.EtherIPv4 || of == policy.EtherIPv6) && proto.EtherType == 0 {
			proto.EtherType = of
		}
	}
	p.EtherType, p.IP = proto.EtherType, proto.IP
	switch p.IP {
	case policy.IPICMP:
		p.Type, p.Code = pick[uint8](r, 0, 8, 3, 3, 11), pick[uint8](r, 0, 0, 4, 1)
	case policy.IPICMPv6:
		p.Type, p.Code = pick[uint8](r, 1, 2, 128, 129, 133, 134, 135, 136, 143), pick[uint8](r, 0, 0, 1)
	}
	if proto.HasType && chance(r, 90) {
		p.Type = proto.Type
	}
	if proto.HasCode && chance(r, 90) {
		p.Code = proto.Code
	}
}

// remoteAddr returns an address at an edge of what the rule's remote says.
func (w *World) remoteAddr(r *rand.Rand, e *policy.Entry) netip.Addr {
	prefixes := w.prefixes
	switch {
	case chance(r, 10):
	case e.Rule.Remote.Prefix.IsValid():
		prefixes = []netip.Prefix{e.Rule.Remote.Prefix}
	case e.Rule.Remote.AddressGroup != "":
		prefixes = w.Estate.AddressGroups[e.Group]
	case e.Rule.Remote.VMGroup != "":
		if list := w.Estate.VMGroups[e.Group]; len(list) > 0 {
			return pick(r, list...)
		}
	}
	if len(prefixes) == 0 || chance(r, 15) {
		return addr(r)
	}
	p := pick(r, prefixes...)
	first, last := p.Addr(), lastOf(p)
	a := pick(r, first, last, first, last, first.Prev(), last.Next(), addr(r))
	if !a.IsValid() {
		return first
	}
	return a
}

// lastOf returns the highest address in p.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// ofFamily returns a, or one of its family's that the other family asks for.
func ofFamily(r *rand.Rand, a netip.Addr, is6 bool) netip.Addr {
	for a.Is6() != is6 {
		a = addr(r)
	}
	return a
}

// port returns a port at an edge of a list.
func port(r *rand.Rand, list policy.Ports) uint16 {
	if len(list) == 0 || chance(r, 10) {
		return pick(r, wellKnown...)
	}
	p := pick(r, list...)
	switch r.IntN(6) {
	case 0:
		return max(1, p.First-1)
	case 1:
		if p.Last < 65535 {
			return p.Last + 1
		}
	case 2, 3:
		return p.Last
	}
	return p.First
}
