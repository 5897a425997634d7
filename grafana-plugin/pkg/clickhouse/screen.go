package clickhouse

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Screen refuses a text of a user's that is not one statement that only reads tables. It is one of three fences: settings sent beside
// the statement make ClickHouse refuse to write (readonly), and its grants say what the user reaches. It works on tokens
// and errs on the safe side. Errors are *Error of class query.
func Screen(sql string) error {
	tokens, bad := tokenize(sql)
	if bad != "" {
		return refuse("write it to its end", "%s has no end", bad)
	}
	for len(tokens) > 0 && tokens[len(tokens)-1].text == ";" {
		tokens = tokens[:len(tokens)-1]
	}
	first := 0
	for first < len(tokens) && tokens[first].text == "(" {
		first++
	}
	if first == len(tokens) {
		return refuse("write SELECT …", "there is no statement")
	}
	if word := tokens[first]; !word.is("select") && !word.is("with") {
		return refuse("only SELECT is run, also after WITH", "it begins with %q", short(word.text))
	}
	depth := 0
	for i, t := range tokens {
		var next, after token
		if i+1 < len(tokens) {
			next = tokens[i+1]
		}
		if i+2 < len(tokens) {
			after = tokens[i+2]
		}
		name := strings.ToLower(t.name())
		switch {
		case t.kind == 'q' && strings.Contains(t.text, `\`):
			return refuse("write the name without a backslash", "%s could be any name", short(t.text))
		case t.text == "(":
			depth++
		case t.text == ")":
			depth--
		case t.text == ";":
			return refuse("one statement is run", "there is something after the semicolon")
		case name != "" && next.text == "(" && reachesOut(name):
			return refuse("a panel reads Weir's tables", "the function %s reaches files, other hosts or other databases", name)
		case (name == "system" || name == "information_schema") && next.text == ".":
			return refuse("a panel reads Weir's tables", "tables of %s tell of the server and its users", name)
		case t.is("insert") && next.is("into"):
			return refuse("only SELECT is run, also after WITH", "there is an INSERT in it")
		case t.is("into") && next.is("outfile"):
			return refuse("leave it out", "INTO OUTFILE writes a file")
		case t.is("settings") && next.name() != "" && after.text == "=":
			return refuse("leave it out", "SETTINGS are the data source's to give")
		case t.is("format") && depth == 0 && next.name() != "" && (i+2 == len(tokens) || after.is("settings")):
			return refuse("leave it out", "FORMAT is the data source's to choose")
		}
	}
	return nil
}

func refuse(hint, format string, args ...any) error {
	return &Error{Class: ClassQuery, Msg: "sql: " + fmt.Sprintf(format, args...), Hint: hint}
}

// short is enough of a text to recognise it.
func short(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

// harmless are the table functions that make rows of nothing, of their arguments, or of tables that a statement could name itself.
// Every other one is refused: a test asks the engine for all that it has.
var harmless = []string{
	"numbers", "numbers_mt", "zeros", "zeros_mt", "primes", "generateseries", "generate_series", "values", "sqlstandardvalues", "null", "view", "viewifpermitted",
	"viewexplain", "dictionary", "fuzzjson", "generaterandom", "format", "rows",
}

// reaching are functions, of tables and of values, that read files, other hosts or databases, or run programs. Names are in lower case.
var reaching = []string{
	"file", "filecluster", "filesystem", "eval", "sqlite", "executable", "python", "input", "arrowstream", "catboostevaluate", "catboostpoolevaluate",
	"url", "urlcluster", "remote", "remotesecure", "cluster", "clusterallreplicas", "merge", "loop", "disk", "infile",
	"s3", "s3cluster", "gcs", "oss", "cosn", "hdfs", "hdfscluster", "azureblobstorage", "azureblobstoragecluster",
	"mysql", "postgresql", "mongodb", "redis", "jdbc", "odbc", "ytsaurus", "arrowflight", "hudi", "hudicluster",
	"reversednsquery", "mergetreeindex", "mergetreeprojection", "mergetreeanalyzeindexes", "mergetreeanalyzeindexesuuid", "mergetreetextindex", "fuzzquery", "timeseriesdata", "timeseriessamples", "timeseriesmetrics",
	"timeseriestags", "timeseriesselector", "prometheusquery", "prometheusqueryrange",
	"sleep", "sleepeachrow", "getserverport", "getserversetting", "getmacro", "currentprofiles", "currentroles", "enabledroles",
	"showcertificate", "demangle", "addresstoline", "addresstolinewithinlines", "addresstosymbol", "encrypt", "decrypt", "trydecrypt",
}

// reachesOut says whether the function of that name (lower case) is refused.
func reachesOut(name string) bool {
	if slices.Contains(harmless, name) {
		return false
	}
	for _, prefix := range []string{"iceberg", "deltalake", "paimon", "hudi", "ai"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return slices.Contains(reaching, name)
}

// token is a piece of SQL: a word, a quoted name, a literal, a number or a mark.
type token struct {
	kind byte // 'w' word, 'q' quoted name, 's' string, 'n' number, 'm' mark; 0 is none
	text string
}

// is reports whether the token is that word, which is in lower case.
func (t token) is(word string) bool { return t.kind == 'w' && strings.EqualFold(t.text, word) }

// name returns the name that the token is, "" if it is none.
func (t token) name() string {
	switch {
	case t.kind == 'w':
		return t.text
	case t.kind == 'q' && strings.HasPrefix(t.text, "“"):
		return strings.TrimSuffix(strings.TrimPrefix(t.text, "“"), "”")
	case t.kind == 'q':
		return strings.ReplaceAll(t.text[1:len(t.text)-1], t.text[:1]+t.text[:1], t.text[:1])
	}
	return ""
}

// tokenize splits SQL into tokens as ClickHouse's lexer does, without blanks and comments. unfinished names what has no end.
func tokenize(sql string) (tokens []token, unfinished string) {
	open := 0 // dollars that begin no heredoc: each is a search through the text
	for i := 0; i < len(sql); {
		c, rest := sql[i], sql[i:]
		var kind byte
		n := 0
		switch {
		case c == ' ' || '\t' <= c && c <= '\r' || c == 0:
			n = 1
		case strings.HasPrefix(rest, "\u00a0"):
			n = 2
		case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "#!"), strings.HasPrefix(rest, "# "):
			n = len(rest)
			if end := strings.IndexByte(rest, '\n'); end >= 0 {
				n = end + 1
			}
		case strings.HasPrefix(rest, "/*"):
			n = until(rest, "/*", "*/")
		case c == '\'':
			kind, n = 's', quoted(rest)
		case c == '"' || c == '`':
			kind, n = 'q', quoted(rest)
		case strings.HasPrefix(rest, "‘"):
			kind, n = 's', until(rest, "‘", "’")
		case strings.HasPrefix(rest, "“"):
			kind, n = 'q', until(rest, "“", "”")
		case c == '$':
			if kind, n = 's', heredoc(rest); n == 0 {
				if open++; open > maxOpen {
					return tokens, strconv.Itoa(open) + " dollars"
				}
				kind, n = 'w', word(rest)
			}
		case '0' <= c && c <= '9':
			kind, n = 'n', word(rest)
		case isWord(c):
			kind, n = 'w', word(rest)
		default:
			kind, n = 'm', 1
		}
		if n < 0 {
			return tokens, "what begins with " + short(rest)
		}
		if kind != 0 {
			tokens = append(tokens, token{kind, rest[:n]})
		}
		i += n
	}
	return tokens, ""
}

// maxOpen bounds the searches for the end of a heredoc.
const maxOpen = 100

func isWord(c byte) bool {
	return c == '_' || c == '$' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func word(s string) int {
	n := 1
	for n < len(s) && isWord(s[n]) {
		n++
	}
	return n
}

// until returns the length of what is between two marks, with them, or -1.
func until(s, begin, end string) int {
	n := strings.Index(s[len(begin):], end)
	if n < 0 {
		return -1
	}
	return len(begin) + n + len(end)
}

// quoted returns the length of a literal or of a quoted name, or -1.
func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == s[0] && i+1 < len(s) && s[i+1] == s[0]:
			i++
		case s[i] == s[0]:
			return i + 1
		}
	}
	return -1
}

// heredoc returns the length of $tag$…$tag$, or 0.
func heredoc(s string) int {
	n := strings.IndexByte(s[1:], '$')
	if n < 0 {
		return 0
	}
	tag := s[:n+2]
	for i := 1; i < len(tag)-1; i++ {
		if !isWord(tag[i]) {
			return 0
		}
	}
	end := strings.Index(s[len(tag):], tag)
	if end < 0 {
		return 0
	}
	return len(tag) + end + len(tag)
}
