package estate_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
)

// instances returns n rule instances of rules of several instances each, in no order.
func instances(r *rand.Rand, n int) []estate.RuleInstance {
	list := make([]estate.RuleInstance, n)
	for i := range list {
		list[i] = estate.RuleInstance{
			Instance: flow.MaxSystemInstance + 1 + uint32(3*i), Rule: flow.NewID(flow.KindRule, fmt.Sprint(i/4)),
			Verdict: []flow.Verdict{flow.VerdictAllowed, flow.VerdictDenied, flow.VerdictShadowDenied}[i%3],
		}
	}
	r.Shuffle(n, func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func TestRule(t *testing.T) {
	list := instances(rand.New(rand.NewPCG(chance.Seed(t), 0)), 5000)
	s, err := estate.Compile(&estate.Model{Rules: list})
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint32]estate.RuleInstance{}
	for _, r := range list {
		want[r.Instance] = r
	}
	known := 0
	for instance := range uint32(3*len(list)) + 1000 {
		rule, verdict := s.Rule(instance)
		r, ok := want[instance]
		if instance <= flow.MaxSystemInstance {
			r.Verdict = flow.SystemVerdict(instance)
		}
		if rule != uint64(r.Rule) || verdict != r.Verdict {
			t.Fatalf("Rule(%d) = %d, %v, want %d, %v", instance, rule, verdict, r.Rule, r.Verdict)
		}
		if ok {
			known++
		}
	}
	if known != len(list) {
		t.Errorf("%d instances are known, want %d", known, len(list))
	}
	if rule, verdict := s.Rule(flow.MaxInstance); rule != 0 || verdict != flow.VerdictUnknown {
		t.Errorf("Rule of an instance that is not known = %d, %v", rule, verdict)
	}
	if n := testing.AllocsPerRun(100, func() { s.Rule(1000) }); n != 0 {
		t.Errorf("Rule allocates %v times", n)
	}
	if got := s.Rules(); !slices.IsSortedFunc(got, func(a, b estate.RuleInstance) int { return int(a.Instance) - int(b.Instance) }) || len(got) != len(list) {
		t.Errorf("Rules() has %d, want %d in ascending order", len(got), len(list))
	}
}

func TestOddRules(t *testing.T) {
	rule := flow.NewID(flow.KindRule, "a")
	good := estate.RuleInstance{Instance: 300, Rule: rule, Verdict: flow.VerdictAllowed}
	for name, odd := range map[string]estate.RuleInstance{
		"built in":   {Instance: flow.SystemKept, Rule: rule, Verdict: flow.VerdictAllowed},
		"too large":  {Instance: flow.MaxInstance + 1, Rule: rule, Verdict: flow.VerdictAllowed},
		"no rule":    {Instance: 301, Verdict: flow.VerdictAllowed},
		"no verdict": {Instance: 301, Rule: rule},
		"twice":      {Instance: 300, Rule: rule, Verdict: flow.VerdictDenied},
	} {
		list := []estate.RuleInstance{good, good, odd}
		var problems *estate.Problems
		if _, err := estate.Compile(&estate.Model{Rules: list}); !errors.As(err, &problems) || len(problems.List) != 1 {
			t.Errorf("%s: Compile returned %v, want one problem", name, err)
		}
		s, err := estate.Compile(&estate.Model{Merged: true, Rules: list})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if rule, verdict := s.Rule(300); rule != uint64(good.Rule) || verdict != good.Verdict || len(s.Rules()) != 1 || len(s.Warnings()) != 1 {
			t.Errorf("%s: Rule(300) = %d, %v of %d, with warnings %v; want the good one and a warning", name, rule, verdict, len(s.Rules()), s.Warnings())
		}
	}
}

// An assembler keeps rule instances when the estate changes, and the estate when they do.
func TestSetRules(t *testing.T) {
	b := newBed(t)
	changes, cancel := b.Subscribe()
	defer cancel()
	told := func() bool {
		select {
		case <-changes:
			return true
		default:
			return false
		}
	}
	b.set("file", fileModel())
	entities, warnings := b.Load().Entities(), b.Load().Warnings()
	told()
	list := []estate.RuleInstance{{Instance: 256, Rule: 7, Verdict: flow.VerdictDenied}, {Instance: 3, Rule: 7, Verdict: flow.VerdictDenied}}
	b.SetRules(list)
	if _, v := b.Load().Rule(256); v != flow.VerdictDenied || !told() {
		t.Errorf("Rule(256) after SetRules = %v, want denied, and subscribers told", v)
	}
	if got := b.Load(); len(got.Entities()) != len(entities) || len(got.Warnings()) != len(warnings)+1 {
		t.Errorf("%d entities and warnings %v after SetRules, want %d and one more than %v", len(got.Entities()), got.Warnings(), len(entities), warnings)
	}
	if m := b.Model(); len(m.VMs) == 0 || !slices.Equal(m.Rules, list) {
		t.Errorf("the model has %d VMs and rules %v", len(m.VMs), m.Rules)
	}
	b.SetRules(slices.Clone(list))
	if told() {
		t.Error("subscribers were told of rules that are the same")
	}
	other := fileModel()
	other.VMs[0].Name = "renamed"
	b.set("file", other)
	if _, v := b.Load().Rule(256); v != flow.VerdictDenied {
		t.Errorf("Rule(256) after the estate changed = %v, want denied", v)
	}
	compiled, err := estate.Compile(b.Model())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(compiled.Rules(), b.Load().Rules()) || len(compiled.Rules()) != 1 {
		t.Errorf("the model compiles to rules %v, the holder has %v", compiled.Rules(), b.Load().Rules())
	}
	b.SetRules(nil)
	if _, v := b.Load().Rule(256); v != flow.VerdictUnknown || len(b.Load().Warnings()) != len(warnings) {
		t.Errorf("Rule(256) without rules = %v, warnings %v", v, b.Load().Warnings())
	}
}

// BenchmarkRules is of 50 000 rule instances: a change of them, and a look-up.
func BenchmarkRules(b *testing.B) {
	list := instances(rand.New(rand.NewPCG(1, 2)), 50_000)
	s := estate.Empty().WithRules(list)
	b.Run("change", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.WithRules(list)
		}
	})
	b.Run("look-up", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			s.Rule(list[i].Instance)
			if i++; i == len(list) {
				i = 0
			}
		}
	})
}
