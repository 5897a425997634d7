package policy_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/policyd/policy"
)

func TestRanks(t *testing.T) {
	for name, c := range map[string]struct{ former, want []uint16 }{
		"none":                    {nil, []uint16{}},
		"one":                     {[]uint16{0}, []uint16{3500}},
		"new ones":                {[]uint16{0, 0, 0}, []uint16{1750, 3500, 5250}},
		"nothing changed":         {[]uint16{1, 2, 6999}, []uint16{1, 2, 6999}},
		"between":                 {[]uint16{100, 0, 200}, []uint16{100, 150, 200}},
		"two between":             {[]uint16{100, 0, 0, 103}, []uint16{100, 101, 102, 103}},
		"no room":                 {[]uint16{100, 0, 101}, []uint16{1750, 3500, 5250}},
		"at the end":              {[]uint16{100, 0, 0}, []uint16{100, 164, 228}},
		"at the end, little room": {[]uint16{6995, 0}, []uint16{6995, 6997}},
		"at the beginning":        {[]uint16{0, 1000}, []uint16{936, 1000}},
		"moved":                   {[]uint16{300, 100, 200, 400}, []uint16{50, 100, 200, 400}},
		"one rank twice":          {[]uint16{100, 100}, []uint16{50, 100}},
		"no rank":                 {[]uint16{7000, 100}, []uint16{50, 100}},
	} {
		if diff := cmp.Diff(c.want, policy.Ranks(c.former)); diff != "" {
			t.Errorf("%s: Ranks(%v) (-want +got):\n%s", name, c.former, diff)
		}
	}
	if got := policy.Ranks(make([]uint16, policy.MaxRules)); !rises(got) {
		t.Error("ranks of the longest list do not rise")
	}
}

func rises(ranks []uint16) bool {
	last := uint16(0)
	for _, r := range ranks {
		if r <= last || r > policy.MaxRank {
			return false
		}
		last = r
	}
	return true
}

// Of random edits: ranks rise, and none of the longest rising subsequence changed, unless all were given anew.
func TestRanksOfEdits(t *testing.T) {
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 4))
	kept, spreads := 0, 0
	for range 200 {
		ranks := policy.Ranks(make([]uint16, r.IntN(12)))
		for range 40 {
			former := slices.Clone(ranks)
			switch n := len(former); {
			case n > 0 && r.IntN(4) == 0: // remove
				former = slices.Delete(former, 0, 1+r.IntN(n))
			case n > 1 && r.IntN(3) == 0: // move
				i, j := r.IntN(n), r.IntN(n)
				former[i], former[j] = former[j], former[i]
			default: // insert, often at the same place
				former = slices.Insert(former, n/(1+r.IntN(2)), make([]uint16, 1+r.IntN(3))...)
			}
			ranks = policy.Ranks(former)
			if !rises(ranks) {
				t.Fatalf("seed %d: Ranks(%v) = %v, want them to rise", seed, former, ranks)
			}
			same := 0
			for i := range ranks {
				if ranks[i] == former[i] {
					same++
				}
			}
			if same == longest(former) {
				kept++
			} else if spreads++; !slices.Equal(ranks, policy.Ranks(make([]uint16, len(ranks)))) {
				t.Fatalf("seed %d: Ranks(%v) = %v keeps %d, want %d", seed, former, ranks, same, longest(former))
			}
		}
	}
	if kept < 10*spreads {
		t.Errorf("seed %d: ranks were kept %d times, and given anew %d times", seed, kept, spreads)
	}
}

// longest returns the length of the longest rising subsequence, the slow way.
func longest(ranks []uint16) int {
	best := make([]int, len(ranks)) // that ends here
	most := 0
	for i, r := range ranks {
		if r == 0 {
			continue
		}
		best[i] = 1
		for j := range i {
			if ranks[j] != 0 && ranks[j] < r {
				best[i] = max(best[i], best[j]+1)
			}
		}
		most = max(most, best[i])
	}
	return most
}
