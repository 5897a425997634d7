package state_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/policyd/state"
)

// childFile is the environment variable that makes this test binary write into a database until it is killed.
const childFile = "WEIR_STATE_TEST_FILE"

func TestMain(m *testing.M) {
	if file := os.Getenv(childFile); file != "" {
		if err := writeForEver(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if file := os.Getenv(twinFile); file != "" {
		if err := followTwin(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if dir := os.Getenv(faultDir); dir != "" {
		if err := serveFaulty(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// writeForEver makes changes in a fixed order, and says of each that it is done.
func writeForEver(file string) error {
	ctx := context.Background()
	s, err := state.Open(ctx, file, state.Deps{})
	if err != nil {
		return err
	}
	list, err := s.Hosts(ctx)
	if err != nil {
		return err
	}
	for n := len(list); ; n++ {
		first, err := s.ReserveEventIDs(ctx, 10, 0)
		if err != nil {
			return err
		}
		fmt.Println("ids", first)
		events := make([]event.Event, 10)
		for i := range events {
			events[i] = event.Event{ID: first + uint64(i), Text: fmt.Sprint(n)}
		}
		if err := s.KeepEvents(ctx, events); err != nil {
			return err
		}
		fmt.Println("events", first)
		if _, err := s.AddHost(ctx, alice.Does("test"), state.Host{Name: fmt.Sprintf("new-%05d", n), Pool: fmt.Sprintf("pool-%d", n)}); err != nil {
			return err
		}
		fmt.Println("added", n)
		if _, err := s.UpdateHost(ctx, alice.Does("test"), fmt.Sprintf("new-%05d", n), func(h *state.Host) error {
			h.Name, h.ConfirmedBy = fmt.Sprintf("host-%05d", n), "child"
			return nil
		}); err != nil {
			return err
		}
		fmt.Println("changed", n)
		if err := applyNext(ctx, s); err != nil {
			return err
		}
		if err := s.DropEvents(ctx, first-1); err != nil {
			return err
		}
	}
}

// applyNext applies a policy of one rule, with a new number, that replaces the one before.
func applyNext(ctx context.Context, s *state.State) error {
	i, err := s.Intent(ctx)
	if err != nil {
		return err
	}
	n := max(i.Next, 256)
	p, err := s.Apply(ctx, alice.Does("test"), state.Application{
		Policy: state.Policy{Text: fmt.Sprint(n)}, Placed: []state.Placed{{Tier: 1, Rule: "r", Instance: n, Rank: 1}}, Next: n + 1,
		Instances: []state.Instance{{Instance: n, Rule: "r", Action: "allow"}}, Ends: func(state.Instance) bool { return true },
	})
	if err == nil {
		fmt.Println("applied", p.Revision)
	}
	return err
}

// checkPolicy wants one revision in force with its rule and its number, all others ended.
func checkPolicy(t *testing.T, s *state.State, applied int) {
	t.Helper()
	i, err := s.Intent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if applied == 0 && i.Revision == 0 {
		return
	}
	rules := i.Rules[i.Revision]
	if i.Revision < uint64(applied) || len(i.Rules) != 1 || len(rules) != 1 || rules[0].Instance != i.Next-1 || i.Policies[i.Revision].Text != fmt.Sprint(i.Next-1) {
		t.Fatalf("revision %d, said to be applied was %d; rules %+v, next number %d, policy %+v", i.Revision, applied, i.Rules, i.Next, i.Policies)
	}
	for _, n := range i.Live {
		if n.Until.IsZero() != (n.Instance == i.Next-1) {
			t.Errorf("number %d of those up to %d: %+v", n.Instance, i.Next-1, n)
		}
	}
}

// A process that is killed at any moment leaves each change done or not done; what it said to be done is done.
func TestKill(t *testing.T) {
	name := file(t)
	rounds := 15
	if testing.Short() {
		rounds = 3
	}
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	half := map[int]bool{} // hosts that were added and not changed: a kill can leave one, and the child does not come back to it
	done := map[string]int{"added": -1, "changed": -1, "ids": 0, "events": 0, "applied": 0}
	for round := 0; round < rounds || done["changed"] < rounds && round < 10*rounds; round++ { // by chance the first may all be short
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childFile+"="+name)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() { // it is at work
			t.Fatalf("the child said nothing: %v", cmd.Wait())
		}
		left := r.IntN(40) // lines, after which it is killed within the next few
		var kill *time.Timer
		for more := true; more; more = lines.Scan() {
			if left--; left < 0 && kill == nil {
				kill = time.AfterFunc(time.Duration(r.IntN(10_000))*time.Microsecond, func() { cmd.Process.Kill() })
			}
			what, n, _ := strings.Cut(lines.Text(), " ")
			var number int
			if _, err := fmt.Sscan(n, &number); err == nil { // the last line may be cut
				done[what] = max(done[what], number)
			}
		}
		cmd.Wait()
		check(t, name, done, half)
		if t.Failed() {
			t.Fatalf("after round %d, seed %d", round, seed)
		}
	}
	if done["changed"] < rounds {
		t.Errorf("%d hosts after %d rounds: the child was killed before it did anything", done["changed"], 10*rounds)
	}
	if entries, err := filepath.Glob(name + "*"); err != nil || len(entries) > 3 {
		t.Errorf("files %q %v", entries, err)
	}
}

// check opens the database and compares it with what was said to be done.
func check(t *testing.T, name string, done map[string]int, half map[int]bool) {
	t.Helper()
	s, err := state.Open(t.Context(), name, state.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	list, err := s.Hosts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pools, err := s.Pools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < done["added"]+1 || len(list) > done["added"]+2 || len(pools) != len(list) {
		t.Errorf("%d hosts and %d pools, said to be added were %d", len(list), len(pools), done["added"]+1)
	}
	for _, h := range list {
		var n int
		if _, err := fmt.Sscanf(h.Name, "host-%05d", &n); err == nil && h.ConfirmedBy == "child" {
			continue
		}
		if _, err := fmt.Sscanf(h.Name, "new-%05d", &n); err != nil || h.ConfirmedBy != "" || n <= done["changed"] && !half[n] {
			t.Errorf("host %+v, said to be changed up to %d", h, done["changed"])
		}
		half[n] = true
	}
	checkPolicy(t, s, done["applied"])
	kept, err := s.KeptEvents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(kept)%10 != 0 || done["events"] > 0 && (len(kept) == 0 || kept[len(kept)-1].ID < uint64(done["events"])+9) {
		t.Errorf("%d events are kept, said to be kept up to %d", len(kept), done["events"]+9)
	}
	first, err := s.ReserveEventIDs(t.Context(), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if first < uint64(done["ids"])+10 {
		t.Errorf("id %d was given before: up to %d", first, done["ids"]+9)
	}
}
