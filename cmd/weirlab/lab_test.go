package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
)

func TestMain(m *testing.M) { os.Exit(apptest.Main(m)) }

// soon is how long what happens within seconds may take on a busy machine.
const soon = 90 * time.Second

// The lab runs, one can play with it, a Weir that is killed comes back, and nothing is left when the lab is killed.
func TestLab(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up")
	}
	ovsbedtest.New(t) // skips where there can be no hosts
	// The programs beside each other, as make build puts them.
	bin := filepath.Dir(apptest.Binary(t))
	program := filepath.Join(bin, "weirlab")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, temp := t.TempDir(), t.TempDir()
	lab := exec.Command(program, "up", "--data", data, "--hosts", "2", "--vms", "8", "--rate", "50", "--farm", "1",
		"--", "--listen", "0.0.0.0:0", "--store-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0")
	lab.Env = append(os.Environ(), "TMPDIR="+temp) // where the bed is
	out, err := lab.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	lab.Stderr = lab.Stdout
	if err := lab.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = lab.Process.Kill()
		_ = lab.Wait()
	})
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	said := func(want string) {
		t.Helper()
		for deadline := time.After(soon); ; {
			select {
			case line, ok := <-lines:
				if !ok {
					t.Fatalf("the lab ended before it said %q", want)
				}
				t.Log(line)
				if strings.Contains(line, want) {
					return
				}
			case <-deadline:
				t.Fatalf("the lab did not say %q within %v", want, soon)
			}
		}
	}
	said("Ctrl-C ends it")
	do := func(words ...string) (string, error) {
		out, err := exec.Command(program, append(words, "--data", data)...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return string(out), err
	}
	if out, err := do("list"); err != nil || !strings.Contains(out, "web-01") {
		t.Errorf("list: %v\n%s", err, out)
	}
	weir, err := instance.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	flows := func(where string) {
		t.Helper()
		apptest.Eventually(t, soon, "flows "+where, func() error {
			out, err := apptest.Command(t, "sql", "--data", data, "SELECT count() FROM flows WHERE "+where)
			if err == nil && strings.TrimSpace(out) == "0" {
				err = errors.New("there are none")
			}
			return err
		})
	}
	flows("src_vm_name = 'app-01' AND host_name = 'xcp-02' AND dst_vm_name != ''")
	for _, line := range []string{"move web-01 xcp-02", "rename app-01 shop", "emer-reset xcp-01", "failover xcp-02", "expire"} {
		if out, err := do(strings.Fields(line)...); err != nil || !strings.Contains(out, "done within") {
			t.Errorf("%s: %q, %v", line, out, err)
		}
	}
	if out, err := do("move", "web-01"); err == nil || !strings.Contains(out, "2 arg") {
		t.Errorf("move to nowhere: %v", err)
	}
	if out, err := do("up"); err == nil || !strings.Contains(out, "a lab runs there already") {
		t.Errorf("a second lab: %v", err)
	}
	p, err := os.FindProcess(weir.PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	said("weir is up again")
	if weir, err = instance.Read(data); err != nil {
		t.Fatal(err)
	}
	flows("src_vm_name = 'shop'")
	if out, err := apptest.Command(t, "estate", "sources", "xapi:lab", "--data", data); err != nil || !strings.Contains(out, "xcp-02 169.254.") || strings.Contains(out, "problem") {
		t.Errorf("weir estate sources xapi:lab: %v\n%s", err, out)
	}

	daemons := processes(t, temp, weir)
	if err := lab.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = lab.Wait()
	apptest.Eventually(t, soon, "nothing is left", func() error {
		for name, pid := range daemons {
			if apptest.Alive(pid) {
				return fmt.Errorf("process %d of %s is", pid, name)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(temp, "w*")); len(left) > 0 {
			return fmt.Errorf("%v are", left)
		}
		return nil
	})
}

// processes returns those of Weir and of the hosts in temp, by name.
func processes(t *testing.T, temp string, weir instance.Instance) map[string]int {
	t.Helper()
	m := map[string]int{"weir": weir.PID, "store": weir.StorePID}
	files, err := filepath.Glob(filepath.Join(temp, "w*", "*", "*.pid"))
	if err != nil || len(files) != 8 {
		t.Fatalf("pid files %v of two hosts, a switch and a farm of one: %v", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil || !apptest.Alive(pid) {
			t.Fatalf("%s: no process %q: %v", f, b, err)
		}
		m[f] = pid
	}
	return m
}

func TestUsage(t *testing.T) {
	for line, want := range map[string]int{"help": 0, "up --rate 0": 2, "fly": 2, "move x": 2, "up x": 2, "list --data nowhere": 1, "": 0} {
		var out, errs strings.Builder
		if got := run(t.Context(), strings.Fields(line), &out, &errs); got != want || (want != 0) != strings.HasPrefix(errs.String(), "weirlab: ") {
			t.Errorf("weirlab %s: exit code %d, want %d: %s", line, got, want, errs.String())
		}
	}
}
