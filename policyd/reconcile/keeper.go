package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
)

const (
	lookAgain   = time.Minute // where there is nothing to look at
	failedFirst = time.Second // after something failed; doubled each time up to
	failedLast  = time.Minute
	maxRounds   = 4  // bundles in a row after which a bridge must be as it is to be; one is usual
	fewCookies  = 32 // flows of so many cookies are asked for by cookie; for more, all are read

	// All flows are read as often as this takes one part in auditShare of the time, all bridges together: from every auditMin to
	// every Config.Audit.
	auditShare = 20
	auditMin   = 5 * time.Second

	// What somebody undoes is set right at once a few times; then there is somebody who means it, or a loop, and Weir comes back
	// ever later.
	contestFree  = 3
	contestFirst = 2 * time.Second
	contestLast  = time.Minute
	contestOver  = 10 * time.Minute // without being undone

	lastWords = 2 * time.Second // for a last reading of counters at the end
)

// ours selects the flows of ours.
var ours = openflow.Filter{Table: openflow.AllTables, Cookie: compile.Owner, CookieMask: compile.OwnerMask}

// keeper looks after one bridge.
type keeper struct {
	r    *Reconciler
	log  *slog.Logger
	poke chan struct{} // of one element: look again
	gone chan struct{} // closed by end

	mu     sync.Mutex
	want   Bridge       // guarded by mu
	link   *link        // in use; nil: none; guarded by mu
	closed bool         // no link is taken any more; guarded by mu
	status BridgeStatus // as run left it; guarded by mu
	asked  []chan error // who wants all flows to be read; guarded by mu
	forgot bool         // the switch forgot, or is about to forget, what the bridge holds, and Weir had it do so; guarded by mu

	// These belong to run.
	on            *link            // what follows is about this one
	seen          bool             // all flows were read over it
	meters        *uint32          // highest id of a meter that its switch has; nil: it was not asked
	steps         bool             // its switch makes changes one by one only
	holds         *compile.Desired // what the bridge holds of ours; nil: that is to be read
	held          *compile.Desired // what it was last found to hold, over any link; nil: nothing yet, or it is detached
	tried         *compile.Desired // what did not go in, or was undone, and is not tried again before
	stuck         *stuck           // what nothing could be done about, not even read, and is not tried again before
	retry         time.Time        // then
	failures      int              // in a row
	back          bool             // what is worked on is held, in place of tried
	rounds        int              // bundles since the bridge was as it is to be
	unsure        bool             // something was sent, and the bridge was not found as it is to be since: what differs may be our doing
	audit         time.Time        // when all flows are read next
	tally         *tally
	based         bool      // the tally has read all flows once
	handed        time.Time // when hits were
	undone        contest   // what others did
	noted         bool      // what they did was told, and is not set right yet
	repairs       int       // changes of a plan that sets right what others did
	why           string    // what is told once the bridge is as it is to be; "": nothing
	said          string    // the last failure that was told
	strange       []string  // flows and groups of others that were told
	strangerCount int       // of them all
}

// stuck is what was wanted when nothing could be done.
type stuck struct {
	desired *compile.Desired
	detach  bool
}

// contest is how often others undid what was installed.
type contest struct {
	recent int // without a pause of contestOver
	last   time.Time
}

func newKeeper(r *Reconciler, b Bridge) *keeper {
	return &keeper{
		r: r, log: r.deps.Log.With("host", b.Host.Name, "bridge", b.Name), poke: make(chan struct{}, 1), gone: make(chan struct{}),
		want: b, status: BridgeStatus{State: StateOffline}, tally: newTally(),
	}
}

// expects says whether a link is the bridge's.
func (k *keeper) expects(l *link) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case l.datapath != k.want.DatapathID:
		return false
	case k.want.Certificate != "":
		return l.certificate == k.want.Certificate
	}
	return slices.Contains(k.want.Addrs, l.addr.Addr())
}

// confused notes that a connection could as well be another bridge's.
func (k *keeper) confused(other *keeper) {
	other.mu.Lock()
	name, host, id := other.want.Name, other.want.Host.Name, other.want.DatapathID
	other.mu.Unlock()
	k.note(func(s *BridgeStatus) {
		s.Error = fmt.Sprintf("bridge %q of host %q has the same datapath id, %016x, and address: set other_config:datapath-id of one of them", name, host, id)
	})
}

// mistaken notes, while there is no link, that one came which would be the bridge's if it came from elsewhere.
func (k *keeper) mistaken(l *link) {
	if k.expects(l) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.link != nil || l.datapath != k.want.DatapathID:
	case k.want.Certificate != "":
		k.status.Error = fmt.Sprintf("a connection with its datapath id came from %s with certificate %q, want %q, which its host's database has", l.addr, l.certificate, k.want.Certificate)
	default:
		k.status.Error = fmt.Sprintf("a connection with its datapath id came from %s, want it from %v, from where its host's database is reached", l.addr, k.want.Addrs)
	}
}

// set says what is wanted from now on.
func (k *keeper) set(b Bridge) {
	k.mu.Lock()
	if b.DatapathID == 0 { // not known for a moment after a restart of ovsdb-server
		b.DatapathID = k.want.DatapathID
	}
	if k.link != nil && k.link.datapath != b.DatapathID {
		go k.link.Close()
	}
	if b.Desired != k.want.Desired || b.Detach != k.want.Detach {
		k.status.Error = ""
		if k.link != nil {
			k.status.State = StatePending
		}
	}
	k.want = b
	k.mu.Unlock()
	k.wake()
}

// wake makes run look at the bridge.
func (k *keeper) wake() {
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

func (k *keeper) end() { close(k.gone) }

// connection returns the link in use, or nil.
func (k *keeper) connection() *link {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.link
}

// connect uses l if there is none, or says that there is one.
func (k *keeper) connect(ctx context.Context, l *link) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case ctx.Err() != nil || k.closed:
		go l.Close()
	case k.link != nil:
		return false
	default:
		k.link = l
		key := k.want.Key()
		l.of.Store(&key)
		k.status.State, k.status.Error = StatePending, ""
	}
	k.wake()
	return true
}

// lose closes l, which is not in use any more.
func (k *keeper) lose(l *link) {
	k.mu.Lock()
	if k.link == l {
		k.link = nil
		k.status.State = StateOffline
	}
	k.mu.Unlock()
	l.Close()
	k.r.changed.Tell()
	k.wake()
}

// run looks at the bridge whenever something changes, until ctx is done or the bridge is gone.
func (k *keeper) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, k.wake)()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var lost <-chan struct{}
		if k.on != nil {
			lost = k.on.Done()
		}
		select {
		case <-ctx.Done():
			k.leave(ctx)
			return
		case <-k.gone:
			k.leave(ctx)
			return
		case <-k.poke:
		case <-lost:
			k.log.Info("openflow connection lost", "err", k.on.Err())
			k.lose(k.on)
		case <-timer.C:
		}
		timer.Reset(k.step(ctx))
		k.r.changed.Tell()
	}
}

// leave reads counters for the last time and closes the link. What is installed stays.
func (k *keeper) leave(ctx context.Context) {
	k.mu.Lock()
	k.closed = true
	l := k.link
	k.link = nil
	k.status.State = StateOffline
	asked := k.asked
	k.asked = nil
	k.mu.Unlock()
	for _, c := range asked {
		c <- errEnded
	}
	if l == nil {
		return
	}
	if l == k.on && k.based {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
		if err := l.Flows(ctx, ours, func(s openflow.FlowStats) { k.tally.read(&s, false) }); err != nil {
			k.log.Debug("counters not read at the end", "err", err)
		}
		k.hand(k.tally.take())
	}
	l.Close()
}

// step looks at the bridge once and changes what is not as it is to be. It returns after how long to look again if nothing is
// heard.
func (k *keeper) step(ctx context.Context) time.Duration {
	now := k.r.deps.Now()
	k.mu.Lock()
	want, l, asked, forgot := k.want, k.link, len(k.asked) > 0, k.forgot
	k.forgot = false
	k.mu.Unlock()
	if forgot {
		k.holds, k.unsure = nil, true
	}
	if l != k.on {
		k.on, k.seen, k.meters, k.steps, k.holds, k.tried, k.stuck, k.failures, k.rounds = l, false, nil, false, nil, nil, nil, 0, 0
		if l != nil {
			k.log.Info("openflow connection", "peer", l.addr)
		}
	}
	var next time.Duration
	var err error
	switch {
	case l == nil:
		k.answer(errOffline)
		return lookAgain
	case k.stuck != nil && *k.stuck == (stuck{want.Desired, want.Detach}) && now.Before(k.retry):
		return k.retry.Sub(now)
	}
	if err := k.probe(ctx, l); err != nil {
		return k.failed(&want, l, err, now)
	}
	switch {
	case want.Detach:
		next, err = k.detach(ctx, l, &want, now)
	case want.Desired == nil:
		k.note(func(s *BridgeStatus) {
			if k.want.Desired == nil && !k.want.Detach { // still
				s.State, s.Error = StateWaiting, ""
			}
		})
		k.answer(nil)
		return lookAgain
	case len(want.Desired.Meters) > 0 && *k.meters < compile.MeterLast:
		k.note(func(s *BridgeStatus) {
			s.Error = "its datapath has no meters, which was not known: rates are to be put in force otherwise"
		})
		k.answer(errWaits)
		return lookAgain
	default:
		next, err = k.reconcile(ctx, l, &want, now, asked)
	}
	if err != nil {
		return k.failed(&want, l, err, now)
	}
	return next
}

// probe asks a switch once whether it has meters.
func (k *keeper) probe(ctx context.Context, l *link) error {
	if k.meters != nil {
		return nil
	}
	most, err := l.MaxMeter(ctx)
	if err != nil && !refused(err) { // an old switch may not know the question
		return err
	}
	k.meters = &most
	k.note(func(s *BridgeStatus) { s.MaxMeter = &most })
	return nil
}

// metersOf returns the meters that are there.
func (k *keeper) metersOf(ctx context.Context, l *link) ([]openflow.MeterSpec, error) {
	if *k.meters == 0 {
		return nil, nil
	}
	return l.Meters(ctx)
}

// reconcile makes the bridge hold what is wanted.
func (k *keeper) reconcile(ctx context.Context, l *link, want *Bridge, now time.Time, asked bool) (next time.Duration, err error) {
	target := want.Desired
	k.back = false
	if k.tried == target && now.Before(k.retry) {
		if k.held == nil || k.held == target {
			if asked {
				k.answer(errWaits)
			}
			return k.retry.Sub(now), nil
		}
		target, k.back = k.held, true // what was there before stays in force meanwhile
	}
	var p *plan
	whole := k.holds == nil || asked || !now.Before(k.audit)
	switch {
	case whole:
		o, err := k.read(ctx, l, target, now)
		if err != nil {
			return 0, err
		}
		if k.differs(want, o, target, now) {
			return k.retry.Sub(now), nil
		}
		p = &o.plan
	case k.holds != target:
		p = difference(k.holds, target)
	default:
		p = &plan{}
	}
	if p.size() == 0 {
		k.right(want, target, now, whole, asked)
		return k.next(want, target, now), nil
	}
	k.note(func(s *BridgeStatus) { s.Pending = p.size() })
	if !whole {
		if err := k.last(ctx, l, p); err != nil {
			return 0, err
		}
	}
	if whole { // it does not hold what was thought
		k.holds = nil
	}
	if err := k.apply(ctx, l, p); err != nil {
		return 0, err
	}
	k.holds = nil
	if whole {
		return 0, nil // read all again
	}
	if done, err := k.verify(ctx, l, p); err != nil || !done {
		return 0, err
	}
	if p.unplugs() { // what was learned of it is to go
		k.audit = now
	}
	k.right(want, target, now, false, false)
	return k.next(want, target, now), nil
}

// next is after how long the bridge is looked at again.
func (k *keeper) next(want *Bridge, target *compile.Desired, now time.Time) time.Duration {
	next := k.audit.Sub(now)
	if target != want.Desired {
		next = min(next, k.retry.Sub(now))
	}
	return max(next, 0)
}

// read reads all flows and groups.
func (k *keeper) read(ctx context.Context, l *link, target *compile.Desired, now time.Time) (*observation, error) {
	defer k.r.turn(ctx)()
	began := time.Now()
	o := observe(target)
	k.tally.most = tallyLeast + 2*target.Len()
	k.tally.begin()
	err := l.Flows(ctx, openflow.Everything, func(s openflow.FlowStats) {
		o.see(s.Flow)
		k.tally.read(&s, !k.based)
	})
	k.tally.done(err)
	var groups []openflow.Group
	if err == nil {
		k.based = true
		groups, err = l.Groups(ctx)
	}
	var meters []openflow.MeterSpec
	if err == nil {
		meters, err = k.metersOf(ctx, l)
	}
	if err != nil {
		k.r.metrics.audits.WithLabelValues(auditFailed).Inc()
		return nil, err
	}
	var before map[uint32]openflow.Group
	if k.held != nil {
		before = k.held.Groups
	}
	err = o.finish(groups, meters, before)
	result := auditRight
	if o.plan.size() > 0 {
		result = auditWrong
	}
	k.r.metrics.audits.WithLabelValues(result).Inc()
	wait := min(max(time.Since(began)*auditShare*time.Duration(k.r.count()), auditMin), k.r.cfg.Audit)
	k.audit = now.Add(wait)
	k.note(func(s *BridgeStatus) {
		s.Installed, s.Learned, s.Groups, s.Meters = o.ours, o.learned, o.groups, o.meters
		s.Foreign, s.Bypasses, s.Others = o.foreign, o.bypasses, o.others
	})
	k.strangers(o)
	return o, err
}

// differs notes what all flows, just read, say of what others did, and says whether Weir yields to them for now.
func (k *keeper) differs(want *Bridge, o *observation, target *compile.Desired, now time.Time) (yields bool) {
	first := !k.seen
	k.seen = true
	n := o.plan.size() - len(o.plan.stale)
	switch {
	case n == 0, k.unsure:
		return false
	case k.held == nil:
		k.tellDisplaced(want, o)
		k.why = fmt.Sprintf("%d flows were installed", target.Len())
		return false
	case first && o.ours == 0:
		k.why = fmt.Sprintf("all flows were gone, as after a restart of ovs-vswitchd; %d were installed anew", target.Len())
		return false
	case k.held != target || k.noted:
		return false
	}
	k.noted, k.repairs = true, n
	k.r.metrics.drift.Add(float64(n))
	if now.Sub(k.undone.last) > contestOver {
		k.undone.recent = 0
	}
	k.undone.recent++
	k.undone.last = now
	wait := time.Duration(0)
	if over := k.undone.recent - contestFree; over > 0 {
		wait = min(contestFirst<<min(over-1, 10), contestLast)
	}
	k.tellDrift(want, &o.plan, wait)
	k.note(func(s *BridgeStatus) {
		s.Drift += uint64(n)
		if wait > 0 && k.want.Desired == want.Desired && !k.want.Detach { // else something else is on its way already
			s.State, s.Pending = StateYielding, n
			s.Error = fmt.Sprintf("somebody changes flows of Weir's again and again; they are set right again in %s", wait)
		}
	})
	if wait == 0 {
		return false
	}
	k.holds, k.tried, k.retry = nil, target, now.Add(wait)
	k.answer(errWaits)
	return true
}

// last reads the counters that a plan ends, for the last time.
func (k *keeper) last(ctx context.Context, l *link, p *plan) error {
	cookies := map[openflow.Cookie]bool{}
	for _, f := range p.ended() {
		if _, _, is := compile.Hit(f.Table, f.Cookie); is {
			cookies[f.Cookie] = true
		}
	}
	if len(cookies) == 0 {
		return nil
	}
	return each(ctx, l, cookies, func(s openflow.FlowStats) { k.tally.read(&s, false) })
}

// each reads the flows of ours with some cookies; possibly others of ours, too.
func each(ctx context.Context, l *link, cookies map[openflow.Cookie]bool, see func(openflow.FlowStats)) error {
	if len(cookies) > fewCookies {
		return l.Flows(ctx, ours, see)
	}
	// Asked at once, answered one after the other: see is never called by two at a time.
	g, ctx := errgroup.WithContext(ctx)
	for c := range cookies {
		g.Go(func() error {
			return l.Flows(ctx, openflow.Filter{Table: openflow.AllTables, Cookie: c, CookieMask: ^openflow.Cookie(0)}, see)
		})
	}
	return g.Wait()
}

// apply has the switch carry out a plan.
func (k *keeper) apply(ctx context.Context, l *link, p *plan) error {
	if k.rounds == maxRounds {
		k.rounds = 0
		return &refusedError{fmt.Errorf("found the bridge not as it is to be after %d bundles that it took", maxRounds)}
	}
	for _, r := range p.replace {
		k.tally.renew(r.is)
	}
	if k.steps {
		p.stepwise()
	}
	if p.meters() > 0 {
		k.unsure = true
	}
	for _, m := range p.metersAdded {
		if err := k.setMeter(ctx, l, m, false); err != nil {
			return err
		}
	}
	if mods := p.mods(); len(mods) > 0 {
		if err := k.send(ctx, l, mods); err != nil {
			if len(p.metersAdded) > 0 {
				k.holds = nil
			}
			return err
		}
	}
	for _, m := range p.metersChanged {
		if err := k.setMeter(ctx, l, m, true); err != nil {
			return err
		}
	}
	for _, id := range p.metersUnused {
		if err := l.DeleteMeter(ctx, id); err != nil {
			k.holds = nil
			return err
		}
	}
	k.rounds++
	k.r.metrics.changed(p)
	for _, f := range p.ended() {
		k.tally.end(f.Key())
	}
	return nil
}

// setMeter adds or changes a meter. If that goes wrong, it is not known what the bridge holds.
func (k *keeper) setMeter(ctx context.Context, l *link, m openflow.MeterSpec, there bool) error {
	err := l.AddMeter(ctx, m, there)
	if err == nil {
		return nil
	}
	k.holds = nil
	if refused(err) {
		return &refusedError{err}
	}
	return err
}

// send has the switch make changes: all or none, unless it is too old for that.
func (k *keeper) send(ctx context.Context, l *link, mods []openflow.Mod) error {
	began := time.Now()
	was := k.unsure
	k.unsure = true
	var err error
	if k.steps {
		if err = l.ApplyEach(ctx, mods); err != nil { // it does not say what was done before
			k.holds = nil
		}
	} else if err = l.Apply(ctx, mods); refused(err) {
		k.unsure = was // nothing was done
	}
	k.r.metrics.seconds.Observe(time.Since(began).Seconds())
	outcome := outcomeUnknown
	if err == nil {
		outcome = outcomeDone
	} else if errors.Is(err, openflow.ErrNoBundles) {
		k.steps = true
		k.log.Warn("this open vswitch cannot make several changes at once: packets may meet a part of them", "err", err)
		k.note(func(s *BridgeStatus) { s.Stepwise = true })
		return errAgain
	} else if mod, is := errors.AsType[*openflow.ModError](err); is {
		outcome = outcomeRefused
		err = &refusedError{fmt.Errorf("change %s: %w", k.words(mod.Mod), err)}
	} else if _, is := errors.AsType[*openflow.SwitchError](err); is {
		outcome = outcomeRefused
		err = &refusedError{err}
	}
	k.r.metrics.bundles.WithLabelValues(outcome).Inc()
	return err
}

// verify reads back what a plan changed, and says whether it is there. If it is not, or that would cost as much, all is to be read.
func (k *keeper) verify(ctx context.Context, l *link, p *plan) (done bool, err error) {
	cookies := p.cookies()
	if len(cookies) > fewCookies {
		return false, nil
	}
	there := map[openflow.FlowKey]openflow.Flow{}
	if err := each(ctx, l, cookies, func(s openflow.FlowStats) {
		there[s.Key()] = s.Flow
		k.tally.read(&s, false)
	}); err != nil {
		return false, err
	}
	missed := p.missed(there)
	if missed == "" && len(p.groups)+len(p.unused) > 0 {
		groups, err := l.Groups(ctx)
		if err != nil {
			return false, err
		}
		missed = p.missedGroup(groups)
	}
	if missed == "" && p.meters() > 0 {
		meters, err := k.metersOf(ctx, l)
		if err != nil {
			return false, err
		}
		missed = p.missedMeter(meters)
	}
	if missed != "" {
		k.log.Warn("change not found on the bridge that took it", "change", missed)
		return false, nil
	}
	return true, nil
}

// right notes that the bridge holds target: all of it was read, or what had changed was.
func (k *keeper) right(want *Bridge, target *compile.Desired, now time.Time, whole, asked bool) {
	k.holds, k.held, k.rounds = target, target, 0
	k.noted, k.unsure = false, false
	repairs := k.repairs
	k.repairs = 0
	if target == want.Desired {
		k.failures, k.tried, k.stuck = 0, nil, nil
		k.tellInstalled(want)
	}
	k.note(func(s *BridgeStatus) {
		s.Installed, s.Groups, s.Meters, s.Pending = target.Len(), len(target.Groups), len(target.Meters), 0
		s.Repaired += uint64(repairs)
		if target != want.Desired {
			return
		}
		s.Error = ""
		s.Verified, s.VerifiedAt = want.Revision, now
		if k.want.Desired == want.Desired && !k.want.Detach {
			s.State = StateInstalled
		}
	})
	if whole {
		if asked || now.Sub(k.handed) >= k.r.cfg.Audit {
			k.handed = now
			k.hand(k.tally.take())
		} else { // of an offence others want to know sooner
			k.hand(k.tally.takeGuards())
		}
		if target == want.Desired {
			k.answer(nil)
		} else {
			k.answer(errWaits)
		}
	}
}

// detach removes all that is ours: packets are treated by what is there below from one to the next.
func (k *keeper) detach(ctx context.Context, l *link, want *Bridge, now time.Time) (time.Duration, error) {
	k.holds, k.tried = nil, nil
	flows, used, lent := 0, map[uint32]bool{}, map[uint32]bool{}
	if k.held != nil {
		for id := range k.held.Groups {
			used[id] = true
		}
	}
	k.tally.begin()
	err := l.Flows(ctx, openflow.Everything, func(s openflow.FlowStats) {
		if !owned(s.Cookie) {
			if id, is := meterIn(s.Actions); is {
				lent[id] = true
			}
			return
		}
		flows++
		for id := range groupsIn(s.Actions) {
			used[id] = true
		}
		k.tally.read(&s, !k.based)
	})
	k.tally.done(err)
	var groups []openflow.Group
	if err == nil {
		k.based = true
		groups, err = l.Groups(ctx)
	}
	var meters []openflow.MeterSpec
	if err == nil {
		meters, err = k.metersOf(ctx, l)
	}
	if err != nil {
		return 0, err
	}
	meters = slices.DeleteFunc(meters, func(m openflow.MeterSpec) bool { return !ourMeter(m.ID, lent) })
	mods := []openflow.Mod{openflow.DeleteFlows{Table: openflow.AllTables, Cookie: compile.Owner, CookieMask: compile.OwnerMask}}
	for _, g := range groups {
		if g.ID >= compile.GroupFirst && g.ID <= compile.GroupLast && used[g.ID] {
			mods = append(mods, openflow.DeleteGroup{ID: g.ID})
		}
	}
	if flows == 0 && len(mods) == 1 && len(meters) == 0 {
		k.detached(want)
		return k.r.cfg.Audit, nil
	}
	if k.rounds++; k.rounds > maxRounds {
		k.rounds = 0
		return 0, &refusedError{fmt.Errorf("remove flows: found %d flows, %d groups and %d meters of Weir's after they were removed %d times", flows, len(mods)-1, len(meters), maxRounds)}
	}
	k.note(func(s *BridgeStatus) { s.Pending = flows + len(mods) - 1 + len(meters) })
	k.why = fmt.Sprintf("%d flows, %d groups and %d meters were removed", flows, len(mods)-1, len(meters))
	if err := k.send(ctx, l, mods); err != nil {
		return 0, err
	}
	for _, m := range meters {
		if err := l.DeleteMeter(ctx, m.ID); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// refused says whether a switch said no.
func refused(err error) bool {
	_, mod := errors.AsType[*openflow.ModError](err)
	_, other := errors.AsType[*openflow.SwitchError](err)
	return mod || other
}

// failed notes that something could not be done, and returns when to try again.
func (k *keeper) failed(want *Bridge, l *link, err error, now time.Time) time.Duration {
	select {
	case <-l.Done(): // run hears it, too
		k.answer(errOffline)
		return lookAgain
	default:
	}
	if errors.Is(err, context.Canceled) { // at the end
		return lookAgain
	}
	if errors.Is(err, errAgain) {
		return 0
	}
	k.failures++
	wait := min(failedFirst<<min(k.failures-1, 10), failedLast)
	k.retry = now.Add(wait)
	said, is := errors.AsType[*refusedError](err)
	switch {
	case want.Detach, !is:
		k.holds, k.tried, k.stuck = nil, nil, &stuck{want.Desired, want.Detach}
	default:
		k.tried = want.Desired // nothing was changed: what is known stays known
	}
	if text := err.Error(); text != k.said {
		k.said = text
		k.log.Warn("flows not installed", "err", err)
		if is {
			k.tellFailed(want, said)
			k.why = "what had not gone in before did"
		}
	}
	k.note(func(s *BridgeStatus) {
		s.Error = short(err.Error())
		if is && k.want.Desired == want.Desired {
			s.State = StateFailed
		}
	})
	k.answer(err)
	if k.tried != nil && k.held != nil && k.held != want.Desired && !k.back {
		return 0 // what was there before is looked after meanwhile
	}
	return wait
}

// refusedError is that a switch said no, or that there is no use in asking it: nothing was changed, and it is not tried again for a while.
type refusedError struct{ err error }

// Error says it.
func (e *refusedError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *refusedError) Unwrap() error { return e.err }

var (
	errAgain   = errors.New("it is done otherwise")
	errOffline = errors.New("there is no connection")
	errWaits   = errors.New("what is wanted does not go in, or is undone by others, and is not tried again yet")
	errEnded   = errors.New("the bridge is not looked after any more")
)

// note changes the status.
func (k *keeper) note(change func(s *BridgeStatus)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.status)
}

// state returns how the bridge stands.
func (k *keeper) state() BridgeStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.status
	s.HostUUID, s.Host, s.Bridge, s.Revision = k.want.Host.UUID, k.want.Host.Name, k.want.Name, k.want.Revision
	if k.want.Desired != nil {
		s.Desired = k.want.Desired.Len()
	}
	if k.link != nil {
		s.Connected, s.Peer = k.link.since, k.link.addr.String()
	}
	return s
}

// ask has all flows read now. The channel gets the outcome.
func (k *keeper) ask() <-chan error {
	c := make(chan error, 1)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		c <- errEnded
		return c
	}
	k.asked = append(k.asked, c)
	k.wake()
	return c
}

// answer tells those who asked.
func (k *keeper) answer(err error) {
	k.mu.Lock()
	asked := k.asked
	k.asked = nil
	k.mu.Unlock()
	for _, c := range asked {
		c <- err
	}
}

// hand gives away by how much counters grew.
func (k *keeper) hand(grown map[decision]counters) {
	if len(grown) == 0 || k.r.deps.Hits == nil {
		return
	}
	k.mu.Lock()
	host, bridge, where := k.want.Host.id(), k.want.id(), k.want.Key()
	k.mu.Unlock()
	now := k.r.deps.Now()
	list := make([]Hit, 0, len(grown))
	for d, c := range grown {
		list = append(list, Hit{At: now, Where: where, Host: host, Bridge: bridge, Port: d.port, Instance: d.instance, Stage: d.stage, Packets: c.packets, Bytes: c.bytes})
		k.r.metrics.packets.Add(float64(c.packets))
		k.r.metrics.bytes.Add(float64(c.bytes))
	}
	k.r.deps.Hits(list)
}
