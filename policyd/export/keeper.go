package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/own"
	"github.com/weirhq/weir/policyd/policy"
)

const (
	lookAgain   = time.Minute      // without a change
	askTimeout  = 10 * time.Second // of one transaction
	failedFirst = time.Second      // after a transaction that failed; doubled each time up to
	failedLast  = time.Minute
	maxRounds   = 8 // transactions in a row after which a host must be as it is to be; two are usual at most

	renewalsApart = 5 * time.Minute // of one bridge; it sends templates by itself every ten

	// Who removes what Weir set up gets it back at once a few times, as a host's tools do it once or twice; then there is
	// somebody who means it, or a loop, and Weir comes back ever later.
	contestFree  = 3
	contestFirst = 2 * time.Second
	contestLast  = 5 * time.Minute
	contestOver  = 10 * time.Minute // without being removed
)

// keeper looks after one host.
type keeper struct {
	e    *Exports
	log  *slog.Logger
	poke chan struct{} // of one element: look again
	gone chan struct{} // closed by end

	mu      sync.Mutex
	host    Host                 // guarded by mu
	bridges []Bridge             // of the last look; guarded by mu
	failure string               // guarded by mu
	checked time.Time            // guarded by mu
	done    bool                 // detached and verified; guarded by mu
	asked   map[uint32]struct{}  // domains whose templates are wanted; guarded by mu
	since   map[place]placeState // guarded by mu
	wipes   map[place]*contest   // guarded by mu
	copies  map[copies]*copying  // mirrors of the last look; guarded by mu

	// These belong to run.
	found    map[what]string            // what was there when it last was as wanted
	changing map[what]bool              // what a transaction of this keeper changed, and was not found as wanted since
	noted    map[what]bool              // what others undid, which was told, and was not changed since
	foreign  map[place]string           // what was told of others' exports
	renewals map[place]time.Time        // the last one
	forgets  map[string]int64           // bridges whose flows the switch forgets, with cur_cfg of when it has done it
	failMode map[string]policy.FailMode // of bridges, as it was told last
	read     map[ovsdb.UUID]*own.Saved  // rows of others, read for the transaction to come
	rounds   int                        // transactions since the host was as it is to be
	failures int                        // in a row
	retry    time.Time                  // not before
	said     string                     // the last failure that was logged
	remade   map[string]time.Time       // by bridge: when tunnels that could not be made were made anew, or first failed
}

type placeState struct {
	state State
	since time.Time
}

// contest is how often others undid something.
type contest struct {
	total  uint64
	recent int // without a pause of contestOver
	last   time.Time
	until  time.Time // Weir yields
}

func newKeeper(e *Exports, h Host) *keeper {
	k := &keeper{
		e: e, log: e.deps.Log.With("host", h.Name), poke: make(chan struct{}, 1), gone: make(chan struct{}), host: h,
		asked: map[uint32]struct{}{}, since: map[place]placeState{}, wipes: map[place]*contest{},
		changing: map[what]bool{}, noted: map[what]bool{}, foreign: map[place]string{}, renewals: map[place]time.Time{}, read: map[ovsdb.UUID]*own.Saved{},
		remade: map[string]time.Time{}, forgets: map[string]int64{}, failMode: map[string]policy.FailMode{},
	}
	return k
}

// want says what is wanted from now on.
func (k *keeper) want(h Host) {
	k.mu.Lock()
	if h.Detach != k.host.Detach {
		k.done = false
	}
	k.host = h
	k.mu.Unlock()
	k.look()
}

// look makes run look at the host.
func (k *keeper) look() {
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

func (k *keeper) end() { close(k.gone) }

func (k *keeper) resend(domains []uint32) {
	k.mu.Lock()
	for _, d := range domains {
		if len(k.asked) < maxBridges {
			k.asked[d] = struct{}{}
		}
	}
	k.mu.Unlock()
	k.look()
}

func (k *keeper) status() HostStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := HostStatus{UUID: k.host.UUID, Name: k.host.Name, Bridges: slices.Clone(k.bridges), Detached: k.done, Error: k.failure, Checked: k.checked}
	history := func(b *Bridge, p part) (since time.Time, wiped uint64) {
		at := place{b.Name, p}
		if c := k.wipes[at]; c != nil {
			wiped = c.total
		}
		return k.since[at].since, wiped
	}
	for i := range s.Bridges {
		b := &s.Bridges[i]
		b.Since, b.Wiped = history(b, ownExport)
		if b.Rules != nil {
			rules := *b.Rules
			rules.Since, rules.Wiped = history(b, rulesExport)
			b.Rules = &rules
		}
		if b.Controller != nil {
			c := *b.Controller
			c.Since, c.Wiped = history(b, controller)
			b.Controller = &c
		}
		if b.Limits != nil {
			l := *b.Limits
			l.Since, l.Wiped = history(b, limits)
			b.Limits = &l
		}
		b.Mirrors = slices.Clone(b.Mirrors)
		for j := range b.Mirrors {
			if c := k.copies[copies{b.Name, b.Mirrors[j].To}]; c != nil {
				b.Mirrors[j].Since = c.since
			}
		}
	}
	return s
}

// run looks at the host whenever something changes, until ctx is done or the host is gone.
func (k *keeper) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-k.gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	var session Session
	var changes <-chan struct{}
	unsubscribe := func() {}
	defer func() { unsubscribe() }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.poke:
		case <-changes:
		case <-timer.C:
		}
		k.mu.Lock()
		h := k.host
		k.mu.Unlock()
		if h.Session != session {
			unsubscribe()
			unsubscribe, changes = func() {}, nil
			if session = h.Session; session != nil {
				changes, unsubscribe = session.Subscribe()
			}
		}
		timer.Reset(k.step(ctx, h))
	}
}

// step looks at the host once and changes what is not as it is to be. It returns after how long to look again if nothing
// is heard.
func (k *keeper) step(ctx context.Context, h Host) time.Duration {
	now := k.e.deps.Now()
	asked := k.takeAsked()
	if h.Session == nil || h.Session.Rows() == nil {
		k.mu.Lock()
		k.failure = "it was not seen yet"
		k.mu.Unlock()
		return lookAgain
	}
	if h.Hold {
		return lookAgain // or as soon as more is known
	}
	rows := h.Session.Rows()
	k.forgot(&h, rows)
	if h.Detach {
		return k.detach(ctx, h, rows, now)
	}
	if err := k.complete(&h); err != nil {
		return k.refused(now, err)
	}
	a, err := k.decide(&h, rows, asked, now)
	if err != nil {
		return k.refused(now, err)
	}
	if len(a.read) > 0 {
		if wait := k.retry.Sub(now); wait > 0 {
			return wait
		}
		if err := k.readRows(ctx, h.Session, a.read); err != nil {
			return k.failed(now, err)
		}
		if a, err = k.decide(&h, rows, asked, now); err != nil {
			return k.refused(now, err)
		}
	}
	next := k.settle(&h, a, now)
	k.mirrored(&h, a, now)
	if k.undone(&h, a.undone, now) { // decide once more, without them
		return 0
	}
	k.told(&h, a)
	k.tellFailModes(&h, a)
	ops := a.tx.Operations()
	if ops == nil {
		k.ok(now)
		return next
	}
	if wait := k.retry.Sub(now); wait > 0 {
		return min(wait, next)
	}
	if err := k.transact(ctx, h.Session, ops); err != nil {
		return k.failed(now, err)
	}
	for _, l := range a.looks {
		if l.state == StateSetting {
			k.changing[l.id] = true
			delete(k.noted, l.id)
		}
	}
	for _, bridge := range a.forgets {
		k.forgets[bridge] = rows.Root.NextCfg + 1
		k.forget(&h, bridge)
	}
	for _, at := range a.renewed {
		k.renewals[at] = now
		k.e.metrics.renewed.Inc()
		k.log.Info("export made anew for its templates", "bridge", at.bridge)
	}
	for _, bridge := range a.again {
		k.remade[bridge] = now
	}
	return 0 // the session says already what it changed
}

// forgot tells of bridges whose flows the switch has forgotten by now.
func (k *keeper) forgot(h *Host, rows *ovsdb.Rows) {
	for bridge, number := range k.forgets {
		if rows.Root.CurCfg >= number {
			delete(k.forgets, bridge)
			k.forget(h, bridge)
		}
	}
}

func (k *keeper) forget(h *Host, bridge string) {
	if k.e.deps.Forgot != nil {
		k.e.deps.Forgot(h.UUID, bridge)
	}
}

// complete says what the settings do not. Where the host reaches Weir the session tells, once it has rows.
func (k *keeper) complete(h *Host) error {
	if h.Settings.ActiveTimeout == 0 {
		h.Settings.ActiveTimeout = max(k.e.cfg.ActiveTimeout.Truncate(time.Second), time.Second)
	}
	collector := !h.Settings.Collector.IsValid() && k.e.cfg.CollectorPort != 0
	openFlow := !h.Controller.Reach.IsValid() && h.Controller.Reach.Port() != 0
	if !collector && !openFlow {
		return nil
	}
	addr, err := reach(h.Session.Status().Peer.Addr())
	if collector {
		h.Settings.Collector = netip.AddrPortFrom(addr, k.e.cfg.CollectorPort)
	}
	if openFlow {
		h.Controller.Reach = netip.AddrPortFrom(addr, h.Controller.Reach.Port())
	}
	return err
}

// question returns what decide is asked with the settings of h.
func (k *keeper) question(h *Host, rows *ovsdb.Rows) *question {
	return &question{
		instance: k.e.cfg.Instance, host: &h.Identity, settings: &h.Settings, rows: rows, has: h.Session.Schema().Has,
		enforced: h.Enforced, controller: h.Controller, read: k.read, found: k.found,
		yielded: func(place) bool { return false }, renew: func(uint32) bool { return false }, again: func(string) bool { return false },
	}
}

// takeAsked returns for which domains templates are wanted. What cannot be done now is asked for again.
func (k *keeper) takeAsked() map[uint32]struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	asked := k.asked
	k.asked = map[uint32]struct{}{}
	return asked
}

func (k *keeper) decide(h *Host, rows *ovsdb.Rows, asked map[uint32]struct{}, now time.Time) (*answer, error) {
	q := k.question(h, rows)
	k.mu.Lock()
	defer k.mu.Unlock()
	q.yielded = func(at place) bool { return k.wipes[at] != nil && now.Before(k.wipes[at].until) }
	byNumber := map[uint32]place{}
	for _, b := range k.bridges {
		byNumber[uint32(b.Domain)] = place{b.Name, ownExport}
		if b.Rules != nil {
			byNumber[b.Rules.Domain] = place{b.Name, rulesExport}
		}
	}
	q.renew = func(domain uint32) bool {
		_, this := asked[domain]
		last, ever := k.renewals[byNumber[domain]]
		return this && (!ever || now.Sub(last) >= renewalsApart)
	}
	q.again = func(bridge string) bool {
		last, ever := k.remade[bridge]
		return ever && now.Sub(last) >= lookAgain
	}
	return decide(q)
}

// readRows reads rows of others whole.
func (k *keeper) readRows(ctx context.Context, s Session, rows []reference) error {
	ops := make([]ovsdb.Operation, len(rows))
	for i, r := range rows {
		ops[i] = ovsdb.Select(r.table, ovsdb.Is(r.id))
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	results, err := s.Transact(ctx, ops...)
	if err != nil {
		return fmt.Errorf("read exports of others: %w", err)
	}
	clear(k.read)
	for i, r := range rows {
		if len(results) <= i || len(results[i].Rows) != 1 {
			return fmt.Errorf("read exports of others: row %s of table %s: %w", r.id, r.table, ovsdb.ErrChanged)
		}
		if k.read[r.id], err = own.Save(results[i].Rows[0]); err != nil {
			return fmt.Errorf("read exports of others: %w", err)
		}
	}
	return nil
}

// transact sends one transaction.
func (k *keeper) transact(ctx context.Context, s Session, ops []ovsdb.Operation) error {
	if k.rounds++; k.rounds > maxRounds {
		k.rounds = 0
		return fmt.Errorf("found the host not as it is to be after %d transactions that it took", maxRounds)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, err := s.Transact(ctx, ops...)
	outcome := outcomeFailed
	switch {
	case err == nil:
		outcome = outcomeDone
		k.failures = 0
	case errors.Is(err, ovsdb.ErrChanged):
		outcome = outcomeChanged
	case errors.Is(err, ovsdb.ErrUnknown):
		outcome = outcomeUnknown
	}
	k.e.metrics.transactions.WithLabelValues(outcome).Inc()
	clear(k.read)
	return err
}

// refused notes that nothing can be done with the host as it is, and returns when to look again: when it has changed.
func (k *keeper) refused(now time.Time, err error) time.Duration {
	k.note(now, err)
	if said := err.Error(); said != k.said {
		k.said = said
		k.log.Warn("export of host not set up", "err", err)
	}
	return lookAgain
}

// failed notes that something could not be done, and returns when to try again.
func (k *keeper) failed(now time.Time, err error) time.Duration {
	if errors.Is(err, ovsdb.ErrNotConnected) { // the session tells when it is again
		k.note(now, err)
		return lookAgain
	}
	k.failures++
	wait := min(failedFirst<<min(k.failures-1, 10), failedLast)
	if errors.Is(err, ovsdb.ErrChanged) && k.failures <= contestFree { // the new rows are on their way
		wait = failedFirst / 10
	}
	k.retry = now.Add(wait)
	k.note(now, err)
	switch said := err.Error(); {
	case errors.Is(err, context.Canceled): // at the end
	case errors.Is(err, ovsdb.ErrChanged): // by others, who are faster now and then
		k.log.Debug("export of host not settled", "err", err)
	case said != k.said:
		k.said = said
		k.log.Warn("export of host not set up", "err", err)
	}
	return wait
}

func (k *keeper) note(now time.Time, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failure, k.checked = err.Error(), now
}

// ok notes that the host is as it is to be.
func (k *keeper) ok(now time.Time) {
	k.rounds, k.failures, k.retry, k.said = 0, 0, time.Time{}, ""
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failure, k.checked = "", now
}

// settle notes what was seen, tells of bridges that are as wanted now, and returns when to look again.
func (k *keeper) settle(h *Host, a *answer, now time.Time) time.Duration {
	next := lookAgain
	was := k.found
	k.found = map[what]string{}
	there := map[what]bool{}
	for _, l := range a.looks {
		there[l.id] = true
		switch l.state {
		case StateSet:
			k.found[l.id] = l.want
			delete(k.noted, l.id)
			changed := k.changing[l.id] && l.part != mirrors // of which mirrored tells
			delete(k.changing, l.id)
			if changed && was[l.id] != l.want { // else its templates were wanted
				k.set(h, a, l)
			}
		case StateSetting, StateYielded:
			if want := was[l.id]; want != "" && !l.forget {
				k.found[l.id] = want
			}
		default:
		}
	}
	maps.DeleteFunc(k.changing, func(w what, _ bool) bool { return !there[w] })
	maps.DeleteFunc(k.noted, func(w what, _ bool) bool { return !there[w] })
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bridges = a.bridges
	k.checked = now
	since := map[place]placeState{}
	for _, l := range a.looks {
		s, known := k.since[l.place]
		if !known || s.state != l.state {
			s = placeState{l.state, now}
		}
		since[l.place] = s
		if c := k.wipes[l.place]; c != nil && l.state == StateYielded {
			next = min(next, c.until.Sub(now))
		}
	}
	k.since = since
	maps.DeleteFunc(k.wipes, func(at place, _ *contest) bool { _, is := since[at]; return !is })
	maps.DeleteFunc(k.renewals, func(at place, _ time.Time) bool { _, is := since[at]; return !is })
	return next
}

// set tells that something is as wanted.
func (k *keeper) set(h *Host, a *answer, l look) {
	at := slices.IndexFunc(a.bridges, func(b Bridge) bool { return b.Name == l.bridge })
	b := &a.bridges[at]
	switch l.part {
	case rulesExport:
		k.emitAttributes(h, b.Name, event.ExportSet, fmt.Sprintf("flows of bridge %q export %s", b.Name, b.Rules.summary()), map[string]string{
			"protocol": "rules", "domain": strconv.FormatUint(uint64(b.Rules.Domain), 10), "targets": strings.Join(b.Rules.Targets, " "),
			"totals": strconv.FormatBool(b.Rules.Totals),
		})
	case controller:
		c := b.Controller
		text := fmt.Sprintf("bridge %q dials %s (%s controller)", b.Name, c.Target, c.Type)
		facts := map[string]string{"target": c.Target, "type": c.Type}
		if len(c.Exposed) > 0 {
			facts["exposed"] = strings.Join(c.Exposed, " ")
			text += fmt.Sprintf("; in-band control lets TCP to and from %s pass it, whatever policy says", strings.Join(c.Exposed, ", "))
		}
		k.emitAttributes(h, b.Name, event.ControllerSet, text, facts)
	case limits:
		k.emitAttributes(h, b.Name, event.LimitsSet, fmt.Sprintf("bridge %q: %s", b.Name, b.Limits.summary()), map[string]string{"ports": strconv.Itoa(len(b.Limits.Ports))})
	default:
		k.emit(h, b.Name, event.ExportSet, fmt.Sprintf("bridge %q exports %s (%s)", b.Name, b.summary(), b.Why), b)
	}
}

// undone tells what others undid, and says whether Weir yields at one of the places.
func (k *keeper) undone(h *Host, list []undone, now time.Time) (yields bool) {
	for _, u := range list {
		if k.noted[u.id] {
			continue
		}
		k.noted[u.id] = true
		delete(k.found, u.id)
		k.mu.Lock()
		c := k.wipes[u.place]
		if c == nil {
			c = &contest{}
			k.wipes[u.place] = c
		}
		if now.Sub(c.last) > contestOver {
			c.recent = 0
		}
		c.total++
		c.recent++
		c.last = now
		what, kind, wiped := "", event.ExportWiped, k.e.metrics.wiped
		switch u.part {
		case rulesExport:
			what = "export of what flows sample: "
		case controller:
			kind, wiped = event.ControllerWiped, k.e.metrics.controllerWiped
		case limits:
			kind, wiped = event.LimitsWiped, k.e.metrics.limitsWiped
		case mirrors:
			kind, wiped = event.MirrorWiped, k.e.metrics.mirrorWiped
		default:
		}
		text := fmt.Sprintf("bridge %q: %s%s; it is set up again", u.bridge, what, u.how)
		wait := time.Duration(0)
		if c.recent > contestFree {
			wait = min(contestFirst<<min(c.recent-contestFree-1, 20), contestLast)
			c.until = now.Add(wait)
			text = fmt.Sprintf("bridge %q: %s%s, for the %s time; it is set up again in %s", u.bridge, what, u.how, ordinal(c.recent), wait)
			yields = true
		}
		recent := c.recent
		k.mu.Unlock()
		wiped.Inc()
		k.emitAttributes(h, u.bridge, kind, text, map[string]string{"how": u.how, "times": strconv.Itoa(recent), "again_in_seconds": strconv.Itoa(int(wait.Seconds()))})
	}
	return yields
}

func ordinal(n int) string {
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			return fmt.Sprint(n, "st")
		case 2:
			return fmt.Sprint(n, "nd")
		case 3:
			return fmt.Sprint(n, "rd")
		}
	}
	return fmt.Sprint(n, "th")
}

// told tells once of exports of others.
func (k *keeper) told(h *Host, a *answer) {
	foreign := map[place]string{}
	for i := range a.bridges {
		b := &a.bridges[i]
		at := place{b.Name, limits}
		if b.Limits == nil || b.Limits.foreign() == "" {
			continue
		}
		if foreign[at] = b.Limits.foreign(); k.foreign[at] != foreign[at] {
			k.emitAttributes(h, b.Name, event.LimitsForeign, fmt.Sprintf("bridge %q: %s", b.Name, foreign[at]), map[string]string{"why": foreign[at]})
		}
	}
	tell := func(at place, why string, b *Bridge) {
		foreign[at] = why
		if k.foreign[at] != why {
			k.emit(h, b.Name, event.ExportForeign, fmt.Sprintf("bridge %q: %s", b.Name, why), b)
		}
	}
	for i := range a.bridges {
		b := &a.bridges[i]
		if b.State == StateForeign {
			tell(place{b.Name, ownExport}, b.Why, b)
		}
		if b.Rules != nil && b.Rules.State == StateForeign {
			tell(place{b.Name, rulesExport}, b.Rules.Why, b)
		}
	}
	k.foreign = foreign
}

// tellFailModes tells of bridges that do something else than before while Weir is away.
func (k *keeper) tellFailModes(h *Host, a *answer) {
	there := map[string]bool{}
	for i := range a.bridges {
		b := &a.bridges[i]
		there[b.Name] = true
		was, known := k.failMode[b.Name]
		is := b.Away.Is
		if b.Controller != nil && b.Controller.State != attach.StateSet {
			continue // it is on its way
		}
		k.failMode[b.Name] = is
		if !known || was == is {
			continue
		}
		name := func(m policy.FailMode) string { return cmp.Or(string(m), "as without a fail mode") }
		k.emitAttributes(h, b.Name, event.FailModeChanged, fmt.Sprintf("bridge %q fails %s now: if Weir dies, %s; if Open vSwitch restarts meanwhile, %s", b.Name, name(is), b.Away.IfWeirDies, b.Away.IfSwitchRestarts), map[string]string{
			"before": string(was), "after": string(is), "wanted": string(b.Away.Wanted), "if_weir_dies": b.Away.IfWeirDies, "if_switch_restarts": b.Away.IfSwitchRestarts,
		})
	}
	maps.DeleteFunc(k.failMode, func(name string, _ policy.FailMode) bool { return !there[name] })
}

func (k *keeper) emit(h *Host, bridge string, kind event.Kind, text string, b *Bridge) {
	facts := map[string]string{"protocol": string(b.Protocol), "why": b.Why}
	if b.State == StateSet {
		facts["domain"] = strconv.Itoa(int(b.Domain))
		facts["targets"] = strings.Join(b.Targets, " ")
	}
	k.emitAttributes(h, bridge, kind, text, facts)
}

func (k *keeper) emitAttributes(h *Host, bridge string, kind event.Kind, text string, facts map[string]string) {
	e := event.Event{
		Time: k.e.deps.Now(), Kind: kind, Pool: h.Pool, Host: h.id(), Subject: h.Name, Text: text, Attributes: facts,
	}
	if bridge != "" {
		e.Bridge, e.Subject = h.bridge(bridge), h.Name+"/"+bridge
		facts["bridge"] = bridge
	}
	k.e.deps.Events.Emit(e)
}

// detach removes everything of Weir's.
func (k *keeper) detach(ctx context.Context, h Host, rows *ovsdb.Rows, now time.Time) time.Duration {
	tx, err := release(k.e.cfg.Instance, rows)
	if err != nil {
		return k.refused(now, err)
	}
	if ops := tx.Operations(); ops != nil {
		if wait := k.retry.Sub(now); wait > 0 {
			return wait
		}
		if err := k.transact(ctx, h.Session, ops); err != nil {
			return k.failed(now, err)
		}
		return 0
	}
	k.mu.Lock()
	first := !k.done
	k.mu.Unlock()
	if first { // what the session says may be old
		verify := ovsdb.Select("Open_vSwitch", nil, "external_ids")
		if root := &rows.Root; root.UUID != "" { // else it is a database that no switch has used
			verify = ovsdb.Verify("Open_vSwitch", root.UUID, ovsdb.Values{"external_ids": root.ExternalIDs})
		}
		if err := k.transact(ctx, h.Session, []ovsdb.Operation{verify}); err != nil {
			return k.failed(now, err)
		}
	}
	k.ok(now)
	k.mu.Lock()
	k.done, k.bridges = true, nil
	k.mu.Unlock()
	k.found = nil
	clear(k.changing)
	clear(k.failMode)
	k.mirrored(&h, &answer{}, now)
	if first {
		k.emitAttributes(&h, "", event.HostDetached, "nothing of Weir's is at the host any more; what was there before is back", map[string]string{})
		if k.e.deps.Detached != nil {
			k.e.deps.Detached(h.UUID)
		}
	}
	return lookAgain
}

// plan returns what would be changed now if the host were as change makes it; nil: by detaching.
func (k *keeper) plan(ctx context.Context, change func(*Host)) (Plan, error) {
	k.mu.Lock()
	h := k.host
	k.mu.Unlock()
	if h.Session == nil || h.Session.Rows() == nil {
		return Plan{}, ErrNotSeen
	}
	rows := h.Session.Rows()
	if change == nil {
		tx, err := release(k.e.cfg.Instance, rows)
		if err != nil {
			return Plan{}, err
		}
		p := Plan{Changes: tx.Changes()}
		for _, b := range own.Bridges(rows) {
			if lost := attach.Detaching(rows, b); lost != "" {
				p.Wipes = append(p.Wipes, Wipe{b.Name, lost})
			}
		}
		return p, nil
	}
	change(&h)
	if err := k.complete(&h); err != nil {
		return Plan{}, err
	}
	// A keeper of its own: the one that runs is not disturbed.
	other := newKeeper(k.e, h)
	a, err := decide(other.question(&h, rows))
	if err == nil && len(a.read) > 0 {
		if err = other.readRows(ctx, h.Session, a.read); err == nil {
			a, err = decide(other.question(&h, rows))
		}
	}
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Bridges: a.bridges, Changes: a.tx.Changes()}
	for i := range a.bridges {
		if c := a.bridges[i].Controller; c != nil && c.Wipes != "" && c.State != attach.StateSet {
			p.Wipes = append(p.Wipes, Wipe{a.bridges[i].Name, c.Wipes})
		}
	}
	return p, nil
}
