package policyd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/reconcile"
	"github.com/weirhq/weir/policyd/state"
)

// bridgeStatus returns how a bridge stands.
func (s *Service) bridgeStatus(host, bridge string) (reconcile.BridgeStatus, bool) {
	for _, st := range s.reconciler.Status() {
		if st.HostUUID == host && st.Bridge == bridge {
			return st, true
		}
	}
	return reconcile.BridgeStatus{}, false
}

// hostPolicies returns how policy stands at each host, by name.
func (s *Service) hostPolicies() []HostPolicy {
	bridges := map[string][]reconcile.BridgeStatus{}
	for _, st := range s.reconciler.Status() {
		bridges[st.HostUUID] = append(bridges[st.HostUUID], st)
	}
	hosts, _ := s.Hosts()
	list := make([]HostPolicy, 0, len(hosts))
	g := s.governor
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range hosts {
		list = append(list, g.hostPolicy(&hosts[i], bridges[hosts[i].UUID]))
	}
	return list
}

// hostPolicy returns how policy stands at a host; g.mu is held.
func (g *governor) hostPolicy(h *HostStatus, bridges []reconcile.BridgeStatus) HostPolicy {
	p := HostPolicy{Host: h.Name, UUID: h.UUID, Pool: h.Pool, Mode: h.Mode, State: HostObserving, Bridges: bridges, ovsVersion: h.OVSVersion}
	if p.Bridges == nil {
		p.Bridges = []reconcile.BridgeStatus{}
	}
	if g.intent == nil {
		return p
	}
	var wait []string // bridges that are not as they are to be
	attaching := g.attachments(h, &p)
	if h.Mode != state.ModeEnforce {
		for i := range bridges {
			if bridges[i].State != reconcile.StateDetached {
				wait = append(wait, bridges[i].Bridge)
				if bridges[i].State == reconcile.StateOffline {
					p.Error = fmt.Sprintf("bridge %s does not dial Weir, so its flows cannot be taken off: can the host reach policy.listeners?", bridges[i].Bridge)
				}
			}
		}
		if len(wait)+len(bridges)+attaching > 0 {
			p.State = HostLeaving
		}
		return p
	}
	p.Revision = g.intent.RevisionOf(h.UUID)
	if h.Pool != "" || len(g.intent.Bypasses) > 0 {
		p.Bypassed = bypassOf(g.intent, &host{Host: state.Host{UUID: h.UUID, Pool: h.Pool}})
	}
	if !capabilities(h.OVSVersion).ConnTrack {
		p.Warnings = append(p.Warnings, stateless)
	}
	if p.Revision == 0 {
		p.State = HostNoPolicy
		return p
	}
	p.Verified = g.verified(h.UUID, bridges)
	p.Error = cmp.Or(g.hostErr[h.UUID], p.Error)
	p.State = HostEnforced
	looked := g.looked == g.intent || p.Bypassed != "" && !g.settled // after a start, such a host waits for no other
	for i := range bridges {
		st := &bridges[i]
		c := g.bridges[reconcile.Key{Host: st.HostUUID, Bridge: st.Bridge}]
		if c != nil && c.desired != nil {
			p.Warnings = append(p.Warnings, prefixed("bridge "+st.Bridge+": ", c.desired.Warnings)...)
		}
		switch {
		case st.State == reconcile.StateFailed:
			p.State, p.Error = HostFailed, cmp.Or(p.Error, "bridge "+st.Bridge+": "+st.Error)
		case c == nil || !st.Has(c.number) || c.revision != p.Revision || p.Bypassed != "" && !c.input.Bypass:
			wait = append(wait, st.Bridge)
		}
	}
	switch {
	case len(g.s.deps.Bridges) == 0:
		p.State, p.Error = HostFailed, noListener
	case h.State != ovsdb.StateConnected:
		p.State, p.Error = HostOffline, cmp.Or(h.Error, string(h.State))
	case p.Error != "":
		p.State = HostFailed
	case attaching > 0 || len(bridges) < h.Bridges || len(bridges) == 0 && h.Bridges > 0:
		p.State = HostAttaching
	case p.State == HostEnforced && (len(wait) > 0 || !looked):
		p.State = HostBehind
		if p.Verified == 0 {
			p.State = HostAttaching
		}
	}
	return p
}

// verified returns the lowest revision that the bridges of a host were found to hold last; g.mu is held.
func (g *governor) verified(host string, bridges []reconcile.BridgeStatus) uint64 {
	lowest := uint64(0)
	for i := range bridges {
		c := g.bridges[reconcile.Key{Host: host, Bridge: bridges[i].Bridge}]
		if c == nil {
			return 0
		}
		if v := c.verified(&bridges[i]); i == 0 || v < lowest {
			lowest = v
		}
	}
	return lowest
}

// attachments returns how many bridges of a host are being attached or left, and notes what is wrong.
func (g *governor) attachments(h *HostStatus, p *HostPolicy) (waiting int) {
	for i := range h.Exports {
		b := &h.Exports[i]
		if b.Controller == nil {
			continue
		}
		if text := b.Away.Differs(); text != "" && b.Controller.State == attach.StateSet {
			p.Warnings = append(p.Warnings, fmt.Sprintf("bridge %s: %s", b.Name, text))
		}
		switch b.Controller.State {
		case attach.StateSet:
			if h.Mode != state.ModeEnforce {
				waiting++
			}
			for _, a := range b.Controller.Exposed {
				p.Warnings = append(p.Warnings, fmt.Sprintf("bridge %s: packets from and to %s pass whatever policy says (in-band control)", b.Name, a))
			}
		case attach.StateSetting:
			waiting++
		case attach.StateUnconfirmed:
			p.Error = fmt.Sprintf("bridge %s: attaching Weir wipes %s: weir hosts mode %s enforce shows it and does it", b.Name, b.Controller.Wipes, h.Name)
		case attach.StateYielded, attach.StateFailed:
			p.Error = fmt.Sprintf("bridge %s is not attached: %s", b.Name, b.Controller.Why)
		case attach.StateOff:
		}
	}
	return waiting
}

// PolicyStatus says which policy is in force where.
func (s *Service) PolicyStatus(ctx context.Context) (PolicyStatus, error) {
	i, err := s.deps.State.Intent(ctx)
	if err != nil {
		return PolicyStatus{}, err
	}
	st := PolicyStatus{Only: []HostRevision{}, Listen: []string{}, Hosts: s.hostPolicies(), Pools: []PoolPolicy{}, Bypasses: bypasses(i), Quarantined: s.quarantines(i), Pending: pendingOf(i), Head: i.Head}
	if p, ok := i.Policies[i.Revision]; ok {
		st.Revision = revisionOf(p)
		st.Rules = len(i.Rules[i.Revision]) - 1 // without the default
	}
	names := map[string]string{}
	for k := range st.Hosts {
		names[st.Hosts[k].UUID] = st.Hosts[k].Host
	}
	for uuid, revision := range i.Only {
		st.Only = append(st.Only, HostRevision{cmp.Or(names[uuid], uuid), revisionOf(i.Policies[revision])})
	}
	slices.SortFunc(st.Only, func(a, b HostRevision) int { return strings.Compare(a.Host, b.Host) })
	for _, l := range s.deps.Bridges {
		st.Listen = append(st.Listen, l.Addr().String())
	}
	pools, err := s.deps.State.Pools(ctx)
	if err != nil {
		return PolicyStatus{}, err
	}
	for _, p := range pools {
		st.Pools = append(st.Pools, PoolPolicy{p.Name, p.Mode, Sampling(p.Sampling)})
	}
	st.Summary = s.summarize(i, st.Hosts)
	return st, nil
}

func bypasses(i *state.Intent) []BypassStatus {
	list := []BypassStatus{}
	for _, b := range i.Bypasses {
		list = append(list, BypassStatus{bypassTarget(b), b.Since, b.By, b.Reason})
	}
	return list
}

// PolicySummary says in figures and sentences how policy stands.
func (s *Service) PolicySummary() PolicySummary {
	s.governor.mu.Lock()
	i := s.governor.intent
	s.governor.mu.Unlock()
	if i == nil {
		return PolicySummary{}
	}
	return s.summarize(i, s.hostPolicies())
}

func (s *Service) summarize(i *state.Intent, hosts []HostPolicy) PolicySummary {
	p := summarize(i, hosts)
	s.governor.mu.Lock()
	for _, c := range s.governor.bridges {
		p.Unguarded += c.unguarded
	}
	s.governor.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsnapped != nil {
		p.Problems = append(p.Problems, fmt.Sprintf("no snapshot of the state is made: %v", s.unsnapped))
	}
	return p
}

func summarize(i *state.Intent, hosts []HostPolicy) PolicySummary {
	p := PolicySummary{Revision: i.Revision, Bypasses: len(i.Bypasses), Quarantined: len(i.Quarantines)}
	say := func(format string, args ...any) { p.Problems = append(p.Problems, fmt.Sprintf(format, args...)) }
	for _, b := range i.Bypasses {
		say("POLICY IS OFF for %s since %s, by %s%s: weir bypass off %s", bypassTarget(b), b.Since.UTC().Format(time.DateTime), b.By, after(": ", b.Reason), bypassTarget(b))
	}
	for _, q := range i.Quarantines {
		say("VIF %s IS QUARANTINED %s: weir policy release %s", q.Name, quarantineOf(i, q.VIF), q.Name)
	}
	if p := i.Pending; p != nil {
		say("revision %d is undone at %s unless somebody confirms it: weir policy confirm %d", p.Revision, p.Deadline.UTC().Format(time.DateTime), p.Revision)
	}
	for k := range hosts {
		h := &hosts[k]
		for j := range h.Bridges {
			p.Drift += h.Bridges[j].Drift
			if n := h.Bridges[j].Bypasses; n > 0 {
				say("host %s, bridge %s: %d flows of others let packets pass by the policy, as %s", h.Host, h.Bridges[j].Bridge, n, strings.Join(h.Bridges[j].Foreign, "; "))
			}
		}
		switch h.State {
		case HostEnforced:
			p.Enforced++
		case HostOffline:
			p.Offline++
		case HostFailed:
			p.Behind++
			say("host %s cannot have the policy: %s", h.Host, h.Error)
		case HostBehind, HostAttaching:
			p.Behind++
		case HostLeaving:
			if h.Error != "" {
				say("host %s: %s", h.Host, h.Error)
			}
		case HostObserving, HostNoPolicy:
		}
	}
	return p
}
