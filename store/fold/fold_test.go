package fold_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/fold"
)

// quick folds without pauses.
func quick() fold.Config {
	cfg := fold.Default()
	cfg.Settle = 0
	return cfg
}

// Rollups equal the single flows at every moment: rows of batches, folded ones, and both; whatever the clocks do. Three collectors
// write: one for good, one that is away for a while with its slot open, one that comes later.
func TestRollupsEqualFlows(t *testing.T) {
	c, _ := migrated(t)
	r := rand.New(rand.NewPCG(chance.Seed(t), 1))
	now := &clock{now: time.Now()}
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	var running []*collector
	begin := func(dir string) *collector { return start(t, c, c, dir, "this", quick(), now.Now) }
	running = append(running, begin(dirs[0]), begin(dirs[1]))
	rounds := func() {
		t.Helper()
		for _, w := range running {
			if err := w.Round(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for round := range 5 {
		for _, w := range running {
			for range 1 + r.IntN(3) {
				w.seal(r, 1+r.IntN(80), time.Now().Add(-time.Duration(r.IntN(40))*time.Hour/10))
			}
		}
		switch round {
		case 1:
			running[1].stored(t)
			running[1].stop()
			running = running[:1]
		case 2:
			running = append(running, begin(dirs[2]))
		case 3:
			running = append(running, begin(dirs[1]))
		}
		switch r.IntN(4) {
		case 0:
			for _, w := range running {
				w.stored(t)
			}
			equal(t, c, "before a fold")
		case 1: // the clock goes backwards
			now.add(-3 * time.Hour)
		case 2:
			running[0].stop()
			running[0] = begin(dirs[0])
		}
		now.add(time.Hour)
		rounds()
	}
	for _, w := range running {
		w.stored(t)
	}
	equal(t, c, "after folds")
	now.add(100 * time.Hour)
	rounds()
	equal(t, c, "all is folded")
	if n := number(t, c, "SELECT count() FROM flows_1m_rows WHERE NOT folded"); n != 0 {
		t.Errorf("%d rows are not folded", n)
	}
	if n := hidden(t, c); n != 0 {
		t.Errorf("%d rows are hidden", n)
	}
	if n := number(t, c, "SELECT uniqExact(collector) FROM flows_1m_rows"); n != 3 {
		t.Errorf("rows are of %d collectors, want 3", n)
	}
	for _, w := range running {
		s := w.Folder.Stats()
		if s.Waiting != 0 || s.LateRows != 0 || s.Failures != 0 || s.Until.IsZero() {
			t.Errorf("stats %+v", s)
		}
		if err := w.Round(context.Background()); err != nil { // nothing to do
			t.Error(err)
		}
	}
}

// Sums that a Weir wrote before collectors had numbers stay what they are, wherever their slots are, while others fold.
func TestFormerSumsStay(t *testing.T) {
	c, _ := migrated(t)
	now := &clock{now: time.Now().Truncate(time.Hour)}
	f := folder(t, c, t.TempDir(), now)
	collector, slot := f.Slot()
	if err := c.Exec(t.Context(), fmt.Sprintf("INSERT INTO rollup_folds (until) VALUES (%d)", slot.Unix())); err != nil {
		t.Fatal(err)
	}
	former := func(slot time.Time, folded bool) {
		for _, table := range []string{"flows_1m_rows", "flows_rx_1m_rows", "flows_group_1m_rows"} {
			err := c.Exec(t.Context(), fmt.Sprintf("INSERT INTO %s (bucket, bytes, slot, folded) VALUES (0, 7, %d, %t)", table, slot.Unix(), folded))
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	former(slot.Add(-time.Hour), true)
	former(slot, false) // in a partition with those of the collector
	r := rand.New(rand.NewPCG(8, 8))
	insert(t, c, r, 20, f)
	want := totals(t, c)
	now.add(time.Hour)
	if err := f.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := totals(t, c); got != want {
		t.Errorf("sums are\n%swant\n%s", got, want)
	}
	if n := number(t, c, fmt.Sprintf("SELECT count() FROM flows_1m_rows WHERE NOT folded AND collector = %d", collector)); n != 0 {
		t.Errorf("%d rows of the collector are left over", n)
	}
	if n := number(t, c, "SELECT sum(bytes) FROM flows_1m_rows WHERE collector = 0"); n != 14 {
		t.Errorf("former rows sum to %d, want 14", n)
	}
}

// A collector that was known before needs no store to start, and opens no slot a second time that may be folded.
func TestOpensWithoutTheStore(t *testing.T) {
	c, cfg := migrated(t)
	cfg.Addr = "127.0.0.1:1"
	away := open(t, cfg)
	dir := t.TempDir()
	now := &clock{now: time.Now().Truncate(time.Hour)}
	fc := quick()
	fc.File = filepath.Join(dir, "fold.json")
	settled := func(context.Context) error { return nil }
	blind, err := fold.New(fc, fold.Deps{Log: discard, Client: away, Now: now.Now, Settled: settled})
	if err != nil {
		t.Fatal(err)
	}
	if err := blind.Open(t.Context()); err == nil {
		t.Fatal("a collector that has no number yet opened a slot without the store")
	}
	f := folder(t, c, dir, now)
	now.add(time.Hour)
	if err := f.Round(t.Context()); err != nil { // opens the next slot
		t.Fatal(err)
	}
	collector, slot := f.Slot()
	now.add(-5 * time.Hour) // the clock is set back
	if err := blind.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again, s := blind.Slot(); again != collector || s.Before(slot) {
		t.Errorf("opened slot %s of collector %d, want one of %d not before %s", s, again, collector, slot)
	}
}

// In a database that was made anew a collector has its old number, or, if another has that, goes on under a new one.
func TestDatabaseIsMadeAnew(t *testing.T) {
	c, _ := migrated(t)
	now := &clock{now: time.Now().Truncate(time.Hour)}
	f := folder(t, c, t.TempDir(), now)
	before, slot := f.Slot()
	anew := func(statements ...string) {
		t.Helper()
		for _, s := range append([]string{"TRUNCATE TABLE collectors"}, statements...) {
			if err := c.Exec(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	anew()
	if again, _ := f.Slot(); again != before {
		t.Errorf("number is %d, want %d as before", again, before)
	}
	anew(fmt.Sprintf("INSERT INTO collectors (number, key, name) VALUES (%d, 1, 'another')", before))
	again, next := f.Slot()
	if again == before || !next.After(slot) {
		t.Errorf("collector %d has slot %s open, want another number than %d and a later slot than %s", again, next, before, slot)
	}
	if n := number(t, c, fmt.Sprintf("SELECT count() FROM collectors WHERE number = %d", again)); n != 1 {
		t.Errorf("%d rows have the new number", n)
	}
	if again == 0 || again > store.MaxCollectors {
		t.Errorf("number is %d", again)
	}
}

func TestOpenRefusesAnIdentityItCannotRead(t *testing.T) {
	c, _ := migrated(t)
	for text, want := range map[string]string{
		"":                               "unexpected end",
		"{}":                             `key: found ""`,
		`{"key":"0"}`:                    `key: found "0"`,
		`{"key":"1f","collector":300}`:   "collector: found 300, want at most 299",
		`{"key":"1f","slot":"tomorrow"}`: "parsing time",
	} {
		cfg := quick()
		cfg.File = filepath.Join(t.TempDir(), "fold.json")
		if err := os.WriteFile(cfg.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := fold.New(cfg, fold.Deps{Log: discard, Client: c, Settled: func(context.Context) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Open(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open with identity %q: %v, want an error with %q", text, err, want)
		}
	}
}
