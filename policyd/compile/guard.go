package compile

import (
	"net/netip"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/policy"
)

// Tables 8 to 10 drop what a VIF may not send, before anybody learns from it or looks where it is going: 8 by its source MAC address, 9 by its source IP
// address and what ARP says, 10 by what neighbour discovery says. Flows that drop are of one VIF, so that its packets are counted.

const (
	priorityIsolated = 300 // of a VIF that is quarantined

	priorityServer = 200 // what only servers send

	priorityLooked   = 110 // goes on to be looked at more closely
	priorityBelieved = 100
	prioritySilent   = 90 // of neighbour discovery: about an address that is not free, before it has one itself
	priorityNamed    = 80 // with a MAC address in it, or none
	prioritySpoofed  = 50 // of a kind of packets
	priorityOther    = 10
)

func fixedGuard(e *emitter) {
	for _, table := range []uint8{TableGuard, TableAddress, TableNeighbour} { // of no VIF: there are none
		e.add(table, 0, KindGuard, flow.SystemUnknownPort, "", do(e.dropped(flow.StageSystem, flow.SystemUnknownPort)))
	}
}

// refuse drops packets of a VIF.
func (e *emitter) refuse(table uint8, priority uint16, port openflow.Port, instance uint32, terms ...openflow.Term) {
	e.add(table, priority, KindGuard, instance, match(append(terms, source(port))...), do(e.dropped(flow.StageSystem, instance)))
}

// believe lets packets of a VIF go on in a table.
func (e *emitter) believe(table uint8, priority uint16, port openflow.Port, to uint8, terms ...openflow.Term) {
	e.add(table, priority, KindGuard, 0, match(append(terms, source(port))...), do(next(to)))
}

func macSource(m estate.MAC) openflow.Term { return openflow.EthSrc(uint64(m)) }

// udp is packets from a port to a port.
func udp(family, src, dst uint16) []openflow.Term {
	return []openflow.Term{etherType(family), openflow.IPProto(policy.IPUDP), openflow.UDPSrc(src, 0xffff), openflow.UDPDst(dst, 0xffff)}
}

func icmpv6(kind uint8, more ...openflow.Term) []openflow.Term {
	return append([]openflow.Term{etherType(policy.EtherIPv6), openflow.IPProto(policy.IPICMPv6), openflow.ICMPv6Type(kind)}, more...)
}

const (
	routerAdvertisement   = 134
	neighbourSolicitation = 135
	neighbourAdvert       = 136
)

// silentICMPv6 are types that an interface sends before it has an address: reports of the groups that it is in, router solicitations.
var silentICMPv6 = []uint8{131, 132, 133, 143}

var (
	noIPv4 = netip.PrefixFrom(netip.IPv4Unspecified(), 32)
	noIPv6 = netip.PrefixFrom(netip.IPv6Unspecified(), 128)
)

// GuardedPort returns the port by which the VIF is reached of which a flow drops packets; 0: the flow is no guard that drops.
func GuardedPort(f openflow.Flow) openflow.Port {
	if _, kind, instance, ours := SplitCookie(f.Cookie); !ours || kind != KindGuard || instance == 0 {
		return 0
	}
	return openflow.Port(f.Match.Term(openflow.FieldReg(regSource)).Value.Lo)
}

// isolated is a VIF that is quarantined: what it sends is dropped, and copies of what is for several. isolatedAddress and isolatedFound drop what is for
// it alone before anybody's rules are asked, so that it is told of once.
type isolated struct{ port openflow.Port }

func (u isolated) count(*settings) int { return 2 }

func (u isolated) flows(e *emitter) {
	e.isolate(TableGuard, priorityIsolated, flow.StageSystem, source(u.port))
	e.isolate(TableIngress, priorityIsolatedCopy, flow.StageIngress, destination(u.port))
}

// isolate drops packets from or to a VIF that is quarantined.
func (e *emitter) isolate(table uint8, priority uint16, stage flow.Stage, terms ...openflow.Term) {
	e.add(table, priority, KindQuarantine, flow.SystemQuarantine, match(terms...), do(e.dropped(stage, flow.SystemQuarantine)))
}

// noServer is a VIF that is no DHCP server.
type noServer struct{ port openflow.Port }

func (u noServer) count(*settings) int { return 2 }

func (u noServer) flows(e *emitter) {
	for _, family := range ip {
		client, server, _ := dhcp(family)
		e.refuse(TableGuard, priorityServer, u.port, flow.SystemDHCP, udp(family, server, client)...)
	}
}

// noRouter is a VIF that is no router.
type noRouter struct{ port openflow.Port }

func (u noRouter) count(*settings) int { return 1 }

func (u noRouter) flows(e *emitter) {
	e.refuse(TableGuard, priorityServer, u.port, flow.SystemRA, icmpv6(routerAdvertisement)...)
}

// anyMAC is a VIF that is believed any source MAC address.
type anyMAC struct{ port openflow.Port }

func (u anyMAC) count(*settings) int { return 1 }

func (u anyMAC) flows(e *emitter) {
	e.believe(TableGuard, priorityOther, u.port, TableNotice)
}

// onlyMACs is a VIF that is not.
type onlyMACs struct{ port openflow.Port }

func (u onlyMACs) count(*settings) int { return 1 }

func (u onlyMACs) flows(e *emitter) {
	e.refuse(TableGuard, priorityOther, u.port, flow.SystemSpoofedMAC)
}

// ofMAC is a source MAC address that a VIF may use. If its addresses of a family are known, they are looked at, too.
type ofMAC struct {
	port      openflow.Port
	mac       estate.MAC
	four, six bool
}

func (u ofMAC) count(*settings) int {
	n := 1
	if u.four {
		n++
	}
	if u.six {
		n++
	}
	return n
}

func (u ofMAC) flows(e *emitter) {
	to := uint8(TableNotice)
	if u.four || u.six {
		to = TableAddress
	}
	e.believe(TableGuard, priorityBelieved, u.port, to, macSource(u.mac))
	if u.four {
		e.believe(TableAddress, priorityBelieved, u.port, TableNotice, etherType(policy.EtherARP), openflow.ARPSPA(noIPv4), openflow.ARPSHA(uint64(u.mac)))
	}
	if u.six {
		e.believe(TableNeighbour, priorityNamed, u.port, TableNotice, icmpv6(neighbourSolicitation, openflow.NDSLL(uint64(u.mac)))...)
	}
}

// fourKnown is a VIF whose IPv4 addresses are known.
type fourKnown struct{ port openflow.Port }

func (u fourKnown) count(*settings) int { return 3 }

func (u fourKnown) flows(e *emitter) {
	client, server, _ := dhcp(policy.EtherIPv4)
	e.believe(TableAddress, priorityBelieved, u.port, TableNotice, append(udp(policy.EtherIPv4, client, server), openflow.IPv4Src(noIPv4))...)
	e.refuse(TableAddress, prioritySpoofed, u.port, flow.SystemSpoofedIP, etherType(policy.EtherIPv4))
	e.refuse(TableAddress, prioritySpoofed, u.port, flow.SystemSpoofedARP, etherType(policy.EtherARP))
}

// sixKnown is a VIF whose IPv6 addresses are known.
type sixKnown struct{ port openflow.Port }

func (u sixKnown) count(*settings) int { return len(silentICMPv6) + 5 }

func (u sixKnown) flows(e *emitter) {
	for _, t := range silentICMPv6 {
		e.believe(TableAddress, priorityBelieved, u.port, TableNotice, icmpv6(t, openflow.IPv6Src(noIPv6))...)
	}
	e.believe(TableAddress, priorityLooked, u.port, TableNeighbour, icmpv6(neighbourSolicitation, openflow.IPv6Src(noIPv6))...)
	e.refuse(TableAddress, prioritySpoofed, u.port, flow.SystemSpoofedIP, etherType(policy.EtherIPv6))

	e.refuse(TableNeighbour, prioritySilent, u.port, flow.SystemSpoofedND, icmpv6(neighbourSolicitation, openflow.IPv6Src(noIPv6))...)
	e.believe(TableNeighbour, priorityNamed, u.port, TableNotice, icmpv6(neighbourSolicitation, openflow.NDSLL(0))...)
	e.refuse(TableNeighbour, priorityOther, u.port, flow.SystemSpoofedND)
}

// addressed is a VIF of which addresses are looked at: what has none goes on.
type addressed struct{ port openflow.Port }

func (u addressed) count(*settings) int { return 1 }

func (u addressed) flows(e *emitter) {
	e.believe(TableAddress, priorityOther, u.port, TableNotice)
}

// ofAddress is addresses that a VIF may use.
type ofAddress struct {
	port   openflow.Port
	prefix netip.Prefix
}

func (u ofAddress) count(*settings) int {
	if u.prefix.Addr().Is4() {
		return 1
	}
	return 4
}

func (u ofAddress) flows(e *emitter) {
	if u.prefix.Addr().Is4() {
		e.believe(TableAddress, priorityBelieved, u.port, TableNotice, etherType(policy.EtherIPv4), openflow.IPv4Src(u.prefix))
		return
	}
	from := openflow.IPv6Src(u.prefix)
	e.believe(TableAddress, priorityBelieved, u.port, TableNotice, etherType(policy.EtherIPv6), from)
	e.believe(TableAddress, priorityLooked, u.port, TableNeighbour, icmpv6(neighbourSolicitation, from)...)
	e.believe(TableAddress, priorityLooked, u.port, TableNeighbour, icmpv6(neighbourAdvert, from)...)
	e.believe(TableNeighbour, priorityBelieved, u.port, TableNotice,
		icmpv6(neighbourSolicitation, openflow.IPv6Src(noIPv6), openflow.NDTargetIn(u.prefix), openflow.NDSLL(0))...)
}

// claim is addresses of a VIF that it may say to have a MAC address; 0: it says none.
type claim struct {
	port   openflow.Port
	prefix netip.Prefix
	mac    estate.MAC
}

func (u claim) count(*settings) int { return 1 }

func (u claim) flows(e *emitter) {
	if u.prefix.Addr().Is4() {
		e.believe(TableAddress, priorityBelieved, u.port, TableNotice, etherType(policy.EtherARP), openflow.ARPSPA(u.prefix), openflow.ARPSHA(uint64(u.mac)))
		return
	}
	e.believe(TableNeighbour, priorityBelieved, u.port, TableNotice, icmpv6(neighbourAdvert, openflow.NDTargetIn(u.prefix), openflow.NDTLL(uint64(u.mac)))...)
}

// guards plans tables 8 to 10.
func (b *bridge) guards(p *plan) {
	for i := range b.vifs {
		g, port := &b.vifs[i].guard, b.vifs[i].ports[0]
		if b.vifs[i].isolated {
			p.add(isolated{port})
		}
		if g.DHCP {
			p.add(noServer{port})
		}
		if g.RA {
			p.add(noRouter{port})
		}
		if g.MACs == nil {
			p.add(anyMAC{port})
			continue
		}
		p.add(onlyMACs{port})
		for _, m := range g.MACs {
			p.add(ofMAC{port, m, g.Four != nil, g.Six != nil})
		}
		if g.Four == nil && g.Six == nil {
			continue
		}
		p.add(addressed{port})
		if g.Four != nil {
			p.add(fourKnown{port})
		}
		if g.Six != nil {
			p.add(sixKnown{port})
		}
		for _, prefix := range g.Four {
			p.add(ofAddress{port, prefix})
			for _, m := range g.MACs {
				p.add(claim{port, prefix, m})
			}
		}
		for _, prefix := range g.Six {
			p.add(ofAddress{port, prefix})
			for _, m := range append([]estate.MAC{0}, g.MACs...) {
				p.add(claim{port, prefix, m})
			}
		}
	}
}
