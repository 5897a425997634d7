// Package apptest runs the built weir binary as its users do: as a process with its own data directory, fed by
// datagrams and asked by SQL and HTTP. Tests use it to see what only whole processes show: signals, kill -9,
// restarts, orphans.
package apptest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/instance"
)

// StartTimeout bounds the wait for `weir up`. It is generous: a first start maps a library of half a gigabyte.
const StartTimeout = 90 * time.Second

// stopTimeout bounds the wait for a process that was asked to end, before it is killed.
const stopTimeout = 30 * time.Second

var used atomic.Bool // a binary was built

var build = sync.OnceValues(func() (string, error) {
	used.Store(true)
	if err := lookAtSources(); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "weir-apptest-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "weir")
	cmd := exec.Command("go", "build", "-o", bin, "github.com/weirhq/weir/cmd/weir")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build weir: %w\n%s", err, out), os.RemoveAll(dir))
	}
	return bin, nil
})

// lookAtSources opens each directory of the module that may have sources. go test remembers the result of a package for as long as what its test is made
// of and the files that it opened are the same; of what another go build reads it knows nothing, and would tell of a binary of yesterday.
func lookAtSources() error {
	root, err := filepath.Abs(".")
	if err != nil {
		return err
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			return errors.New("find the module: no go.mod above the test's directory")
		}
		root = filepath.Dir(root)
	}
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() || path == root {
			return err
		}
		switch name := e.Name(); {
		case strings.HasPrefix(name, "."), slices.Contains([]string{"bin", "data", "dist", "docs", "node_modules", "testdata"}, name):
			return fs.SkipDir
		}
		return nil
	})
}

// Binary returns the path of the weir binary, built from this checkout once per test process; Main removes it.
func Binary(t testing.TB) string {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// Main runs the tests of a package and removes the binary that they used.
func Main(m *testing.M) int {
	code := m.Run()
	if !used.Load() {
		return code
	}
	if bin, err := build(); err == nil {
		if err := os.RemoveAll(filepath.Dir(bin)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return max(code, 1)
		}
	}
	return code
}

// App is one running `weir up`.
type App struct {
	instance.Instance

	t    testing.TB
	bin  string
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when the process was waited for
	err  error         // of Wait; read after done
}

// output collects what a process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Start runs `weir up --data data` with args and waits until it is up. The process is ended by the test's cleanup.
// It leads its own process group, as a job of a shell does.
func Start(t testing.TB, data string, args ...string) *App {
	t.Helper()
	return StartAs(t, "up", data, args...)
}

// StartAs is Start for another command that runs an instance: policyd, collector.
func StartAs(t testing.TB, command, data string, args ...string) *App {
	t.Helper()
	a := &App{t: t, bin: Binary(t), out: &output{}, done: make(chan struct{})}
	a.cmd = exec.Command(a.bin, append([]string{command, "--data", data}, args...)...)
	a.cmd.Stdout, a.cmd.Stderr = a.out, a.out
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release, err := mourn(a.cmd.Process.Pid)
	if err != nil {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
		t.Fatal(err)
	}
	go func() {
		a.err = a.cmd.Wait()
		release()
		close(a.done)
	}()
	t.Cleanup(func() {
		a.Stop()
		if t.Failed() {
			t.Logf("output of weir up:\n%s", a.Output())
		}
	})
	Eventually(t, StartTimeout, "weir up writes its instance", func() error {
		select {
		case <-a.done:
			t.Fatalf("weir up ended while starting: %v\n%s", a.err, a.Output())
		default:
		}
		i, err := instance.Find(data)
		if err == nil && i.PID != a.cmd.Process.Pid {
			err = fmt.Errorf("instance.json is of pid %d, want %d", i.PID, a.cmd.Process.Pid)
		}
		a.Instance = i
		return err
	})
	return a
}

// mourn makes process pid end when this one does, also by kill -9: a shell waits for the end of a pipe that only this
// process holds. release ends that.
func mourn(pid int) (release func(), err error) {
	shell := exec.Command("sh", "-c", `cat >/dev/null; kill -9 "$1"`, "mourn", strconv.Itoa(pid))
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the others
	alive, err := shell.StdinPipe()
	if err == nil {
		err = shell.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	return func() {
		_ = shell.Process.Kill()
		_ = alive.Close()
		_ = shell.Wait() // it was killed
	}, nil
}

// Output returns what the process has printed.
func (a *App) Output() string { return a.out.String() }

// Interrupt sends SIGINT to the whole process group, as Ctrl-C in a terminal does.
func (a *App) Interrupt() { a.signalGroup(syscall.SIGINT) }

// Kill ends the one process `weir up` with SIGKILL and waits for it.
func (a *App) Kill() {
	a.t.Helper()
	if err := a.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		a.t.Fatal(err)
	}
	<-a.done
}

// Wait waits for the end of the process, at most d, and returns its exit code.
func (a *App) Wait(d time.Duration) int {
	a.t.Helper()
	select {
	case <-a.done:
		return a.cmd.ProcessState.ExitCode()
	case <-time.After(d):
		a.t.Fatalf("weir up still runs %s after it was asked to end\n%s", d, a.Output())
		return -1
	}
}

// Stop ends the process if it runs, by SIGTERM and, where that does not help, SIGKILL. Before that its ledger must balance,
// whatever the test was about.
func (a *App) Stop() {
	a.t.Helper()
	select {
	case <-a.done:
		return
	default:
	}
	if a.Instance.API != "" {
		if problem, err := a.ledgerProblem(); err != nil {
			a.t.Errorf("ask weir up for its ledger before it is stopped: %v", err)
		} else if problem != "" {
			a.t.Errorf("the ledger of weir up does not balance: %s", problem)
		}
	}
	a.signal(syscall.SIGTERM)
	select {
	case <-a.done:
	case <-time.After(stopTimeout):
		a.t.Errorf("weir up ignored SIGTERM for %s", stopTimeout)
		a.Kill()
	}
}

// ledgerProblem asks which figures of the ledger do not add up: none for "".
func (a *App) ledgerProblem() (string, error) {
	client := http.Client{Timeout: stopTimeout}
	base := "http://" + a.Instance.API
	if a.Instance.Admin != "" { // also where the API speaks TLS, or asks who it is
		base = "http://weir"
		client.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", a.Instance.Admin)
		}}
	}
	resp, err := client.Get(base + "/api/v1/status")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var status struct {
		Ledger *struct {
			Problem string `json:"problem"`
		} `json:"ledger"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
		return "", err
	}
	if status.Ledger == nil {
		return "", errors.New("there is none")
	}
	return status.Ledger.Problem, nil
}

func (a *App) signal(s syscall.Signal) {
	if err := a.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		a.t.Errorf("signal weir up: %v", err)
	}
}

func (a *App) signalGroup(s syscall.Signal) {
	if err := syscall.Kill(-a.cmd.Process.Pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		a.t.Errorf("signal group of weir up: %v", err)
	}
}

// Run runs another weir command on the instance's data directory and returns its standard output.
func (a *App) Run(args ...string) (string, error) {
	a.t.Helper()
	return Command(a.t, append(args, "--data", a.Data)...)
}

// SQL runs one query as the read-only user and returns the answer as tab-separated values, the last newline cut.
func (a *App) SQL(query string) (string, error) {
	a.t.Helper()
	out, err := a.Run("sql", "--format", "TSV", query)
	return strings.TrimSuffix(out, "\n"), err
}

// MustSQL is SQL for queries that cannot fail.
func (a *App) MustSQL(query string) string {
	a.t.Helper()
	out, err := a.SQL(query)
	if err != nil {
		a.t.Fatalf("SQL %q: %v", query, err)
	}
	return out
}

// Command runs one weir command, at most a minute, and returns its standard output; the error holds what it printed
// to standard error.
func Command(t testing.TB, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, Binary(t), args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("weir %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// Alive tells whether a process pid exists and is no zombie.
func Alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// Eventually calls f every 50 ms until it returns nil; after d the test fails with its last error.
func Eventually(t testing.TB, d time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(d)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, d, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
