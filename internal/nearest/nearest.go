// Package nearest finds what somebody who mistyped a word may have meant.
package nearest

import (
	"fmt"
	"strings"
)

// maxWord bounds the work on a hostile word: longer ones are near to nothing.
const maxWord = 64

// Word returns the option that is nearest to word, if one is near enough to be a likely mistyping of it, else "".
// Case, dashes and underscores do not matter. A word that is near to none is taken for the beginning of the only option that begins so.
func Word(word string, options []string) string {
	if len(word) > maxWord {
		return ""
	}
	folded := fold(word)
	best, least := "", min(2+len(word)/3, 1+len(folded)/2) // of a short word, half of it may be wrong
	begun := make([]string, 0, len(options))
	for _, o := range options {
		to := fold(o)
		if d := distance(folded, to); d < least {
			best, least = o, d
		}
		if len(folded) > 2 && strings.HasPrefix(to, folded) {
			begun = append(begun, o)
		}
	}
	if best == "" && len(begun) == 1 {
		return begun[0]
	}
	return best
}

// Hint returns what to say behind the name of something that is not there: which option was meant, or otherwise if none is near.
func Hint(word string, options []string, otherwise string) string {
	if near := Word(word, options); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return otherwise
}

func fold(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s))
}

// distance returns the number of bytes to insert, delete, replace or swap with the next to get from a to b (optimal
// string alignment).
func distance(a, b string) int {
	if len(b) > maxWord { // a is not longer: Word saw to it
		return len(b)
	}
	var rows [3][maxWord + 1]int
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		row, up, up2 := &rows[i%3], &rows[(i+2)%3], &rows[(i+1)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(up[j]+1, row[j-1]+1, up[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], up2[j-2]+1)
			}
		}
	}
	return rows[len(a)%3][len(b)]
}
