package policy

import "sort"

// Ranks gives a list of rules their ranks, 1 … MaxRank, rising. former has the ranks that they had, in the order that they
// have now; 0: it is new in the list. There are at most MaxRules.
//
// As many as possible keep theirs: those of the longest rising subsequence. The others go into the middle of the gaps between
// these; before the first and after the last, they keep a small distance, so that there is room for more. Only where a gap is
// used up, all get new ones.
func Ranks(former []uint16) []uint16 {
	ranks := make([]uint16, len(former))
	for _, i := range rising(former) {
		ranks[i] = former[i]
	}
	for i := 0; i < len(ranks); {
		if ranks[i] != 0 {
			i++
			continue
		}
		end := i
		for end < len(ranks) && ranks[end] == 0 {
			end++
		}
		low, high := 0, MaxRank+1 // of the neighbours
		if i > 0 {
			low = int(ranks[i-1])
		}
		if end < len(ranks) {
			high = int(ranks[end])
		}
		n := end - i
		if high-low-1 < n {
			return spread(len(former))
		}
		place(ranks[i:end], low, high)
		i = end
	}
	return ranks
}

// place gives ranks between low and high, which has room for them.
func place(ranks []uint16, low, high int) {
	const distance = 64 // of rules that are added at an end
	n := len(ranks)
	step := func(j int) int { return low + (high-low)*(j+1)/(n+1) }
	if room := (high - low) / (n + 1); room > distance {
		switch {
		case low == 0 && high <= MaxRank:
			step = func(j int) int { return high - distance*(n-j) }
		case low > 0 && high > MaxRank:
			step = func(j int) int { return low + distance*(j+1) }
		}
	}
	for j := range ranks {
		ranks[j] = uint16(step(j))
	}
}

// spread returns n ranks with even gaps.
func spread(n int) []uint16 {
	ranks := make([]uint16, n)
	place(ranks, 0, MaxRank+1)
	return ranks
}

// rising returns where the longest strictly rising subsequence of those ranks that are valid is.
func rising(ranks []uint16) []int {
	var tails []int                   // tails[k] is where the lowest last rank of a subsequence of length k+1 is
	before := make([]int, len(ranks)) // in the subsequence that ends here
	for i, r := range ranks {
		if r == 0 || r > MaxRank {
			continue
		}
		k := sort.Search(len(tails), func(k int) bool { return ranks[tails[k]] >= r })
		before[i] = -1
		if k > 0 {
			before[i] = tails[k-1]
		}
		if k == len(tails) {
			tails = append(tails, i)
		} else {
			tails[k] = i
		}
	}
	out := make([]int, len(tails))
	if len(tails) == 0 {
		return out
	}
	at := tails[len(tails)-1]
	for k := len(out) - 1; k >= 0; k-- {
		out[k] = at
		at = before[at]
	}
	return out
}
