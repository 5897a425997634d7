package ovsbed_test

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
)

// TestMain is also the program that TestNothingIsLeftWhenKilled kills.
func TestMain(m *testing.M) {
	if os.Getenv("OVSBED_TEST_HELPER") == "" {
		os.Exit(m.Run())
	}
	if err := helper(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	select {}
}

// helper starts a host with a VM, and a farm, and says where they are.
func helper() error {
	ctx := context.Background()
	spaces, err := netns.New(netns.Config{})
	if err != nil {
		return err
	}
	bed, err := ovsbed.New(spaces)
	if err != nil {
		return err
	}
	h, err := bed.Host(ctx, "hv1")
	if err != nil {
		return err
	}
	if err := h.AddBridge(ctx, "br0"); err != nil {
		return err
	}
	if _, err := h.AddVM(ctx, ovsbed.VM{Name: "vm1", Bridge: "br0", MAC: "02:00:00:00:00:01", Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24")}}); err != nil {
		return err
	}
	if _, err := bed.Farm(ctx, 1, 1); err != nil {
		return err
	}
	fmt.Println(spaces.Prefix(), spaces.Dir())
	return nil
}

// Neither a process nor a namespace nor a file is left of a host when the program that made it is killed.
func TestNothingIsLeftWhenKilled(t *testing.T) {
	ovsbedtest.New(t) // skips where there can be none
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "OVSBED_TEST_HELPER=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	var prefix, dir string
	if _, scanErr := fmt.Sscan(line, &prefix, &dir); err != nil || scanErr != nil {
		t.Fatalf("helper said %q: %v", line, err)
	}
	daemons := map[string]int{}
	for _, name := range []string{"hv1/ovsdb", "hv1/vswitchd", "farm-1/ovsdb", "farm-1/vswitchd"} {
		b, err := os.ReadFile(filepath.Join(dir, name+".pid"))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil || !runs(pid, dir) {
			t.Fatalf("%s: no process %q: %v", name, b, err)
		}
		daemons[name] = pid
	}
	remains := func() string {
		var left []string
		for name, pid := range daemons {
			if runs(pid, dir) {
				left = append(left, name)
			}
		}
		spaces, _ := filepath.Glob("/run/netns/" + prefix + "-*")
		links, _ := filepath.Glob("/sys/class/net/" + prefix + "*")
		files, _ := filepath.Glob(dir)
		return fmt.Sprint(append(left, append(append(spaces, links...), files...)...))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); remains() != "[]"; {
		if time.Now().After(deadline) {
			t.Fatalf("a minute after the kill there still are %s", remains())
		}
		time.Sleep(20 * time.Millisecond) // between polls
	}
}

// runs reports whether process pid is one of a host in dir.
func runs(pid int, dir string) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // empty of one that ended
	return err == nil && strings.Contains(string(b), dir)
}

func TestHost(t *testing.T) {
	bed := ovsbedtest.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	h, err := bed.Host(ctx, "hv1")
	if err != nil {
		t.Fatal(err)
	}
	if v, err := h.Version(ctx); err != nil || strings.Count(v, ".") != 2 {
		t.Errorf("version %q, %v, want one like 3.1.0", v, err)
	}
	for what, f := range map[string]func() error{
		"host of a name in use":  func() error { _, err := bed.Host(ctx, "hv1"); return err },
		"host of a bad name":     func() error { _, err := bed.Host(ctx, "../x"); return err },
		"VM at no bridge":        func() error { _, err := h.AddVM(ctx, ovsbed.VM{Name: "vm1", Bridge: "br9"}); return err },
		"port that is not there": func() error { _, err := h.Port(ctx, "vif9.0"); return err },
		"exports of no bridge":   func() error { return h.ClearExports(ctx, "br9") },
		"flows of nonsense":      func() error { return h.SetFlows(ctx, "br9", "nonsense") },
	} {
		if err := f(); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
