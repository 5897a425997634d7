package openflow

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"slices"
)

// Match is what packets a flow is for: the fields of an OpenFlow match in their canonical form. The zero Match is for all packets.
// Two matches are equal if and only if they say the same, except that a field that this package does not know is compared as it is.
//
// Canonical is: fields in the order of their constants, unknown ones after them in the order found; no mask where all bits count; no
// field where none does; no bit set in a value that its mask leaves out.
type Match string

// Term is one field of a match: packets whose bits under Mask are those of Value.
type Term struct {
	Field Field
	Value Bits
	Mask  Bits
}

// NewMatch returns the match of packets for which all terms hold. Terms that say nothing may be among them. A field may not be there
// twice with different terms, and what Open vSwitch demands beside a field (an eth_type of IPv4 beside ipv4_src, say) is up to the
// caller; the switch refuses the flow otherwise.
func NewMatch(terms ...Term) Match {
	var room [16]Term
	sorted := append(room[:0], terms...)
	slices.SortStableFunc(sorted, func(a, b Term) int { return cmp.Compare(a.Field, b.Field) })
	buf := make([]byte, 0, 128)
	for i, t := range sorted {
		if i > 0 && sorted[i-1].Field == t.Field {
			if sorted[i-1].normal() != t.normal() {
				panic(fmt.Sprintf("BUG: a match has %s twice", t.Field))
			}
			continue
		}
		buf = t.append(buf)
	}
	return Match(buf)
}

// normal returns the term without the bits that say nothing.
func (t Term) normal() Term {
	t.Mask = t.Mask.And(Ones(t.Field.Width()))
	t.Value = t.Value.And(t.Mask)
	return t
}

// append appends the canonical encoding of the term.
func (t Term) append(b []byte) []byte {
	info := &fields[t.Field]
	if info.match == 0 {
		panic(fmt.Sprintf("BUG: %s is no field of a match", t.Field))
	}
	t = t.normal()
	if t.Mask.IsZero() {
		return b
	}
	n := info.octets()
	if t.Mask == Ones(t.Field.Width()) {
		return appendBits(binary.BigEndian.AppendUint32(b, info.match), t.Value, n)
	}
	if !info.masked {
		panic(fmt.Sprintf("BUG: %s cannot be matched with a mask", t.Field))
	}
	b = binary.BigEndian.AppendUint32(b, info.match&^0xff|1<<8|uint32(2*n))
	return appendBits(appendBits(b, t.Value, n), t.Mask, n)
}

// Terms yields the known fields of the match, in order.
func (m Match) Terms() iter.Seq[Term] {
	return func(yield func(Term) bool) {
		for b := []byte(m); len(b) > 0; {
			t, n := cutTerm(b)
			if n == 0 {
				return // a Match that is not of this package's making
			}
			if t.Field != 0 && !yield(t) {
				return
			}
			b = b[n:]
		}
	}
}

// Term returns what the match says of a field; its Mask is zero if it says nothing.
func (m Match) Term(f Field) Term {
	for t := range m.Terms() {
		if t.Field == f {
			return t
		}
	}
	return Term{Field: f}
}

// Foreign says whether the match has a field that this package does not know.
func (m Match) Foreign() bool {
	for b := []byte(m); len(b) > 0; {
		t, n := cutTerm(b)
		if n == 0 || t.Field == 0 {
			return true
		}
		b = b[n:]
	}
	return false
}

// cutTerm reads the first field of b: its octets are b[:n], and n is 0 if b ends within it. The Field of a term that is not known, or
// has a length or mask that it cannot have, is 0.
func cutTerm(b []byte) (t Term, n int) {
	if len(b) < 4 {
		return Term{}, 0
	}
	header := binary.BigEndian.Uint32(b)
	n = 4 + int(header&0xff)
	if len(b) < n {
		return Term{}, 0
	}
	body := b[4:n]
	if header&(1<<8) == 0 {
		f := fieldOfMatch(header)
		if f == 0 {
			return Term{}, n
		}
		return Term{f, bitsFrom(body), Ones(f.Width())}.normal(), n
	}
	if header&1 != 0 { // of a value and a mask, which are as long
		return Term{}, n
	}
	half := (header & 0xff) / 2
	f := fieldOfMatch(header&^0x1ff | half)
	if f == 0 {
		return Term{}, n
	}
	t = Term{f, bitsFrom(body[:half]), bitsFrom(body[half:])}.normal()
	if !fields[f].masked && !t.Mask.IsZero() && t.Mask != Ones(f.Width()) {
		return Term{}, n
	}
	return t, n
}

// Exact is a field with exactly this value.
func Exact(f Field, v Bits) Term { return Term{f, v, Ones(f.Width())} }

// Masked is a field whose bits under mask are those of v.
func Masked(f Field, v, mask Bits) Term { return Term{f, v, mask} }

// The constructors below are the words in which compilers of flows speak; each is an Exact or a Masked.

// InPort is packets that came in by a port.
func InPort(p Port) Term { return exact(FieldInPort, uint64(p)) }

// EthSrc is frames from a MAC address, which is a number of 48 bits, first octet highest.
func EthSrc(mac uint64) Term { return exact(FieldEthSrc, mac) }

// EthDst is frames to a MAC address, which is a number of 48 bits, first octet highest.
func EthDst(mac uint64) Term { return exact(FieldEthDst, mac) }

// EthSrcMasked is frames from MAC addresses whose bits under mask are those of mac.
func EthSrcMasked(mac, mask uint64) Term { return Masked(FieldEthSrc, U64(mac), U64(mask)) }

// EthDstMasked is frames to MAC addresses whose bits under mask are those of mac.
func EthDstMasked(mac, mask uint64) Term { return Masked(FieldEthDst, U64(mac), U64(mask)) }

// Multicast is frames to more than one: multicast and broadcast.
func Multicast() Term { return EthDstMasked(1<<40, 1<<40) }

// EthType is frames of a type, inside any VLAN tag.
func EthType(t uint16) Term { return exact(FieldEthType, uint64(t)) }

// Types of frames.
const (
	EthTypeIPv4 = 0x0800
	EthTypeARP  = 0x0806
	EthTypeVLAN = 0x8100
	EthTypeIPv6 = 0x86dd
)

// vlanPresent is OFPVID_PRESENT.
const vlanPresent = 1 << 12

// VLAN is frames tagged with a VLAN, 0 to 4095.
func VLAN(vid uint16) Term { return exact(FieldVLANVID, uint64(vid&0xfff)|vlanPresent) }

// AnyVLAN is frames with a tag.
func AnyVLAN() Term { return Masked(FieldVLANVID, U64(vlanPresent), U64(vlanPresent)) }

// NoVLAN is frames without a tag.
func NoVLAN() Term { return exact(FieldVLANVID, 0) }

// VLANPCP is tagged frames of a priority, 0 to 7.
func VLANPCP(p uint8) Term { return exact(FieldVLANPCP, uint64(p)) }

// ARPOp is ARP of an operation: 1 request, 2 reply.
func ARPOp(op uint16) Term { return exact(FieldARPOp, uint64(op)) }

// ARPSPA is ARP whose sender says to have an address of the prefix.
func ARPSPA(p netip.Prefix) Term { return prefix(FieldARPSPA, p) }

// ARPTPA is ARP about an address of the prefix.
func ARPTPA(p netip.Prefix) Term { return prefix(FieldARPTPA, p) }

// ARPSHA is ARP whose sender says to have a MAC address.
func ARPSHA(mac uint64) Term { return exact(FieldARPSHA, mac) }

// ARPTHA is ARP about a MAC address.
func ARPTHA(mac uint64) Term { return exact(FieldARPTHA, mac) }

// IPProto is IPv4 or IPv6 of a protocol; of IPv6 the last header's.
func IPProto(p uint8) Term { return exact(FieldIPProto, uint64(p)) }

// Numbers of IP protocols.
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
	ProtoSCTP   = 132
)

// IPDSCP is IPv4 or IPv6 of a service class, 0 to 63.
func IPDSCP(d uint8) Term { return exact(FieldIPDSCP, uint64(d)) }

// IPTTL is IPv4 or IPv6 of a TTL or hop limit.
func IPTTL(n uint8) Term { return exact(FieldIPTTL, uint64(n)) }

// NotFragment is IP that is no fragment.
func NotFragment() Term { return exact(FieldIPFrag, 0) }

// Fragment is IP that is a fragment: the first, or a later one.
func Fragment() Term { return Masked(FieldIPFrag, U64(1), U64(1)) }

// FirstFragment is the first of several fragments.
func FirstFragment() Term { return exact(FieldIPFrag, 1) }

// LaterFragment is a fragment that is not the first. It has no ports: Open vSwitch refuses a match that says otherwise.
func LaterFragment() Term { return exact(FieldIPFrag, 3) }

// NotLaterFragment is IP that is whole, or a first fragment: it has ports.
func NotLaterFragment() Term { return Masked(FieldIPFrag, U64(0), U64(2)) }

// IPv4Src is IPv4 from an address of the prefix.
func IPv4Src(p netip.Prefix) Term { return prefix(FieldIPv4Src, p) }

// IPv4Dst is IPv4 to an address of the prefix.
func IPv4Dst(p netip.Prefix) Term { return prefix(FieldIPv4Dst, p) }

// IPv6Src is IPv6 from an address of the prefix.
func IPv6Src(p netip.Prefix) Term { return prefix(FieldIPv6Src, p) }

// IPv6Dst is IPv6 to an address of the prefix.
func IPv6Dst(p netip.Prefix) Term { return prefix(FieldIPv6Dst, p) }

// TCPSrc is TCP from ports whose bits under mask are those of port; mask 0xffff is the port itself.
func TCPSrc(port, mask uint16) Term { return masked(FieldTCPSrc, port, mask) }

// TCPDst is TCP to ports whose bits under mask are those of port.
func TCPDst(port, mask uint16) Term { return masked(FieldTCPDst, port, mask) }

// UDPSrc is UDP from ports whose bits under mask are those of port.
func UDPSrc(port, mask uint16) Term { return masked(FieldUDPSrc, port, mask) }

// UDPDst is UDP to ports whose bits under mask are those of port.
func UDPDst(port, mask uint16) Term { return masked(FieldUDPDst, port, mask) }

// SCTPSrc is SCTP from ports whose bits under mask are those of port.
func SCTPSrc(port, mask uint16) Term { return masked(FieldSCTPSrc, port, mask) }

// SCTPDst is SCTP to ports whose bits under mask are those of port.
func SCTPDst(port, mask uint16) Term { return masked(FieldSCTPDst, port, mask) }

// ICMPType is ICMP for IPv4 of a type.
func ICMPType(t uint8) Term { return exact(FieldICMPType, uint64(t)) }

// ICMPCode is ICMP for IPv4 of a code.
func ICMPCode(c uint8) Term { return exact(FieldICMPCode, uint64(c)) }

// ICMPv6Type is ICMPv6 of a type.
func ICMPv6Type(t uint8) Term { return exact(FieldICMPv6Type, uint64(t)) }

// ICMPv6Code is ICMPv6 of a code.
func ICMPv6Code(c uint8) Term { return exact(FieldICMPv6Code, uint64(c)) }

// NDTarget is neighbour discovery about an address.
func NDTarget(a netip.Addr) Term { return Exact(FieldNDTarget, AddrBits(a)) }

// NDTargetIn is neighbour discovery about an address of the prefix.
func NDTargetIn(p netip.Prefix) Term { return prefix(FieldNDTarget, p) }

// NDSLL is neighbour discovery whose sender says to have a MAC address.
func NDSLL(mac uint64) Term { return exact(FieldNDSLL, mac) }

// NDTLL is neighbour discovery that says that its target has a MAC address.
func NDTLL(mac uint64) Term { return exact(FieldNDTLL, mac) }

// Reg is packets whose register n has the bits of v under mask.
func Reg(n int, v, mask uint32) Term { return masked(FieldReg(n), v, mask) }

// Bits of the state of a connection, in CTState.
const (
	CTNew         uint32 = 1 << 0
	CTEstablished uint32 = 1 << 1
	CTRelated     uint32 = 1 << 2
	CTReply       uint32 = 1 << 3
	CTInvalid     uint32 = 1 << 4
	CTTracked     uint32 = 1 << 5
	CTSrcNAT      uint32 = 1 << 6
	CTDstNAT      uint32 = 1 << 7
)

// CTState is packets whose connection has the bits of v under mask.
func CTState(v, mask uint32) Term { return masked(FieldCTState, v, mask) }

// CTZone is packets that went through a zone.
func CTZone(z uint16) Term { return exact(FieldCTZone, uint64(z)) }

// CTMark is packets whose connection's mark has the bits of v under mask.
func CTMark(v, mask uint32) Term { return masked(FieldCTMark, v, mask) }

// CTLabel is packets whose connection's label has the bits of v under mask.
func CTLabel(v, mask Bits) Term { return Masked(FieldCTLabel, v, mask) }

// ConjID is packets for which a conjunction holds.
func ConjID(id uint32) Term { return exact(FieldConjID, uint64(id)) }

// Metadata is packets whose metadata has the bits of v under mask.
func Metadata(v, mask uint64) Term { return Masked(FieldMetadata, U64(v), U64(mask)) }

func exact(f Field, v uint64) Term { return Exact(f, U64(v)) }

func masked[T ~uint16 | ~uint32](f Field, v, mask T) Term {
	return Masked(f, U64(uint64(v)), U64(uint64(mask)))
}

func prefix(f Field, p netip.Prefix) Term {
	width := f.Width()
	if p.Addr().BitLen() != width {
		panic(fmt.Sprintf("BUG: %s with prefix %s", f, p))
	}
	return Masked(f, AddrBits(p.Addr()), Ones(p.Bits()).Shl(width-p.Bits()))
}

// AddrBits returns an address as the value of a field.
func AddrBits(a netip.Addr) Bits {
	if a.Is4() {
		b := a.As4()
		return bitsFrom(b[:])
	}
	b := a.As16()
	return bitsFrom(b[:])
}
