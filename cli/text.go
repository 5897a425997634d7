package cli

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes text from outside harmless for a terminal: control characters, formatting characters (that would
// reorder a line) and what is not UTF-8 become U+FFFD.
func Clean(s string) string {
	harmless := true
	for _, r := range s {
		harmless = harmless && shown(r)
	}
	if harmless && utf8.ValidString(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if shown(r) {
			return r
		}
		return utf8.RuneError
	}, s)
}

func shown(r rune) bool { return unicode.IsGraphic(r) && !unicode.Is(unicode.Cf, r) }

// wide are the ranges of runes that take two columns: the East Asian scripts and emoji (Unicode Standard Annex 11).
var wide = [...][2]rune{
	{0x1100, 0x115f},
	{0x2e80, 0x303e},
	{0x3041, 0xa4cf},
	{0xac00, 0xd7a3},
	{0xf900, 0xfaff},
	{0xfe30, 0xfe6f},
	{0xff00, 0xff60},
	{0xffe0, 0xffe6},
	{0x1f300, 0x1f64f},
	{0x1f680, 0x1f6ff},
	{0x1f900, 0x1f9ff},
	{0x20000, 0x3fffd},
}

func runeWidth(r rune) int {
	if r < 0x300 {
		return 1
	}
	if unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r) {
		return 0
	}
	for _, w := range wide {
		if r >= w[0] && r <= w[1] {
			return 2
		}
	}
	return 1
}

// textWidth returns the columns that clean text takes.
func textWidth(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// cut shortens clean text to at most that many columns, with an ellipsis at the end.
func cut(s string, columns int) string {
	if textWidth(s) <= columns {
		return s
	}
	n := 0
	for i, r := range s {
		if n+runeWidth(r) > columns-1 {
			if columns < 1 {
				return ""
			}
			return s[:i] + "…"
		}
		n += runeWidth(r)
	}
	return s
}

// Wrap breaks clean text at spaces into lines of at most so many columns; 0 or less is no limit. Words that are longer stay whole.
func Wrap(s string, columns int) []string {
	if columns <= 0 {
		return []string{s}
	}
	var lines []string
	line, width := "", 0
	for word := range strings.SplitSeq(s, " ") {
		w := textWidth(word)
		if width > 0 && width+1+w > columns {
			lines, line, width = append(lines, line), "", 0
		}
		if width > 0 {
			line, width = line+" ", width+1
		}
		line, width = line+word, width+w
	}
	return append(lines, line)
}
