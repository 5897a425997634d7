package policyd

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/reconcile"
	"github.com/weirhq/weir/policyd/state"
)

// rulesOf yields all rules of a policy, also those that are not in force.
func rulesOf(p *policy.Policy) iter.Seq[*policy.Rule] {
	return func(yield func(*policy.Rule) bool) {
		lists := [][]policy.Rule{p.Global.Mandatory, p.Global.Default}
		for _, level := range [][]policy.Named{p.Pools, p.Networks, p.VMs} {
			for i := range level {
				lists = append(lists, level[i].Mandatory, level[i].Default)
			}
		}
		for i := range p.VIFs {
			lists = append(lists, p.VIFs[i].Rules)
		}
		for _, list := range lists {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}
}

// candidate is a policy that may be put in force.
type candidate struct {
	intent   *state.Intent
	base     uint64   // revision that it replaces, 0: none
	only     []string // UUIDs of hosts; none: all
	policy   *policy.Policy
	text     string
	resolved *resolved
	before   *resolved // of base; nil: there is none
	first    uint32    // number of the first new instance
	next     uint32    // of the one after the last
	warnings []string
}

// newRuleID returns an id for a rule that has none.
func newRuleID() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never fails
	return "r" + hex.EncodeToString(b[:])
}

// candidate resolves a policy as if it were applied now. What is wrong with it is a *MistakeError. The caller holds applying.
func (g *governor) candidate(ctx context.Context, r PlanRequest, now time.Time) (*candidate, error) {
	c := &candidate{}
	for _, name := range r.Only {
		h, err := g.s.deps.State.Host(ctx, name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(c.only, h.UUID) {
			c.only = append(c.only, h.UUID)
		}
	}
	var err error
	if c.policy, err = policy.Parse("policy", []byte(r.Policy)); err != nil {
		return nil, mistake("%v", err)
	}
	if err := g.read(ctx); err != nil {
		return nil, err
	}
	if !g.ready() { // just started
		g.announce(ctx)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c.intent = g.intent
	c.base = c.intent.Revision
	if len(c.only) > 0 {
		c.base = c.intent.RevisionOf(c.only[0])
	}
	g.see()
	g.resolve(now)
	c.before = g.resolved[c.base]
	var former *policy.Policy
	if c.before != nil {
		former = c.before.policy
	}
	c.policy.Identify(former, newRuleID)
	text, err := c.policy.Encode()
	if err != nil {
		return nil, err
	}
	c.text = string(text)
	req := policy.Request{
		Policy: c.policy, Names: g.world.names, Now: now, Former: kept(c.intent, g.others(c.intent, c.base)...), Bound: boundOf(c.intent.Bound[c.base]), Applied: true,
	}
	if c.before != nil {
		req.Last = c.before.set
	}
	draft, err := policy.Resolve(req)
	if err != nil {
		return nil, mistake("%v", err)
	}
	c.first = max(c.intent.Next, flow.MaxSystemInstance+1)
	c.next, c.warnings = c.first+uint32(draft.New), draft.Warnings
	if uint64(c.first)+uint64(draft.New) > uint64(flow.MaxInstance) {
		return nil, mistake("the numbers of rules are used up: %d were given", c.first)
	}
	c.resolved = &resolved{policy: c.policy, set: draft.Set(c.first), bare: g.world.bare, rules: map[uint32]string{}}
	var estate *policy.Estate
	if c.before != nil {
		estate = c.before.estate
	}
	c.resolved.estate = policy.EstateOf(g.world.bare, c.resolved.set.Groups, estate)
	for _, e := range c.resolved.set.Entries() {
		c.resolved.rules[e.Instance] = e.Rule.ID
	}
	return c, nil
}

// others returns the revisions in force, base last.
func (g *governor) others(i *state.Intent, base uint64) []uint64 {
	list := slices.Sorted(maps.Keys(i.Policies))
	list = slices.DeleteFunc(list, func(r uint64) bool { return r == base })
	return append(list, base)
}

// concerns says whether the candidate would be in force at a host.
func (c *candidate) concerns(uuid string) bool {
	return len(c.only) == 0 || slices.Contains(c.only, uuid)
}

// instances returns those that are new.
func (c *candidate) instances() []state.Instance {
	var list []state.Instance
	for _, e := range c.resolved.set.Entries() {
		if e.Instance >= c.first {
			list = append(list, state.Instance{
				Instance: e.Instance, Rule: e.Rule.ID, Action: string(e.Rule.Action), Digest: e.Digest(), Tier: uint8(e.Scope.Tier), Scope: e.Scope.Of, Text: ruleText(&e.Rule),
			})
		}
	}
	return list
}

// placed returns where the rules stand.
func (c *candidate) placed() []state.Placed {
	var list []state.Placed
	for _, k := range c.resolved.set.Kept() {
		list = append(list, state.Placed{Tier: uint8(k.Scope.Tier), Scope: k.Scope.Of, Rule: k.Rule, Instance: k.Instance, Rank: k.Rank})
	}
	return list
}

func (c *candidate) bound() []state.Bound {
	list := make([]state.Bound, len(c.resolved.set.Bound))
	for i, b := range c.resolved.set.Bound {
		list[i] = state.Bound(b)
	}
	return list
}

// after returns the numbers in force if the candidate were applied.
func (c *candidate) after() map[uint32]bool {
	live := map[uint32]bool{}
	for _, e := range c.resolved.set.Entries() {
		live[e.Instance] = true
	}
	if len(c.only) == 0 {
		return live
	}
	stay := map[uint64]bool{c.intent.Revision: true}
	for host, revision := range c.intent.Only {
		if !slices.Contains(c.only, host) {
			stay[revision] = true
		}
	}
	for revision := range stay {
		for _, p := range c.intent.Rules[revision] {
			live[p.Instance] = true
		}
	}
	return live
}

// ends says whether connections that an instance which is in force no more let in are ended: those of allow rules, unless the same rule goes on to
// allow all that it did.
func (c *candidate) ends(n state.Instance, old map[uint32]*policy.Entry) bool {
	if n.Action != string(policy.Allow) {
		return false
	}
	before := old[n.Instance]
	if before == nil {
		return true
	}
	for _, e := range c.resolved.set.Entries() {
		if e.Rule.ID == n.Rule {
			return !allowsAll(e, before)
		}
	}
	return true
}

// allowsAll says whether a rule certainly allows all that it allowed as before. The zero values of what rules match are any.
func allowsAll(e, before *policy.Entry) bool {
	r, o := &e.Rule, &before.Rule
	covers := func(a, b policy.Ports) bool {
		return len(a) == 0 || len(b) > 0 && !slices.ContainsFunc(b, func(p policy.PortRange) bool {
			return !slices.ContainsFunc(a, func(q policy.PortRange) bool { return q.First <= p.First && p.Last <= q.Last })
		})
	}
	remote := r.Remote == policy.Remote{} || e.Group == before.Group && r.Remote == o.Remote ||
		r.Remote.Prefix.IsValid() && o.Remote.Prefix.IsValid() && r.Remote.Prefix.Bits() <= o.Remote.Prefix.Bits() && r.Remote.Prefix.Contains(o.Remote.Prefix.Addr())
	return r.Action == policy.Allow && e.Scope == before.Scope && (r.Direction == policy.Either || r.Direction == o.Direction) &&
		(r.Protocol == policy.Protocol{} || r.Protocol == o.Protocol) && remote && covers(r.RemotePorts, o.RemotePorts) && covers(r.LocalPorts, o.LocalPorts)
}

// entries returns the rules in force by number; g.mu is held.
func (g *governor) entries() map[uint32]*policy.Entry {
	all := map[uint32]*policy.Entry{}
	for _, r := range g.resolved {
		if r.set != nil {
			for _, e := range r.set.Entries() {
				all[e.Instance] = e
			}
		}
	}
	return all
}

// trial is what the candidate makes of a bridge.
type trial struct {
	host    *subject
	bridge  string
	at      *compiled
	former  *compile.Desired
	input   compile.Input
	desired *compile.Desired
	err     error
}

// tries compiles the candidate for the bridges of all hosts for which enforcing says yes. Nothing is changed.
func (g *governor) tries(c *candidate, now time.Time, enforcing func(*host) bool) []*trial {
	pools := g.s.poolsByName()
	var list []*trial
	g.mu.Lock()
	i := *c.intent
	i.Rules = maps.Clone(i.Rules)
	const itself = 0 // the revision that the candidate has here
	i.Rules[itself] = c.placed()
	after, entries := c.after(), g.entries()
	i.Live = slices.Clone(i.Live)
	for k := range i.Live {
		if n := &i.Live[k]; n.Until.IsZero() && !after[n.Instance] {
			n.Until, n.Ends = now, c.ends(*n, entries)
		}
	}
	ends := retired(&i, c.resolved, itself, now)
	for _, s := range g.subjects(&g.world, c.intent, pools) {
		if !enforcing(s.host) {
			continue
		}
		for k := range s.seen.Bridges {
			t := &trial{host: s, bridge: s.seen.Bridges[k].Name}
			t.at = g.bridges[reconcile.Key{Host: s.UUID, Bridge: t.bridge}]
			if t.at == nil {
				t.at = &compiled{compiler: compile.New()}
			}
			t.former, t.input = t.at.desired, g.input(s, t.bridge, c.resolved, ends)
			list = append(list, t)
		}
	}
	g.mu.Unlock()
	var all errgroup.Group
	all.SetLimit(runtime.GOMAXPROCS(0))
	for _, t := range list {
		all.Go(func() error {
			t.desired, t.err = t.at.compile(t.input)
			return nil
		})
	}
	_ = all.Wait() // none fails
	return list
}

// plan says what a trial would change.
func (t *trial) plan() BridgePlan {
	p := BridgePlan{Bridge: t.bridge}
	if t.err != nil {
		p.Error = t.err.Error()
		return p
	}
	change := compile.Diff(t.former, t.desired)
	p.Added, p.Removed, p.Total = len(change.Add), len(change.Delete), t.desired.Len()
	return p
}

// refusals returns why a policy cannot be, by what was tried.
func refusals(list []*trial) []string {
	var why []string
	for _, t := range list {
		if t.err != nil {
			why = append(why, fmt.Sprintf("host %s, bridge %s: %v", t.host.Name, t.bridge, t.err))
		}
	}
	return why
}

// CheckPolicy says what is wrong with a policy, as a *MistakeError. It changes nothing.
func (s *Service) CheckPolicy(ctx context.Context, text string) (PolicyCheck, error) {
	g := s.governor
	g.applying.Lock()
	defer g.applying.Unlock()
	c, err := g.candidate(ctx, PlanRequest{Policy: text}, time.Now())
	if err != nil {
		return PolicyCheck{}, err
	}
	return PolicyCheck{Rules: len(c.resolved.set.Entries()) - 1, Warnings: c.warnings}, nil
}

// PlanPolicy says what applying a policy would change. It changes nothing.
func (s *Service) PlanPolicy(ctx context.Context, r PlanRequest) (PolicyPlan, error) {
	g := s.governor
	g.applying.Lock()
	defer g.applying.Unlock()
	now := time.Now()
	c, err := g.candidate(ctx, r, now)
	if err != nil {
		return PolicyPlan{}, err
	}
	list := g.tries(c, now, func(h *host) bool { return h.mode == state.ModeEnforce && c.concerns(h.UUID) })
	p := PolicyPlan{Base: c.base, Rules: []RuleChange{}, VIFs: []string{}, Hosts: []HostPlan{}, Warnings: c.warnings, Refused: refusals(list)}
	p.Instances = int(c.next - c.first)
	for _, t := range list {
		if t.desired == nil {
			continue
		}
		p.Warnings = append(p.Warnings, prefixed("host "+t.host.Name+", bridge "+t.bridge+": ", t.desired.Warnings)...)
	}
	g.mu.Lock()
	after, entries := c.after(), g.entries()
	g.mu.Unlock()
	for _, n := range c.intent.Live {
		if n.Until.IsZero() && !after[n.Instance] && c.ends(n, entries) {
			p.Ends++
		}
	}
	p.Rules = ruleChanges(c.before, c.resolved)
	p.VIFs = append(p.VIFs, touched(c.before, c.resolved, list)...)
	p.Hosts, err = s.hostPlans(ctx, c, list)
	return p, err
}

// hostPlans gathers what was tried by host.
func (s *Service) hostPlans(ctx context.Context, c *candidate, list []*trial) ([]HostPlan, error) {
	plans := []HostPlan{}
	for _, t := range list {
		n := len(plans)
		if n == 0 || plans[n-1].Host != t.host.Name {
			plans = append(plans, HostPlan{Host: t.host.Name, Offline: offline(t.host.status), Bridges: []BridgePlan{}})
			n++
			if plans[n-1].Offline == "" && s.governor.waitsToAttach(t.host) {
				attach, err := s.planAttach(ctx, t.host)
				if err != nil {
					return nil, err
				}
				plans[n-1].Attach = attach
			}
		}
		plans[n-1].Bridges = append(plans[n-1].Bridges, t.plan())
	}
	known := map[string]bool{}
	for i := range plans {
		known[plans[i].Host] = true
	}
	hosts, _ := s.Hosts()
	for i := range hosts {
		h := &hosts[i]
		if h.Mode == state.ModeEnforce && c.concerns(h.UUID) && !known[h.Name] {
			plans = append(plans, HostPlan{Host: h.Name, Offline: cmp.Or(h.Error, "what is there was never seen"), Bridges: []BridgePlan{}})
		}
	}
	slices.SortFunc(plans, func(a, b HostPlan) int { return strings.Compare(a.Host, b.Host) })
	return plans, nil
}

// ApplyPolicy puts a policy in force: it is kept, its numbers are announced, and hosts get it. What cannot be is refused as a whole, as a
// *MistakeError.
func (s *Service) ApplyPolicy(ctx context.Context, r ApplyRequest, by string) (Applied, error) {
	g := s.governor
	g.applying.Lock()
	defer g.applying.Unlock()
	now := time.Now()
	c, err := g.candidate(ctx, r.PlanRequest, now)
	if err != nil {
		return Applied{}, err
	}
	rules := len(c.resolved.set.Entries()) - 1
	if c.same() {
		return Applied{Revision: revisionOf(c.intent.Policies[c.base]), Same: true, Rules: rules, Warnings: c.warnings}, nil
	}
	list := g.tries(c, now, func(h *host) bool { return h.mode == state.ModeEnforce && c.concerns(h.UUID) })
	if why := refusals(list); len(why) > 0 {
		return Applied{}, mistake("the policy is refused, and nothing was changed:\n  %s", strings.Join(why, "\n  "))
	}
	g.mu.Lock()
	entries := g.entries()
	g.mu.Unlock()
	p, err := s.deps.State.Apply(ctx, state.Application{
		Policy: state.Policy{Text: c.text, AppliedBy: by, Reason: r.Reason}, Only: c.only, Bound: c.bound(), Rules: c.placed(),
		Instances: c.instances(), Next: c.next, Ends: func(n state.Instance) bool { return c.ends(n, entries) },
	})
	if err != nil {
		return Applied{}, err
	}
	s.log.Info("policy applied", "revision", p.Revision, "rules", rules, "only", strings.Join(r.Only, ", "), "by", by)
	s.tellApplied(p, r, rules)
	if err := g.read(ctx); err == nil {
		g.announce(ctx)
	} // else run does, as after a restart
	g.mu.Lock()
	waited := g.waited[p.Revision]
	g.mu.Unlock()
	return Applied{Revision: revisionOf(p), Rules: rules, Waited: waited, Warnings: c.warnings}, nil
}

// same says whether the candidate is what is in force already where it would be.
func (c *candidate) same() bool {
	if c.base == 0 || c.intent.Policies[c.base].Text != c.text || c.next != c.first {
		return false
	}
	if len(c.only) == 0 {
		return len(c.intent.Only) == 0
	}
	return !slices.ContainsFunc(c.only, func(h string) bool { return c.intent.RevisionOf(h) != c.base })
}

func (s *Service) tellApplied(p state.Policy, r ApplyRequest, rules int) {
	e := event.Event{
		Time: p.AppliedAt, Kind: event.PolicyApplied, Subject: "policy", Text: fmt.Sprintf("policy of %d rules applied as revision %d by %s%s", rules, p.Revision, p.AppliedBy, after(": ", p.Reason)),
		Attributes: map[string]string{"revision": strconv.FormatUint(p.Revision, 10), "by": p.AppliedBy, "reason": p.Reason},
	}
	if len(r.Only) > 0 {
		e.Attributes["only"] = strings.Join(r.Only, ", ")
		e.Text += ", at " + e.Attributes["only"] + " only"
	}
	s.emit(e)
}

func (s *Service) emit(e event.Event) {
	if s.deps.Events != nil {
		s.deps.Events.Emit(e)
	}
}

// where says where a rule stands, for people.
func where(scope policy.Scope, names map[policy.Scope]string) string {
	words := map[policy.Tier][2]string{
		policy.GlobalMandatory: {"global", "mandatory"}, policy.PoolMandatory: {"pool", "mandatory"}, policy.NetworkMandatory: {"network", "mandatory"},
		policy.VMMandatory: {"VM", "mandatory"}, policy.VIFRules: {"VIF", ""}, policy.VMDefault: {"VM", "default"},
		policy.NetworkDefault: {"network", "default"}, policy.PoolDefault: {"pool", "default"}, policy.GlobalDefault: {"global", "default"},
	}[scope.Tier]
	if scope.Tier == 0 {
		return "final default"
	}
	return strings.Join(strings.Fields(words[0]+" "+names[scope]+" "+words[1]), " ")
}

// scopeNames returns what the policy calls that whose rules its lists hold.
func scopeNames(set *policy.Set) map[policy.Scope]string {
	byID := map[flow.ID]string{}
	for _, b := range set.Bound {
		byID[b.ID] = b.Name
	}
	names := map[policy.Scope]string{}
	for scope := range set.Lists {
		names[scope] = byID[scope.Of]
	}
	return names
}

// ruleText says what a rule does, for people.
func ruleText(r *policy.Rule) string {
	text := string(r.Action)
	if r.ID == policy.DefaultRule {
		return text
	}
	text += " " + string(cmp.Or(r.Direction, policy.Either)) + " " + r.Remote.String() + " " + r.Protocol.String()
	if len(r.RemotePorts) > 0 {
		text += " remote ports " + r.RemotePorts.String()
	}
	if len(r.LocalPorts) > 0 {
		text += " local ports " + r.LocalPorts.String()
	}
	if !r.Expires.IsZero() {
		text += " until " + r.Expires.Format(time.RFC3339)
	}
	return text
}

// ruleChanges compares two policies, the first of which may be nil, rule by rule.
func ruleChanges(before, after *resolved) []RuleChange {
	type rule struct{ where, text, place string }
	list := func(r *resolved) map[string]rule {
		m := map[string]rule{}
		if r == nil || r.set == nil {
			return m
		}
		names := scopeNames(r.set)
		for i, e := range r.set.Entries() {
			m[e.Rule.ID] = rule{where(e.Scope, names), ruleText(&e.Rule), fmt.Sprintf("%d %08d", e.Scope.Tier, i)}
		}
		return m
	}
	old, now := list(before), list(after)
	changes := []RuleChange{}
	for id, r := range now {
		switch o, ok := old[id]; {
		case !ok:
			changes = append(changes, RuleChange{"added", id, r.where, "", r.text})
		case o.text != r.text || o.where != r.where:
			c := RuleChange{"changed", id, r.where, o.text, r.text}
			if o.where != r.where {
				c.Before = o.where + ": " + o.text
			}
			changes = append(changes, c)
		}
	}
	for id, o := range old {
		if _, ok := now[id]; !ok {
			changes = append(changes, RuleChange{"removed", id, o.where, o.text, ""})
		}
	}
	place := func(c *RuleChange) string {
		if r, ok := now[c.Rule]; ok {
			return r.place
		}
		return old[c.Rule].place
	}
	slices.SortFunc(changes, func(a, b RuleChange) int { return strings.Compare(place(&a), place(&b)) })
	return changes
}

// touched returns the names of the VIFs on the hosts that were tried whose rules, or the order of which, are others than before.
func touched(before, after *resolved, list []*trial) []string {
	changed := map[policy.Scope]bool{}
	old := map[policy.Scope][]*policy.Entry{}
	if before != nil && before.set != nil {
		old = before.set.Lists
	}
	numbers := func(list []*policy.Entry) []uint32 {
		out := make([]uint32, len(list))
		for i, e := range list {
			out[i] = e.Instance
		}
		return out
	}
	for scope, entries := range after.set.Lists {
		changed[scope] = !slices.Equal(numbers(entries), numbers(old[scope]))
	}
	for scope := range old {
		if _, ok := after.set.Lists[scope]; !ok {
			changed[scope] = true
		}
	}
	all := before == nil || before.set == nil || before.set.Default.Instance != after.set.Default.Instance ||
		changed[policy.Scope{Tier: policy.GlobalMandatory}] || changed[policy.Scope{Tier: policy.GlobalDefault}]
	seen := map[flow.ID]bool{}
	var names []string
	for _, t := range list {
		for i, id := range t.input.VIFs {
			v := after.estate.VIFs[id]
			if v == nil || seen[id] || t.host.seen.VIFs[i].Bridge != t.bridge {
				continue
			}
			seen[id] = true
			hit := all
			for scope, is := range changed {
				of := scope.Of
				hit = hit || is && of != 0 && (of == v.ID || of == v.VM || of == v.Network || of == v.Pool)
			}
			if hit {
				names = append(names, v.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}
