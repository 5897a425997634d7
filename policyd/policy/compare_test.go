package policy_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

func parsed(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("policy", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What differs is said by rule, field, place and group.
func TestCompare(t *testing.T) {
	before := parsed(t, `default: allow
fail_mode: open
mirror_targets: [{name: ids, gre: 192.0.2.7, key: 9}, {name: old, port: eth3}]
address_groups: [{name: g, members: [10.0.0.0/8, 192.0.2.1]}, {name: old, members: [192.0.2.9]}]
vm_groups: [{name: v, vms: [a], select: [{tags: [x], pool: p}]}]
global:
  settings: {rate_out: 100Mbit/s, guard_ip: on, mirror: ids in}
  mandatory: [{id: a, action: allow}, {id: b, action: deny, protocol: tcp, remote_ports: "80,443"}, {id: c, action: deny}, {id: d, action: shadow}]
pools: [{name: p, fail_mode: safe, mirror_vlans: [7], default: [{id: e, action: allow}]}]
`)
	after := parsed(t, `default: deny
fail_mode: open
mirror_targets: [{name: ids, gre: 192.0.2.8}]
address_groups: [{name: g, members: [10.0.0.0/8, 192.0.2.2]}, {name: new, members: [192.0.2.9]}]
vm_groups: [{name: v, vms: [a, b], select: [{tags: [x], pool: p}]}]
global:
  settings: {rate_out: 100Mbit/s burst 2MB, guard_ip: on, guard_dhcp: on}
  mandatory: [{id: d, action: shadow}, {id: a, action: allow, direction: either}, {id: b, action: deny, protocol: tcp, remote_ports: "443,80,81", comment: why}, {id: f, action: deny}]
vifs: [{name: vm/0, rules: [{id: e, action: deny}]}]
`)
	place := func(list string, number int, follows, text string) *policy.Place {
		return &policy.Place{List: list, Number: number, Follows: follows, Text: text}
	}
	b := place("global mandatory", 3, "a", "deny either any tcp remote ports 443,80,81")
	b.Comment = "why"
	want := &policy.Difference{
		Default: &policy.FieldChange{Before: "allow", After: "deny"},
		Rules: []policy.RuleDifference{
			{Change: policy.Moved, Rule: "d", Moved: true, Before: place("global mandatory", 4, "c", "shadow either any any"), After: place("global mandatory", 1, "", "shadow either any any")},
			{Change: policy.Changed, Rule: "b", Before: place("global mandatory", 2, "a", "deny either any tcp remote ports 80,443"), After: b, Fields: []policy.FieldChange{
				{Field: "remote_ports", Before: "80,443", After: "80-81,443"}, {Field: "comment", After: "why"},
			}},
			{Change: policy.Added, Rule: "f", After: place("global mandatory", 4, "b", "deny either any any")},
			{Change: policy.Changed, Rule: "e", Moved: true, Before: place("pool p default", 1, "", "allow either any any"), After: place("VIF vm/0", 1, "", "deny either any any"), Fields: []policy.FieldChange{
				{Field: "action", Before: "allow", After: "deny"},
			}},
			{Change: policy.Removed, Rule: "c", Before: place("global mandatory", 3, "b", "deny either any any")},
		},
		Groups: []policy.GroupDifference{
			{Change: policy.Changed, Kind: "address-group", Name: "g", Added: []string{"192.0.2.2"}, Removed: []string{"192.0.2.1"}},
			{Change: policy.Added, Kind: "address-group", Name: "new", Added: []string{"192.0.2.9"}},
			{Change: policy.Removed, Kind: "address-group", Name: "old", Removed: []string{"192.0.2.9"}},
			{Change: policy.Changed, Kind: "vm-group", Name: "v", Added: []string{"VM b"}},
		},
		Settings: []policy.SettingDifference{
			{Change: policy.Changed, Level: "mirror target ids", Key: "to", Before: "gre 192.0.2.7 key 9", After: "gre 192.0.2.8"},
			{Change: policy.Changed, Level: "global", Key: "rate_out", Before: "100Mbit/s", After: "100Mbit/s burst 2MB"},
			{Change: policy.Added, Level: "global", Key: "guard_dhcp", After: "on"},
			{Change: policy.Removed, Level: "mirror target old", Key: "to", Before: "port eth3"},
			{Change: policy.Removed, Level: "global", Key: "mirror", Before: "ids in"},
			{Change: policy.Removed, Level: "pool p", Key: "fail_mode", Before: "safe"},
			{Change: policy.Removed, Level: "pool p", Key: "mirror_vlans", Before: "7"},
		},
	}
	if diff := cmp.Diff(want, policy.Compare(before, after)); diff != "" {
		t.Error(diff)
	}
}

// Of random policies: one is the same as itself, and as what is read of it when it was written; a change there and the same back mirror each other; a rule is
// moved exactly if the rules that are said to have stayed are in their order without it, and are the most that are.
func TestCompareRandom(t *testing.T) {
	seed := chance.Seed(t)
	for run := range 200 {
		r := rand.New(rand.NewPCG(seed, uint64(run)))
		size := policytest.Small
		size.Rules = 9
		a := policytest.New(r, size).Policy // its rules have ids
		text, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		b := parsed(t, string(text))
		if d := policy.Compare(a, b); !d.Empty() {
			t.Fatalf("seed %d, run %d: read back it differs: %+v", seed, run, d)
		}
		list := &b.Global.Mandatory
		r.Shuffle(len(*list), func(i, j int) { (*list)[i], (*list)[j] = (*list)[j], (*list)[i] })
		there, back := policy.Compare(a, b), policy.Compare(b, a)
		if len(there.Rules) != len(back.Rules) {
			t.Fatalf("seed %d, run %d: %d rules differ there, %d back", seed, run, len(there.Rules), len(back.Rules))
		}
		moved := map[string]bool{}
		for _, x := range there.Rules {
			if x.Change != policy.Moved {
				t.Fatalf("seed %d, run %d: %+v", seed, run, x)
			}
			moved[x.Rule] = true
		}
		var old, now []string
		for _, x := range a.Global.Mandatory {
			if !moved[x.ID] {
				old = append(old, x.ID)
			}
		}
		for _, x := range *list {
			if !moved[x.ID] {
				now = append(now, x.ID)
			}
		}
		if !slices.Equal(old, now) || len(now) != longestCommon(a.Global.Mandatory, *list) {
			t.Fatalf("seed %d, run %d: stayed %v of %v", seed, run, now, old)
		}
	}
}

// longestCommon returns how long the longest common subsequence of the ids of two lists is.
func longestCommon(a, b []policy.Rule) int {
	best := make([][]int, len(a)+1)
	best[0] = make([]int, len(b)+1)
	for i := range a {
		best[i+1] = make([]int, len(b)+1)
		for j := range b {
			best[i+1][j+1] = max(best[i][j+1], best[i+1][j])
			if a[i].ID == b[j].ID {
				best[i+1][j+1] = max(best[i+1][j+1], best[i][j]+1)
			}
		}
	}
	return best[len(a)][len(b)]
}
