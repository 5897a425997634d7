package openflow

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Types of messages (§7.1), beside those of modifications.
const (
	typeHello           = 0
	typeError           = 1
	typeEchoRequest     = 2
	typeEchoReply       = 3
	typeExperimenter    = 4
	typeFeaturesRequest = 5
	typeFeaturesReply   = 6
	typePacketIn        = 10
	typeFlowRemoved     = 11
	typePortStatus      = 12
	typePacketOut       = 13
	typeMultipartAsk    = 18
	typeMultipart       = 19
	typeBarrierRequest  = 20
	typeBarrierReply    = 21
	typeSetAsync        = 28
	typeMeterMod        = 29
)

// Types of multipart messages (§7.3.5).
const (
	multipartFlow          = 1
	multipartGroupDesc     = 7
	multipartMeterConfig   = 10
	multipartMeterFeatures = 11
	multipartPortDesc      = 13

	multipartMore = 1 // flag: there are more parts
)

// Bundles over OpenFlow 1.3 (EXT-230) are messages of this vendor.
const (
	vendorONF     = 0x4f4e4600
	bundleControl = 2300
	bundleAdd     = 2301

	bundleOpen    = 0 // the answer to each is the next number
	bundleCommit  = 4
	bundleDiscard = 6

	bundleAtomic  = 1
	bundleOrdered = 2
)

// message is one that came. It is valid until the next is read.
type message struct {
	kind uint8
	xid  uint32
	body []byte // behind the header
}

// helloVersions says whether a hello, of a switch whose header says version, offers ours.
func helloVersions(version uint8, body []byte) (ours bool, err error) {
	ours = version >= Version // without a list, all up to this one (§6.3.1)
	for len(body) > 0 {
		n := 0
		if len(body) >= 4 {
			n = int(get16(body[2:]))
		}
		if n < 4 || n > len(body) {
			return false, malformed("element of %d octets in a hello where %d are left", n, len(body))
		}
		const versionBitmap = 1
		if get16(body) == versionBitmap && n >= 8 {
			ours = get32(body[4:])>>Version&1 != 0
		}
		body = body[min((n+7)&^7, len(body)):]
	}
	return ours, nil
}

func appendHello(b []byte, xid uint32) []byte {
	at := len(b)
	b = append32(append16(appendHeader(b, typeHello, xid), 1, 8), 1<<Version)
	return finish(b, at)
}

// decodeError reads an error message.
func decodeError(body []byte) (*SwitchError, error) {
	if len(body) < 4 {
		return nil, malformed("error of %d octets", len(body))
	}
	e := &SwitchError{Type: get16(body), Code: get16(body[2:])}
	if e.Type == typeExperimenterError {
		if len(body) < 8 {
			return nil, malformed("experimenter error of %d octets", len(body))
		}
		e.Vendor = get32(body[4:])
	}
	return e, nil
}

// Features are what a switch says of itself (§7.3.1).
type Features struct {
	DatapathID   uint64
	Tables       uint8
	Capabilities uint32
	auxiliary    uint8
}

func decodeFeatures(body []byte) (f Features, err error) {
	if len(body) < 24 {
		return f, malformed("features of %d octets", len(body))
	}
	return Features{DatapathID: get64(body), Tables: body[12], auxiliary: body[13], Capabilities: get32(body[16:])}, nil
}

// FlowStats is a flow that is there, with its counters.
type FlowStats struct {
	Flow
	Packets, Bytes uint64        // matched since the flow is there
	Age            time.Duration // since the flow is there
}

// Filter selects flows: of one table or all, whose cookie has the bits of Cookie under CookieMask, and that Match includes.
type Filter struct {
	Table      uint8 // AllTables: of all
	Cookie     Cookie
	CookieMask Cookie
	Match      Match
}

// Everything selects all flows.
var Everything = Filter{Table: AllTables}

func appendFlowsRequest(b []byte, xid uint32, f Filter) []byte {
	at := len(b)
	b = appendZero(append16(appendHeader(b, typeMultipartAsk, xid), multipartFlow, 0), 4)
	b = append32(append(b, f.Table, 0, 0, 0), uint32(PortAny), noGroup, 0)
	b = append64(append64(b, uint64(f.Cookie)), uint64(f.CookieMask))
	return finish(appendMatch(b, f.Match), at)
}

// appendRequest appends a multipart request without a body, or a message that is a header only.
func appendRequest(b []byte, kind uint8, xid uint32, body ...byte) []byte {
	at := len(b)
	return finish(append(appendHeader(b, kind, xid), body...), at)
}

// decoder reads flows and keeps the memory that it needs for it.
type decoder struct {
	match, actions []byte
	list           []Action
}

// flowStats reads the flow at the beginning of b, which is n octets long.
func (d *decoder) flowStats(b []byte) (s FlowStats, n int, err error) {
	if len(b) >= 2 {
		n = int(get16(b))
	}
	if n < 56 || n > len(b) {
		return s, 0, malformed("flow of %d octets where %d are left", n, len(b))
	}
	b = b[:n]
	s = FlowStats{
		Flow: Flow{
			Table: b[2], Priority: get16(b[12:]), Idle: get16(b[14:]), Hard: get16(b[16:]),
			Flags: FlowFlags(get16(b[18:])) & keptFlags, Cookie: Cookie(get64(b[24:])),
		},
		Packets: known(get64(b[32:])), Bytes: known(get64(b[40:])),
		Age: time.Duration(get32(b[4:]))*time.Second + time.Duration(get32(b[8:])),
	}
	used, err := d.readMatch(b[48:])
	if err != nil {
		return s, 0, err
	}
	s.Match = Match(d.match)
	d.readActions(b[48+used:])
	s.Actions = Actions(d.actions)
	return s, n, nil
}

// known returns a counter; the highest number says that the switch does not know it.
func known(v uint64) uint64 {
	if v == ^uint64(0) {
		return 0
	}
	return v
}

// readMatch reads an ofp_match at the beginning of b, canonical, to d.match and returns how long it was there.
func (d *decoder) readMatch(b []byte) (used int, err error) {
	n := 0
	if len(b) >= 4 {
		n = int(get16(b[2:]))
	}
	used = (n + 7) &^ 7
	if n < 4 || used > len(b) {
		return 0, malformed("match of %d octets where %d are left", n, len(b))
	}
	if kind := get16(b); kind != matchOXM {
		return 0, malformed("match of type %d", kind)
	}
	return used, d.canonicalMatch(b[4:n])
}

// canonicalMatch writes the canonical form of OXM fields to d.match.
func (d *decoder) canonicalMatch(b []byte) error {
	d.match = d.match[:0]
	last, sorted := Field(0), true
	foreign := false
	for rest := b; len(rest) > 0; {
		t, n := cutTerm(rest)
		if n == 0 {
			return malformed("field of a match ends behind it: %s", hexText(rest))
		}
		if t.Field == 0 {
			foreign = true
		} else {
			sorted = sorted && t.Field > last && !foreign
			last = t.Field
			d.match = t.append(d.match)
		}
		rest = rest[n:]
	}
	if sorted && !foreign {
		return nil
	}
	return d.sortMatch(b)
}

// sortMatch is canonicalMatch for fields that are in another order than ours, there twice, or foreign.
func (d *decoder) sortMatch(b []byte) error {
	var at [fieldCount][]byte
	var foreign []byte
	for rest := b; len(rest) > 0; {
		t, n := cutTerm(rest)
		switch {
		case t.Field == 0:
			foreign = append(foreign, rest[:n]...)
		case at[t.Field] != nil:
			return malformed("match has %s twice", t.Field)
		default:
			at[t.Field] = rest[:n]
		}
		rest = rest[n:]
	}
	d.match = d.match[:0]
	for _, one := range at {
		if one != nil {
			t, _ := cutTerm(one)
			d.match = t.append(d.match)
		}
	}
	d.match = append(d.match, foreign...)
	return nil
}

// readActions writes the canonical form of instructions to d.actions.
func (d *decoder) readActions(b []byte) {
	d.list = decodeInstructions(b, d.list[:0])
	d.actions = appendInstructions(d.actions[:0], d.list)
}

// groupDesc reads the group at the beginning of b, which is n octets long.
func groupDesc(b []byte) (g Group, n int, err error) {
	if len(b) >= 2 {
		n = int(get16(b))
	}
	if n < 8 || n > len(b) {
		return g, 0, malformed("group of %d octets where %d are left", n, len(b))
	}
	list, err := decodeBuckets(b[8:n], nil)
	if err != nil {
		return g, 0, err
	}
	return Group{ID: get32(b[4:]), Type: GroupType(b[2]), Buckets: NewBuckets(list...)}, n, nil
}

// PortDesc is a port as a switch describes it (§7.2.1).
type PortDesc struct {
	Number Port
	MAC    uint64 // as in EthSrc
	Name   string // of its interface, cut to 15 octets
	Config uint32 // OFPPC: bit 0 is administratively down, bit 2 drops what comes in, bit 5 drops what would go out
	State  uint32 // OFPPS: bit 0 is link down
}

// portDescLen is the length of an ofp_port.
const portDescLen = 64

// portDesc reads a port from portDescLen octets.
func portDesc(b []byte) PortDesc {
	name, _, _ := strings.Cut(string(b[16:32]), "\x00")
	printable := func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}
	return PortDesc{
		Number: Port(get32(b)), MAC: bitsFrom(b[8:14]).Lo, Name: strings.Map(printable, name),
		Config: get32(b[32:]), State: get32(b[36:]),
	}
}

// Event is what a switch says unasked: one of the types below.
type Event interface{ event() }

// PortStatus says that a port changed.
type PortStatus struct {
	Reason PortChange
	Port   PortDesc
}

// PortChange is what happened to a port.
type PortChange uint8

// Values of PortChange (§7.4.3).
const (
	PortAdded    PortChange = 0
	PortDeleted  PortChange = 1
	PortModified PortChange = 2
)

// FlowRemoved says that a flow with SendRemoved is gone. Its Actions are not told.
type FlowRemoved struct {
	FlowStats
	Reason RemovedReason
}

// RemovedReason is why a flow is gone.
type RemovedReason uint8

// Values of RemovedReason (§7.4.2).
const (
	RemovedIdle    RemovedReason = 0
	RemovedHard    RemovedReason = 1
	RemovedDeleted RemovedReason = 2
	RemovedGroup   RemovedReason = 3
)

// PacketIn is a packet that a flow sent to the controller.
type PacketIn struct {
	Reason uint8
	Table  uint8
	Cookie Cookie
	Match  Match  // InPort, and what else is known of the packet
	Data   []byte // as much as the flow sent
	Length int    // of the whole packet
}

func (PortStatus) event()  {}
func (FlowRemoved) event() {}
func (PacketIn) event()    {}

// decodeEvent reads a message that the switch sent unasked.
func (d *decoder) decodeEvent(kind uint8, b []byte) (Event, error) {
	switch {
	case kind == typePortStatus && len(b) >= 8+portDescLen:
		return PortStatus{PortChange(b[0]), portDesc(b[8:])}, nil
	case kind == typeFlowRemoved && len(b) >= 48:
		if _, err := d.readMatch(b[40:]); err != nil {
			return nil, err
		}
		return FlowRemoved{FlowStats{
			Flow: Flow{
				Cookie: Cookie(get64(b)), Priority: get16(b[8:]), Table: b[11], Idle: get16(b[20:]), Hard: get16(b[22:]),
				Flags: SendRemoved, Match: Match(d.match),
			},
			Packets: known(get64(b[24:])), Bytes: known(get64(b[32:])),
			Age: time.Duration(get32(b[12:]))*time.Second + time.Duration(get32(b[16:])),
		}, RemovedReason(b[10])}, nil
	case kind == typePacketIn && len(b) >= 26:
		used, err := d.readMatch(b[16:])
		if err != nil {
			return nil, err
		}
		data := b[16+used:]
		if len(data) < 2 {
			return nil, malformed("packet-in of %d octets", len(b))
		}
		return PacketIn{
			Length: int(get16(b[4:])), Reason: b[6], Table: b[7], Cookie: Cookie(get64(b[8:])), Match: Match(d.match),
			Data: append([]byte(nil), data[2:]...),
		}, nil
	}
	return nil, malformed("message of type %d with %d octets", kind, len(b))
}

// appendSetAsync appends a message that says which events are wanted, whatever our role is.
func appendSetAsync(b []byte, xid uint32, want Want) []byte {
	at := len(b)
	b = appendHeader(b, typeSetAsync, xid)
	mask := func(wanted bool, all uint32) {
		if !wanted {
			all = 0
		}
		b = append32(b, all, all)
	}
	mask(want.Packets, 1<<3-1)
	mask(want.Ports, 1<<3-1)
	mask(want.Removed, 1<<6-1)
	return finish(b, at)
}

// Want says which events a switch is to tell of.
type Want struct {
	Ports   bool // PortStatus
	Removed bool // FlowRemoved
	Packets bool // PacketIn
}

// MeterSpec is a meter, which drops what exceeds a rate, in packets or kilobits a second. Meters are equal by == if they do the same, unless Other.
type MeterSpec struct {
	ID      uint32
	Packets bool   // Rate is in packets a second; else kbit/s
	Rate    uint32 // from 1
	Burst   uint32 // in packets or kbit; 0: as the switch likes
	Other   bool   // read of a switch: it does something else, as none of this package's making does
}

// String is as ovs-ofctl takes it.
func (m MeterSpec) String() string {
	if m.Other {
		return fmt.Sprintf("meter=%d of another kind", m.ID)
	}
	unit, burst := "kbps", ""
	if m.Packets {
		unit = "pktps"
	}
	if m.Burst != 0 {
		unit, burst = unit+",burst", fmt.Sprintf(",burst_size=%d", m.Burst)
	}
	return fmt.Sprintf("meter=%d,%s,stats,band=type=drop,rate=%d%s", m.ID, unit, m.Rate, burst)
}

// Commands of Conn.Meter.
const (
	meterAdd    = 0
	meterModify = 1
	meterDelete = 2
)

// Flags of a meter, and the band that drops (§7.3.4.3).
const (
	meterKbps  = 1 << 0
	meterPktps = 1 << 1
	meterBurst = 1 << 2
	meterStats = 1 << 3

	bandDrop    = 1
	bandDropLen = 16
)

func appendMeterMod(b []byte, xid uint32, command uint16, m MeterSpec) []byte {
	at := len(b)
	flags := uint16(meterKbps)
	if m.Packets {
		flags = meterPktps
	}
	if m.Burst != 0 {
		flags |= meterBurst
	}
	b = append32(append16(appendHeader(b, typeMeterMod, xid), command, flags|meterStats), m.ID)
	if command != meterDelete {
		b = append32(append16(b, bandDrop, bandDropLen), m.Rate, m.Burst, 0)
	}
	return finish(b, at)
}

const allMeters = 0xffffffff // OFPM_ALL

// meterConfig reads the meter at the beginning of b, which is n octets long.
func meterConfig(b []byte) (m MeterSpec, n int, err error) {
	if len(b) >= 2 {
		n = int(get16(b))
	}
	if n < 8 || n > len(b) {
		return m, 0, malformed("meter of %d octets where %d are left", n, len(b))
	}
	m.ID = get32(b[4:])
	flags := get16(b[2:])
	m.Packets = flags&meterPktps != 0
	if n != 8+bandDropLen || flags&^meterStats&^meterBurst != meterKbps && flags&^meterStats&^meterBurst != meterPktps || get16(b[8:]) != bandDrop || get16(b[10:]) != bandDropLen {
		return MeterSpec{ID: m.ID, Other: true}, n, nil
	}
	m.Rate = get32(b[12:])
	if flags&meterBurst != 0 {
		m.Burst = get32(b[16:])
	}
	return m, n, nil
}

// meterFeatures reads the highest id that a meter that drops what exceeds kilobits a second, with a burst, may have; 0: there are no such meters.
func meterFeatures(b []byte) (most uint32, err error) {
	if len(b) != 16 {
		return 0, malformed("features of meters in %d octets, want 16", len(b))
	}
	const needed = meterKbps | meterBurst
	if get32(b[4:])>>bandDrop&1 == 0 || get32(b[8:])&needed != needed || b[12] == 0 {
		return 0, nil
	}
	return get32(b), nil
}

func appendPacketOut(b []byte, xid uint32, in Port, actions []Action, packet []byte) []byte {
	at := len(b)
	b = append32(appendHeader(b, typePacketOut, xid), noBuffer, uint32(in))
	length := len(b)
	b = appendZero(b, 8)
	from := len(b)
	b = appendActions(b, actions)
	put16(b[length:], len(b)-from)
	return finish(append(b, packet...), at)
}

// appendBundle appends a control message of a bundle.
func appendBundle(b []byte, xid, id uint32, kind uint16) []byte {
	at := len(b)
	b = append32(appendHeader(b, typeExperimenter, xid), vendorONF, bundleControl, id)
	return finish(append16(b, kind, bundleAtomic|bundleOrdered), at)
}

// appendBundled appends a modification as part of a bundle.
func appendBundled(b []byte, xid, id uint32, m Mod) []byte {
	at := len(b)
	b = append32(appendHeader(b, typeExperimenter, xid), vendorONF, bundleAdd, id)
	b = append16(b, 0, bundleAtomic|bundleOrdered)
	inner := len(b)
	b = m.append(b)
	put32(b[inner+4:], xid) // as the one around it
	return finish(b, at)
}

// appendMultipart appends a multipart request that asks for all.
func appendMultipart(b []byte, xid uint32, kind uint16) []byte {
	at := len(b)
	return finish(appendZero(append16(appendHeader(b, typeMultipartAsk, xid), kind, 0), 4), at)
}
