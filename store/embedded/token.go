package embedded

import "strings"

// tokenKind is a class of SQL token, as far as the front needs to tell them apart.
type tokenKind uint8

const (
	tokenEnd    tokenKind = iota // end of the text
	tokenWord                    // keyword or bare identifier
	tokenQuoted                  // identifier in `…`, "…" or “…”
	tokenString                  // literal in '…', ‘…’ or $tag$…$tag$
	tokenNumber
	tokenMark // a single byte of punctuation
	tokenBad  // a quote or comment that does not end: the engine refuses the text
)

// token is text[start:end] of a statement.
type token struct {
	kind       tokenKind
	start, end int
	text       string // as written
}

// is says whether the token is the bare word w (lower case), in any case.
func (t token) is(w string) bool { return t.kind == tokenWord && strings.EqualFold(t.text, w) }

// mark says whether the token is the punctuation c.
func (t token) mark(c byte) bool { return t.kind == tokenMark && t.text[0] == c }

// lexer splits SQL into tokens as ClickHouse's lexer does; comments and white space are skipped.
type lexer struct {
	text string
	pos  int
	open int // $tag$ met that nothing closes, up to maxOpenTags
}

// maxOpenTags bounds the searches for the end of a $tag$, each of which may go through all of the text. Beyond it a statement is refused.
const maxOpenTags = 100

func isWordByte(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// next returns the next token; tokenEnd for ever once the text is used up.
func (l *lexer) next() token {
	s := l.text
	for l.pos < len(s) {
		start := l.pos
		c := s[start]
		rest := s[start:]
		switch {
		case c == ' ' || c >= '\t' && c <= '\r' || c == 0:
			l.pos++
		case strings.HasPrefix(rest, "\u00a0"):
			l.pos += 2
		case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "# "), strings.HasPrefix(rest, "#!"):
			if i := strings.IndexByte(rest, '\n'); i >= 0 {
				l.pos += i + 1
			} else {
				l.pos = len(s)
			}
		case strings.HasPrefix(rest, "/*"):
			i := strings.Index(rest[2:], "*/")
			if i < 0 {
				return l.take(tokenBad, len(s))
			}
			l.pos += i + 4
		case c == '\'':
			return l.quoted(tokenString, c)
		case c == '`' || c == '"':
			return l.quoted(tokenQuoted, c)
		case strings.HasPrefix(rest, "‘"):
			return l.until(tokenString, "‘", "’")
		case strings.HasPrefix(rest, "“"):
			return l.until(tokenQuoted, "“", "”")
		case c == '$':
			if i := strings.IndexByte(rest[1:], '$'); i >= 0 && allWord(rest[1:1+i]) && l.open < maxOpenTags {
				tag := rest[:i+2]
				if j := strings.Index(rest[len(tag):], tag); j >= 0 {
					return l.take(tokenString, start+len(tag)+j+len(tag))
				}
				l.open++
			}
			return l.word(tokenWord)
		case c >= '0' && c <= '9':
			return l.word(tokenNumber)
		case isWordByte(c):
			return l.word(tokenWord)
		default:
			return l.take(tokenMark, start+1)
		}
	}
	return token{kind: tokenEnd, start: len(s), end: len(s)}
}

func allWord(s string) bool {
	for i := range len(s) {
		if !isWordByte(s[i]) {
			return false
		}
	}
	return true
}

func (l *lexer) take(kind tokenKind, end int) token {
	t := token{kind: kind, start: l.pos, end: end, text: l.text[l.pos:end]}
	l.pos = end
	return t
}

func (l *lexer) word(kind tokenKind) token {
	end := l.pos + 1
	for end < len(l.text) && isWordByte(l.text[end]) {
		end++
	}
	return l.take(kind, end)
}

// quoted takes a text in quotes q, in which a backslash escapes the next byte and a doubled quote stands for one.
func (l *lexer) quoted(kind tokenKind, q byte) token {
	for i := l.pos + 1; i < len(l.text); i++ {
		switch l.text[i] {
		case '\\':
			i++
		case q:
			if i+1 < len(l.text) && l.text[i+1] == q {
				i++
				continue
			}
			return l.take(kind, i+1)
		}
	}
	return l.take(tokenBad, len(l.text))
}

func (l *lexer) until(kind tokenKind, open, end string) token {
	i := strings.Index(l.text[l.pos+len(open):], end)
	if i < 0 {
		return l.take(tokenBad, len(l.text))
	}
	return l.take(kind, l.pos+len(open)+i+len(end))
}

// tokens splits the rest of the text; the last one is tokenEnd.
func (l *lexer) tokens() []token {
	var ts []token
	for {
		t := l.next()
		ts = append(ts, t)
		if t.kind == tokenEnd {
			return ts
		}
	}
}

// name is the identifier a token stands for, "" for none. An identifier with a backslash in it is returned as written.
func (t token) name() string {
	switch t.kind {
	case tokenWord:
		return t.text
	case tokenQuoted:
		if inner, ok := strings.CutPrefix(t.text, "“"); ok {
			return strings.TrimSuffix(inner, "”")
		}
		return strings.ReplaceAll(t.text[1:len(t.text)-1], t.text[:1]+t.text[:1], t.text[:1])
	default:
		return ""
	}
}

// literal is the text that a tokenString stands for. It reports false for escapes other than those of quote, backslash, line break and tab.
func (t token) literal() (string, bool) {
	if t.text[0] != '\'' {
		if inner, ok := strings.CutPrefix(t.text, "‘"); ok {
			return strings.TrimSuffix(inner, "’"), true
		}
		tag := t.text[:strings.IndexByte(t.text[1:], '$')+2]
		return t.text[len(tag) : len(t.text)-len(tag)], true
	}
	s := t.text[1 : len(t.text)-1]
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			switch s[i] {
			case '\'', '\\':
				b.WriteByte(s[i])
			case 'n', 't':
				b.WriteByte(' ')
			default:
				return "", false
			}
		case s[i] == '\'':
			b.WriteByte('\'')
			i++ // doubled
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), true
}
