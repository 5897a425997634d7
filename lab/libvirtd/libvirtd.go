// Package libvirtd runs a libvirtd of its own for tests: the real daemon, with its test driver alone (test:///default), on a socket in a
// folder. It touches no other libvirt, and starts no machine.
package libvirtd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Daemon is a running libvirtd.
type Daemon struct {
	Addr string // where it listens with TLS; empty: it does not

	t   testing.TB
	dir string
	tls TLS
	cmd *exec.Cmd
	log *os.File
}

// patience bounds the wait for it.
const patience = 30 * time.Second

// TLS is what a daemon presents and whom it believes, besides its socket: files with a certificate, its key, and the authority of both sides (PEM).
type TLS struct{ Certificate, Key, CA string }

// Start runs a daemon until the test ends. Without libvirtd the test is skipped, or fails where services are required.
func Start(t testing.TB) *Daemon {
	t.Helper()
	return StartTLS(t, TLS{})
}

// StartTLS is Start of a daemon that listens with TLS, too.
func StartTLS(t testing.TB, keys TLS) *Daemon {
	t.Helper()
	if _, err := exec.LookPath("libvirtd"); err != nil {
		if os.Getenv("CI_REQUIRE_SERVICES") != "" {
			t.Fatalf("libvirtd: %v: install Debian's libvirt-daemon", err)
		}
		t.Skipf("libvirtd: %v", err)
	}
	dir, err := os.MkdirTemp("", "libvirtd") // short, as paths of sockets are to be
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{t: t, dir: dir, tls: keys}
	t.Cleanup(func() {
		d.Stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	d.Run()
	return d
}

// Socket is where it answers.
func (d *Daemon) Socket() string { return filepath.Join(d.dir, "libvirt-sock") }

// URI is that of its test driver, which has one domain at first.
func (d *Daemon) URI() string { return "test+unix:///default?socket=" + d.Socket() }

// Run starts it, after Stop again: domains are then as at first.
func (d *Daemon) Run() {
	d.t.Helper()
	conf := filepath.Join(d.dir, "libvirtd.conf")
	text := fmt.Sprintf("unix_sock_dir = %q\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\nlog_outputs = \"3:stderr\"\n", d.dir)
	args := []string{"--config", conf, "--pid-file", filepath.Join(d.dir, "pid")}
	if d.tls.Key != "" {
		if d.Addr == "" {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				d.t.Fatal(err)
			}
			d.Addr = l.Addr().String()
			l.Close() // libvirtd takes a port, not a socket; it ends if somebody took it meanwhile
		}
		_, port, _ := net.SplitHostPort(d.Addr)
		text += fmt.Sprintf("listen_tls = 1\nlisten_tcp = 0\nlisten_addr = \"127.0.0.1\"\ntls_port = %q\nauth_tls = \"none\"\nkey_file = %q\ncert_file = %q\nca_file = %q\n",
			port, d.tls.Key, d.tls.Certificate, d.tls.CA)
		args = append(args, "--listen")
	}
	drivers := filepath.Join(d.dir, "drivers") // empty: no driver of real machines is loaded
	if err := errors.Join(os.WriteFile(conf, []byte(text), 0o600), os.MkdirAll(drivers, 0o700)); err != nil {
		d.t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(d.dir, "log"))
	if err != nil {
		d.t.Fatal(err)
	}
	d.log = log
	d.cmd = exec.Command("libvirtd", args...)
	d.cmd.Env = append(os.Environ(), "HOME="+d.dir, "LIBVIRT_DRIVER_DIR="+drivers)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // between polls
		if conn, err := net.Dial("unix", d.Socket()); err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			d.t.Fatalf("libvirtd does not answer: %s", said)
		}
	}
}

// Stop ends it.
func (d *Daemon) Stop() {
	if d.cmd == nil {
		return
	}
	_ = d.cmd.Process.Kill() // it may have ended
	_ = d.cmd.Wait()
	d.cmd = nil
	_ = os.Remove(d.Socket())
	_ = d.log.Close()
}
