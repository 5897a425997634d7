package policy

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

// Guard is what a VIF is believed of what it sends. What is in it is immutable.
//
// All of its MAC addresses may be used with all of its addresses: both are its own.
type Guard struct {
	MACs []estate.MAC   // that it may use, its own first; nil: any
	Four []netip.Prefix // IPv4 addresses that it may use; nil: any
	Six  []netip.Prefix // IPv6 addresses that it may use; nil: any
	DHCP bool           // it is no DHCP server
	RA   bool           // it is no router
}

// linkLocal are the IPv6 addresses that an interface gives itself.
var linkLocal = netip.MustParsePrefix("fe80::/10")

const groupBit = 1 << 40 // of a MAC address

// GuardOf returns what a VIF is believed whose settings are s. mac is its own MAC address as far as is known, addrs its own addresses that were told. Of
// what is not known nothing is checked: an address family of which none of its own addresses is known, and nothing but servers if its MAC address is not.
func GuardOf(s *Settings, mac estate.MAC, addrs []netip.Addr) Guard {
	g := Guard{DHCP: s.GuardDHCP == On, RA: s.GuardRA == On}
	if mac == 0 || mac&groupBit != 0 || s.GuardMAC != On && s.GuardIP != On {
		return g
	}
	g.MACs = []estate.MAC{mac}
	var four, six []netip.Prefix
	local, known := false, false // link-local addresses, others
	for _, a := range addrs {
		p := netip.PrefixFrom(a, a.BitLen())
		switch {
		case a.Is4():
			four = append(four, p)
		case linkLocal.Contains(a):
			local = true
			six = append(six, p)
		default:
			known = true
			six = append(six, p)
		}
	}
	for _, x := range s.AllowedAddresses.List {
		if x.MAC != 0 && !slices.Contains(g.MACs, x.MAC) {
			g.MACs = append(g.MACs, x.MAC)
		}
		switch {
		case !x.Prefix.IsValid():
		case x.Prefix.Addr().Is4() && len(four) > 0:
			four = append(four, x.Prefix)
		case x.Prefix.Addr().Is6():
			six = append(six, x.Prefix)
		}
	}
	if s.GuardIP != On {
		return g
	}
	g.Four = disjoint(four)
	if !known {
		return g
	}
	if !local { // which it chose is not known
		six = append(six, linkLocal)
	}
	for _, m := range g.MACs {
		a := linkLocalOf(m)
		six = append(six, netip.PrefixFrom(a, a.BitLen()))
	}
	g.Six = disjoint(six)
	return g
}

// linkLocalOf returns the link-local address that is made of a MAC address (RFC 4291, appendix A).
func linkLocalOf(m estate.MAC) netip.Addr {
	var b [16]byte
	b[0], b[1] = 0xfe, 0x80
	binary.BigEndian.PutUint64(b[8:], uint64(m)&0xffffff000000<<16|0xfffe000000|uint64(m)&0xffffff)
	b[8] ^= 2
	return netip.AddrFrom16(b)
}

// Claims are what ARP and neighbour discovery say besides the addresses of a packet.
type Claims struct {
	// MAC is the sender's in ARP; in a neighbour solicitation the sender's, in an advertisement the target's; 0: none.
	MAC    estate.MAC
	Target netip.Addr // of neighbour discovery
}

// Refuses returns the built-in rule that drops a packet of the VIF; 0: none, it is believed. Like Evaluate it is the reference for the flows of
// policyd/compile.
func (g *Guard) Refuses(p *Packet, c Claims) uint32 {
	may := func(list []netip.Prefix, a netip.Addr) bool {
		return slices.ContainsFunc(list, func(x netip.Prefix) bool { return x.Contains(a) })
	}
	its := func(m estate.MAC) bool { return slices.Contains(g.MACs, m) }
	udp := func(src, dst uint16) bool { return p.IP == IPUDP && p.SrcPort == src && p.DstPort == dst }
	four, six := p.EtherType == EtherIPv4, p.EtherType == EtherIPv6
	icmp6 := six && p.IP == IPICMPv6
	none := p.Src.IsValid() && p.Src.IsUnspecified()
	if icmp6 && p.Code != 0 { // no neighbour discovery, which says something in messages of code 0 only (RFC 4861, 4.3 and 4.4)
		c = Claims{Target: netip.IPv6Unspecified()}
	}
	switch {
	case g.DHCP && (four && udp(67, 68) || six && udp(547, 546)):
		return flow.SystemDHCP
	case g.RA && icmp6 && p.Type == 134:
		return flow.SystemRA
	case g.MACs != nil && !its(p.SrcMAC):
		return flow.SystemSpoofedMAC
	case four && g.Four != nil:
		if asks := none && udp(68, 67); !asks && !may(g.Four, p.Src) { // asks for an address
			return flow.SystemSpoofedIP
		}
	case p.EtherType == EtherARP && g.Four != nil:
		if !its(c.MAC) || !may(g.Four, p.Src) && !none { // asks whether an address is free
			return flow.SystemSpoofedARP
		}
	case six && g.Six != nil:
		switch {
		case icmp6 && none && p.Type == 135: // asks whether an address is free
			if !may(g.Six, c.Target) || c.MAC != 0 {
				return flow.SystemSpoofedND
			}
		case icmp6 && none && slices.Contains([]uint8{131, 132, 133, 143}, p.Type): // says in which groups it is, asks for routers
		case !may(g.Six, p.Src):
			return flow.SystemSpoofedIP
		case icmp6 && p.Type == 135 && c.MAC != 0 && !its(c.MAC),
			icmp6 && p.Type == 136 && (c.MAC != 0 && !its(c.MAC) || !may(g.Six, c.Target)):
			return flow.SystemSpoofedND
		}
	}
	return 0
}
