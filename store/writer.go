package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/store/wal"
)

// WriterConfig is about batches on their way to the store.
type WriterConfig struct {
	Queue        int           `yaml:"queue" doc:"Batches that may wait in memory for the write-ahead log; those that come while so many wait are dropped and counted. A batch takes some 300 bytes a flow."`
	JoinRows     int           `yaml:"join_rows" doc:"While the store is behind, batches are joined to one of so many flows at most, since few large inserts cost it less than many small ones. 0 joins none."`
	Inserters    int           `yaml:"inserters" doc:"Inserts at a time."`
	RetryFirst   time.Duration `yaml:"retry_first" doc:"Pause before an insert that failed is tried again; each further pause is twice as long."`
	RetryMax     time.Duration `yaml:"retry_max" doc:"Longest pause between two tries."`
	FlushTimeout time.Duration `yaml:"flush_timeout" doc:"At the end, longest wait until the batches that still wait are stored; those that are not stay in the write-ahead log."`
}

// DefaultWriterConfig keeps two inserts under way, and joins three full batches: they still fit the memory of the log.
func DefaultWriterConfig() WriterConfig {
	return WriterConfig{
		Queue: 32, JoinRows: 160_000, Inserters: 2, RetryFirst: 100 * time.Millisecond, RetryMax: 5 * time.Second, FlushTimeout: 10 * time.Second,
	}
}

// Validate reports everything that is wrong with c, each with its key.
func (c *WriterConfig) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	if c.Queue < 1 || c.Queue > 10_000 {
		refuse("queue", "found %d, want 1 to 10000", c.Queue)
	}
	if c.JoinRows < 0 || c.JoinRows > 500_000 {
		refuse("join_rows", "found %d, want 0 to 500000", c.JoinRows) // the store makes two parts of more than a million
	}
	if c.Inserters < 1 || c.Inserters > 16 {
		refuse("inserters", "found %d, want 1 to 16", c.Inserters)
	}
	if c.RetryFirst < time.Millisecond || c.RetryFirst > c.RetryMax {
		refuse("retry_first", "found %s, want 1ms to retry_max (%s)", c.RetryFirst, c.RetryMax)
	}
	if c.RetryMax > time.Hour {
		refuse("retry_max", "found %s, want at most 1h", c.RetryMax)
	}
	if c.FlushTimeout < 0 || c.FlushTimeout > time.Hour {
		refuse("flush_timeout", "found %s, want 0s to 1h", c.FlushTimeout)
	}
	return errors.Join(errs...)
}

// WriterDeps are what a Writer uses and does not own.
type WriterDeps struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
	Client  *Client
	WAL     *wal.Log // of this Writer alone, open while Run runs

	// Recycle takes back a batch as soon as the log has it or it is dropped; FreeList.Put is meant.
	Recycle func(*flow.Batch)

	// Derive adds to r what else is to be stored of batches, whose flows are in r already: rollups. The tables need the
	// column batch, with r.Batch in each row that is added. It is called by one goroutine. May be nil.
	Derive func(r *wal.Record, batches []*flow.Batch)
}

// Reasons for which rows are dropped.
const (
	DropStoreFull = "store_full" // the log was full, and as many batches as may wait were waiting for it
	DropRefused   = "refused"    // the store said that the rows themselves are wrong; trying again would not help
	DropStopped   = "stopped"    // Run had ended, or its time to flush was over, before the log had the batch
	DropCorrupt   = "corrupt"    // the log could not be read
	DropUnclear   = "unclear"    // the store had a part of what was in doubt; the rest is not sent, so that nothing is there twice
)

// DropReasons lists every reason.
var DropReasons = []string{DropStoreFull, DropRefused, DropStopped, DropCorrupt, DropUnclear}

// Writer brings sealed batches into table flows, and what is derived of them into further tables, by way of a write-ahead
// log: each batch once, whatever is killed when.
//
//	Seal ─► queue ─► encoder: blocks, Derive ─► log ─► inserters: insert, again and again ─► Retire
//	                                             └─► Recycle
//
// An insert costs the store much, whatever is in it, and parts of few rows are merged more often. So while the store is behind,
// batches that follow each other are joined to one, under the id of the first.
//
// A batch is safe when the log has it. What the log has is inserted until the store takes it, also by the next Writer
// after a restart. A slow store fills the log, a full log the queue, and only a full queue drops.
//
// An insert whose answer did not come, or that failed, may have succeeded. So before it is repeated the store is asked
// how many rows of the piece it has. None does not yet mean that a repetition is safe: the first try may still be under way,
// so it is repeated under the same deduplication token, which lets only one of them in. But ClickHouse writes a token down
// before the rows: if it died in between, the repetition is answered with success and nothing is stored. So the store is
// asked again, and if there still is nothing, the token is known to be spent and the next one is taken. Records that the
// log calls in doubt, having been sent by a process that died, go the same way from the start.
type Writer struct {
	cfg   WriterConfig
	deps  WriterDeps
	log   *slog.Logger
	queue chan *flow.Batch
	tally tally

	// Of the encoder.
	gathered []*flow.Batch
	ahead    *flow.Batch // out of the queue, and too large to be joined with what was before it

	latency prometheus.Histogram

	mu      sync.Mutex
	stats   WriterStats // guarded by mu; Dropped is never nil
	stopped bool        // guarded by mu: Run has taken the last batch out of the queue
	derived uint64      // guarded by mu: batches whose rows were encoded, or are being
	logged  uint64      // guarded by mu: those of them that the log has, or that were dropped
	told    time.Time   // guarded by mu: when a drop was logged last
	untold  int         // guarded by mu: batches dropped since
}

// WriterStats counts what became of sealed batches. In + Replayed = Stored + Σ Dropped + Waiting holds for rows at every
// moment, and for batches with Joined on the right side. A batch of which any row was dropped is a dropped one.
type WriterStats struct {
	In       Amount            `json:"in"`             // sealed
	Replayed Amount            `json:"replayed"`       // found in the log, from former runs
	Logged   Amount            `json:"logged"`         // of In, those that the log took
	Stored   Amount            `json:"stored"`         // committed by the store
	Waiting  Amount            `json:"waiting"`        // in the queue, in the log, or under way
	Dropped  map[string]Amount `json:"dropped"`        // by reason; every reason is there
	Joined   uint64            `json:"joined_batches"` // batches that went on as a part of another, in the figures above as rows only

	DerivedStored  uint64 `json:"derived_stored_rows"`  // rows of tables other than flows
	DerivedDropped uint64 `json:"derived_dropped_rows"` // the same

	Bytes       uint64    `json:"bytes"`                // encoded, of stored blocks
	Inserts     uint64    `json:"inserts"`              // that succeeded
	Retries     uint64    `json:"retries"`              // tries that failed and were repeated
	Found       uint64    `json:"found"`                // pieces in doubt that the store had
	Respent     uint64    `json:"respent"`              // pieces whose token the store knew without having the rows; they were sent again under another one
	Doubled     uint64    `json:"doubled_rows"`         // rows that the store had more of than were sent
	LastStored  time.Time `json:"last_stored,omitzero"` // end of the last insert that succeeded; zero if none
	LastError   string    `json:"last_error,omitempty"` // of the last try that failed; empty if none
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	AwaySince   time.Time `json:"away_since,omitzero"` // when the first of the tries failed that failed since one succeeded last; zero if the last one did

	WAL wal.Stats `json:"wal"`
}

// Amount is a number of batches and of the rows in them.
type Amount struct {
	Batches uint64 `json:"batches"`
	Rows    uint64 `json:"rows"`
}

func (a *Amount) add(batches, rows int) {
	a.Batches += uint64(batches)
	a.Rows += uint64(rows)
}

func (a *Amount) sub(batches, rows int) {
	a.Batches -= uint64(batches)
	a.Rows -= uint64(rows)
}

// NewWriter checks and wires; it starts nothing.
func NewWriter(cfg WriterConfig, d WriterDeps) (*Writer, error) {
	if err := strictyaml.Validate(&cfg); err != nil {
		return nil, fmt.Errorf("configure store writer: %w", err)
	}
	if d.Log == nil || d.Client == nil || d.WAL == nil || d.Recycle == nil {
		return nil, errors.New("configure store writer: a dependency is missing: want Log, Client, WAL and Recycle")
	}
	w := &Writer{cfg: cfg, deps: d, log: d.Log.With("part", "store_writer"), queue: make(chan *flow.Batch, cfg.Queue), latency: newLatency()}
	w.stats.Dropped = map[string]Amount{}
	for _, reason := range DropReasons {
		w.stats.Dropped[reason] = Amount{}
	}
	found := d.WAL.Stats()
	w.stats.Replayed = Amount{found.Recovered, found.RecoveredRows}
	w.stats.Waiting = w.stats.Replayed
	if d.Metrics != nil {
		if err := d.Metrics.Register(metrics{w}); err != nil {
			return nil, fmt.Errorf("register metrics of the store writer: %w", err)
		}
	}
	return w, nil
}

// Seal takes over b, which has at least one row and one id, not 0, in column ID of all its rows. It never blocks: b is
// queued, or dropped and counted. It may be called from several goroutines, before, while and after Run runs.
func (w *Writer) Seal(b *flow.Batch) {
	rows := b.Len()
	if rows == 0 || b.ID[0] == 0 {
		panic("BUG: sealed batch without rows or id")
	}
	w.mu.Lock()
	w.stats.In.add(1, rows)
	w.stats.Waiting.add(1, rows)
	reason := DropStopped
	if !w.stopped {
		select {
		case w.queue <- b:
			reason = ""
		default:
			reason = DropStoreFull
		}
	}
	w.mu.Unlock()
	if reason != "" {
		w.drop(1, rows, reason, nil)
		lose(b.Shares)
		w.deps.Recycle(b)
	}
}

// Check says whether the equation of s does not hold.
func (s *WriterStats) Check() error {
	var dropped Amount
	for _, d := range s.Dropped {
		dropped.Batches += d.Batches
		dropped.Rows += d.Rows
	}
	in := Amount{s.In.Batches + s.Replayed.Batches, s.In.Rows + s.Replayed.Rows}
	out := Amount{s.Stored.Batches + dropped.Batches + s.Waiting.Batches + s.Joined, s.Stored.Rows + dropped.Rows + s.Waiting.Rows}
	if in != out {
		return fmt.Errorf("sealed and replayed %+v, stored, dropped and waiting %+v", in, out)
	}
	return nil
}

// Stats returns the counters.
func (w *Writer) Stats() WriterStats {
	w.mu.Lock()
	s := w.stats
	s.Dropped = maps.Clone(s.Dropped)
	w.mu.Unlock()
	s.WAL = w.deps.WAL.Stats()
	return s
}

// Run works until ctx is done, then brings what is in the queue into the log and what is in the log into the store, for
// Config.FlushTimeout at most. It does not wait for a store that is away. What then is in the log stays there; what is not
// is dropped and counted. Whoever calls Seal should have ended before. It is called once and returns nil.
func (w *Writer) Run(ctx context.Context) error {
	insert, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	flush := time.AfterFunc(math.MaxInt64, cut)
	defer flush.Stop()
	defer context.AfterFunc(ctx, func() { flush.Reset(w.cfg.FlushTimeout) })()
	filling, filled := context.WithCancel(context.WithoutCancel(ctx)) // filled: the log gets no further record
	defer filled()
	var g errgroup.Group
	g.Go(func() error {
		defer filled()
		for b, ok := w.next(ctx); ok; b, ok = w.next(ctx) {
			w.append(insert, w.gather(ctx, b))
		}
		return nil
	})
	for range w.cfg.Inserters {
		g.Go(func() error { return w.insertAll(filling, ctx, insert) })
	}
	err := g.Wait()
	s := w.Stats()
	rows := s.In.Rows + s.Replayed.Rows
	w.log.Info("store writer stopped", "flows", rows, "stored", s.Stored.Rows, "left_in_log", s.Waiting.Rows,
		"dropped", rows-s.Stored.Rows-s.Waiting.Rows)
	if s.WAL.Volatile > 0 {
		w.log.Error("batches that the disk did not take are lost", "batches", s.WAL.Volatile)
	}
	return err
}

// Settled waits until nothing is on its way any more of what Derive was called for before: it is stored or dropped, also
// what former runs left in the log. It returns an error if that does not come to be before ctx is done.
func (w *Writer) Settled(ctx context.Context) error {
	w.mu.Lock()
	derived := w.derived
	w.mu.Unlock()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		w.mu.Lock()
		logged := w.logged
		w.mu.Unlock()
		if logged >= derived {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for batches to be stored: %w", ctx.Err())
		}
	}
	if err := w.deps.WAL.Settled(ctx); err != nil {
		return fmt.Errorf("wait for batches to be stored: %w", err)
	}
	return nil
}

// next returns the next batch, or false when ctx is done and none is left: from then on Seal takes none.
func (w *Writer) next(ctx context.Context) (*flow.Batch, bool) {
	if b := w.ahead; b != nil {
		w.ahead = nil
		return b, true
	}
	select {
	case b := <-w.queue:
		return b, true
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case b := <-w.queue:
		return b, true
	default:
		w.stopped = true
		return nil, false
	}
}

// joinWait bounds how long a batch waits for others: what waits is lost if the process is killed.
const joinWait = 500 * time.Millisecond

// gather returns b and the batches behind it that are to be logged and stored as one with it: while the store is behind, those
// that come within joinWait. They have Config.JoinRows rows at most, if b does not have more alone.
func (w *Writer) gather(ctx context.Context, b *flow.Batch) []*flow.Batch {
	list, rows := append(w.gathered[:0], b), b.Len()
	defer func() { w.gathered = list }()
	if rows+b.Len() > w.cfg.JoinRows || !w.behind() {
		return list
	}
	const look = 10 * time.Millisecond
	tick := time.NewTicker(look)
	defer tick.Stop()
	for end := time.Now().Add(joinWait); ; {
		for len(w.queue) > 0 { // there is no other receiver
			next := <-w.queue
			if rows += next.Len(); rows > w.cfg.JoinRows {
				w.ahead = next
				return list
			}
			list = append(list, next)
		}
		if rows+b.Len() > w.cfg.JoinRows || !w.behind() || !time.Now().Before(end) {
			return list
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return list
		}
	}
}

// behind reports whether the log has more than the inserters are busy with.
func (w *Writer) behind() bool { return w.deps.WAL.Waiting() > w.cfg.Inserters }

// join makes batches one: under the id of the first, which it returns.
func (w *Writer) join(batches []*flow.Batch) (id uint64, shares []flow.Share) {
	first := batches[0]
	id, shares = first.ID[0], first.Shares
	for _, b := range batches[1:] {
		ids := b.ID[:b.Len()]
		for i := range ids {
			ids[i] = id
		}
		shares = append(shares, b.Shares...)
	}
	if n := uint64(len(batches) - 1); n > 0 {
		w.mu.Lock()
		w.stats.Joined += n
		w.stats.Waiting.Batches -= n
		w.mu.Unlock()
	}
	return id, shares
}

// flowsTable is the table of the batches themselves.
const flowsTable = "flows"

// append encodes batches as one, brings them into the log, as soon as that has room, and gives them back. ctx is done when
// nothing is to be waited for any more.
func (w *Writer) append(ctx context.Context, batches []*flow.Batch) {
	w.mu.Lock()
	w.derived++
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.logged++
		w.mu.Unlock()
		for _, b := range batches {
			w.deps.Recycle(b)
		}
	}()
	id, shares := w.join(batches)
	r := w.deps.WAL.New()
	encode(r, batches)
	if w.deps.Derive != nil {
		w.deps.Derive(r, batches)
	}
	rows := r.Rows
	w.tally.begin(id, shares)
	for {
		err := w.deps.WAL.Append(r)
		switch {
		case err == nil:
			w.tally.logged(id)
			w.mu.Lock()
			w.stats.Logged.add(1, rows)
			w.mu.Unlock()
			return
		case errors.Is(err, wal.ErrFull):
			if w.waitForRoom(ctx) {
				continue
			}
			w.drop(1, rows, DropStopped, err)
		case errors.Is(err, wal.ErrClosed):
			w.drop(1, rows, DropStopped, err)
		default:
			w.drop(1, rows, DropRefused, err)
		}
		w.tally.end(id, rows, rows)
		return
	}
}

// waitForRoom waits until the log may have room, or returns false when ctx is done.
func (w *Writer) waitForRoom(ctx context.Context) bool {
	const look = 250 * time.Millisecond // what makes room on a disk is not told
	timer := time.NewTimer(look)
	defer timer.Stop()
	select {
	case <-w.deps.WAL.Freed():
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return ctx.Err() == nil
}

// encode puts batches into r, cut where the day changes, since table flows has a partition for each day (UTC) of
// time_received. Almost every record is one piece.
func encode(r *wal.Record, batches []*flow.Batch) {
	const day = 24 * 60 * 60 * 1000 // ms
	r.Batch, r.First, r.Last = batches[0].ID[0], math.MaxInt64, math.MinInt64
	for _, b := range batches {
		rows := b.Len()
		times := b.TimeReceived[:rows]
		r.Rows += rows
		r.First, r.Last = min(r.First, slices.Min(times)), max(r.Last, slices.Max(times))
		for from := 0; from < rows; {
			to := from + 1
			for to < rows && times[to]/day == times[from]/day {
				to++
			}
			partition := time.UnixMilli(times[from]).UTC().Format("20060102")
			r.Add(flowsTable, partition, to-from, func(dst []byte) []byte { return b.AppendNativeRows(dst, from, to) })
			from = to
		}
	}
}

// insertAll is one inserter: it takes records out of the log until filling is done and none is left. After ctx is done a
// try that failed is not repeated, and when insert is done nothing is sent any more.
func (w *Writer) insertAll(filling, ctx, insert context.Context) error {
	for insert.Err() == nil {
		r, err := w.deps.WAL.Next(filling)
		if lost, ok := errors.AsType[*wal.LostError](err); ok {
			w.drop(lost.Records, int(lost.Rows), DropCorrupt, err)
			continue
		}
		if err != nil {
			return nil //nolint:nilerr // filling is done, or the log was closed
		}
		w.store(ctx, insert, r)
	}
	return nil
}

// store brings all of r into the store and retires it, or leaves it in the log when it is time to end.
func (w *Writer) store(ctx, insert context.Context, r *wal.Record) {
	var lost Amount // flows of r that are not stored
	var derivedStored, derivedDropped, stored uint64
	reason := ""
	for i := range r.Pieces {
		p := &r.Pieces[i]
		missing, why, err := w.insert(ctx, insert, r, i)
		if err != nil && why == "" {
			return
		}
		stored += uint64(len(r.Block(i)))
		switch {
		case p.Table != flowsTable:
			derivedStored += uint64(p.Rows - missing)
			derivedDropped += uint64(missing)
		case missing > 0:
			lost.Rows += uint64(missing)
			reason = why
		}
		if missing > 0 {
			w.log.Error("rows of a batch are not stored", "batch", strconv.FormatUint(r.Batch, 16), "table", p.Table, "rows", missing, "reason", why, "err", err)
		}
	}
	rows := uint64(r.Rows) - lost.Rows
	w.tally.end(r.Batch, r.Rows, int(lost.Rows))
	w.deps.WAL.Retire(r) // r is the log's from here on
	w.mu.Lock()
	s := &w.stats
	s.Waiting.Rows -= rows
	s.Stored.Rows += rows
	if lost.Rows == 0 {
		s.Waiting.Batches--
		s.Stored.Batches++
	}
	s.Bytes += stored
	s.DerivedStored += derivedStored
	s.DerivedDropped += derivedDropped
	w.mu.Unlock()
	if lost.Rows > 0 {
		w.drop(1, int(lost.Rows), reason, nil)
	}
	if w.idle() {
		if left := w.tally.open(); len(left) > 0 && w.idle() { // the log lost them
			w.tally.lose(left)
		}
	}
}

// idle reports whether no batch is in the queue, in the log, or under way.
func (w *Writer) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats.Waiting.Batches == 0
}

// maxGeneration bounds how often a piece is sent under a new token: more often there is something else behind it.
const maxGeneration = 8

// pieceToken is by what the store knows a piece when it comes again. A later generation is for when the store knows the token
// of the one before and does not have the rows.
func pieceToken(r *wal.Record, p *wal.Piece, generation int) string {
	t := strconv.FormatUint(r.Batch, 16) + "-" + p.Table + "-" + p.Partition
	if generation > 0 {
		t += "-" + strconv.Itoa(generation)
	}
	return t
}

// insert inserts piece i of r, as often as it takes. missing rows of it will never be stored, for reason why. An error
// without a reason means that it is not known to be stored and that it is time to end.
func (w *Writer) insert(ctx, insert context.Context, r *wal.Record, i int) (missing int, why string, err error) {
	p := &r.Pieces[i]
	end := insert.Done()
	if r.Durable() {
		end = ctx.Done() // the next Writer goes on
	}
	pause := w.cfg.RetryFirst
	again := func(err error) (missing int, why string, _ error) {
		retry := isRetryable(err) && insert.Err() == nil
		w.failed(err, retry)
		if insert.Err() != nil {
			return 0, "", err
		}
		if !retry {
			return p.Rows, DropRefused, err
		}
		// Jitter, so that many collectors do not come back in step.
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
		defer timer.Stop()
		pause = min(2*pause, w.cfg.RetryMax)
		select {
		case <-insert.Done():
			return 0, "", err
		case <-end:
			return 0, "", err
		case <-timer.C:
			return 0, "", nil
		}
	}
	doubt, taken, generation := r.Doubt, false, 0 // taken: the store said that it took the piece under this token
	for {
		if doubt {
			rows, err := w.count(insert, r, p)
			if err != nil {
				if missing, why, err := again(err); err != nil {
					return missing, why, err
				}
				continue
			}
			if rows > 0 {
				return w.resolve(r, p, rows, !taken)
			}
			if taken {
				atomic, err := w.dedupIsAtomic(insert, p.Table)
				if err != nil {
					if missing, why, err := again(err); err != nil {
						return missing, why, err
					}
					continue
				}
				if atomic {
					return 0, "", nil
				}
				if generation++; generation > maxGeneration {
					return p.Rows, DropUnclear, fmt.Errorf("the store took it %d times under different tokens and has no row", generation)
				}
				doubt = r.Doubt // a former process may have used the next token too
				w.mu.Lock()
				w.stats.Respent++
				w.mu.Unlock()
			}
		}
		start := time.Now()
		_, err := w.deps.Client.InsertNative(insert, p.Table, r.Block(i), pieceToken(r, p, generation))
		w.latency.Observe(time.Since(start).Seconds())
		if err == nil {
			w.succeeded()
			if !doubt {
				return 0, "", nil
			}
			taken = true
			continue
		}
		doubt, taken = true, false
		if missing, why, err := again(err); err != nil {
			return missing, why, err
		}
	}
}

// resolve is what becomes of a piece in doubt of which the store has rows rows. found tells that it had them before they
// were sent again.
func (w *Writer) resolve(r *wal.Record, p *wal.Piece, rows uint64, found bool) (missing int, why string, err error) {
	w.answered()
	w.mu.Lock()
	defer w.mu.Unlock()
	if found {
		w.stats.Found++
	}
	want := uint64(p.Rows)
	switch {
	case rows < want:
		return int(want - rows), DropUnclear, fmt.Errorf("the store has %d of %d rows", rows, want)
	case rows > want:
		w.stats.Doubled += rows - want
		w.log.Error("store has more rows of a batch than were sent", "batch", strconv.FormatUint(r.Batch, 16), "table", p.Table, "partition", p.Partition, "found", rows, "sent", want)
	}
	return 0, "", nil
}

// count asks how many rows of p the store has.
func (w *Writer) count(ctx context.Context, r *wal.Record, p *wal.Piece) (uint64, error) {
	if !isIdentifier(p.Table) {
		return 0, fmt.Errorf("count rows of a batch in %q: not a table name", p.Table)
	}
	query := "SELECT count() FROM " + p.Table + " WHERE _partition_id = ? AND batch = ?"
	args := []any{p.Partition, r.Batch}
	if p.Table == flowsTable { // few granules instead of a day
		query += " AND time_received BETWEEN fromUnixTimestamp64Milli(?) AND fromUnixTimestamp64Milli(?)"
		args = append(args, r.First, r.Last)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, w.deps.Client.cfg.Timeout, errInsertTimeout)
	defer cancel()
	var rows uint64
	if err := w.deps.Client.conn.QueryRow(ctx, query, args...).Scan(&rows); err != nil {
		return 0, fmt.Errorf("count rows of a batch in %q: %w", p.Table, classify(ctx, err))
	}
	return rows, nil
}

// dedupIsAtomic tells whether the engine of a table remembers a token and commits the rows in one step. Then success means
// that the rows are there, be it on another replica; a plain MergeTree writes the token down first.
func (w *Writer) dedupIsAtomic(ctx context.Context, table string) (bool, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, w.deps.Client.cfg.Timeout, errInsertTimeout)
	defer cancel()
	var engine string
	err := w.deps.Client.conn.QueryRow(ctx, "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = ?", table).Scan(&engine)
	if err != nil {
		return false, fmt.Errorf("ask for the engine of %q: %w", table, classify(ctx, err))
	}
	for _, kind := range []string{"Replicated", "Shared", "Distributed"} {
		if strings.HasPrefix(engine, kind) {
			return true, nil
		}
	}
	return false, nil
}

func isRetryable(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Retryable
}

func (w *Writer) succeeded() {
	w.mu.Lock()
	w.stats.Inserts++
	w.stats.LastStored = time.Now()
	w.mu.Unlock()
	w.answered()
}

// answered notes that the store is there.
func (w *Writer) answered() {
	w.mu.Lock()
	away := w.stats.AwaySince
	w.stats.AwaySince = time.Time{}
	w.mu.Unlock()
	if !away.IsZero() {
		w.log.Info("store takes flows again", "away", time.Since(away).Round(time.Millisecond))
	}
}

func (w *Writer) failed(err error, retry bool) {
	w.mu.Lock()
	now := time.Now()
	w.stats.LastError, w.stats.LastErrorAt = err.Error(), now
	first := retry && w.stats.AwaySince.IsZero()
	if retry {
		w.stats.Retries++
	}
	if first {
		w.stats.AwaySince = now
	}
	w.mu.Unlock()
	if first {
		w.log.Warn("store does not take flows; trying again until it does", "err", err)
	}
}

// dropInterval is how often drops are logged.
const dropInterval = 10 * time.Second

// drop counts rows that are lost, and says so, not for each batch. err is what the store said, if it did.
func (w *Writer) drop(batches, rows int, reason string, err error) {
	w.mu.Lock()
	w.stats.Waiting.sub(batches, rows)
	d := w.stats.Dropped[reason]
	d.add(batches, rows)
	w.stats.Dropped[reason] = d
	w.untold++
	tell := 0
	if now := time.Now(); now.Sub(w.told) >= dropInterval {
		tell, w.untold, w.told = w.untold, 0, now
	}
	w.mu.Unlock()
	if tell > 0 {
		w.log.Error("flows are lost on the way to the store", "reason", reason, "rows", rows, "batches", tell, "err", err)
	}
}
