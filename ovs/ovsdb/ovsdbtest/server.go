// Package ovsdbtest gives tests real databases of Open vSwitch hosts: an ovsdb-server each, without a switch.
package ovsdbtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	schemaFile = "/usr/share/openvswitch/vswitch.ovsschema"
	patience   = 30 * time.Second
)

// Server is an ovsdb-server in the foreground.
type Server struct {
	Dir    string
	t      testing.TB
	remote []string
	cmd    *exec.Cmd
	done   chan struct{}
}

// Start starts a server with a new database. It has the unix socket Dir/db.sock and, as far as tests add some, managers. Without
// Open vSwitch the test is skipped; if CI_REQUIRE_SERVICES is 1 it fails. edit, if not nil, changes the schema before. args are
// further ones of ovsdb-server.
func Start(t testing.TB, edit func(schema map[string]any), args ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("ovsdb-server"); err != nil {
		if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "ovsdb") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Dir: dir, t: t}
	t.Cleanup(func() {
		s.Stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		var schema map[string]any
		if err := json.Unmarshal(text, &schema); err != nil {
			t.Fatal(err)
		}
		edit(schema)
		if text, err = json.Marshal(schema); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(s.path("schema"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.run("ovsdb-tool", "create", s.path("conf.db"), s.path("schema"))
	s.remote = append([]string{
		"--remote=punix:" + s.path("db.sock"), "--remote=db:Open_vSwitch,Open_vSwitch,manager_options",
		"--private-key=db:Open_vSwitch,SSL,private_key", "--certificate=db:Open_vSwitch,SSL,certificate", "--ca-cert=db:Open_vSwitch,SSL,ca_cert",
		"--unixctl=" + s.path("ctl"), "--log-file=" + s.path("log"), "-vconsole:off",
	}, args...)
	s.Run()
	s.VSCtl("--no-wait", "init")
	return s
}

func (s *Server) path(name string) string { return filepath.Join(s.Dir, name) }

// Socket is the target of the server's unix socket.
func (s *Server) Socket() string { return "unix:" + s.path("db.sock") }

// Run starts the server again after Stop.
func (s *Server) Run() {
	s.t.Helper()
	s.cmd = exec.Command("ovsdb-server", append([]string{s.path("conf.db")}, s.remote...)...)
	s.cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd, done := s.cmd, make(chan struct{})
	s.done = done
	go func() {
		defer close(done)
		_ = cmd.Wait() // it is killed
	}()
	Until(s.t, "the server listens", func() bool {
		_, err := os.Stat(s.path("ctl"))
		return err == nil && exec.Command("ovs-appctl", "-t", s.path("ctl"), "version").Run() == nil
	})
}

// Stop kills the server.
func (s *Server) Stop() {
	if s.done == nil {
		return
	}
	s.Signal(unix.SIGKILL)
	<-s.done
	s.done = nil
	for _, name := range []string{"ctl", "db.sock"} {
		if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.t.Error(err)
		}
	}
}

// Signal sends the server a signal: SIGSTOP freezes it, SIGCONT lets it go on.
func (s *Server) Signal(signal os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Error(err)
	}
}

// VSCtl runs ovs-vsctl and returns its output. With no switch there, it must not wait: begin with --no-wait.
func (s *Server) VSCtl(args ...string) string {
	s.t.Helper()
	return s.run("ovs-vsctl", append([]string{"--db=" + s.Socket(), "--timeout=30"}, args...)...)
}

// Shell runs a line of a shell.
func (s *Server) Shell(line string) { s.t.Helper(); s.run("sh", "-c", line) }

func (s *Server) run(name string, args ...string) string {
	s.t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// Listen makes the server listen at a port of the loopback interface that it chooses, as "ptcp:0:127.0.0.1" or "pssl:0:127.0.0.1", and returns the
// port.
func (s *Server) Listen(remote string) string {
	s.t.Helper()
	_, at, _ := strings.Cut(remote, ":")
	ports := func() []string { // the log says them at once, the status of the manager seconds later
		log, err := os.ReadFile(s.path("log"))
		if err != nil {
			s.t.Fatal(err)
		}
		return strings.Split(string(log), at+": listening on port ")
	}
	before := len(ports())
	s.VSCtl("--no-wait", "--", "--id=@m", "create", "Manager", `target="`+remote+`"`, "--", "add", "Open_vSwitch", ".", "manager_options", "@m")
	port, complete := "", false
	Until(s.t, "the server listens at "+remote, func() bool {
		if now := ports(); len(now) > before {
			port, _, complete = strings.Cut(now[len(now)-1], "\n")
		}
		return complete
	})
	return port
}

// Until waits until a condition holds, of which what is the name.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) { // between polls
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s until %s: %s", patience, time.Now().Format(time.TimeOnly), what)
		}
	}
}
