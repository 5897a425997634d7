package store_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/storetest"
	"github.com/weirhq/weir/store/wal"
)

// writer is a Writer that runs. stop ends it, waits, and checks that everything was accounted for and given back.
type writer struct {
	*store.Writer
	stop func() store.WriterStats

	free             *store.FreeList
	handed, returned atomic.Int64
	ids              *store.BatchIDs
}

// setup is how a test's writer differs from others.
type setup struct {
	cfg  store.WriterConfig
	deps store.WriterDeps
	wal  wal.Config // Dir is empty: a directory of its own
	boot string
}

// runWriter runs a writer to c over a log that is empty unless change says otherwise.
func runWriter(t *testing.T, c *store.Client, change func(*setup)) *writer {
	t.Helper()
	w := &writer{free: store.NewFreeList(4, 100), ids: store.NewBatchIDs(rand.Uint64)}
	s := setup{cfg: store.DefaultWriterConfig(), wal: wal.Default(), boot: "this"}
	s.cfg.JoinRows = 0 // tests count batches
	s.cfg.RetryFirst, s.cfg.RetryMax = 5*time.Millisecond, 100*time.Millisecond
	s.cfg.FlushTimeout = time.Minute // on a busy machine an insert takes seconds
	s.wal.MaxSize, s.wal.KeepFree = 256*bytesize.MiB, 0
	s.deps = store.WriterDeps{Log: discard, Client: c, Recycle: func(b *flow.Batch) {
		w.returned.Add(1)
		w.free.Put(b)
	}}
	if change != nil {
		change(&s)
	}
	if s.wal.Dir == "" {
		s.wal.Dir = t.TempDir()
	}
	log, err := wal.Open(s.wal, wal.Deps{Log: discard, Boot: s.boot})
	if err != nil {
		t.Fatal(err)
	}
	s.deps.WAL = log
	w.Writer, err = store.NewWriter(s.cfg, s.deps)
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
		stats := w.Stats()
		balance(t, stats)
		if w, l := stats.Waiting, stats.WAL; w.Batches != uint64(l.Waiting) || w.Rows != l.Rows {
			t.Errorf("after Run: %+v wait, %d batches of %d rows are in the log", w, l.Waiting, l.Rows)
		}
		if h, r := w.handed.Load(), w.returned.Load(); h != r {
			t.Errorf("after Run: %d of %d batches were given back", r, h)
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
		return stats
	})
	t.Cleanup(func() { w.stop() })
	return w
}

// balance checks in + replayed = stored + dropped + waiting.
func balance(t *testing.T, s store.WriterStats) {
	t.Helper()
	in := store.Amount{Batches: s.In.Batches + s.Replayed.Batches, Rows: s.In.Rows + s.Replayed.Rows}
	sum := store.Amount{Batches: s.Stored.Batches + s.Waiting.Batches + s.Joined, Rows: s.Stored.Rows + s.Waiting.Rows}
	for _, d := range s.Dropped {
		sum.Batches += d.Batches
		sum.Rows += d.Rows
	}
	if sum != in {
		t.Errorf("in + replayed %+v is not stored + dropped + waiting = %+v (%+v)", in, sum, s)
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

// A batch over midnight goes in pieces, one for each partition, even if the clock was set back in between.
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
	if s := w.stop(); s.Inserts != 2 || s.Stored != (store.Amount{Batches: 1, Rows: 9}) {
		t.Errorf("stats %+v, want one batch of 9 rows in 2 inserts", s)
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

// With the store away batches wait in the log. The end is not held up by it, and the next writer goes on.
func TestWriterWhenTheStoreIsAway(t *testing.T) {
	cfg := store.DefaultConfig()
	cfg.Addr = nobody(t)
	dir := t.TempDir()
	w := runWriter(t, openConfig(t, cfg), func(s *setup) { s.cfg.Queue, s.cfg.FlushTimeout, s.wal.Dir = 3, time.Hour, dir })
	rng := rand.New(rand.NewPCG(6, 6))
	for range 20 {
		w.seal(rng, 10, nil)
		eventually(t, "the log takes it", func() bool { return w.returned.Load() == w.handed.Load() })
		balance(t, w.Stats())
	}
	eventually(t, "the first batches are tried again", func() bool { return w.Stats().Retries > 1 })
	s := w.Stats()
	if s.Waiting != (store.Amount{Batches: 20, Rows: 200}) || s.WAL.Waiting != 20 || s.WAL.Oldest.IsZero() {
		t.Errorf("with the store away: %+v, want 20 batches waiting, all in the log", s)
	}
	if s.LastError == "" || s.LastErrorAt.IsZero() {
		t.Errorf("stats %+v, want the last error", s)
	}
	start := time.Now()
	if s := w.stop(); s.Waiting != (store.Amount{Batches: 20, Rows: 200}) || time.Since(start) > patience {
		t.Errorf("after %s: %+v, want the 20 left in the log, and no wait for the store", time.Since(start), s)
	}

	c := migrated(t)
	w = runWriter(t, c, func(s *setup) { s.wal.Dir = dir })
	w.seal(rng, 7, nil)
	if s := w.stop(); s.Replayed != (store.Amount{Batches: 20, Rows: 200}) || s.Stored != (store.Amount{Batches: 21, Rows: 207}) {
		t.Errorf("the next writer: %+v, want 20 replayed and 21 stored", s)
	}
	var rows, batches uint64
	scan(t, c, "SELECT count(), uniqExact(batch) FROM flows", &rows, &batches)
	if rows != 207 || batches != 21 {
		t.Errorf("%d rows of %d batches, want 207 of 21", rows, batches)
	}
}

// A full log fills the queue, and only a full queue drops. When the store is back everything that was taken is stored.
func TestWriterWhenTheLogIsFull(t *testing.T) {
	database, srv := storetest.Database(t)
	cfg := config(srv, database)
	real := openConfig(t, cfg)
	migrate(t, real)
	gate := newGate(t, srv.Addr)
	cfg.Addr = gate.addr
	w := runWriter(t, openConfig(t, cfg), func(s *setup) {
		s.cfg.Queue = 3
		s.wal.MaxSize, s.wal.Memory = 16*bytesize.MiB, bytesize.MiB
	})
	gate.close()
	rng := rand.New(rand.NewPCG(16, 6))
	eventually(t, "batches are dropped", func() bool {
		w.seal(rng, 3000, nil)
		balance(t, w.Stats())
		return w.Stats().Dropped[store.DropStoreFull].Batches > 5
	})
	s := w.Stats()
	if s.WAL.FullSince.IsZero() || s.WAL.Bytes > s.WAL.MaxBytes || s.WAL.Bytes < s.WAL.MaxBytes*3/4 {
		t.Errorf("log %+v, want it to be full", s.WAL)
	}
	gate.open()
	eventually(t, "all is stored", func() bool { return w.Stats().Waiting.Batches == 0 })
	s = w.stop()
	var rows, batches uint64
	scan(t, real, "SELECT count(), uniqExact(batch) FROM flows", &rows, &batches)
	if rows != s.Stored.Rows || batches != s.Stored.Batches || s.Waiting.Rows != 0 || s.Dropped[store.DropStoreFull].Rows+s.Stored.Rows != s.In.Rows {
		t.Errorf("%d rows of %d batches in the table, stats %+v; want all that was not dropped", rows, batches, s)
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
	w := runWriter(t, c, func(s *setup) { s.cfg.Queue = 1000 })
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
	eventually(t, "all is stored", func() bool { return w.Stats().Waiting.Batches == 0 })
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

// An answer that does not come leaves open whether the rows are there. Whichever it is, each is there once.
func TestWriterWhenAnswersGetLost(t *testing.T) {
	database, srv := storetest.Database(t)
	cfg := config(srv, database)
	c := openConfig(t, cfg)
	migrate(t, c)
	gate := newGate(t, srv.Addr)
	cfg.Addr = gate.addr
	rng := rand.New(rand.NewPCG(18, 8))
	chance := rand.New(rand.NewPCG(18, 9)) // of the gate alone, whose lock guards it
	gate.watch(func(b []byte) bool {       // of inserts; queries answer with a block
		return !bytes.Contains(b, []byte(`"written_rows":"1`)) || chance.IntN(3) > 0
	})
	w := runWriter(t, openConfig(t, cfg), nil)
	for range 30 {
		w.seal(rng, 100, nil)
	}
	eventually(t, "all is stored", func() bool { return w.Stats().Waiting.Batches == 0 })
	s := w.stop()
	var rows, batches uint64
	scan(t, c, "SELECT count(), uniqExact(batch) FROM flows", &rows, &batches)
	if rows != 3000 || batches != 30 || s.Stored.Rows != 3000 {
		t.Errorf("%d rows of %d batches, stats %+v; want 3000 of 30", rows, batches, s)
	}
	if s.Found == 0 {
		t.Errorf("stats %+v: no piece was found stored after its answer was lost; the test shows nothing", s)
	}
}

// leave seals batches into a log whose writer then dies: they are handed out, and nobody knows what became of them. It returns their
// ids, and when the first of the ten flows of each was received; the others follow by the millisecond.
func leave(t *testing.T, dir string, batches int, to *store.Client) (numbers []uint64, at int64) {
	t.Helper()
	at = time.Now().UTC().Truncate(24 * time.Hour).Add(time.Hour).UnixMilli()
	cfg := wal.Default()
	cfg.Dir, cfg.KeepFree = dir, 0
	log, err := wal.Open(cfg, wal.Deps{Log: discard, Boot: "this"})
	if err != nil {
		t.Fatal(err)
	}
	away := store.DefaultConfig()
	away.Addr = nobody(t)
	wc := store.DefaultWriterConfig()
	wc.Inserters = batches // so that each is handed out
	w, err := store.NewWriter(wc, store.WriterDeps{Log: discard, Client: openConfig(t, away), WAL: log, Recycle: func(*flow.Batch) {}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	ids := store.NewBatchIDs(rand.Uint64)
	rng := rand.New(rand.NewPCG(1, uint64(batches)))
	for range batches {
		b := flow.NewBatch(10)
		fill(b, 10, rng)
		id := ids.Next()
		for i := range 10 {
			b.ID[i], b.TimeReceived[i] = id, at+int64(i)
		}
		numbers = append(numbers, id)
		if to != nil {
			token := strconv.FormatUint(id, 16) + "-flows-" + time.UnixMilli(at).UTC().Format("20060102")
			if _, err := to.InsertNative(t.Context(), "flows", b.AppendNative(nil), token); err != nil {
				t.Fatal(err)
			}
		}
		w.Seal(b)
	}
	eventually(t, "all are handed out", func() bool { return w.Stats().Retries >= uint64(batches) })
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return numbers, at
}

// What a writer left in doubt is sent by the next one where the store does not have it, and is not where it has.
func TestWriterResolvesDoubts(t *testing.T) {
	for name, stored := range map[string]bool{"stored": true, "not stored": false} {
		t.Run(name, func(t *testing.T) {
			c := migrated(t)
			dir := t.TempDir()
			var to *store.Client
			if stored {
				to = c
			}
			leave(t, dir, 5, to)
			w := runWriter(t, c, func(s *setup) { s.wal.Dir = dir })
			eventually(t, "all is stored", func() bool { return w.Stats().Waiting.Batches == 0 })
			s := w.stop()
			var rows uint64
			scan(t, c, "SELECT count() FROM flows", &rows)
			if rows != 50 || s.Stored != (store.Amount{Batches: 5, Rows: 50}) || s.Respent != 0 || stored != (s.Found == 5) || stored != (s.Inserts == 0) {
				t.Errorf("%d rows, stats %+v; want 50, each sent only if it was not there", rows, s)
			}
		})
	}
}

// ClickHouse may remember a token whose rows it lost, because it died in between. Such rows are sent under another one.
func TestWriterWhenTheTokenIsSpent(t *testing.T) {
	srv := storetest.ClickHouse(t)
	c := openConfig(t, config(srv, "default"))
	migrate(t, c)
	// A part that others were merged into would leave them behind, to come back when it is gone.
	if err := c.Exec(t.Context(), "SYSTEM STOP MERGES flows"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	leave(t, dir, 3, c)
	paths := column(t, c, "SELECT path FROM system.parts WHERE database = currentDatabase() AND table = 'flows' AND active ORDER BY name")
	pid := srv.PID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(paths[0]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the store is back", func() bool { p := srv.PID(); return p != 0 && p != pid && c.Ping(t.Context()) == nil })
	var rows uint64
	if scan(t, c, "SELECT count() FROM flows", &rows); rows >= 30 {
		t.Fatalf("%d rows without part %q, want less than 30", rows, paths[0])
	}
	before := rows
	w := runWriter(t, c, func(s *setup) { s.wal.Dir = dir })
	eventually(t, "all is stored", func() bool { return w.Stats().Waiting.Batches == 0 })
	s := w.stop()
	if scan(t, c, "SELECT count() FROM flows", &rows); rows != 30 || s.Stored.Rows != 30 || s.Respent == 0 || s.Found != before/10 {
		t.Errorf("%d rows, stats %+v; want 30, with new tokens for those that were lost", rows, s)
	}
}

// A store that has a part of a piece, or more than that, is not something to repair by sending: it is counted.
func TestWriterWhenTheStoreHasAnotherNumberOfRows(t *testing.T) {
	c := migrated(t)
	dir := t.TempDir()
	ids, at := leave(t, dir, 2, c)
	more := flow.NewBatch(10)
	fill(more, 3, rand.New(rand.NewPCG(2, 2)))
	for i := range 3 {
		more.ID[i], more.TimeReceived[i] = ids[0], at+1
	}
	if _, err := c.InsertNative(t.Context(), "flows", more.AppendNative(nil), "more"); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec(t.Context(), "DELETE FROM flows WHERE batch = "+strconv.FormatUint(ids[1], 10)+" AND time_received = fromUnixTimestamp64Milli("+strconv.FormatInt(at+4, 10)+")"); err != nil {
		t.Fatal(err)
	}
	w := runWriter(t, c, func(s *setup) { s.wal.Dir = dir })
	eventually(t, "both are done with", func() bool { return w.Stats().Waiting.Batches == 0 })
	if s := w.stop(); s.Stored != (store.Amount{Batches: 1, Rows: 19}) || s.Dropped[store.DropUnclear] != (store.Amount{Batches: 1, Rows: 1}) || s.Doubled != 3 {
		t.Errorf("stats %+v, want 19 rows stored, 1 unclear, 3 doubled", s)
	}
}

// What becomes of the rows of a batch is booked on those whose rows they are.
func TestWriterTallies(t *testing.T) {
	c := migrated(t)
	w := runWriter(t, c, nil)
	rng := rand.New(rand.NewPCG(20, 8))
	var few, many flow.Tally
	for range 20 {
		w.seal(rng, 100, func(b *flow.Batch) {
			b.Shares = append(b.Shares, flow.Share{Of: &few, Rows: 10}, flow.Share{Of: &many, Rows: 90})
			few.Sealed.Add(10)
			many.Sealed.Add(90)
		})
	}
	w.stop()
	for want, tally := range map[uint64]*flow.Tally{200: &few, 1800: &many} {
		if got := tally.Read(); got != (flow.Tallied{Sealed: want, Logged: want, Stored: want}) {
			t.Errorf("%+v, want %d sealed, logged and stored", got, want)
		}
	}
}

// What is derived of a batch is stored with it, or again together with it.
func TestWriterDerives(t *testing.T) {
	database, srv := storetest.Database(t)
	cfg := config(srv, database)
	c := openConfig(t, cfg)
	migrate(t, c)
	createDerived(t, c)
	gate := newGate(t, srv.Addr)
	cfg.Addr = gate.addr
	rng := rand.New(rand.NewPCG(19, 8))
	chance := rand.New(rand.NewPCG(19, 9)) // of the gate alone, whose lock guards it
	gate.watch(func(b []byte) bool { return !bytes.Contains(b, []byte(`"written_rows":"`)) || chance.IntN(4) > 0 })
	w := runWriter(t, openConfig(t, cfg), func(s *setup) { s.deps.Derive = derive })
	for range 20 {
		w.seal(rng, 100, nil)
	}
	eventually(t, "all is stored", func() bool { return w.Stats().Waiting.Batches == 0 })
	s := w.stop()
	var rows, sum, batches uint64
	scan(t, c, "SELECT count(), sum(rows), uniqExact(batch) FROM derived", &rows, &sum, &batches)
	if rows != 20 || sum != 2000 || batches != 20 || s.DerivedStored != 20 || s.Stored.Rows != 2000 {
		t.Errorf("%d derived rows that sum to %d, stats %+v; want 20 that sum to 2000", rows, sum, s)
	}
}

// createDerived makes the table that derive adds to.
func createDerived(t testing.TB, c *store.Client) {
	t.Helper()
	if err := c.Exec(t.Context(), "CREATE TABLE derived (batch UInt64, rows UInt64, bytes UInt64) ENGINE = MergeTree PARTITION BY tuple() ORDER BY batch SETTINGS non_replicated_deduplication_window = 1000"); err != nil {
		t.Fatal(err)
	}
}

// derive is the smallest rollup: a row for each record with the number of its flows and the sum of their bytes.
func derive(r *wal.Record, batches []*flow.Batch) {
	batch, rows, sum := flow.Column[uint64]{r.Batch}, flow.Column[uint64]{0}, flow.Column[uint64]{0}
	for _, b := range batches {
		rows[0] += uint64(b.Len())
		for _, n := range b.Bytes[:b.Len()] {
			sum[0] += n
		}
	}
	r.Add("derived", "all", 1, func(dst []byte) []byte {
		return flow.AppendNative(dst, 1, []flow.NativeColumn{
			{Name: "batch", Type: "UInt64", Cells: &batch}, {Name: "rows", Type: "UInt64", Cells: &rows}, {Name: "bytes", Type: "UInt64", Cells: &sum},
		})
	})
}

// While the store is behind batches go on as one, whose rows are counted, derived of and stored together, also where an insert has to
// be repeated: nothing is lost, doubled, or somebody else's.
func TestWriterJoins(t *testing.T) {
	database, srv := storetest.Database(t)
	cfg := config(srv, database)
	c := openConfig(t, cfg)
	migrate(t, c)
	createDerived(t, c)
	gate := newGate(t, srv.Addr)
	cfg.Addr = gate.addr
	gate.close()
	const batches, rows, most = 60, 100, 1000
	w := runWriter(t, openConfig(t, cfg), func(s *setup) {
		s.cfg.JoinRows, s.cfg.Queue, s.deps.Derive = most, batches, derive
	})
	rng := rand.New(rand.NewPCG(29, 8))
	var some, all flow.Tally
	seal := func() {
		w.seal(rng, rows, func(b *flow.Batch) {
			b.Shares = append(b.Shares, flow.Share{Of: &all, Rows: rows - 1}, flow.Share{Of: &some, Rows: 1})
			all.Sealed.Add(rows - 1)
			some.Sealed.Add(1)
			// Where the day changes a record has two pieces of flows, each of several blocks.
			for i := range b.Len() {
				b.TimeReceived[i] = time.Date(2026, 11, 24, 23, 59, 59, 0, time.UTC).UnixMilli() + int64(i)*20
			}
		})
		balance(t, w.Stats())
	}
	for range batches / 2 {
		seal()
	}
	eventually(t, "the log has the first half", func() bool { return w.returned.Load() == w.handed.Load() })
	chance := rand.New(rand.NewPCG(29, 9)) // of the gate alone, whose lock guards it
	gate.watch(func(b []byte) bool { return !bytes.Contains(b, []byte(`"written_rows":"`)) || chance.IntN(4) > 0 })
	gate.open()
	for range batches / 2 {
		seal()
	}
	eventually(t, "all is stored", func() bool { return w.Stats().Waiting.Rows == 0 })
	s := w.stop()
	if s.Stored.Rows != batches*rows || s.In.Batches != batches || s.Joined == 0 || s.Stored.Batches+s.Joined != batches || s.Doubled != 0 {
		t.Errorf("%+v, want %d batches of %d rows in, some of them joined, all stored", s, batches, rows)
	}
	t.Logf("%d batches became %d", batches, s.Stored.Batches)
	var stored, records, largest, parts uint64
	scan(t, c, "SELECT sum(n), count(), max(n), max(p) FROM (SELECT batch, count() AS n, uniqExact(_partition_id) AS p FROM flows GROUP BY batch)", &stored, &records, &largest, &parts)
	if stored != batches*rows || records != s.Stored.Batches || largest > most || largest <= rows || parts != 2 {
		t.Errorf("flows has %d rows of %d records, the largest of %d, in %d partitions at most; want %d of %d, at most %d, in 2", stored, records, largest, parts, batches*rows, s.Stored.Batches, most)
	}
	var sum, derived, bytes, want uint64
	scan(t, c, "SELECT sum(rows), count(), sum(bytes) FROM derived", &sum, &derived, &bytes)
	scan(t, c, "SELECT sum(bytes) FROM flows", &want)
	if sum != batches*rows || derived != records || bytes != want {
		t.Errorf("derived: %d records of %d rows and %d bytes, want %d of %d and %d", derived, sum, bytes, records, batches*rows, want)
	}
	for n, tally := range map[uint64]*flow.Tally{batches: &some, batches * (rows - 1): &all} {
		if got := tally.Read(); got != (flow.Tallied{Sealed: n, Logged: n, Stored: n}) {
			t.Errorf("%+v, want %d sealed, logged and stored", got, n)
		}
	}
}

// A joined record is one insert, and so one part: what was in it is there as a whole or not at all.
func TestBlocksOfAnInsertAreOnePart(t *testing.T) {
	c := migrated(t)
	if err := c.Exec(t.Context(), "SYSTEM STOP MERGES flows"); err != nil {
		t.Fatal(err)
	}
	const rows, blocks = 50_000, 10 // as many flows as Config.JoinRows may be
	b := flow.NewBatch(rows)
	fill(b, rows, rand.New(rand.NewPCG(30, 8)))
	if _, err := c.InsertNative(t.Context(), "flows", bytes.Repeat(b.AppendNative(nil), blocks), "token"); err != nil {
		t.Fatal(err)
	}
	var parts, stored uint64
	scan(t, c, "SELECT count(), sum(rows) FROM system.parts WHERE database = currentDatabase() AND table = 'flows' AND active", &parts, &stored)
	if parts != 1 || stored != rows*blocks {
		t.Errorf("%d parts with %d rows, want one with %d", parts, stored, rows*blocks)
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
	walConfig := wal.Default()
	walConfig.Dir = t.TempDir()
	log, err := wal.Open(walConfig, wal.Deps{Log: discard, Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	w, err := store.NewWriter(store.DefaultWriterConfig(), store.WriterDeps{
		Log: discard, Client: openConfig(t, cfg), WAL: log, Recycle: func(*flow.Batch) {}, Metrics: reg,
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
	var runs uint64
	ids := store.NewBatchIDs(func() uint64 {
		runs++
		return runs<<20 | 77 // the low bits are the counter's
	})
	seen := map[uint64]bool{}
	for range 1<<20 + 9 {
		id := ids.Next()
		if id == 0 || seen[id] {
			t.Fatalf("id %#x is 0 or was returned before", id)
		}
		seen[id] = true
	}
	if runs != 2 || !seen[1<<20|1] || !seen[2<<20|10] {
		t.Errorf("2^20+9 ids took %d runs, want 2: from %#x on 2^20-1, from %#x on 10", runs, 1<<20|1, 2<<20|1)
	}
	if id := store.NewBatchIDs(func() uint64 { return 0 }).Next(); id == 0 {
		t.Error("first id of run 0 is 0")
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
