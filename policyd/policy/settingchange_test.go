package policy_test

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

// settingsOf returns the settings of all levels of a policy.
func settingsOf(p *policy.Policy) []*policy.Settings {
	list := []*policy.Settings{&p.Global.Settings}
	for i := range p.Pools {
		list = append(list, &p.Pools[i].Settings)
	}
	for _, of := range [][]policy.Named{p.Networks, p.VMs} {
		for i := range of {
			list = append(list, &of[i].Settings)
		}
	}
	for i := range p.VIFs {
		list = append(list, &p.VIFs[i].Settings)
	}
	return list
}

// alike says whether a level as it is told of several VIFs is that of one of them.
func alike(told, level string) bool {
	kind, each := strings.CutPrefix(told, "each ")
	return told == level || each && strings.HasPrefix(level, kind+" ")
}

// of yields VIFs with what is in force at them.
func of(vifs iter.Seq[*policy.Interface], before *policy.Set) iter.Seq2[*policy.Interface, *policy.Set] {
	return func(yield func(*policy.Interface, *policy.Set) bool) {
		for vif := range vifs {
			if !yield(vif, before) {
				return
			}
		}
	}
}

// In 200 random worlds of which some levels say something else than before: what is told of VIFs is what a reader finds who reads both documents from each
// VIF upwards, each VIF once for a setting, and all that change alike together.
func TestSettingChanges(t *testing.T) {
	seed := chance.Seed(t)
	together, none, told := 0, 0, 0
	var keys []string
	for _, s := range policy.EffectiveSettings(&policy.Set{}, &policy.Interface{}) {
		keys = append(keys, s.Key)
	}
	for run := range 200 {
		r := rand.New(rand.NewPCG(seed, uint64(run)))
		before, donor := policytest.New(r, policytest.Small), policytest.New(r, policytest.Small)
		after := *before
		text, err := before.Policy.Encode()
		if err != nil {
			t.Fatal(err)
		}
		after.Policy = parsed(t, string(text))
		levels, other := settingsOf(after.Policy), settingsOf(donor.Policy)
		for range r.IntN(4) {
			*levels[r.IntN(len(levels))] = *other[r.IntN(len(other))]
		}
		if r.IntN(4) == 0 { // many alike
			for i := range after.Policy.VMs {
				after.Policy.VMs[i].Settings.RateOut = policy.Limit{Rate: 77_000}
			}
		}
		d, err := policy.Resolve(policy.Request{Policy: after.Policy, Names: policy.NamesOf(after.Model), Now: policytest.Now, Former: before.Set.Kept(), Applied: true})
		if err != nil {
			t.Fatal(err)
		}
		after.Set = d.Set(policytest.FirstInstance + 10_000)

		type place struct{ key, vif string }
		want := map[place][4]string{}
		vifs := map[string]bool{}
		for _, vif := range before.VIFs() {
			for _, key := range keys {
				was, wasAt, _ := plainEffective(before, vif, key)
				is, isAt, _ := plainEffective(&after, vif, key)
				if was != is {
					want[place{key, vif.Name}] = [4]string{was, wasAt, is, isAt}
					vifs[vif.Name] = true
				}
			}
		}
		changes, count := policy.SettingChanges(after.Set, of(slices.Values(before.VIFs()), before.Set))
		if count != len(vifs) {
			t.Fatalf("seed %d, run %d: %d VIFs, want %d", seed, run, count, len(vifs))
		}
		if count == 0 {
			none++
		}
		seen := map[[5]string]bool{}
		for _, c := range changes {
			kinds := [5]string{c.Key, c.Before, c.After}
			for i, level := range []string{c.BeforeLevel, c.AfterLevel} {
				if kind, _, _ := strings.Cut(strings.TrimPrefix(level, "each "), " "); kind == "VM" || kind == "VIF" {
					level = kind
				}
				kinds[3+i] = level
			}
			if seen[kinds] || !slices.IsSorted(c.VIFs) {
				t.Fatalf("seed %d, run %d: not together, or not in order: %+v", seed, run, changes)
			}
			seen[kinds] = true
			levels := [2]map[string]bool{{}, {}}
			for _, vif := range c.VIFs {
				w, ok := want[place{c.Key, vif}]
				if !ok || c.Before != w[0] || !alike(c.BeforeLevel, w[1]) || c.After != w[2] || !alike(c.AfterLevel, w[3]) {
					t.Fatalf("seed %d, run %d, %s: got %+v, want %v (%t)", seed, run, vif, c, w, ok)
				}
				delete(want, place{c.Key, vif})
				levels[0][w[1]], levels[1][w[3]] = true, true
				told++
			}
			for i, level := range []string{c.BeforeLevel, c.AfterLevel} {
				if several := strings.HasPrefix(level, "each "); several != (len(levels[i]) > 1) {
					t.Fatalf("seed %d, run %d: %q is of %v", seed, run, level, levels[i])
				} else if several {
					together++
				}
			}
		}
		if len(want) > 0 {
			t.Fatalf("seed %d, run %d: not told: %v", seed, run, want)
		}
	}
	if together < 5 || none < 10 || told < 400 { // eight runs measured 31, 36 and 1360, and more
		t.Errorf("seed %d: %d of several levels, %d of nothing, %d told: the worlds try little", seed, together, none, told)
	}
}

func TestSettingChangesAreToldTogether(t *testing.T) {
	m := model(t, `
networks: [{name: lan}, {name: dmz}]
vms:
  - {name: web, vifs: [{device: "0", network: lan, mac: "02:00:00:00:00:01"}, {device: "1", network: dmz, mac: "02:00:00:00:00:02"}]}
  - {name: db, vifs: [{device: "0", network: lan, mac: "02:00:00:00:00:03"}]}
`)
	set := func(text string) *policy.Set {
		if text == "" {
			return nil
		}
		return resolve(t, m, text)
	}
	vifs := maps.Values(policy.EstateOf(m, nil, nil).VIFs)
	f := func(before, after string, n int, want ...string) {
		t.Helper()
		changes, count := policy.SettingChanges(set(after), of(vifs, set(before)))
		var got []string
		for _, c := range changes {
			got = append(got, fmt.Sprintf("%s: %s (%s) → %s (%s) for %s", c.Key, c.Before, c.BeforeLevel, c.After, c.AfterLevel, strings.Join(c.VIFs, " ")))
		}
		if diff := cmp.Diff(want, got); diff != "" || count != n {
			t.Errorf("from %q to %q: %d VIFs, want %d (-want +got):\n%s", before, after, count, n, diff)
		}
	}
	f("", "default: allow", 3, "guard_mac: off (no policy) → on (built in) for db/0 web/0 web/1")
	f("default: allow", "default: deny", 0)
	f("default: allow", "global: {settings: {guard_mac: on}}", 0) // another level says the same
	f("default: allow", "networks: [{name: lan, settings: {guard_mac: off}}]", 2, "guard_mac: on (built in) → off (network lan) for db/0 web/0")
	f("networks: [{name: lan, settings: {guard_mac: off}}]", "global: {settings: {guard_mac: off}}", 1, "guard_mac: on (built in) → off (global) for web/1")
	f("global: {settings: {rate_in: 1Mbit/s}}", "global: {settings: {rate_in: 2Mbit/s}}\nvms: [{name: web, settings: {rate_in: 1Mbit/s}}]", 1, "rate_in: 1Mbit/s (global) → 2Mbit/s (global) for db/0")
	f("default: allow", "vms: [{name: web, settings: {rate_in: 1Mbit/s}}, {name: db, settings: {rate_in: 1Mbit/s}}]", 3, "rate_in: off (built in) → 1Mbit/s (each VM) for db/0 web/0 web/1")
	f("vms: [{name: web, settings: {rate_in: 1Mbit/s, guard_ra: on}}]", "vifs: [{name: web/1, settings: {guard_mac: off}}]", 2,
		"rate_in: 1Mbit/s (VM web) → off (built in) for web/0 web/1", "guard_mac: on (built in) → off (VIF web/1) for web/1", "guard_ra: on (VM web) → off (built in) for web/0 web/1")
}
