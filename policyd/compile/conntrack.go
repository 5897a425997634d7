package compile

import (
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/policy"
)

// Tables 20 to 22 and 60: connection tracking. A connection's label says which instances let it in, its mark whether a rule denied
// a later packet of it.

const (
	priorityUntracked = 110
	priorityTrack     = 100

	priorityFromHostState   = 210
	priorityInvalidBypassed = 205
	priorityInvalid         = 200
	priorityBlocked         = 195
	priorityLetIn           = 190
	priorityGoesOn          = 150

	priorityReallow = 110
	priorityRelabel = 105
	priorityNew     = 100
)

// States of connections.
var (
	ctInvalid  = openflow.CTState(openflow.CTInvalid|openflow.CTTracked, openflow.CTInvalid|openflow.CTTracked)
	ctNew      = openflow.CTState(openflow.CTNew|openflow.CTTracked, openflow.CTNew|openflow.CTTracked)
	ctNotNew   = openflow.CTState(openflow.CTTracked, openflow.CTNew|openflow.CTTracked)
	ctReply    = openflow.CTState(openflow.CTEstablished|openflow.CTReply|openflow.CTTracked, openflow.CTNew|openflow.CTEstablished|openflow.CTReply|openflow.CTTracked)
	ctRelated  = openflow.CTState(openflow.CTRelated|openflow.CTTracked, openflow.CTNew|openflow.CTRelated|openflow.CTTracked)
	ctOriginal = openflow.CTState(openflow.CTEstablished|openflow.CTTracked, openflow.CTNew|openflow.CTEstablished|openflow.CTReply|openflow.CTTracked)
)

// answers are the states of packets of which rules are not asked again.
var answers = [2]openflow.Term{ctReply, ctRelated}

// label is connections that an instance let in; at is labelEgress or labelIngress. Other bits under mask, shifted too, are 0.
func label(at int, instance, mask uint32) openflow.Term {
	return openflow.CTLabel(openflow.U64(uint64(instance)).Shl(at), openflow.U64(uint64(mask)).Shl(at))
}

var zoneOfSegment = openflow.PartOf(openflow.FieldReg(regZone), 0, 15)

func fixedConnTrack(e *emitter) {
	e.add(TableConnTrack, 0, KindConnTrack, 0, "", do(next(TableEgress)))
	e.add(TableCommit, 0, KindCommit, 0, "", do(next(TableOutput)))
	if !e.stateful {
		return
	}
	// Neighbour discovery and path MTU messages are of no connection.
	for _, k := range untracked {
		e.add(TableConnTrack, priorityUntracked, KindConnTrack, 0, match(k...), do(next(TableEgress)))
	}
	for _, t := range ip {
		e.add(TableConnTrack, priorityTrack, KindConnTrack, 0, match(etherType(t)), do(openflow.CT{ZoneFrom: zoneOfSegment, Resume: true, Table: TableState}))
	}

	e.add(TableState, priorityFromHostState, KindState, 0, match(class(classHost)), do(next(TableEgress)))
	e.add(TableState, priorityInvalid, KindState, flow.SystemInvalid, match(ctInvalid), do(e.dropped(flow.StageSystem, flow.SystemInvalid)))
	for _, state := range answers {
		e.add(TableState, priorityBlocked, KindState, flow.SystemBlocked, match(state, openflow.CTMark(markBlocked, markBlocked)), do(e.dropped(flow.StageReply, flow.SystemBlocked)))
		e.add(TableState, priorityLetIn, KindState, 0, match(state), do(loadFlags(flagReply), next(TableReply)))
	}
	if e.sampling == SampleNew { // shadow rules are told of at the first packet only
		e.add(TableState, priorityGoesOn, KindState, 0, match(ctOriginal), do(loadFlags(flagEgressShadow|flagIngressShadow), next(TableEgress)))
	}
	e.add(TableState, 0, KindState, 0, "", do(next(TableEgress)))

	e.add(TableReply, priorityReplySystem, KindReply, flow.SystemHost, match(label(labelEgress, flow.SystemHost, all)), do(e.system(flow.SystemHost), next(TableDeliver)))
	for _, instance := range []uint32{flow.SystemKept, flow.SystemBypass} {
		reply := do(e.passed(flow.StageReply, instance), next(TableDeliver))
		e.add(TableReply, priorityReplySystem, KindReply, instance, match(label(labelEgress, instance, all)), reply)
		// The source is the network: no rules were asked there.
		let := openflow.CTLabel(openflow.U64(uint64(instance)).Shl(labelIngress), openflow.Ones(64))
		e.add(TableReply, priorityReplySystem, KindReply, instance, match(let), reply)
	}
	e.add(TableReply, 0, KindReply, 0, "", do(next(TableDeliver)))

	for _, t := range ip {
		e.add(TableCommit, priorityNew, KindCommit, 0, match(etherType(t), ctNew), do(commit(labelled...), next(TableOutput)))
		e.add(TableCommit, priorityReallow, KindCommit, 0, match(etherType(t), ctOriginal, openflow.CTMark(markBlocked, markBlocked)),
			do(commit(append([]openflow.Action{openflow.Load{Dst: openflow.Whole(openflow.FieldCTMark), Value: 0}}, labelled...)...), next(TableOutput)))
	}
}

// untracked are packets that are of no connection.
var untracked = [][]openflow.Term{
	{etherType(openflow.EthTypeIPv4), openflow.IPProto(policy.IPICMP), openflow.ICMPType(3), openflow.ICMPCode(4)},
	{etherType(openflow.EthTypeIPv6), openflow.IPProto(policy.IPICMPv6), openflow.ICMPv6Type(2)},
	{etherType(openflow.EthTypeIPv6), openflow.IPProto(policy.IPICMPv6), openflow.ICMPv6Type(133)},
	{etherType(openflow.EthTypeIPv6), openflow.IPProto(policy.IPICMPv6), openflow.ICMPv6Type(134)},
	{etherType(openflow.EthTypeIPv6), openflow.IPProto(policy.IPICMPv6), openflow.ICMPv6Type(135)},
	{etherType(openflow.EthTypeIPv6), openflow.IPProto(policy.IPICMPv6), openflow.ICMPv6Type(136)},
}

// labelled sets the label of a connection to who lets it in.
var labelled = []openflow.Action{
	openflow.Move{Src: openflow.Whole(openflow.FieldReg(regEgress)), Dst: openflow.PartOf(openflow.FieldCTLabel, labelEgress, labelEgress+31)},
	openflow.Move{Src: openflow.Whole(openflow.FieldReg(regIngress)), Dst: openflow.PartOf(openflow.FieldCTLabel, labelIngress, labelIngress+31)},
}

// commit remembers a connection, and does something with its mark and label.
func commit(exec ...openflow.Action) openflow.Action {
	return openflow.CT{Commit: true, ZoneFrom: zoneOfSegment, Exec: exec}
}

// loadFlags sets bits of regFlags, of which the others are not touched: bits are next to each other.
func loadFlags(bits uint32) openflow.Action {
	switch bits {
	case flagReply:
		return openflow.Load{Dst: openflow.PartOf(openflow.FieldReg(regFlags), 0, 0), Value: 1}
	case flagEgressShadow:
		return openflow.Load{Dst: openflow.PartOf(openflow.FieldReg(regFlags), 1, 1), Value: 1}
	case flagIngressShadow:
		return openflow.Load{Dst: openflow.PartOf(openflow.FieldReg(regFlags), 2, 2), Value: 1}
	case flagEgressShadow | flagIngressShadow:
		return openflow.Load{Dst: openflow.PartOf(openflow.FieldReg(regFlags), 1, 2), Value: 3}
	}
	panic("BUG: flags that are not loaded together")
}

// retired is an instance that allows no more: connections that it let in end, unless another lets them go on.
type retired struct{ instance uint32 }

func (u retired) count(s *settings) int {
	if !s.stateful {
		return 0
	}
	return 6
}

func (u retired) flows(e *emitter) {
	if !e.stateful {
		return
	}
	for _, at := range []int{labelEgress, labelIngress} {
		e.add(TableReply, priorityRetired, KindState, flow.SystemBlocked, match(label(at, u.instance, all)), do(e.dropped(flow.StageReply, flow.SystemBlocked)))
		for _, t := range ip {
			e.add(TableCommit, priorityRelabel, KindCommit, 0, match(etherType(t), ctOriginal, label(at, u.instance, all)), do(commit(labelled...), next(TableOutput)))
		}
	}
}

// Table 80: a packet was denied. If it is one of a connection that was let in, the connection ends: its replies are dropped, too.
// A copy that was flooded to a VIF for which it was perhaps not meant ends nothing.

const (
	priorityEgressDenied  = 110
	priorityFloodedDenied = 105
	priorityEnd           = 100
)

func fixedDenied(e *emitter) {
	if !e.stateful {
		return
	}
	unblocked := openflow.CTMark(0, markBlocked)
	end := do(commit(openflow.Load{Dst: openflow.Whole(openflow.FieldCTMark), Value: markBlocked}))
	for _, t := range ip {
		e.add(TableDenied, priorityEgressDenied, KindDenied, 0, match(etherType(t), ctOriginal, unblocked, to(toUnknown), destination(0)), end)
		e.add(TableDenied, priorityEnd, KindDenied, 0, match(etherType(t), ctOriginal, unblocked), end)
	}
	e.add(TableDenied, priorityFloodedDenied, KindDenied, 0, match(to(toUnknown)), "")
	e.add(TableDenied, 0, KindDenied, 0, "", "")
}
