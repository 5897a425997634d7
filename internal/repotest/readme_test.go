package repotest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestReadmeCommands does what a newcomer does: takes a fresh copy of the tree, types the commands of README.md's sh
// blocks in their order and waits until each gives an answer. make run goes on beside the others and is ended by Ctrl-C.
// It uses the ports that the README names, so it runs only where CI_REQUIRE_SERVICES=1 says that they are free.
func TestReadmeCommands(t *testing.T) {
	if os.Getenv("CI_REQUIRE_SERVICES") != "1" {
		t.Skip("runs make run on its usual ports; set CI_REQUIRE_SERVICES=1")
	}
	commands := shellCommands(string(read(t, "README.md")))
	if len(commands) == 0 {
		t.Fatal("README.md: no commands in sh blocks")
	}
	dir := copyTree(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	for _, command := range commands {
		switch {
		case command == "make run":
			ctx = background(ctx, t, dir, command)
		case command == "make test", strings.HasPrefix(command, "git clone "), strings.HasPrefix(command, "cd "):
			// This test is part of the first; the others led to the copy.
		default:
			answer := untilItAnswers(ctx, t, dir, command)
			t.Logf("$ %s\n%s", command, answer)
		}
	}
}

// shellCommands returns the lines of sh blocks, less comments.
func shellCommands(markdown string) []string {
	var commands []string
	inside := false
	for line := range strings.SplitSeq(markdown, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = !inside && strings.TrimSpace(strings.TrimPrefix(line, "```")) == "sh"
		case inside:
			line, _, _ = strings.Cut(line, " #")
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				commands = append(commands, line)
			}
		}
	}
	return commands
}

func TestShellCommands(t *testing.T) {
	got := shellCommands("text\n```sh\nmake run   # in one terminal\n# or\n\nbin/weir version\n```\n```\nno\n```\n```text\nno\n```\n")
	if len(got) != 2 || got[0] != "make run" || got[1] != "bin/weir version" {
		t.Errorf("shellCommands = %q", got)
	}
}

// copyTree copies the files that git tracks or would track.
func copyTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files(t) {
		from, to := filepath.Join(root(), name), filepath.Join(dir, name)
		info, err := os.Stat(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, read(t, name), info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// shell is a command in dir, in a process group of its own, as a terminal would start it.
func shell(ctx context.Context, dir, command string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-c", command)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "VERSION=readme")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// background runs a command beside the test. At the test's end it gets what Ctrl-C sends and must be gone, with all
// that it started, in a moment. The context that it returns ends with the command.
func background(ctx context.Context, t *testing.T, dir, command string) context.Context {
	t.Helper()
	var output lockedBuffer
	cmd := shell(context.WithoutCancel(ctx), dir, command)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	running, end := context.WithCancelCause(ctx)
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		end(fmt.Errorf("%s ended: %v", command, cmd.ProcessState))
		ended <- err
	}()
	t.Cleanup(func() {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
			t.Errorf("%s: ended before it was told to: %v", command, err)
		}
		select {
		case <-ended:
		case <-time.After(2 * time.Minute): // a second or two on an idle machine
			t.Errorf("%s: still running two minutes after Ctrl-C", command)
			_ = cmd.Cancel()
			<-ended
		}
		for _, pid := range processesBelow(t, dir) {
			t.Errorf("%s: left process %d behind", command, pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if t.Failed() {
			t.Logf("%s printed:\n%s", command, output.String())
		}
	})
	return running
}

// untilItAnswers repeats a command until it ends well and has printed something.
func untilItAnswers(ctx context.Context, t *testing.T, dir, command string) string {
	t.Helper()
	const interval = 500 * time.Millisecond
	for {
		out, err := shell(ctx, dir, command).CombinedOutput()
		if err == nil && len(bytes.TrimSpace(out)) > 0 {
			return string(out)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: no answer: %v; the last was %v\n%s", command, context.Cause(ctx), err, out)
		case <-time.After(interval):
		}
	}
}

// processesBelow lists processes whose program or working directory is below dir.
func processesBelow(t *testing.T, dir string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // not a process
		}
		for _, link := range []string{"exe", "cwd"} {
			at, err := os.Readlink(filepath.Join("/proc", entry.Name(), link))
			if err == nil && strings.HasPrefix(at, dir+"/") || at == dir {
				pids = append(pids, pid)
				break
			}
			if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) && !errors.Is(err, syscall.ESRCH) {
				t.Logf("read /proc/%d/%s: %v", pid, link, err)
			}
		}
	}
	return pids
}

// lockedBuffer is a buffer that is written by one goroutine and read by another.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
