package query

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// tokenKind is what a token of a filter is.
type tokenKind uint8

const (
	tokenEnd    tokenKind = iota
	tokenWord             // bare word: field, keyword, number, address, name
	tokenString           // quoted
	tokenOp               // = != < <= > >=
	tokenOpen             // (
	tokenClose            // )
	tokenComma            // ,
)

// token is one token of a filter.
type token struct {
	kind tokenKind
	text string // for a string, what it stands for
	pos  int    // in bytes from 1
}

// keyword reports whether the token is that keyword, in upper or lower case.
func (t token) keyword(word string) bool {
	return t.kind == tokenWord && strings.EqualFold(t.text, word)
}

// found names the token in an error.
func (t token) found() string {
	switch {
	case t.kind == tokenEnd:
		return "found the end"
	case len(t.text) > 64:
		return "found " + strconv.Quote(t.text[:60]+"…")
	default:
		return "found " + strconv.Quote(t.text)
	}
}

// keywords cannot be bare names.
var keywords = []string{"and", "or", "not", "in", "like", "has"}

// lex splits a filter into tokens; the last is the end.
func lex(text string) ([]token, error) {
	if len(text) > maxLength {
		return nil, wrong(0, "it is "+strconv.Itoa(len(text))+" bytes long", "at most "+strconv.Itoa(maxLength)+" are read")
	}
	var tokens []token
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size <= 1:
			return nil, wrong(i+1, "found a byte that is not UTF-8", "")
		case unicode.IsSpace(r):
			i += size
		case r == '"' || r == '\'':
			s, n, err := unquote(text[i:], i)
			if err != nil {
				return nil, err
			}
			tokens = append(tokens, token{tokenString, s, i + 1})
			i += n
		case wordRune(r):
			n := strings.IndexFunc(text[i:], func(r rune) bool { return !wordRune(r) })
			if n < 0 {
				n = len(text) - i
			}
			tokens = append(tokens, token{tokenWord, text[i : i+n], i + 1})
			i += n
		default:
			t, n, err := symbol(text[i:], i+1)
			if err != nil {
				return nil, err
			}
			tokens = append(tokens, t)
			i += n
		}
	}
	return append(tokens, token{tokenEnd, "", len(text) + 1}), nil
}

// wordRune reports whether a bare word may hold r: what names, numbers, addresses and patterns are made of.
func wordRune(r rune) bool {
	return r == '_' || r == '-' || r == '.' || r == ':' || r == '/' || r == '#' || r == '+' || r == '*' || r == '?' ||
		r == '@' || r == '%' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
}

// symbols are the tokens of punctuation, longest first; && and the like stand for the keywords.
var symbols = []struct {
	text string
	tok  token
}{
	{"&&", token{kind: tokenWord, text: "and"}},
	{"||", token{kind: tokenWord, text: "or"}},
	{"==", token{kind: tokenOp, text: "="}},
	{"!=", token{kind: tokenOp, text: "!="}},
	{"<>", token{kind: tokenOp, text: "!="}},
	{"<=", token{kind: tokenOp, text: "<="}},
	{">=", token{kind: tokenOp, text: ">="}},
	{"=", token{kind: tokenOp, text: "="}},
	{"<", token{kind: tokenOp, text: "<"}},
	{">", token{kind: tokenOp, text: ">"}},
	{"!", token{kind: tokenWord, text: "not"}},
	{"(", token{kind: tokenOpen, text: "("}},
	{")", token{kind: tokenClose, text: ")"}},
	{",", token{kind: tokenComma, text: ","}},
}

// symbol returns the token of punctuation with which text begins, and its length.
func symbol(text string, pos int) (token, int, error) {
	for _, s := range symbols {
		if strings.HasPrefix(text, s.text) {
			t := s.tok
			t.pos = pos
			return t, len(s.text), nil
		}
	}
	r, _ := utf8.DecodeRuneInString(text)
	hint := "values with such characters are quoted, as \"a name\""
	switch r {
	case '~':
		hint = "patterns are written like \"web-*\""
	case '&', '|':
		hint = "write and, or"
	}
	return token{}, 0, wrong(pos, "found "+strconv.Quote(string(r)), hint)
}

// unquote returns the string with which text begins and its length with the quotes. A backslash takes the character
// after it as it is. offset is where text begins in the filter.
func unquote(text string, offset int) (string, int, error) {
	quote := text[0]
	var s strings.Builder
	for i := 1; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size <= 1:
			return "", 0, wrong(offset+i+1, "found a byte that is not UTF-8", "")
		case unicode.IsControl(r):
			return "", 0, wrong(offset+i+1, "found a control character in a string", "")
		case r == rune(quote):
			return s.String(), i + 1, nil
		case r == '\\':
			i++
			r, size = utf8.DecodeRuneInString(text[i:])
			if size == 0 {
				continue
			}
			if r == utf8.RuneError && size == 1 || unicode.IsControl(r) {
				return "", 0, wrong(offset+i+1, "found "+strconv.QuoteRune(r)+" after a backslash", "")
			}
		}
		s.WriteRune(r)
		i += size
	}
	return "", 0, wrong(offset+1, "found a string that does not end", "expected a closing "+string(quote))
}

// enquote is the inverse of unquote.
func enquote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// wrong is a mistake in the filter.
func wrong(pos int, msg, hint string) error {
	return &Error{Part: "filter", Pos: pos, Msg: msg, Hint: hint}
}
