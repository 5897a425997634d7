// Package storetest gives tests a real ClickHouse: the embedded store, in a process of its own.
//
//	srv := storetest.ClickHouse(t)          // a store of its own, for tests that kill, fill or configure it
//	db, srv := storetest.Database(t)        // a new database in a store that all tests of the binary share: cheap
//
// Without the engine's library tests are skipped with one line that says what to do, or fail if CI_REQUIRE_SERVICES=1.
package storetest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/store/embedded"
)

// Server is a running store.
type Server struct {
	Addr  string // host:port of its HTTP interface
	Data  string // its data directory
	Users embedded.Users

	sup    *embedded.Supervisor
	stop   context.CancelFunc
	ended  chan struct{}
	err    error // of the supervisor; set when ended is closed
	stderr *tail
}

// ClickHouse starts a store on an empty directory; it ends with the test. args are further flags of storeserver.
func ClickHouse(t testing.TB, args ...string) *Server {
	t.Helper()
	return Open(t, t.TempDir(), args...)
}

// Open starts a store on the directory data; it ends with the test.
func Open(t testing.TB, data string, args ...string) *Server {
	t.Helper()
	s, err := start(Binary(t), append([]string{"-data", data}, args...), data)
	if err != nil {
		t.Fatalf("start store: %v", err)
	}
	t.Cleanup(func() { s.Stop(t) })
	return s
}

// Database makes a new database in a store that all tests of the binary share, and drops it with the test. The store ends with the
// test binary.
func Database(t testing.TB) (name string, s *Server) {
	t.Helper()
	bin := Binary(t)
	shared.once.Do(func() {
		var data string
		if data, shared.err = os.MkdirTemp("", "weir-storetest-"); shared.err == nil {
			shared.s, shared.err = start(bin, []string{"-data", data, "-remove"}, data)
		}
	})
	if shared.err != nil {
		t.Fatalf("start shared store: %v", shared.err)
	}
	shared.mu.Lock()
	shared.n++
	name = fmt.Sprintf("test_%d", shared.n)
	shared.mu.Unlock()
	shared.s.Exec(t, "CREATE DATABASE "+name)
	t.Cleanup(func() { shared.s.Exec(t, "DROP DATABASE "+name+" SYNC") })
	return name, shared.s
}

// shared is the one store of Database. Its process ends when this one does, for then its pipe closes.
var shared struct {
	once sync.Once
	s    *Server
	err  error

	mu sync.Mutex
	n  int // guarded by mu
}

// built is the path of storeserver, compiled once per test binary. It stays in the cache, where the next build replaces it.
var built = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "weir", "storetest")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(dir, "build")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	cmd := exec.Command("go", "build", "-o", filepath.Join(tmp, "storeserver"), "github.com/weirhq/weir/store/storetest/storeserver")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	bin := filepath.Join(dir, "storeserver")
	return bin, os.Rename(filepath.Join(tmp, "storeserver"), bin)
})

// Binary is the path of the store's program for tests that start it themselves. It skips or fails the test without the engine.
func Binary(t testing.TB) string {
	t.Helper()
	if _, err := embedded.FindLibrary(""); err != nil {
		if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	bin, err := built()
	if err != nil {
		t.Fatalf("build storeserver: %v", err)
	}
	return bin
}

func start(bin string, args []string, data string) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: l.Addr().String(), Data: data, ended: make(chan struct{}), stderr: &tail{}}
	s.sup, err = embedded.NewSupervisor(
		embedded.SupervisorConfig{Path: bin, Args: args},
		embedded.SupervisorDeps{Log: slog.New(slog.DiscardHandler), Listener: l, Stderr: s.stderr},
	)
	if err != nil {
		l.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() {
		s.err = s.sup.Run(ctx)
		close(s.ended)
	}()
	select {
	case <-s.sup.Ready():
	case <-s.ended:
		cancel()
		return nil, fmt.Errorf("%w\n%s", s.err, s.stderr)
	}
	if s.Users, err = embedded.ReadUsers(data); err != nil {
		cancel()
		<-s.ended
		return nil, err
	}
	return s, nil
}

// Stop ends the store and waits for it. It is idempotent.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.stop()
	select {
	case <-s.ended:
	case <-time.After(time.Minute):
		t.Errorf("the store did not end; it said: %s", s.stderr)
	}
}

// PID is the store's process, 0 while it is down.
func (s *Server) PID() int { return s.sup.PID() }

// Restarts counts how often the supervisor started the store again.
func (s *Server) Restarts() int { return s.sup.Restarts() }

// Stderr is the last that the store wrote.
func (s *Server) Stderr() string { return s.stderr.String() }

// URL is the store's address with the user in it.
func (s *Server) URL(u embedded.Credentials) *url.URL {
	return &url.URL{Scheme: "http", Host: s.Addr, User: url.UserPassword(u.Name, u.Password), Path: "/"}
}

// Exec runs a statement as the writer and returns its output in TabSeparated. A failure fails the test.
func (s *Server) Exec(t testing.TB, sql string) string {
	t.Helper()
	u := s.URL(s.Users.Writer)
	resp, err := http.Post(u.String(), "text/plain", strings.NewReader(sql))
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v\n%s", sql, resp.Status, err, b)
	}
	return string(b)
}

// tail keeps the last 64 KiB written to it.
type tail struct {
	mu sync.Mutex
	b  []byte // guarded by mu
}

func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b = append(w.b, p...)
	if extra := len(w.b) - 64<<10; extra > 0 {
		w.b = append(w.b[:0], w.b[extra:]...)
	}
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.b)
}
