package policyd

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/notify"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/export"
	"github.com/weirhq/weir/policyd/mirror"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/reconcile"
	"github.com/weirhq/weir/policyd/shape"
	"github.com/weirhq/weir/policyd/state"
)

// governor has bridges hold what policy asks of them. It is level-triggered: whatever has changed, look compiles what is asked for what
// exists, says to the reconciler what each bridge is to hold, and to the exports which bridges dial Weir and are told of by rule.
//
// A policy takes part once its numbers were announced, so that flows that it decides are understood; until then hosts keep what they
// have. Switching policy off waits for nothing.
type governor struct {
	s   *Service
	cfg *PolicyConfig

	said []reconcile.Bridge // to the reconciler; of run

	poked chan struct{} // has an element: look again
	dirty chan struct{} // has an element: and read the state

	changes notify.Changes // of what status says

	applying sync.Mutex // held by who checks, keeps and announces a policy

	mu        sync.Mutex                            // guards what follows
	intent    *state.Intent                         // as last read; nil before
	looked    *state.Intent                         // the intent of which bridges were told what to hold
	policies  *state.Intent                         // the last whose policies were announced: of it policies and numbers are in force
	announced map[uint64]bool                       // revisions
	waited    map[uint64][]string                   // collectors that did not know them in time
	world     world                                 // as last seen
	resolved  map[uint64]*resolved                  // by revision, those of policies
	bridges   map[reconcile.Key]*compiled           // of hosts that enforce
	leaving   map[reconcile.Key]bool                // bridges from which all is taken
	left      map[reconcile.Key]bool                // bridges that were found to have nothing of Weir's, and still have its controller
	enforced  map[string]map[string]export.Enforced // by host and bridge: what exports are to know
	maxMeters map[reconcile.Key]uint32              // highest id of a meter of bridges that were asked
	hostErr   map[string]string                     // by host: why it cannot have what is wanted
	absences  map[reconcile.Key]*absence            // bridges that are without Weir
	number    uint64                                // of what was last compiled, for the reconciler
	fed       *estate.Model                         // groups of policy in the estate; nil: none were
	started   time.Time                             // of run
	settled   bool                                  // hosts have said what exists, or had time to
	own       compile.Machine                       // this one
	ownSince  time.Time
}

// world is what rules and bridges are resolved against.
type world struct {
	model *estate.Model // merged
	bare  *estate.Model // without the groups that policy brought
	names *policy.Names
	ports map[portKey]flow.ID // VIFs by where they are plugged
	hosts map[string]string   // keys of hosts by all that they are called
	pools map[string]flow.ID  // by name
}

// portKey is an interface of a bridge.
type portKey struct{ host, bridge, name string }

// resolved is a policy in force, against the estate as it is.
type resolved struct {
	policy  *policy.Policy
	set     *policy.Set
	estate  *policy.Estate
	bare    *estate.Model     // against which
	rules   map[uint32]string // ids of rules by instance
	err     error             // why set is of an estate before; nil: it is not
	warning []string
}

// compiled is what a bridge is to hold.
type compiled struct {
	compiling sync.Mutex // held while compiler works
	compiler  *compile.Compiler

	// What follows is guarded by governor.mu.
	input    compile.Input
	desired  *compile.Desired        // nil: nothing yet
	err      error                   // why it is not of input
	number   uint64                  // of desired
	revision uint64                  // of the policy
	since    uint64                  // number from which on that revision is asked
	before   uint64                  // the revision that was asked before
	mirrors  mirror.Order            // of input
	limits   map[string]shape.Limits // of input

	unguarded int // VIFs of input at which guards that are on are not enforced in full
}

func newGovernor(s *Service, cfg *PolicyConfig) *governor {
	return &governor{
		s: s, cfg: cfg, poked: make(chan struct{}, 1), dirty: make(chan struct{}, 1),
		announced: map[uint64]bool{}, waited: map[uint64][]string{}, resolved: map[uint64]*resolved{}, bridges: map[reconcile.Key]*compiled{},
		leaving: map[reconcile.Key]bool{}, left: map[reconcile.Key]bool{}, enforced: map[string]map[string]export.Enforced{}, maxMeters: map[reconcile.Key]uint32{}, hostErr: map[string]string{},
	}
}

// poke has run look again.
func (g *governor) poke() { signal(g.poked) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it will
	}
}

// maxPause is how long look is not called at most: what depends on time only is late by no more.
const maxPause = 30 * time.Second

// run looks until ctx is done.
func (g *governor) run(ctx context.Context) error {
	changed, stop := g.s.deps.State.Subscribe()
	defer stop()
	estates, stop2 := g.s.deps.Estate.Subscribe()
	defer stop2()
	installed, stop3 := g.s.reconciler.Subscribe()
	defer stop3()
	var announcing sync.WaitGroup
	defer announcing.Wait()
	signal(g.dirty)
	for {
		select {
		case <-g.dirty:
			if err := g.read(ctx); err != nil {
				if ctx.Err() == nil {
					g.s.log.Error("policy is not read, tried again", "err", err)
					time.AfterFunc(retryState, func() { signal(g.dirty); g.poke() })
				}
			} else if !g.ready() {
				announcing.Go(func() { g.announce(ctx) })
			}
		default:
		}
		next := g.look(time.Now())
		now := time.Now()
		offences, due := g.s.offenders.tell(now)
		for _, e := range offences {
			g.s.deps.Events.Emit(e)
		}
		if !due.IsZero() {
			next = min(next, due.Sub(now))
		}
		g.changes.Tell()
		timer := time.NewTimer(min(next, maxPause))
		select {
		case <-changed:
			signal(g.dirty)
		case <-estates:
		case <-installed:
		case <-g.poked:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

// read takes what is asked from the state.
func (g *governor) read(ctx context.Context) error {
	i, err := g.s.deps.State.Intent(ctx)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if reflect.DeepEqual(g.intent, i) { // something else was changed, as a draft: what bridges were told still counts
		i = g.intent
	}
	g.intent = i
	if g.allAnnounced() {
		g.policies = i
	}
	return nil
}

// allAnnounced says whether all policies of the intent were; g.mu is held.
func (g *governor) allAnnounced() bool {
	for revision := range g.intent.Policies {
		if !g.announced[revision] {
			return false
		}
	}
	return true
}

// ready says whether the policies that are asked for are in force.
func (g *governor) ready() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.policies == g.intent
}

// announce makes the numbers of the policies that are asked for known to the store and to collectors, for a bounded time, and puts them in
// force.
func (g *governor) announce(ctx context.Context) {
	g.mu.Lock()
	i := g.intent
	g.mu.Unlock()
	list := make([]estate.RuleInstance, 0, len(i.Live))
	for _, n := range i.Live {
		list = append(list, estate.RuleInstance{Instance: n.Instance, Rule: flow.NewID(flow.KindRule, n.Rule), Verdict: VerdictOf(n.Action)})
	}
	g.s.deps.Assembler.SetRules(list)
	var waited []string
	if g.s.deps.Announce != nil {
		waiting, cancel := context.WithTimeout(ctx, g.cfg.CollectorWait)
		var err error
		waited, err = g.s.deps.Announce(waiting, i.Live)
		cancel()
		if err != nil && ctx.Err() == nil {
			g.s.log.Warn("rules are not known everywhere yet, hosts get them all the same", "err", err, "without", strings.Join(waited, ", "))
		}
	}
	g.mu.Lock()
	for revision := range i.Policies {
		g.announced[revision], g.waited[revision] = true, waited
	}
	if g.intent != nil && g.allAnnounced() {
		g.policies = g.intent
	}
	g.mu.Unlock()
	g.changes.Tell()
	g.poke()
}

// VerdictOf returns what a rule with an action does with packets.
func VerdictOf(action string) flow.Verdict {
	switch policy.Action(action) {
	case policy.Deny:
		return flow.VerdictDenied
	case policy.Shadow:
		return flow.VerdictShadowDenied
	default:
		return flow.VerdictAllowed
	}
}

// subject is a host as look sees it.
type subject struct {
	*host
	status   ovsdb.Status
	identity export.Identity
	id       flow.ID
	poolID   flow.ID
	domains  map[string]uint32
	datapath map[string]string // types of bridges' datapaths, by name
	sampling Sampling
	bypassed string // why policy is off at the whole host; "" it is not
}

// subjects returns the hosts whose content is known, by name.
func (g *governor) subjects(w *world, i *state.Intent, pools map[string]state.Pool) []*subject {
	var list []*subject
	for _, st := range g.s.fleet.Hosts() {
		g.s.mu.Lock()
		h := g.s.hosts[st.Host.ID]
		var x host
		if h != nil {
			x = *h
		}
		g.s.mu.Unlock()
		if h == nil || x.seen == nil {
			continue
		}
		s := &subject{host: &x, status: st.Session, identity: export.Identity{UUID: x.UUID, Name: x.Name}, poolID: w.pools[x.Pool]}
		key := w.hosts[x.UUID]
		if key == "" {
			key = x.UUID
		}
		s.id = flow.NewID(flow.KindHost, key)
		if x.Pool != "" {
			s.identity.Pool = flow.NewID(flow.KindPool, x.Pool)
		}
		s.sampling = Sampling(pools[x.Pool].Sampling)
		if s.sampling == "" {
			s.sampling = g.cfg.Sampling
		}
		s.domains = export.RuleDomains(&s.identity, x.seenRows)
		s.datapath = map[string]string{}
		for _, b := range x.seenRows.Bridges {
			s.datapath[b.Name] = b.DatapathType
		}
		s.bypassed = bypassOf(i, &x)
		list = append(list, s)
	}
	return list
}

// bypassOf says why policy is off at a whole host.
func bypassOf(i *state.Intent, h *host) string {
	for _, b := range i.Bypasses {
		if b.Kind == state.BypassEstate || b.Kind == state.BypassPool && b.Target == h.Pool && h.Pool != "" || b.Kind == state.BypassHost && b.Target == h.UUID {
			return fmt.Sprintf("%s, by %s%s", bypassTarget(b), b.By, after(": ", b.Reason))
		}
	}
	return ""
}

// see looks at the estate; g.mu is held.
func (g *governor) see() {
	m := g.s.deps.Assembler.Model()
	if g.world.model != nil && (m == g.world.model || m.SameButRules(g.world.model)) {
		return
	}
	w := world{model: m, bare: withoutPolicy(m, g.fed), ports: map[portKey]flow.ID{}, hosts: map[string]string{}, pools: map[string]flow.ID{}}
	w.names = policy.NamesOf(w.bare)
	for i := range m.Pools {
		w.pools[m.Pools[i].Name] = flow.NewID(flow.KindPool, m.Pools[i].Key)
	}
	for i := range m.Hosts {
		h := &m.Hosts[i]
		for _, name := range append([]string{strings.ToLower(h.UUID), h.Key}, h.SameAs...) {
			w.hosts[name] = h.Key
		}
	}
	for i := range m.VMs {
		for j := range m.VMs[i].VIFs {
			v := &m.VMs[i].VIFs[j]
			id := flow.NewID(flow.KindVIF, v.Key)
			for _, p := range v.Ports {
				if p.Name != "" {
					w.ports[portKey{p.Host, p.Bridge, p.Name}] = id
				}
			}
		}
	}
	g.world = w
}

// resolve brings the policies in force up to date with the estate, and returns when the first rule expires, or has been expired for long
// enough; g.mu is held.
func (g *governor) resolve(now time.Time) (next time.Time) {
	i := g.policies
	if i == nil {
		return next
	}
	for revision := range g.resolved {
		if _, ok := i.Policies[revision]; !ok {
			delete(g.resolved, revision)
		}
	}
	for revision, p := range i.Policies {
		r := g.resolved[revision]
		if r == nil {
			r = &resolved{}
			r.policy, r.err = policy.Parse("policy", []byte(p.Text))
			g.resolved[revision] = r
		}
		if r.policy != nil && (r.bare != g.world.bare || r.set == nil || !r.set.Expires.IsZero() && !now.Before(r.set.Expires)) {
			g.resolveOne(r, i, revision, now)
		}
		if r.set != nil {
			next = earlier(next, r.set.Expires)
		}
		for _, e := range expiries(r, now) {
			next = earlier(next, e)
		}
	}
	return next
}

func (g *governor) resolveOne(r *resolved, i *state.Intent, revision uint64, now time.Time) {
	draft, err := policy.Resolve(policy.Request{
		Policy: r.policy, Names: g.world.names, Now: now, Former: kept(i, revision), Bound: boundOf(i.Bound[revision]), Last: r.set,
	})
	r.err = err
	if err == nil && draft.New > 0 {
		r.err = fmt.Errorf("%d rules have no numbers: apply it again", draft.New)
	}
	if r.err != nil {
		return
	}
	r.set, r.bare, r.warning = draft.Set(0), g.world.bare, draft.Warnings
	r.estate = policy.EstateOf(g.world.bare, r.set.Groups, r.estate)
	r.rules = map[uint32]string{}
	for _, e := range r.set.Entries() {
		r.rules[e.Instance] = e.Rule.ID
	}
}

// earlier returns the earlier of two times; zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// kept returns what is remembered of the rules of revisions, of the last one's places first of all.
func kept(i *state.Intent, revisions ...uint64) []policy.Kept {
	digests := make(map[uint32]string, len(i.Live))
	for _, n := range i.Live {
		digests[n.Instance] = n.Digest
	}
	var list []policy.Kept
	for _, revision := range revisions {
		for _, r := range i.Rules[revision] {
			list = append(list, policy.Kept{
				Scope: policy.Scope{Tier: policy.Tier(r.Tier), Of: r.Scope}, Rule: r.Rule, Digest: digests[r.Instance], Instance: r.Instance, Rank: r.Rank,
			})
		}
	}
	return list
}

func boundOf(list []state.Bound) []policy.Bound {
	out := make([]policy.Bound, len(list))
	for i, b := range list {
		out[i] = policy.Bound(b)
	}
	return out
}

// expiries returns when allow rules that have expired are forgotten.
func expiries(r *resolved, now time.Time) []time.Time {
	var list []time.Time
	if r.policy == nil {
		return nil
	}
	for rule := range r.policy.Rules() {
		if e := rule.Expires; expiredLately(rule, now) {
			list = append(list, e.Add(state.Remembered))
		}
	}
	return list
}

func expiredLately(r *policy.Rule, now time.Time) bool {
	return r.Action == policy.Allow && !r.Disabled && !r.Expires.IsZero() && !now.Before(r.Expires) && now.Sub(r.Expires) < state.Remembered
}

// retired returns the numbers, ascending, that a bridge with a revision is to end connections of.
func retired(i *state.Intent, r *resolved, revision uint64, now time.Time) []uint32 {
	here := map[uint32]bool{}
	for _, p := range i.Rules[revision] {
		here[p.Instance] = true
	}
	var list []uint32
	for _, n := range i.Live {
		// A number that another revision still has is not in force here either.
		if n.Ends && now.Sub(n.Until) < state.Remembered && !here[n.Instance] {
			list = append(list, n.Instance)
		}
	}
	expired := map[string]bool{}
	for rule := range r.policy.Rules() {
		if expiredLately(rule, now) {
			expired[rule.ID] = true
		}
	}
	for _, p := range i.Rules[revision] {
		if expired[p.Rule] {
			list = append(list, p.Instance)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// look brings all up to date, and returns how long nothing changes by itself.
func (g *governor) look(now time.Time) time.Duration {
	pools := g.s.poolsByName()

	g.mu.Lock()
	if g.intent == nil {
		g.mu.Unlock()
		return maxPause
	}
	asked := g.intent
	g.see()
	next := g.resolve(now)
	g.addresses(now)
	subjects := g.subjects(&g.world, g.intent, pools)
	settled, among := g.settle(subjects, now), subjects
	if !settled {
		among = g.urgent(subjects)
	}
	work := g.inputs(among, now)
	g.mu.Unlock()

	var all errgroup.Group
	all.SetLimit(runtime.GOMAXPROCS(0))
	for _, w := range work {
		all.Go(func() error {
			w.desired, w.err = w.at.compile(w.input)
			w.limits, w.unguarded = limitsOf(&w.input), unguardedOf(&w.input)
			if w.err == nil && w.former != nil && slices.Equal(w.former.Warnings, w.desired.Warnings) && compile.Diff(w.former, w.desired).Empty() {
				w.desired = w.former // nobody has to look whether a bridge has it
			}
			return nil
		})
	}
	_ = all.Wait() // none fails

	g.mu.Lock()
	for _, w := range work {
		g.take(w)
	}
	bridges := g.wanted(among)
	changed := g.enforce(subjects)
	entered, left, due := g.absent(subjects, g.s.reconciler.Status(), now)
	next = earlier(next, due)
	var groups *estate.Model
	if settled {
		groups = g.groups()
	}
	for _, n := range g.instancesEnding(now) {
		next = earlier(next, n)
	}
	g.mu.Unlock()

	if !slices.EqualFunc(bridges, g.said, sameBridge) {
		g.s.reconciler.Set(bridges)
		g.said = bridges
	}
	if changed {
		g.s.again()
	}
	g.s.tellAbsent(entered, left)
	if !settled {
		return settlePause
	}
	g.mu.Lock()
	g.looked = asked
	g.mu.Unlock()
	if groups != nil {
		g.s.deps.Assembler.Set(estate.PolicySource, groups, now)
	}
	if next.IsZero() {
		return maxPause
	}
	return max(next.Sub(now), 10*time.Millisecond)
}

// After a start, hosts keep what they have until all have said what exists there, or for so long: of half an estate, groups would be
// half, and what they allow would stop for a moment. Only hosts where policy is off altogether are told so at once.
const (
	settleTime  = 10 * time.Second
	settlePause = 100 * time.Millisecond
)

// settle says whether enough is known to compile; g.mu is held.
func (g *governor) settle(subjects []*subject, now time.Time) bool {
	if g.started.IsZero() {
		g.started = now
	}
	g.s.mu.Lock()
	all := g.s.configured && len(subjects) == len(g.s.hosts)
	g.s.mu.Unlock()
	g.settled = g.settled || all || now.Sub(g.started) > settleTime
	return g.settled
}

// urgent returns the hosts for which nothing is waited after a start: where policy is off as a whole. One where it was, and is on again before
// all has settled, stays among them, so that it keeps what it has. g.mu is held.
func (g *governor) urgent(subjects []*subject) []*subject {
	var list []*subject
	for _, s := range subjects {
		begun := slices.ContainsFunc(s.seen.Bridges, func(b hosts.Bridge) bool { return g.bridges[reconcile.Key{Host: s.UUID, Bridge: b.Name}] != nil })
		if g.enforcing(s.host) && (s.bypassed != "" || begun) {
			list = append(list, s)
		}
	}
	return list
}

// instancesEnding returns when numbers are forgotten; g.mu is held.
func (g *governor) instancesEnding(now time.Time) []time.Time {
	var list []time.Time
	for _, n := range g.intent.Live {
		if e := n.Until.Add(state.Remembered); n.Ends && e.After(now) {
			list = append(list, e)
		}
	}
	return list
}

// addresses notes those of this machine now and then: a VM that it is, is never cut off.
func (g *governor) addresses(now time.Time) {
	if now.Sub(g.ownSince) < maxPause {
		return
	}
	g.ownSince = now
	list, err := net.InterfaceAddrs()
	if err != nil {
		return // those before stay
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return
	}
	var own compile.Machine
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() {
			own.Addrs = append(own.Addrs, p.Addr().Unmap().WithZone(""))
		}
	}
	for i := range interfaces {
		if mac, err := estate.ParseMAC(interfaces[i].HardwareAddr.String()); err == nil && mac != 0 {
			own.MACs = append(own.MACs, mac)
		}
	}
	slices.SortFunc(own.Addrs, netip.Addr.Compare)
	slices.Sort(own.MACs)
	g.own = own
}

// job is a bridge that is to be compiled.
type job struct {
	at       *compiled
	input    compile.Input
	revision uint64
	former   *compile.Desired
	desired  *compile.Desired
	limits   map[string]shape.Limits
	err      error

	unguarded int
}

func (c *compiled) compile(in compile.Input) (*compile.Desired, error) {
	c.compiling.Lock()
	defer c.compiling.Unlock()
	return c.compiler.Compile(&in)
}

// enforcing says whether policy is to be in force at a host.
func (g *governor) enforcing(h *host) bool {
	return h.mode == state.ModeEnforce && g.policies != nil && g.policies.RevisionOf(h.UUID) != 0 && len(g.s.deps.Bridges) > 0
}

// inputs returns what is to be compiled anew, and forgets bridges that are gone; g.mu is held.
func (g *governor) inputs(subjects []*subject, now time.Time) []*job {
	for _, st := range g.s.reconciler.Status() {
		if st.MaxMeter != nil {
			g.maxMeters[reconcile.Key{Host: st.HostUUID, Bridge: st.Bridge}] = *st.MaxMeter
		}
	}
	var work []*job
	there := map[reconcile.Key]bool{}
	ends := map[uint64][]uint32{}
	for _, s := range subjects {
		if !g.enforcing(s.host) {
			continue
		}
		revision := g.policies.RevisionOf(s.UUID)
		r := g.resolved[revision]
		if r == nil || r.set == nil || !g.settled && s.bypassed == "" {
			for i := range s.seen.Bridges { // what they have stays
				there[reconcile.Key{Host: s.UUID, Bridge: s.seen.Bridges[i].Name}] = true
			}
			continue
		}
		if _, ok := ends[revision]; !ok {
			ends[revision] = retired(g.policies, r, revision, now)
		}
		for i := range s.seen.Bridges {
			key := reconcile.Key{Host: s.UUID, Bridge: s.seen.Bridges[i].Name}
			there[key] = true
			c := g.bridges[key]
			if c == nil {
				c = &compiled{compiler: compile.New()}
				g.bridges[key] = c
			}
			in := g.input(s, key.Bridge, r, ends[revision])
			if c.revision == revision && sameInput(&c.input, &in) {
				continue
			}
			work = append(work, &job{at: c, input: in, revision: revision, former: c.desired})
		}
	}
	maps.DeleteFunc(g.bridges, func(key reconcile.Key, _ *compiled) bool { return !there[key] })
	maps.DeleteFunc(g.maxMeters, func(key reconcile.Key, _ uint32) bool { return !there[key] })
	return work
}

// generation is that in the cookies of flows: of the layout.
const generation = 1

// input is what the flows of a bridge depend on; g.mu is held.
func (g *governor) input(s *subject, bridge string, r *resolved, retired []uint32) compile.Input {
	in := compile.Input{
		Inventory: s.seen, Bridge: bridge, Host: s.id, Pool: s.poolID, VIFs: make([]flow.ID, len(s.seen.VIFs)),
		Policy: r.set, Estate: r.estate, Retired: retired, Sampling: s.sampling.of(s.datapath[bridge]), CollectorSet: export.CollectorSet,
		Domain: s.domains[bridge], Generation: generation, Capabilities: g.capabilities(s, bridge), Limit: g.cfg.FlowsPerBridge,
		Bypass: s.bypassed != "", Weir: g.own,
	}
	key := g.world.hosts[s.UUID]
	for i := range s.seen.VIFs {
		v := &s.seen.VIFs[i]
		for _, p := range v.Ports {
			if id := g.world.ports[portKey{key, v.Bridge, s.seen.Ports[p].Name}]; id != 0 {
				in.VIFs[i] = id
				break
			}
		}
	}
	for _, b := range g.intent.Bypasses {
		if b.Kind != state.BypassVIF {
			continue
		}
		if id, err := strconv.ParseUint(b.Target, 10, 64); err == nil {
			if in.BypassVIFs == nil {
				in.BypassVIFs = map[flow.ID]bool{}
			}
			in.BypassVIFs[flow.ID(id)] = true
		}
	}
	for _, q := range g.intent.Quarantines {
		if in.Quarantined == nil {
			in.Quarantined = map[flow.ID]bool{}
		}
		in.Quarantined[q.VIF] = true
	}
	return in
}

// of returns what the flows of a bridge sample, by the type of its datapath.
func (s Sampling) of(datapath string) compile.Sampling {
	switch s {
	case SamplingFull:
		return compile.SampleFull
	case SamplingNew:
		return compile.SampleNew
	case SamplingOff:
		return compile.SampleOff
	case SamplingAuto:
	}
	if datapath == "" || datapath == "system" { // the kernel's: each sample is a way to ovs-vswitchd and back
		return compile.SampleNew
	}
	return compile.SampleFull
}

// capabilities returns what an Open vSwitch of that version can do. Connection tracking with marks and labels came with 2.5, action sample long
// before. A version that is not known is taken for a new one: a switch that cannot refuses the flows, and nothing is changed.
func capabilities(version string) compile.Capabilities {
	c := compile.Capabilities{ConnTrack: true, Sample: true}
	var major, minor int
	if n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor); n == 2 && (major < 2 || major == 2 && minor < 5) {
		c.ConnTrack = false
	}
	return c
}

// capabilities returns what a bridge can do; g.mu is held. Whether its datapath has meters its switch says once it dials; before, it is guessed: those of
// userspace have them from 2.8 on, those of the kernel from 2.10 on, if the kernel does (4.15, and later ones where they work).
func (g *governor) capabilities(s *subject, bridge string) compile.Capabilities {
	c := capabilities(s.status.OVSVersion)
	if most, known := g.maxMeters[reconcile.Key{Host: s.UUID, Bridge: bridge}]; known {
		c.Meters = most >= compile.MeterLast
		return c
	}
	since := 10
	if t := s.datapath[bridge]; t != "" && t != "system" {
		since = 8
	}
	var major, minor int
	n, _ := fmt.Sscanf(s.status.OVSVersion, "%d.%d", &major, &minor)
	c.Meters = n < 2 || major > 2 || major == 2 && minor >= since
	return c
}

// sameInput says whether two inputs are of the same flows.
func sameInput(a, b *compile.Input) bool {
	return a.Inventory == b.Inventory && a.Policy == b.Policy && a.Estate == b.Estate && a.Bridge == b.Bridge && a.Host == b.Host && a.Pool == b.Pool &&
		a.Sampling == b.Sampling && a.CollectorSet == b.CollectorSet && a.Domain == b.Domain && a.Generation == b.Generation &&
		a.Capabilities == b.Capabilities && a.Limit == b.Limit && a.Bypass == b.Bypass && slices.Equal(a.VIFs, b.VIFs) &&
		slices.Equal(a.Retired, b.Retired) && maps.Equal(a.BypassVIFs, b.BypassVIFs) && maps.Equal(a.Quarantined, b.Quarantined) && a.Weir.Equal(&b.Weir)
}

// take notes what was compiled; g.mu is held.
func (g *governor) take(w *job) {
	c := w.at
	c.err, c.input, c.mirrors = w.err, w.input, mirrorsOf(&w.input)
	if w.err != nil {
		return // what it holds stays
	}
	c.limits, c.unguarded = w.limits, w.unguarded
	if w.desired != c.desired {
		g.number++
		c.desired, c.number = w.desired, g.number
	}
	if c.revision != w.revision {
		c.before, c.revision, c.since = c.revision, w.revision, c.number
	}
}

// unguardedOf returns at how many VIFs of a bridge guards that are on are not enforced in full.
func unguardedOf(in *compile.Input) (n int) {
	if in.Bypass {
		return 0
	}
	for i, id := range in.VIFs {
		if v := in.Estate.VIFs[id]; v != nil && in.Inventory.VIFs[i].Bridge == in.Bridge && in.Policy.Unguarded(v) {
			n++
		}
	}
	return n
}

// limitsOf returns what rates are asked of the interfaces of a bridge; nil: none.
func limitsOf(in *compile.Input) map[string]shape.Limits {
	var limits map[string]shape.Limits
	for name, r := range in.Rates() {
		if limits == nil {
			limits = map[string]shape.Limits{}
		}
		limits[name] = shape.Limits{Out: r.Out, In: r.In, Meter: r.Metered, Beside: r.Beside}
	}
	return limits
}

// verified returns the revision that a bridge was found to hold last; 0: none.
func (c *compiled) verified(st *reconcile.BridgeStatus) uint64 {
	switch {
	case st.Verified == 0:
		return 0
	case st.Verified >= c.since:
		return c.revision
	default:
		return c.before
	}
}

// wanted returns what each bridge is to hold, and notes which are left; g.mu is held.
func (g *governor) wanted(subjects []*subject) []reconcile.Bridge {
	var list []reconcile.Bridge
	// That a bridge has nothing holds on when its connection ends, as it does when its controller goes, of which the database tells later.
	done := g.left
	for _, st := range g.s.reconciler.Status() {
		if st.State == reconcile.StateDetached {
			done[reconcile.Key{Host: st.HostUUID, Bridge: st.Bridge}] = true
		}
	}
	g.left = map[reconcile.Key]bool{}
	clear(g.hostErr)
	leaving := map[reconcile.Key]bool{}
	for _, s := range subjects {
		enforcing := g.enforcing(s.host)
		for i := range s.seen.Bridges {
			b := &s.seen.Bridges[i]
			key := reconcile.Key{Host: s.UUID, Bridge: b.Name}
			c := g.bridges[key]
			want := reconcile.Bridge{Host: reconcile.Host{UUID: s.UUID, Name: s.Name, Pool: s.identity.Pool}, Name: b.Name}
			want.DatapathID, _ = strconv.ParseUint(b.DatapathID, 16, 64) // none yet is 0, which no connection has
			want.Addrs, want.Certificate = reachedFrom(s), s.status.Cert.Fingerprint
			if !s.secure() {
				want.Certificate = ""
			}
			switch {
			case enforcing && c != nil:
				if c.err != nil {
					g.hostErr[s.UUID] = fmt.Sprintf("bridge %s: %v", b.Name, c.err)
				}
				if r := g.resolved[c.revision]; r != nil {
					rules := r.rules
					want.Rule = func(instance uint32) string { return rules[instance] }
				}
				want.Revision, want.Desired = c.number, c.desired
			case !enforcing && (g.leaving[key] || attached(b)) && !done[key]:
				// As long as its controller is there, flows may be, too: after a kill in between nobody else knows.
				leaving[key] = true
				want.Detach = !s.leavesFirst(b.Name)
			case !enforcing && done[key] && attached(b): // until the controller is gone
				g.left[key] = true
				want.Detach = true
			default:
				continue
			}
			list = append(list, want)
		}
	}
	g.leaving = leaving
	return list
}

// sameBridge says whether the reconciler is to be told nothing new.
func sameBridge(a, b reconcile.Bridge) bool {
	return a.Host == b.Host && a.Name == b.Name && a.DatapathID == b.DatapathID && slices.Equal(a.Addrs, b.Addrs) && a.Certificate == b.Certificate &&
		a.Revision == b.Revision && a.Desired == b.Desired && a.Detach == b.Detach
}

// attached says whether a bridge has a controller that is Weir's.
func attached(b *hosts.Bridge) bool {
	return slices.ContainsFunc(b.Controllers, func(c hosts.Controller) bool { return c.Ours })
}

// secure says whether the session with a host is by TLS, so that its bridges present a certificate, too.
func (s *subject) secure() bool { return s.status.TLS != "" }

// reachedFrom returns the addresses from which a host's bridges dial.
func reachedFrom(s *subject) []netip.Addr {
	if a := s.status.Peer.Addr().Unmap(); a.IsValid() {
		return []netip.Addr{a}
	}
	return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} // a local socket
}

// enforce notes what exports are to know of bridges, and says whether that has changed; g.mu is held.
func (g *governor) enforce(subjects []*subject) bool {
	statuses := map[reconcile.Key]reconcile.BridgeStatus{}
	for _, st := range g.s.reconciler.Status() {
		statuses[reconcile.Key{Host: st.HostUUID, Bridge: st.Bridge}] = st
	}
	next := map[string]map[string]export.Enforced{}
	for _, s := range subjects {
		bridges := map[string]export.Enforced{}
		if !g.settled && (s.mode == state.ModeEnforce || slices.ContainsFunc(s.seen.Bridges, func(b hosts.Bridge) bool { return attached(&b) })) {
			continue // what is there stays
		}
		for i := range s.seen.Bridges {
			key := reconcile.Key{Host: s.UUID, Bridge: s.seen.Bridges[i].Name}
			st := statuses[key]
			switch c := g.bridges[key]; {
			case c != nil:
				e := export.Enforced{Sampling: c.input.Sampling, Limits: c.limits, Mirrors: c.mirrors, FailMode: g.failMode(s, key.Bridge, c, &st)}
				if st.Verified > 0 {
					e.Flows = export.FlowsInstalled
				}
				bridges[key.Bridge] = e
			case g.leaving[key]:
				bridges[key.Bridge] = export.Enforced{Flows: export.FlowsLeaving}
			}
		}
		next[s.UUID] = bridges
	}
	if reflect.DeepEqual(next, g.enforced) {
		return false
	}
	g.enforced = next
	return true
}

// ofHost returns what exports are to know of a host's bridges: of one that is left, which of them have flows of Weir's still. known is false
// while that is not clear, as for a moment after a start.
func (g *governor) ofHost(h *host, session ovsdb.Status) (bridges map[string]export.Enforced, to attach.Settings, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	bridges, known = g.enforced[h.UUID]
	if len(bridges) == 0 {
		return nil, attach.Settings{}, known
	}
	return bridges, g.attachSettings(h, session), true
}

// attachSettings says how the bridges of a host are to dial Weir.
func (g *governor) attachSettings(h *host, session ovsdb.Status) attach.Settings {
	set := attach.Settings{Wipe: h.Mode == state.ModeEnforce, Probe: g.cfg.Probe, Dialled: h.Target.Host != ""}
	if l := g.listenerFor(session); l != nil {
		set.TLS, set.Reach = l.TLS, l.reach()
	}
	return set
}

// listenerFor returns the socket that suits a host: with TLS if its session is, without if it is not, else the first; nil: there is none.
func (g *governor) listenerFor(session ovsdb.Status) *BridgeSocket {
	list := g.s.deps.Bridges
	for i := range list {
		if list[i].TLS == (session.TLS != "") {
			return &list[i]
		}
	}
	if len(list) == 0 {
		return nil
	}
	return &list[0]
}
