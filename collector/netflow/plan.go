package netflow

import (
	"cmp"
	"slices"

	"github.com/weirhq/weir/collector/ie"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
)

// plan is a template compiled: what to do to decode its records. It is immutable.
type plan struct {
	layout  layout
	ops     []op   // of flows, in the order in which they are to run
	reads   []read // of options
	scratch []scratchColumn
	pair    pair // times that are decoded in one go

	flow  bool            // records are flows: they have an address, a MAC address or a counter
	layer flow.BytesLayer // of the elements that give bytes

	starts, ends, durations  bool // records have such times
	start, end               ie.ID
	startsRelative           bool // starts are since the initialisation of the exporter (IPFIX)
	endsRelative             bool
	inits                    bool // records say when the exporter was initialised
	icmpFromPort             bool // records have protocol and destination port
	stationAddr, stationMAC  bool // source is the station of a wireless controller
	rates, samplers, reverse bool
	spaced                   bool // records have a samplingPacketSpace
	scaled                   bool // counters are multiplied by the sampling rate already
}

// op fills one column, or one scratch column, from one field.
type op struct {
	run setter
	place
	slot   slot
	lo, hi int // widths that run takes
}

// setter fills rows [x.first, x.first+x.n) of one column of x.out from n fields of width octets, which are stride
// octets apart. src starts at the first field and holds all of them.
type setter func(x *run, src []byte, stride, width int)

// slot is what an element gives to a row. A slot is given by one field of a template: by the element of lowest rank
// that it has. The others of the slot are not looked at, unless they may fill where the better ones were zero.
type slot uint8

const (
	slotSrcAddr slot = iota
	slotDstAddr
	slotSrcPort
	slotDstPort
	slotProtocol
	slotEthertype
	slotBytes
	slotPackets
	slotTCPFlags
	slotTOS
	slotInIf
	slotOutIf
	slotSrcMAC
	slotDstMAC
	slotVLANIn
	slotVLANOut
	slotVRFIn
	slotVRFOut
	slotApplication
	slotObserved
	slotForwarding
	slotEndReason
	slotPoint
	slotVirtual
	slotICMPType
	slotICMPCode
	slotICMP // after type and code: fills where they are zero
	slotStart
	slotEnd
	slotDuration
	slotInit
	slotSampler
	slotInterval
	slotPacketInterval
	slotPacketSpace
	slotSampleSize
	slotSamplePopulation
	slotProbability
	slots
)

// target is what one element gives.
type target struct {
	slot   slot
	rank   uint8
	lo, hi int    // widths in octets
	set    setter // writes every row
	fill   setter // writes rows that are still zero; nil if the element never adds to a better one
}

// compile makes the plan of t, which was read from a message of version.
func compile(t *template.Template, version uint16) *plan {
	type candidate struct {
		op
		target
		id ie.ID
	}
	var bySlot [slots][]candidate
	p := &plan{}
	var places []place
	p.layout, places = layOut(t.Fields)
	if t.Options {
		p.reads = compileOptions(t, places)
		return p
	}
	for i, f := range t.Fields {
		if f.ID.Enterprise == ie.Reverse && counters[ie.Of(f.ID.Number)] || responder[f.ID] {
			p.reverse = true
		}
		tg, ok := targets[f.ID]
		if ok && (places[i].variable || places[i].width >= tg.lo && places[i].width <= tg.hi) {
			o := op{run: tg.set, place: places[i], lo: tg.lo, hi: tg.hi}
			bySlot[tg.slot] = append(bySlot[tg.slot], candidate{o, tg, f.ID})
		}
	}
	for s, list := range bySlot {
		if len(list) == 0 {
			continue
		}
		slices.SortStableFunc(list, func(a, b candidate) int { return cmp.Compare(a.rank, b.rank) })
		for i, c := range list {
			c.op.slot = slot(s)
			if i > 0 {
				if c.fill == nil {
					continue
				}
				c.op.run = c.fill
			}
			p.ops = append(p.ops, c.op)
		}
		best := list[0]
		switch slot(s) {
		case slotSrcAddr:
			p.flow, p.stationAddr = true, best.id == station
		case slotSrcMAC:
			p.flow, p.stationMAC = true, best.id == stationMAC
		case slotDstAddr, slotDstMAC, slotPackets:
			p.flow = true
		case slotBytes:
			p.flow, p.layer = true, layers[best.id]
		case slotStart:
			p.starts, p.start, p.startsRelative = true, best.id, version == VersionIPFIX && best.id == startSysUpTime
		case slotEnd:
			p.ends, p.end, p.endsRelative = true, best.id, version == VersionIPFIX && best.id == endSysUpTime
		case slotDuration:
			p.durations = true
		case slotInit:
			p.inits = true
		case slotDstPort:
			p.icmpFromPort = len(bySlot[slotProtocol]) > 0
		case slotSampler:
			p.samplers = true
		case slotInterval, slotPacketInterval, slotPacketSpace, slotSampleSize, slotSamplePopulation, slotProbability:
			p.rates, p.spaced = true, p.spaced || slot(s) == slotPacketSpace
		default: // the operation is all there is to it
		}
	}
	p.scaled = version == VersionIPFIX && isOpenVSwitch(t.Fields)
	p.pairTimes(version)
	p.scratch = scratchOf(p)
	// A record that is shorter than an address is no flow: it could not say of what. This also bounds the rows that a
	// datagram can make.
	p.flow = p.flow && t.MinLength >= minFlow
	return p
}

// isOpenVSwitch reports whether fields are those of a template of Open vSwitch, which nobody else begins like that.
func isOpenVSwitch(fields []template.Field) bool {
	begin := []uint16{138, 56, 80, 256, 240} // 61 follows 138 since flows of the exporter have a direction
	at := 0
	for _, f := range fields {
		switch {
		case f.ID == ie.Of(61) && at == 1:
		case at == len(begin):
			if f.ID == ie.Of(158) { // times are offsets, in this order
				return true
			}
		case f.ID != ie.Of(begin[at]):
			return false
		default:
			at++
		}
	}
	return false
}

const minFlow = 4 // octets of the shortest record that is a flow

// pair is a start and an end of one kind, in records of fixed length: by far the most usual times.
type pair struct {
	kind       pairKind
	start, end int // offsets in the record
}

type pairKind uint8

const (
	noPair       pairKind = iota
	uptimes               // flowStartSysUpTime and flowEndSysUpTime of NetFlow 9, four octets each
	milliseconds          // flowStartMilliseconds and flowEndMilliseconds
)

// pairTimes takes a pair of times out of the operations, if p has one.
func (p *plan) pairTimes(version uint16) {
	if len(p.layout.stretches) > 1 || p.durations || !p.starts || !p.ends {
		return
	}
	isStart := func(o op) bool { return o.slot == slotStart }
	isEnd := func(o op) bool { return o.slot == slotEnd }
	start, end := p.ops[slices.IndexFunc(p.ops, isStart)], p.ops[slices.IndexFunc(p.ops, isEnd)]
	switch {
	case version == Version9 && p.start == startSysUpTime && p.end == endSysUpTime && start.width == 4 && end.width == 4:
		p.pair.kind = uptimes
	case p.start == ie.Of(152) && p.end == ie.Of(153):
		p.pair.kind = milliseconds
	default:
		return
	}
	p.pair.start, p.pair.end = start.offset, end.offset
	p.ops = slices.DeleteFunc(p.ops, func(o op) bool { return isStart(o) || isEnd(o) })
}

// scratchColumn is a scratch column that records need.
type scratchColumn struct {
	k     int
	clear bool // before the operations: they do not fill every row of it
}

func scratchOf(p *plan) []scratchColumn {
	var s []scratchColumn
	add := func(use bool, slots map[int]slot) {
		for k := range scratches {
			if of, ok := slots[k]; ok && use {
				filled := len(p.layout.stretches) == 1 && slices.ContainsFunc(p.ops, func(o op) bool { return o.slot == of })
				s = append(s, scratchColumn{k, !filled})
			}
		}
	}
	add((p.starts || p.ends || p.durations) && p.pair.kind == noPair, map[int]slot{scratchStart: slotStart, scratchEnd: slotEnd})
	add(p.durations, map[int]slot{scratchDuration: slotDuration})
	add(p.inits, map[int]slot{scratchInit: slotInit})
	add(p.samplers, map[int]slot{scratchSampler: slotSampler})
	add(p.rates, map[int]slot{
		scratchInterval: slotInterval, scratchPacketInterval: slotPacketInterval, scratchPacketSpace: slotPacketSpace,
		scratchSampleSize: slotSampleSize, scratchSamplePopulation: slotSamplePopulation,
		scratchProbability: slotProbability,
	})
	return s
}
