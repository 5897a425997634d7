package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/strictyaml"
)

// WriterConfig is about batches on their way to the store.
type WriterConfig struct {
	Queue        int           `yaml:"queue" doc:"Batches that may wait for the store; those that come while so many wait are dropped and counted. A batch takes some 300 bytes a flow."`
	Inserters    int           `yaml:"inserters" doc:"Inserts at a time."`
	RetryFirst   time.Duration `yaml:"retry_first" doc:"Pause before an insert that failed is tried again; each further pause is twice as long."`
	RetryMax     time.Duration `yaml:"retry_max" doc:"Longest pause between two tries."`
	FlushTimeout time.Duration `yaml:"flush_timeout" doc:"At the end, longest wait until the batches that still wait are stored."`
}

// DefaultWriterConfig rides over a short absence of the store.
func DefaultWriterConfig() WriterConfig {
	return WriterConfig{
		Queue: 32, Inserters: 2, RetryFirst: 100 * time.Millisecond, RetryMax: 5 * time.Second, FlushTimeout: 10 * time.Second,
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
	Recycle func(*flow.Batch) // takes back a batch as soon as it is encoded or dropped; FreeList.Put is meant
}

// Reasons for which rows are dropped.
const (
	DropStoreFull = "store_full" // as many batches as may wait were waiting for the store
	DropRefused   = "refused"    // the store said that the rows themselves are wrong; trying again would not help
	DropStopped   = "stopped"    // Run had ended, or its time to flush was over
)

// DropReasons lists every reason.
var DropReasons = []string{DropStoreFull, DropRefused, DropStopped}

// Writer inserts sealed batches into table flows. Batches wait in a bounded queue while the store is busy or away; an
// insert that failed for a reason that can pass is tried again, under the same deduplication token, until it succeeds.
//
//	Seal ─► queue of batches ─► inserter: encode ─► sealed (block, token) ─► insert, again and again
//	                                         └─► Recycle
//
// The write-ahead log belongs between encode and insert: what it has to keep is type sealed.
type Writer struct {
	cfg   WriterConfig
	deps  WriterDeps
	log   *slog.Logger
	queue chan *flow.Batch

	latency prometheus.Histogram

	mu      sync.Mutex
	stats   WriterStats // guarded by mu; Dropped is never nil
	stopped bool        // guarded by mu: Run has taken the last batch out of the queue
	away    time.Time   // guarded by mu: since when inserts fail; zero while they succeed
	told    time.Time   // guarded by mu: when a drop was logged last
	untold  int         // guarded by mu: batches dropped since
}

// WriterStats counts what became of sealed batches. In = Stored + Σ Dropped + Waiting holds for rows and for batches at
// every moment.
type WriterStats struct {
	In, Stored, Waiting Amount
	Dropped             map[string]Amount // by reason; every reason is there
	Bytes               uint64            // encoded, of stored blocks
	Inserts, Retries    uint64            // inserts that succeeded; tries that failed and were repeated
	LastStored          time.Time         // end of the last insert that succeeded; zero if none
	LastError           string            // of the last try that failed; empty if none
	LastErrorAt         time.Time
}

// Amount is a number of batches and of the rows in them.
type Amount struct{ Batches, Rows uint64 }

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
	if d.Log == nil || d.Client == nil || d.Recycle == nil {
		return nil, errors.New("configure store writer: a dependency is missing: want Log, Client and Recycle")
	}
	w := &Writer{cfg: cfg, deps: d, log: d.Log.With("part", "store_writer"), queue: make(chan *flow.Batch, cfg.Queue), latency: newLatency()}
	w.stats.Dropped = map[string]Amount{}
	for _, reason := range DropReasons {
		w.stats.Dropped[reason] = Amount{}
	}
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
		w.deps.Recycle(b)
	}
}

// Stats returns the counters.
func (w *Writer) Stats() WriterStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Dropped = maps.Clone(s.Dropped)
	return s
}

// Run inserts until ctx is done, then what is still in the queue, for Config.FlushTimeout at most; what is not stored by
// then is dropped and counted. Whoever calls Seal should have ended before. It is called once and returns nil.
func (w *Writer) Run(ctx context.Context) error {
	insert, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	flush := time.AfterFunc(math.MaxInt64, cut)
	defer flush.Stop()
	defer context.AfterFunc(ctx, func() { flush.Reset(w.cfg.FlushTimeout) })()
	var g errgroup.Group
	for range w.cfg.Inserters {
		g.Go(func() error {
			w.insertAll(ctx, insert)
			return nil
		})
	}
	err := g.Wait()
	s := w.Stats()
	w.log.Info("store writer stopped", "rows", s.In.Rows, "stored", s.Stored.Rows, "dropped", s.In.Rows-s.Stored.Rows)
	return err
}

// insertAll is one inserter: until ctx is done it waits for batches, then it takes those that are there. insert is done
// when nothing may be sent any more.
func (w *Writer) insertAll(ctx, insert context.Context) {
	var buf []byte
	for {
		b, ok := w.next(ctx)
		if !ok {
			return
		}
		buf = w.write(insert, b, buf[:0])
	}
}

// next returns the next batch, or false when ctx is done and none is left: from then on Seal takes none.
func (w *Writer) next(ctx context.Context) (*flow.Batch, bool) {
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

// sealed is what of a batch goes to the store in one insert: one block, all of one partition, and the token by which the
// store knows it when it comes again.
type sealed struct {
	batch uint64 // id of the batch, as in column batch
	token string
	rows  int
	block []byte
}

// write encodes b, gives it back and inserts it. It returns buf, grown.
func (w *Writer) write(ctx context.Context, b *flow.Batch, buf []byte) []byte {
	pieces, buf := encode(b, buf)
	w.deps.Recycle(b)
	left := 1 // batches not yet accounted for: the last piece, or the first that is lost, takes the batch along
	for i, piece := range pieces {
		last := i == len(pieces)-1
		if err := w.insert(ctx, piece); err != nil {
			reason := DropRefused
			if ctx.Err() != nil {
				reason = DropStopped
			}
			w.drop(left, piece.rows, reason, err)
			left = 0
			continue
		}
		w.mu.Lock()
		batches := 0
		if last {
			batches, left = left, 0
		}
		w.stats.Waiting.sub(batches, piece.rows)
		w.stats.Stored.add(batches, piece.rows)
		w.stats.Bytes += uint64(len(piece.block))
		w.mu.Unlock()
	}
	return buf
}

// encode cuts b where the day changes, since table flows has a partition for each day (UTC) of time_received, and appends
// the blocks to buf. Almost every batch is one piece.
func encode(b *flow.Batch, buf []byte) ([]sealed, []byte) {
	const day = 24 * 60 * 60 * 1000 // ms
	id, rows := b.ID[0], b.Len()
	var ends []int
	for i := 1; i < rows; i++ {
		if b.TimeReceived[i]/day != b.TimeReceived[i-1]/day {
			ends = append(ends, i)
		}
	}
	pieces := make([]sealed, 0, len(ends)+1)
	from := 0
	for _, to := range append(ends, rows) {
		start := len(buf)
		buf = b.AppendNativeRows(buf, from, to)
		token := strconv.FormatUint(id, 16) + "-" + strconv.Itoa(len(pieces))
		// A buffer that grows moves; the pieces before keep the old one.
		pieces = append(pieces, sealed{batch: id, token: token, rows: to - from, block: buf[start:len(buf):len(buf)]})
		from = to
	}
	return pieces, buf
}

// insert inserts s, as often as it takes. An error means that it is not stored, or that nobody knows when ctx is done.
func (w *Writer) insert(ctx context.Context, s sealed) error {
	pause := w.cfg.RetryFirst
	for {
		start := time.Now()
		_, err := w.deps.Client.InsertNative(ctx, "flows", s.block, s.token)
		w.latency.Observe(time.Since(start).Seconds())
		if err == nil {
			w.succeeded()
			return nil
		}
		retry := isRetryable(err) && ctx.Err() == nil
		w.failed(err, retry)
		if !retry {
			return err
		}
		// Jitter, so that many collectors do not come back in step.
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
		pause = min(2*pause, w.cfg.RetryMax)
	}
}

func isRetryable(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Retryable
}

func (w *Writer) succeeded() {
	w.mu.Lock()
	w.stats.Inserts++
	w.stats.LastStored = time.Now()
	away := w.away
	w.away = time.Time{}
	w.mu.Unlock()
	if !away.IsZero() {
		w.log.Info("store takes flows again", "away", time.Since(away).Round(time.Millisecond))
	}
}

func (w *Writer) failed(err error, retry bool) {
	w.mu.Lock()
	now := time.Now()
	w.stats.LastError, w.stats.LastErrorAt = err.Error(), now
	first := retry && w.away.IsZero()
	if retry {
		w.stats.Retries++
	}
	if first {
		w.away = now
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
