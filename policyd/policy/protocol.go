package policy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/nearest"
)

// EtherTypes that rules know by name (IEEE 802 Numbers, IANA).
const (
	EtherIPv4 = 0x0800
	EtherARP  = 0x0806
	EtherRARP = 0x8035
	EtherIPv6 = 0x86dd
)

// IP protocols that rules know by name (Protocol Numbers, IANA).
const (
	IPICMP   = 1
	IPTCP    = 6
	IPUDP    = 17
	IPICMPv6 = 58
	IPSCTP   = 132
)

// Protocol is what a rule matches by protocol. The zero value is any. Two that match the same are equal.
type Protocol struct {
	EtherType uint16 // 0: any; with IP, IPv4 and IPv6 alike
	IP        uint8  // IP protocol; 0: any
	HasType   bool   // only ICMP messages of Type; IP is IPICMP with EtherIPv4 or IPICMPv6 with EtherIPv6
	HasCode   bool   // and of Code
	Type      uint8
	Code      uint8
}

// HasPorts reports whether packets of the protocol have ports.
func (p Protocol) HasPorts() bool { return p.IP == IPTCP || p.IP == IPUDP || p.IP == IPSCTP }

// names are the protocols that have one, besides any.
var protocolNames = []struct {
	name string
	p    Protocol
}{
	{"arp", Protocol{EtherType: EtherARP}},
	{"rarp", Protocol{EtherType: EtherRARP}},
	{"ipv4", Protocol{EtherType: EtherIPv4}},
	{"ipv6", Protocol{EtherType: EtherIPv6}},
	{"tcp", Protocol{IP: IPTCP}},
	{"udp", Protocol{IP: IPUDP}},
	{"sctp", Protocol{IP: IPSCTP}},
	{"icmp", Protocol{EtherType: EtherIPv4, IP: IPICMP}},
	{"icmpv6", Protocol{EtherType: EtherIPv6, IP: IPICMPv6}},
}

// String returns p as a rule says it.
func (p Protocol) String() string {
	if p == (Protocol{}) {
		return "any"
	}
	base := p
	base.HasType, base.HasCode, base.Type, base.Code = false, false, 0, 0
	for _, n := range protocolNames {
		switch {
		case n.p != base:
		case p.HasCode:
			return fmt.Sprintf("%s/%d/%d", n.name, p.Type, p.Code)
		case p.HasType:
			return fmt.Sprintf("%s/%d", n.name, p.Type)
		default:
			return n.name
		}
	}
	if p.IP != 0 {
		return fmt.Sprintf("ip/%d", p.IP)
	}
	return fmt.Sprintf("ethertype/0x%04x", p.EtherType)
}

// Form says what the text looks like.
func (Protocol) Form() string { return `protocol, e.g. "tcp", "icmp/8", "ip/47"` }

// MarshalText implements encoding.TextMarshaler with [Protocol.String].
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler with [ParseProtocol].
func (p *Protocol) UnmarshalText(text []byte) (err error) {
	*p, err = ParseProtocol(string(text))
	return err
}

// ParseProtocol reads what String returns. A number of a protocol that has a name is that protocol: ip/6 is tcp.
func ParseProtocol(s string) (Protocol, error) {
	name, rest, numbered := strings.Cut(s, "/")
	switch {
	case s == "any":
		return Protocol{}, nil
	case numbered && name == "ip":
		n, err := strconv.ParseUint(rest, 10, 8)
		if err != nil || n == 0 {
			return Protocol{}, fmt.Errorf("found %q, want the number of an IP protocol from 1 to 255, e.g. ip/47", s)
		}
		return Protocol{IP: uint8(n)}, nil
	case numbered && name == "ethertype":
		return parseEtherType(s, rest)
	}
	for _, n := range protocolNames {
		switch {
		case n.name != name:
		case !numbered:
			return n.p, nil
		case n.p.IP != IPICMP && n.p.IP != IPICMPv6:
			return Protocol{}, fmt.Errorf("found %q: %s has no types; ports stand in remote_ports and local_ports", s, name)
		default:
			return parseICMP(n.p, s, rest)
		}
	}
	text := "found %q, want any, arp, rarp, ipv4, ipv6, tcp, udp, sctp, icmp, icmpv6, icmp/TYPE[/CODE], icmpv6/TYPE[/CODE], ip/NUMBER or ethertype/0xNNNN"
	known := []string{"any", "ip", "ethertype"}
	for _, n := range protocolNames {
		known = append(known, n.name)
	}
	if word := nearest.Word(name, known); word != "" {
		return Protocol{}, fmt.Errorf(text+"; did you mean %q?", s, word)
	}
	return Protocol{}, fmt.Errorf(text, s)
}

func parseEtherType(s, rest string) (Protocol, error) {
	const least = 0x0600 // below, the field is a length (IEEE 802.3 §3.2.6)
	n, err := strconv.ParseUint(rest, 0, 16)
	switch {
	case err != nil || n < least || !strings.HasPrefix(rest, "0x"):
		return Protocol{}, fmt.Errorf("found %q, want an EtherType from ethertype/0x0600 to ethertype/0xffff", s)
	case n == 0x8100 || n == 0x88a8:
		return Protocol{}, fmt.Errorf("found %q: rules are about what a VLAN tag carries, a tag itself is matched by the network", s)
	}
	return Protocol{EtherType: uint16(n)}, nil
}

func parseICMP(p Protocol, s, rest string) (Protocol, error) {
	kind, code, coded := strings.Cut(rest, "/")
	t, err := strconv.ParseUint(kind, 10, 8)
	var c uint64
	if coded && err == nil {
		c, err = strconv.ParseUint(code, 10, 8)
	}
	if err != nil {
		return Protocol{}, fmt.Errorf("found %q, want numbers from 0 to 255, e.g. icmp/8 (type) or icmp/3/4 (type and code)", s)
	}
	p.HasType, p.Type, p.HasCode, p.Code = true, uint8(t), coded, uint8(c)
	return p, nil
}
