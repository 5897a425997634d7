package netns_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/netns/netnstest"
)

func pair(t *testing.T, bed *netns.Bed) (a, b *netns.Namespace) {
	t.Helper()
	a, b = netnstest.Namespace(t, bed, "a"), netnstest.Namespace(t, bed, "b")
	netnstest.Link(t, bed,
		netns.End{Namespace: a, Name: "eth0", MAC: "02:00:00:00:00:01", Addrs: prefixes("10.1.0.1/24", "fd00::1/64")},
		netns.End{Namespace: b, Name: "eth0", MAC: "02:00:00:00:00:02", MTU: 1400, Addrs: prefixes("10.1.0.2/24", "fd00::2/64")},
	)
	return a, b
}

func prefixes(all ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, p := range all {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}

func TestNamespacesReachEachOther(t *testing.T) {
	bed := netnstest.New(t)
	a, b := pair(t, bed)
	for _, address := range []string{"10.1.0.2:0", "[fd00::2]:0"} {
		var listener net.Listener
		if err := b.Do(func() (err error) { listener, err = net.Listen("tcp", address); return err }); err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		before, err := a.Counters("eth0")
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Do(func() error {
			c, err := net.DialTimeout("tcp", listener.Addr().String(), time.Minute)
			if err == nil {
				err = c.Close()
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		after, err := a.Counters("eth0")
		if err != nil {
			t.Fatal(err)
		}
		if d := after.Sub(before); d.TxPackets < 2 || d.RxPackets < 1 || d.TxBytes < 2*54 {
			t.Errorf("%s: counters rose by %+v", address, d)
		}
		if c, err := net.DialTimeout("tcp", listener.Addr().String(), 200*time.Millisecond); err == nil {
			c.Close()
			t.Errorf("%s is reached from the root namespace", address)
		}
	}
	if out, err := b.Run(t.Context(), "cat", "/sys/class/net/eth0/mtu"); err != nil || strings.TrimSpace(string(out)) != "1400" {
		t.Errorf("MTU of b: %q, %v, want 1400", out, err)
	}
	if _, err := a.Run(t.Context(), "false"); err == nil || !strings.Contains(err.Error(), "false") {
		t.Errorf("a program that fails: error %v", err)
	}
}

func TestUplinkReachesTheRootNamespace(t *testing.T) {
	bed := netnstest.New(t)
	a := netnstest.Namespace(t, bed, "a")
	root, inside, err := bed.Uplink(a)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: root.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := a.Do(func() error {
		c, err := net.Dial("udp4", conn.LocalAddr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("hello"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	b := make([]byte, 100)
	n, from, err := conn.ReadFromUDPAddrPort(b)
	if err != nil || string(b[:n]) != "hello" || from.Addr() != inside {
		t.Errorf("received %q from %v, %v, want hello from %v", b[:n], from, err, inside)
	}
}

func TestProcesses(t *testing.T) {
	bed := netnstest.New(t)
	a := netnstest.Namespace(t, bed, "a")
	p, err := a.Start(bed.Dir()+"/sh.log", "sh", "-c", "echo begun; exec sleep 100")
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "its output", func() bool { return strings.Contains(p.Log(), "begun") })
	if err := p.Stop(syscall.SIGTERM, time.Minute); err != nil {
		t.Error(err)
	}
	if err := p.Stop(syscall.SIGTERM, time.Second); err != nil {
		t.Errorf("stopping it again: %v", err)
	}
	deaf, err := a.Start(bed.Dir()+"/deaf.log", "sh", "-c", "trap '' TERM; echo begun; while :; do sleep 1; done")
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "its output", func() bool { return strings.Contains(deaf.Log(), "begun") })
	if err := deaf.Stop(syscall.SIGTERM, 100*time.Millisecond); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("one that does not stop: error %v", err)
	}
	select {
	case <-deaf.Done():
	default:
		t.Error("it is still there")
	}
}

func TestNamesAreChecked(t *testing.T) {
	bed := netnstest.New(t)
	netnstest.Namespace(t, bed, "a")
	for _, name := range []string{"", "a", "a/b", "ä", "a b"} {
		if _, err := bed.Namespace(name); err == nil {
			t.Errorf("a namespace named %q was made", name)
		}
	}
	if err := bed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := bed.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
	if _, err := bed.Namespace("b"); err == nil {
		t.Error("a namespace was made in a closed bed")
	}
	if left := remains(t, bed.Prefix(), bed.Dir()); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// remains says what there still is of a bed.
func remains(t *testing.T, prefix, dir string) string {
	t.Helper()
	out, err := exec.Command("ip", "netns", "list").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	links, err := exec.Command("ip", "-br", "link").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for line := range strings.Lines(string(out) + string(links)) {
		if strings.HasPrefix(line, prefix) {
			left = append(left, strings.TrimSpace(line))
		}
	}
	if _, err := os.Stat(dir); err == nil {
		left = append(left, dir)
	}
	return strings.Join(left, ", ")
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within a minute", what)
		}
		time.Sleep(20 * time.Millisecond) // between polls
	}
}

// TestMain is also the program that TestNothingIsLeftWhenKilled kills.
func TestMain(m *testing.M) {
	switch os.Getenv("NETNS_TEST_HELPER") {
	case "":
		os.Exit(m.Run())
	case "limit":
		helper(netns.Config{Limit: time.Second})
	default:
		helper(netns.Config{})
	}
}

func helper(cfg netns.Config) {
	bed, err := netns.New(cfg)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	n, err := bed.Namespace("x")
	if err == nil {
		_, _, err = bed.Uplink(n)
	}
	var p *netns.Process
	if err == nil {
		p, err = n.Start(bed.Dir()+"/sleep.log", "sleep", "1000")
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(bed.Prefix(), bed.Dir(), p.PID())
	select {}
}

func TestNothingIsLeftWhenKilled(t *testing.T) {
	netnstest.New(t) // skips where there can be none
	for _, mode := range []string{"kill", "limit"} {
		t.Run(mode, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), "NETNS_TEST_HELPER="+mode)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			var prefix, dir string
			var pid int
			if _, scanErr := fmt.Sscan(line, &prefix, &dir, &pid); err != nil || scanErr != nil {
				t.Fatalf("helper said %q: %v", line, err)
			}
			if left := remains(t, prefix, dir); mode == "kill" && strings.Count(left, prefix) < 3 {
				t.Errorf("before it was killed there was only %q", left)
			}
			if mode == "kill" {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			waitFor(t, "end of the bed", func() bool { return remains(t, prefix, dir) == "" })
			waitFor(t, "end of the process in it", func() bool { return syscall.Kill(pid, 0) != nil || isZombie(pid) })
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
}

// isZombie reports whether a process has ended and only its parent does not know.
func isZombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}
