package chdb_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/store/embedded"
	"github.com/weirhq/weir/store/embedded/chdb"
)

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.so")
	if err := os.WriteFile(text, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "missing.so"), dir, text, "libc.so.6"} {
		if _, err := chdb.Open(path); err == nil || !strings.Contains(err.Error(), `load libchdb "`+path+`"`) {
			t.Errorf("Open(%q) = %v, want an error that names it", path, err)
		}
	}
	// A library that is not this one.
	for _, path := range []string{"/lib/x86_64-linux-gnu/libm.so.6", "/lib64/libm.so.6"} {
		if _, err := os.Stat(path); err == nil {
			if _, err := chdb.Open(path); err == nil || !strings.Contains(err.Error(), "chdb_version") {
				t.Errorf("Open(%q) = %v, want the missing symbol", path, err)
			}
		}
	}
}

// One engine in a process: one test for all of the binding.
func TestEngine(t *testing.T) {
	path, err := embedded.FindLibrary("")
	if err != nil {
		if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	lib, err := chdb.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lib.Connect("--path=\x00"); err == nil {
		t.Error("an argument with a zero byte is taken")
	}
	data := "--path=" + t.TempDir()
	hold, err := lib.Connect(data)
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	if _, err := lib.Connect("--path=" + t.TempDir()); err == nil {
		t.Error("a second path is taken")
	}
	t.Run("go keeps its signals", func(t *testing.T) {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		var none map[string]*chdb.Error
		none["x"].Code = 1 // a nil pointer: SIGSEGV, of which Go makes a panic
	})
	connect := func(t *testing.T) *chdb.Conn {
		t.Helper()
		c, err := lib.Connect(data)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	query := func(t *testing.T, c *chdb.Conn, sql string, params ...chdb.Param) string {
		t.Helper()
		r, err := c.Query(sql, "TSV", params)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			return ""
		}
		defer r.Free()
		return string(r.Bytes())
	}
	t.Run("query", func(t *testing.T) {
		c := connect(t)
		r, err := c.Query("SELECT number FROM numbers(3)", "CSV", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(r.Bytes()); got != "0\n1\n2\n" {
			t.Errorf("got %q", got)
		}
		if st := r.Stats(); st.ResultRows != 3 || st.ReadRows != 3 || st.Seconds <= 0 {
			t.Errorf("stats %+v", st)
		}
		r.Free()
		r.Free()
		if got := query(t, c, "SELECT {a:UInt8} + {b:UInt8}, {s:String}, {e:String}, isNull({n:Nullable(String)})", chdb.Param{"b", "2"}, chdb.Param{"a", "1"}, chdb.Param{"s", `a\\b'\n`}, chdb.Param{"e", ""}, chdb.Param{"n", `\N`}); got != `3	a\\b\'\n		1`+"\n" {
			t.Errorf("parameters: %q", got)
		}
		if got := query(t, c, "SELECT 1 WHERE 0"); got != "" {
			t.Errorf("nothing: %q", got)
		}
	})
	t.Run("error", func(t *testing.T) {
		c := connect(t)
		_, err := c.Query("SELECT * FROM nosuch", "TSV", nil)
		var e *chdb.Error
		if !errors.As(err, &e) || e.Code != 60 || e.Name != "UNKNOWN_TABLE" || !strings.HasPrefix(e.Error(), "Code: 60. DB::Exception: Unknown table") || strings.Contains(e.Message, "(UNKNOWN_TABLE)") {
			t.Errorf("got %#v", err)
		}
		if err := c.Exec("SET readonly = 1"); err != nil {
			t.Error(err)
		}
		if err := c.Exec("SELECT 1 SETTINGS max_threads = 1"); !errors.As(err, &e) || e.Code != 164 || strings.Contains(e.Message, "version") {
			t.Errorf("got %#v", err)
		}
	})
	t.Run("stream", func(t *testing.T) {
		c := connect(t)
		s, err := c.Stream("SELECT number FROM numbers({n:UInt64})", "Native", []chdb.Param{{"n", "1000000"}})
		if err != nil {
			t.Fatal(err)
		}
		var rows, blocks uint64
		for {
			r, err := s.Next()
			if err != nil {
				t.Fatal(err)
			}
			if r == nil {
				break
			}
			rows, blocks = rows+r.Stats().ResultRows, blocks+1
			r.Free()
		}
		s.Close()
		s.Close()
		if rows != 1_000_000 || blocks < 2 {
			t.Errorf("%d rows in %d blocks", rows, blocks)
		}
		s, err = c.Stream("SELECT number, throwIf(number = 1500000) FROM numbers(3000000)", "Native", nil)
		var e *chdb.Error
		for err == nil {
			var r *chdb.Result
			if r, err = s.Next(); r == nil {
				break
			}
			r.Free()
		}
		if !errors.As(err, &e) || e.Code != 395 {
			t.Errorf("failure in the stream: %v", err)
		}
		s.Close()
		// One that is given up, and the connection is good for the next.
		if s, err = c.Stream("SELECT number FROM system.numbers", "Native", nil); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Next(); err != nil || r == nil {
			t.Errorf("endless: %v", err)
		} else {
			r.Free()
		}
		s.Close()
		if got := query(t, c, "SELECT 7"); got != "7\n" {
			t.Errorf("after a stream that was given up: %q", got)
		}
		if _, err := c.Stream("SHOW TABLES", "TSV", nil); err == nil {
			t.Error("SHOW can be streamed now: simplify the server")
		}
	})
	t.Run("insert", func(t *testing.T) {
		c := connect(t)
		if err := c.Exec("CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a"); err != nil {
			t.Fatal(err)
		}
		in, err := c.Insert("INSERT INTO t (a, s)", "TSV", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, piece := range []string{"1\tx\n2", "\ty\n", "", "3\tz\n"} {
			if err := in.Append([]byte(piece)); err != nil {
				t.Fatal(err)
			}
		}
		if st, err := in.Done(); err != nil || st.WrittenRows != 3 {
			t.Errorf("done: %+v, %v", st, err)
		}
		in.Close()
		in.Close()
		for _, bad := range []string{"x\ty\n", "1"} {
			in, err := c.Insert("INSERT INTO t (a, s)", "TSV", nil)
			if err != nil {
				t.Fatal(err)
			}
			err = in.Append([]byte(bad))
			if err == nil {
				_, err = in.Done()
			}
			var e *chdb.Error
			if !errors.As(err, &e) || e.Code == 0 {
				t.Errorf("data %q: %v, want an exception", bad, err)
			}
			in.Close()
		}
		// Given up: nothing of it stays.
		if in, err = c.Insert("INSERT INTO t", "TSV", nil); err != nil {
			t.Fatal(err)
		}
		if err := in.Append([]byte("9\tq\n")); err != nil {
			t.Error(err)
		}
		in.Close()
		if got := query(t, c, "SELECT groupArray(a) FROM (SELECT a FROM t ORDER BY a)"); got != "[1,2,3]\n" {
			t.Errorf("rows: %q", got)
		}
		if _, err := c.Insert("INSERT INTO nosuch", "TSV", nil); err == nil {
			t.Error("an insert into nothing is begun")
		}
		var e *chdb.Error
		if _, err := c.Insert("INSERT INTO nosuch", "TSV", nil); !errors.As(err, &e) || e.Code != 60 {
			t.Errorf("insert into nothing: %v", err)
		}
	})
	t.Run("classify", func(t *testing.T) {
		c := connect(t)
		for sql, want := range map[string]chdb.Analysis{
			"SELECT 1":                      {Statements: 1, Class: chdb.ClassReadOnly},
			"SELECT 1; DROP TABLE t":        {Statements: 2, Class: chdb.ClassMutating},
			"CREATE FUNCTION f AS x->x":     {Statements: 1, Class: chdb.ClassMutatingGlobal},
			"SET max_threads = 1":           {Statements: 1, Class: chdb.ClassControl},
			"SELECT FROM FROM":              {Class: chdb.ClassUnknown},
			"":                              {Class: chdb.ClassUnknown},
			"SHOW TABLES":                   {Statements: 1, Class: chdb.ClassReadOnly},
			"INSERT INTO t VALUES (1, 'x')": {Statements: 1, Class: chdb.ClassMutating},
		} {
			if got, err := c.Classify(sql); err != nil || !cmp.Equal(got, want) {
				t.Errorf("Classify(%q) = %+v, %v; want %+v", sql, got, err, want)
			}
		}
	})
	t.Run("kill", func(t *testing.T) {
		c := connect(t)
		if err := c.Exec("SET log_comment = 'victim'"); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- c.Exec("SELECT max(sipHash64(number)) FROM numbers(1000000000000)") }()
		deadline := time.Now().Add(2 * time.Minute)
		for {
			if err := hold.Exec("KILL QUERY WHERE Settings['log_comment'] = 'victim' ASYNC"); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				var e *chdb.Error
				if !errors.As(err, &e) || e.Code != 394 {
					t.Errorf("killed: %v", err)
				}
				return
			case <-time.After(20 * time.Millisecond):
			}
			if time.Now().After(deadline) {
				t.Fatal("it does not die")
			}
		}
	})
	t.Run("backup", func(t *testing.T) {
		c := connect(t)
		err := c.Backup("default", filepath.Join(t.TempDir(), "b.zip"), "")
		if _, ok := errors.AsType[*chdb.Error](err); !ok {
			t.Errorf("Backup without an allowed path: %v, want the engine's refusal", err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		c := connect(t)
		c.Close()
		if _, err := c.Query("SELECT 1", "TSV", nil); err == nil {
			t.Error("a closed connection answers")
		}
		if _, err := c.Classify("SELECT 1"); err == nil {
			t.Error("a closed connection classifies")
		}
	})
}
