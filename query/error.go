package query

import (
	"strconv"
	"strings"
)

// Error is a mistake in a filter or in a [Request]: the user's, not ours, and fit to be shown to them.
type Error struct {
	Part string // the part of the request that is wrong, as "filter" or "by"
	Pos  int    // where in the filter, in bytes from 1; 0 where there is no position
	Msg  string // what was found
	Hint string // what to write instead; empty if there is nothing to say
}

func (e *Error) Error() string {
	var s strings.Builder
	s.WriteString(e.Part)
	s.WriteString(": ")
	s.WriteString(e.Msg)
	if e.Pos > 0 {
		s.WriteString(" at ")
		s.WriteString(strconv.Itoa(e.Pos))
	}
	if e.Hint != "" {
		s.WriteString(": ")
		s.WriteString(e.Hint)
	}
	return s.String()
}

// nearest returns the candidate that is closest to word by edit distance, or "" if none is close.
func nearest(word string, candidates []string) string {
	word = strings.ToLower(word)
	if len(word) > 64 {
		return ""
	}
	best, bestDistance := "", 1+max(1, len(word)/3)
	for _, c := range candidates {
		if d := distance(word, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the edit distance between a and b, in bytes: insertions, deletions, replacements, and exchanges of
// neighbours.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
