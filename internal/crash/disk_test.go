package crash_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/lab/flowgen"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/embedded"
)

// smallDisk is a file system of its own, of about size, which ends with the test. It is an ext4 image, or where loop devices are
// not to be had, in memory.
func smallDisk(t *testing.T, size bytesize.Size) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a file system can be mounted by root only")
	}
	dir := t.TempDir()
	image, disk := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	if err := errors.Join(os.Mkdir(disk, 0o700), os.WriteFile(image, nil, 0o600), os.Truncate(image, int64(size))); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) error {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, out)
		}
		return nil
	}
	err := run("mkfs.ext4", "-q", "-m", "0", image)
	if err == nil {
		err = run("mount", "-o", "loop", image, disk)
	}
	if err != nil {
		t.Logf("no loop device: %v", err)
		if err := run("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", size), "weir-test", disk); err != nil {
			if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	t.Cleanup(func() {
		if err := run("umount", disk); err != nil {
			t.Errorf("%v", err)
		}
	})
	return disk
}

// insertDay stores rows of the generator that were received on the day so many days ago.
func insertDay(t *testing.T, c *store.Client, ago, rows int) {
	t.Helper()
	day := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -ago)
	r, err := flowgen.NewRows(flowgen.RowsConfig{Start: day.Add(time.Hour), Rate: float64(rows) / 60_000, Enriched: true, Seed: uint64(ago)})
	if err != nil {
		t.Fatal(err)
	}
	const size = 50_000
	b := flow.NewBatch(size)
	for ; rows > 0; rows -= size {
		b.Reset()
		r.Fill(b)
		if _, err := c.InsertNative(t.Context(), "flows", b.AppendNative(nil), ""); err != nil {
			t.Fatalf("insert flows of %d days ago: %v", ago, err)
		}
	}
}

// A small disk that fills up: alarm, then the oldest days go, today's stay; the log stops before the disk is full, and
// what it cannot keep is dropped and counted; the store is sound throughout, and all goes on once there is room.
func TestFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up for half a minute")
	}
	t.Parallel()
	awayFromMidnight(t, 4*time.Minute)
	disk := smallDisk(t, 192*bytesize.MiB)
	data := configure(t, disk, `collector: {workers: 1}
estate: {file: estate.yaml}
store:
  wal: {max_size: 64MiB, keep_free: 32MiB}
  retention: {warn_free: 100MiB, min_free: 90MiB, interval: 500ms}
  writer: {retry_max: 500ms}
`)
	addr := udpPort(t)
	a := start(t, data, addr.String())
	l := send(t, addr, 2000)
	writer := writerOf(t, a)

	// Days come in until the oldest have to give way.
	const rows = 200_000
	ago := 30
	alarm := ""
	s := statusOf(t, a)
	for ; s.Retention.Dropped[store.DropMinFree].Partitions < 3; s = statusOf(t, a) {
		// There may be others, of what is slow on a busy machine.
		if i := slices.IndexFunc(s.Alarms, func(text string) bool { return strings.Contains(text, "are free on the store's disk") }); alarm == "" && i >= 0 {
			alarm = s.Alarms[i]
			if n := s.Retention.Dropped[store.DropMinFree].Partitions; n > 0 {
				t.Logf("the first alarm was seen when %d partitions were gone", n)
			}
		}
		if ago--; ago == 0 {
			t.Fatalf("29 days of %d flows fill nothing: %+v", rows, s.Retention)
		}
		insertDay(t, writer, ago, rows)
	}
	t.Logf("first alarm: %s", alarm)
	if alarm == "" {
		t.Errorf("days had to give way without an alarm: %q", s.Alarms)
	}
	apptest.Eventually(t, soon, "there is room", func() error {
		if s = statusOf(t, a); s.Retention.DiskFree < s.Retention.MinFree {
			return fmt.Errorf("%+v", s.Retention)
		}
		return nil
	})
	sound(t, a, ago, rows)

	// Somebody else takes all the rest of the disk: no day is old enough to help. The store and the log stand it.
	hog := filepath.Join(disk, "hog")
	fill(t, hog)
	apptest.Eventually(t, soon, "only the newest day is left", func() error {
		if s = statusOf(t, a); !s.Retention.Full || s.Retention.Tables[0].Partitions != 1 {
			return fmt.Errorf("%+v", s.Retention)
		}
		return nil
	})
	if out, err := a.Run("doctor"); err == nil || !strings.Contains(out, "only the newest partitions are left to drop") {
		t.Errorf("doctor: %v\n%s", err, out)
	}
	fill(t, hog)
	apptest.Eventually(t, soon, "the log stays off the disk", func() error {
		if s = statusOf(t, a); s.Writer.WAL.Problem == "" {
			return fmt.Errorf("%+v", s.Writer.WAL)
		}
		return nil
	})
	apptest.Eventually(t, soon, "inserts are refused before they write", func() error {
		if s = statusOf(t, a); !strings.Contains(s.Writer.LastError, "NOT_ENOUGH_SPACE") {
			return fmt.Errorf("last error of the store: %s", s.Writer.LastError)
		}
		return nil
	})
	t.Logf("alarms on a full disk: %q", s.Alarms)
	sound(t, a, 0, 0)

	// Others give space back and take it again, faster than anything can look: writes that have begun fail. Each costs a restart of
	// the store, and no row.
	for range squeezes() {
		if err := os.Truncate(hog, max(0, sizeOf(t, hog)-64<<20)); err != nil {
			t.Fatal(err)
		}
		stored := s.Writer.Stored
		apptest.Eventually(t, soon, "a batch is stored", func() error {
			if s = statusOf(t, a); s.Writer.Stored == stored {
				return fmt.Errorf("%+v", s.Writer)
			}
			return nil
		})
		fill(t, hog)
		sound(t, a, 0, 0)
	}
	t.Logf("the store was restarted %d times", s.Store.Restarts)

	// There is room again: everything goes on.
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	l.stop()
	s = drained(t, a, 2*soon)
	apptest.Eventually(t, soon, "no alarm is left", func() error {
		if s = statusOf(t, a); len(s.Alarms) > 0 {
			return fmt.Errorf("%q", s.Alarms)
		}
		return nil
	})
	sound(t, a, 0, 0)
	ledger := s.Ledger
	t.Logf("%+v, %v", ledger, s.Lost())
	if stored := table(t, a, "SELECT count() FROM flows WHERE toDate(time_received) >= yesterday()")[0][0]; ledger.Flows == 0 || stored != ledger.Stored || ledger.Flows != ledger.Stored+ledger.Lost {
		t.Errorf("%d flows received, %+v, %d are in the store", s.Collector.Flows, ledger, stored)
	}
	numbers := table(t, a, "SELECT count(), uniqExact(exporter, observation_point) FROM flows WHERE observation_point > 0")[0]
	if numbers[0] != numbers[1] {
		t.Errorf("%d rows of %d flows are stored", numbers[0], numbers[1])
	}
	// It also starts again.
	a.Stop()
	b := start(t, data, addr.String())
	sound(t, b, 0, 0)
}

// awayFromMidnight waits, if the day (UTC) ends within d, until it has ended: which partition is the newest, and so the one that
// stays, is then the same all through the test.
func awayFromMidnight(t *testing.T, d time.Duration) {
	t.Helper()
	now := time.Now().UTC()
	if left := now.Truncate(24 * time.Hour).Add(24 * time.Hour).Sub(now); left < d {
		t.Logf("waiting for midnight, in %v", left)
		time.Sleep(left)
	}
}

// writerOf is a client of the store of a that may write.
func writerOf(t *testing.T, a *apptest.App) *store.Client {
	t.Helper()
	users, err := embedded.ReadUsers(filepath.Join(a.Data, "store"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := store.DefaultConfig()
	cfg.Addr, cfg.User, cfg.Password = a.Store, users.Writer.Name, users.Writer.Password
	c, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// squeezes is how often a full disk is given some space that is taken again: WEIR_TEST_SQUEEZES, or 2.
func squeezes() int {
	if n, err := strconv.Atoi(os.Getenv("WEIR_TEST_SQUEEZES")); err == nil {
		return n
	}
	return 2
}

func sizeOf(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// sound checks every part of table flows by its checksums, and that the days from newest to oldest, if any are said, are whole.
func sound(t *testing.T, a *apptest.App, newest, rows int) {
	t.Helper()
	var bad string
	apptest.Eventually(t, soon, "the store answers", func() (err error) {
		bad, err = a.SQL("CHECK TABLE flows SETTINGS check_query_single_value_result = 0")
		return err
	})
	if slices.ContainsFunc(strings.Split(bad, "\n"), func(line string) bool {
		f := strings.Split(line, "\t")
		return len(f) > 1 && f[1] != "1" && f[1] != "true"
	}) {
		t.Errorf("CHECK TABLE flows:\n%s", bad)
	}
	if rows == 0 {
		return
	}
	days := table(t, a, "SELECT dateDiff('day', toDate(time_received), today()), count() FROM flows WHERE toDate(time_received) < yesterday() GROUP BY 1 ORDER BY 1")
	for i, d := range days {
		if int(d[0]) != newest+i || int(d[1]) != rows {
			t.Fatalf("days and rows %v, want those from %d days ago with %d rows each", days, newest, rows)
		}
	}
}

// fill makes the file name as large as its disk allows.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
}
