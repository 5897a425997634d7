package openflow

import "fmt"

// Field is a field of packets, or of what the switch knows of one. The zero Field is none.
type Field uint8

// Fields, in the order in which Open vSwitch writes them in a match, which is the order in a Match.
const (
	FieldConjID Field = iota + 1
	FieldInPort
	FieldEthSrc
	FieldEthDst
	FieldEthType
	FieldVLANVID // with bit 12 set if there is a tag: 0 is an untagged packet
	FieldVLANPCP
	FieldIPv4Src
	FieldIPv4Dst
	FieldIPv6Src
	FieldIPv6Dst
	FieldIPFrag // bit 0: a fragment; bit 1: not the first
	FieldIPDSCP
	FieldIPECN
	FieldIPTTL
	FieldIPProto
	FieldTCPSrc
	FieldTCPDst
	FieldUDPSrc
	FieldUDPDst
	FieldSCTPSrc
	FieldSCTPDst
	FieldICMPType
	FieldICMPCode
	FieldICMPv6Type
	FieldICMPv6Code
	FieldNDTarget
	FieldNDSLL
	FieldNDTLL
	FieldIPv6Label
	FieldARPOp
	FieldARPSPA
	FieldARPTPA
	FieldARPSHA
	FieldARPTHA
	FieldTunID
	FieldReg0 // FieldReg0 + n is register n, 0 ≤ n < Registers
	_
	_
	_
	_
	_
	_
	_
	_
	_
	_
	_
	_
	_
	_
	FieldReg15
	FieldPktMark
	FieldCTState
	FieldCTZone
	FieldCTMark
	FieldCTLabel
	FieldMetadata

	// Fields below exist in actions of Open vSwitch only, never in a match.

	FieldInPort16 // the port as 16 bits
	FieldVLANTCI  // the tag: bits 0..11 VLAN, 12 present, 13..15 priority

	fieldCount
)

// Registers is how many registers a packet has.
const Registers = 16

// FieldReg returns register n.
func FieldReg(n int) Field {
	if n < 0 || n >= Registers {
		panic(fmt.Sprintf("BUG: there is no register %d", n))
	}
	return FieldReg0 + Field(n)
}

// Classes of OXM headers (§7.2.3.2): of OpenFlow itself, and Open vSwitch's.
const (
	classNXM0 = 0x0000
	classNXM1 = 0x0001
	classOXM  = 0x8000
)

// oxmHeader returns the header of a field that is not masked: class, number, octets.
func oxmHeader(class, number, octets uint32) uint32 { return class<<16 | number<<9 | octets }

// style is how a value is written for people.
type style uint8

const (
	styleHex style = iota
	styleDecimal
	styleMAC
	styleIPv4
	styleIPv6
	stylePort // of a switch
	styleState
	styleFrag
	styleVLAN
)

// fieldInfo is what the codec knows of a field.
type fieldInfo struct {
	name   string // in matches of ovs-ofctl
	sub    string // in Open vSwitch's actions
	match  uint32 // header in a match and in set_field; 0: not there
	action uint32 // header in Open vSwitch's own actions
	width  uint8  // bits
	masked bool   // masks are possible in a match
	style  style
}

// octets is the length of the field in a match.
func (i *fieldInfo) octets() int { return int(i.match & 0xff) }

// fields is the one list of what is known; headers and names are those of ovs-fields(7).
var fields = withRegisters([fieldCount]fieldInfo{
	FieldConjID:     {"conj_id", "NXM_NX_CONJ_ID", oxmHeader(classNXM1, 37, 4), 0, 32, false, styleDecimal},
	FieldInPort:     {"in_port", "OXM_OF_IN_PORT", oxmHeader(classOXM, 0, 4), 0, 32, false, stylePort},
	FieldEthSrc:     {"dl_src", "NXM_OF_ETH_SRC", oxmHeader(classOXM, 4, 6), oxmHeader(classNXM0, 2, 6), 48, true, styleMAC},
	FieldEthDst:     {"dl_dst", "NXM_OF_ETH_DST", oxmHeader(classOXM, 3, 6), oxmHeader(classNXM0, 1, 6), 48, true, styleMAC},
	FieldEthType:    {"dl_type", "NXM_OF_ETH_TYPE", oxmHeader(classOXM, 5, 2), oxmHeader(classNXM0, 3, 2), 16, false, styleHex},
	FieldVLANVID:    {"vlan_vid", "OXM_OF_VLAN_VID", oxmHeader(classOXM, 6, 2), 0, 13, true, styleVLAN},
	FieldVLANPCP:    {"dl_vlan_pcp", "OXM_OF_VLAN_PCP", oxmHeader(classOXM, 7, 1), 0, 3, false, styleDecimal},
	FieldIPv4Src:    {"nw_src", "NXM_OF_IP_SRC", oxmHeader(classOXM, 11, 4), oxmHeader(classNXM0, 7, 4), 32, true, styleIPv4},
	FieldIPv4Dst:    {"nw_dst", "NXM_OF_IP_DST", oxmHeader(classOXM, 12, 4), oxmHeader(classNXM0, 8, 4), 32, true, styleIPv4},
	FieldIPv6Src:    {"ipv6_src", "NXM_NX_IPV6_SRC", oxmHeader(classOXM, 26, 16), oxmHeader(classNXM1, 19, 16), 128, true, styleIPv6},
	FieldIPv6Dst:    {"ipv6_dst", "NXM_NX_IPV6_DST", oxmHeader(classOXM, 27, 16), oxmHeader(classNXM1, 20, 16), 128, true, styleIPv6},
	FieldIPFrag:     {"nw_frag", "NXM_NX_IP_FRAG", oxmHeader(classNXM1, 26, 1), 0, 2, true, styleFrag},
	FieldIPDSCP:     {"ip_dscp", "OXM_OF_IP_DSCP", oxmHeader(classOXM, 8, 1), 0, 6, false, styleDecimal},
	FieldIPECN:      {"nw_ecn", "NXM_NX_IP_ECN", oxmHeader(classOXM, 9, 1), oxmHeader(classNXM1, 28, 1), 2, false, styleDecimal},
	FieldIPTTL:      {"nw_ttl", "NXM_NX_IP_TTL", oxmHeader(classNXM1, 29, 1), 0, 8, false, styleDecimal},
	FieldIPProto:    {"nw_proto", "NXM_OF_IP_PROTO", oxmHeader(classOXM, 10, 1), oxmHeader(classNXM0, 6, 1), 8, false, styleDecimal},
	FieldTCPSrc:     {"tcp_src", "NXM_OF_TCP_SRC", oxmHeader(classOXM, 13, 2), oxmHeader(classNXM0, 9, 2), 16, true, styleDecimal},
	FieldTCPDst:     {"tcp_dst", "NXM_OF_TCP_DST", oxmHeader(classOXM, 14, 2), oxmHeader(classNXM0, 10, 2), 16, true, styleDecimal},
	FieldUDPSrc:     {"udp_src", "NXM_OF_UDP_SRC", oxmHeader(classOXM, 15, 2), oxmHeader(classNXM0, 11, 2), 16, true, styleDecimal},
	FieldUDPDst:     {"udp_dst", "NXM_OF_UDP_DST", oxmHeader(classOXM, 16, 2), oxmHeader(classNXM0, 12, 2), 16, true, styleDecimal},
	FieldSCTPSrc:    {"sctp_src", "OXM_OF_SCTP_SRC", oxmHeader(classOXM, 17, 2), 0, 16, true, styleDecimal},
	FieldSCTPDst:    {"sctp_dst", "OXM_OF_SCTP_DST", oxmHeader(classOXM, 18, 2), 0, 16, true, styleDecimal},
	FieldICMPType:   {"icmp_type", "NXM_OF_ICMP_TYPE", oxmHeader(classOXM, 19, 1), oxmHeader(classNXM0, 13, 1), 8, false, styleDecimal},
	FieldICMPCode:   {"icmp_code", "NXM_OF_ICMP_CODE", oxmHeader(classOXM, 20, 1), oxmHeader(classNXM0, 14, 1), 8, false, styleDecimal},
	FieldICMPv6Type: {"icmpv6_type", "NXM_NX_ICMPV6_TYPE", oxmHeader(classOXM, 29, 1), oxmHeader(classNXM1, 21, 1), 8, false, styleDecimal},
	FieldICMPv6Code: {"icmpv6_code", "NXM_NX_ICMPV6_CODE", oxmHeader(classOXM, 30, 1), oxmHeader(classNXM1, 22, 1), 8, false, styleDecimal},
	FieldNDTarget:   {"nd_target", "NXM_NX_ND_TARGET", oxmHeader(classOXM, 31, 16), oxmHeader(classNXM1, 23, 16), 128, true, styleIPv6},
	FieldNDSLL:      {"nd_sll", "NXM_NX_ND_SLL", oxmHeader(classOXM, 32, 6), oxmHeader(classNXM1, 24, 6), 48, true, styleMAC},
	FieldNDTLL:      {"nd_tll", "NXM_NX_ND_TLL", oxmHeader(classOXM, 33, 6), oxmHeader(classNXM1, 25, 6), 48, true, styleMAC},
	FieldIPv6Label:  {"ipv6_label", "NXM_NX_IPV6_LABEL", oxmHeader(classOXM, 28, 4), oxmHeader(classNXM1, 27, 4), 20, true, styleHex},
	FieldARPOp:      {"arp_op", "NXM_OF_ARP_OP", oxmHeader(classOXM, 21, 2), oxmHeader(classNXM0, 15, 2), 16, false, styleDecimal},
	FieldARPSPA:     {"arp_spa", "NXM_OF_ARP_SPA", oxmHeader(classOXM, 22, 4), oxmHeader(classNXM0, 16, 4), 32, true, styleIPv4},
	FieldARPTPA:     {"arp_tpa", "NXM_OF_ARP_TPA", oxmHeader(classOXM, 23, 4), oxmHeader(classNXM0, 17, 4), 32, true, styleIPv4},
	FieldARPSHA:     {"arp_sha", "NXM_NX_ARP_SHA", oxmHeader(classOXM, 24, 6), oxmHeader(classNXM1, 17, 6), 48, true, styleMAC},
	FieldARPTHA:     {"arp_tha", "NXM_NX_ARP_THA", oxmHeader(classOXM, 25, 6), oxmHeader(classNXM1, 18, 6), 48, true, styleMAC},
	FieldTunID:      {"tun_id", "NXM_NX_TUN_ID", oxmHeader(classOXM, 38, 8), oxmHeader(classNXM1, 16, 8), 64, true, styleHex},
	FieldPktMark:    {"pkt_mark", "NXM_NX_PKT_MARK", oxmHeader(classNXM1, 33, 4), 0, 32, true, styleHex},
	FieldCTState:    {"ct_state", "NXM_NX_CT_STATE", oxmHeader(classNXM1, 105, 4), 0, 32, true, styleState},
	FieldCTZone:     {"ct_zone", "NXM_NX_CT_ZONE", oxmHeader(classNXM1, 106, 2), 0, 16, false, styleDecimal},
	FieldCTMark:     {"ct_mark", "NXM_NX_CT_MARK", oxmHeader(classNXM1, 107, 4), 0, 32, true, styleHex},
	FieldCTLabel:    {"ct_label", "NXM_NX_CT_LABEL", oxmHeader(classNXM1, 108, 16), 0, 128, true, styleHex},
	FieldMetadata:   {"metadata", "OXM_OF_METADATA", oxmHeader(classOXM, 2, 8), 0, 64, true, styleHex},

	FieldInPort16: {"", "NXM_OF_IN_PORT", 0, oxmHeader(classNXM0, 0, 2), 16, false, stylePort},
	FieldVLANTCI:  {"", "NXM_OF_VLAN_TCI", 0, oxmHeader(classNXM0, 4, 2), 16, false, styleHex},
})

// withRegisters completes the list: registers differ by number only, and a field without a header of its own in actions has that of matches.
func withRegisters(list [fieldCount]fieldInfo) [fieldCount]fieldInfo {
	for n := range Registers {
		name, sub := fmt.Sprintf("reg%d", n), fmt.Sprintf("NXM_NX_REG%d", n)
		list[FieldReg(n)] = fieldInfo{name, sub, oxmHeader(classNXM1, uint32(n), 4), 0, 32, true, styleHex}
	}
	for f := range list {
		if list[f].action == 0 {
			list[f].action = list[f].match
		}
	}
	return list
}

// byHeader finds a field by any of its headers, not masked.
var byHeader = func() map[uint32]Field {
	m := make(map[uint32]Field, 2*len(fields))
	for f := Field(1); f < fieldCount; f++ {
		m[fields[f].action] = f
		if fields[f].match != 0 {
			m[fields[f].match] = f
		}
	}
	return m
}()

// byMatch finds a field of matches by class (OXM, NXM1) and number: every field of every flow of a dump is looked up.
var byMatch = func() (t [2][128]Field) {
	for f := Field(1); f < fieldCount; f++ {
		if h := fields[f].match; h != 0 {
			t[h>>16&1][h>>9&0x7f] = f
		}
	}
	return t
}()

// fieldOfMatch returns the field with this header of a match, its bit for masks unset; 0 if it is not known.
func fieldOfMatch(header uint32) Field {
	class := header >> 16
	if class != classOXM && class != classNXM1 {
		return 0
	}
	if f := byMatch[class&1][header>>9&0x7f]; f != 0 && fields[f].match == header {
		return f
	}
	return 0
}

// Width is the length of the field in bits.
func (f Field) Width() int { return int(fields[f].width) }

// String is the name of the field in a match of ovs-ofctl, or in its actions if it is in no match.
func (f Field) String() string {
	if f == 0 || f >= fieldCount {
		return "no field"
	}
	if i := &fields[f]; i.name != "" {
		return i.name
	}
	return fields[f].sub
}

// Part is some bits of a field, as actions of Open vSwitch name them.
type Part struct {
	Field  Field
	Offset uint8 // of the lowest
	Bits   uint8 // how many, from 1
}

// Whole is a field, all of it.
func Whole(f Field) Part { return Part{f, 0, fields[f].width} }

// PartOf is bits from to to of a field, both included.
func PartOf(f Field, from, to int) Part {
	p := Part{f, uint8(from), uint8(to - from + 1)}
	if from < 0 || to < from || to >= f.Width() {
		panic(fmt.Sprintf("BUG: %s has no bits %d..%d", f, from, to))
	}
	return p
}

// String is the part in the form of ovs-ofctl.
func (p Part) String() string {
	name := fields[p.Field].sub
	switch {
	case p.Offset == 0 && p.Bits == fields[p.Field].width:
		return name + "[]"
	case p.Bits == 1:
		return fmt.Sprintf("%s[%d]", name, p.Offset)
	default:
		return fmt.Sprintf("%s[%d..%d]", name, p.Offset, p.Offset+p.Bits-1)
	}
}

// valid says whether the field has those bits.
func (p Part) valid() bool {
	return p.Field != 0 && p.Bits != 0 && int(p.Offset)+int(p.Bits) <= p.Field.Width()
}
