package openflow

import (
	"math/bits"
)

// Actions are what a flow does with a packet: instructions of OpenFlow in their canonical encoding. The zero Actions drop it. Two
// Actions are equal if and only if they are the same, except that what this package does not know is compared as it is.
//
// Canonical is: the meter first, then one list of actions that are applied, then unknown instructions as found, then the next table.
type Actions string

// NewActions encodes a list of actions, which are done in this order; a Goto, which may stand anywhere in the list, comes last, and a
// Meter first. There may be one of either.
func NewActions(list ...Action) Actions {
	var room [256]byte
	return Actions(appendInstructions(room[:0], list))
}

func appendInstructions(b []byte, list []Action) []byte {
	for _, a := range list {
		if m, ok := a.(Meter); ok {
			b = append32(append16(b, instructionMeter, 8), m.ID)
		}
	}
	at := len(b)
	b = append16(b, instructionApply, 0, 0, 0)
	b = appendActions(b, list)
	if len(b) == at+8 {
		b = b[:at]
	} else {
		put16(b[at+2:], len(b)-at)
	}
	for _, a := range list {
		if f, ok := a.(ForeignInstruction); ok {
			b = append(b, f.Raw...)
		}
	}
	for _, a := range list {
		if g, ok := a.(Goto); ok {
			b = append(append16(b, instructionGoto, 8), g.Table, 0, 0, 0)
		}
	}
	return b
}

// List decodes the actions, in the order in which NewActions takes them.
func (a Actions) List() []Action {
	return decodeInstructions([]byte(a), nil)
}

// Action is one of the types below.
type Action interface {
	// append appends the encoding of the action; nothing if it is an instruction.
	append(b []byte) []byte
	// text appends the action as ovs-ofctl takes it.
	text(b []byte) []byte
}

// Instructions (§7.2.4).
const (
	instructionGoto  = 1
	instructionApply = 4
	instructionMeter = 6
)

// Goto goes on in a later table with what is done by then.
type Goto struct{ Table uint8 }

// Meter drops what exceeds a meter.
type Meter struct{ ID uint32 }

// ForeignInstruction is one that this package does not know, or cannot read.
type ForeignInstruction struct{ Raw string }

// Foreign is an action that this package does not know, or cannot read.
type Foreign struct{ Raw string }

// Output sends the packet out by a port.
type Output struct {
	Port   Port
	MaxLen uint16 // with PortController: octets that it gets; else 0
}

// Normal does what a learning switch does.
func Normal() Output { return Output{Port: PortNormal} }

// OutputPart sends the packet out by the port that some bits say.
type OutputPart struct{ Src Part }

// ToGroup hands the packet to a group.
type ToGroup struct{ ID uint32 }

// PopVLAN takes the outer tag off.
type PopVLAN struct{}

// PushVLAN puts a tag on, with VLAN 0; SetVLAN then says which.
type PushVLAN struct{ EthType uint16 }

// SetField sets a whole field that may be in a match.
type SetField struct {
	Field Field
	Value Bits
}

// SetVLAN sets the VLAN of a tagged packet, 0 to 4095.
func SetVLAN(vid uint16) SetField {
	return SetField{FieldVLANVID, U64(uint64(vid&0xfff) | vlanPresent)}
}

// Load sets up to 64 bits of a field.
type Load struct {
	Dst   Part
	Value uint64
}

// LoadReg sets a register.
func LoadReg(n int, v uint32) Load { return Load{Whole(FieldReg(n)), uint64(v)} }

// Move copies bits: Src and Dst are as many.
type Move struct{ Src, Dst Part }

// Resubmit does what another table says, and goes on after that.
type Resubmit struct {
	Port  Port // as which InPort is matched there; 0: as before
	Table uint8
}

// CurrentTable in Resubmit is the table that the flow is in.
const CurrentTable = 0xff

// Conjunction says that the flow is one of a conjunction's: the packet is of ID if there is a match in each of Of clauses.
type Conjunction struct {
	ID     uint32
	Clause uint8 // 1 to Of
	Of     uint8 // 2 to 64
}

// CT sends the packet through connection tracking.
type CT struct {
	Commit   bool // remember the connection
	Force    bool // with Commit: begin it anew if it is one in the other direction
	Zone     uint16
	ZoneFrom Part // instead of Zone, if its Field is not 0: 16 bits
	Resume   bool // also go on in Table with FieldCTState and the rest set
	Table    uint8
	Alg      uint16   // port of a protocol whose connections have others (21 is FTP); 0: none
	Exec     []Action // with Commit: Load, Move and SetField of FieldCTMark and FieldCTLabel
}

// Learn adds a flow as the packet says.
type Learn struct {
	Table            uint8
	Priority         uint16
	Cookie           Cookie
	Idle, Hard       uint16 // as in Flow
	FinIdle, FinHard uint16 // the same after a TCP FIN or RST
	SendRemoved      bool   // as in Flow
	DeleteLearned    bool   // what was learned goes with this flow
	Limit            uint32 // so many flows with Cookie in Table at most, beyond which none is added; 0: any number. Open vSwitch 2.8 on
	Specs            []LearnSpec
}

// LearnSpec is one part of a flow to be learned. From is what it takes from the packet; if its Field is 0, Value is taken as it is.
type LearnSpec struct {
	Kind  LearnKind
	From  Part
	Value Bits
	To    Part // not with LearnOutput
}

// LearnKind is what becomes of a LearnSpec in the flow.
type LearnKind uint8

// Kinds of LearnSpec.
const (
	LearnMatch  LearnKind = 0 // the flow matches To
	LearnLoad   LearnKind = 1 // the flow sets To
	LearnOutput LearnKind = 2 // the flow outputs to the port that From says
)

// MultipathBundle outputs to one of several ports that is up, or sets Dst to its number.
type MultipathBundle struct {
	Fields    HashFields
	Basis     uint16
	Algorithm BundleAlgorithm
	Dst       Part // Field 0: output
	Ports     []uint16
}

// HashFields are what a choice goes by.
type HashFields uint16

// Values of HashFields (nicira-ext.h nx_hash_fields).
const (
	HashEthSrc HashFields = 0
	HashL4     HashFields = 1 // symmetric: both directions choose the same
)

// BundleAlgorithm is how a MultipathBundle chooses.
type BundleAlgorithm uint16

// Values of BundleAlgorithm.
const (
	BundleActiveBackup BundleAlgorithm = 0 // the first that is up
	BundleHRW          BundleAlgorithm = 1 // by hash, of those that are up
)

// Sample tells the collectors of a set of the packet.
type Sample struct {
	Probability  uint16 // of 65535
	CollectorSet uint32
	Domain       uint32 // observation domain
	Point        uint32 // observation point
	Port         uint16 // whose interface is told; 0 is none
	Direction    SampleDirection
}

// SampleDirection is which way a sampled packet is said to go.
type SampleDirection uint8

// Values of SampleDirection.
const (
	SampleDefault SampleDirection = 0
	SampleIngress SampleDirection = 1
	SampleEgress  SampleDirection = 2
)

// Actions of OpenFlow (§7.2.5).
const (
	actionOutput       = 0
	actionPushVLAN     = 17
	actionPopVLAN      = 18
	actionGroup        = 22
	actionSetField     = 25
	actionExperimenter = 0xffff
)

// Actions of Open vSwitch: subtypes of vendor Nicira (nicira-ext.h, ofp-actions.c).
const (
	vendorNicira = 0x00002320

	nxMove          = 6
	nxLoad          = 7
	nxBundle        = 12
	nxBundleLoad    = 13
	nxResubmitTable = 14
	nxOutputPart    = 15
	nxLearn         = 16
	nxSample        = 29
	nxConjunction   = 34
	nxCT            = 35
	nxSample2       = 38
	nxSample3       = 41
	nxLearn2        = 45
)

// appendActions appends those of the list that are no instructions.
func appendActions(b []byte, list []Action) []byte {
	for _, a := range list {
		b = a.append(b)
	}
	return b
}

// appendNX begins an action of Open vSwitch; the length is put by the caller if it is not known yet.
func appendNX(b []byte, subtype, length uint16) []byte {
	return append16(append32(append16(b, actionExperimenter, length), vendorNicira), subtype)
}

func (Goto) append(b []byte) []byte               { return b }
func (Meter) append(b []byte) []byte              { return b }
func (ForeignInstruction) append(b []byte) []byte { return b }
func (a Foreign) append(b []byte) []byte          { return append(b, a.Raw...) }

func (a Output) append(b []byte) []byte {
	b = append32(append16(b, actionOutput, 16), uint32(a.Port))
	return appendZero(append16(b, a.MaxLen), 6)
}

func (a OutputPart) append(b []byte) []byte {
	b = appendPart(appendNX(b, nxOutputPart, 24), a.Src)
	return appendZero(append16(b, 0xffff), 6) // the whole packet, as ovs-ofctl says
}

func (a ToGroup) append(b []byte) []byte {
	return append32(append16(b, actionGroup, 8), a.ID)
}

func (PopVLAN) append(b []byte) []byte { return append16(b, actionPopVLAN, 8, 0, 0) }

func (a PushVLAN) append(b []byte) []byte { return append16(b, actionPushVLAN, 8, a.EthType, 0) }

func (a SetField) append(b []byte) []byte {
	info, at := &fields[a.Field], len(b)
	if info.match == 0 {
		panic("BUG: set_field of " + a.Field.String())
	}
	b = append32(append16(b, actionSetField, 0), info.match)
	b = appendBits(b, a.Value.And(Ones(a.Field.Width())), info.octets())
	b = pad(b, at)
	put16(b[at+2:], len(b)-at)
	return b
}

// ofsNbits encodes which bits of a field a Part is.
func (p Part) ofsNbits() uint16 { return uint16(p.Offset)<<6 | uint16(p.Bits-1) }

// appendPart appends a Part as ofs_nbits and header.
func appendPart(b []byte, p Part) []byte {
	if !p.valid() {
		panic("BUG: bits that are not of a field")
	}
	return append32(append16(b, p.ofsNbits()), fields[p.Field].action)
}

func (a Load) append(b []byte) []byte {
	if a.Dst.Bits > 64 {
		panic("BUG: load of more than 64 bits: " + a.Dst.String())
	}
	return append64(appendPart(appendNX(b, nxLoad, 24), a.Dst), a.Value&Ones(int(a.Dst.Bits)).Lo)
}

func (a Move) append(b []byte) []byte {
	if !a.Src.valid() || !a.Dst.valid() || a.Src.Bits != a.Dst.Bits {
		panic("BUG: move of bits that are not of a field, or not as many")
	}
	b = append16(appendNX(b, nxMove, 24), uint16(a.Src.Bits), uint16(a.Src.Offset), uint16(a.Dst.Offset))
	return append32(b, fields[a.Src.Field].action, fields[a.Dst.Field].action)
}

func (a Resubmit) append(b []byte) []byte {
	port := to16(a.Port)
	if a.Port == 0 {
		port = to16(PortIn)
	}
	return append(append16(appendNX(b, nxResubmitTable, 16), port), a.Table, 0, 0, 0)
}

// to16 and from16 convert the numbers of ports between 32 bits and the 16 of Open vSwitch's actions: reserved ones are the highest.
func to16(p Port) uint16 { return uint16(p) }

func from16(p uint16) Port {
	if p >= 0xff00 {
		return Port(p) | 0xffff0000
	}
	return Port(p)
}

func (a Conjunction) append(b []byte) []byte {
	return append32(append(appendNX(b, nxConjunction, 16), a.Clause-1, a.Of), a.ID)
}

func (a CT) append(b []byte) []byte {
	at := len(b)
	var flags uint16
	if a.Commit {
		flags |= 1
	}
	if a.Force {
		flags |= 2
	}
	b = append16(appendNX(b, nxCT, 0), flags)
	if a.ZoneFrom.Field != 0 {
		if !a.ZoneFrom.valid() || a.ZoneFrom.Bits != 16 {
			panic("BUG: a zone from other than 16 bits of a field: " + a.ZoneFrom.String())
		}
		b = append16(append32(b, fields[a.ZoneFrom.Field].action), a.ZoneFrom.ofsNbits())
	} else {
		b = append16(append32(b, 0), a.Zone)
	}
	table := byte(0xff)
	if a.Resume {
		table = a.Table
	}
	b = append16(append(b, table, 0, 0, 0), a.Alg)
	b = appendActions(b, a.Exec)
	put16(b[at+2:], len(b)-at)
	return b
}

// Bits of a spec's header in NXAST_LEARN.
const (
	learnImmediate = 1 << 13
	learnKindShift = 11
	learnBits      = 0x7ff
)

// flags of NXAST_LEARN.
const (
	learnSendRemoved   = 1
	learnDeleteLearned = 2
)

func (a Learn) append(b []byte) []byte {
	at := len(b)
	var flags uint16
	if a.SendRemoved {
		flags |= learnSendRemoved
	}
	if a.DeleteLearned {
		flags |= learnDeleteLearned
	}
	subtype := uint16(nxLearn)
	if a.Limit != 0 {
		subtype = nxLearn2
	}
	b = append16(appendNX(b, subtype, 0), a.Idle, a.Hard, a.Priority)
	b = append16(append64(b, uint64(a.Cookie)), flags)
	b = append16(append(b, a.Table, 0), a.FinIdle, a.FinHard)
	if a.Limit != 0 {
		b = append16(append32(b, a.Limit), 0, 0)
	}
	for _, s := range a.Specs {
		b = s.append(b)
	}
	b = pad(b, at)
	put16(b[at+2:], len(b)-at)
	return b
}

// bits is how many bits the spec is about.
func (s LearnSpec) bits() uint8 {
	if s.Kind == LearnOutput {
		return s.From.Bits
	}
	return s.To.Bits
}

func (s LearnSpec) append(b []byte) []byte {
	n := s.bits()
	immediate := s.From.Field == 0
	if (!immediate && (!s.From.valid() || s.From.Bits != n)) || (immediate && s.Kind == LearnOutput) || (s.Kind != LearnOutput && !s.To.valid()) {
		panic("BUG: learn of bits that are not of a field, or not as many")
	}
	header := uint16(s.Kind)<<learnKindShift | uint16(n)
	if immediate {
		b = append16(b, header|learnImmediate)
		b = appendBits(b, s.Value.And(Ones(int(n))), int(n+15)/16*2)
	} else {
		b = append16(append32(append16(b, header), fields[s.From.Field].action), uint16(s.From.Offset))
	}
	if s.Kind != LearnOutput {
		b = append16(append32(b, fields[s.To.Field].action), uint16(s.To.Offset))
	}
	return b
}

func (a MultipathBundle) append(b []byte) []byte {
	at := len(b)
	subtype := uint16(nxBundle)
	if a.Dst.Field != 0 {
		subtype = nxBundleLoad
	}
	b = append16(appendNX(b, subtype, 0), uint16(a.Algorithm), uint16(a.Fields), a.Basis)
	b = append16(append32(b, fields[FieldInPort16].action), uint16(len(a.Ports)))
	if a.Dst.Field != 0 {
		b = appendPart(b, a.Dst)
	} else {
		b = append32(append16(b, 0), 0)
	}
	b = append16(append32(b, 0), a.Ports...)
	b = pad(b, at)
	put16(b[at+2:], len(b)-at)
	return b
}

func (a Sample) append(b []byte) []byte {
	subtype, length := uint16(nxSample), uint16(24)
	switch {
	case a.Direction != SampleDefault:
		subtype, length = nxSample3, 32
	case a.Port != 0:
		subtype, length = nxSample2, 32
	}
	b = append16(appendNX(b, subtype, length), a.Probability)
	b = append32(b, a.CollectorSet, a.Domain, a.Point)
	if subtype == nxSample {
		return b
	}
	port := a.Port
	if port == 0 {
		port = 0xffff // OFPP_NONE
	}
	return appendZero(append(append16(b, port), byte(a.Direction)), 5)
}

// decodeInstructions reads instructions and appends what they do to list. What cannot be read is foreign: nothing is lost.
func decodeInstructions(b []byte, list []Action) []Action {
	var applied, metered, gone bool
	var next []Action // what follows the list of applied actions
	all, start := b, len(list)
	broken := func() []Action { return append(list[:start], ForeignInstruction{string(all)}) }
	for len(b) > 0 {
		n := 0
		if len(b) >= 8 {
			n = int(get16(b[2:]))
		}
		if n < 8 || n&7 != 0 || n > len(b) {
			return broken()
		}
		one := b[:n]
		b = b[n:]
		switch kind := get16(one); {
		case kind == instructionGoto && n == 8:
			if gone {
				return broken()
			}
			gone = true
			next = append(next, Goto{one[4]})
		case kind == instructionMeter && n == 8:
			if metered {
				return broken()
			}
			metered = true
			list = append(list, Meter{get32(one[4:])})
		case kind == instructionApply:
			if applied {
				return broken()
			}
			applied = true
			list = decodeActions(one[8:], list, true)
		default:
			next = append(next, ForeignInstruction{string(one)})
		}
	}
	return append(list, next...)
}

// decodeActions reads a list of actions and appends them to list. outer says whether CT may be among them.
func decodeActions(b []byte, list []Action, outer bool) []Action {
	for len(b) > 0 {
		n := 0
		if len(b) >= 8 {
			n = int(get16(b[2:]))
		}
		if n < 8 || n&7 != 0 || n > len(b) {
			return append(list, Foreign{string(b)})
		}
		a := decodeAction(b[:n], outer)
		if a == nil {
			a = Foreign{string(b[:n])}
		}
		list = append(list, a)
		b = b[n:]
	}
	return list
}

// decodeAction reads the action that is all of b, at least 8 octets; nil if it is foreign.
func decodeAction(b []byte, outer bool) Action {
	switch kind := get16(b); {
	case kind == actionOutput && len(b) == 16:
		a := Output{Port: Port(get32(b[4:]))}
		if a.Port == PortController {
			a.MaxLen = get16(b[8:])
		}
		return a
	case kind == actionGroup && len(b) == 8:
		return ToGroup{get32(b[4:])}
	case kind == actionPopVLAN && len(b) == 8:
		return PopVLAN{}
	case kind == actionPushVLAN && len(b) == 8:
		return PushVLAN{get16(b[4:])}
	case kind == actionSetField:
		header := get32(b[4:])
		f := fieldOfMatch(header)
		if f == 0 || len(b) != (8+fields[f].octets()+7)&^7 {
			return nil
		}
		return SetField{f, bitsFrom(b[8 : 8+fields[f].octets()]).And(Ones(f.Width()))}
	case kind == actionExperimenter && len(b) >= 16 && get32(b[4:]) == vendorNicira:
		return decodeNX(b, outer)
	}
	return nil
}

// decodePart reads ofs_nbits and header; a Part that is not valid if it is not known.
func decodePart(b []byte) Part {
	v := get16(b)
	p := Part{byHeader[get32(b[2:])], uint8(v >> 6), uint8(v&0x3f) + 1}
	if v>>6 > 127 {
		return Part{}
	}
	return p
}

// partAt returns n bits from offset on of the field with a header; a Part that is not valid if it is not known.
func partAt(header uint32, offset, n uint16) Part {
	if offset > 127 || n > 128 {
		return Part{}
	}
	return Part{byHeader[header], uint8(offset), uint8(n)}
}

// decodeNX reads an action of Open vSwitch, at least 16 octets; nil if it is foreign.
func decodeNX(b []byte, outer bool) Action {
	subtype, body := get16(b[8:]), b[10:]
	switch {
	case subtype == nxMove && len(b) == 24:
		n := get16(body)
		a := Move{partAt(get32(body[6:]), get16(body[2:]), n), partAt(get32(body[10:]), get16(body[4:]), n)}
		if a.Src.valid() && a.Dst.valid() {
			return a
		}
	case subtype == nxLoad && len(b) == 24:
		a := Load{decodePart(body), get64(body[6:])}
		if a.Dst.valid() && bits.Len64(a.Value) <= int(a.Dst.Bits) {
			return a
		}
	case subtype == nxOutputPart && len(b) == 24:
		if a := (OutputPart{decodePart(body)}); a.Src.valid() {
			return a
		}
	case subtype == nxResubmitTable && len(b) == 16:
		a := Resubmit{from16(get16(body)), body[2]}
		if a.Port == 0 {
			return nil
		}
		if a.Port == PortIn {
			a.Port = 0
		}
		return a
	case subtype == nxConjunction && len(b) == 16:
		if body[0] < body[1] {
			return Conjunction{get32(body[2:]), body[0] + 1, body[1]}
		}
	case subtype == nxSample && len(b) == 24:
		return Sample{get16(body), get32(body[2:]), get32(body[6:]), get32(body[10:]), 0, SampleDefault}
	case (subtype == nxSample2 || subtype == nxSample3) && len(b) == 32:
		a := Sample{get16(body), get32(body[2:]), get32(body[6:]), get32(body[10:]), get16(body[14:]), SampleDefault}
		if a.Port == 0 || (a.Port == 0xffff && subtype == nxSample2) {
			return nil
		}
		if a.Port == 0xffff {
			a.Port = 0
		}
		if subtype == nxSample3 {
			if a.Direction = SampleDirection(body[16]); a.Direction == 0 || a.Direction > SampleEgress {
				return nil
			}
		}
		return a
	case subtype == nxCT && len(b) >= 24 && outer:
		return decodeCT(b)
	case subtype == nxLearn && len(b) >= 32:
		return decodeLearn(b, b[32:], 0)
	case subtype == nxLearn2 && len(b) >= 40 && get32(b[36:]) == 0 && get32(b[32:]) != 0:
		return decodeLearn(b, b[40:], get32(b[32:]))
	case (subtype == nxBundle || subtype == nxBundleLoad) && len(b) >= 32:
		return decodeBundle(b)
	}
	return nil
}

func decodeCT(b []byte) Action {
	flags, body := get16(b[10:]), b[12:]
	if flags&^3 != 0 {
		return nil
	}
	a := CT{Commit: flags&1 != 0, Force: flags&2 != 0, Alg: get16(b[22:])}
	if header := get32(body); header == 0 {
		a.Zone = get16(body[4:])
	} else {
		v := get16(body[4:])
		if a.ZoneFrom = partAt(header, v>>6, v&0x3f+1); !a.ZoneFrom.valid() || a.ZoneFrom.Bits != 16 {
			return nil
		}
	}
	if body[6] != 0xff {
		a.Resume, a.Table = true, body[6]
	}
	if len(b) > 24 {
		a.Exec = decodeActions(b[24:], nil, false)
	}
	return a
}

func decodeLearn(b, specs []byte, limit uint32) Action {
	flags := get16(b[24:])
	if flags&^(learnSendRemoved|learnDeleteLearned) != 0 {
		return nil
	}
	a := Learn{
		Idle: get16(b[10:]), Hard: get16(b[12:]), Priority: get16(b[14:]), Cookie: Cookie(get64(b[16:])),
		SendRemoved: flags&learnSendRemoved != 0, DeleteLearned: flags&learnDeleteLearned != 0,
		Table: b[26], FinIdle: get16(b[28:]), FinHard: get16(b[30:]), Limit: limit,
	}
	for rest := specs; len(rest) >= 2; {
		header := get16(rest)
		if header == 0 {
			if len(rest) >= 8 {
				return nil
			}
			break // padding
		}
		rest = rest[2:]
		n := header & learnBits
		s := LearnSpec{Kind: LearnKind(header >> learnKindShift & 3)}
		if header>>14 != 0 || s.Kind > LearnOutput || n == 0 || n > 128 {
			return nil
		}
		if header&learnImmediate != 0 {
			octets := int(n+15) / 16 * 2
			if len(rest) < octets || s.Kind == LearnOutput {
				return nil
			}
			s.Value = bitsFrom(rest[:octets])
			if s.Value != s.Value.And(Ones(int(n))) {
				return nil
			}
			rest = rest[octets:]
		} else {
			if len(rest) < 6 {
				return nil
			}
			if s.From = partAt(get32(rest), get16(rest[4:]), n); !s.From.valid() {
				return nil
			}
			rest = rest[6:]
		}
		if s.Kind != LearnOutput {
			if len(rest) < 6 {
				return nil
			}
			if s.To = partAt(get32(rest), get16(rest[4:]), n); !s.To.valid() {
				return nil
			}
			rest = rest[6:]
		}
		a.Specs = append(a.Specs, s)
	}
	return a
}

func decodeBundle(b []byte) Action {
	a := MultipathBundle{Algorithm: BundleAlgorithm(get16(b[10:])), Fields: HashFields(get16(b[12:])), Basis: get16(b[14:])}
	n := int(get16(b[20:]))
	if get32(b[16:]) != fields[FieldInPort16].action || len(b) != (32+2*n+7)&^7 {
		return nil
	}
	if get16(b[8:]) == nxBundleLoad {
		if a.Dst = decodePart(b[22:]); !a.Dst.valid() {
			return nil
		}
	}
	for i := range n {
		a.Ports = append(a.Ports, get16(b[32+2*i:]))
	}
	return a
}

// decodeBuckets reads the buckets of a group and appends them to list.
func decodeBuckets(b []byte, list []Bucket) ([]Bucket, error) {
	for len(b) > 0 {
		n := 0
		if len(b) >= 16 {
			n = int(get16(b))
		}
		if n < 16 || n&7 != 0 || n > len(b) {
			return list, malformed("bucket of %d octets where %d are left", n, len(b))
		}
		list = append(list, Bucket{Weight: get16(b[2:]), Port: Port(get32(b[4:])), Actions: decodeActions(b[16:n], nil, true)})
		b = b[n:]
	}
	return list, nil
}
