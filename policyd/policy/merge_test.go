package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

// What two people did with a policy is put together; where they did different things with the same, one is asked.
func TestMerge(t *testing.T) {
	const base = `
address_groups: [{name: g, members: [192.0.2.1, 192.0.2.2]}, {name: h, members: [192.0.2.1]}]
vm_groups: [{name: v, vms: [a]}]
global: {mandatory: [{id: a, action: allow}, {id: b, action: deny}, {id: c, action: deny}, {id: d, action: deny}]}
`
	const ours = `
default: deny
address_groups: [{name: g, members: [192.0.2.2, 192.0.2.3]}]
vm_groups: [{name: v, vms: [a, b]}]
global: {mandatory: [{id: d, action: deny}, {id: a, action: allow}, {id: x, action: allow}, {id: b, action: allow}]}
vifs: [{name: vm/0, rules: [{id: y, action: deny}]}]
`
	const theirs = `
address_groups: [{name: g, members: [192.0.2.1, 192.0.2.2, 192.0.2.4]}, {name: h, members: [192.0.2.1]}, {name: new, members: []}]
vm_groups: [{name: v, vms: [a, c]}]
global: {mandatory: [{id: z, action: allow}, {id: a, action: allow, comment: why}, {id: b, action: shadow}, {id: c, action: deny, comment: this}, {id: d, action: deny}]}
`
	f := func(mine bool, want string) {
		t.Helper()
		got, conflicts := policy.Merge(parsed(t, base), parsed(t, ours), parsed(t, theirs), mine)
		if diff := policy.Compare(parsed(t, want), got); !diff.Empty() {
			text, _ := got.Encode()
			t.Errorf("mine %v: got\n%s\n%+v", mine, text, diff)
		}
		var list []string
		for _, c := range conflicts {
			list = append(list, c.String())
		}
		if diff := cmp.Diff([]string{
			`rule "b": you changed it, and meanwhile it was changed`,
			`rule "c": you removed it, and meanwhile it was changed`,
			`vm group "v": you changed it, and meanwhile it was changed`,
		}, list); diff != "" {
			t.Errorf("mine %v: conflicts: %s", mine, diff)
		}
	}
	const groups = `
default: deny
address_groups: [{name: g, members: [192.0.2.2, 192.0.2.4, 192.0.2.3]}, {name: new, members: []}]
vifs: [{name: vm/0, rules: [{id: y, action: deny}]}]
`
	f(true, groups+`
vm_groups: [{name: v, vms: [a, b]}]
global: {mandatory: [{id: d, action: deny}, {id: z, action: allow}, {id: a, action: allow, comment: why}, {id: x, action: allow}, {id: b, action: allow}]}
`)
	f(false, groups+`
vm_groups: [{name: v, vms: [a, c]}]
global: {mandatory: [{id: d, action: deny}, {id: z, action: allow}, {id: a, action: allow, comment: why}, {id: x, action: allow}, {id: b, action: shadow}, {id: c, action: deny, comment: this}]}
`)
}

// Of random policies: with one who did nothing, the other's is what comes out; with two who did the same, that; where they did different things, each rule says what
// the one who changed it wants.
func TestMergeRandom(t *testing.T) {
	seed := chance.Seed(t)
	conflicts, merged := 0, 0
	for run := range 300 {
		r := rand.New(rand.NewPCG(seed, uint64(run)))
		base := policytest.New(r, policytest.Small).Policy
		edited := func(name string) *policy.Policy {
			text, err := base.Encode()
			if err != nil {
				t.Fatal(err)
			}
			p := parsed(t, string(text))
			for i := range 1 + r.IntN(3) {
				l := &p.Global.Mandatory
				if r.IntN(2) == 0 {
					l = &p.Global.Default
				}
				at := r.IntN(len(*l) + 1)
				switch {
				case at == len(*l) || r.IntN(3) == 0:
					*l = slices.Insert(*l, at, policy.Rule{ID: fmt.Sprintf("%s-%d", name, i), Action: policy.Deny})
				case r.IntN(3) == 0:
					*l = slices.Delete(*l, at, at+1)
				case r.IntN(2) == 0:
					(*l)[at].Comment = fmt.Sprint(r.Uint32())
				default:
					x := (*l)[at]
					*l = slices.Delete(*l, at, at+1)
					*l = slices.Insert(*l, r.IntN(len(*l)+1), x)
				}
			}
			return p
		}
		ours, theirs := edited("ours"), edited("theirs")
		same := func(what string, want, b, o, t2 *policy.Policy) {
			t.Helper()
			got, conflicts := policy.Merge(b, o, t2, r.IntN(2) == 0)
			if d := policy.Compare(want, got); !d.Empty() || len(conflicts) > 0 {
				t.Fatalf("seed %d, run %d: %s: %+v, conflicts %v", seed, run, what, d, conflicts)
			}
		}
		same("only ours", ours, base, ours, base)
		same("only theirs", theirs, base, base, theirs)
		same("both the same", ours, base, ours, ours)

		out, list := policy.Merge(base, ours, theirs, true)
		conflicts += len(list)
		merged++
		byID := map[string]*policy.Rule{}
		for x := range out.Rules() {
			if byID[x.ID] != nil {
				t.Fatalf("seed %d, run %d: rule %q is there twice", seed, run, x.ID)
			}
			byID[x.ID] = x
		}
		contested := map[string]bool{}
		for _, c := range list {
			contested[c.Rule] = true
		}
		check := func(who string, after *policy.Policy) {
			rules := map[string]*policy.Rule{}
			for x := range after.Rules() {
				rules[x.ID] = x
			}
			for _, d := range policy.Compare(base, after).Rules {
				got, want := byID[d.Rule], rules[d.Rule]
				if who == "theirs" && contested[d.Rule] || d.Change == policy.Moved {
					continue
				}
				if (got == nil) != (want == nil) || got != nil && (got.String() != want.String() || got.Comment != want.Comment) {
					t.Fatalf("seed %d, run %d: %s %s rule %q: got %v, want %v", seed, run, who, d.Change, d.Rule, got, want)
				}
			}
		}
		check("ours", ours)
		check("theirs", theirs)
	}
	t.Logf("seed %d: %d merged with %d conflicts", seed, merged, conflicts)
	if conflicts == 0 {
		t.Errorf("seed %d: no conflict at all", seed)
	}
}
