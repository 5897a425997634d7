package store

import (
	"fmt"
	"strings"
)

// splitStatements cuts the text of a migration at the semicolons that end statements. Semicolons within quotes
// ('…', "…", `…`, $tag$…$tag$) and comments (-- …, # …, /* … */) end nothing. Comments before a statement are left
// out, so that a piece of comments alone is no statement; those inside stay. Text that ends within a quote or a block
// comment is an error that names the line on which it began.
func splitStatements(text string) ([]string, error) {
	var statements []string
	start := -1 // where the current statement began, -1 before its first character
	for i := 0; i < len(text); {
		n, comment, err := token(text[i:])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", 1+strings.Count(text[:i], "\n"), err)
		}
		switch {
		case text[i] == ';':
			if start >= 0 {
				statements = append(statements, strings.TrimSpace(text[start:i]))
			}
			start = -1
		case start < 0 && !comment && !isSpace(text[i]):
			start = i
		}
		i += n
	}
	if start >= 0 {
		statements = append(statements, strings.TrimSpace(text[start:]))
	}
	return statements, nil
}

// token returns the length of what s, which is not empty, begins with: a comment, a quoted text, or one byte.
func token(s string) (length int, comment bool, err error) {
	switch {
	case strings.HasPrefix(s, "--"), strings.HasPrefix(s, "# "), strings.HasPrefix(s, "#!"):
		if n := strings.IndexByte(s, '\n'); n >= 0 {
			return n + 1, true, nil
		}
		return len(s), true, nil
	case strings.HasPrefix(s, "/*"):
		if n := strings.Index(s[2:], "*/"); n >= 0 {
			return n + 4, true, nil
		}
		return 0, true, fmt.Errorf("comment /* without its */")
	case s[0] == '\'', s[0] == '"', s[0] == '`':
		n, err := quoted(s)
		return n, false, err
	case s[0] == '$':
		n, err := heredoc(s)
		return n, false, err
	}
	return 1, false, nil
}

// quoted returns the length of the text in quotes at the beginning of s. A backslash takes the next byte along; a
// doubled quote is a quote (and reads as two texts side by side, which is the same length).
func quoted(s string) (int, error) {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[0]:
			return i + 1, nil
		}
	}
	return 0, fmt.Errorf("quote %c without its end", s[0])
}

// heredoc returns the length of $tag$…$tag$ at the beginning of s, or 1 where the dollar is just one.
func heredoc(s string) (int, error) {
	end := strings.IndexByte(s[1:], '$')
	if end < 0 {
		return 1, nil
	}
	tag := s[:end+2]
	if name := tag[1 : len(tag)-1]; name != "" && !isIdentifier(name) {
		return 1, nil
	}
	n := strings.Index(s[len(tag):], tag)
	if n < 0 {
		return 0, fmt.Errorf("text %s without its end", tag)
	}
	return len(tag) + n + len(tag), nil
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }
