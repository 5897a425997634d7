package policy

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/weirhq/weir/flow"
)

// List is the rules of one scope, as the document has them.
type List struct {
	Tier  Tier
	Of    string // name of the pool, network, VM or VIF; "" of the global tiers
	Rules []Rule
}

// Kind returns the kind of what the rules are of; "" of the global tiers.
func (l *List) Kind() flow.Kind { return kindOf(l.Tier) }

// Lists yields all lists of rules, in the order of the document.
func (p *Policy) Lists() iter.Seq[List] {
	return func(yield func(List) bool) {
		for _, l := range p.lists() {
			if !yield(List{l.tier, l.of, l.rules}) {
				return
			}
		}
	}
}

// InForce reports whether the rule is, at a time, neither disabled nor expired.
func (r *Rule) InForce(now time.Time) bool {
	return !r.Disabled && (r.Expires.IsZero() || now.Before(r.Expires))
}

// Covers reports whether r, standing before o in one policy, certainly leaves nothing to it. stateless says that connections are not tracked, so that allow rules
// apply to replies, too: where that holds, it also holds where they are. A group is compared with itself only.
func (r *Rule) Covers(o *Rule, stateless bool) bool {
	if !r.Meets(o, false) { // which is quick
		return false
	}
	a, b := normal(r), normal(o)
	return (&Entry{Rule: a}).covers(&Entry{Rule: b}, &Estate{}, stateless) || a.Remote == b.Remote && (&Entry{Rule: a, Group: 1}).covers(&Entry{Rule: b, Group: 1}, &Estate{}, stateless)
}

// normal returns a rule as entries have it.
func normal(r *Rule) Rule {
	n := *r
	n.Direction = cmp.Or(n.Direction, Either)
	n.RemotePorts, n.LocalPorts = n.RemotePorts.merged(), n.LocalPorts.merged()
	return n
}

// Meets reports whether there may be packets that both r and o decide: false is certain. stateless says that connections are not tracked, so that allow
// rules apply to replies, too.
func (r *Rule) Meets(o *Rule, stateless bool) bool {
	way := func(r *Rule) Direction {
		if stateless && r.Action == Allow {
			return Either
		}
		return cmp.Or(r.Direction, Either)
	}
	if a, b := way(r), way(o); a != Either && b != Either && a != b {
		return false
	}
	return meetProtocols(protocolWith(r), protocolWith(o), stateless) && meetRemotes(&r.Remote, &o.Remote) &&
		meetPorts(r.RemotePorts, o.RemotePorts) && meetPorts(r.LocalPorts, o.LocalPorts)
}

func meetProtocols(p, q Protocol, stateless bool) bool {
	switch {
	case p.EtherType != 0 && q.EtherType != 0 && p.EtherType != q.EtherType, p.IP != 0 && q.IP != 0 && p.IP != q.IP:
		return false
	case p.IP != 0 && q.EtherType != 0 && q.EtherType != EtherIPv4 && q.EtherType != EtherIPv6,
		q.IP != 0 && p.EtherType != 0 && p.EtherType != EtherIPv4 && p.EtherType != EtherIPv6:
		return false
	case stateless: // a reply is of another type
		return true
	}
	return (!p.HasType || !q.HasType || p.Type == q.Type) && (!p.HasCode || !q.HasCode || p.Code == q.Code)
}

func meetRemotes(r, s *Remote) bool {
	if r.MAC != 0 && s.MAC != 0 {
		return r.MAC == s.MAC
	}
	return !r.Prefix.IsValid() || !s.Prefix.IsValid() || r.Prefix.Overlaps(s.Prefix)
}

func meetPorts(p, q Ports) bool {
	return len(p) == 0 || len(q) == 0 || slices.ContainsFunc(p, func(a PortRange) bool {
		return slices.ContainsFunc(q, func(b PortRange) bool { return a.First <= b.Last && b.First <= a.Last })
	})
}

// NamesKept reports whether the rule may be asked about kept packets, which pass where no rule names them, whatever the final default is.
func (r *Rule) NamesKept() bool {
	p := r.Protocol
	is := func(t uint8) bool { return !p.HasType || p.Type == t }
	switch {
	case p.EtherType == EtherARP, p.EtherType == EtherRARP:
		return true
	case p.IP == IPICMP && p.EtherType != EtherIPv6 && is(3) && (!p.HasCode || p.Code == 4):
		return true
	case p.IP == IPICMPv6 && p.EtherType != EtherIPv4:
		return slices.ContainsFunc([]uint8{2, 133, 134, 135, 136}, is)
	case p.IP == IPUDP && len(r.RemotePorts)+len(r.LocalPorts) > 0:
		return r.RemotePorts.Has(67) && r.LocalPorts.Has(68) || r.RemotePorts.Has(547) && r.LocalPorts.Has(546)
	}
	return false
}
