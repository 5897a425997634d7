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
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/mirror"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/reconcile"
	"github.com/weirhq/weir/policyd/shape"
	"github.com/weirhq/weir/policyd/state"
)

// candidate is a policy that may be put in force.
type candidate struct {
	intent   *state.Intent
	base     uint64   // revision that it replaces, 0: none
	only     []string // UUIDs of hosts; none: all
	hosts    []string // their names
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

// candidate resolves a policy as if it were applied now. meant is what its names meant before, which counts for those that nothing has any more. What is wrong
// with it is a *MistakeError. The caller holds applying.
func (g *governor) candidate(ctx context.Context, r PlanRequest, meant []state.Bound, now time.Time) (*candidate, error) {
	c := &candidate{}
	for _, name := range r.Only {
		h, err := g.s.deps.State.Host(ctx, name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(c.only, h.UUID) {
			c.only, c.hosts = append(c.only, h.UUID), append(c.hosts, h.Name)
		}
	}
	var err error
	if c.policy, err = policy.Parse("policy", []byte(r.Policy)); err != nil {
		return nil, mistakes(r.Policy, err)
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
		Policy: c.policy, Names: g.world.names, Now: now, Former: kept(c.intent, g.others(c.intent, c.base)...), Bound: append(boundOf(meant), boundOf(c.intent.Bound[c.base])...), Applied: true,
	}
	if c.before != nil {
		req.Last = c.before.set
	}
	draft, err := policy.Resolve(req)
	if err != nil {
		return nil, mistakes(r.Policy, err)
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
				Instance: e.Instance, Rule: e.Rule.ID, Action: string(e.Rule.Action), Digest: e.Digest(), Tier: uint8(e.Scope.Tier), Scope: e.Scope.Of, Text: e.Rule.String(),
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
			return !e.AllowsAll(before)
		}
	}
	return true
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
	limits  map[string]shape.Limits // before
	input   compile.Input
	desired *compile.Desired
	err     error
	copied  mirror.Order // what is asked now
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
			t.former, t.copied, t.limits, t.input = t.at.desired, t.at.mirrors, t.at.limits, g.input(s, t.bridge, c.resolved, ends)
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
	p.CopiesStart, p.CopiesStop = copyChanges(t.copied, mirrorsOf(&t.input))
	p.Rates = ratesChanged(t.limits, limitsOf(&t.input))
	return p
}

// ratesChanged says for which ports what limits their rates would be another.
func ratesChanged(from, to map[string]shape.Limits) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(to)) {
		if l := to[name]; from[name] != l {
			list = append(list, name+": "+l.String())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if _, still := to[name]; !still {
			list = append(list, name+": not limited any more")
		}
	}
	return list
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
	c, err := g.candidate(ctx, PlanRequest{Policy: text}, nil, time.Now())
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
	c, err := g.candidate(ctx, r, nil, now)
	if err != nil {
		return PolicyPlan{}, err
	}
	list := g.tries(c, now, func(h *host) bool { return h.mode == state.ModeEnforce && c.concerns(h.UUID) })
	p := PolicyPlan{Base: c.base, Head: c.intent.Head, Rules: []RuleChange{}, VIFs: []string{}, Settings: []policy.SettingChange{}, Hosts: []HostPlan{}, Warnings: c.warnings, Refused: refusals(list)}
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
	changes, n := policy.SettingChanges(c.resolved.set, g.inForceAt(c, list))
	p.Settings, p.SettingVIFs = append(p.Settings, changes...), n
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
				attach, err := s.planAttach(ctx, t.host, list)
				if err != nil {
					return nil, err
				}
				plans[n-1].Attach = attach
			}
		}
		b := t.plan()
		b.FailMode = s.failModeBecomes(t, c)
		plans[n-1].Bridges = append(plans[n-1].Bridges, b)
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

// application is a policy that is to be put in force, and what is kept of it.
type application struct {
	ApplyRequest
	kind  state.Kind
	of    uint64          // revision that is restored
	bound []state.Bound   // what names meant then
	draft *state.DraftKey // of which it is the text
}

// ApplyPolicy puts a policy in force: it is kept as a revision, its numbers are announced, and hosts get it. What cannot be is refused as a whole, as a
// *MistakeError. A *state.NewerError: there are revisions that r.Base does not know of. A *state.PendingError: a revision waits to be confirmed.
func (s *Service) ApplyPolicy(ctx context.Context, by audit.Actor, r ApplyRequest) (Applied, error) {
	return s.apply(ctx, by.Does(audit.PolicyApply), application{ApplyRequest: r})
}

func (s *Service) apply(ctx context.Context, by audit.Act, a application) (Applied, error) {
	within := time.Duration(a.ConfirmWithin)
	if within != 0 && (within < MinConfirm || within > MaxConfirm) {
		return Applied{}, mistake("confirm within %s: want %s to %s", within, MinConfirm, MaxConfirm)
	}
	by.Reason = cmp.Or(a.Reason, by.Reason)
	g := s.governor
	g.applying.Lock()
	defer g.applying.Unlock()
	now := time.Now()
	c, err := g.candidate(ctx, a.PlanRequest, a.bound, now)
	if err != nil {
		return Applied{}, err
	}
	if a.Base != nil && *a.Base != c.intent.Head {
		return Applied{}, s.deps.State.CheckBase(ctx, *a.Base)
	}
	if p := c.intent.Pending; p != nil {
		return Applied{}, &state.PendingError{Revision: p.Revision, Deadline: p.Deadline}
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
	kept := state.Policy{Text: c.text, Kind: a.kind, Of: a.of, Replaces: c.base, Hosts: c.hosts, Counts: countsOf(c.difference())}
	for range c.policy.Rules() {
		kept.Rules++
	}
	if within != 0 {
		kept.Deadline = now.Add(within).UTC()
	}
	p, err := s.deps.State.Apply(ctx, by, state.Application{
		Policy: kept, Only: c.only, Bound: c.bound(), Placed: c.placed(), Instances: c.instances(), Next: c.next, Base: a.Base, Draft: a.draft,
		Ends: func(n state.Instance) bool { return c.ends(n, entries) },
	})
	if err != nil {
		return Applied{}, err
	}
	s.log.Info("policy applied", "revision", p.Revision, "rules", rules, "only", strings.Join(c.hosts, ", "), "by", by.User)
	s.tellApplied(p)
	s.putInForce(ctx)
	g.mu.Lock()
	waited := g.waited[p.Revision]
	g.mu.Unlock()
	s.prune(ctx)
	return Applied{Revision: revisionOf(p), Rules: rules, Waited: waited, Warnings: c.warnings}, nil
}

// putInForce has hosts get what the state says since a moment. The caller holds applying.
func (s *Service) putInForce(ctx context.Context) {
	if err := s.governor.read(ctx); err == nil {
		s.governor.announce(ctx)
	} // else run does, as after a restart
}

// difference returns how the candidate differs from what it replaces.
func (c *candidate) difference() *policy.Difference {
	former := &policy.Policy{}
	if c.before != nil && c.before.policy != nil {
		former = c.before.policy
	}
	return policy.Compare(former, c.policy)
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

// tellApplied tells of a revision that was made.
func (s *Service) tellApplied(p state.Policy) {
	done := "applied"
	switch p.Kind {
	case state.KindRestore:
		done = fmt.Sprintf("of revision %d restored", p.Of)
	case state.KindRollback:
		done = fmt.Sprintf("of before revision %d put in force again", p.Of)
	case state.KindApply:
	}
	e := event.Event{
		Time: p.AppliedAt, Kind: event.PolicyApplied, Subject: "policy",
		Text:       fmt.Sprintf("policy of %d rules %s as revision %d by %s%s", p.Rules, done, p.Revision, p.AppliedBy, after(": ", p.Reason)),
		Attributes: map[string]string{"revision": strconv.FormatUint(p.Revision, 10), "by": p.AppliedBy, "reason": p.Reason},
	}
	if len(p.Hosts) > 0 {
		e.Attributes["only"] = strings.Join(p.Hosts, ", ")
		e.Text += ", at " + e.Attributes["only"] + " only"
	}
	if !p.Deadline.IsZero() {
		e.Attributes["confirm_by"] = p.Deadline.Format(time.RFC3339)
		e.Text += ", to be confirmed until " + p.Deadline.Format(time.DateTime)
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
	return scope.Tier.Name(names[scope])
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
			m[e.Rule.ID] = rule{where(e.Scope, names), e.Rule.String(), fmt.Sprintf("%d %08d", e.Scope.Tier, i)}
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
	var names []string
	for v := range vifsOf(list, after.estate) {
		hit := all
		for scope, is := range changed {
			of := scope.Of
			hit = hit || is && of != 0 && (of == v.ID || of == v.VM || of == v.Network || of == v.Pool)
		}
		if hit {
			names = append(names, v.Name)
		}
	}
	slices.Sort(names)
	return names
}

// vifsOf yields the VIFs at the bridges that were tried, each once, with the trial.
func vifsOf(list []*trial, in *policy.Estate) iter.Seq2[*policy.Interface, *trial] {
	return func(yield func(*policy.Interface, *trial) bool) {
		seen := map[flow.ID]bool{}
		for _, t := range list {
			for i, id := range t.input.VIFs {
				v := in.VIFs[id]
				if v == nil || seen[id] || t.host.seen.VIFs[i].Bridge != t.bridge {
					continue
				}
				seen[id] = true
				if !yield(v, t) {
					return
				}
			}
		}
	}
}

// inForceAt yields the VIFs at the bridges that were tried, with the policy that is in force at the host; nil: none is.
func (g *governor) inForceAt(c *candidate, list []*trial) iter.Seq2[*policy.Interface, *policy.Set] {
	return func(yield func(*policy.Interface, *policy.Set) bool) {
		g.mu.Lock()
		sets := make(map[uint64]*policy.Set, len(g.resolved))
		for revision, r := range g.resolved {
			sets[revision] = r.set
		}
		g.mu.Unlock()
		for v, t := range vifsOf(list, c.resolved.estate) {
			if !yield(v, sets[c.intent.RevisionOf(t.host.UUID)]) {
				return
			}
		}
	}
}
