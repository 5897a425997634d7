package state_test

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/policyd/state"
)

// On a disk of which writes and syncs fail at random, that fills up, and whose power goes, each change is done or not done, and what was said to be done is
// done.
func TestFaultyDisk(t *testing.T) {
	d := mountFaulty(t)
	rounds, length := 40, 25
	if testing.Short() {
		rounds = 4
	}
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	d.tell("seed", int(seed>>1))
	g := &steps{r: r}
	w := newTwin()
	name := filepath.Join(d.dir, "state.db")
	var did []string
	fatal := func(format string, args ...any) {
		t.Helper()
		t.Logf("seed %d, after:\n  %s", seed, strings.Join(did, "\n  "))
		t.Fatalf(format, args...)
	}
	// is finds out which of two it is that the database holds.
	is := func(s *state.State, before, after *twin) *twin {
		t.Helper()
		got, err := dump(t.Context(), s)
		if err != nil {
			fatal("%v", err)
		}
		switch got {
		case before.dump():
			return before
		case after.dump():
			return after
		}
		fatal("it is neither as before nor as after:\ngot\n%s\nbefore\n%s\nafter\n%s", got, before.dump(), after.dump())
		return nil
	}
	reopen := func() *state.State {
		t.Helper()
		s, err := state.Open(t.Context(), name, state.Deps{Now: func() time.Time { return then }})
		if err != nil {
			fatal("open: %v", err)
		}
		return s
	}
	s := reopen()
	failures := 0
	for range rounds {
		did = append(did, "-- next round")
		switch r.IntN(3) {
		case 0:
			d.tell("write", 1+r.IntN(60))
		case 1:
			d.tell("sync", 1+r.IntN(300))
		default:
			d.tell("space", 1+r.IntN(200_000))
		}
		next, healthy := w, true // unless healthy, it is not known which of the two is there
		for range length {
			x := g.random(w)
			did = append(did, x.what)
			next = w.clone()
			want := x.model(next)
			if want != nil {
				next = w
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			err := x.do(ctx, s)
			cancel()
			if !like(err, want) { // the disk, then
				did = append(did, "  "+err.Error())
				healthy = false
				break
			}
			w = next
		}
		d.tell("write", 0)
		d.tell("sync", 0)
		d.tell("space", 0)
		failures += d.tell("failed", 0)
		if r.IntN(2) == 0 || !healthy && r.IntN(2) == 0 {
			_ = s.Close() // it fails where a checkpoint does
			did = append(did, "power off")
			d.tell("cut", 0)
			s = reopen()
		}
		if got := is(s, w, next); healthy && got.dump() != w.dump() {
			fatal("what was done is not there")
		} else {
			w = got
		}
		if err := w.repeated(); err != nil {
			fatal("%v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if !testing.Short() && failures < rounds/4 {
		t.Errorf("%d calls failed in %d rounds: nothing was tried", failures, rounds)
	}
	t.Logf("%d calls of the file system failed", failures)
}

// A copy on a disk that fails is whole, or not there; the database that is restored over is as it was, or as the copy.
func TestCopiesOnFaultyDisk(t *testing.T) {
	d := mountFaulty(t)
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	d.tell("seed", int(seed>>1))
	s := open(t, file(t))
	n, _ := applied(t, s)
	good := filepath.Join(t.TempDir(), "good.db")
	if err := s.Backup(t.Context(), alice, good); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(d.dir, "state.db")
	if _, err := state.Restore(t.Context(), good, name, then); err != nil {
		t.Fatal(err)
	}
	rounds, copies, restored := 60, 0, 0
	if testing.Short() {
		rounds = 10
	}
	for i := range rounds {
		switch i % 3 {
		case 0:
			d.tell("write", 1+r.IntN(40))
		case 1:
			d.tell("sync", 1+r.IntN(300))
		default:
			d.tell("space", 1+r.IntN(400_000))
		}
		copied := filepath.Join(d.dir, "copy.db")
		if i%2 == 0 {
			err := s.Backup(t.Context(), alice, copied)
			if err == nil {
				copies++
			}
			d.tell("write", 0)
			d.tell("sync", 0)
			d.tell("space", 0)
			if r.IntN(2) == 0 {
				d.tell("cut", 0)
			}
			_, there := state.Restore(t.Context(), copied, filepath.Join(t.TempDir(), "state.db"), then)
			if err == nil && there != nil {
				t.Fatalf("seed %d, round %d: a copy that was made is not whole: %v", seed, i, there)
			}
			if there != nil && !strings.Contains(there.Error(), "no such file") {
				t.Fatalf("seed %d, round %d: half a copy (%v): %v", seed, i, err, there)
			}
			removeAll(t, d.dir, "copy.db")
			continue
		}
		done, err := state.Restore(t.Context(), good, name, then.Add(time.Duration(i)*time.Second))
		if err == nil {
			restored++
		}
		d.tell("write", 0)
		d.tell("sync", 0)
		d.tell("space", 0)
		if r.IntN(2) == 0 {
			d.tell("cut", 0)
		}
		again, err2 := state.Open(t.Context(), name, state.Deps{})
		if err2 != nil {
			t.Fatalf("seed %d, round %d, restored: %+v %v: %v", seed, i, done, err, err2)
		}
		if got := intent(t, again); len(got.Live) != 1 || got.Live[0].Instance != n || got.Next <= n {
			t.Errorf("seed %d, round %d: %+v", seed, i, got)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
		removeAll(t, d.dir, "state.db.before-*")
	}
	t.Logf("of %d tries each, %d copies were made, and %d restored", rounds/2, copies, restored)
	if !testing.Short() && (copies == 0 || copies == rounds/2 || restored == 0) { // of a few tries, all may go one way
		t.Errorf("seed %d: of %d tries each, %d copies were made, and %d restored", seed, rounds/2, copies, restored)
	}
}
