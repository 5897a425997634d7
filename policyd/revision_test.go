package policyd_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/state"
)

// ledger keeps what is told of changes; it takes none while it is broken.
type ledger struct {
	mu     sync.Mutex
	broken bool
	list   []audit.Entry
}

func (l *ledger) Write(_ context.Context, list []audit.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return errors.New("broken")
	}
	l.list = append(l.list, list...)
	return nil
}

// ids returns the ids of what is told.
func (l *ledger) ids() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []uint64
	for _, e := range l.list {
		list = append(list, e.ID)
	}
	return list
}

func (r *rig) applyWith(text string, o policyd.ApplyOptions) (policyd.Applied, error) {
	return r.ApplyPolicy(r.t.Context(), alice, policyd.ApplyRequest{PlanRequest: policyd.PlanRequest{Policy: text}, ApplyOptions: o})
}

// inForce returns the text that is in force at all hosts, the revision, and the numbers of rules that are live, by verdict.
func (r *rig) inForce() (string, uint64) {
	r.t.Helper()
	p, err := r.Policy(r.t.Context(), 0)
	if errors.Is(err, state.ErrNotFound) {
		return "", 0
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return p.Policy, p.Revision.Revision
}

// numbersInForce returns those by the ids of their rules.
func (r *rig) numbersInForce() map[string]uint32 {
	r.t.Helper()
	i, err := r.state.Intent(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	m := map[string]uint32{}
	for _, p := range i.Rules[i.Revision] {
		m[p.Rule] = p.Instance
	}
	return m
}

const (
	oneRule  = "default: allow\nglobal: {default: [{id: a, action: allow, protocol: tcp, remote_ports: \"443\"}]}\n"
	denyRule = "default: allow\nglobal: {default: [{id: a, action: deny, protocol: tcp, remote_ports: \"443\"}]}\n"
)

// A revision that nobody confirms is undone at its deadline, one way by a policyd that runs all the time, the other by one that was not there then.
func TestUnconfirmedIsRolledBack(t *testing.T) {
	for name, away := range map[string]bool{"running": false, "restarted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := start(t, dir)
			r.apply(oneRule)
			was, _ := r.inForce()
			numbers := r.numbersInForce()
			done, err := r.applyWith(denyRule, policyd.ApplyOptions{ConfirmWithin: policyd.Duration(2 * policyd.MinConfirm)}) // enough for what is asked until then
			if err != nil || done.ConfirmBy.IsZero() {
				t.Fatalf("%+v %v", done, err)
			}
			if p, err := r.PendingPolicy(t.Context()); err != nil || p == nil || p.Revision != 2 || !p.ConfirmBy.Equal(done.ConfirmBy) {
				t.Fatalf("%+v %v", p, err)
			}
			var pending *state.PendingError
			if _, err := r.applyWith("default: deny", policyd.ApplyOptions{}); !errors.As(err, &pending) || pending.Revision != 2 {
				t.Errorf("another one while it waits: %v", err)
			}
			if _, err := r.ConfirmPolicy(t.Context(), bob, 1); !errors.As(err, &pending) {
				t.Errorf("confirmed another one than waits: %v", err)
			}
			if s := r.PolicySummary(); !slices.ContainsFunc(s.Problems, func(text string) bool { return strings.Contains(text, "weir policy confirm 2") }) {
				t.Errorf("nobody is told: %q", s.Problems)
			}
			if away {
				r.stop()
				for time.Now().Before(done.ConfirmBy) {
					time.Sleep(10 * time.Millisecond) // between polls
				}
				r = start(t, dir)
			} else if now, n := r.inForce(); n != 2 || now == was {
				t.Fatalf("revision %d is in force before the deadline", n)
			}
			r.until("it is undone", func() bool { _, n := r.inForce(); return n == 3 })
			if now, _ := r.inForce(); now != was || time.Now().Before(done.ConfirmBy) {
				t.Errorf("in force at %v, deadline %v:\n%s\nwas\n%s", time.Now(), done.ConfirmBy, now, was)
			}
			if now := r.numbersInForce(); !maps.Equal(now, numbers) {
				t.Errorf("numbers %v, were %v", now, numbers)
			}
			list, err := r.Revisions(t.Context(), 0, 1)
			if err != nil || list[0].Kind != state.KindRollback || list[0].Of != 2 || list[0].AppliedBy != audit.Weir || list[0].Source != "deadline" || !list[0].InForce {
				t.Errorf("%+v %v", list, err)
			}
			if p, err := r.PendingPolicy(t.Context()); err != nil || p != nil {
				t.Errorf("still waits: %+v %v", p, err)
			}
			r.until("the estate has the numbers again", func() bool { n := r.numbers(); return n[numbers["a"]] != 0 })
			r.apply(denyRule) // nothing is in the way
		})
	}
}

// Confirmed, it stays; rolled back by hand, it is gone at once. The first policy of all is undone to none.
func TestConfirmAndRollBack(t *testing.T) {
	r := start(t, t.TempDir())
	within := policyd.ApplyOptions{ConfirmWithin: policyd.Duration(time.Hour), Reason: "try"}
	if _, err := r.applyWith(oneRule, within); err != nil {
		t.Fatal(err)
	}
	made, err := r.RollBackPolicy(t.Context(), bob, 1)
	if err != nil || len(made) != 1 || made[0].AppliedBy != "bob" || made[0].Of != 1 {
		t.Fatalf("%+v %v", made, err)
	}
	if text, n := r.inForce(); n != 0 {
		t.Errorf("revision %d is in force: %s", n, text)
	}
	if _, err := r.applyWith(oneRule, within); err != nil {
		t.Fatal(err)
	}
	c, err := r.ConfirmPolicy(t.Context(), bob, 3)
	if err != nil || c.ConfirmedBy != "bob" || c.ConfirmedAt.IsZero() || c.AppliedBy != "alice" || c.Reason != "try" {
		t.Fatalf("%+v %v", c, err)
	}
	var pending *state.PendingError
	if _, err := r.RollBackPolicy(t.Context(), bob, 3); !errors.As(err, &pending) {
		t.Errorf("rolled back what was confirmed: %v", err)
	}
	for _, wrong := range []time.Duration{time.Second, -time.Hour, 25 * time.Hour} {
		_, err := r.applyWith(denyRule, policyd.ApplyOptions{ConfirmWithin: policyd.Duration(wrong)})
		isMistake(t, err, "confirm within")
	}
}

// Who does not know the newest revision changes nothing, and hears who made it.
func TestOptimisticLocking(t *testing.T) {
	r := start(t, t.TempDir())
	known := func(n uint64) policyd.ApplyOptions { return policyd.ApplyOptions{Base: &n, Reason: "because"} }
	if p := r.plan(oneRule); p.Head != 0 {
		t.Errorf("head %d", p.Head)
	}
	if _, err := r.applyWith(oneRule, known(0)); err != nil {
		t.Fatal(err)
	}
	_, err := r.applyWith(denyRule, known(0))
	var newer *state.NewerError
	if !errors.As(err, &newer) || len(newer.Made) != 1 || newer.Made[0].AppliedBy != "alice" || !strings.Contains(err.Error(), "revision 1 is by alice") || !strings.Contains(err.Error(), "because") {
		t.Errorf("%v", err)
	}
	if _, n := r.inForce(); n != 1 {
		t.Errorf("revision %d is in force", n)
	}
	if p := r.plan(denyRule); p.Head != 1 {
		t.Errorf("head %d", p.Head)
	}
	if _, err := r.applyWith(denyRule, known(1)); err != nil {
		t.Error(err)
	}
	// Of many at once, one does it.
	var all sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for i := range 8 {
		all.Go(func() {
			_, err := r.applyWith(fmt.Sprintf("global: {default: [{id: r%d, action: deny}]}", i), known(2))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				done++
			case !errors.As(err, new(*state.NewerError)):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if done != 1 {
		t.Errorf("%d of 8 applied", done)
	}
}

// History, what differs, and back again.
func TestHistoryAndRestore(t *testing.T) {
	r := start(t, t.TempDir())
	r.apply(oneRule)
	first, _ := r.inForce()
	numbers := r.numbersInForce()
	r.apply(denyRule + "address_groups: [{name: g, members: [10.0.0.0/8]}]\n")
	c, err := r.Compare(t.Context(), policyd.Version{Revision: 1}, policyd.Version{})
	if err != nil || c.To.Revision != 2 || len(c.Rules) != 1 || len(c.Groups) != 1 {
		t.Fatalf("%+v %v", c, err)
	}
	want := []policy.FieldChange{{Field: "action", Before: "allow", After: "deny"}}
	if diff := cmp.Diff(want, c.Rules[0].Fields); diff != "" || c.Rules[0].Change != policy.Changed || c.Groups[0].Change != policy.Added {
		t.Errorf("%+v\n%s", c, diff)
	}
	done, err := r.RestorePolicy(t.Context(), bob, policyd.RestoreRequest{Revision: 1, ApplyOptions: policyd.ApplyOptions{Reason: "it was better"}})
	if err != nil || done.Kind != state.KindRestore || done.Of != 1 || done.Replaces != 2 || done.AppliedBy != "bob" || done.Reason != "it was better" {
		t.Fatalf("%+v %v", done, err)
	}
	if now, n := r.inForce(); now != first || n != 3 {
		t.Errorf("revision %d:\n%s\nwant\n%s", n, now, first)
	}
	if now := r.numbersInForce(); now["a"] == numbers["a"] || now["a"] == 0 {
		t.Errorf("a rule that had ended has number %d again", now["a"])
	}
	list, err := r.Revisions(t.Context(), 0, 10)
	if err != nil || len(list) != 3 || list[1].Changes != (state.Counts{Changed: 1, Groups: 1}) || list[1].Total != 1 || list[1].Source != "test" || !list[0].InForce || list[1].InForce {
		t.Errorf("%+v %v", list, err)
	}
	if page, err := r.Revisions(t.Context(), 2, 10); err != nil || len(page) != 1 || page[0].Revision != 1 {
		t.Errorf("%+v %v", page, err)
	}
	if _, err := r.RestorePolicy(t.Context(), bob, policyd.RestoreRequest{Revision: 9}); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if again, err := r.RestorePolicy(t.Context(), bob, policyd.RestoreRequest{Revision: 1}); err != nil || !again.Same {
		t.Errorf("what is in force already: %+v %v", again, err)
	}
}

// A draft is edited, undone, planned and applied; who is not up to date hears so.
func TestDrafts(t *testing.T) {
	r := start(t, t.TempDir())
	ctx := t.Context()
	r.apply(oneRule)
	d, err := r.BeginDraft(ctx, alice, policyd.DraftRequest{Name: "web"})
	if now, _ := r.inForce(); err != nil || d.Owner != "alice" || d.Base != 1 || d.Policy != now {
		t.Fatalf("%+v %v", d, err)
	}
	if _, err := r.BeginDraft(ctx, alice, policyd.DraftRequest{Name: "web"}); !errors.Is(err, state.ErrExists) {
		t.Errorf("%v", err)
	}
	_, err = r.BeginDraft(ctx, alice, policyd.DraftRequest{Name: "a/b"})
	isMistake(t, err, "name of draft")
	e, err := r.EditDraft(ctx, alice, "web", policyd.DraftEdit{Policy: strings.Replace(d.Policy, "allow", "deny", 1) + "vm_groups: [{name: all, select: [{name: \"*\"}]}]\n", Version: d.Version})
	if err != nil || e.Version <= d.Version || e.Undo != 1 || !strings.Contains(e.What, "1 group changed") {
		t.Fatalf("%+v %v", e, err)
	}
	if _, err := r.EditDraft(ctx, alice, "web", policyd.DraftEdit{Policy: d.Policy, Version: d.Version}); !errors.Is(err, state.ErrStale) {
		t.Errorf("an old version: %v", err)
	}
	if _, err := r.EditDraft(ctx, bob, "web", policyd.DraftEdit{Policy: d.Policy}); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("somebody else's: %v", err)
	}
	_, err = r.EditDraft(ctx, alice, "web", policyd.DraftEdit{Policy: "default: perhaps\nglobal: {mandatory: [{action: x}]}\n"})
	isMistake(t, err, "default")
	isMistake(t, err, "global.mandatory[0].action")
	u, err := r.UndoDraft(ctx, alice, "web", e.Version, 1)
	if err != nil || u.Policy != d.Policy || u.Redo != 1 {
		t.Errorf("%+v %v", u, err)
	}
	if u, err = r.RedoDraft(ctx, alice, "web", 0, 1); err != nil || u.Policy != e.Policy {
		t.Errorf("%+v %v", u, err)
	}
	if steps, err := r.DraftSteps(ctx, "alice", "web"); err != nil || len(steps) != 2 || !steps[0].Now {
		t.Errorf("%+v %v", steps, err)
	}
	c, err := r.Compare(ctx, policyd.Version{}, policyd.Version{Owner: "alice", Draft: "web"})
	if err != nil || c.From.Revision != 1 || c.Difference.Empty() {
		t.Errorf("%+v %v", c, err)
	}
	if p, err := r.PlanDraft(ctx, "alice", "web", nil); err != nil || p.Base != 1 || len(p.Refused) > 0 {
		t.Errorf("%+v %v", p, err)
	}
	r.apply(denyRule) // somebody else
	var newer *state.NewerError
	if _, err := r.ApplyDraft(ctx, alice, "web", nil, policyd.ApplyOptions{}); !errors.As(err, &newer) {
		t.Errorf("%v", err)
	}
	if u, err = r.EditDraft(ctx, alice, "web", policyd.DraftEdit{Policy: u.Policy, Base: 2}); err != nil || u.Base != 2 {
		t.Fatalf("%+v %v", u, err)
	}
	done, err := r.ApplyDraft(ctx, alice, "web", nil, policyd.ApplyOptions{Reason: "ready"})
	if err != nil || done.Revision.Revision != 3 || done.Reason != "ready" {
		t.Fatalf("%+v %v", done, err)
	}
	if now, _ := r.inForce(); now != u.Policy {
		t.Errorf("in force\n%s\nthe draft was\n%s", now, u.Policy)
	}
	if list, err := r.Drafts(ctx, ""); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
}

// What is exported is imported as it was; what is broken changes nothing, and everything that is wrong with it is named.
func TestImport(t *testing.T) {
	r := start(t, t.TempDir())
	ctx := t.Context()
	r.apply(twoRules2)
	p, err := r.Policy(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	d, err := r.ImportPolicy(ctx, bob, policyd.ImportRequest{Name: "x", Policy: p.Policy})
	if err != nil || d.Policy != p.Policy {
		t.Errorf("%v: imported\n%s\nexported\n%s", err, d.Policy, p.Policy)
	}
	head, err := r.Head(ctx)
	if err != nil || head != 1 {
		t.Errorf("head %d %v", head, err)
	}
	for _, wrong := range []struct {
		text string
		want []string
	}{
		{"default: perhaps\nglobal: {mandatory: [{action: deny, remote: 10.0.0.0/99}]}\nnothing: here\n", []string{"default", "remote", "nothing"}},
		{"vms: [{name: nobody}]\nglobal: {default: [{action: deny, remote: vm-group:none}]}\n", []string{`"nobody" is no VM`, `"none" is no VM group`}},
	} {
		_, err := r.ImportPolicy(ctx, bob, policyd.ImportRequest{Name: "x", Policy: wrong.text})
		for _, want := range wrong.want {
			isMistake(t, err, want)
		}
	}
	if now, err := r.Draft(ctx, "bob", "x"); err != nil || now.Policy != d.Policy || now.Version != d.Version {
		t.Errorf("something was changed: %+v %v", now, err)
	}
	if again, err := r.ImportPolicy(ctx, bob, policyd.ImportRequest{Name: "x", Policy: oneRule}); err != nil || again.Undo != 1 {
		t.Errorf("%+v %v", again, err)
	}
}

const twoRules2 = "default: deny\naddress_groups: [{name: inside, members: [10.0.0.0/8]}]\nglobal: {mandatory: [{action: allow, remote: address-group:inside}, {action: shadow, comment: \"#1: ü\"}]}\n"

// Every change is told of once, in order, with before and after, also after a sink that did not take it, and a restart.
func TestAudit(t *testing.T) {
	dir := t.TempDir()
	told := &ledger{broken: true}
	with := func(d *policyd.Deps) { d.Audit = told }
	r := startWith(t, dir, with)
	ctx := t.Context()
	r.apply(oneRule)
	if _, err := r.BeginDraft(ctx, bob, policyd.DraftRequest{Name: "x"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Bypass(ctx, alice, policyd.BypassRequest{Target: "estate", Reason: "fire"}); err != nil {
		t.Fatal(err)
	}
	r.stop()
	told.mu.Lock()
	told.broken = false
	told.mu.Unlock()
	r = startWith(t, dir, with)
	if _, err := r.EndBypass(ctx, bob, "estate"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.applyWith(denyRule, policyd.ApplyOptions{Reason: "safe"}); err != nil {
		t.Fatal(err)
	}
	r.until("all is told", func() bool { return len(told.ids()) >= 5 })
	if ids := told.ids(); !slices.Equal(ids, []uint64{1, 2, 3, 4, 5}) {
		t.Errorf("%v", ids)
	}
	told.mu.Lock()
	defer told.mu.Unlock()
	var got []string
	for _, e := range told.list {
		for _, text := range []json.RawMessage{e.Before, e.After} {
			if text != nil && !json.Valid(text) {
				t.Errorf("%s", text)
			}
		}
		got = append(got, fmt.Sprintf("%s %s by %s from %s %q %v %v", e.Operation, e.Object, e.User, e.Source, e.Reason, e.Before != nil, e.After != nil))
	}
	want := []string{
		`policy.apply policy by alice from test "a test" false true`, `draft.begin bob/x by bob from test "" false true`, `policy.bypass estate by alice from test "fire" false true`,
		`policy.bypass_end estate by bob from test "" true false`, `policy.apply policy by alice from test "safe" true true`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if last := string(told.list[4].After); !strings.Contains(last, `"revision":2`) || !strings.Contains(last, `"changed":1`) {
		t.Error(last)
	}
}

// A snapshot is made by itself when it is due, and by hand; old ones go.
func TestSnapshots(t *testing.T) {
	dir := t.TempDir()
	with := func(d *policyd.Deps) {
		d.SnapshotDir, d.Snapshots = filepath.Join(dir, "snapshots"), policyd.SnapshotConfig{Every: time.Hour, Keep: 2}
	}
	ctx := t.Context()
	for range 2 { // the second time it is not due
		r := startWith(t, dir, with)
		var list []policyd.Snapshot
		r.until("a snapshot is made", func() bool {
			var err error
			list, err = r.Snapshots(ctx)
			return err == nil && len(list) > 0
		})
		if len(list) != 1 || !list[0].Automatic || list[0].TakenBy != audit.Weir {
			t.Errorf("%+v", list)
		}
		r.stop()
	}
	r := startWith(t, dir, with)
	x, err := r.TakeSnapshot(ctx, alice)
	if err != nil || x.TakenBy != "alice" || x.Automatic {
		t.Fatalf("%+v %v", x, err)
	}
	f, same, err := r.OpenSnapshot(ctx, x.Name)
	if err != nil || same != x {
		t.Fatalf("%+v %v", same, err)
	}
	f.Close()
	if err := r.RemoveSnapshot(ctx, alice, x.Name); err != nil {
		t.Error(err)
	}
	if _, _, err := r.OpenSnapshot(ctx, x.Name); !errors.Is(err, state.ErrNotFound) {
		t.Error(err)
	}
}
