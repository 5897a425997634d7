package fold_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/query/rollup"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/fold"
	"github.com/weirhq/weir/store/storetest"
)

// way is a way to the store that breaks at one request: before the store has it, or after the store did what it asks.
type way struct {
	proxy  *httputil.ReverseProxy
	seen   atomic.Int64
	breaks atomic.Int64 // at this request and all after it; 0: never
	late   atomic.Bool  // the store still gets the first of them
}

func newWay(t *testing.T, cfg store.Config) (*way, *store.Client) {
	t.Helper()
	w := &way{proxy: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: cfg.Addr})}
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	cfg.Addr = srv.Listener.Addr().String()
	return w, open(t, cfg)
}

func (w *way) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	n, breaks := w.seen.Add(1), w.breaks.Load()
	switch {
	case breaks == 0 || n < breaks:
		w.proxy.ServeHTTP(rw, r)
		return
	case n == breaks && w.late.Load():
		w.proxy.ServeHTTP(httptest.NewRecorder(), r)
	}
	panic(http.ErrAbortHandler) // breaks the connection
}

// totals are the sums of every view.
func totals(t testing.TB, c *store.Client) string {
	t.Helper()
	all := ""
	for _, view := range []string{"flows_1m", "flows_1h", "flows_rx_1m", "flows_group_1m"} {
		var bytes, packets, flows uint64
		if err := c.Conn().QueryRow(t.Context(), "SELECT "+sumRows+" FROM "+view).Scan(&bytes, &packets, &flows); err != nil {
			t.Fatalf("%s: %v", view, err)
		}
		all += fmt.Sprintln(view, bytes, packets, flows)
	}
	return all
}

// insert stores a batch of random flows with its sums, in the slot that f has open.
func insert(t testing.TB, c *store.Client, r *rand.Rand, n int, f *fold.Folder) {
	t.Helper()
	b := flow.NewBatch(n)
	traffic(r, b, n, time.Now().Add(-time.Hour))
	for i := range n {
		b.ID[i] = 7
	}
	put := func(table string, block []byte) {
		if _, err := c.InsertNative(t.Context(), table, block, ""); err != nil {
			t.Fatal(err)
		}
	}
	put("flows", b.AppendNative(nil))
	collector, slot := f.Slot()
	rollup.New(1).Derive([]*flow.Batch{b}, collector, slot, func(table, _ string, _ int, encode func([]byte) []byte) { put(table, encode(nil)) })
}

// folder is one that is open, over c, with nobody writing while it folds. It is the collector whose identity is in dir.
func folder(t testing.TB, c *store.Client, dir string, now *clock) *fold.Folder {
	t.Helper()
	return slowFolder(t, c, dir, now, 0)
}

// slowFolder is one that pauses.
func slowFolder(t testing.TB, c *store.Client, dir string, now *clock, settle time.Duration) *fold.Folder {
	t.Helper()
	cfg := quick()
	cfg.Settle, cfg.File = settle, filepath.Join(dir, "fold.json")
	f, err := fold.New(cfg, fold.Deps{Log: discard, Client: c, Now: now.Now, Settled: func(context.Context) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

// A fold that dies at any of its steps changes no sum, and the next one finishes, while a second collector folds at the same time and
// a third is gone with a slot open. WEIR_FOLD_STEPS=all takes each request to the store, and both ways for it to break; else it is a
// sample.
func TestFoldKilledAtEveryStep(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute on a busy machine")
	}
	r := rand.New(rand.NewPCG(chance.Seed(t), 3))
	stride := int64(11)
	ways := []bool{r.IntN(2) == 0}
	if os.Getenv("WEIR_FOLD_STEPS") == "all" {
		stride, ways = 1, []bool{false, true}
	}
	c, cfg := migrated(t)
	now := &clock{now: time.Now().Truncate(time.Hour)}
	w, broken := newWay(t, cfg)
	dir := t.TempDir()
	other, gone := folder(t, c, t.TempDir(), now), folder(t, c, t.TempDir(), now)
	insert(t, c, r, 20, gone)
	left := number(t, c, "SELECT count() FROM flows_1m_rows")
	request := 1 + r.Int64N(stride)
	for done := false; !done; request += stride {
		for _, late := range ways {
			insert(t, c, r, 20, folder(t, c, dir, now))
			insert(t, c, r, 20, other)
			victim := folder(t, broken, dir, now) // as of a process that is killed
			now.add(time.Hour)
			want := totals(t, c)
			w.late.Store(late != (request%2 == 0))
			w.breaks.Store(w.seen.Load() + request)
			folded := make(chan error, 1)
			go func() { folded <- other.Round(t.Context()) }()
			done = victim.Round(t.Context()) == nil
			w.breaks.Store(0)
			if err := <-folded; err != nil {
				t.Fatalf("the other collector: %v", err)
			}
			if got := totals(t, c); got != want {
				t.Fatalf("killed at request %d (done by the store: %t):\n%swant\n%s", request, w.late.Load(), got, want)
			}
			if err := folder(t, c, dir, now).Round(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := totals(t, c); got != want {
				t.Fatalf("after the fold that was killed at request %d (done by the store: %t) was done again:\n%swant\n%s", request, w.late.Load(), got, want)
			}
			if n, open := hidden(t, c), number(t, c, "SELECT count() FROM flows_1m_rows WHERE NOT folded"); n != 0 || open != left {
				t.Fatalf("killed at request %d: then %d rows are hidden and %d not folded, want those %d of who is gone", request, n, open, left)
			}
		}
	}
	equal(t, c, "in the end")
	if request < 24 {
		t.Errorf("a fold took less than %d requests; the test shows nothing", request)
	}
}

// A statement of a killed fold that the store still works on is waited for.
func TestFoldWaitsForStatementsOfFormerRounds(t *testing.T) {
	c, cfg := migrated(t)
	now := &clock{now: time.Now().Truncate(time.Hour)}
	f := folder(t, c, t.TempDir(), now)
	insert(t, c, rand.New(rand.NewPCG(4, 4)), 10, f)
	collector, opened := f.Slot()
	slot := opened.Unix()
	many := fmt.Sprintf("INSERT INTO flows_1m_rows (bucket, src_vm, bytes, packets, flows, collector, slot, folded, batch) SELECT %d + number %% 3600, number, 1, 1, 1, %d, %d, 0, 8 FROM numbers(600000)", slot, collector, slot)
	hour := fmt.Sprintf("SELECT count() FROM system.processes WHERE current_database = '%s' AND query LIKE 'INSERT /%%/ INTO flows\\_1m\\_rows (bucket, exporter%%'", cfg.Database)
	if err := c.Exec(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	want := number(t, c, "SELECT sum(bytes) FROM flows_1m")
	former := make(chan error, 1)
	go func() { former <- open(t, cfg).Exec(context.WithoutCancel(t.Context()), f.InsertStatement(slot)) }()
	over := false
	eventually(t, "the store works on the statement", func() error {
		select {
		case err := <-former:
			over = true
			return err
		default:
		}
		if n := number(t, c, hour); n == 0 {
			return fmt.Errorf("%d statements run", n)
		}
		return nil
	})
	if over {
		t.Log("the statement was over before it was seen")
	}
	now.add(time.Hour)
	if err := f.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !over {
		if err := <-former; err != nil {
			t.Fatal(err)
		}
	}
	if got := number(t, c, "SELECT sum(bytes) FROM flows_1m"); got != want {
		t.Errorf("sum is %d, want %d", got, want)
	}
	if n := hidden(t, c); n != 0 {
		t.Errorf("%d rows are hidden", n)
	}
}

// Readers see each row once while two collectors fold theirs.
func TestReadersWhileFolding(t *testing.T) {
	c, _ := migrated(t)
	now := &clock{now: time.Now().Truncate(time.Hour)}
	folders := []*fold.Folder{slowFolder(t, c, t.TempDir(), now, 300*time.Millisecond), slowFolder(t, c, t.TempDir(), now, 200*time.Millisecond)}
	r := rand.New(rand.NewPCG(5, 5))
	for range 2 {
		for _, f := range folders {
			insert(t, c, r, 100, f)
		}
		now.add(time.Hour)
		want := totals(t, c)
		done := make(chan struct{})
		var readers sync.WaitGroup
		var reads atomic.Int64
		for range 2 {
			readers.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					if got := totals(t, c); got != want {
						t.Errorf("a reader saw\n%swant\n%s", got, want)
						return
					}
					reads.Add(1)
				}
			})
		}
		var g errgroup.Group
		for _, f := range folders {
			g.Go(func() error { return f.Round(t.Context()) })
		}
		err := g.Wait()
		close(done)
		readers.Wait()
		if err != nil || reads.Load() == 0 {
			t.Fatalf("after %d reads: %v", reads.Load(), err)
		}
	}
}

// A log that lost the news that its batches are stored hands them out again. Their sums were folded and dropped by then;
// what is written of them is in no sum, and removed.
func TestReplayIntoAFoldedSlot(t *testing.T) {
	c, cfg := migrated(t)
	cfg.Addr = "127.0.0.1:1"
	away := open(t, cfg)
	now := &clock{now: time.Now().Truncate(time.Hour)}
	r := rand.New(rand.NewPCG(6, 6))
	dir := t.TempDir()
	w := startOver(t, away, c, dir, now)
	for range 3 {
		w.seal(r, 50, time.Now())
	}
	eventually(t, "the log has all", func() error {
		if n := w.Writer.Stats().WAL.Waiting; n != 3 {
			return fmt.Errorf("%d wait", n)
		}
		return nil
	})
	w.stop()
	before := copyDir(t, dir)

	w = startOver(t, c, c, dir, now)
	w.stored(t)
	now.add(time.Hour)
	if err := w.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, c, "folded")
	want := totals(t, c)
	w.stop()

	w = start(t, c, c, before, "another", quick(), now.Now) // as after a loss of power
	w.stored(t)
	if n := hidden(t, c); n == 0 {
		t.Error("no row came twice; the test shows nothing")
	}
	if got := totals(t, c); got != want {
		t.Errorf("after the replay:\n%swant\n%s", got, want)
	}
	if err := w.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, c, "after the next round")
	if n := hidden(t, c); n != 0 {
		t.Errorf("%d rows are hidden", n)
	}
}

// Store and collectors are killed again and again while flows come and slots of a second are folded; one collector comes late,
// one goes and does not come back. In the end each flow is in every rollup once.
func TestRollupsAcrossKills(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute on a busy machine")
	}
	srv := storetest.ClickHouse(t)
	c := open(t, config(srv, "default"))
	migrate(t, c)
	cfg := fold.Default()
	cfg.Every, cfg.Settle = time.Second, 50*time.Millisecond
	r := rand.New(rand.NewPCG(chance.Seed(t), 7))
	type running struct {
		*collector
		end func()
	}
	folded, late := uint64(0), uint64(0)
	begin := func(dir string) running {
		w := start(t, c, c, dir, "this", cfg, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Folder.Run(ctx) }()
		return running{w, func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			w.stop()
			folded += w.Folder.Stats().Slots
			late += w.Folder.Stats().LateRows
		}}
	}
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	collectors := []running{begin(dirs[0]), begin(dirs[1])}
	gone := begin(dirs[2])
	for range 2 {
		gone.seal(r, 20, time.Now())
	}
	gone.stored(t)
	gone.end()
	left := number(t, c, "SELECT count() FROM flows_1m_rows WHERE NOT folded")
	for round := range 3 {
		if round == 1 {
			dirs[2] = t.TempDir() // a new one
			collectors = append(collectors, begin(dirs[2]))
		}
		for range 3 {
			for _, w := range collectors {
				w.seal(r, 1+r.IntN(60), time.Now())
			}
		}
		if round%2 == 0 {
			pid := srv.PID()
			for range 2 { // some of it is under way when the store dies
				for _, w := range collectors {
					w.seal(r, 1+r.IntN(60), time.Now())
				}
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the store is back", func() error {
				if p := srv.PID(); p == 0 || p == pid {
					return fmt.Errorf("its process is %d", p)
				}
				return c.Ping(t.Context())
			})
		} else {
			for i, w := range collectors {
				w.end()
				collectors[i] = begin(dirs[i])
			}
		}
		for _, w := range collectors {
			slots, sealed := w.Folder.Stats().Slots, time.Now()
			eventually(t, "something is folded", func() error {
				if s := w.Folder.Stats(); s.Slots == slots {
					if time.Since(sealed) > 500*time.Millisecond {
						w.seal(r, 1, time.Now())
						sealed = time.Now()
					}
					return fmt.Errorf("%+v", s)
				}
				return nil
			})
		}
	}
	for _, w := range collectors {
		w.stored(t)
	}
	eventually(t, "all is folded but what is of who is gone", func() error {
		if n := number(t, c, "SELECT count() FROM flows_1m_rows WHERE NOT folded"); n > left {
			return fmt.Errorf("%d rows are not, %d are left over", n, left)
		}
		return nil
	})
	equal(t, c, "in the end")
	for _, w := range collectors {
		w.end()
	}
	if late != 0 || folded < 7 {
		t.Errorf("%d slots were folded, %d rows were late", folded, late)
	}
}
