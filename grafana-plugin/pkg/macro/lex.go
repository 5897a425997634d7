package macro

import (
	"fmt"
	"strings"

	"github.com/weirhq/weir/query"
)

// kind is what a token is to macros.
type kind uint8

const (
	other       kind = iota // text that is passed on: words, numbers, operators
	space                   // and comments
	quoted                  // strings, quoted identifiers, heredocs
	punctuation             // one of ( ) [ ] { } , ;
	name                    // of a macro, with $__
)

// token is a piece of a statement, s[from:to].
type token struct {
	kind     kind
	from, to int
}

// prefix is what names of macros begin with.
const prefix = "$__"

// lex cuts a statement into tokens.
func lex(s string) ([]token, error) {
	var list []token
	for i := 0; i < len(s); {
		k, n := other, 1
		rest := s[i:]
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f':
			k = space
		case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "# "), strings.HasPrefix(rest, "#!"):
			k = space
			if n = strings.IndexByte(rest, '\n'); n < 0 {
				n = len(rest)
			}
		case strings.HasPrefix(rest, "/*"):
			k = space
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				return nil, mistake(i, "the comment does not end")
			}
			n = end + 4
		case c == '\'' || c == '"' || c == '`':
			k = quoted
			if n = closing(rest, c); n == 0 {
				return nil, mistake(i, "what begins with %c does not end", c)
			}
		case c == '$':
			tag := heredoc(rest)
			switch word := wordAt(rest, len(prefix)); {
			case tag != "":
				k = quoted
				end := strings.Index(rest[len(tag):], tag)
				if end < 0 {
					return nil, mistake(i, "the heredoc %s does not end", tag)
				}
				n = end + 2*len(tag)
			case strings.HasPrefix(rest, prefix) && word > len(prefix):
				k, n = name, word
			}
		case strings.IndexByte("()[]{},;", c) >= 0:
			k = punctuation
		case isWord(c):
			n = wordAt(rest, 0)
		}
		list = append(list, token{k, i, i + n})
		i += n
	}
	return list, nil
}

// closing returns how long what is quoted at the beginning of s is, with its quotes; 0: it does not end. A backslash takes the next
// character as it is, a quote that is doubled is one.
func closing(s string, quote byte) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case quote:
			if i+1 < len(s) && s[i+1] == quote {
				i++
				continue
			}
			return i + 1
		}
	}
	return 0
}

// heredoc returns the tag with its dollars that s begins with, as $$ or $sql$; empty: none.
func heredoc(s string) string {
	n := wordAt(s, 1)
	if n < len(s) && s[n] == '$' {
		return s[:n+1]
	}
	return ""
}

// wordAt returns where the word that begins at i ends.
func wordAt(s string, i int) int {
	for i < len(s) && isWord(s[i]) {
		i++
	}
	return min(i, len(s))
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80
}

// mistake is a mistake at a place of the statement.
func mistake(at int, format string, args ...any) error {
	return &query.Error{Part: "sql.text", Pos: at + 1, Msg: fmt.Sprintf(format, args...)}
}
