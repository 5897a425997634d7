package embedded_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/store/embedded"
	"github.com/weirhq/weir/store/embedded/chdb"
)

func TestParseInsert(t *testing.T) {
	f := func(text, head, format, data string) {
		t.Helper()
		st := embedded.ParseStatement(text)
		if !st.Insert {
			t.Errorf("parse(%q): not taken for an INSERT with data", text)
			return
		}
		if got, want := []string{strings.TrimSpace(st.Head), st.Format, text[st.Data:]}, []string{head, format, data}; !cmp.Equal(got, want) {
			t.Errorf("parse(%q): head, format, data: %s", text, cmp.Diff(got, want))
		}
	}
	f("INSERT INTO t FORMAT Native\n\x00\x01\n", "INSERT INTO t", "Native", "\x00\x01\n")
	f("INSERT INTO t FORMAT Native\n\n\x00", "INSERT INTO t", "Native", "\n\x00")
	f("insert into t(a, `b)`) format CSV\r\n1,2", "insert into t(a, `b)`)", "CSV", "1,2")
	f("INSERT INTO t (a) VALUES (1), (2)", "INSERT INTO t (a)", "Values", " (1), (2)")
	f("INSERT INTO t VALUES", "INSERT INTO t", "Values", "")
	f("INSERT INTO t (values, format) VALUES (1, 2)", "INSERT INTO t (values, format)", "Values", " (1, 2)")
	f("INSERT INTO db.values FORMAT TSV\n1", "INSERT INTO db.values", "TSV", "1")
	f("INSERT INTO values FORMAT TSV\n1", "INSERT INTO values", "TSV", "1")
	f("INSERT INTO t SETTINGS async_insert=1 FORMAT JSONEachRow {\"a\":1}", "INSERT INTO t SETTINGS async_insert=1", "JSONEachRow", "{\"a\":1}")
	f("/* c */ INSERT INTO t -- format CSV\n FORMAT TSV\n1", "/* c */ INSERT INTO t -- format CSV", "TSV", "1")
	f("INSERT INTO t", "INSERT INTO t", "", "")
	f("INSERT INTO t (a, b);\n", "INSERT INTO t (a, b)", "", "")
	for _, text := range []string{
		"INSERT INTO t SELECT 1", "INSERT INTO t (a) WITH 1 AS x SELECT x", "INSERT INTO t FROM INFILE 'x' FORMAT CSV", "SELECT 1",
		"EXPLAIN INSERT INTO t VALUES (1)", "",
	} {
		if embedded.ParseStatement(text).Insert {
			t.Errorf("parse(%q): taken for an INSERT with data", text)
		}
	}
}

func TestWithOutput(t *testing.T) {
	f := func(text, want, format string) {
		t.Helper()
		st := embedded.ParseStatement(text)
		got := strings.ReplaceAll(st.WithOutput, "\nINTO OUTFILE 'P' TRUNCATE COMPRESSION 'none'", "@")
		if got != want || st.Format != format {
			t.Errorf("parse(%q): %q in format %q, want %q in %q", text, got, st.Format, want, format)
		}
	}
	f("SELECT 1", "SELECT 1@ FORMAT F\n", "")
	f("SELECT 1;;\n-- end", "SELECT 1@ FORMAT F\n", "")
	f("SELECT 1 -- FORMAT CSV", "SELECT 1@ FORMAT F\n", "")
	f("SELECT 1 format JSON ;", "SELECT 1 @\nformat JSON", "JSON")
	f("SELECT 1 FORMAT `JSON`", "SELECT 1 @\nFORMAT `JSON`", "JSON")
	f("SELECT 1 FORMAT JSON SETTINGS a=1, b='format'", "SELECT 1 @\nFORMAT JSON SETTINGS a=1, b='format'", "JSON")
	f("SELECT 1 SETTINGS a=1", "SELECT 1 SETTINGS a=1@ FORMAT F\n", "")
	f("SELECT format FROM t", "SELECT format FROM t@ FORMAT F\n", "")
	f("SELECT 'FORMAT CSV', (SELECT 1 AS format)", "SELECT 'FORMAT CSV', (SELECT 1 AS format)@ FORMAT F\n", "")
	f("SHOW TABLES SETTINGS a=1", "SHOW TABLES @ FORMAT F\nSETTINGS a=1", "")
	f("DESCRIBE t FORMAT CSV", "DESCRIBE t @\nFORMAT CSV", "CSV")
	f("(SELECT 1) UNION ALL (SELECT 2)", "(SELECT 1) UNION ALL (SELECT 2)@ FORMAT F\n", "")
}

func TestScreenRefuses(t *testing.T) {
	for _, text := range []string{
		"SELECT file('/etc/passwd')",
		"SELECT `file`('/etc/passwd')",
		`SELECT "file"('/etc/passwd')`,
		"SELECT “file”('/etc/passwd')",
		"SELECT `f\\x69le`('/etc/passwd')",
		"SELECT file /* c */ -- c\n ('/etc/passwd')",
		"SELECT * APPLY(file) FROM (SELECT '/etc/passwd')",
		"SELECT * APPLY file FROM (SELECT '/etc/passwd')",
		"SELECT * FROM url('http://127.0.0.1')",
		"SELECT * FROM FILE('/etc/passwd')",
		"SELECT * FROM eval('SELECT file(1)')",
		"SELECT * FROM s3Cluster('c', 'http://x')",
		"SELECT * FROM icebergS3('http://x')",
		"SELECT * FROM remote('x', 'y')",
		"SELECT * FROM executable('id', TSV, 'a String')",
		"SELECT * FROM sqlite('/x', 'y')",
		"SELECT 1 INTO OUTFILE '/tmp/x'",
		"SELECT 1 into\noutfile '/tmp/x'",
		"INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV",
		"INSERT INTO t VALUES (file('/etc/passwd'))",
		"INSERT INTO FUNCTION file('/x', 'CSV') VALUES (1)",
		"CREATE TABLE t (a Int8) ENGINE = File(CSV, '/etc/passwd')",
		"CREATE TABLE t (a Int8) ENGINE URL('http://x', CSV)",
		"CREATE TABLE t (a Int8) ENGINE=`URL`('http://x', CSV)",
		"CREATE TABLE t (a Int8) engine=Kafka",
		"CREATE TABLE t (a Int8) ENGINE = ReplicatedMergeTree ORDER BY a",
		"CREATE DATABASE d ENGINE = Filesystem('/etc')",
		"CREATE VIEW v AS SELECT file('/etc/passwd')",
		"CREATE FUNCTION f AS x -> file(x)",
		"CREATE DICTIONARY d (a UInt64) PRIMARY KEY a SOURCE(EXECUTABLE(COMMAND 'id' FORMAT TSV)) LAYOUT(FLAT()) LIFETIME(0)",
		"CREATE DICTIONARY d (a UInt64) PRIMARY KEY a SOURCE(FILE(path '/etc/passwd' format TSV)) LAYOUT(FLAT()) LIFETIME(0)",
		"CREATE DICTIONARY d (a UInt64) PRIMARY KEY a SOURCE(HTTP(url 'http://x' format TSV)) LAYOUT(FLAT()) LIFETIME(0)",
		"CREATE DICTIONARY d (a UInt64) PRIMARY KEY a SOURCE(CLICKHOUSE(host '10.0.0.1' table 't')) LAYOUT(FLAT()) LIFETIME(0)",
		"CREATE DICTIONARY d (a String) PRIMARY KEY a SOURCE(CLICKHOUSE(QUERY 'SELECT file(\\'/etc/passwd\\') AS a')) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)",
		"CREATE DICTIONARY d (a String) PRIMARY KEY a SOURCE(CLICKHOUSE(QUERY 'SELECT file(''/etc/passwd'') AS a')) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)",
		"CREATE DICTIONARY d (a String) PRIMARY KEY a SOURCE(CLICKHOUSE(QUERY 'SELECT f\\x69le(1) AS a')) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)",
		"CREATE DICTIONARY d (a String) PRIMARY KEY a SOURCE(CLICKHOUSE(QUERY $q$SELECT file('/etc/passwd') AS a$q$)) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)",
		"CREATE DICTIONARY d (a String) PRIMARY KEY a SOURCE(CLICKHOUSE(TABLE 't' WHERE 'a = file(1)')) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)",
		"CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = web, endpoint = 'http://127.0.0.1/')",
		"SELECT 1 SETTINGS format_template_row = '/etc/passwd'",
		"SELECT 1 FORMAT Protobuf SETTINGS output_format_schema = '/tmp/x'",
		"SELECT 1 SETTINGS additional_result_filter = 'file(1)'",
		"SELECT 1 SETTINGS `dialect` = 'kusto'",
		"INSERT INTO t SETTINGS input_format_record_errors_file_path = '/tmp/x' FORMAT CSV",
		"SET promql_database = 'x'",
		"ATTACH TABLE t FROM '/etc' (a Int8) ENGINE = MergeTree ORDER BY a",
		"BACKUP TABLE t TO S3('http://x')",
		"RESTORE TABLE t FROM File('x')",
	} {
		var e *chdb.Error
		if err := embedded.Screen(text); !errors.As(err, &e) || e.Code != 497 && e.Code != 358 {
			t.Errorf("screen(%q) = %v, want ACCESS_DENIED", text, err)
		}
	}
}

func TestScreenAllows(t *testing.T) {
	for _, text := range []string{
		"SELECT 1", "SELECT 'file(', `a b` FROM t AS x", "SELECT t.file, x.file FROM t", "SELECT engine FROM system.tables WHERE engine = 'File'",
		"SELECT name, engine, source FROM system.dictionaries", "SELECT domain(url) AS url FROM t", "SELECT `we\"ird` FROM t -- file('x')",
		"CREATE TABLE t (engine String, source UInt8) ENGINE = ReplacingMergeTree(v) ORDER BY engine",
		"CREATE DICTIONARY d (id UInt64, name String) PRIMARY KEY id SOURCE(CLICKHOUSE(TABLE 'entities' DB 'default')) LAYOUT(HASHED()) LIFETIME(MIN 1 MAX 5)",
		"CREATE DICTIONARY d (id UInt64) PRIMARY KEY id SOURCE(CLICKHOUSE(QUERY 'SELECT id FROM default.e')) LAYOUT(FLAT()) LIFETIME(0)",
		"CREATE DICTIONARY d (id UInt64) PRIMARY KEY id SOURCE(CLICKHOUSE(QUERY 'SELECT id FROM e WHERE k = \\'vm\\'\\n')) LAYOUT(FLAT()) LIFETIME(0)",
		"SELECT 1 SETTINGS max_threads = 1, output_format_json_quote_64bit_integers = 1",
		"CREATE MATERIALIZED VIEW v TO t AS SELECT * FROM s", "CREATE DATABASE d ENGINE = Atomic", "ALTER TABLE t ATTACH PARTITION 1",
		"INSERT INTO t VALUES ('file', now())", "SHOW CREATE TABLE t", "EXPLAIN SELECT 1",
	} {
		if err := embedded.Screen(text); err != nil {
			t.Errorf("screen(%q) = %v", text, err)
		}
	}
}

func FuzzStatement(f *testing.F) {
	for _, s := range []string{
		"SELECT 1 FORMAT JSON", "INSERT INTO t FORMAT Native\n\x00", "INSERT INTO t VALUES (1)", "SELECT $a$x$a$, 'a\\'', `b``c`, \"d\" -- e",
		"/* unended", "'unended", "SELECT “file”(‘x’)", "SHOW TABLES SETTINGS a=1", "((((", "CREATE DICTIONARY d SOURCE(", "SELECT file", ";;;", "$$", "# c\n1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		st := embedded.ParseStatement(text)
		if st.Data < 0 || st.Data > len(text) {
			t.Fatalf("data begins at %d of %d", st.Data, len(text))
		}
		if st.Insert && !strings.HasPrefix(text, st.Head) {
			t.Fatalf("head %q is no beginning of %q", st.Head, text)
		}
		if !st.Insert && st.Text != "" {
			// The output clause is put in once, and nothing is lost.
			got := strings.Replace(st.WithOutput, "\nINTO OUTFILE 'P' TRUNCATE COMPRESSION 'none'", "", 1)
			if len(got) < len(st.Text) {
				t.Fatalf("with output: %q lost part of %q", st.WithOutput, st.Text)
			}
		}
		if embedded.Screen(text) == nil && strings.Contains(text, "file(") && !strings.ContainsAny(text, "'\"`-/#$") && !strings.Contains(text, "\xe2") &&
			!wordBefore(text, "file(") {
			t.Fatalf("screen let %q through", text)
		}
	})
}

// wordBefore says whether every occurrence of s in text continues a longer word.
func wordBefore(text, s string) bool {
	for i := strings.Index(text, s); i >= 0; {
		if i == 0 || !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", rune(text[i-1])) {
			return false
		}
		j := strings.Index(text[i+1:], s)
		if j < 0 {
			break
		}
		i += 1 + j
	}
	return true
}
