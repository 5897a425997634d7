// Package deploy_test installs and runs Weir as people do, by its packages, on a Debian of its own with systemd: a root in namespaces of mounts,
// processes, network and cgroups, which are gone when the test is, however it ends.
package deploy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
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

// A machine is a running Debian, whose first process is systemd.
type machine struct {
	t     *testing.T
	pid   int             // of systemd, as seen from outside
	ended <-chan struct{} // closed when systemd has
}

// setUp runs in the namespaces of the machine, with directory $1, the root that is laid over $2, packages $3, and $4, the name of its cgroup. In
// the end it is the machine's systemd.
const setUp = `set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 machine "$1"
mkdir "$1/upper" "$1/work" "$1/root" "$1/cgroup"
mount -t cgroup2 machine "$1/cgroup"
cgroup=$1/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/$4
mkdir "$cgroup"
echo 0 >"$cgroup/cgroup.procs"
exec unshare --cgroup sh -c "$5" machine "$@"`

// setUpInCgroup goes on where the cgroup is the root of all.
const setUpInCgroup = `set -e
umount "$1/cgroup"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" machine "$1/root"
cd "$1/root"
mkdir packages old
ln -s /dev/null etc/systemd/system/systemd-sysctl.service # the kernel is not the machine's to set
mount --bind "$3" packages
mount -t proc proc proc
mount -t sysfs -o ro machine sys
mount -t cgroup2 machine sys/fs/cgroup
mount -t tmpfs -o mode=755 machine run
mount -t tmpfs -o mode=755 machine dev
for node in null zero full random urandom tty; do cp -a "/dev/$node" dev/; done
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 machine dev/pts
mount -t tmpfs machine dev/shm
ip link set lo up
hostname machine
pivot_root . old
umount -l /old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=journal systemd.unit=multi-user.target`

// cgroupPrefix begins the names of the cgroups of machines.
const cgroupPrefix = "weir-deploy-"

// dropCgroups removes the cgroups of machines whose tests have ended, and of that of process $3; names begin with $2, and end with the process.
const dropCgroups = `set -e
mount --make-rprivate /
mount -t cgroup2 machine "$1"
find "$1" -depth -type d -name "$2*" | while read -r cgroup; do
  test="${cgroup##*-}"
  [ "$test" != "$3" ] && [ -d "/proc/$test" ] || find "$cgroup" -depth -type d -exec rmdir {} +
done`

// boot starts a machine that finds the directory packages as /packages.
func boot(t *testing.T, packages string) *machine {
	t.Helper()
	dir, cgroups := t.TempDir(), t.TempDir()
	base := strings.TrimSpace(script(t, nil, "debian-root.sh"))
	drop := func() {
		cmd := exec.Command("sh", "-c", dropCgroups, "machine", cgroups, cgroupPrefix, fmt.Sprint(os.Getpid()))
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("remove cgroups: %v\n%s", err, out)
		}
	}
	drop() // of a test that was killed

	console, err := os.Create(filepath.Join(t.TempDir(), "console"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", setUp, "machine", dir, base, packages, fmt.Sprint(cgroupPrefix, os.Getpid()), setUpInCgroup)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL, // and with systemd goes all that runs below it
	}
	cmd.Stdout, cmd.Stderr = console, console
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	m := &machine{t, cmd.Process.Pid, ended}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := m.command(context.Background(), "journalctl --no-pager --lines 100 --unit 'weir*'").CombinedOutput()
			t.Logf("journal of the machine:\n%s", log)
		}
		_ = cmd.Process.Kill()
		<-ended
		drop()
		if b, err := os.ReadFile(console.Name()); t.Failed() || err != nil {
			t.Logf("console of the machine: %v\n%s", err, b)
		}
		_ = console.Close()
	})
	m.becomes("test -d /packages && systemctl is-system-running", "running\n")
	return m
}

// command is one of the machine's shell.
func (m *machine) command(ctx context.Context, text string) *exec.Cmd {
	cmd := exec.CommandContext(
		ctx, "nsenter", "--target", fmt.Sprint(m.pid), "--mount", "--pid", "--net", "--ipc", "--uts", "--root", "--wd",
		"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "HOME=/root", "sh", "-c", text,
	)
	cmd.Dir = "/"
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

// becomes waits until a command prints want and nothing else.
func (m *machine) becomes(text, want string) {
	m.t.Helper()
	late := time.After(5 * time.Minute)
	for {
		got, err := m.try(text)
		if err == nil && got == want {
			return
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-m.ended:
			m.t.Fatal("the machine has ended")
		case <-late:
			m.t.Fatalf("%s\n%s%v\nwant\n%s", text, got, err, want)
		}
	}
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
	for _, name := range []string{"debootstrap", "nsenter", "unshare", "pivot_root", "ip"} {
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
	restore(m)

	// What runs is started anew by an upgrade, and what does not stays down.
	m.run("echo '# mine' >>/etc/weir/weir.yaml; echo secret >/etc/weir/store-password")
	config, pid := m.run("sha256sum /etc/weir/weir.yaml"), m.run(mainPID)
	m.run("dpkg -i /packages/new/*.deb")
	m.says("dpkg-query -W -f '${Version}' weir", "1.0.1+2.g0123abc")
	m.says("sha256sum /etc/weir/weir.yaml", config)
	m.says("find /etc/systemd -name 'weir*'", "")
	m.says(states, "active\nactive\ninactive\ninactive\n")
	if now := m.run(mainPID); now == pid {
		t.Errorf("process %s of before the upgrade still runs", strings.TrimSpace(now))
	}
	m.says(asWeir+"weir sql --format TSV 'SELECT count() FROM flows'", "14\n")

	// Another role takes the place of the one that runs.
	m.run("systemctl start weir-policyd")
	m.says(states, "inactive\ninactive\nactive\ninactive\n")

	m.run("dpkg -r weir")
	m.says(states, "inactive\ninactive\ninactive\ninactive\n")
	before := m.run("sha256sum /etc/weir/weir.yaml /var/lib/weir/state.db")
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

// Commands of the machine's shell.
const (
	states  = "systemctl is-active weir.socket weir weir-policyd weir-collector || true"
	mainPID = "systemctl show --property MainPID --value weir"
	asWeir  = "runuser -u weir -- env HOME=/var/lib/weir " // as sudo -u weir does
)

// runBySocket has systemd start Weir with the first datagram, which is not lost, nor is one that comes while Weir does not run; and looks at the
// sandbox that it is in.
func runBySocket(t *testing.T, m *machine, dir string) {
	if err := os.WriteFile(filepath.Join(dir, "datagram"), netFlow5(7), 0o644); err != nil {
		t.Fatal(err)
	}
	const send = "bash -c 'cat /packages/datagram >/dev/udp/127.0.0.1/2055'"
	const flows = asWeir + "weir sql --format TSV 'SELECT count(), countIf(src_vm_name != dst_vm_name) FROM flows'"
	m.run("systemctl start weir.socket")
	m.says(states, "active\ninactive\ninactive\ninactive\n")
	m.run(send)
	m.becomes(flows, "7\t0\n")
	m.says("stat -c %U /var/lib/weir/state.db", "weir\n")
	for _, pid := range []string{"$(" + mainPID + ")", "$(echo $(cat /proc/$(" + mainPID + ")/task/*/children))"} { // Weir, and its store
		m.says("sed -nE 's/^(CapEff|NoNewPrivs|Seccomp):\\s*//p' /proc/"+pid+"/status", "0000000000000000\n1\n2\n")
	}
	m.run("systemctl stop weir")
	m.run(send)
	m.becomes(flows, "14\t0\n")
}

// restore makes a backup and an instance of it, as docs/howto/back-up.md says.
func restore(m *machine) {
	m.run("install -d -o weir -g weir /var/backups/weir")
	if out, err := m.try("weir backup /root/x"); err == nil || !strings.Contains(out, "sudo -u weir") {
		m.t.Errorf("a backup by root: %v\n%s", err, out)
	}
	m.run(asWeir + "weir backup /var/backups/weir")
	m.run("systemctl stop weir.socket weir && mv /var/lib/weir /var/lib/weir.before && install -d -o weir -g weir -m 0700 /var/lib/weir")
	m.run(asWeir + "weir doctor || test -d /var/lib/weir/.cache") // the directory is a home, too
	m.run(asWeir + "weir restore --config /etc/weir/weir.yaml /var/backups/weir/*.weirbackup")
	m.run("systemctl start weir.socket weir")
	m.says(asWeir+"weir sql --format TSV 'SELECT count() FROM flows'", "14\n")
	m.run("rm -r /var/lib/weir.before /var/backups/weir")
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
