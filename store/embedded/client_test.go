package embedded_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/weirhq/weir/store/embedded"
	"github.com/weirhq/weir/store/storetest"
)

// open connects clickhouse-go over HTTP as the user u.
func open(t testing.TB, s *storetest.Server, u embedded.Credentials, db string, method clickhouse.CompressionMethod) driver.Conn {
	t.Helper()
	conn, err := clickhouse.Open(&clickhouse.Options{
		Addr:         []string{s.Addr},
		Protocol:     clickhouse.HTTP,
		Auth:         clickhouse.Auth{Database: db, Username: u.Name, Password: u.Password},
		Compression:  &clickhouse.Compression{Method: method, Level: 1},
		MaxOpenConns: 32,
		MaxIdleConns: 32,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// reply is what a response says before its body.
type reply struct {
	StatusCode int
	Status     string
	Header     http.Header
}

// ask sends one request and returns status, headers and body; the body as far as it came, and how it ended.
func ask(t testing.TB, s *storetest.Server, u embedded.Credentials, query, body string, headers ...string) (reply, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Addr+"/?"+query, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if u.Name != "" {
		req.SetBasicAuth(u.Name, u.Password)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Status, resp.Header}, string(b), err
}

// everyType is a column of each type that the schema uses, and two values for it.
var everyType = []struct {
	name, typ string
	values    [2]any
}{
	{"u8", "UInt8", [2]any{uint8(0), uint8(255)}},
	{"u16", "UInt16", [2]any{uint16(1), uint16(65535)}},
	{"u32", "UInt32", [2]any{uint32(2), uint32(1<<32 - 1)}},
	{"u64", "UInt64", [2]any{uint64(3), uint64(1<<64 - 1)}},
	{"i8", "Int8", [2]any{int8(-128), int8(127)}},
	{"i16", "Int16", [2]any{int16(-32768), int16(1)}},
	{"i32", "Int32", [2]any{int32(-1 << 31), int32(1)}},
	{"i64", "Int64", [2]any{int64(-1 << 63), int64(1)}},
	{"f64", "Float64", [2]any{float64(-1.5), float64(1e300)}},
	{"s", "String", [2]any{"", "tab\tnewline\n'quote'\\\x00ÿ"}},
	{"fs", "FixedString(4)", [2]any{"abcd", "\x00\x01\n\xff"}},
	{"lc", "LowCardinality(String)", [2]any{"x", "y"}},
	{"e8", "Enum8('unknown' = 0, 'allowed' = 1, 'denied' = -5)", [2]any{"unknown", "denied"}},
	{"b", "Bool", [2]any{true, false}},
	{"dt", "DateTime", [2]any{time.Unix(0, 0).UTC(), time.Unix(1<<32-1, 0).UTC()}},
	{"dtz", "DateTime('Europe/Berlin')", [2]any{time.Unix(1_700_000_000, 0).UTC(), time.Unix(1, 0).UTC()}},
	{"dt64", "DateTime64(3)", [2]any{time.UnixMilli(1_700_000_000_123).UTC(), time.UnixMilli(1).UTC()}},
	{"d", "Date", [2]any{time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2149, 6, 6, 0, 0, 0, 0, time.UTC)}},
	{"ip4", "IPv4", [2]any{net.IPv4(0, 0, 0, 0).To4(), net.IPv4(255, 1, 2, 3).To4()}},
	{"ip6", "IPv6", [2]any{net.ParseIP("2001:db8::1"), net.ParseIP("::ffff:192.0.2.1").To16()}},
	{"id", "UUID", [2]any{uuid.Nil, uuid.MustParse("00112233-4455-6677-8899-aabbccddeeff")}},
	{"au", "Array(UInt64)", [2]any{[]uint64{}, []uint64{1, 1<<64 - 1}}},
	{"als", "Array(LowCardinality(String))", [2]any{[]string{"a", "b"}, []string{}}},
	{"m", "Map(String, String)", [2]any{map[string]string{}, map[string]string{"k": "v", "": "\n"}}},
	{"mlc", "Map(LowCardinality(String), UInt64)", [2]any{map[string]uint64{"a": 1}, map[string]uint64{}}},
	{"n", "Nullable(String)", [2]any{(*string)(nil), new("x")}},
	{"nu", "Nullable(UInt32)", [2]any{new(uint32(7)), (*uint32)(nil)}},
	{"nip", "Nullable(IPv6)", [2]any{(*net.IP)(nil), new(net.ParseIP("::1"))}},
	{"t", "Tuple(String, UInt64)", [2]any{[]any{"a", uint64(1)}, []any{"", uint64(0)}}},
	{"saf", "SimpleAggregateFunction(sum, UInt64)", [2]any{uint64(1), uint64(2)}},
}

// Each type goes in by a batch and comes out again, with each compression that the client knows.
//
//go:fix inline
func TestClickhouseGoTypes(t *testing.T) {
	for _, method := range []clickhouse.CompressionMethod{
		clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionZSTD, clickhouse.CompressionGZIP, clickhouse.CompressionDeflate, clickhouse.CompressionBrotli,
	} {
		t.Run(method.String(), func(t *testing.T) {
			db, s := storetest.Database(t)
			conn := open(t, s, s.Users.Writer, db, method)
			var columns []string
			for _, c := range everyType {
				columns = append(columns, c.name+" "+c.typ)
			}
			if err := conn.Exec(t.Context(), "CREATE TABLE t (n_ UInt8, "+strings.Join(columns, ", ")+") ENGINE = MergeTree ORDER BY n_"); err != nil {
				t.Fatal(err)
			}
			batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO t")
			if err != nil {
				t.Fatal(err)
			}
			for row := range 2 {
				values := []any{uint8(row)}
				for _, c := range everyType {
					values = append(values, c.values[row])
				}
				if err := batch.Append(values...); err != nil {
					t.Fatal(err)
				}
			}
			if err := batch.Send(); err != nil {
				t.Fatal(err)
			}
			rows, err := conn.Query(t.Context(), "SELECT * FROM t ORDER BY n_")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			n := 0
			for ; rows.Next(); n++ {
				var row uint8
				dest := []any{&row}
				for _, c := range everyType {
					dest = append(dest, reflect.New(reflect.TypeOf(c.values[0])).Interface())
				}
				if err := rows.Scan(dest...); err != nil {
					t.Fatal(err)
				}
				for i, c := range everyType {
					got, want := reflect.ValueOf(dest[i+1]).Elem().Interface(), c.values[row]
					if fmt.Sprint(plain(got)) != fmt.Sprint(plain(want)) {
						t.Errorf("%s row %d: got %v, want %v", c.typ, row, plain(got), plain(want))
					}
				}
			}
			if err := rows.Err(); err != nil || n != 2 {
				t.Errorf("%d rows, %v; want 2", n, err)
			}
		})
	}
}

// plain makes values comparable by their text: pointers are followed, times are in UTC, addresses in one form.
func plain(v any) any {
	switch v := v.(type) {
	case time.Time:
		return v.UTC()
	case net.IP:
		a, _ := netip.AddrFromSlice(v)
		return a.Unmap()
	}
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer {
		if r.IsNil() {
			return nil
		}
		return plain(r.Elem().Interface())
	}
	return v
}

func TestClickhouseGoParameters(t *testing.T) {
	_, s := storetest.Database(t)
	conn := open(t, s, s.Users.ReadOnly, "", clickhouse.CompressionLZ4)
	ctx := clickhouse.Context(t.Context(), clickhouse.WithParameters(clickhouse.Parameters{
		"num": "42", "str": `back\\slash 'quote' ; DROP`, "arr": "[1,2,3]", "tab": "number",
	}))
	var num uint64
	var str string
	var sum uint64
	if err := conn.QueryRow(ctx, "SELECT {num:UInt64}, {str:String}, arraySum({arr:Array(UInt64)}) FROM numbers(1) WHERE {tab:Identifier} = 0").Scan(&num, &str, &sum); err != nil {
		t.Fatal(err)
	}
	// In a parameter the backslash escapes (TSV), as with any ClickHouse over HTTP.
	if num != 42 || sum != 6 || str != `back\slash 'quote' ; DROP` {
		t.Errorf("got %d, %q, %d", num, str, sum)
	}
	var arg string
	if err := conn.QueryRow(t.Context(), "SELECT ?", "a'b\\c\n").Scan(&arg); err != nil || arg != "a'b\\c\n" {
		t.Errorf("positional argument: %q, %v", arg, err)
	}
	err := conn.QueryRow(t.Context(), "SELECT {missing:UInt8}").Scan(&num)
	wantCode(t, err, 456)
}

func wantCode(t testing.TB, err error, code int32) {
	t.Helper()
	var e *clickhouse.Exception
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("got %v, want an exception with code %d", err, code)
	}
}

func TestClickhouseGoExceptions(t *testing.T) {
	db, s := storetest.Database(t)
	for _, method := range []clickhouse.CompressionMethod{clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionGZIP} {
		conn := open(t, s, s.Users.Writer, db, method)
		for sql, code := range map[string]int32{
			"SELECT":                        62,
			"SELECT nosuch":                 47,
			"SELECT * FROM nosuch":          60,
			"SELECT throwIf(1)":             395,
			"SELECT toUInt8('x')":           6,
			"DROP TABLE nosuch":             60,
			"INSERT INTO nosuch VALUES (1)": 60,
			"SELECT 1; SELECT 2":            62,
			"SELECT sleep(3) SETTINGS max_execution_time=1, function_sleep_max_microseconds_per_block=9000000": 159,
		} {
			wantCode(t, conn.Exec(t.Context(), sql), code)
		}
		if err := conn.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}
	conn := open(t, s, s.Users.ReadOnly, db, clickhouse.CompressionLZ4)
	wantCode(t, conn.Exec(t.Context(), "CREATE TABLE x (a UInt8) ENGINE = Memory"), 164)
	if _, err := conn.PrepareBatch(t.Context(), "INSERT INTO x"); err == nil {
		t.Error("the read-only user may prepare an insert into a table that is not there")
	}
}

// A SELECT that fails after more than a million rows: the rows come, then the code.
func TestClickhouseGoExceptionInStream(t *testing.T) {
	_, s := storetest.Database(t)
	for _, method := range []clickhouse.CompressionMethod{clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionZSTD, clickhouse.CompressionGZIP} {
		conn := open(t, s, s.Users.ReadOnly, "", method)
		rows, err := conn.Query(t.Context(), "SELECT number, throwIf(number = 1500000) FROM numbers(3000000) SETTINGS max_threads = 1")
		if err == nil {
			t.Error("a SETTINGS clause of the read-only user is taken")
			rows.Close()
		}
		wantCode(t, err, 164)
		rows, err = conn.Query(clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_threads": 1})),
			"SELECT number, throwIf(number = 1500000) FROM numbers(3000000)")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for rows.Next() {
			n++
		}
		wantCode(t, rows.Err(), 395)
		rows.Close()
		if n < 1_000_000 {
			t.Errorf("%s: %d rows came before the exception, want more than a million", method, n)
		}
	}
	wantIdle(t, s)
}

// cpuTime is the time that the store's process has used.
func cpuTime(t testing.TB, s *storetest.Server) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(f[11]+" "+f[12], &user, &system); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// connections counts the established TCP connections to the store's port.
func connections(t testing.TB, s *storetest.Server) int {
	t.Helper()
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	p, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, _ := os.ReadFile(file)
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", p)) && f[3] == "01" {
				n++
			}
		}
	}
	return n
}

// wantIdle waits until no statement runs in the store and its process uses next to no time.
func wantIdle(t testing.TB, s *storetest.Server) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		running := strings.TrimSpace(s.Exec(t, "SELECT count() - 1 FROM system.processes"))
		before := cpuTime(t, s)
		time.Sleep(500 * time.Millisecond) // an interval to measure over
		used := cpuTime(t, s) - before
		if running == "0" && used <= 150*time.Millisecond {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the store does not become idle: %s statements run, %s of processor time in 500 ms", running, used)
			return
		}
	}
}

// Clients that go away in the middle, or before the first row: the engine stops.
func TestCancel(t *testing.T) {
	s := storetest.ClickHouse(t)
	conn := open(t, s, s.Users.ReadOnly, "", clickhouse.CompressionLZ4)
	if err := conn.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantIdle(t, s)
	idle := connections(t, s)
	for name, sql := range map[string]string{
		"stream":    "SELECT number, sipHash64(number) FROM system.numbers",
		"aggregate": "SELECT max(sipHash64(number)) FROM numbers(1000000000000)",
		"sort":      "SELECT sipHash64(number) AS h FROM numbers(1000000000000) ORDER BY h LIMIT 3",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		rows, err := make(chan driver.Rows, 1), make(chan error, 1)
		go func() {
			r, e := conn.Query(ctx, sql)
			rows <- r
			err <- e
		}()
		if name == "stream" {
			r := <-rows
			if e := <-err; e != nil {
				t.Fatal(e)
			}
			for range 100_000 {
				if !r.Next() {
					t.Fatalf("no more rows: %v", r.Err())
				}
			}
			cancel()
			for r.Next() { // what the client had already read
			}
			r.Close()
		} else {
			waitFor(t, "the statement to run", func() bool {
				return strings.TrimSpace(s.Exec(t, "SELECT count() - 1 FROM system.processes")) == "1"
			})
			cancel()
			<-rows
			if e := <-err; e == nil {
				t.Errorf("%s: no error after cancel", name)
			}
		}
		began := time.Now()
		wantIdle(t, s)
		t.Logf("%s: idle %s after the cancel", name, time.Since(began).Round(time.Millisecond))
		waitFor(t, "the connection to be closed", func() bool { return connections(t, s) <= idle+1 })
	}
}

func waitFor(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("waited two minutes for %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Sixteen clients insert and read at once, each statement sees its own and the sum is right.
func TestConcurrent(t *testing.T) {
	db, s := storetest.Database(t)
	conn := open(t, s, s.Users.Writer, db, clickhouse.CompressionLZ4)
	ro := open(t, s, s.Users.ReadOnly, db, clickhouse.CompressionZSTD)
	if err := conn.Exec(t.Context(), "CREATE TABLE t (worker UInt8, n UInt64) ENGINE = MergeTree ORDER BY (worker, n)"); err != nil {
		t.Fatal(err)
	}
	const workers, batches, rows = 16, 5, 2000
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for b := range batches {
				batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO t")
				if err != nil {
					t.Error(err)
					return
				}
				for i := range rows {
					if err := batch.Append(uint8(w), uint64(b*rows+i)); err != nil {
						t.Error(err)
						return
					}
				}
				if err := batch.Send(); err != nil {
					t.Error(err)
					return
				}
				var got uint64
				if err := ro.QueryRow(t.Context(), "SELECT count() FROM t WHERE worker = ?", uint8(w)).Scan(&got); err != nil || got != uint64((b+1)*rows) {
					t.Errorf("worker %d sees %d rows after batch %d, %v", w, got, b, err)
				}
			}
		})
	}
	wg.Wait()
	var count, sum uint64
	if err := ro.QueryRow(t.Context(), "SELECT count(), sum(n) FROM t").Scan(&count, &sum); err != nil {
		t.Fatal(err)
	}
	if n := uint64(batches * rows); count != workers*n || sum != workers*n*(n-1)/2 {
		t.Errorf("count %d, sum %d", count, sum)
	}
}

// What graphical clients ask before the user has asked anything.
func TestIntrospection(t *testing.T) {
	db, s := storetest.Database(t)
	s.Exec(t, "CREATE TABLE "+db+".t (a UInt64 COMMENT 'x', b String ALIAS toString(a)) ENGINE = MergeTree ORDER BY a")
	conn := open(t, s, s.Users.ReadOnly, db, clickhouse.CompressionLZ4)
	for _, sql := range []string{
		"SELECT displayName(), version(), revision(), timezone()",
		"SELECT currentUser() AS user, timezone() AS timezone, version() AS version LIMIT 1",
		"SELECT name, engine, comment FROM system.databases ORDER BY name",
		"SHOW DATABASES",
		"SHOW TABLES",
		"SELECT name, engine, total_rows, total_bytes, create_table_query FROM system.tables WHERE database = currentDatabase()",
		"SELECT database, table, name, type, default_kind, default_expression, comment, position FROM system.columns WHERE database = currentDatabase() ORDER BY table, position",
		"SHOW CREATE TABLE t",
		"DESCRIBE TABLE t",
		"EXISTS TABLE t",
		"EXPLAIN SELECT * FROM t",
		"SELECT name, value FROM system.settings WHERE name IN ('readonly', 'max_memory_usage')",
		"SELECT * FROM system.functions LIMIT 10",
		"SELECT table_schema, table_name FROM information_schema.tables LIMIT 5",
		"SELECT name FROM system.table_engines",
		"SELECT database, name FROM system.dictionaries",
		"SELECT partition, rows FROM system.parts WHERE active",
	} {
		rows, err := conn.Query(t.Context(), sql)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		for rows.Next() {
		}
		if err := rows.Err(); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
		rows.Close()
	}
}

// The formats come as the engine writes a whole document, however many blocks it has, and inserts take each of them back.
func TestFormats(t *testing.T) {
	db, s := storetest.Database(t)
	s.Exec(t, "CREATE TABLE "+db+".t (n UInt64, s String) ENGINE = MergeTree ORDER BY n")
	s.Exec(t, "INSERT INTO "+db+".t SELECT number, concat('row ', toString(number), '\\t\\n') FROM numbers(200000)")
	want := strings.TrimSpace(s.Exec(t, "SELECT count(), sum(n), sum(sipHash64(s)) FROM "+db+".t"))
	for _, format := range []string{
		"TabSeparated", "TabSeparatedWithNamesAndTypes", "CSV", "CSVWithNames", "JSONEachRow", "JSONCompactEachRow", "JSON", "JSONCompact", "Native", "RowBinary",
		"RowBinaryWithNamesAndTypes", "Values", "Parquet", "ArrowStream",
	} {
		resp, data, err := ask(t, s, s.Users.ReadOnly, url.Values{"database": {db}}.Encode(), "SELECT * FROM t ORDER BY n FORMAT "+format)
		if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("X-ClickHouse-Format") != format {
			t.Errorf("%s: %s %v %.200s", format, resp.Status, err, data)
			continue
		}
		s.Exec(t, "CREATE TABLE "+db+".u AS "+db+".t")
		resp, out, _ := ask(t, s, s.Users.Writer, url.Values{"database": {db}, "query": {"INSERT INTO u FORMAT " + format}}.Encode(), data)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: insert: %s %.200s", format, resp.Status, out)
		}
		if got := strings.TrimSpace(s.Exec(t, "SELECT count(), sum(n), sum(sipHash64(s)) FROM "+db+".u")); got != want {
			t.Errorf("%s: after the round trip %s, want %s", format, got, want)
		}
		s.Exec(t, "DROP TABLE "+db+".u SYNC")
	}
	_, data, _ := ask(t, s, s.Users.ReadOnly, "", "SELECT number % 3 AS k, count() FROM numbers(100000) GROUP BY k WITH TOTALS ORDER BY k FORMAT JSONCompact")
	if !strings.Contains(data, `"totals":`) || !strings.Contains(data, `"rows": 3`) {
		t.Errorf("WITH TOTALS: %s", data)
	}
}

// Where the statement and the data of an INSERT may be.
func TestInsertPlaces(t *testing.T) {
	db, s := storetest.Database(t)
	s.Exec(t, "CREATE TABLE "+db+".t (a UInt64, b String DEFAULT 'd') ENGINE = MergeTree ORDER BY a")
	f := func(query url.Values, body, want string) {
		t.Helper()
		s.Exec(t, "TRUNCATE TABLE "+db+".t")
		query.Set("database", db)
		resp, out, _ := ask(t, s, s.Users.Writer, query.Encode(), body)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%v %q: %s %s", query, body, resp.Status, out)
		}
		if !strings.Contains(resp.Header.Get("X-ClickHouse-Summary"), `"written_rows":"2"`) {
			t.Errorf("%v %q: summary %s", query, body, resp.Header.Get("X-ClickHouse-Summary"))
		}
		if got := s.Exec(t, "SELECT * FROM "+db+".t ORDER BY a FORMAT Values"); got != want {
			t.Errorf("%v %q: %s, want %s", query, body, got, want)
		}
	}
	f(url.Values{}, "INSERT INTO t VALUES (1, 'x'), (2, 'y')", "(1,'x'),(2,'y')")
	f(url.Values{"query": {"INSERT INTO t VALUES"}}, "(1, 'x'), (1 + 1, upper('y'))", "(1,'x'),(2,'Y')")
	f(url.Values{"query": {"INSERT INTO t (a) VALUES (1), (2)"}}, "", "(1,'d'),(2,'d')")
	f(url.Values{"query": {"INSERT INTO t FORMAT CSV"}}, "1,\"x\"\n2,y", "(1,'x'),(2,'y')")
	f(url.Values{"query": {"INSERT INTO t"}}, "FORMAT CSV\n1,x\n2,y\n", "(1,'x'),(2,'y')")
	f(url.Values{}, "INSERT INTO t FORMAT JSONEachRow\n{\"a\":1,\"b\":\"x\"}\n{\"a\":2}", "(1,'x'),(2,'d')")
	f(url.Values{}, "INSERT INTO t SELECT number + 1, 'x' FROM numbers(2)", "(1,'x'),(2,'x')")
	f(url.Values{"param_v": {"z"}}, "INSERT INTO t SELECT number + 1, {v:String} FROM numbers(2)", "(1,'z'),(2,'z')")
	f(url.Values{"async_insert": {"1"}, "query": {"INSERT INTO t FORMAT TSV"}}, "1\tx\n2\ty\n", "(1,'x'),(2,'y')")
}

// VALUES beyond the size of a statement are read as plain values: expressions there would be SQL that nobody looked at.
func TestInsertManyValues(t *testing.T) {
	db, s := storetest.Database(t)
	s.Exec(t, "CREATE TABLE "+db+".t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
	var rows strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&rows, ",(%d, 'row %d')", i, i)
	}
	values := rows.String()[1:]
	resp, out, _ := ask(t, s, s.Users.Writer, "", "INSERT INTO "+db+".t VALUES "+values)
	if resp.StatusCode != http.StatusOK {
		t.Errorf("%s %s", resp.Status, out)
	}
	if got := s.Exec(t, "SELECT count(), sum(a), uniqExact(b) FROM "+db+".t"); got != "100000\t4999950000\t100000\n" {
		t.Errorf("rows: %s", got)
	}
	resp, out, _ = ask(t, s, s.Users.Writer, "", "INSERT INTO "+db+".t VALUES "+values+",(1, file('/etc/hostname'))")
	if resp.StatusCode < 400 || !strings.Contains(out, "Code: ") {
		t.Errorf("an expression behind many rows: %s %s", resp.Status, out)
	}
	host, err := os.Hostname()
	if err == nil && s.Exec(t, "SELECT count() FROM "+db+".t WHERE b LIKE '"+host+"%'") != "0\n" {
		t.Error("the file is in the table")
	}
}

// A body larger than any buffer, compressed in each way, and the limits on it.
func TestRequestCompression(t *testing.T) {
	db, s := storetest.Database(t)
	var rows bytes.Buffer
	for i := range 300_000 {
		fmt.Fprintf(&rows, "%d\n", i)
	}
	gz := func(b []byte) string {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		_, _ = w.Write(b)
		_ = w.Close()
		return z.String()
	}
	s.Exec(t, "CREATE TABLE "+db+".t (a UInt64) ENGINE = MergeTree ORDER BY a")
	q := url.Values{"database": {db}, "query": {"INSERT INTO t FORMAT TSV"}}.Encode()
	if resp, out, _ := ask(t, s, s.Users.Writer, q, gz(rows.Bytes()), "Content-Encoding", "gzip"); resp.StatusCode != http.StatusOK {
		t.Errorf("gzip: %s %s", resp.Status, out)
	}
	if got := s.Exec(t, "SELECT count(), sum(a) FROM "+db+".t"); got != "300000\t44999850000\n" {
		t.Errorf("after gzip: %s", got)
	}
	for name, c := range map[string]struct {
		query, body, encoding string
		status                int
	}{
		"no gzip":          {q, "1\n", "gzip", http.StatusInternalServerError},
		"cut gzip":         {q, gz(rows.Bytes())[:1000], "gzip", http.StatusBadRequest},
		"unknown encoding": {q, "1\n", "xz", http.StatusNotImplemented},
		"no blocks":        {q + "&decompress=1", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n", "", http.StatusInternalServerError},
		"bomb":             {"", gz(bytes.Repeat([]byte(" "), 64<<20)), "gzip", http.StatusRequestEntityTooLarge},
	} {
		resp, out, _ := ask(t, s, s.Users.Writer, c.query, c.body, "Content-Encoding", c.encoding)
		if resp.StatusCode < 400 {
			t.Errorf("%s: %s %s", name, resp.Status, out)
		} else if resp.StatusCode != c.status {
			t.Errorf("%s: %s, want %d: %s", name, resp.Status, c.status, out)
		}
	}
	if got := s.Exec(t, "SELECT count() FROM "+db+".t"); got != "300000\n" {
		t.Errorf("broken bodies left %s rows", got)
	}
}

// curl as an operator uses it: basic authentication, parameters in the URL, compression, a failure in the stream.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		missing(t, "curl: not installed")
	}
	_, s := storetest.Database(t)
	run := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), curl, append([]string{"-sS", "--max-time", "30"}, args...)...).CombinedOutput()
		return string(out), err
	}
	base := "http://" + s.Addr + "/"
	ro := s.Users.ReadOnly.Name + ":" + s.Users.ReadOnly.Password
	f := func(want string, args ...string) {
		t.Helper()
		if got, err := run(args...); err != nil || !strings.Contains(got, want) {
			t.Errorf("curl %q: %v %.300s; want %q in it", args, err, got, want)
		}
	}
	f("Ok.", base)
	f("Ok.", base+"ping")
	f("There is no handle /replicas_status", base+"replicas_status")
	f("1\tx", "-u", ro, base, "-d", "SELECT 1, 'x'")
	f("3", "-u", ro, base+"?query=SELECT+%7Ba:UInt8%7D&param_a=3")
	f("4", base+"?user="+s.Users.ReadOnly.Name+"&password="+s.Users.ReadOnly.Password+"&query=SELECT+4")
	f("5", "-H", "X-ClickHouse-User: "+s.Users.ReadOnly.Name, "-H", "X-ClickHouse-Key: "+s.Users.ReadOnly.Password, base+"?query=SELECT+5")
	f("Code: 62. DB::Exception: Syntax error", "-u", ro, base, "-d", "SELEC 1")
	f("X-Clickhouse-Exception-Code: 60", "-i", "-u", ro, base, "-d", "SELECT * FROM nosuch")
	f("Content-Encoding: gzip", "-i", "--compressed", "-u", ro, base+"?enable_http_compression=1", "-d", "SELECT 1")
	f("499999500000", "--compressed", "-u", ro, base+"?enable_http_compression=1", "-d", "SELECT sum(number) FROM numbers(1000000)")
	f("Code: 164. DB::Exception: Cannot execute query in readonly mode", "-u", s.Users.Writer.Name+":"+s.Users.Writer.Password, base+"?query=CREATE+DATABASE+x")
	got, err := run("-u", ro, base+"?max_threads=1", "-d", "SELECT number, throwIf(number = 1500000) FROM numbers(3000000)")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 18 || !strings.Contains(got, "Code: 395. DB::Exception") || !strings.Contains(got, "\r\n__exception__\r\n") {
		t.Errorf("failure in the stream: %v %.100s; want exit code 18 (partial file) and the exception at the end", err, got[max(0, len(got)-500):])
	}
	// The same, waiting for the end: the status tells.
	f("HTTP/1.1 500", "-i", "-u", ro, base+"?max_threads=1&wait_end_of_query=1", "-d", "SELECT number, throwIf(number = 1500000) FROM numbers(3000000)")
	f("2999999", "-u", ro, base+"?wait_end_of_query=1", "-d", "SELECT number FROM numbers(3000000)")
}

// missing skips a test for want of a program, or fails it where everything has to be there.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// The client for Node, by its lock file. What it does is in testdata/nodeclient/client.mjs.
func TestNodeClient(t *testing.T) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, program+": not installed")
		}
	}
	_, s := storetest.Database(t)
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc", "client.mjs"} {
		b, err := os.ReadFile(filepath.Join("testdata/nodeclient", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	node := exec.CommandContext(ctx, "node", "client.mjs")
	node.Dir = dir
	node.Env = append(os.Environ(), "WEIR_URL=http://"+s.Addr, "WEIR_USER="+s.Users.Writer.Name, "WEIR_PASSWORD="+s.Users.Writer.Password,
		"WEIR_RO_USER="+s.Users.ReadOnly.Name, "WEIR_RO_PASSWORD="+s.Users.ReadOnly.Password)
	out, err := node.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "all good") {
		t.Errorf("node client.mjs: %v\n%s", err, out)
	}
	wantIdle(t, s)
}
