package softswitch

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weirhq/weir/ovs/openflow"
)

// state is a packet on its way through the tables: its headers, registers, and what connection tracking said. Fields that it does not
// have are 0.
type state struct {
	fields    [int(openflow.FieldVLANTCI) + 1]openflow.Bits
	conntrack func(zone uint16) Connection
}

// vlanPresent is the bit of vlan_vid that a packet with a tag has.
const vlanPresent = 0x1000

func newState(p *Packet) *state {
	s := &state{conntrack: p.Conntrack}
	set := func(f openflow.Field, v uint64) { s.fields[f] = openflow.U64(v) }
	set(openflow.FieldInPort, uint64(p.InPort))
	set(openflow.FieldEthSrc, p.EthSrc)
	set(openflow.FieldEthDst, p.EthDst)
	set(openflow.FieldEthType, uint64(p.EthType))
	if p.Tagged {
		set(openflow.FieldVLANVID, uint64(vlanPresent|p.VLAN))
	}
	switch {
	case p.arp():
		s.fields[openflow.FieldARPSPA], s.fields[openflow.FieldARPTPA] = address(p.Src), address(p.Dst)
		set(openflow.FieldARPSHA, p.ARPSHA)
		set(openflow.FieldARPTHA, p.ARPTHA)
		set(openflow.FieldARPOp, uint64(p.ARPOp))
	case p.EthType == openflow.EthTypeIPv4:
		s.fields[openflow.FieldIPv4Src], s.fields[openflow.FieldIPv4Dst] = address(p.Src), address(p.Dst)
	case p.EthType == openflow.EthTypeIPv6:
		s.fields[openflow.FieldIPv6Src], s.fields[openflow.FieldIPv6Dst] = address(p.Src), address(p.Dst)
	}
	if !p.ip() {
		return s
	}
	set(openflow.FieldIPProto, uint64(p.Proto))
	set(openflow.FieldIPFrag, uint64(p.Fragment))
	if p.Fragment != Whole { // frag_handling normal: ports and types of fragments are not looked at
		return s
	}
	switch {
	case p.ports():
		f := map[uint8][2]openflow.Field{
			openflow.ProtoTCP:  {openflow.FieldTCPSrc, openflow.FieldTCPDst},
			openflow.ProtoUDP:  {openflow.FieldUDPSrc, openflow.FieldUDPDst},
			openflow.ProtoSCTP: {openflow.FieldSCTPSrc, openflow.FieldSCTPDst},
		}[p.Proto]
		set(f[0], uint64(p.SrcPort))
		set(f[1], uint64(p.DstPort))
	case p.icmp() && p.EthType == openflow.EthTypeIPv4:
		set(openflow.FieldICMPType, uint64(p.ICMPType))
		set(openflow.FieldICMPCode, uint64(p.ICMPCode))
	case p.icmp():
		set(openflow.FieldICMPv6Type, uint64(p.ICMPType))
		set(openflow.FieldICMPv6Code, uint64(p.ICMPCode))
		if p.nd() {
			s.fields[openflow.FieldNDTarget] = address(p.NDTarget)
			set(map[uint8]openflow.Field{solicitation: openflow.FieldNDSLL, advertisement: openflow.FieldNDTLL}[p.ICMPType], p.NDLinkLayer)
		}
	}
	return s
}

func address(a netip.Addr) openflow.Bits {
	if a.Is4() {
		b := a.As4()
		return openflow.U64(uint64(binary.BigEndian.Uint32(b[:])))
	}
	b := a.As16()
	return openflow.Bits{Hi: binary.BigEndian.Uint64(b[:]), Lo: binary.BigEndian.Uint64(b[8:])}
}

func (s *state) clone() *state {
	c := *s
	return &c
}

func (s *state) inPort() openflow.Port { return openflow.Port(s.fields[openflow.FieldInPort].Lo) }

// tag returns the VLAN of the packet, and whether it has a tag.
func (s *state) tag() (vlan uint16, tagged bool) {
	v := uint16(s.fields[openflow.FieldVLANVID].Lo)
	return v &^ vlanPresent, v&vlanPresent != 0
}

// setConnection says what connection tracking knows of the packet.
func (s *state) setConnection(zone uint16, c Connection) {
	s.fields[openflow.FieldCTState] = openflow.U64(uint64(c.State))
	s.fields[openflow.FieldCTZone] = openflow.U64(uint64(zone))
	s.fields[openflow.FieldCTMark] = openflow.U64(uint64(c.Mark))
	s.fields[openflow.FieldCTLabel] = c.Label
}

// get returns some bits of a field.
func (s *state) get(p openflow.Part) openflow.Bits {
	return s.fields[p.Field].Shr(int(p.Offset)).And(openflow.Ones(int(p.Bits)))
}

// set writes some bits of a field.
func (s *state) set(p openflow.Part, v openflow.Bits) {
	m := mask(p)
	f := &s.fields[p.Field]
	*f = f.AndNot(m).Or(v.Shl(int(p.Offset)).And(m))
}

// mask is the bits of a field that a Part is.
func mask(p openflow.Part) openflow.Bits {
	return openflow.Ones(int(p.Bits)).Shl(int(p.Offset))
}

// part returns bits of a field of the model. Fields of actions that are others in matches are brought to these.
func part(p openflow.Part) (openflow.Part, error) {
	switch p.Field {
	case openflow.FieldInPort16:
		p.Field = openflow.FieldInPort // ports of a bridge have 16 bits
	case openflow.FieldVLANTCI:
		if p.Offset+p.Bits > 13 {
			return p, fmt.Errorf("%s: priorities of VLAN tags are not modelled", p)
		}
		p.Field = openflow.FieldVLANVID
	default:
		if !modelled(p.Field) {
			return p, fmt.Errorf("%s is not modelled", p)
		}
	}
	return p, nil
}

// writable returns bits of a field that actions may write to: registers and the like. The headers of packets are not rewritten by what
// this models, but for the VLAN.
func writable(p openflow.Part) (openflow.Part, error) {
	p, err := part(p)
	if err != nil {
		return p, err
	}
	switch f := p.Field; {
	case f >= openflow.FieldReg0 && f <= openflow.FieldReg15, f == openflow.FieldMetadata, f == openflow.FieldVLANVID:
		return p, nil
	}
	return p, fmt.Errorf("writing to %s is not modelled", p)
}

// protocol is what a match must say beside a field, as switches demand: one of the ethertypes, IP protocols and types.
type protocol struct {
	etherTypes []uint64
	proto      uint64 // 0: any
	types      []uint64
}

var (
	anyIP = []uint64{openflow.EthTypeIPv4, openflow.EthTypeIPv6}
	ipv4  = []uint64{openflow.EthTypeIPv4}
	ipv6  = []uint64{openflow.EthTypeIPv6}
	anARP = []uint64{openflow.EthTypeARP, ethRARP}
)

// protocols are the fields that are modelled in matches.
var protocols = map[openflow.Field]protocol{
	openflow.FieldConjID: {}, openflow.FieldInPort: {}, openflow.FieldEthSrc: {}, openflow.FieldEthDst: {}, openflow.FieldEthType: {},
	openflow.FieldVLANVID: {}, openflow.FieldMetadata: {},
	openflow.FieldCTState: {}, openflow.FieldCTZone: {}, openflow.FieldCTMark: {}, openflow.FieldCTLabel: {},
	openflow.FieldIPv4Src:    {etherTypes: ipv4},
	openflow.FieldIPv4Dst:    {etherTypes: ipv4},
	openflow.FieldIPv6Src:    {etherTypes: ipv6},
	openflow.FieldIPv6Dst:    {etherTypes: ipv6},
	openflow.FieldIPFrag:     {etherTypes: anyIP},
	openflow.FieldIPProto:    {etherTypes: anyIP},
	openflow.FieldTCPSrc:     {etherTypes: anyIP, proto: openflow.ProtoTCP},
	openflow.FieldTCPDst:     {etherTypes: anyIP, proto: openflow.ProtoTCP},
	openflow.FieldUDPSrc:     {etherTypes: anyIP, proto: openflow.ProtoUDP},
	openflow.FieldUDPDst:     {etherTypes: anyIP, proto: openflow.ProtoUDP},
	openflow.FieldSCTPSrc:    {etherTypes: anyIP, proto: openflow.ProtoSCTP},
	openflow.FieldSCTPDst:    {etherTypes: anyIP, proto: openflow.ProtoSCTP},
	openflow.FieldICMPType:   {etherTypes: ipv4, proto: openflow.ProtoICMP},
	openflow.FieldICMPCode:   {etherTypes: ipv4, proto: openflow.ProtoICMP},
	openflow.FieldICMPv6Type: {etherTypes: ipv6, proto: openflow.ProtoICMPv6},
	openflow.FieldICMPv6Code: {etherTypes: ipv6, proto: openflow.ProtoICMPv6},
	openflow.FieldNDTarget:   {etherTypes: ipv6, proto: openflow.ProtoICMPv6, types: []uint64{solicitation, advertisement}},
	openflow.FieldNDSLL:      {etherTypes: ipv6, proto: openflow.ProtoICMPv6, types: []uint64{solicitation}},
	openflow.FieldNDTLL:      {etherTypes: ipv6, proto: openflow.ProtoICMPv6, types: []uint64{advertisement}},
	openflow.FieldARPOp:      {etherTypes: anARP},
	openflow.FieldARPSPA:     {etherTypes: anARP},
	openflow.FieldARPTPA:     {etherTypes: anARP},
	openflow.FieldARPSHA:     {etherTypes: anARP},
	openflow.FieldARPTHA:     {etherTypes: anARP},
}

func modelled(f openflow.Field) bool {
	_, ok := protocols[f]
	return ok || f >= openflow.FieldReg0 && f <= openflow.FieldReg15
}

// readMatch returns what a match asks, and refuses what a switch refuses or is not modelled.
func readMatch(m openflow.Match) ([]openflow.Term, error) {
	if m.Foreign() {
		return nil, fmt.Errorf("match %q has an unknown field", m)
	}
	terms := slices.Collect(m.Terms())
	exactly := func(f openflow.Field, of ...uint64) bool {
		return slices.ContainsFunc(terms, func(t openflow.Term) bool {
			return t.Field == f && t.Mask == openflow.Ones(f.Width()) && slices.Contains(of, t.Value.Lo)
		})
	}
	later := m.Term(openflow.FieldIPFrag).Value.Lo&2 != 0
	for _, t := range terms {
		p := protocols[t.Field]
		switch {
		case !modelled(t.Field):
			return nil, fmt.Errorf("match %q: %s is not modelled", m, t.Field)
		case p.etherTypes != nil && !exactly(openflow.FieldEthType, p.etherTypes...),
			p.proto != 0 && (later || !exactly(openflow.FieldIPProto, p.proto)),
			p.types != nil && !exactly(openflow.FieldICMPv6Type, p.types...):
			return nil, fmt.Errorf("match %q: %s without the protocol that has it", m, t.Field)
		}
	}
	return terms, nil
}
