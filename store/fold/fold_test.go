package fold_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weirhq/weir/store/fold"
)

// quick folds without pauses.
func quick() fold.Config {
	cfg := fold.Default()
	cfg.Settle = 0
	return cfg
}

// Rollups equal the single flows at every moment: rows of batches, folded ones, and both; whatever the clocks do.
func TestRollupsEqualFlows(t *testing.T) {
	c, _ := migrated(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	now := &clock{now: time.Now()}
	dir := t.TempDir()
	w := start(t, c, c, dir, "this", quick(), now.Now)
	for range 4 {
		for range 1 + r.IntN(4) {
			w.seal(r, 1+r.IntN(120), time.Now().Add(-time.Duration(r.IntN(40))*time.Hour/10))
		}
		switch r.IntN(4) {
		case 0:
			w.stored(t)
			equal(t, c, "before a fold")
		case 1: // the clock goes backwards
			now.add(-3 * time.Hour)
		case 2:
			w.stop()
			w = start(t, c, c, dir, "this", quick(), now.Now)
		}
		now.add(time.Hour)
		if err := w.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.stored(t)
	equal(t, c, "after folds")
	now.add(100 * time.Hour)
	if err := w.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, c, "all is folded")
	if n := number(t, c, "SELECT count() FROM flows_1m_rows WHERE NOT folded"); n != 0 {
		t.Errorf("%d rows are not folded", n)
	}
	if n := hidden(t, c); n != 0 {
		t.Errorf("%d rows are hidden", n)
	}
	s := w.Folder.Stats()
	if s.Waiting != 0 || s.LateRows != 0 || s.Failures != 0 || s.Until.IsZero() {
		t.Errorf("stats %+v", s)
	}
	if err := w.Round(context.Background()); err != nil { // nothing to do
		t.Error(err)
	}
}
