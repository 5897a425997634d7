package event

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/internal/notify"
)

// Keeper keeps events on disk until the table has them, and gives ids that never repeat.
type Keeper interface {
	// ReserveEventIDs returns the first of n ids that have never been returned before, above floor and above all earlier ones.
	ReserveEventIDs(ctx context.Context, n int, floor uint64) (first uint64, err error)
	KeepEvents(ctx context.Context, events []Event) error
	KeptEvents(ctx context.Context) ([]Event, error) // by id
	DropEvents(ctx context.Context, upTo uint64) error
}

// Table is where events stay: table network_events of the store.
type Table interface {
	// InsertEvents writes events, which are in the order of their ids. After an error it is not known whether they are there.
	InsertEvents(ctx context.Context, events []Event) error
	// EventIDs returns which ids from first to last the table has.
	EventIDs(ctx context.Context, first, last uint64) (map[uint64]bool, error)
	// LastEventID returns the highest id of the table, 0 if it is empty.
	LastEventID(ctx context.Context) (uint64, error)
	// Events returns the events that q asks for, by id.
	Events(ctx context.Context, q Query) ([]Event, error)
}

// Deps are what a Log uses and does not own.
type Deps struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
	Keep    Keeper
	Table   Table
	Now     func() time.Time // nil: time.Now
}

// Log is the one log of network events. An event that is emitted gets the next id, is kept on disk, and is then told to everybody:
// the program's log, followers, and the table, which gets it exactly once, when the store is there.
type Log struct {
	deps Deps
	log  *slog.Logger

	arrived chan struct{} // has an element: queue has something new
	told    chan struct{} // has an element: ring has something new for the table

	mu       sync.Mutex
	queue    []Event // guarded by mu: emitted, not yet seen by Run
	pending  []Event // guarded by mu; Run alone changes its elements: without id
	ring     ring    // guarded by mu
	stored   uint64  // guarded by mu: up to this id the table has what was not dropped
	inserted uint64  // guarded by mu: up to this id events are being inserted
	leaving  uint64  // guarded by mu: of those, how many have left the ring; they wait for the store, too
	kept     uint64  // guarded by mu: up to this id what the table does not have is on disk
	stats    Stats   // guarded by mu

	changes notify.Changes

	ready          chan struct{} // closed when ring knows where this run begins
	next, reserved uint64        // of Run: ids from next to below reserved may be given
}

const (
	maxQueue = 10_000 // events between two looks of Run, which takes milliseconds a look
	ringSize = 20_000 // events in memory; among them all that wait for the store
	idBlock  = 1000   // ids reserved at once
	maxBatch = 1000   // events in one insert, or read at once

	diskTimeout = 10 * time.Second
	retryDisk   = time.Second
	retryMin    = 500 * time.Millisecond // until the store is asked again
	retryMax    = 15 * time.Second
	lastChance  = 2 * time.Second // for the store to take what waits, at the end
)

// Reasons for which the table misses events.
const (
	ReasonQueue = "queue_full" // more at once than could be taken: nobody hears of them
	ReasonAway  = "store_away" // the store was away for too long: everybody else has heard of them
)

// Stats is what a Log has done since the start. Emitted + Found = Stored + Waiting + Σ Dropped.
type Stats struct {
	Emitted uint64            `json:"emitted"`
	Found   uint64            `json:"found"` // on disk, at the start
	Stored  uint64            `json:"stored"`
	Waiting uint64            `json:"waiting"` // for the store
	Dropped map[string]uint64 `json:"dropped"` // by reason; every reason is there
	Away    string            `json:"away,omitempty"`
	Unkept  string            `json:"unkept,omitempty"` // why those that wait are not all on disk; empty if they are
	LastID  uint64            `json:"last_id"`          // of the newest
}

// New wires a log, which takes events from now on. It starts nothing.
func New(d Deps) (*Log, error) {
	if d.Log == nil || d.Keep == nil || d.Table == nil {
		return nil, errors.New("make event log: a dependency is missing: want Log, Keep and Table")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	l := &Log{
		deps: d, log: d.Log.With("part", "events"), arrived: make(chan struct{}, 1), told: make(chan struct{}, 1), ready: make(chan struct{}),
		stats: Stats{Dropped: map[string]uint64{ReasonQueue: 0, ReasonAway: 0}},
	}
	if d.Metrics != nil {
		d.Metrics.MustRegister(newMetrics(l))
	}
	return l, nil
}

// Emit takes an event. Its ID is ignored, and a zero Time is now. It never blocks, and events of one goroutine keep their order. What
// is longer than an event's bounds is cut.
func (l *Log) Emit(e Event) {
	e.ID = 0
	if e.Time.IsZero() {
		e.Time = l.deps.Now()
	}
	e.Time = e.Time.UTC().Truncate(time.Millisecond) // what the table can tell apart
	e.bound()
	l.mu.Lock()
	l.stats.Emitted++
	if len(l.queue) >= maxQueue {
		l.stats.Dropped[ReasonQueue]++
	} else {
		l.queue = append(l.queue, e)
	}
	l.mu.Unlock()
	signal(l.arrived)
}

// signal leaves an element in c, which has room for one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is waiting to be read already
	}
}

// Subscribe returns a channel that gets an element after new events were told; several may be merged into one. The subscriber calls
// cancel when it is done; the channel is never closed.
func (l *Log) Subscribe() (changes <-chan struct{}, cancel func()) {
	return l.changes.Subscribe()
}

// Stats returns what was done so far.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Dropped = maps.Clone(s.Dropped)
	inRing := len(l.ring.events) - l.ring.above(max(l.stored, l.ring.before))
	s.Waiting = uint64(len(l.queue)+len(l.pending)+inRing) + l.leaving
	s.LastID = l.ring.last
	return s
}

// Run gives ids to what is emitted, keeps it and tells it, until ctx is done and all that was emitted before is told. The store gets
// a last chance of two seconds to take what waits; the rest is on disk for the next run.
func (l *Log) Run(ctx context.Context) error {
	if err := l.recover(ctx); err != nil {
		return fmt.Errorf("run event log: %w", err)
	}
	storing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended, stored := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stored)
		l.storeAll(storing, ended)
	}()
	retry := time.NewTicker(retryDisk)
	defer retry.Stop()
	for ctx.Err() == nil {
		select {
		case <-l.arrived:
		case <-retry.C:
		case <-ctx.Done():
			continue
		}
		l.take(ctx)
	}
	l.take(ctx)
	close(ended)
	defer time.AfterFunc(lastChance, stop).Stop()
	<-stored
	return nil
}

// recover finds what an earlier run left on disk, and the first ids.
func (l *Log) recover(ctx context.Context) error {
	// Also for a run that ends at once: it has events.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*diskTimeout)
	defer cancel()
	kept, err := l.deps.Keep.KeptEvents(ctx)
	if err != nil {
		return err
	}
	// The counter alone is right unless the state was lost and the table was not.
	asking, stop := context.WithTimeout(ctx, diskTimeout)
	floor, err := l.deps.Table.LastEventID(asking)
	stop()
	if err != nil {
		l.log.Warn("highest event id of the store not known, ids go on from the state's", "err", err)
	}
	if len(kept) > 0 {
		floor = max(floor, kept[len(kept)-1].ID)
	}
	if first, err := l.deps.Keep.ReserveEventIDs(ctx, idBlock, floor); err == nil {
		l.next, l.reserved = first, first+idBlock
	} else { // a full disk does not keep Weir from starting: events wait until there are ids
		l.noteDisk(err)
		l.next, l.reserved = floor+1, floor+1
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring.before = l.next - 1
	l.ring.last = l.next - 1
	if len(kept) > 0 {
		l.ring.before = kept[0].ID - 1
	}
	l.stored, l.inserted, l.kept = l.ring.before, l.ring.before, l.ring.last
	for _, e := range kept {
		l.push(e)
	}
	l.stats.Found = uint64(len(kept))
	close(l.ready)
	return nil
}

// push puts an event that has an id into the ring. If that drops one that the table does not have, nobody will bring it there. l.mu is held.
func (l *Log) push(e Event) {
	switch gone := l.ring.push(e, ringSize); {
	case gone > max(l.stored, l.inserted):
		l.stats.Dropped[ReasonAway]++
		l.stored, l.inserted = gone, gone
	case gone > l.stored:
		l.leaving++
	}
}

// take gives ids to what was emitted, keeps it on disk and tells it. What gets no id, since no more can be reserved, stays pending.
func (l *Log) take(ctx context.Context) {
	ctx = context.WithoutCancel(ctx) // to its end, once begun
	l.keepMissed(ctx)
	for {
		l.mu.Lock()
		if len(l.pending) == 0 {
			l.pending, l.queue = l.queue, nil
		}
		events := l.pending[:min(len(l.pending), maxBatch)]
		l.mu.Unlock()
		if len(events) == 0 {
			return
		}
		n, err := l.number(ctx, events)
		if err != nil {
			l.noteDisk(err)
			return
		}
		l.keep(ctx, events[:n])
		l.tell(events[:n])
	}
}

// number gives the first events the ids that are reserved, at least one, and says how many got one.
func (l *Log) number(ctx context.Context, events []Event) (int, error) {
	if l.next == l.reserved {
		ctx, cancel := context.WithTimeout(ctx, diskTimeout)
		defer cancel()
		first, err := l.deps.Keep.ReserveEventIDs(ctx, idBlock, l.next-1)
		if err != nil {
			return 0, err
		}
		l.next, l.reserved = first, first+idBlock
	}
	n := min(len(events), int(l.reserved-l.next))
	for i := range events[:n] {
		events[i].ID = l.next
		l.next++
	}
	return n, nil
}

// keep keeps numbered events on disk. Where that does not work they are in memory only, and keepMissed tries again.
func (l *Log) keep(ctx context.Context, events []Event) {
	ctx, cancel := context.WithTimeout(ctx, diskTimeout)
	defer cancel()
	err := l.deps.Keep.KeepEvents(ctx, events)
	l.noteDisk(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && l.kept >= l.ring.last { // no earlier one is missing
		l.kept = events[len(events)-1].ID
	}
}

// keepMissed keeps those in memory that the disk did not take, unless the table has them by now.
func (l *Log) keepMissed(ctx context.Context) {
	l.mu.Lock()
	events := l.ringAbove(max(l.kept, l.stored), maxBatch)
	l.mu.Unlock()
	if len(events) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, diskTimeout)
	defer cancel()
	err := l.deps.Keep.KeepEvents(ctx, events)
	l.noteDisk(err)
	if err == nil {
		l.mu.Lock()
		l.kept = events[len(events)-1].ID
		l.mu.Unlock()
	}
}

// noteDisk notes whether the disk takes events.
func (l *Log) noteDisk(err error) {
	l.mu.Lock()
	before := l.stats.Unkept
	l.stats.Unkept = ""
	if err != nil {
		l.stats.Unkept = err.Error()
	}
	l.mu.Unlock()
	switch {
	case err != nil && before == "":
		l.log.Error("events not kept on disk", "err", err)
	case err == nil && before != "":
		l.log.Info("events are kept on disk again")
	}
}

// tell makes numbered events, the first of pending, known to everybody.
func (l *Log) tell(events []Event) {
	for i := range events {
		logEvent(l.log, &events[i])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		l.push(e)
	}
	l.pending = l.pending[len(events):]
	signal(l.told)
	l.changes.Tell()
}

// levels of severities in the program's log.
var levels = map[Severity]slog.Level{SeverityError: slog.LevelError, SeverityWarning: slog.LevelWarn}

func logEvent(log *slog.Logger, e *Event) {
	log.LogAttrs(context.Background(), levels[e.Kind.Severity()], "network event",
		slog.String("kind", string(e.Kind)), slog.String("subject", e.Subject), slog.String("text", e.Text), slog.Uint64("event", e.ID))
}

// ringAbove returns a copy of the first n events whose ids are above id. l.mu is held.
func (l *Log) ringAbove(id uint64, n int) []Event {
	var events []Event
	for i := l.ring.above(id); i < len(l.ring.events) && len(events) < n; i++ {
		events = append(events, *l.ring.at(i))
	}
	return events
}

// storeAll brings events into the table until ended is closed and there are no more, or the table fails after that, or ctx is done.
func (l *Log) storeAll(ctx context.Context, ended <-chan struct{}) {
	doubt := true // an earlier run may have stored what it left on disk
	delay := retryMin
	for ctx.Err() == nil {
		l.mu.Lock()
		events := l.ringAbove(l.stored, maxBatch)
		if len(events) > 0 {
			l.inserted = events[len(events)-1].ID
		}
		l.mu.Unlock()
		if len(events) == 0 {
			select {
			case <-l.told:
			case <-ended:
				l.mu.Lock()
				none := l.ring.last <= l.stored
				l.mu.Unlock()
				if none {
					return
				}
			case <-ctx.Done():
			}
			continue
		}
		err := l.store(ctx, events, doubt)
		l.finish(ctx, events, err)
		if doubt = err != nil; !doubt {
			delay = retryMin
			continue
		}
		select {
		case <-time.After(delay):
		case <-ended:
			return // they are on disk
		case <-ctx.Done():
		}
		delay = min(2*delay, retryMax)
	}
}

// store inserts events. In doubt those that the table has already are left out.
func (l *Log) store(ctx context.Context, events []Event, doubt bool) error {
	if doubt {
		have, err := l.deps.Table.EventIDs(ctx, events[0].ID, events[len(events)-1].ID)
		if err != nil {
			return err
		}
		events = slices.DeleteFunc(slices.Clone(events), func(e Event) bool { return have[e.ID] })
	}
	if len(events) == 0 {
		return nil
	}
	return l.deps.Table.InsertEvents(ctx, events)
}

// finish notes whether the table has taken events.
func (l *Log) finish(ctx context.Context, events []Event, err error) {
	last := events[len(events)-1].ID
	l.mu.Lock()
	before := l.stats.Away
	if err == nil {
		l.stored = max(l.stored, last)
		l.stats.Stored += uint64(len(events))
		l.stats.Away = ""
	} else {
		l.stats.Away = err.Error()
		l.stats.Dropped[ReasonAway] += l.leaving // they cannot be tried again
		l.stored = max(l.stored, min(l.ring.before, last))
		l.inserted = l.stored
	}
	l.leaving = 0
	stored := l.stored
	l.mu.Unlock()
	switch {
	case err != nil && before == "" && ctx.Err() == nil:
		l.log.Warn("events wait for the store", "err", err)
	case err == nil && before != "":
		l.log.Info("the store takes events again")
	}
	forgetting, cancel := context.WithTimeout(context.WithoutCancel(ctx), diskTimeout)
	defer cancel()
	if err := l.deps.Keep.DropEvents(forgetting, stored); err != nil {
		l.log.Warn("events not dropped from disk, the next time", "err", err)
	}
}

// Events returns the events that q asks for, by id: those of the table, and those that wait for it. If the table does not answer, those
// in memory are returned together with the error. Before Run it waits for that.
func (l *Log) Events(ctx context.Context, q Query) ([]Event, error) {
	if err := l.begun(ctx); err != nil {
		return nil, err
	}
	l.mu.Lock()
	recent := l.ring.find(q)
	before := l.ring.before
	l.mu.Unlock()
	if q.After >= before || (!q.Oldest && q.Limit > 0 && len(recent) >= q.Limit) {
		return q.limit(recent), nil
	}
	old := q
	if old.Before = before + 1; q.Before > 0 {
		old.Before = min(old.Before, q.Before)
	}
	if q.Limit > 0 && !q.Oldest {
		old.Limit -= len(recent)
	}
	list, err := l.deps.Table.Events(ctx, old)
	if err != nil {
		return q.limit(recent), fmt.Errorf("read events of the store: %w", err)
	}
	return q.limit(append(list, recent...)), nil
}

// begun waits until Run has begun.
func (l *Log) begun(ctx context.Context) error {
	select {
	case <-l.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// LastID returns the id of the newest event, or, before the first of this run, one that is below those to come and above earlier ones.
// Before Run it waits for that.
func (l *Log) LastID(ctx context.Context) (uint64, error) {
	if err := l.begun(ctx); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ring.last, nil
}

// Follow calls send with the events above the id after that q asks for (its range and limit aside), oldest first, some at a time, and goes
// on with those to come until ctx is done, send fails, or older ones have to be read and the store does not answer; it returns why. seen is up
// to which id events were looked at, which is where a later Follow goes on; there may be none of them that q asks for. Nothing is left out,
// however slow send is, as long as the table keeps it.
func (l *Log) Follow(ctx context.Context, after uint64, q Query, send func(events []Event, seen uint64) error) error {
	changes, cancel := l.Subscribe()
	defer cancel()
	last, err := l.LastID(ctx)
	if err != nil {
		return err
	}
	q.After = min(after, last) // above it are ids of a log that was lost
	q.From, q.To, q.Before, q.Limit, q.Oldest = time.Time{}, time.Time{}, 0, maxBatch, true
	for ctx.Err() == nil {
		events, seen, err := l.following(ctx, q)
		if err != nil {
			return err
		}
		if seen > q.After {
			if err := send(events, seen); err != nil {
				return err
			}
			q.After = seen
			continue
		}
		select {
		case <-changes:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// following returns up to Limit events after q.After, and up to which id it looked.
func (l *Log) following(ctx context.Context, q Query) (events []Event, seen uint64, err error) {
	l.mu.Lock()
	before := l.ring.before
	seen = l.ring.last
	for i := l.ring.above(q.After); i < len(l.ring.events); i++ {
		e := l.ring.at(i)
		if len(events) == q.Limit {
			seen = events[len(events)-1].ID
			break
		}
		if q.Matches(e) {
			events = append(events, *e)
		}
	}
	l.mu.Unlock()
	if q.After >= before {
		return events, seen, nil
	}
	q.Before = before + 1
	if events, err = l.deps.Table.Events(ctx, q); err != nil {
		return nil, q.After, fmt.Errorf("read events of the store: %w", err)
	}
	if len(events) == q.Limit {
		return events, events[len(events)-1].ID, nil
	}
	return events, before, nil
}
