package compile

import (
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/policy"
)

// Packets that are denied are sampled where that is decided. What is allowed is sampled in tables of its own, by the register that
// says which rule allowed it: with SampleNew those are passed by packets of connections that go on. Replies are sampled in table 22.

const (
	priorityGoesOnUntold = 200
	priorityTell         = 100

	priorityRetired      = 110
	priorityReplyEgress  = 100
	priorityReplyIngress = 90
	priorityReplySystem  = 80
)

// told is a table in which what was allowed is sampled.
type told struct {
	table    uint8
	register int // with the instance
	stage    flow.Stage
	next     uint8
}

var (
	toldEgress  = told{TableEgressTell, regEgress, flow.StageEgress, TableLearn}
	toldIngress = told{TableIngressTell, regIngress, flow.StageIngress, TableCommit}
)

func fixedTell(e *emitter) {
	for _, t := range []told{toldEgress, toldIngress} {
		if e.sampling == SampleNew && e.stateful {
			e.add(t.table, priorityGoesOnUntold, KindTell, 0, match(ctNotNew), do(next(t.next)))
		}
		if e.tells() {
			e.add(t.table, priorityTell, KindTell, flow.SystemBypass, match(openflow.Reg(t.register, flow.SystemBypass, all)),
				do(e.sampled(t.stage, flow.SystemBypass), next(t.next)))
		}
		e.add(t.table, 0, KindTell, 0, "", do(next(t.next)))
	}
}

// tells reports whether packets that are allowed are sampled. Without connection tracking it cannot be told which are new.
func (s *settings) tells() bool {
	return s.sampling == SampleFull || s.sampling == SampleNew && s.stateful
}

// tell is an instance that allows packets at a stage: they are sampled, and so are the replies of connections that it let in.
type tell struct {
	instance uint32
	stage    flow.Stage // StageEgress or StageIngress
}

func (u tell) count(s *settings) int {
	n := 0
	if s.tells() {
		n++
	}
	if s.stateful {
		n++
	}
	return n
}

func (u tell) flows(e *emitter) {
	t := toldEgress
	if u.stage == flow.StageIngress {
		t = toldIngress
	}
	if e.tells() {
		e.add(t.table, priorityTell, KindTell, u.instance, match(openflow.Reg(t.register, u.instance, all)), do(e.sampled(u.stage, u.instance), next(t.next)))
	}
	if !e.stateful {
		return
	}
	reply := do(e.passed(flow.StageReply, u.instance), next(TableDeliver))
	if u.stage == flow.StageEgress {
		e.add(TableReply, priorityReplyEgress, KindReply, u.instance, match(label(labelEgress, u.instance, all)), reply)
		return
	}
	// No rule was asked at the source: the egress half is that of a built-in one.
	let := openflow.CTLabel(openflow.U64(uint64(u.instance)).Shl(labelIngress), openflow.U64(all).Shl(labelIngress).Or(openflow.U64(uint64(^flow.MaxSystemInstance)).Shl(labelEgress)))
	e.add(TableReply, priorityReplyIngress, KindReply, u.instance, match(let), reply)
}

// tellsOf returns how what a rule allows is told of.
func tellsOf(e *policy.Entry) (list []tell) {
	if e.Rule.Action != policy.Allow {
		return nil
	}
	if e.Rule.Direction != policy.From {
		list = append(list, tell{e.Instance, flow.StageEgress})
	}
	if e.Rule.Direction != policy.To {
		list = append(list, tell{e.Instance, flow.StageIngress})
	}
	return list
}

// tells is tell of a list of rules, which several VIFs of a VM may have.
type tells struct{ *list }

func (u tells) each(f func(tell)) {
	for _, e := range u.rules {
		for _, t := range tellsOf(e.Entry) {
			f(t)
		}
	}
}

func (u tells) count(s *settings) (n int) {
	u.each(func(t tell) { n += t.count(s) })
	return n
}

func (u tells) flows(e *emitter) {
	u.each(func(t tell) { t.flows(e) })
}
