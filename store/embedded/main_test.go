package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/store/embedded"
	"github.com/weirhq/weir/store/storetest"
)

// TestMain lets a test start this binary as the parent of a store: WEIR_TEST_PARENT is the store's program and its data directory.
func TestMain(m *testing.M) {
	if v := os.Getenv("WEIR_TEST_PARENT"); v != "" {
		if err := parent(strings.Split(v, "\n")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// parent supervises a store, says its pid and address, and waits to be killed.
func parent(v []string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	sup, err := embedded.NewSupervisor(embedded.SupervisorConfig{Path: v[0], Args: []string{"-data", v[1]}}, embedded.SupervisorDeps{Log: slog.Default(), Listener: l})
	if err != nil {
		return err
	}
	go func() {
		<-sup.Ready()
		fmt.Println(sup.PID(), sup.Addr())
	}()
	return sup.Run(context.Background())
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// The parent is killed: the store ends, and the data are free for the next.
func TestParentKilled(t *testing.T) {
	bin, data := storetest.Binary(t), t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "WEIR_TEST_PARENT="+bin+"\n"+data)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var addr string
	if _, err := fmt.Fscan(out, &pid, &addr); err != nil {
		t.Fatalf("the parent says nothing: %v", err)
	}
	pgid, err := syscall.Getpgid(pid)
	if err != nil || pgid != pid {
		t.Errorf("process group of the store is %d, %v; want its own, so that Ctrl-C does not reach it", pgid, err)
	}
	users, err := embedded.ReadUsers(data)
	if err != nil {
		t.Fatal(err)
	}
	// It has work to do when it happens.
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr, strings.NewReader("SELECT max(sipHash64(number)) FROM numbers(1000000000000)"))
	req.SetBasicAuth(users.ReadOnly.Name, users.ReadOnly.Password)
	go func() {
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	waitFor(t, "the store to end", func() bool { return !alive(pid) })
	s := storetest.Open(t, data)
	if got := s.Exec(t, "SELECT 1"); got != "1\n" {
		t.Errorf("the next store on the data: %q", got)
	}
}

// The store is killed while clients insert: it comes back at the same address, what it acknowledged is there, and no insert is there in part.
func TestStoreKilledMidInsert(t *testing.T) {
	s := storetest.ClickHouse(t)
	s.Exec(t, "CREATE TABLE t (batch UInt64, n UInt64) ENGINE = MergeTree ORDER BY (batch, n)")
	const rows = 20_000
	var acknowledged sync.Map
	var next, done atomic.Uint64
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				b := next.Add(1)
				var body bytes.Buffer
				for n := range rows {
					fmt.Fprintf(&body, "%d\t%d\n", b, n)
				}
				req, _ := http.NewRequestWithContext(ctx, http.MethodPost, s.URL(s.Users.Writer).String()+"?query=INSERT+INTO+t+FORMAT+TSV", &body)
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					continue
				}
				resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					acknowledged.Store(b, true)
					done.Add(1)
				}
			}
		})
	}
	for kill := range 3 {
		target := done.Load() + 5
		waitFor(t, "inserts", func() bool { return done.Load() >= target })
		pid := s.PID()
		_ = syscall.Kill(pid, syscall.SIGKILL)
		waitFor(t, "the next store", func() bool { return s.PID() != 0 && s.PID() != pid && s.Restarts() == kill+1 })
		if got := s.Exec(t, "SELECT 1"); got != "1\n" {
			t.Errorf("after kill %d: %q", kill, got)
		}
	}
	cancel()
	wg.Wait()
	whole := map[uint64]bool{}
	for line := range strings.Lines(s.Exec(t, "SELECT batch, count(), uniqExact(n) FROM t GROUP BY batch")) {
		var batch, count, distinct uint64
		if _, err := fmt.Sscan(line, &batch, &count, &distinct); err != nil {
			t.Fatal(err)
		}
		if count != rows || distinct != rows {
			t.Errorf("batch %d has %d rows, %d of them different; want %d", batch, count, distinct, rows)
		}
		whole[batch] = true
	}
	acknowledged.Range(func(b, _ any) bool {
		if !whole[b.(uint64)] {
			t.Errorf("batch %d was acknowledged and is not there", b)
		}
		return true
	})
	t.Logf("%d batches of %d rows sent, %d acknowledged, %d there, 3 kills", next.Load(), rows, done.Load(), len(whole))
	if got := s.Exec(t, "CHECK TABLE t SETTINGS check_query_single_value_result = 1"); got != "1\n" {
		t.Errorf("CHECK TABLE: %q", got)
	}
}

// A file that cannot be written, by an insert or by a merge: nothing incomplete comes into use, nothing whole is lost. The engine by itself
// takes no notice of such writes (package chdb). A limit on the size of files stands for a full disk, for it needs no disk.
func TestWriteFails(t *testing.T) {
	s := storetest.ClickHouse(t)
	s.Exec(t, "CREATE TABLE t (batch UInt8, x String) ENGINE = MergeTree ORDER BY (batch, x)")
	s.Exec(t, "SYSTEM STOP MERGES t")
	insert := func(batch int) string {
		return fmt.Sprintf("INSERT INTO t SELECT %d, randomPrintableASCII(100) FROM numbers(5000) SETTINGS max_block_size = 5000", batch)
	}
	s.Exec(t, insert(1))
	s.Exec(t, insert(2))
	for restarts, statement := range []string{insert(3), "OPTIMIZE TABLE t FINAL"} {
		pid := s.PID()
		// Either insert is of one file of half a megabyte: it could be written before.
		limit := unix.Rlimit{Cur: 300 << 10, Max: unix.RLIM_INFINITY}
		if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post(s.URL(s.Users.Writer).String(), "text/plain", strings.NewReader(statement))
		if err == nil {
			resp.Body.Close()
			t.Errorf("%s: %s", statement, resp.Status)
		}
		waitFor(t, "the next store", func() bool { return s.PID() != 0 && s.PID() != pid && s.Restarts() == restarts+1 })
		if got := s.Exec(t, "SELECT batch, count() FROM t GROUP BY batch ORDER BY batch"); got != "1\t5000\n2\t5000\n" {
			t.Errorf("after %s:\n%s", statement, got)
		}
		if got := s.Exec(t, "CHECK TABLE t SETTINGS check_query_single_value_result = 1"); got != "1\n" {
			t.Errorf("after %s: CHECK TABLE: %s", statement, got)
		}
		if want := "file too large: the store ends"; !strings.Contains(s.Stderr(), want) {
			t.Errorf("the store said, without %q: %s", want, s.Stderr())
		}
	}
}

// Tables in default, views and dictionaries survive a restart; users stay the same.
func TestRestart(t *testing.T) {
	data := t.TempDir()
	s := storetest.Open(t, data)
	s.Exec(t, "CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
	s.Exec(t, "INSERT INTO t VALUES (1, 'x'), (2, 'y')")
	s.Exec(t, "CREATE VIEW v AS SELECT max(a) AS m FROM t")
	s.Exec(t, "CREATE DICTIONARY d (a UInt64, b String) PRIMARY KEY a SOURCE(CLICKHOUSE(TABLE 't' DB 'default')) LAYOUT(HASHED()) LIFETIME(0)")
	s.Exec(t, "CREATE DATABASE other")
	s.Exec(t, "CREATE TABLE other.t (a UInt64) ENGINE = ReplacingMergeTree ORDER BY a")
	f := func(s *storetest.Server) {
		t.Helper()
		if got := s.Exec(t, "SELECT (SELECT m FROM v), dictGet('d', 'b', toUInt64(2)), count(), (SELECT count() FROM other.t) FROM default.t"); got != "2\ty\t2\t0\n" {
			t.Errorf("got %q", got)
		}
	}
	f(s)
	users := s.Users
	s.Stop(t)
	s = storetest.Open(t, data)
	f(s)
	if s.Users != users {
		t.Error("the users are others after a restart")
	}
}

// Two stores on one directory: the second says so and ends.
func TestSecondStore(t *testing.T) {
	s := storetest.ClickHouse(t)
	out, err := exec.CommandContext(t.Context(), storetest.Binary(t), "-data", s.Data).CombinedOutput()
	if err == nil || !strings.Contains(string(out), fmt.Sprintf("in use by another weir (pid %d)", s.PID())) {
		t.Errorf("second store: %v\n%s", err, out)
	}
	if got := s.Exec(t, "SELECT 1"); got != "1\n" {
		t.Errorf("the first one: %q", got)
	}
}

// What is wrong at the first start ends the supervisor, with the reason on the store's stderr.
func TestSupervisorFirstStartFails(t *testing.T) {
	bin := storetest.Binary(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	sup, err := embedded.NewSupervisor(
		embedded.SupervisorConfig{Path: bin, Args: []string{"-data", t.TempDir(), "-library", "/nonexistent/libchdb.so"}},
		embedded.SupervisorDeps{Log: slog.New(slog.DiscardHandler), Listener: l, Stderr: &stderr},
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := sup.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("Run = %v", err)
	}
	if !strings.Contains(stderr.String(), "make deps") {
		t.Errorf("stderr: %s", stderr.String())
	}
}

// Stopping: a short statement is let finish, a long one is cut.
func TestGracefulStop(t *testing.T) {
	s := storetest.ClickHouse(t, "-shutdown-timeout", "8s")
	type answer struct {
		body string
		err  error
	}
	run := func(sql string) chan answer {
		c := make(chan answer, 1)
		go func() {
			req, _ := http.NewRequest(http.MethodPost, s.URL(s.Users.Writer).String(), strings.NewReader(sql))
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				c <- answer{err: err}
				return
			}
			defer resp.Body.Close()
			var b bytes.Buffer
			_, err = b.ReadFrom(resp.Body)
			c <- answer{b.String(), err}
		}()
		return c
	}
	running := func(n string) bool {
		return strings.TrimSpace(s.Exec(t, "SELECT count() - 1 FROM system.processes")) == n
	}
	long := run("SELECT max(sipHash64(number)) FROM numbers(1000000000000) SETTINGS max_threads = 1")
	waitFor(t, "the long statement to run", func() bool { return running("1") })
	var short chan answer
	waitFor(t, "the short statement to run", func() bool { // which may have ended before that is seen, on a busy machine
		if short == nil || len(short) > 0 {
			short = run("SELECT sleep(3)")
		}
		return running("2")
	})
	s.Stop(t) // within a minute; the long one would take hours
	if a := <-short; a.body != "0\n" || a.err != nil {
		t.Errorf("the short statement: %q, %v", a.body, a.err)
	}
	if a := <-long; a.err == nil && !strings.Contains(a.body, "Code: 394") {
		t.Errorf("the long statement: %q, %v", a.body, a.err)
	}
	if _, err := net.DialTimeout("tcp", s.Addr, time.Second); err == nil {
		t.Error("the port still accepts")
	}
	if got, _ := filepath.Glob(filepath.Join(s.Data, "tmp", "*")); len(got) > 0 {
		t.Errorf("left behind: %q", got)
	}
}

func TestSupervisorNeedsTCP(t *testing.T) {
	if _, err := embedded.NewSupervisor(embedded.SupervisorConfig{Path: "x"}, embedded.SupervisorDeps{}); err == nil {
		t.Error("a supervisor without a listener is made")
	}
	if _, err := embedded.NewSupervisor(embedded.SupervisorConfig{}, embedded.SupervisorDeps{}); err == nil {
		t.Error("a supervisor without a program is made")
	}
	if _, err := embedded.FileListener(9999); err == nil {
		t.Error("a listener from nowhere")
	}
	if _, err := embedded.UntilParentExits(t.Context(), 9999); err == nil {
		t.Error("a parent from nowhere")
	}
	var e *os.PathError
	if _, err := embedded.ReadUsers(t.TempDir()); !errors.As(err, &e) {
		t.Errorf("ReadUsers of an empty directory: %v", err)
	}
}
