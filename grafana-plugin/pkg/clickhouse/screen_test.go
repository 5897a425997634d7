package clickhouse_test

import (
	"strings"
	"testing"

	"github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
	"github.com/weirhq/weir/query"
	"github.com/weirhq/weir/store/storetest"
)

// hostile are statements that no panel has a use for: they write, reach files or other hosts, tell of the server, or are several.
var hostile = []string{
	"INSERT INTO kept VALUES (2)",
	"INSERT INTO kept SELECT 2",
	"INSERT INTO FUNCTION file('x.csv') SELECT 1",
	"WITH 1 AS x INSERT INTO kept SELECT x",
	"DROP TABLE kept",
	"drop table kept sync",
	"/* SELECT */ DROP TABLE kept",
	"-- SELECT\nTRUNCATE TABLE kept",
	"# SELECT\nTRUNCATE TABLE kept",
	"ALTER TABLE kept DELETE WHERE 1",
	"DELETE FROM kept WHERE 1",
	"RENAME TABLE kept TO gone",
	"CREATE TABLE more (n UInt8) ENGINE = Memory",
	"CREATE TEMPORARY TABLE more (n UInt8)",
	"CREATE USER eve",
	"GRANT ALL ON *.* TO eve",
	"OPTIMIZE TABLE kept FINAL",
	"ATTACH TABLE kept",
	"DETACH TABLE kept",
	"SYSTEM SHUTDOWN",
	"SYSTEM RELOAD DICTIONARIES",
	"KILL QUERY WHERE 1",
	"SET readonly = 0",
	"SET max_execution_time = 0",
	"USE system",
	"BACKUP TABLE kept TO Disk('d', 'x')",
	"SHOW CREATE USER weir",
	"SHOW PROCESSLIST",
	"DESCRIBE TABLE url('http://127.0.0.1:1', CSV, 'n UInt8')",
	"EXPLAIN SELECT 1",
	"EXISTS TABLE kept",
	"SELECT 1; DROP TABLE kept",
	"SELECT 1;\nSELECT 2",
	"SELECT 1 /* ; */ ; -- x\n SELECT 2",
	"SELECT '\\'; DROP TABLE kept; --'; DROP TABLE kept",
	"SELECT $x$ ' $x$; DROP TABLE kept",
	"SELECT /* /* */ 1; DROP TABLE kept /* */",
	"SELECT * FROM url('http://127.0.0.1:1/', CSV, 'n UInt8')",
	"SELECT * FROM URL('http://127.0.0.1:1/', CSV, 'n UInt8')",
	"SELECT * FROM `url`('http://127.0.0.1:1/', CSV, 'n UInt8')",
	"SELECT * FROM \"url\" ('http://127.0.0.1:1/', CSV, 'n UInt8')",
	"SELECT * FROM `u\\x72l`('http://127.0.0.1:1/', CSV, 'n UInt8')",
	"SELECT * FROM “url”('http://127.0.0.1:1/', CSV, 'n UInt8')",
	"SELECT * FROM url/**/('http://127.0.0.1:1/', CSV, 'n UInt8')",
	"SELECT * FROM numbers(1), url('http://127.0.0.1:1/', CSV, 'n UInt8')",
	"SELECT 1 IN url('http://127.0.0.1:1/', CSV, 'n UInt8')",
	"SELECT * FROM view(SELECT * FROM url('http://127.0.0.1:1/', CSV, 'n UInt8'))",
	"WITH x AS (SELECT * FROM file('/etc/passwd', LineAsString)) SELECT * FROM x",
	"SELECT file('/etc/passwd')",
	"SELECT * FROM file('/etc/passwd', LineAsString)",
	"SELECT * FROM s3('http://127.0.0.1:1/x', CSV, 'n UInt8')",
	"SELECT * FROM remote('127.0.0.1:1', default.kept)",
	"SELECT * FROM mysql('127.0.0.1:1', 'd', 't', 'u', 'p')",
	"SELECT * FROM postgresql('127.0.0.1:1', 'd', 't', 'u', 'p')",
	"SELECT * FROM executable('id', TSV, 'x String')",
	"SELECT * FROM merge('system', '.*')",
	"SELECT * FROM loop('system', 'tables')",
	"SELECT * FROM cluster('default', system.tables)",
	"SELECT * FROM system.processes",
	"SELECT * FROM `system`.users",
	"SELECT * FROM \"system\" . \"settings\"",
	"SELECT * FROM system/* */.tables",
	"SELECT * FROM information_schema.tables",
	"SELECT * FROM INFORMATION_SCHEMA.TABLES",
	"SELECT 1 INTO OUTFILE '/tmp/x'",
	"SELECT 1 FORMAT JSON",
	"SELECT 1 FORMAT Null SETTINGS max_execution_time = 0",
	"SELECT 1 SETTINGS readonly = 0",
	"SELECT 1 SETTINGS max_execution_time = 0, max_result_rows = 0",
	"SELECT * FROM (SELECT 1 SETTINGS max_threads = 1)",
	"SELECT sleep(3)",
	"SELECT sleepEachRow(1) FROM numbers(100)",
	"SELECT 'no end",
	"SELECT 1 /* no end",
	"",
	" ;; ",
	"((",
	"(DROP TABLE kept)",
	"\\i /etc/passwd",
	"exit",
}

func TestHostileStatementsAreRefused(t *testing.T) {
	database, s := storetest.Database(t)
	s.Exec(t, "CREATE TABLE "+database+".kept (n UInt8) ENGINE = MergeTree ORDER BY n")
	s.Exec(t, "INSERT INTO "+database+".kept VALUES (1)")
	before := state(t, s, database)
	for _, u := range []string{"reader", "writer"} {
		user := s.Users.ReadOnly
		if u == "writer" {
			user = s.Users.Writer
		}
		c := of(t, s, user, map[string]any{"database": database})
		if rows, err := ask(t, c, "SELECT n FROM kept"); err != nil || rows.Len != 1 {
			t.Fatalf("%s: %+v, %v, want the row", u, rows, err)
		}
		for _, sql := range hostile {
			e := fails(t, c, sql, clickhouse.ClassQuery)
			if e.Code != 0 {
				t.Errorf("%s: it went to ClickHouse, which said %v", sql, e)
			}
		}
	}
	if after := state(t, s, database); after != before {
		t.Errorf("the store was\n%s\nand is\n%s", before, after)
	}
}

// The second fence: what is not screened, ClickHouse refuses, since a user that may write asks under readonly=1.
func TestWhatIsNotScreenedIsReadOnly(t *testing.T) {
	database, s := storetest.Database(t)
	s.Exec(t, "CREATE TABLE "+database+".kept (n UInt8) ENGINE = MergeTree ORDER BY n")
	s.Exec(t, "INSERT INTO "+database+".kept VALUES (1)")
	before := state(t, s, database)
	for _, u := range []string{"reader", "writer"} {
		user := s.Users.ReadOnly
		if u == "writer" {
			user = s.Users.Writer
		}
		c := of(t, s, user, map[string]any{"database": database})
		for _, sql := range []string{
			"INSERT INTO kept SELECT 2", "DROP TABLE kept", "TRUNCATE TABLE kept", "ALTER TABLE kept DELETE WHERE 1", "CREATE TABLE more (n UInt8) ENGINE = Memory",
			"SET readonly = 0", "SYSTEM FLUSH LOGS", "OPTIMIZE TABLE kept", "SELECT 1; DROP TABLE kept",
			"SELECT 1 SETTINGS readonly = 0", "SELECT 1 SETTINGS max_execution_time = 0",
			"SELECT * FROM file('/etc/passwd', LineAsString)", "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'n UInt8')", "SELECT 1 INTO OUTFILE '/tmp/x'",
		} {
			if rows, err := c.Query(t.Context(), clickhouse.Ask{Statement: query.Statement{SQL: sql}}); err == nil {
				t.Errorf("%s: %s: %+v, want a refusal", u, sql, rows)
			}
		}
	}
	if after := state(t, s, database); after != before {
		t.Errorf("the store was\n%s\nand is\n%s", before, after)
	}
}

func state(t *testing.T, s *storetest.Server, database string) string {
	t.Helper()
	return s.Exec(t, "SELECT name, engine FROM system.tables WHERE database = '"+database+"'") + s.Exec(t, "SELECT n FROM "+database+".kept")
}

// What looks like one of those and is none is run.
func TestHarmlessStatementsAreRun(t *testing.T) {
	database, s := storetest.Database(t)
	s.Exec(t, "CREATE TABLE "+database+".kept (n UInt8, system Tuple(a UInt8), format String, url String, settings UInt8) ENGINE = MergeTree ORDER BY n")
	s.Exec(t, "INSERT INTO "+database+".kept VALUES (1, tuple(1), 'f', 'u', 1)")
	c := of(t, s, s.Users.ReadOnly, map[string]any{"database": database})
	for _, sql := range []string{
		"SELECT 1", "select 1;", " SELECT 1 ; -- done", "(SELECT 1)", "((SELECT 1)) UNION ALL (SELECT 2)", "WITH 1 AS x SELECT x", "/* a */ SELECT 1 # b",
		"SELECT 'DROP TABLE kept; system.tables'", "SELECT 1 AS `a;b`", "SELECT format FROM kept", "SELECT url FROM kept WHERE url = 'u'", "SELECT settings = 1 FROM kept",
		"SELECT format('{}', url) FROM kept", "SELECT n FROM kept WHERE n IN (SELECT number FROM numbers(5))", "SELECT cutURLParameter(url, 'a') FROM kept",
		"SELECT * FROM values('n UInt8', 1, 2)", "SELECT $x$ ; DROP $x$", "SELECT toDateTime('2026-01-01 00:00:00') AS time, 1 AS v ORDER BY time LIMIT 1",
	} {
		if _, err := ask(t, c, sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// No table function of the engine is passed over: each is known to be harmless, or refused.
func TestEveryTableFunctionIsKnown(t *testing.T) {
	_, s := storetest.Database(t)
	names := strings.Fields(s.Exec(t, "SELECT name FROM system.table_functions ORDER BY name"))
	if len(names) < 50 {
		t.Fatalf("the engine has only %d table functions: %v", len(names), names)
	}
	let := map[string]bool{}
	for name := range strings.FieldsSeq("numbers numbers_mt zeros zeros_mt primes generateSeries generate_series values SQLStandardValues null view viewIfPermitted viewExplain dictionary fuzzJSON generateRandom format rows") {
		let[name] = true
	}
	for _, name := range names {
		if err := clickhouse.Screen("SELECT * FROM " + name + "(1)"); (err == nil) != let[name] {
			t.Errorf("%s: %v, want it refused unless it is known to be harmless", name, err)
		}
	}
}

// Names of functions are looked for in what ClickHouse takes for names, however that is written.
func FuzzScreen(f *testing.F) {
	for _, sql := range hostile {
		f.Add(sql)
	}
	f.Add("SELECT “a” , ‘b’ , $a$ x $a$ , $b$ FROM t")
	f.Fuzz(func(t *testing.T, sql string) {
		if clickhouse.Screen(sql) != nil {
			return
		}
		// What is let through stays so if a comment or a blank is put before and after it, and not if another statement is.
		if err := clickhouse.Screen("/* x */ \n" + sql + "\n"); err != nil {
			t.Errorf("%q is let through, and not with blanks: %v", sql, err)
		}
		if clickhouse.Screen(sql+"\n; SELECT 1") == nil {
			t.Errorf("%q is let through with a second statement", sql)
		}
	})
}
