package softswitch

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weirhq/weir/ovs/openflow"
)

// Packet is what comes in by a port. What its protocol does not have is not read.
type Packet struct {
	InPort         openflow.Port
	EthSrc, EthDst uint64 // MAC addresses: 48 bits, first octet highest
	EthType        uint16 // of what is within the tag
	Tagged         bool   // by 802.1Q
	VLAN           uint16 // if Tagged; 0: a priority only

	Src, Dst         netip.Addr // of IP, of ARP and RARP
	Proto            uint8      // of IP
	Fragment         Fragment
	SrcPort, DstPort uint16 // of TCP, UDP and SCTP
	TCPFlags         uint16
	ICMPType         uint8 // of ICMP and ICMPv6
	ICMPCode         uint8
	NDTarget         netip.Addr // of neighbour solicitations and advertisements
	NDLinkLayer      uint64     // MAC address in them: of the source in a solicitation, of the target in an advertisement; 0: none

	ARPOp          uint16
	ARPSHA, ARPTHA uint64

	// Conntrack says what connection tracking knows of the packet in a zone. Nil: of every zone, that it begins a connection.
	Conntrack func(zone uint16) Connection
}

// Fragment is which part of an IP packet this is, as the bits of nw_frag.
type Fragment uint8

// The values of Fragment.
const (
	Whole Fragment = 0
	First Fragment = 1
	Later Fragment = 3
)

// Connection is a packet's place in a connection, and what the connection carries.
type Connection struct {
	State CTState // openflow.CTTracked is always set when the packet comes back from ct()
	Mark  uint32
	Label openflow.Bits
}

// CTState is bits of ct_state: openflow.CTNew and the like.
type CTState uint32

// String returns s as ofproto/trace takes it after --ct-next, such as "trk,est,rpl".
func (s CTState) String() string {
	var names []string
	for _, bit := range [...]struct {
		bit  uint32
		name string
	}{
		{openflow.CTTracked, "trk"},
		{openflow.CTNew, "new"},
		{openflow.CTEstablished, "est"},
		{openflow.CTRelated, "rel"},
		{openflow.CTReply, "rpl"},
		{openflow.CTInvalid, "inv"},
	} {
		if uint32(s)&bit.bit != 0 {
			names = append(names, bit.name)
		}
	}
	return strings.Join(names, ",")
}

const (
	ethRARP = 0x8035

	solicitation, advertisement = 135, 136 // types of ICMPv6 that are about a neighbour
)

// ports tells whether the packet has ports.
func (p *Packet) ports() bool {
	return p.ip() && (p.Proto == openflow.ProtoTCP || p.Proto == openflow.ProtoUDP || p.Proto == openflow.ProtoSCTP)
}

func (p *Packet) ip() bool {
	return p.EthType == openflow.EthTypeIPv4 || p.EthType == openflow.EthTypeIPv6
}

func (p *Packet) arp() bool { return p.EthType == openflow.EthTypeARP || p.EthType == ethRARP }

// icmp tells whether the packet is ICMP of its version of IP.
func (p *Packet) icmp() bool {
	return p.EthType == openflow.EthTypeIPv4 && p.Proto == openflow.ProtoICMP || p.EthType == openflow.EthTypeIPv6 && p.Proto == openflow.ProtoICMPv6
}

func (p *Packet) nd() bool {
	return p.EthType == openflow.EthTypeIPv6 && p.icmp() && (p.ICMPType == solicitation || p.ICMPType == advertisement) && p.ICMPCode == 0
}

// Tags are the VLANs of the packet's tags: one, or none.
func (p *Packet) Tags() []uint16 {
	if !p.Tagged {
		return nil
	}
	return []uint16{p.VLAN}
}

// check refuses a packet whose fields do not fit each other.
func (p *Packet) check() error {
	want := func(name string, a netip.Addr, four bool) error {
		if a.Is4() != four || !a.IsValid() {
			return fmt.Errorf("%s %v of ethertype 0x%04x", name, a, p.EthType)
		}
		return nil
	}
	if p.ip() || p.arp() {
		if err := want("source", p.Src, p.EthType != openflow.EthTypeIPv6); err != nil {
			return err
		}
		if err := want("destination", p.Dst, p.EthType != openflow.EthTypeIPv6); err != nil {
			return err
		}
	}
	if p.nd() {
		return want("nd target", p.NDTarget, false)
	}
	return nil
}

// String returns the packet as a flow of ovs-fields(7), which ofproto/trace takes.
func (p *Packet) String() string {
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	add("in_port=%d,dl_src=%s,dl_dst=%s", p.InPort, mac(p.EthSrc), mac(p.EthDst))
	if p.Tagged {
		add(",vlan_tci=0x%04x", vlanPresent|p.VLAN)
	}
	add(",dl_type=0x%04x", p.EthType)
	switch {
	case p.arp():
		add(",arp_op=%d,arp_spa=%v,arp_tpa=%v,arp_sha=%s,arp_tha=%s", p.ARPOp, p.Src, p.Dst, mac(p.ARPSHA), mac(p.ARPTHA))
	case p.EthType == openflow.EthTypeIPv4:
		add(",nw_src=%v,nw_dst=%v,nw_proto=%d", p.Src, p.Dst, p.Proto)
	case p.EthType == openflow.EthTypeIPv6:
		add(",ipv6_src=%v,ipv6_dst=%v,nw_proto=%d", p.Src, p.Dst, p.Proto)
	}
	if p.ip() {
		add(",nw_frag=%s", map[Fragment]string{Whole: "no", First: "first", Later: "later"}[p.Fragment])
	}
	if p.Fragment == Later {
		return b.String()
	}
	switch {
	case p.ports():
		name := map[uint8]string{openflow.ProtoTCP: "tcp", openflow.ProtoUDP: "udp", openflow.ProtoSCTP: "sctp"}[p.Proto]
		add(",%s_src=%d,%s_dst=%d", name, p.SrcPort, name, p.DstPort)
		if p.Proto == openflow.ProtoTCP {
			add(",tcp_flags=0x%03x", p.TCPFlags)
		}
	case p.icmp():
		name := map[uint16]string{openflow.EthTypeIPv4: "icmp", openflow.EthTypeIPv6: "icmpv6"}[p.EthType]
		add(",%s_type=%d,%s_code=%d", name, p.ICMPType, name, p.ICMPCode)
		if p.nd() {
			add(",nd_target=%v,%s=%s", p.NDTarget, map[uint8]string{solicitation: "nd_sll", advertisement: "nd_tll"}[p.ICMPType], mac(p.NDLinkLayer))
		}
	}
	return b.String()
}

func mac(m uint64) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", byte(m>>40), byte(m>>32), byte(m>>24), byte(m>>16), byte(m>>8), byte(m))
}
