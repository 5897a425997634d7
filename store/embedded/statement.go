package embedded

import (
	"slices"
	"strings"
)

// statement is what the front must know of a SQL text before the engine sees it. It is found from tokens alone: whatever
// the grammar has besides is left to the engine, which parses the text again.
type statement struct {
	insert bool   // INSERT with data after it, as opposed to INSERT … SELECT
	text   string // the statement without trailing separators and without the data of an INSERT
	format string // of the FORMAT clause; "" without one; of an INSERT … VALUES: Values

	// Of an INSERT: where its data begins in the text given to parse (len if it has not begun) and where head, the statement without its
	// FORMAT clause, ends.
	data int
	head string

	output int // where INTO OUTFILE belongs in text: before a final FORMAT or SETTINGS clause
}

// parse looks at text. It does not judge: a text that makes no sense comes back as a statement for the engine to refuse.
func parse(text string) statement {
	l := lexer{text: text}
	first := l.next()
	if first.is("insert") {
		if st, ok := parseInsert(text, &l); ok {
			return st
		}
	}
	ts := (&lexer{text: text}).tokens()
	// The significant end: without semicolons and comments.
	n := len(ts) - 1 // index of tokenEnd
	for n > 0 && ts[n-1].mark(';') {
		n--
	}
	st := statement{}
	if n == 0 {
		return st
	}
	st.text = text[:ts[n-1].end]
	st.output = len(st.text)
	format, settings := -1, -1
	depth := 0
	for i, t := range ts[:n] {
		switch {
		case t.mark('('), t.mark('['), t.mark('{'):
			depth++
		case t.mark(')'), t.mark(']'), t.mark('}'):
			depth--
		case depth != 0 || i == 0:
		case t.is("settings") && i+1 < n:
			settings = i
		case t.is("format") && i+1 < n && ts[i+1].name() != "" && (i+2 == n || ts[i+2].is("settings")):
			format = i
		}
	}
	switch {
	case format >= 0:
		st.format = ts[format+1].name()
		st.output = ts[format].start
	case settings >= 0 && !first.is("select") && !first.is("with") && !first.mark('('):
		// SHOW, DESCRIBE and the like have their SETTINGS after INTO OUTFILE, a SELECT has its own before.
		st.output = ts[settings].start
	}
	return st
}

// parseInsert reads INSERT INTO … {FORMAT f | VALUES} data; l stands after INSERT. It reports false for INSERT … SELECT and the like, which
// have no data.
func parseInsert(text string, l *lexer) (statement, bool) {
	depth := 0
	end := l.pos
	var prev token
	for {
		t := l.next()
		switch {
		case t.kind == tokenEnd || t.kind == tokenBad || t.mark(';'):
			// INSERT INTO t (a, b): data follows in the body, in the default format.
			return statement{insert: true, text: text[:end], head: text[:end], data: len(text)}, true
		case t.mark('('):
			depth++
		case t.mark(')'):
			depth--
		case depth != 0:
		case t.is("select"), t.is("with"), t.is("watch"), t.is("infile"), t.is("explain"):
			return statement{}, false
		case t.is("values") && !prev.mark('.') && !prev.is("into") && !prev.is("table"):
			return statement{insert: true, text: text[:t.end], head: text[:t.start], format: "Values", data: t.end}, true
		case t.is("format") && !prev.mark('.') && !prev.is("into") && !prev.is("table"):
			f := l.next()
			if f.name() == "" {
				return statement{}, false
			}
			return statement{insert: true, text: text[:f.end], head: text[:t.start], format: f.name(), data: skipToData(text, f.end)}, true
		}
		prev, end = t, t.end
	}
}

// skipToData returns where data begins after a FORMAT clause that ends at i: after blanks and one line break, as ClickHouse has it.
func skipToData(text string, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\f') {
		i++
	}
	if i < len(text) && text[i] == ';' {
		i++
	}
	if i < len(text) && text[i] == '\r' {
		i++
	}
	if i < len(text) && text[i] == '\n' {
		i++
	}
	return i
}

// withOutput is the text of a statement that gives rows, with its output sent to the file path in format.
func (st statement) withOutput(path, format string) (text, clause string) {
	clause = "\nINTO OUTFILE '" + path + "' TRUNCATE COMPRESSION 'none'"
	if st.format == "" {
		clause += " FORMAT " + format
	}
	clause += "\n"
	return st.text[:st.output] + clause + st.text[st.output:], clause
}

// screen refuses what the engine would let through although it reaches out of the store (package comment); the error's
// code is ClickHouse's. It is applied to every text that is parsed as SQL, also to the rows of INSERT … VALUES. It errs
// on the safe side: a column named file must be qualified or quoted … and is refused as a function whatever its quoting.
func screen(text string) error {
	return screenTokens(text, 0)
}

// screenTokens screens text; depth is how many literals it stands in.
func screenTokens(text string, nested int) error {
	l := lexer{text: text}
	ts := l.tokens()
	if l.open == maxOpenTags {
		return refuse(codeSyntaxError, "Syntax error: %d $tag$ without an end", maxOpenTags)
	}
	var first token
	depth := 0
	for i, t := range ts {
		switch {
		case t.mark('('):
			depth++
		case t.mark(')'):
			depth--
		}
		if first.kind == tokenEnd && t.kind != tokenEnd && !t.mark('(') {
			first = t
		}
		next := ts[min(i+1, len(ts)-1)]
		var prev token
		if i > 0 {
			prev = ts[i-1]
		}
		name := t.name()
		if name == "" {
			continue
		}
		if t.kind == tokenQuoted && strings.Contains(t.text, `\`) {
			return refuse(codeAccessDenied, "identifier %s is refused: identifiers with a backslash are not allowed here", t.text)
		}
		lower := strings.ToLower(name)
		switch {
		case next.mark('(') && reachesOut(lower):
			return refuse(codeAccessDenied, "function %q is refused: statements cannot reach files, processes or other hosts", name)
		case lower == "file" && !prev.mark('.') && !next.mark('.'):
			return refuse(codeAccessDenied, "identifier %q is refused because of the function file(), which reads the machine's files; write table.file for a column", name)
		case t.is("outfile") && prev.is("into"):
			return refuse(codeIntoOutfile, "INTO OUTFILE is not allowed")
		case t.is("infile") && prev.is("from"):
			return refuse(codeAccessDenied, "FROM INFILE is not allowed: send the data in the request")
		case t.is("engine") && depth == 0 && definesStorage(first):
			engine := next
			if next.mark('=') {
				engine = ts[min(i+2, len(ts)-1)]
			}
			if e := engine.name(); e != "" && !allowedEngine(e) {
				return refuse(codeAccessDenied, "engine %q is refused: tables cannot reach files, processes or other hosts", e)
			}
		case t.is("source") && next.mark('(') && depth == 0 && definesStorage(first):
			if err := screenSource(ts[i+2:], nested); err != nil {
				return err
			}
		case next.mark('=') && forbiddenSetting(lower):
			return refuseSetting(name)
		case t.is("from") && first.is("attach") && next.kind == tokenString:
			return refuse(codeAccessDenied, "ATTACH … FROM is refused: it takes a directory of the machine")
		}
	}
	if first.is("backup") || first.is("restore") {
		return refuse(codeAccessDenied, "%s is not available over HTTP", strings.ToUpper(first.text))
	}
	return nil
}

// definesStorage says whether a statement that begins with first may name a table engine or a dictionary source.
func definesStorage(first token) bool {
	return first.is("create") || first.is("attach") || first.is("replace")
}

// screenSource checks SOURCE(… of a dictionary; ts begins after the parenthesis. Only this store's own tables are allowed. Literals in it may
// be SQL (QUERY, WHERE, INVALIDATE_QUERY), so they are screened too.
func screenSource(ts []token, nested int) error {
	kind := ts[0].name()
	if !strings.EqualFold(kind, "clickhouse") && !strings.EqualFold(kind, "null") {
		return refuse(codeAccessDenied, "dictionary source %q is refused: only CLICKHOUSE tables of this store and NULL are allowed", kind)
	}
	depth := 1
	for _, t := range ts {
		switch {
		case t.mark('('):
			depth++
		case t.mark(')'):
			if depth--; depth == 0 {
				return nil
			}
		case t.is("host"), t.is("port"), t.is("secure"), t.is("name"):
			return refuse(codeAccessDenied, "dictionary source key %q is refused: a dictionary reads from this store only", t.text)
		case t.kind == tokenString:
			inner, ok := t.literal()
			if !ok || nested > 3 {
				return refuse(codeAccessDenied, "literal %s in a dictionary source is refused: write it without escapes other than \\' and \\\\", t.text)
			}
			if err := screenTokens(inner, nested+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// startsStatement says whether a statement may begin with t. The engine's client part, which comes with it when it is embedded, also takes
// commands for a terminal (exit, \i file, ?? question); they begin in other ways.
func startsStatement(t token) bool {
	if t.mark('(') {
		return true
	}
	return slices.ContainsFunc([]string{
		"select", "with", "from", "insert", "create", "alter", "drop", "undrop", "truncate", "rename", "exchange", "replace", "attach", "detach",
		"optimize", "delete", "update", "system", "set", "use", "kill", "show", "describe", "desc", "exists", "explain", "check", "grant", "revoke",
		"backup", "restore", "watch",
	}, t.is)
}

// allowedFormat refuses formats that need files of the machine (schemas, templates) or other hosts.
func allowedFormat(name string) bool {
	for _, prefix := range []string{"template", "protobuf", "capnproto", "avroconfluent"} {
		if strings.HasPrefix(strings.ToLower(name), prefix) {
			return false
		}
	}
	return true
}

// reachesOut says whether the function (lower case) reads or writes outside the store. The engine's grants stop most of
// these too; file, eval and sqlite it would let through.
func reachesOut(name string) bool {
	switch name {
	case "file", "filecluster", "filesystem", "eval", "sqlite", "executable", "python", "arrowstream", "catboostevaluate",
		"url", "urlcluster", "remote", "remotesecure", "cluster", "clusterallreplicas",
		"s3", "s3cluster", "gcs", "oss", "cosn", "hdfs", "hdfscluster", "azureblobstorage", "azureblobstoragecluster",
		"mysql", "postgresql", "mongodb", "redis", "jdbc", "odbc", "ytsaurus", "arrowflight", "hudi", "hudicluster",
		"reversednsquery", "loop", "disk":
		return true
	}
	return strings.HasPrefix(name, "iceberg") || strings.HasPrefix(name, "deltalake") || strings.HasPrefix(name, "paimon")
}

// allowedEngine says whether a table or database engine keeps its data in the store or has none.
func allowedEngine(name string) bool {
	switch name {
	case "Atomic", "Memory", "Null", "Log", "TinyLog", "StripeLog", "Set", "Join", "Buffer", "Merge", "View", "MaterializedView",
		"Dictionary", "GenerateRandom", "Alias":
		return true
	}
	return strings.HasSuffix(name, "MergeTree") && !strings.HasPrefix(name, "Replicated")
}
