// Package deploy_test installs Weir as people do, by its packages, on a Debian of its own: a root in namespaces of mounts, processes and
// network, which are gone when the test is, however it ends. No systemd runs there: units are checked, not started.
package deploy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// exposure is the most that systemd may find a unit of Weir exposed to, in tenths: 0 is nothing, 100 all. A unit without any sandbox
// has 96.
const exposure = 15

// A machine is a running Debian without an init.
type machine struct {
	t    *testing.T
	pid  int // of its first process, as seen from outside
	root string
}

// setUp runs in the namespaces of the machine, with directory $1, the root that is laid over $2, and packages $3. Its end is the
// machine's: it waits for that of its standard input, which only the test holds.
const setUp = `set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 machine "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" machine "$1/root"
mount -t proc proc "$1/root/proc"
mkdir "$1/root/packages"
mount --bind "$3" "$1/root/packages"
ip link set lo up
echo ready
exec cat`

// boot starts a machine that finds the directory packages as /packages.
func boot(t *testing.T, packages string) *machine {
	t.Helper()
	dir := t.TempDir()
	base := strings.TrimSpace(script(t, nil, "debian-root.sh"))
	cmd := exec.Command("sh", "-c", setUp, "machine", dir, base, packages)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	alive, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(alive.Close(), cmd.Wait()); err != nil {
			t.Errorf("machine: %v\n%s", err, stderr.String())
		}
	})
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatalf("machine: %v\n%s", err, stderr.String())
	}
	return &machine{t, cmd.Process.Pid, filepath.Join(dir, "root")}
}

// command is one of the machine's shell.
func (m *machine) command(ctx context.Context, text string) *exec.Cmd {
	cmd := exec.CommandContext(
		ctx, "nsenter", "--target", fmt.Sprint(m.pid), "--mount", "--pid", "--net",
		"chroot", m.root, "sh", "-c", "cd / && "+text,
	)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "HOME=/root"}
	return cmd
}

// try runs a command and returns all that it prints.
func (m *machine) try(text string) (string, error) {
	out, err := m.command(m.t.Context(), text).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", text, err, out)
	}
	return string(out), err
}

func (m *machine) run(text string) string {
	m.t.Helper()
	out, err := m.try(text)
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

// says fails unless a command prints want.
func (m *machine) says(text, want string) {
	m.t.Helper()
	if got := m.run(text); got != want {
		m.t.Errorf("%s\n%s\nwant\n%s", text, got, want)
	}
}

// script runs one of scripts/ and returns what it prints.
func script(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), filepath.Join("..", "scripts", name), args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("scripts/%s: %v\n%s", name, err, stderr.String())
	}
	return stdout.String()
}

func needRoot(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and installs packages")
	}
	reason := ""
	if os.Geteuid() != 0 {
		reason = "only root may make a machine"
	}
	for _, name := range []string{"debootstrap", "nsenter", "ip"} {
		if _, err := exec.LookPath(name); err != nil {
			reason = err.Error()
		}
	}
	switch {
	case reason == "":
	case os.Getenv("CI_REQUIRE_SERVICES") == "1":
		t.Fatal(reason)
	default:
		t.Skip(reason)
	}
}

func TestPackages(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	at := func(version string) []string { return []string{"VERSION=" + version, "SOURCE_DATE_EPOCH=1795737600"} }
	old := strings.Fields(script(t, at("v1.0.0"), "deb.sh", filepath.Join(dir, "old"), "amd64"))
	again := strings.Fields(script(t, at("v1.0.0"), "deb.sh", filepath.Join(dir, "again"), "amd64"))
	script(t, at("v1.0.1-2-g0123abc"), "deb.sh", "--without-engine", filepath.Join(dir, "new"), "amd64")
	if len(old) != 2 || len(again) != 2 {
		t.Fatalf("deb.sh made %q and %q, want two packages each", old, again)
	}
	for i := range old {
		if sum(t, old[i]) != sum(t, again[i]) {
			t.Errorf("%s: built twice, not the same", filepath.Base(old[i]))
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "again")); err != nil {
		t.Fatal(err)
	}

	m := boot(t, dir)
	m.run("dpkg -i /packages/old/*.deb")
	m.says("dpkg -V weir weir-libchdb", "")
	m.says("stat -c '%a %U %G %n' /var/lib/weir /etc/weir /etc/weir/weir.yaml", "700 weir weir /var/lib/weir\n750 root weir /etc/weir\n644 root root /etc/weir/weir.yaml\n")
	m.says("find /etc/systemd -name 'weir*'", "") // nothing runs that nobody asked for
	m.says("weir check-config --config /etc/weir/weir.yaml >/dev/null && weir version | head -n 1 | cut -d ' ' -f 2", "v1.0.0\n")
	checkUnits(t, m)
	runBySocket(t, m, dir)

	m.run("echo '# mine' >>/etc/weir/weir.yaml; echo secret >/etc/weir/store-password")
	before := m.run("sha256sum /etc/weir/weir.yaml /var/lib/weir/state.db")
	m.run("dpkg -i /packages/new/*.deb")
	m.says("dpkg-query -W -f '${Version}' weir", "1.0.1+2.g0123abc")
	m.says("sha256sum /etc/weir/weir.yaml /var/lib/weir/state.db", before)
	m.says("find /etc/systemd -name 'weir*'", "")

	m.run("dpkg -r weir")
	m.says("sha256sum /etc/weir/weir.yaml /var/lib/weir/state.db", before)
	m.says("ls /usr/bin/weir /lib/systemd/system/weir.service /usr/lib/sysctl.d/60-weir.conf 2>/dev/null || true", "")
	m.run("dpkg -i /packages/new/*.deb")
	m.says("sha256sum /etc/weir/weir.yaml /var/lib/weir/state.db", before)
	m.says("find /etc/systemd -name 'weir*'", "")

	m.run("dpkg -P weir weir-libchdb")
	m.says("find / -xdev -path /packages -prune -o -iname '*weir*' -print", "/etc/weir\n") // for the sake of what is not the package's
	m.says("ls /etc/weir", "store-password\n")
	m.run("dpkg -i /packages/new/*.deb && rm /etc/weir/store-password && dpkg -P weir")
	m.says("find / -xdev -path /packages -prune -o -iname '*weir*' -print", "")
}

// checkUnits asks systemd what it thinks of the units.
func checkUnits(t *testing.T, m *machine) {
	m.says("systemd-analyze verify /lib/systemd/system/weir*.service /lib/systemd/system/weir*.socket", "")
	for _, unit := range []string{"weir", "weir-policyd", "weir-collector"} {
		if out, err := m.try(fmt.Sprintf("systemd-analyze security --no-pager --offline=true --threshold=%d %s.service", exposure, unit)); err != nil {
			t.Error(err)
		} else if _, verdict, ok := strings.Cut(out, "Overall exposure level"); ok {
			t.Log("exposure level" + strings.TrimRight(verdict, "\n"))
		} else {
			t.Errorf("systemd-analyze security %s: no exposure in\n%s", unit, out)
		}
	}
	// What finds nothing wrong proves something only if it can.
	m.run("sed -E '/^(Protect|Private|Restrict|SystemCall|Capability)/d' /lib/systemd/system/weir.service >/tmp/open.service; sed -i 's/^ExecStart=/&-no-such-/' /tmp/open.service")
	if _, err := m.try(fmt.Sprintf("systemd-analyze security --no-pager --offline=true --threshold=%d /tmp/open.service", exposure)); err == nil {
		t.Error("systemd-analyze security: finds no fault with a unit without a sandbox")
	}
	if _, err := m.try("systemd-analyze verify /tmp/open.service"); err == nil {
		t.Error("systemd-analyze verify: finds no fault with a program that is not there")
	}
}

// runBySocket has the installed Weir started by the first datagram, which is not lost, as the user and with the files of its unit.
func runBySocket(t *testing.T, m *machine, dir string) {
	if err := os.WriteFile(filepath.Join(dir, "datagram"), netFlow5(7), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	const up = "/usr/bin/weir up --data /var/lib/weir --config /etc/weir/weir.yaml"
	cmd := m.command(ctx, "exec runuser -u weir -- systemd-socket-activate --datagram --listen=2055 "+up)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	sent := false
	for got := ""; got != "7\n"; {
		select {
		case err := <-ended:
			t.Fatalf("weir up: %v\n%s", err, out.String())
		case <-ctx.Done():
			t.Fatalf("flows are %q, want 7", got)
		case <-time.After(200 * time.Millisecond):
		}
		if !sent { // as soon as somebody listens, and once
			_, err := m.try("grep -q :0807 /proc/net/udp6 /proc/net/udp && bash -c 'cat /packages/datagram >/dev/udp/127.0.0.1/2055'")
			sent = err == nil
			continue
		}
		got, _ = m.try("weir sql --format TSV 'SELECT count() FROM flows' 2>/dev/null")
	}
	m.says("stat -c %U /var/lib/weir/state.db", "weir\n")
	m.run(`kill -TERM "$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' /var/lib/weir/run/instance.json)"`)
	if err := <-ended; err != nil {
		t.Errorf("weir up ended with %v\n%s", err, out.String())
	}
}

// netFlow5 is a datagram with n flows that just ended (NetFlow version 5: a header of 24 bytes, records of 48).
func netFlow5(n int) []byte {
	const uptime = 60_000
	now := time.Now()
	be := binary.BigEndian
	b := be.AppendUint16(nil, 5)
	b = be.AppendUint16(b, uint16(n))
	b = be.AppendUint32(b, uptime)
	b = be.AppendUint32(b, uint32(now.Unix()))
	b = append(b, make([]byte, 12)...) // nanoseconds, sequence, engine, sampling
	for i := range n {
		b = append(b, netip.MustParseAddr("192.0.2.1").AsSlice()...)
		b = append(b, netip.MustParseAddr("198.51.100.1").AsSlice()...)
		b = append(b, make([]byte, 8)...) // next hop, interfaces
		b = be.AppendUint32(b, 1)         // packets
		b = be.AppendUint32(b, 1000)      // bytes
		b = be.AppendUint32(b, uptime-2000)
		b = be.AppendUint32(b, uptime-1000)
		b = be.AppendUint16(b, uint16(40_000+i))
		b = be.AppendUint16(b, 443)
		b = append(b, 0, 0x18, 6, 0) // padding, flags, TCP, type of service
		b = append(b, make([]byte, 8)...)
	}
	return b
}

func sum(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
