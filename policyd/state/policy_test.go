package state_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/state"
)

const web = flow.ID(1<<63 + 5) // as half of all ids, more than a signed number holds

// clocked is a state whose time is *now.
func clocked(t *testing.T, file string, now *time.Time) *state.State {
	t.Helper()
	s, err := state.Open(t.Context(), file, state.Deps{Now: func() time.Time { return *now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func intent(t *testing.T, s *state.State) *state.Intent {
	t.Helper()
	i, err := s.Intent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func apply(t *testing.T, s *state.State, by audit.Actor, a state.Application) state.Policy {
	t.Helper()
	p, err := s.Apply(t.Context(), by.Does(audit.PolicyApply), a)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rules places rules "r", "s", … with instances in tier 5 of a scope.
func rules(instances ...uint32) []state.Placed {
	var list []state.Placed
	for i, n := range instances {
		list = append(list, state.Placed{Tier: 5, Scope: web, Rule: string(rune('r' + i)), Instance: n, Rank: uint16(10 * (i + 1))})
	}
	return list
}

// What is applied is in force after the database was closed and opened again: at all hosts, or first at one.
func TestPolicyLasts(t *testing.T) {
	name, now := file(t), then
	s := clocked(t, name, &now)
	if i := intent(t, s); i.Revision != 0 || i.Next != 0 || len(i.Live)+len(i.Policies)+len(i.Rules)+len(i.Bypasses) != 0 {
		t.Errorf("at first: %+v", i)
	}
	changes, cancel := s.Subscribe()
	defer cancel()
	first := apply(t, s, alice, state.Application{
		Policy: state.Policy{Text: "default: allow\n"}, Placed: rules(256, 257), Next: 258,
		Bound:     []state.Bound{{Kind: flow.KindVIF, Name: "web/0", ID: web}},
		Instances: []state.Instance{{Instance: 256, Rule: "r", Action: "allow", Digest: "d1", Tier: 5, Scope: web, Text: "allow any"}, {Instance: 257, Rule: "s", Action: "deny", Digest: "d2"}},
	})
	if len(changes) != 1 {
		t.Error("no news of a policy that was applied")
	}
	now = now.Add(time.Minute)
	canary := apply(t, s, bob, state.Application{
		Policy: state.Policy{Text: "default: deny\n"}, Only: []string{"h1"}, Placed: rules(258, 257), Next: 259,
		Instances: []state.Instance{{Instance: 258, Rule: "r", Action: "deny", Digest: "d3"}},
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = clocked(t, name, &now)
	want := &state.Intent{
		Head: 2, Revision: 1, Only: map[string]uint64{"h1": 2}, Policies: map[uint64]state.Policy{1: first, 2: canary}, Next: 259,
		Rules: map[uint64][]state.Placed{1: rules(256, 257), 2: rules(258, 257)},
		Bound: map[uint64][]state.Bound{1: {{Kind: flow.KindVIF, Name: "web/0", ID: web}}, 2: nil},
		Live: []state.Instance{
			{Instance: 256, Rule: "r", Action: "allow", Digest: "d1", Tier: 5, Scope: web, Text: "allow any", Since: then},
			{Instance: 257, Rule: "s", Action: "deny", Digest: "d2", Since: then},
			{Instance: 258, Rule: "r", Action: "deny", Digest: "d3", Since: now},
		},
	}
	got := intent(t, s)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.RevisionOf("h1") != 2 || got.RevisionOf("h2") != 1 {
		t.Errorf("h1 has %d, h2 %d", got.RevisionOf("h1"), got.RevisionOf("h2"))
	}

	// Then everywhere: what is replaced ends, and what it let in is ended for a while.
	now = now.Add(time.Minute)
	ended := now
	apply(t, s, bob, state.Application{
		Policy: state.Policy{Text: "default: deny\n"}, Placed: rules(258, 257), Next: 259,
		Ends: func(n state.Instance) bool { return n.Action == "allow" },
	})
	got = intent(t, s)
	if got.Revision != 3 || len(got.Only) != 0 || len(got.Policies) != 1 || len(got.Rules) != 1 {
		t.Errorf("at all hosts: %+v", got)
	}
	if n := got.Live[0]; n.Instance != 256 || !n.Until.Equal(ended) || !n.Ends || len(got.Live) != 3 {
		t.Errorf("%+v, want 256 until %v", got.Live, ended)
	}
	now = ended.Add(state.Remembered)
	if got = intent(t, s); len(got.Live) != 2 || got.Next != 259 {
		t.Errorf("an hour later: %+v, next %d", got.Live, got.Next)
	}
	list, err := s.Revisions(t.Context(), 0, 2)
	if err != nil || len(list) != 2 || list[0].Revision != 3 || list[1].Revision != 2 || list[0].AppliedBy != "bob" {
		t.Errorf("%+v %v", list, err)
	}
	if p, _, err := s.Revision(t.Context(), 1); err != nil || cmp.Diff(first, p) != "" {
		t.Errorf("%+v %v, want %+v", p, err, first)
	}
	if _, _, err := s.Revision(t.Context(), 9); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("a revision that was never there: %v", err)
	}
}

// What is refused changes nothing.
func TestApplyIsWhole(t *testing.T) {
	now := then
	s := clocked(t, file(t), &now)
	apply(t, s, alice, state.Application{Policy: state.Policy{Text: "a"}, Placed: rules(256), Next: 257, Instances: []state.Instance{{Instance: 256, Rule: "r", Action: "allow"}}})
	before := intent(t, s)
	for name, c := range map[string]struct {
		a    state.Application
		want error
	}{
		"number that was given": {state.Application{Next: 257, Instances: []state.Instance{{Instance: 256, Rule: "x"}}}, state.ErrRaced},
		"rule without number":   {state.Application{Next: 258, Instances: []state.Instance{{Instance: 257, Rule: "x"}}, Placed: rules(257, 300)}, nil},
		"rule twice":            {state.Application{Next: 257, Placed: append(rules(256), rules(256)...)}, nil},
	} {
		_, err := s.Apply(t.Context(), alice.Does("test"), c.a)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if diff := cmp.Diff(before, intent(t, s)); diff != "" {
		t.Error(diff)
	}
}

// Numbers that a state which was lost has given are not given again.
func TestSkipInstances(t *testing.T) {
	now := then
	s := clocked(t, file(t), &now)
	for _, c := range []struct{ upTo, want uint32 }{{400, 401}, {300, 401}, {401, 402}} {
		if err := s.SkipInstances(t.Context(), c.upTo); err != nil {
			t.Fatal(err)
		}
		if got := intent(t, s).Next; got != c.want {
			t.Errorf("after %d the next is %d, want %d", c.upTo, got, c.want)
		}
	}
	_, err := s.Apply(t.Context(), alice.Does("test"), state.Application{Next: 402, Instances: []state.Instance{{Instance: 401, Rule: "r"}}})
	if !errors.Is(err, state.ErrRaced) {
		t.Errorf("401 was given again: %v", err)
	}
}

func TestBypasses(t *testing.T) {
	name, now := file(t), then
	s := clocked(t, name, &now)
	want := []state.Bypass{
		{Kind: state.BypassEstate, Name: "estate", By: "alice", Reason: "because"},
		{Kind: state.BypassVIF, Target: "18446744073709551615", Name: "web/0", By: "alice", Reason: "because"},
	}
	for i, b := range want {
		for range 2 { // again, as by somebody who is not sure
			var err error
			if want[i], err = s.SetBypass(t.Context(), alice.Does("test"), b); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = clocked(t, name, &now)
	if diff := cmp.Diff(want, intent(t, s).Bypasses); diff != "" {
		t.Error(diff)
	}
	if err := s.EndBypass(t.Context(), alice.Does("test"), state.BypassEstate, ""); err != nil {
		t.Error(err)
	}
	if err := s.EndBypass(t.Context(), alice.Does("test"), state.BypassEstate, ""); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("ended twice: %v", err)
	}
	if diff := cmp.Diff(want[1:], intent(t, s).Bypasses); diff != "" {
		t.Error(diff)
	}
}

// What was asked of a host goes with it.
func TestPolicyOfRemovedHost(t *testing.T) {
	now := then
	s := clocked(t, file(t), &now)
	h, err := s.AddHost(t.Context(), alice.Does("test"), state.Host{Name: "xcp1"})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, s, alice, state.Application{Policy: state.Policy{Text: "a"}, Only: []string{h.UUID}, Placed: rules(256), Next: 257, Instances: []state.Instance{{Instance: 256, Rule: "r"}}})
	if _, err := s.SetBypass(t.Context(), alice.Does("test"), state.Bypass{Kind: state.BypassHost, Target: h.UUID, Name: "xcp1"}); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveHost(t.Context(), alice.Does("test"), "xcp1"); err != nil {
		t.Fatal(err)
	}
	if i := intent(t, s); len(i.Only)+len(i.Bypasses)+len(i.Rules) != 0 || i.Next != 257 {
		t.Errorf("%+v", i)
	}
}
