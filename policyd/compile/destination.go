package compile

import (
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
)

// Tables 15 and 16 find out where a packet is going, before connection tracking: what is for no VIF of this bridge and from none
// never goes through it.

const (
	priorityReflected   = 1100
	priorityKnownVIF    = 1000
	priorityMulticast   = 900
	priorityToHost      = 800
	priorityFound       = 100 // what was learned
	priorityStale       = 90  // what was learned of a VIF that is not there any more
	priorityHostSource  = 60
	priorityFromHost    = 50
	priorityFromVIF     = 40
	priorityFlood       = 30
	priorityFromNetwork = 20
)

const multicastBit = 1 << 40

func fixedDestination(e *emitter) {
	e.add(TableDestination, priorityMulticast, KindHost, flow.SystemHost, match(openflow.Multicast(), class(classHost)), e.host())
	for _, c := range []uint32{classVIF, classNetwork} {
		e.add(TableDestination, priorityMulticast, KindDestination, 0, match(openflow.Multicast(), class(c)), do(load(regTo, toMulticast), next(TableEgress)))
	}
	e.add(TableDestination, 0, KindDestination, 0, "", do(openflow.Resubmit{Table: TableLearned}, next(TableUnknown)))

	e.add(TableUnknown, priorityStale, KindDestination, 0, match(to(toVIF)),
		do(load(regTo, 0), load(regDestination, 0), openflow.Resubmit{Table: TableUnknown}))
	e.add(TableUnknown, priorityFound, KindDestination, 0, match(to(toHost), class(classVIF)), do(next(TableConnTrack)))
	e.add(TableUnknown, priorityFound, KindHost, flow.SystemHost, match(to(toHost), class(classNetwork)), e.host())
	e.add(TableUnknown, priorityFromHost, KindHost, flow.SystemHost, match(class(classHost)), do(e.learn(0, toHost), e.system(flow.SystemHost), openflow.Normal()))
	e.add(TableUnknown, priorityFromVIF, KindDestination, 0, match(class(classVIF)), do(load(regTo, toUnknown), next(TableConnTrack)))
	e.add(TableUnknown, priorityFromNetwork, KindTransit, flow.SystemTransit, match(class(classNetwork)),
		do(e.system(flow.SystemTransit), load(regTo, toUnknown), next(TableOutput)))
}

// vifAddress is the MAC address of a VIF.
type vifAddress struct {
	zone uint16
	mac  estate.MAC
	port openflow.Port
	net  uint32
}

func (u vifAddress) count(*settings) int { return 2 }

func (u vifAddress) flows(e *emitter) {
	e.add(TableDestination, priorityKnownVIF, KindDestination, 0, match(openflow.EthDst(uint64(u.mac)), zone(u.zone)),
		do(load(regTo, toVIF), load(regDestination, uint32(u.port)), load(regDestNet, u.net), next(TableConnTrack)))
	e.add(TableLearn, priorityOwnMAC, KindLearn, 0, match(openflow.EthSrc(uint64(u.mac)), source(u.port)), do(next(TableDeliver)))
}

// isolatedAddress is the MAC address of a VIF that is quarantined.
type isolatedAddress struct {
	zone uint16
	mac  estate.MAC
}

func (u isolatedAddress) count(*settings) int { return 1 }

func (u isolatedAddress) flows(e *emitter) {
	e.isolate(TableDestination, priorityKnownVIF, flow.StageSystem, openflow.EthDst(uint64(u.mac)), zone(u.zone))
}

// isolatedFound is such a VIF, behind which the destination was learned to be.
type isolatedFound struct {
	zone uint16
	port openflow.Port
}

func (u isolatedFound) count(*settings) int { return 1 }

func (u isolatedFound) flows(e *emitter) {
	e.isolate(TableUnknown, priorityFound, flow.StageSystem, to(toVIF), destination(u.port), zone(u.zone))
}

// found is a VIF of a segment, behind which the destination was learned to be.
type found struct {
	zone uint16
	port openflow.Port
	net  uint32
}

func (u found) count(*settings) int { return 1 }

func (u found) flows(e *emitter) {
	e.add(TableUnknown, priorityFound, KindDestination, 0, match(to(toVIF), destination(u.port), zone(u.zone)), do(load(regDestNet, u.net), next(TableConnTrack)))
}

// reflected is multicast of a VIF that comes back by another interface of a bond.
type reflected struct {
	zone uint16
	mac  estate.MAC
}

func (u reflected) count(*settings) int { return 1 }

func (u reflected) flows(e *emitter) {
	e.add(TableDestination, priorityReflected, KindDuplicate, 0, match(openflow.EthSrc(uint64(u.mac)), openflow.Multicast(), class(classNetwork), zone(u.zone)), "")
}

// hostAddress is a MAC address of the host in a segment.
type hostAddress struct {
	zone uint16
	mac  estate.MAC
}

func (u hostAddress) count(*settings) int { return 1 }

func (u hostAddress) flows(e *emitter) {
	e.add(TableDestination, priorityToHost, KindDestination, 0, match(openflow.EthDst(uint64(u.mac)), class(classVIF), zone(u.zone)),
		do(load(regTo, toHost), next(TableConnTrack)))
}

// hostSource is what the host sends from an address of which it is known: there is nothing to learn.
type hostSource struct{ mac estate.MAC }

func (u hostSource) count(*settings) int { return 1 }

func (u hostSource) flows(e *emitter) {
	e.add(TableUnknown, priorityHostSource, KindHost, flow.SystemHost, match(openflow.EthSrc(uint64(u.mac)), class(classHost)), e.host())
}

// flooded is a segment that has VIFs whose MAC address is not known: what is for nobody may be for one of them.
type flooded struct{ zone uint16 }

func (u flooded) count(*settings) int { return 1 }

func (u flooded) flows(e *emitter) {
	e.add(TableUnknown, priorityFlood, KindDestination, 0, match(class(classNetwork), zone(u.zone)), do(load(regTo, toUnknown), next(TableConnTrack)))
}

// destinations plans tables 15, 16 and 35.
func (b *bridge) destinations(p *plan) {
	reflects := false
	for i := range b.networks {
		reflects = reflects || b.networks[i].reflect && len(b.networks[i].members) > 1
	}
	for _, v := range b.vifs {
		switch {
		case v.isolated:
			p.add(isolatedFound{v.zone, v.ports[0]})
			if v.mac != 0 {
				p.add(isolatedAddress{v.zone, v.mac})
			}
		default:
			p.add(found{v.zone, v.ports[0], v.net})
			p.add(learner{v.ports[0]})
			if v.mac != 0 {
				p.add(vifAddress{v.zone, v.mac, v.ports[0], v.net})
			}
		}
		if v.mac == 0 {
			continue
		}
		if reflects {
			p.add(reflected{v.zone, v.mac})
		}
	}
	for _, mac := range b.hostMACs {
		p.add(hostSource{mac})
	}
	for i := range b.segments {
		s := &b.segments[i]
		if s.floods() {
			p.add(flooded{s.zone})
		}
		if !b.hostIn(s.vlan) {
			continue
		}
		for _, mac := range b.hostMACs {
			p.add(hostAddress{s.zone, mac})
		}
	}
}

// floods reports whether the segment has VIFs whose MAC address is not known.
func (s *segment) floods() bool {
	for _, v := range s.vifs {
		if v.mac == 0 {
			return true
		}
	}
	return false
}

// hostIn reports whether the host is in a VLAN.
func (b *bridge) hostIn(vlan uint16) bool {
	for i := range b.hosts {
		if _, ok := b.hosts[i].vlans.carries(vlan); ok {
			return true
		}
	}
	return false
}

// Table 35 learns the MAC addresses behind VIFs that are not theirs: of virtual routers, nested VMs, and of VIFs of which no
// address is known. What it writes into table 45 goes when nothing was sent from there for a while: it is renewed by what the VIF
// sends, not by what is sent to it, which goes on when a VM has moved away.

const (
	priorityOwnMAC = 100
	priorityNewMAC = 50
)

func fixedLearn(e *emitter) {
	e.add(TableLearn, 0, KindLearn, 0, "", do(next(TableDeliver)))
}

// learner is a VIF that may have other MAC addresses than its own behind it.
type learner struct{ port openflow.Port }

func (u learner) count(s *settings) int {
	if s.learns {
		return 1
	}
	return 0
}

func (u learner) flows(e *emitter) {
	if !e.learns {
		return
	}
	e.add(TableLearn, priorityNewMAC, KindLearn, 0, match(openflow.EthSrcMasked(0, multicastBit), source(u.port)), do(
		e.learn(uint32(u.port), toVIF, openflow.LearnSpec{
			Kind: openflow.LearnLoad, From: openflow.Whole(openflow.FieldReg(regSource)), To: openflow.Whole(openflow.FieldReg(regDestination)),
		}),
		next(TableDeliver)))
}

// learn remembers what is to be loaded for packets to the source of this one; nil if nothing is learned. By the cookie Open vSwitch
// counts how many addresses one port has.
func (s *settings) learn(port, to uint32, loads ...openflow.LearnSpec) openflow.Action {
	if !s.learns {
		return nil
	}
	specs := []openflow.LearnSpec{
		{Kind: openflow.LearnMatch, From: openflow.Whole(openflow.FieldReg(regZone)), To: openflow.Whole(openflow.FieldReg(regZone))},
		{Kind: openflow.LearnMatch, From: openflow.Whole(openflow.FieldEthSrc), To: openflow.Whole(openflow.FieldEthDst)},
		{Kind: openflow.LearnLoad, Value: openflow.U64(uint64(to)), To: openflow.Whole(openflow.FieldReg(regTo))},
	}
	return openflow.Learn{
		Table: TableLearned, Priority: 1, Hard: learnedFor, Cookie: Cookie(0, KindLearned, port), Limit: learnedMost, Specs: append(specs, loads...),
	}
}
