package compile

import (
	"slices"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/policy"
)

// Tables 30, 31, 50 and 51: rules. The priority of a rule's flows is its place in the order of evaluation; flows of rules of other
// networks and VIFs that have the same match other registers.

// asked is the rules of a stage.
type asked struct {
	stage    flow.Stage
	table    uint8
	kept     uint8 // table of rules that name kept packets
	vif      int   // register with the VIF's port
	net      int   // register with its network
	instance int   // register for the instance that allowed
	shadow   uint32
	told     uint8 // where packets go that a rule allows
	passed   uint8 // where packets go that are not told of there
}

var (
	askedEgress  = asked{flow.StageEgress, TableEgress, TableEgressKept, regSource, regSourceNet, regEgress, flagEgressShadow, TableEgressTell, TableLearn}
	askedIngress = asked{flow.StageIngress, TableIngress, TableIngressKept, regDestination, regDestNet, regIngress, flagIngressShadow, TableIngressTell, TableCommit}

	stages = [2]*asked{&askedEgress, &askedIngress}
)

func fixedACL(e *emitter) {
	e.add(TableEgress, priorityNoVIF, KindState, 0, match(class(classNetwork)), do(next(TableDeliver)))
	e.add(TableEgress, priorityNoVIF, KindHost, flow.SystemHost, match(class(classHost)), do(load(regEgress, flow.SystemHost), e.system(flow.SystemHost), next(TableDeliver)))
	e.add(TableIngress, priorityReply, KindState, 0, match(openflow.Reg(regFlags, flagReply, flagReply)), do(next(TableCommit)))
	e.add(TableIngress, priorityNoVIF, KindState, 0, match(class(classHost)), do(next(TableCommit)))
	for _, a := range stages {
		for _, k := range keptPackets(a.stage) {
			e.add(a.table, priorityKept, KindKept, 0, match(k...), do(next(a.kept)))
		}
		e.add(a.kept, 0, KindKept, flow.SystemKept, "", do(load(a.instance, flow.SystemKept), e.passed(a.stage, flow.SystemKept), next(a.passed)))
	}
}

// own is a VIF: what it sends to several is not for itself.
type own struct{ port openflow.Port }

func (u own) count(*settings) int { return 1 }

func (u own) flows(e *emitter) {
	e.add(TableIngress, prioritySelf, KindDeliver, 0, match(source(u.port), destination(u.port)), "")
}

// bypassed is a VIF of which policy is switched off.
type bypassed struct{ port openflow.Port }

func (u bypassed) count(s *settings) int {
	if s.stateful {
		return 4
	}
	return 2
}

func (u bypassed) flows(e *emitter) {
	for _, a := range stages {
		e.add(a.table, priorityBypassed, KindBypass, flow.SystemBypass, match(openflow.Reg(a.vif, uint32(u.port), all)),
			do(load(a.instance, flow.SystemBypass), next(a.told)))
		if e.stateful { // nor is it asked what connection tracking thinks of its packets
			e.add(TableState, priorityInvalidBypassed, KindBypass, 0, match(ctInvalid, openflow.Reg(a.vif, uint32(u.port), all)), do(next(TableEgress)))
		}
	}
}

// subject is whose packets a rule is asked of.
type subject uint8

const (
	everyVIF subject = iota
	ofNetwork
	ofVIF
)

// rule is a rule of a subject: all VIFs, those of a network, or one.
type rule struct {
	entry  *policy.Entry
	remote *addresses // of the group that is its remote; nil: none is
	of     subject
	value  uint32 // of the register that says whose
}

// priority returns that of the rule's flows.
func (u rule) priority() uint16 {
	if u.entry.Scope.Tier == 0 {
		return priorityDefault
	}
	return uint16(bandTop - bandSize*int(u.entry.Scope.Tier) + policy.MaxRank - int(u.entry.Rank))
}

// ask is one thing that a rule is asked: patterns of packets, in a table.
type ask struct {
	*asked
	matcher
	table uint8
}

// asks yields what a rule is asked.
func (u rule) asks(s *settings, yield func(ask)) {
	r, remote := &u.entry.Rule, u.remote
	if r.Remote.Prefix.IsValid() {
		remote = &addresses{}
		remote.add(r.Remote.Prefix)
	}
	for _, a := range stages {
		direct := r.Direction != policy.From
		mirrored := !s.stateful && r.Action == policy.Allow && r.Direction != policy.To
		if a.stage == flow.StageIngress {
			direct = r.Direction != policy.To
			mirrored = !s.stateful && r.Action == policy.Allow && r.Direction != policy.From
		}
		// Without a type of ICMP, replies of what it matches in the other direction are what it matches itself.
		mirrored = mirrored && (!direct || r.Protocol.HasType)
		for _, replies := range []bool{false, true} {
			if replies && !mirrored || !replies && !direct {
				continue
			}
			m := matcher{r, remote, a.stage, replies, false}
			yield(ask{a, m, a.table})
			if u.entry.Scope.Tier != 0 { // the final default names nothing
				m.kept = true
				yield(ask{a, m, a.kept})
			}
		}
	}
}

func (u rule) count(s *settings) (n int) {
	u.asks(s, func(q ask) {
		for _, p := range q.patterns() {
			k, _ := p.count()
			n += k
		}
	})
	return n
}

func (u rule) flows(e *emitter) {
	u.asks(e.settings, func(q ask) {
		kind, actions := u.decide(e.settings, &q)
		for _, p := range q.patterns() {
			switch u.of {
			case everyVIF:
			case ofNetwork:
				p.terms = append(p.terms, openflow.Reg(q.net, u.value, all))
			case ofVIF:
				p.terms = append(p.terms, openflow.Reg(q.vif, u.value, all))
			}
			if kind == KindShadow {
				p.terms = append(p.terms, openflow.Reg(regFlags, 0, q.shadow))
			}
			u.emit(e, q.table, &p, kind, actions)
		}
	})
}

// vifRules is a list of rules of one VIF.
type vifRules struct {
	*list
	port uint32
}

func (u vifRules) each(f func(rule)) {
	for _, e := range u.rules {
		f(rule{e.Entry, e.remote, ofVIF, u.port})
	}
}

func (u vifRules) count(s *settings) (n int) {
	u.each(func(r rule) { n += r.count(s) })
	return n
}

func (u vifRules) flows(e *emitter) {
	u.each(func(r rule) { r.flows(e) })
}

// decide returns what is done with packets that the rule matches.
func (u rule) decide(s *settings, q *ask) (Kind, openflow.Actions) {
	instance := u.entry.Instance
	switch u.entry.Rule.Action {
	case policy.Shadow:
		return KindShadow, do(s.dropped(q.asked.stage, instance), loadFlags(q.shadow), openflow.Resubmit{Table: q.table})
	case policy.Deny:
		if !s.stateful {
			return KindRule, do(s.dropped(q.asked.stage, instance))
		}
		return KindRule, do(s.dropped(q.asked.stage, instance), next(TableDenied))
	case policy.Allow:
	}
	if q.replies {
		return KindMirror, do(s.passed(flow.StageReply, instance), next(q.passed))
	}
	return KindRule, do(load(q.instance, instance), next(q.told))
}

// emit adds the flows of a pattern: one for each combination, or a conjunction where that is fewer.
func (u rule) emit(e *emitter, table uint8, p *pattern, kind Kind, actions openflow.Actions) {
	priority, instance := u.priority(), u.entry.Instance
	_, conjunction := p.count()
	if !conjunction {
		combine(p.terms, p.dimensions, func(terms []openflow.Term) {
			e.add(table, priority, kind, instance, match(terms...), actions)
		})
		return
	}
	// Its number is unique among the packets that can meet it: flows of another subject with the same match another register.
	id := instance << 2
	if p.family == policy.EtherIPv6 {
		id |= 1
	}
	base := slices.Clip(p.terms)
	for k, d := range p.dimensions {
		clause := openflow.NewActions(openflow.Conjunction{ID: id, Clause: uint8(k + 1), Of: uint8(len(p.dimensions))})
		for i := range d.n {
			e.add(table, priority, KindClause, instance, match(append(base, d.at(i))...), clause)
		}
	}
	e.add(table, priority, kind, instance, match(append(base, openflow.ConjID(id))...), actions)
}

// combine calls f with terms and one of each dimension, for all combinations. f does not keep what it is given.
func combine(terms []openflow.Term, dimensions []dimension, f func([]openflow.Term)) {
	if len(dimensions) == 0 {
		f(terms)
		return
	}
	for i := range dimensions[0].n {
		combine(append(slices.Clip(terms), dimensions[0].at(i)), dimensions[1:], f)
	}
}
