package crash_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/store/embedded"
	"github.com/weirhq/weir/store/wal"
)

func TestMain(m *testing.M) { os.Exit(apptest.Main(m)) }

const soon = 2 * time.Minute // for what takes seconds on an idle machine

// start brings an instance up that receives at addr.
func start(t *testing.T, data, addr string) *apptest.App {
	t.Helper()
	if _, err := embedded.FindLibrary(""); err != nil && os.Getenv("CI_REQUIRE_SERVICES") != "1" {
		t.Skip(err)
	}
	return apptest.Start(t, data, "--listen", addr, "--store-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0")
}

// status asks an instance how it does.
func status(a *apptest.App) (s api.Status, err error) {
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Get("http://" + a.API + "/api/v1/status")
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	return s, err
}

// statusOf is status of an instance that is up; the ledger of its writer balances.
func statusOf(t *testing.T, a *apptest.App) api.Status {
	t.Helper()
	s, err := status(a)
	if err != nil {
		t.Fatal(err)
	}
	w := &s.Writer
	rows, batches := w.Stored.Rows+w.Waiting.Rows, w.Stored.Batches+w.Waiting.Batches+w.Joined
	for _, d := range w.Dropped {
		rows += d.Rows
		batches += d.Batches
	}
	if rows != w.In.Rows+w.Replayed.Rows || batches != w.In.Batches+w.Replayed.Batches {
		t.Errorf("in + replayed is not stored + dropped + waiting, with the joined batches: %+v", w)
	}
	return s
}

// storeIsBack waits until the store of a answers, as another process than pid.
func storeIsBack(t *testing.T, a *apptest.App, pid int) api.Status {
	t.Helper()
	var s api.Status
	apptest.Eventually(t, soon, "the store is back", func() (err error) {
		if s, err = status(a); err != nil {
			return err
		}
		if s.Store.PID == 0 || s.Store.PID == pid || s.Store.Problem != "" {
			return fmt.Errorf("pid %d, %q", s.Store.PID, s.Store.Problem)
		}
		return nil
	})
	return s
}

// drained waits until nothing is on its way to the store of a.
func drained(t *testing.T, a *apptest.App, within time.Duration) api.Status {
	t.Helper()
	var last api.Status
	apptest.Eventually(t, within, "all flows are stored", func() error {
		s := statusOf(t, a)
		quiet := s.Collector.Flows == last.Collector.Flows // none came between two looks
		last = s
		if s.OnTheWay() > 0 || !quiet {
			return fmt.Errorf("%d flows are on the way", s.OnTheWay())
		}
		return nil
	})
	return last
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if pid <= 0 { // those would be other processes
		t.Fatalf("kill -9 %d: there is no such process", pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill -9 %d: %v", pid, err)
	}
}

// logged reads the write-ahead log that a killed instance left: the rows of each of its batches. It reads a copy.
func logged(t *testing.T, data string) map[uint64]int {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "wal"), os.DirFS(filepath.Join(data, "wal"))); err != nil {
		t.Fatal(err)
	}
	cfg := wal.Default()
	cfg.Dir = filepath.Join(dir, "wal")
	log, err := wal.Open(cfg, wal.Deps{Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	batches := map[uint64]int{}
	for range log.Stats().Waiting {
		r, err := log.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		batches[r.Batch] = r.Rows
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return batches
}

// table runs a query and returns its rows of numbers.
func table(t *testing.T, a *apptest.App, query string) [][]uint64 {
	t.Helper()
	var rows [][]uint64
	for line := range strings.Lines(a.MustSQL(query)) {
		var row []uint64
		for field := range strings.SplitSeq(strings.TrimSuffix(line, "\n"), "\t") {
			n, err := strconv.ParseUint(field, 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", query, err)
			}
			row = append(row, n)
		}
		rows = append(rows, row)
	}
	return rows
}

// checkSums checks that the tables of sums are those of the flows: bytes and packets with sampling applied, and flows, apart for
// those that totals count and the others.
func checkSums(t *testing.T, a *apptest.App) {
	t.Helper()
	want := a.MustSQL("SELECT counted, sum(bytes * sampling_rate), sum(packets * sampling_rate), count() FROM flows GROUP BY counted ORDER BY counted")
	for _, name := range []string{"flows_1m", "flows_1h", "flows_rx_1m"} {
		if got := a.MustSQL("SELECT counted, sum(bytes), sum(packets), sum(flows) FROM " + name + " GROUP BY counted ORDER BY counted"); got != want {
			t.Errorf("%s sums to (counted, bytes, packets, flows)\n%s\nand flows to\n%s", name, got, want)
		}
	}
	// A flow is in the row of each of its groups, and in one of no group where it has none at an end.
	want = a.MustSQL(`WITH length(arrayDistinct(arrayConcat(src_groups, dst_groups))) + (empty(src_groups) OR empty(dst_groups)) AS times
		SELECT counted, sum(bytes * sampling_rate * times), sum(packets * sampling_rate * times), sum(times) FROM flows GROUP BY counted ORDER BY counted`)
	if got := a.MustSQL("SELECT counted, sum(bytes), sum(packets), sum(flows) FROM flows_group_1m GROUP BY counted ORDER BY counted"); got != want {
		t.Errorf("flows_group_1m sums to (counted, bytes, packets, flows)\n%s\nand flows to\n%s", got, want)
	}
}
