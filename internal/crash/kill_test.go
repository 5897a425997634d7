package crash_test

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/internal/chance"
)

var discard = slog.New(slog.DiscardHandler)

// victim is what is killed: the process of the store, that of the collector and everything else, or both at once.
type victim string

const (
	theStore     victim = "store"
	theCollector victim = "collector"
	both         victim = "both"
)

// victims is killed through again and again. The store comes back by itself, each time later for as long as the collector lives.
var victims = []victim{theStore, theStore, theStore, theCollector, theStore, both}

const (
	kills    = 54
	killRate = 4_000 // flows a second
)

// Under load, kill -9 of the store, of the collector and of both leaves every sealed flow in the store exactly once, and in
// each table of sums.
//
// A flow is sealed when the write-ahead log has its batch. What is sealed when a process dies is known from outside in
// three ways, all of which are checked:
//
//   - A collector with one socket takes, seals and logs the flows of a host in the order of their numbers. So of those that one
//     run of it has in the store, numbers are a range without a gap, whatever was killed meanwhile; a gap would be a
//     sealed flow that is lost, and a number that is there twice one that is doubled. A batch is known by its
//     run: the upper bits of its id.
//   - The batches that are in the log of a collector that was killed are there afterwards, with as many rows as the log has.
//   - What a collector said was stored or logged, before it was killed, is there.
func TestKills(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for minutes")
	}
	t.Parallel()
	total := kills
	if text := os.Getenv("WEIR_CRASHES"); text != "" {
		var err error
		if total, err = strconv.Atoi(text); err != nil {
			t.Fatalf("WEIR_CRASHES: %v", err)
		}
	}
	data := configure(t, t.TempDir(), "collector: {workers: 1, flush_interval: 200ms}\nestate: {file: estate.yaml}\nstore: {fold: {every: 10s, settle: 1s}}\n")
	addr := udpPort(t)
	rng := rand.New(rand.NewPCG(chance.Seed(t), 0))

	began := time.Now()
	a := start(t, data, addr.String())
	l := send(t, addr, killRate)
	want := map[uint64]int{} // rows of batches that were in a log
	lives := []life{{from: began}}
	killed := map[victim]int{}
	var found, respent uint64
	for i := range total {
		who := victims[i%len(victims)]
		// From within the replay to some batches after it.
		time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
		s := statusOf(t, a)
		noLoss(t, s.Lost(), addr)
		killed[who]++
		if who == theStore {
			kill(t, s.Store.PID)
			storeIsBack(t, a, s.Store.PID)
			continue
		}
		found, respent = found+s.Writer.Found, respent+s.Writer.Respent
		now := &lives[len(lives)-1]
		now.promised = s.Writer.Stored.Rows + s.Writer.WAL.Rows - s.Writer.Replayed.Rows
		if who == both {
			kill(t, s.Store.PID)
		}
		a.Kill()
		now.to = time.Now()
		maps.Copy(want, logged(t, data))
		lives = append(lives, life{from: time.Now()})
		a = start(t, data, addr.String())
	}
	l.stop()
	// A store that is killed again and again leaves most for the end.
	s := drained(t, a, max(2*time.Minute, time.Duration(total)*5*time.Second))
	now := &lives[len(lives)-1]
	now.to, now.promised = time.Now(), s.Writer.Stored.Rows-s.Writer.Replayed.Rows
	noLoss(t, s.Lost(), addr)
	if s.Writer.Doubled > 0 || s.Writer.WAL.Corrupt > 0 {
		t.Errorf("%d flows doubled, %d places of the log corrupt", s.Writer.Doubled, s.Writer.WAL.Corrupt)
	}
	t.Logf("%d kills (%v) in %s: %d flows sent, %d stored; %d batches were in logs of killed collectors; of those in doubt the store had %d, and had spent the token without storing %d",
		total, killed, time.Since(began).Round(time.Second), l.sent.Load(), table(t, a, "SELECT count() FROM flows")[0][0], len(want), found+s.Writer.Found, respent+s.Writer.Respent)
	checkSums(t, a)
	checkNumbers(t, a, lives)
	checkBatches(t, a, want)
}

// noLoss checks that nothing was dropped by the writer, and nothing before it by the kernel.
func noLoss(t *testing.T, lost map[string]uint64, addr netip.AddrPort) {
	t.Helper()
	if len(lost) > 0 {
		t.Errorf("flows were dropped on their way to the store: %v", lost)
	}
	if n, ok := kernelDrops(t, addr); ok && n > 0 {
		t.Fatalf("the kernel dropped %d datagrams: the load is too much for this machine", n)
	}
}

// life is one run of the collector, from its start to its being killed.
type life struct {
	from, to time.Time
	promised uint64 // flows that it said were stored or logged, shortly before its end
}

// checkNumbers checks that what each run of the collector has stored of each host is a range of numbers, each once, and all
// that it promised.
func checkNumbers(t *testing.T, a *apptest.App, lives []life) {
	t.Helper()
	stored := make([]uint64, len(lives))
	for _, r := range table(t, a, `SELECT intDiv(batch, 1048576) AS run, count(), uniqExact(observation_point),
			min(observation_point), max(observation_point), toUnixTimestamp64Milli(min(time_received))
		FROM flows GROUP BY run, exporter ORDER BY run, exporter`) {
		run, rows, flows, first, last, since := r[0], r[1], r[2], r[3], r[4], int64(r[5])
		if rows != flows || rows != last-first+1 {
			t.Errorf("run %d of the collector: %d rows of %d flows are stored, numbered %d to %d: want each once", run, rows, flows, first, last)
		}
		for i := range lives {
			if since >= lives[i].from.UnixMilli() && since <= lives[i].to.UnixMilli() {
				stored[i] += rows
			}
		}
	}
	for i := range lives {
		if stored[i] < lives[i].promised {
			t.Errorf("run %d of the collector had stored or logged %d flows, %d are there", i, lives[i].promised, stored[i])
		}
	}
}

// checkBatches checks that each batch of want, rows by id, is stored with as many rows.
func checkBatches(t *testing.T, a *apptest.App, want map[uint64]int) {
	t.Helper()
	got := map[uint64]int{}
	for _, r := range table(t, a, "SELECT batch, count() FROM flows GROUP BY batch") {
		got[r[0]] = int(r[1])
	}
	var wrong []string
	for batch, rows := range want {
		if got[batch] != rows {
			wrong = append(wrong, fmt.Sprintf("%d has %d rows, want %d", batch, got[batch], rows))
		}
	}
	if len(wrong) > 0 {
		t.Errorf("%d of %d batches that were in a log: %s", len(wrong), len(want), strings.Join(wrong[:min(len(wrong), 5)], "; "))
	}
}
