package store_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/storetest"
)

// writer is a Writer that runs. stop ends it, waits, and checks that everything was accounted for and given back.
type writer struct {
	*store.Writer
	stop func() store.WriterStats

	free             *store.FreeList
	handed, returned atomic.Int64
	ids              *store.BatchIDs
}

func runWriter(t *testing.T, c *store.Client, change func(*store.WriterConfig)) *writer {
	t.Helper()
	cfg := store.DefaultWriterConfig()
	cfg.RetryFirst, cfg.RetryMax = 5*time.Millisecond, 100*time.Millisecond
	if change != nil {
		change(&cfg)
	}
	w := &writer{free: store.NewFreeList(4, 100), ids: store.NewBatchIDs(77)}
	var err error
	w.Writer, err = store.NewWriter(cfg, store.WriterDeps{Log: discard, Client: c, Recycle: func(b *flow.Batch) {
		w.returned.Add(1)
		w.free.Put(b)
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	w.stop = sync.OnceValue(func() store.WriterStats {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s := w.Stats()
		balance(t, s)
		if s.Waiting != (store.Amount{}) {
			t.Errorf("after Run: %+v still wait", s.Waiting)
		}
		if h, r := w.handed.Load(), w.returned.Load(); h != r {
			t.Errorf("after Run: %d of %d batches were given back", r, h)
		}
		return s
	})
	t.Cleanup(func() { w.stop() })
	return w
}

// balance checks in = stored + dropped + waiting.
func balance(t *testing.T, s store.WriterStats) {
	t.Helper()
	sum := store.Amount{Batches: s.Stored.Batches + s.Waiting.Batches, Rows: s.Stored.Rows + s.Waiting.Rows}
	for _, d := range s.Dropped {
		sum.Batches += d.Batches
		sum.Rows += d.Rows
	}
	if sum != s.In {
		t.Errorf("in %+v is not stored + dropped + waiting = %+v (%+v)", s.In, sum, s)
	}
}

// seal hands over a batch of n random rows.
func (w *writer) seal(rng *rand.Rand, n int, change func(*flow.Batch)) {
	b := w.free.Get()
	fill(b, n, rng)
	id := w.ids.Next()
	for i := range n {
		b.ID[i] = id
	}
	if change != nil {
		change(b)
	}
	w.handed.Add(1)
	w.Seal(b)
}

func TestWriterStoresAndDrains(t *testing.T) {
	c := migrated(t)
	w := runWriter(t, c, nil)
	var wg sync.WaitGroup
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 9))
		wg.Go(func() {
			for range 10 {
				w.seal(rng, 1+rng.IntN(300), nil)
				balance(t, w.Stats())
			}
		})
	}
	wg.Wait()
	s := w.stop() // with batches in the queue
	var rows, batches uint64
	scan(t, c, "SELECT count(), uniqExact(batch) FROM flows", &rows, &batches)
	if s.Stored != (store.Amount{Batches: 30, Rows: rows}) || batches != 30 || s.In != s.Stored {
		t.Errorf("stats %+v; the table has %d rows of %d batches; want all of 30", s, rows, batches)
	}
	if s.Bytes == 0 || s.Inserts < 30 || s.LastStored.IsZero() || s.LastError != "" {
		t.Errorf("stats %+v: want bytes, at least 30 inserts, a time, and no error", s)
	}
	w.seal(rand.New(rand.NewPCG(1, 1)), 5, nil)
	if s := w.Stats(); s.Dropped[store.DropStopped] != (store.Amount{Batches: 1, Rows: 5}) {
		t.Errorf("a batch after Run: dropped %+v, want it under stopped", s.Dropped)
	}
}

// A batch over midnight goes in pieces, each into its partition, and a piece has a token of its own.
func TestWriterSplitsByDay(t *testing.T) {
	c := migrated(t)
	w := runWriter(t, c, nil)
	midnight := time.Now().UTC().Truncate(24 * time.Hour).UnixMilli()
	var want uint64
	w.seal(rand.New(rand.NewPCG(5, 5)), 9, func(b *flow.Batch) {
		for i, ms := range []int64{-5, -1, 0, 1, -1, -2, 7, 8, 9} { // the clock was set back in between
			b.TimeReceived[i] = midnight + ms
			for _, id := range b.SrcGroups.Row(i) {
				want += id
			}
		}
	})
	if s := w.stop(); s.Inserts != 4 || s.Stored != (store.Amount{Batches: 1, Rows: 9}) {
		t.Errorf("stats %+v, want one batch of 9 rows in 4 inserts", s)
	}
	var rows, days, groups uint64
	scan(t, c, "SELECT count(), uniqExact(_partition_id), sum(arraySum(src_groups)) FROM flows", &rows, &days, &groups)
	if rows != 9 || days != 2 || groups != want {
		t.Errorf("%d rows in %d partitions, group ids sum to %d; want 9, 2, %d", rows, days, groups, want)
	}
	if got := column(t, c, "SELECT toString(sum(rows)) FROM system.parts WHERE database = currentDatabase() AND table = 'flows' AND active GROUP BY partition ORDER BY partition"); len(got) != 2 || got[0] != "4" || got[1] != "5" {
		t.Errorf("rows by partition = %q, want 4, 5", got)
	}
}

// nobody is the address of a server that is not there.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// With the store away as many batches wait as may, further ones are dropped at once, and the end is not held up.
func TestWriterWhenTheStoreIsAway(t *testing.T) {
	cfg := store.DefaultConfig()
	cfg.Addr = nobody(t)
	w := runWriter(t, openConfig(t, cfg), func(c *store.WriterConfig) {
		c.Queue, c.Inserters, c.FlushTimeout = 3, 1, 50*time.Millisecond
	})
	rng := rand.New(rand.NewPCG(6, 6))
	w.seal(rng, 10, nil)
	eventually(t, "the first batch is tried again", func() bool { return w.Stats().Retries > 1 })
	for range 10 { // three wait, seven do not
		w.seal(rng, 10, nil)
	}
	s := w.Stats()
	balance(t, s)
	if full := s.Dropped[store.DropStoreFull]; full != (store.Amount{Batches: 7, Rows: 70}) || s.Waiting != (store.Amount{Batches: 4, Rows: 40}) {
		t.Errorf("with a queue of 3: %+v, want 7 of 11 batches dropped, 4 waiting", s)
	}
	if s.LastError == "" || s.LastErrorAt.IsZero() {
		t.Errorf("stats %+v, want the last error", s)
	}
	start := time.Now()
	if s := w.stop(); s.Dropped[store.DropStopped] != (store.Amount{Batches: 4, Rows: 40}) || time.Since(start) > 5*time.Second {
		t.Errorf("after %s: %+v, want the 4 that waited dropped soon", time.Since(start), s)
	}
}

// Rows that the store refuses are dropped at once; they do not hold up others.
func TestWriterDropsWhatIsRefused(t *testing.T) {
	c := open(t)
	if err := c.Exec(t.Context(), "CREATE TABLE flows (time_received DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY ()"); err != nil {
		t.Fatal(err)
	}
	w := runWriter(t, c, nil)
	rng := rand.New(rand.NewPCG(7, 7))
	w.seal(rng, 3, nil)
	w.seal(rng, 4, nil)
	eventually(t, "both are refused", func() bool { return w.Stats().Dropped[store.DropRefused].Batches == 2 })
	if s := w.stop(); s.Dropped[store.DropRefused].Rows != 7 || s.Retries != 0 {
		t.Errorf("stats %+v, want 7 rows refused without a retry", s)
	}
}

// The store is killed again and again while batches come; in the end each row is there once.
func TestWriterAcrossKilledStores(t *testing.T) {
	srv := storetest.ClickHouse(t)
	c := openConfig(t, config(srv, "default"))
	migrate(t, c)
	w := runWriter(t, c, func(c *store.WriterConfig) { c.Queue, c.FlushTimeout = 1000, time.Minute })
	rng := rand.New(rand.NewPCG(8, 8))
	for round := range 3 {
		for range 10 {
			w.seal(rng, 100, nil)
		}
		eventually(t, "some batches are stored", func() bool { return w.Stats().Stored.Batches > uint64(10*round) })
		pid := srv.PID()
		for range 5 { // some of them are under way when it dies
			w.seal(rng, 5000, nil)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the store is back", func() bool { p := srv.PID(); return p != 0 && p != pid && c.Ping(t.Context()) == nil })
	}
	s := w.stop()
	var rows, batches uint64
	scan(t, c, "SELECT count(), uniqExact(batch) FROM flows", &rows, &batches)
	if s.In != s.Stored || rows != s.In.Rows || batches != s.In.Batches {
		t.Errorf("stats %+v; the table has %d rows of %d batches; want each once", s, rows, batches)
	}
	if srv.Restarts() < 3 {
		t.Errorf("the store was started again %d times, want 3", srv.Restarts())
	}
}

// A token is remembered across a killed store.
func TestTokenSurvivesAKill(t *testing.T) {
	srv := storetest.ClickHouse(t)
	c := openConfig(t, config(srv, "default"))
	migrate(t, c)
	b := flow.NewBatch(1)
	fill(b, 10, rand.New(rand.NewPCG(9, 9)))
	block := b.AppendNative(nil)
	if _, err := c.InsertNative(t.Context(), "flows", block, "once"); err != nil {
		t.Fatal(err)
	}
	pid := srv.PID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the store takes the block again", func() bool {
		_, err := c.InsertNative(t.Context(), "flows", block, "once")
		var e *store.Error
		if err != nil && (!errors.As(err, &e) || !e.Retryable) {
			t.Fatalf("insert into a store that comes back: %v, want success or a retryable error", err)
		}
		return err == nil
	})
	var rows uint64
	if scan(t, c, "SELECT count() FROM flows", &rows); rows != 10 {
		t.Errorf("%d rows after the same token before and after a kill, want 10", rows)
	}
}

func TestWriterMetrics(t *testing.T) {
	cfg := store.DefaultConfig()
	cfg.Addr = nobody(t)
	reg := prometheus.NewPedanticRegistry()
	w, err := store.NewWriter(store.DefaultWriterConfig(), store.WriterDeps{
		Log: discard, Client: openConfig(t, cfg), Recycle: func(*flow.Batch) {}, Metrics: reg,
	})
	if err != nil {
		t.Fatal(err)
	}
	b := flow.NewBatch(1)
	fill(b, 3, rand.New(rand.NewPCG(1, 2)))
	b.ID[0] = 1
	w.Seal(b)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if got["weir_store_writer_in_rows_total"] != 3 || got["weir_store_writer_waiting_batches"] != 1 || got["weir_store_writer_dropped_rows_total"] != 0 {
		t.Errorf("metrics = %v, want 3 rows in, 1 batch waiting, none dropped", got)
	}
}

func TestWriterConfigRefuses(t *testing.T) {
	for _, change := range []func(*store.WriterConfig){
		func(c *store.WriterConfig) { c.Queue = 0 },
		func(c *store.WriterConfig) { c.Inserters = 17 },
		func(c *store.WriterConfig) { c.RetryFirst = 0 },
		func(c *store.WriterConfig) { c.RetryMax = c.RetryFirst - 1 },
		func(c *store.WriterConfig) { c.RetryMax = 2 * time.Hour },
		func(c *store.WriterConfig) { c.FlushTimeout = -1 },
	} {
		cfg := store.DefaultWriterConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil {
			t.Errorf("Validate(%+v) = nil, want an error", cfg)
		}
	}
	cfg := store.DefaultWriterConfig()
	if err := cfg.Validate(); err != nil {
		t.Errorf("Validate of the default: %v", err)
	}
}

func TestBatchIDs(t *testing.T) {
	ids := store.NewBatchIDs(0)
	if got := ids.Next(); got != 1 {
		t.Errorf("first id of run 0 = %d, want 1", got)
	}
	if a, b := store.NewBatchIDs(5).Next(), store.NewBatchIDs(6).Next(); a != 5<<32|1 || b != 6<<32|1 {
		t.Errorf("first ids of runs 5 and 6 = %#x, %#x", a, b)
	}
}

func TestFreeList(t *testing.T) {
	l := store.NewFreeList(1, 4)
	a := l.Get()
	a.Grow(3)
	l.Put(a)
	if b := l.Get(); b != a || b.Len() != 0 || b.Cap() != 4 {
		t.Errorf("Get after Put: %p with %d rows, room for %d; want %p, empty, 4", b, b.Len(), b.Cap(), a)
	}
	a.Grow(9)
	l.Put(a)
	if b := l.Get(); b == a {
		t.Error("a batch that grew to more than twice its room was kept")
	}
}
