package explain_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/explain"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

// pair is a policy, and what somebody made of it, in one estate.
type pair struct {
	world         *policytest.World
	before, after *policy.Policy
}

// newPair returns a random pair, and whether the second one can be.
func newPair(t *testing.T, r *rand.Rand) (pair, *policy.Set, *policy.Estate, bool) {
	w := policytest.New(r, policytest.Small)
	p := pair{w, w.Policy, again(t, w.Policy)}
	for range 1 + r.IntN(3) {
		change(r, p.after)
	}
	draft, err := policy.Resolve(policy.Request{Policy: p.after, Names: policy.NamesOf(w.Model), Now: policytest.Now, Applied: true})
	if err != nil {
		return p, nil, nil, false
	}
	set := draft.Set(policytest.FirstInstance)
	return p, set, policy.EstateOf(w.Model, set.Groups, nil), true
}

func again(t *testing.T, p *policy.Policy) *policy.Policy {
	t.Helper()
	text, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	out, err := policy.Parse("policy", text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// listsOf returns the lists of a policy that can be changed.
func listsOf(p *policy.Policy) []*[]policy.Rule {
	all := []*[]policy.Rule{&p.Global.Mandatory, &p.Global.Default}
	for i := range p.Pools {
		all = append(all, &p.Pools[i].Mandatory, &p.Pools[i].Default)
	}
	for _, level := range [][]policy.Named{p.Networks, p.VMs} {
		for i := range level {
			all = append(all, &level[i].Mandatory, &level[i].Default)
		}
	}
	for i := range p.VIFs {
		all = append(all, &p.VIFs[i].Rules)
	}
	return all
}

// change does one thing to a policy that people do.
func change(r *rand.Rand, p *policy.Policy) {
	lists := listsOf(p)
	var full []*[]policy.Rule
	for _, l := range lists {
		if len(*l) > 0 {
			full = append(full, l)
		}
	}
	other := policytest.New(r, policytest.Small).Policy
	var rules []policy.Rule
	for x := range other.Rules() {
		rules = append(rules, *x)
	}
	if len(full) == 0 || len(rules) == 0 {
		return
	}
	l := pick(r, full)
	i := r.IntN(len(*l))
	rule := &(*l)[i]
	insert := func(l *[]policy.Rule, x policy.Rule) { *l = slices.Insert(*l, r.IntN(len(*l)+1), x) }
	switch r.IntN(13) {
	case 0:
		*l = slices.Delete(*l, i, i+1)
	case 1:
		x := pick(r, rules)
		x.ID = fmt.Sprintf("new-%d", r.Uint32())
		insert(pick(r, lists), x)
	case 2: // the same again, which the first covers
		x := *rule
		x.ID = fmt.Sprintf("twin-%d", r.Uint32())
		insert(l, x)
	case 3, 4:
		x := *rule
		*l = slices.Delete(*l, i, i+1)
		insert(l, x)
	case 5:
		x := *rule
		*l = slices.Delete(*l, i, i+1)
		insert(pick(r, lists), x)
	case 6:
		rule.Disabled = !rule.Disabled
	case 7:
		rule.Action = pick(r, []policy.Action{policy.Allow, policy.Deny, policy.Shadow})
	case 8:
		x := pick(r, rules)
		x.ID, x.Action = rule.ID, rule.Action
		*rule = x
	case 9:
		rule.Comment = fmt.Sprint(r.Uint32())
	case 10:
		rule.Remote = policy.Remote{}
	case 11:
		if len(p.AddressGroups) > 0 && len(other.AddressGroups) > 0 {
			g := &p.AddressGroups[r.IntN(len(p.AddressGroups))]
			if r.IntN(2) == 0 && len(g.Members) > 0 {
				g.Members = slices.Delete(g.Members, 0, 1)
			} else {
				g.Members = append(g.Members, "10.0.0.0/30")
			}
		}
	case 12:
		p.Default = pick(r, []policy.Action{"", policy.Allow, policy.Deny})
	}
}

// Of random policies and what people make of them: all that differs is said, and nothing else; there and back, the same is named; and packets fare as the effect says.
func TestRandom(t *testing.T) {
	runs := 600
	if testing.Short() {
		runs = 100
	}
	seed := chance.Seed(t)
	seen := map[explain.Effect]int{}
	asked := map[explain.Effect]int{}
	differ := map[string]int{}
	for run := range runs {
		r := rand.New(rand.NewPCG(seed, uint64(run)))
		p, set, estate, ok := newPair(t, r)
		if !ok {
			continue
		}
		there, back := explain.Of(p.before, p.after, policytest.Now), explain.Of(p.after, p.before, policytest.Now)
		fatal := func(format string, args ...any) {
			t.Helper()
			a, _ := p.before.Encode()
			b, _ := p.after.Encode()
			t.Fatalf("seed %d, run %d: %s\n%s\n--- before\n%s\n--- after\n%s", seed, run, fmt.Sprintf(format, args...), shown(there), a, b)
		}
		if got, want := subjects(there), differences(p.before, p.after); !slices.Equal(got, want) {
			fatal("explained %v, want %v", got, want)
		}
		if a, b := subjects(there), subjects(back); !slices.Equal(unmoved(p.before, p.after, a), unmoved(p.after, p.before, b)) {
			fatal("there %v, back %v", a, b)
		}
		if !explain.Of(p.after, again(t, p.after), policytest.Now).Same() {
			fatal("a policy differs from itself")
		}
		if there.Same() != (len(subjects(there)) == 0) || there.Same() != (there.Summary == "No difference.") {
			fatal("summary %q", there.Summary)
		}
		seen[there.Effect]++
		for range 60 {
			tr := p.world.Traffic(r)
			for stage, vif := range map[flow.Stage]*policy.Interface{flow.StageEgress: tr.Src, flow.StageIngress: tr.Dst} {
				if vif == nil {
					continue
				}
				for _, state := range []policy.State{policy.New, policy.Stateless} {
					was := policy.Evaluate(p.world.Set, p.world.Estate, vif, stage, &tr.Packet, policy.Conn{State: state}).Verdict
					is := policy.Evaluate(set, estate, vif, stage, &tr.Packet, policy.Conn{State: state}).Verdict
					asked[there.Effect]++
					if was == is {
						continue
					}
					differ[string(there.Effect)+" "+is.String()]++
					if there.Effect == explain.None || there.Effect == explain.Opens && is != flow.VerdictAllowed || there.Effect == explain.Closes && is == flow.VerdictAllowed {
						fatal("effect %s, and %s of %s at %s was %s, and is %s", there.Effect, stage, tr.Packet, vif.Name, was, is)
					}
				}
			}
		}
	}
	t.Logf("seed %d: %v, asked %v, differ %v", seed, seen, asked, differ)
	for _, e := range []explain.Effect{explain.Opens, explain.Closes, explain.Both, explain.None} {
		if seen[e] < runs/50 { // of the rarest there are some 18 of 100
			t.Errorf("seed %d: %d of %d have effect %s", seed, seen[e], runs, e)
		}
	}
	if differ["opens allowed"] == 0 || differ["closes denied"] == 0 {
		t.Errorf("seed %d: traffic meets no change: %v", seed, differ)
	}
}

// subjects returns what an explanation is about.
func subjects(e *explain.Explanation) (list []string) {
	for _, s := range e.Sections {
		for _, p := range s.Points {
			switch {
			case p.Rule != "" && strings.Contains(p.Text, fmt.Sprintf("%q", p.Rule)):
				list = append(list, "rule "+p.Rule)
			case p.Group != "" && strings.Contains(p.Text, fmt.Sprintf("%q", p.Group)):
				list = append(list, p.Kind+" "+p.Group)
			case strings.Contains(p.Text, "default"):
				list = append(list, "default")
			}
		}
	}
	slices.Sort(list)
	return list
}

// unmoved returns the subjects besides rules that only moved: of two that changed places, either may be said to have.
func unmoved(before, after *policy.Policy, subjects []string) []string {
	moved := map[string]bool{}
	for _, r := range policy.Compare(before, after).Rules {
		moved["rule "+r.Rule] = r.Change == policy.Moved
	}
	return slices.DeleteFunc(slices.Clone(subjects), func(s string) bool { return moved[s] })
}

// differences returns what policies differ in.
func differences(a, b *policy.Policy) (list []string) {
	d := policy.Compare(a, b)
	if d.Default != nil {
		list = append(list, "default")
	}
	for _, r := range d.Rules {
		list = append(list, "rule "+r.Rule)
	}
	for _, g := range d.Groups {
		list = append(list, g.Kind+" "+g.Name)
	}
	slices.Sort(list)
	return list
}

// shown is an explanation as people read it.
func shown(e *explain.Explanation) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s\n", e.Summary)
	for _, w := range e.Warnings {
		fmt.Fprintf(&s, "! %s\n", w)
	}
	for _, section := range e.Sections {
		fmt.Fprintf(&s, "\n%s\n", section.Title)
		for _, p := range section.Points {
			fmt.Fprintf(&s, "  %s %-6s %s\n", p.Mark, p.Effect, p.Text)
		}
	}
	return s.String()
}
