package policy

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weirhq/weir/estate"
)

// Packet is what rules ask of a packet. VLAN tags are not part of it: they say which network it is in.
type Packet struct {
	SrcMAC, DstMAC   estate.MAC
	EtherType        uint16
	Src, Dst         netip.Addr // of IPv4 and IPv6; of ARP the sender's and the target's; else none
	IP               uint8      // IP protocol, of IPv4 and IPv6
	SrcPort, DstPort uint16     // of TCP, UDP and SCTP
	Type, Code       uint8      // of ICMP and ICMPv6
}

// protocol returns p's protocol as exactly as String says it.
func (p *Packet) protocol() Protocol {
	switch {
	case p.EtherType != EtherIPv4 && p.EtherType != EtherIPv6:
		return Protocol{EtherType: p.EtherType}
	case p.EtherType == EtherIPv4 && p.IP == IPICMP, p.EtherType == EtherIPv6 && p.IP == IPICMPv6:
		return Protocol{EtherType: p.EtherType, IP: p.IP, HasType: true, HasCode: true, Type: p.Type, Code: p.Code}
	}
	return Protocol{IP: p.IP}
}

// String returns p in the form that ParsePacket reads: protocol, the ends, and MAC addresses if there are any.
//
//	tcp 192.0.2.1:40000 > 192.0.2.2:443 02:00:00:00:00:01 > 02:00:00:00:00:02
//	icmpv6/128/0 2001:db8::1 > 2001:db8::2
//	arp 192.0.2.1 > 192.0.2.2
//	ethertype/0x88cc 02:00:00:00:00:01 > 01:80:c2:00:00:0e
func (p Packet) String() string {
	var s strings.Builder
	s.WriteString(p.protocol().String())
	end := func(a netip.Addr, port uint16) string {
		if p.protocol().HasPorts() {
			return netip.AddrPortFrom(a, port).String()
		}
		return a.String()
	}
	if p.Src.IsValid() {
		fmt.Fprintf(&s, " %s > %s", end(p.Src, p.SrcPort), end(p.Dst, p.DstPort))
	}
	if p.SrcMAC != 0 || p.DstMAC != 0 {
		fmt.Fprintf(&s, " %s > %s", macText(p.SrcMAC), macText(p.DstMAC))
	}
	return s.String()
}

func macText(m estate.MAC) string {
	if m == 0 {
		return "00:00:00:00:00:00"
	}
	return m.String()
}

// ParsePacket reads what String returns. Of ICMP, the code may be left out, which is 0.
func ParsePacket(s string) (Packet, error) {
	wrong := func(format string, args ...any) (Packet, error) {
		return Packet{}, fmt.Errorf("parse packet %q: "+format, append([]any{s}, args...)...)
	}
	words := strings.Fields(s)
	if len(words) == 0 {
		return wrong("want e.g. %q", "tcp 192.0.2.1:40000 > 192.0.2.2:443")
	}
	proto, err := ParseProtocol(words[0])
	if err != nil {
		return wrong("%w", err)
	}
	p := Packet{EtherType: proto.EtherType, IP: proto.IP, Type: proto.Type, Code: proto.Code}
	isICMP := proto.EtherType != 0 && proto.IP != 0
	switch {
	case proto == Protocol{} || proto.IP == 0 && (p.EtherType == EtherIPv4 || p.EtherType == EtherIPv6):
		return wrong("%q is no protocol of one packet, want e.g. tcp, ip/47, arp", words[0])
	case isICMP && !proto.HasType:
		return wrong("want its type, e.g. %s/8", words[0])
	}
	words = words[1:]
	if p.IP != 0 || p.EtherType == EtherARP {
		if len(words) < 3 || words[1] != ">" {
			return wrong("want the ends after %s, e.g. %q", proto, "192.0.2.1 > 192.0.2.2")
		}
		if p.Src, p.SrcPort, err = parseEnd(words[0], proto.HasPorts()); err == nil {
			p.Dst, p.DstPort, err = parseEnd(words[2], proto.HasPorts())
		}
		switch {
		case err != nil:
			return wrong("%w", err)
		case p.Src.BitLen() != p.Dst.BitLen():
			return wrong("%s and %s are of two families", p.Src, p.Dst)
		}
		is := map[bool]uint16{true: EtherIPv4, false: EtherIPv6}[p.Src.Is4()]
		if p.EtherType == 0 {
			p.EtherType = is
		}
		if p.EtherType != is && (p.EtherType != EtherARP || is != EtherIPv4) {
			return wrong("%s has no ends as %s", proto, p.Src)
		}
		words = words[3:]
		if !isICMP && (p.IP == IPICMP && is == EtherIPv4 || p.IP == IPICMPv6 && is == EtherIPv6) {
			return wrong("want the type, e.g. icmp/8 or icmpv6/128")
		}
	}
	if len(words) == 0 {
		return p, nil
	}
	if len(words) != 3 || words[1] != ">" {
		return wrong("found %q, want MAC addresses or nothing, e.g. %q", strings.Join(words, " "), "02:00:00:00:00:01 > 02:00:00:00:00:02")
	}
	if p.SrcMAC, err = estate.ParseMAC(words[0]); err == nil {
		p.DstMAC, err = estate.ParseMAC(words[2])
	}
	if err != nil {
		return wrong("%w", err)
	}
	return p, nil
}

// parseEnd reads an address, with a port or without.
func parseEnd(s string, ports bool) (netip.Addr, uint16, error) {
	if ports {
		a, err := netip.ParseAddrPort(s)
		if err != nil || a.Addr().Zone() != "" || a.Addr().Is4In6() {
			return netip.Addr{}, 0, fmt.Errorf("found %q, want address and port, e.g. 192.0.2.1:443 or [2001:db8::1]:443", s)
		}
		return a.Addr(), a.Port(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return netip.Addr{}, 0, fmt.Errorf("found %s, want an IP address", strconv.Quote(s))
	}
	return a, 0, nil
}
