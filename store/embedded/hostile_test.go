package embedded_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/store/embedded"
	"github.com/weirhq/weir/store/storetest"
)

// wantAlive checks that the store answers and is the process that it was.
func wantAlive(t testing.TB, s *storetest.Server, pid int) {
	t.Helper()
	if got := s.Exec(t, "SELECT 42"); got != "42\n" {
		t.Errorf("the store answers %q", got)
	}
	if s.PID() != pid || s.Restarts() != 0 {
		t.Errorf("the store is another process now; it said: %s", s.Stderr())
	}
}

// Statements that reach out of the store, of both users, and those that change something, of the read-only user.
func TestHostileStatements(t *testing.T) {
	db, s := storetest.Database(t)
	pid := s.PID()
	s.Exec(t, "CREATE TABLE "+db+".t (a UInt64) ENGINE = MergeTree ORDER BY a")
	s.Exec(t, "INSERT INTO "+db+".t VALUES (1)")
	query := url.Values{"database": {db}}.Encode()
	out := filepath.Join(t.TempDir(), "out-") // what a statement would write begins with OUT here
	try := func(u embedded.Credentials, query, sql string, codes ...string) {
		t.Helper()
		query, sql = strings.ReplaceAll(query, "OUT-", out), strings.ReplaceAll(sql, "OUT-", out)
		resp, body, _ := ask(t, s, u, query, sql)
		code := resp.Header.Get("X-ClickHouse-Exception-Code")
		for _, want := range codes {
			if code == want && resp.StatusCode >= 400 && strings.HasPrefix(body, "Code: "+code+". DB::Exception: ") {
				return
			}
		}
		t.Errorf("%s: %s: %s, code %q: %.300s; want a refusal with code %v", u.Name, sql, resp.Status, code, body, codes)
	}
	for _, u := range []embedded.Credentials{s.Users.Writer, s.Users.ReadOnly} {
		for _, sql := range []string{
			"SELECT file('/etc/hostname')",
			"SELECT `file`('/etc/hostname')",
			"SELECT * APPLY(file) FROM (SELECT '/etc/hostname')",
			"SELECT * FROM file('/etc/hostname', 'TSV', 'a String')",
			"SELECT * FROM '/etc/hostname'",
			"SELECT * FROM `/etc/hostname`",
			"SELECT * FROM default.`/etc/hostname`",
			"SELECT * FROM {t:Identifier}",
			"DESCRIBE file('/etc/hostname')",
			"DESCRIBE TABLE default.`/etc/hostname`",
			"SELECT * FROM url('http://127.0.0.1:1/', 'TSV', 'a String')",
			"DESCRIBE url('http://127.0.0.1:1/')",
			"SELECT * FROM s3('https://bucket.s3.amazonaws.com/x', 'TSV', 'a String')",
			"SELECT * FROM remote('127.0.0.1:1', system.one)",
			"SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
			"SELECT * FROM executable('id', TSV, 'a String')",
			"SELECT * FROM sqlite('/etc/hostname', 'y')",
			"SELECT 1 INTO OUTFILE 'OUT-outfile'",
			"EXPLAIN SELECT * FROM file('/etc/hostname')",
			"WITH x AS (SELECT file('/etc/hostname')) SELECT * FROM x",
		} {
			try(u, query+"&"+url.Values{"param_t": {"/etc/hostname"}}.Encode(), sql, "497", "358", "60")
		}
	}
	// Commands that the client part of the engine takes from a terminal.
	for _, sql := range []string{"exit", "quit", "logout", ":q", `\q`, `\i /etc/hostname`, "-- x\n\\i /etc/hostname", "?? hello", `\l`, "help", "EXIT;", "COPY t TO 'OUT-copy'", "йгеше"} {
		for _, u := range []embedded.Credentials{s.Users.Writer, s.Users.ReadOnly} {
			try(u, query, sql, "62")
		}
	}
	for _, sql := range []string{"SELECT 1\n\\i /etc/hostname", "SELECT 1; \\i /etc/hostname", "SELECT 1; exit", "SELECT 1;\n?? hello", "DROP TABLE t; nonsense"} {
		try(s.Users.Writer, query, sql, "62")
		try(s.Users.ReadOnly, query, sql, "62")
	}
	// Formats and settings that read or write files.
	for _, u := range []embedded.Credentials{s.Users.Writer, s.Users.ReadOnly} {
		try(u, "format_template_resultset=/etc/hostname", "SELECT 1 FORMAT Template", "497")
		try(u, "default_format=Template", "SELECT 1", "497")
		try(u, "", "SELECT 1 FORMAT Template SETTINGS format_template_row = '/etc/hostname'", "497")
		try(u, "output_format_schema=OUT-schema", "SELECT 1 AS a FORMAT Protobuf", "497")
		try(u, "output_format_schema=OUT-schema", "SELECT 1 AS a", "497")
		try(u, "additional_result_filter="+url.QueryEscape("file('/etc/hostname') = ''"), "SELECT 1 AS a", "497")
		try(u, "dialect=kusto", "SELECT 1", "497")
	}
	for _, sql := range []string{
		"CREATE DICTIONARY x (a String, b String) PRIMARY KEY a SOURCE(CLICKHOUSE(QUERY 'SELECT file(''/etc/hostname'') AS a, 1 AS b')) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)",
		"CREATE TABLE x (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = web, endpoint = 'http://127.0.0.1:1/')",
		"INSERT INTO t SETTINGS input_format_record_errors_file_path = 'OUT-errors' FORMAT CSV\n1",
		"CREATE TABLE x (a String) ENGINE = File(TSV, '/etc/hostname')",
		"CREATE TABLE x (a String) ENGINE = URL('http://127.0.0.1:1/', TSV)",
		"CREATE TABLE x AS file('/etc/hostname')",
		"CREATE DATABASE x ENGINE = Filesystem('/etc')",
		"CREATE DICTIONARY x (a UInt64) PRIMARY KEY a SOURCE(EXECUTABLE(COMMAND 'id' FORMAT TSV)) LAYOUT(FLAT()) LIFETIME(0)",
		"CREATE FUNCTION x AS (p) -> file(p)",
		"INSERT INTO FUNCTION file('OUT-file', 'CSV', 'a Int8') VALUES (1)",
		"INSERT INTO t FROM INFILE '/etc/hostname' FORMAT CSV",
		"INSERT INTO t VALUES (length(file('/etc/hostname')))",
		"BACKUP TABLE t TO File('OUT-backup')",
		"ATTACH TABLE x FROM '/etc' (a Int8) ENGINE = MergeTree ORDER BY a",
		"SYSTEM SHUTDOWN",
		"SYSTEM KILL",
		"CREATE USER x",
		"SELECT addressToLine(1)",
		"CREATE TABLE x (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = 'OUT-disk/')",
	} {
		try(s.Users.Writer, query, sql, "497", "36", "514", "446")
	}
	for _, sql := range []string{
		"CREATE TABLE x (a UInt8) ENGINE = Memory", "CREATE TEMPORARY TABLE x (a UInt8)", "DROP TABLE t", "TRUNCATE TABLE t", "ALTER TABLE t DELETE WHERE 1",
		"INSERT INTO t VALUES (1)", "INSERT INTO t SELECT 1", "OPTIMIZE TABLE t", "SYSTEM FLUSH LOGS", "SYSTEM RELOAD DICTIONARIES", "KILL QUERY WHERE 1",
		"RENAME TABLE t TO u", "USE default", "SET readonly = 0", "SET max_memory_usage = 0", "SELECT 1 SETTINGS readonly = 0", "SELECT 1 SETTINGS max_execution_time = 0",
		"SELECT * FROM t SETTINGS allow_introspection_functions = 1", "CREATE VIEW v AS SELECT 1", "DETACH TABLE t", "EXCHANGE TABLES t AND u", "DELETE FROM t WHERE 1",
		"GRANT ALL ON *.* TO default",
	} {
		try(s.Users.ReadOnly, query, sql, "164")
	}
	try(s.Users.ReadOnly, query+"&max_network_bandwidth=1", "SELECT 1", "164")
	try(s.Users.ReadOnly, query+"&allow_introspection_functions=1", "SELECT 1", "164")
	try(s.Users.ReadOnly, query+"&promql_database=x", "SELECT 1", "497")
	try(s.Users.Writer, query+"&session_id=x", "SELECT 1", "48")
	try(s.Users.Writer, query, "SELECT 1; DROP TABLE t", "62")
	try(s.Users.ReadOnly, query, "SELECT 1; DROP TABLE t", "62")
	try(s.Users.ReadOnly, query, "SELECT 1 PARALLEL WITH DROP TABLE t", "62", "164")
	try(s.Users.ReadOnly, "database=nosuch", "SELECT 1", "81")
	try(s.Users.ReadOnly, "database=a%60%3B%20DROP", "SELECT 1", "81")
	// The limits hold: memory, time, result.
	try(s.Users.ReadOnly, query+"&max_memory_usage=20000000", "SELECT groupArray(number) FROM numbers(100000000)", "241")
	try(s.Users.ReadOnly, query+"&max_execution_time=1", "SELECT max(sipHash64(number)) FROM numbers(1000000000000)", "159")
	try(s.Users.ReadOnly, query+"&max_result_bytes=1000&result_overflow_mode=throw", "SELECT number FROM numbers(1000000)", "396", "307")
	if got := s.Exec(t, "SELECT count() FROM "+db+".t"); got != "1\n" {
		t.Errorf("rows of t: %s", got)
	}
	if found, _ := filepath.Glob(out + "*"); len(found) > 0 {
		t.Errorf("files were written: %q", found)
	}
	wantAlive(t, s, pid)
}

// What a user may give itself is clamped; it cannot be told otherwise.
func TestClampedSettings(t *testing.T) {
	_, s := storetest.Database(t)
	lim := embedded.Default().ReadOnly
	resp, body, _ := ask(t, s, s.Users.ReadOnly, "max_execution_time=0&max_memory_usage=999999999999&max_threads=1",
		"SELECT getSetting('max_execution_time')::String, getSetting('max_memory_usage'), getSetting('max_threads'), getSetting('readonly')")
	want := fmt.Sprintf("%d\t%d\t1\t1\n", int(lim.ExecutionTime/time.Second), int64(lim.Memory))
	if resp.StatusCode != http.StatusOK || body != want {
		t.Errorf("%s %q, want %q", resp.Status, body, want)
	}
}

func TestAuthentication(t *testing.T) {
	s := storetest.ClickHouse(t)
	pid := s.PID()
	f := func(u embedded.Credentials, query string, status int, code string, headers ...string) {
		t.Helper()
		resp, body, _ := ask(t, s, u, query, "SELECT 1", headers...)
		if resp.StatusCode != status || resp.Header.Get("X-ClickHouse-Exception-Code") != code || strings.Contains(body, s.Users.Writer.Password) {
			t.Errorf("%v %q %q: %s, code %s: %s; want %d, code %s", u, query, headers, resp.Status, resp.Header.Get("X-ClickHouse-Exception-Code"), body, status, code)
		}
	}
	none := embedded.Credentials{}
	f(none, "", 401, "194")
	f(none, "user=default", 403, "516")
	f(embedded.Credentials{Name: "default"}, "", 403, "516")
	f(embedded.Credentials{Name: s.Users.Writer.Name, Password: s.Users.ReadOnly.Password}, "", 403, "516")
	f(none, "", 403, "516", "Authorization", "Bearer abc")
	f(none, "", 403, "516", "Authorization", "Basic !!!")
	f(s.Users.Writer, "user=weir&password=x", 403, "516")
	f(s.Users.Writer, "", 200, "")
	for range 2 * embedded.ThrottleFailures {
		f(embedded.Credentials{Name: "weir", Password: "guess"}, "", 403, "516")
	}
	resp, body, _ := ask(t, s, s.Users.Writer, "", "SELECT 1")
	if resp.StatusCode != http.StatusForbidden || resp.Header.Get("Retry-After") == "" || !strings.Contains(body, "too many wrong passwords") {
		t.Errorf("after %d guesses: %s %s", 2*embedded.ThrottleFailures, resp.Status, body)
	}
	if s.PID() != pid {
		t.Error("the store is another process now")
	}
}

func TestOversized(t *testing.T) {
	_, s := storetest.Database(t)
	pid := s.PID()
	ro := s.Users.ReadOnly
	big := strings.Repeat(" ", 300<<10)
	status := func(want int, query, body string, headers ...string) {
		t.Helper()
		if resp, out, _ := ask(t, s, ro, query, body, headers...); resp.StatusCode != want {
			t.Errorf("%s %.100s, want %d", resp.Status, out, want)
		}
	}
	status(http.StatusRequestEntityTooLarge, "", "SELECT 1"+big)
	status(http.StatusRequestEntityTooLarge, "", strings.Repeat("x", 2<<20))
	status(http.StatusRequestHeaderFieldsTooLarge, "query="+strings.Repeat("x", 400<<10), "")
	status(http.StatusRequestHeaderFieldsTooLarge, "", "SELECT 1", "X-Big", strings.Repeat("x", 400<<10))
	// A body without a length.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL(ro).String(), io.MultiReader(strings.NewReader("SELECT 1 -- "), bytes.NewReader(make([]byte, 4<<20))))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil { // the store may close before all is sent
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("chunked: %s", resp.Status)
		}
	}
	// A block that claims 4 GB.
	status(http.StatusInternalServerError, "decompress=1", strings.Repeat("\xff", 30))
	// An expression as deep as the text allows.
	status(http.StatusInternalServerError, "", "SELECT "+strings.Repeat("(", 100_000)+"1"+strings.Repeat(")", 100_000))
	wantAlive(t, s, pid)
}

// Clients that send or take next to nothing are cut off, and the statement with them.
func TestSlowClients(t *testing.T) {
	s := storetest.ClickHouse(t, "-header-timeout", "1s", "-stall-timeout", "1s")
	pid := s.PID()
	login := "Authorization: Basic " + basic(s.Users.Writer) + "\r\n"
	dial := func() net.Conn {
		c, err := net.Dial("tcp", s.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(5 * time.Minute)) // wantIdle is waited for, too
		return c
	}
	// closed reads until the store closes the connection.
	closed := func(what string, c net.Conn) string {
		began := time.Now()
		b, err := io.ReadAll(c)
		if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // net wraps nothing here
			t.Errorf("%s: not cut off within %s", what, time.Since(began))
		}
		return string(b)
	}
	c := dial()
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	closed("header", c)

	c = dial()
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\n%sContent-Length: 1000\r\n\r\nSELECT ", login)
	if got := closed("body of a SELECT", c); !strings.Contains(got, "Code: 209.") {
		t.Errorf("slow body of a SELECT: %q, want SOCKET_TIMEOUT", got)
	}
	s.Exec(t, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
	c = dial()
	send(t, c, "POST /?query=INSERT+INTO+t+FORMAT+TSV HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\n2\r\n1\n\r\n", login)
	if got := closed("body of an INSERT", c); !strings.Contains(got, "Code: 209.") {
		t.Errorf("slow body of an INSERT: %q, want SOCKET_TIMEOUT", got)
	}
	if got := s.Exec(t, "SELECT count() FROM t"); got != "0\n" {
		t.Errorf("an INSERT whose body did not end left %s rows", got)
	}

	// Takes the header of an endless answer, then nothing.
	c = dial()
	send(t, c, "POST / HTTP/1.1\r\nHost: x\r\n%sContent-Length: 33\r\n\r\nSELECT number FROM system.numbers", login)
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Errorf("answer: %q, %v", line, err)
	}
	wantIdle(t, s)
	closed("reader", c)
	wantAlive(t, s, pid)
}

func send(t testing.TB, c net.Conn, format string, args ...any) {
	t.Helper()
	if _, err := fmt.Fprintf(c, format, args...); err != nil {
		t.Fatal(err)
	}
}

func basic(u embedded.Credentials) string {
	r, _ := http.NewRequest(http.MethodGet, "/", nil)
	r.SetBasicAuth(u.Name, u.Password)
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Basic ")
}

// Things that are no HTTP, or not this HTTP.
func TestHostileRequests(t *testing.T) {
	_, s := storetest.Database(t)
	pid := s.PID()
	login := "Authorization: Basic " + basic(s.Users.ReadOnly) + "\r\n"
	for _, raw := range []string{
		"\x00\x01\x02\x03", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // TLS
		"\x00\x11ClickHouse client",                    // native protocol
		"POST / HTTP/1.1\r\nHost: x\r\n" + login + "Content-Length: -1\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\n" + login + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
		"GET /?query=SELECT%201&query_id=%0d%0aX-Evil:%201 HTTP/1.1\r\nHost: x\r\n" + login + "\r\n",
		"GET /?query=SELECT%201&%zz HTTP/1.1\r\nHost: x\r\n" + login + "\r\n",
		"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n",
		"DELETE / HTTP/1.1\r\nHost: x\r\n" + login + "\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\n" + login + "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 3\r\n\r\n--x",
		"POST / HTTP/1.1\r\nHost: x\r\n" + login + "Content-Length: 10\r\nExpect: 100-continue\r\n\r\nSELECT \x00\xff\xfe",
	} {
		c, err := net.Dial("tcp", s.Addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
		_, _ = io.WriteString(c, raw)
		_ = c.(*net.TCPConn).CloseWrite()
		b, err := io.ReadAll(c)
		c.Close()
		if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // net wraps nothing here
			t.Errorf("%q: no end of the answer", raw)
		}
		if strings.HasPrefix(string(b), "HTTP/1.1 200") || strings.Contains(string(b), "\r\nX-Evil") || strings.Contains(string(b), "\x1b") || strings.Contains(string(b), "root:") {
			t.Errorf("%q: %.300q", raw, b)
		}
	}
	wantAlive(t, s, pid)
}

// More statements than a user may run at once: one more is refused, other users are not, and all is well afterwards.
func TestTooManyStatements(t *testing.T) {
	_, s := storetest.Database(t)
	pid := s.PID()
	limit := embedded.Default().ReadOnly.Queries
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for range limit {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Addr+"/?max_threads=1&max_block_size=1", strings.NewReader("SELECT sleep(1) FROM numbers(1000)"))
			if err != nil {
				t.Error(err)
				return
			}
			req.SetBasicAuth(s.Users.ReadOnly.Name, s.Users.ReadOnly.Password)
			resp, err := http.DefaultClient.Do(req)
			if err == nil {
				if code := resp.Header.Get("X-ClickHouse-Exception-Code"); code != "" {
					t.Errorf("one of the first %d: code %s", limit, code)
				}
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("a statement of many seconds ended: %v", err)
			}
		})
	}
	waitFor(t, "all to run", func() bool {
		return strings.TrimSpace(s.Exec(t, "SELECT count() FROM system.processes WHERE query LIKE '%sleep%' AND query NOT LIKE '%processes%'")) == fmt.Sprint(limit)
	})
	for range 20 {
		if resp, body, _ := ask(t, s, s.Users.ReadOnly, "", "SELECT 1"); resp.Header.Get("X-ClickHouse-Exception-Code") != "202" {
			t.Errorf("one more than %d: %s %s", limit, resp.Status, body)
		}
	}
	cancel()
	wg.Wait()
	wantIdle(t, s)
	if resp, body, _ := ask(t, s, s.Users.ReadOnly, "", "SELECT 1"); body != "1\n" {
		t.Errorf("when all have gone: %s %s", resp.Status, body)
	}
	wantAlive(t, s, pid)
}
