package state_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/policyd/state"
)

// Environment variables that make this test binary change a database at random, from a step on, until it is killed.
const (
	twinFile = "WEIR_STATE_TEST_TWIN"
	twinSeed = "WEIR_STATE_TEST_SEED"
	twinStep = "WEIR_STATE_TEST_STEP"
)

// script is random changes that depend on a seed only: who knows the seed and how many were made knows what the database holds.
type script struct {
	g *steps
	w *twin
}

func newScript(seed uint64) *script {
	return &script{&steps{r: rand.New(rand.NewPCG(seed, 0))}, newTwin()}
}

// skip makes a change of the twin alone.
func (s *script) skip() { _, _ = s.next() }

// next returns a change, which the twin has made, and as what error it is refused.
func (s *script) next() (x step, want error) {
	x = s.g.random(s.w)
	w := s.w.clone()
	if want = x.model(w); want == nil {
		s.w = w
	}
	return x, want
}

// followTwin makes the changes of a script from a step on, and says of each that it is done.
func followTwin(file string) error {
	seed, err1 := strconv.ParseUint(os.Getenv(twinSeed), 10, 64)
	first, err2 := strconv.Atoi(os.Getenv(twinStep))
	if err1 != nil || err2 != nil {
		return fmt.Errorf("%w %w", err1, err2)
	}
	ctx := context.Background()
	s, err := state.Open(ctx, file, state.Deps{Now: func() time.Time { return then }})
	if err != nil {
		return err
	}
	fmt.Println(first)
	c := newScript(seed)
	for n := 0; ; n++ {
		x, want := c.next()
		if n < first {
			continue
		}
		if err := x.do(ctx, s); !like(err, want) {
			return fmt.Errorf("step %d, %s: %w, want %w", n, x.what, err, want)
		}
		fmt.Println(n + 1)
	}
}

// A process that is killed at any moment while it changes drafts, revisions, what waits to be confirmed, hosts, bypasses and quarantines leaves the last change done, or not.
func TestKillTwin(t *testing.T) {
	rounds := 25
	if testing.Short() {
		rounds = 3
	}
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	name := filepath.Join(t.TempDir(), "state.db")
	done, ahead := 0, 0
	round := 0
	for ; round < rounds || done < 2*rounds && round < 10*rounds; round++ { // by chance the first may all be short
		first := done
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), twinFile+"="+name, twinSeed+"="+strconv.FormatUint(seed, 10), twinStep+"="+strconv.Itoa(first))
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		left := 1 + r.IntN(30) // changes, after which it is killed within the next few
		var kill *time.Timer
		for lines := bufio.NewScanner(out); lines.Scan(); {
			n, err := strconv.Atoi(lines.Text())
			if err != nil { // the last line may be cut
				break
			}
			done = n
			if done-first >= left && kill == nil {
				kill = time.AfterFunc(time.Duration(r.IntN(20_000))*time.Microsecond, func() { cmd.Process.Kill() })
			}
		}
		cmd.Wait()
		if said.Len() > 0 {
			t.Fatalf("seed %d, round %d: %s", seed, round, said.String())
		}
		c := newScript(seed)
		for range done {
			c.skip()
		}
		before := c.w
		c.skip()
		after := c.w
		s, err := state.Open(t.Context(), name, state.Deps{Now: func() time.Time { return then }})
		if err != nil {
			t.Fatal(err)
		}
		got, err := dump(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		switch got {
		case before.dump():
		case after.dump():
			done++
			ahead++
		default:
			t.Fatalf("seed %d, round %d: after step %d it is neither as before nor as after the next one:\ngot\n%s\nbefore\n%s\nafter\n%s", seed, round, done, got, before.dump(), after.dump())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if done < 2*rounds {
		t.Errorf("%d changes in %d rounds: it was killed before it did anything", done, round)
	}
	t.Logf("%d changes, %d rounds; in %d the last one was done and not said", done, round, ahead)
}
