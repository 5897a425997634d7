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
	scratch []int

	flow  bool            // records are flows: they have an address, a MAC address or a counter
	layer flow.BytesLayer // of the elements that give bytes

	starts, ends, durations  bool // records have such times
	startsRelative           bool // starts are since the initialisation of the exporter (IPFIX)
	endsRelative             bool
	inits                    bool // records say when the exporter was initialised
	icmpFromPort             bool // records have protocol and destination port
	stationAddr, stationMAC  bool // source is the station of a wireless controller
	rates, samplers, reverse bool
}

// op fills one column, or one scratch column, from one field.
type op struct {
	run setter
	place
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
			p.starts, p.startsRelative = true, version == VersionIPFIX && best.id == startSysUpTime
		case slotEnd:
			p.ends, p.endsRelative = true, version == VersionIPFIX && best.id == endSysUpTime
		case slotDuration:
			p.durations = true
		case slotInit:
			p.inits = true
		case slotDstPort:
			p.icmpFromPort = len(bySlot[slotProtocol]) > 0
		case slotSampler:
			p.samplers = true
		case slotInterval, slotPacketInterval, slotPacketSpace, slotSampleSize, slotSamplePopulation, slotProbability:
			p.rates = true
		}
	}
	p.scratch = scratchOf(p)
	// A record that is shorter than an address is no flow: it could not say of what. This also bounds the rows that a
	// datagram can make.
	p.flow = p.flow && t.MinLength >= minFlow
	return p
}

const minFlow = 4 // octets of the shortest record that is a flow

func scratchOf(p *plan) []int {
	var s []int
	add := func(use bool, ks ...int) {
		if use {
			s = append(s, ks...)
		}
	}
	add(p.starts || p.ends || p.durations, scratchStart, scratchEnd)
	add(p.durations, scratchDuration)
	add(p.inits, scratchInit)
	add(p.samplers, scratchSampler)
	add(p.rates, scratchInterval, scratchPacketInterval, scratchPacketSpace, scratchSampleSize,
		scratchSamplePopulation, scratchProbability)
	return s
}
