package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/lab/traffic"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/state"
)

// One real host, from weir hosts add to flows with the names of its VMs, and back to how it was.
func TestHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up and Open vSwitch")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	bed := ovsbedtest.New(t)
	host, err := bed.Host(ctx, "hv1")
	must(err)
	must(host.AddBridge(ctx, "br0"))
	var vms []ovsbed.VM
	for i, name := range []string{"web", "db"} {
		vm, err := host.AddVM(ctx, ovsbed.VM{
			Name: name, Bridge: "br0", MAC: fmt.Sprintf("02:00:00:00:00:%02x", i+1), Addrs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.1.0.%d/24", i+1))},
			Identity: ovsbed.Identity{Platform: ovsbed.XenServer},
		})
		must(err)
		vms = append(vms, vm)
	}
	target, err := host.Listen(ctx, false)
	must(err)
	before, err := host.VSCtl(ctx, "--format=csv", "list", "Bridge")
	must(err)

	data := t.TempDir()
	must(os.WriteFile(filepath.Join(data, "weir.yaml"), fmt.Appendf(nil, `
collector: {listen: ["%s:0"], active_timeout: 3s, flush_interval: 100ms}
hosts: {export: {active_timeout: 1s}}
`, host.Root), 0o600))
	a := apptest.Start(t, data, "--store-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0")

	if out := good(t, "hosts", "list", "--data", data); !strings.HasPrefix(out, "no hosts: ") {
		t.Errorf("weir hosts list: %s", out)
	}
	steps := parse[[]policyd.Step](t, good(t, "hosts", "test", target, "--json", "--data", data))
	if len(steps) == 0 || steps[0].Outcome == "failed" {
		t.Errorf("weir hosts test: %+v", steps)
	}
	if out := good(t, "hosts", "add", "hv1", target, "--pool", "lab", "--data", data); !strings.Contains(out, "hv1 is connected: Open vSwitch ") {
		t.Errorf("weir hosts add: %s", out)
	}
	fails(t, exitConflict, "exists already", "hosts", "add", "hv1", target, "--data", data)

	// What the host has is in the estate, and its bridge exports.
	apptest.Eventually(t, soon, "VIFs are known and the bridge exports", func() error {
		h := parse[policyd.HostStatus](t, good(t, "hosts", "show", "hv1", "--json", "--data", data))
		if h.VIFs != 2 || len(h.Exports) != 1 || h.Exports[0].State != "set" {
			return fmt.Errorf("%+v", h)
		}
		return nil
	})
	if out := good(t, "hosts", "list", "--data", data); !strings.Contains(out, "hv1   lab   connected ") || !strings.Contains(out, "ipfix 1 of 1") {
		t.Errorf("weir hosts list:\n%s", out)
	}
	must(traffic.Ping(ctx, vms[0].Namespace, vms[1].Addrs[0].Addr(), 5, 56))
	apptest.Eventually(t, soon, "flows carry names", func() error {
		out, err := a.SQL("SELECT DISTINCT host_name, src_vm_name, dst_vm_name FROM flows WHERE src_vm != 0 AND dst_vm != 0 ORDER BY ALL")
		if err == nil && len(strings.Split(out, "\n")) != 2 {
			err = errors.New(out)
		}
		return err
	})

	// The events of all that, also with SQL, in one order. Which is first is open: who keeps exports and who looks after
	// sessions hear of a session at once.
	apptest.Eventually(t, soon, "events are told", func() error {
		var kinds []string
		for _, e := range parse[[]struct{ Kind, Subject string }](t, good(t, "events", "--json", "--data", data)) {
			kinds = append(kinds, e.Kind)
		}
		if want := []string{"export_set", "host_connected"}; !slices.Equal(slices.Sorted(slices.Values(kinds)), want) {
			return fmt.Errorf("%q, want %q", kinds, want)
		}
		out, err := a.SQL("SELECT kind, host_name FROM network_events FINAL ORDER BY id")
		if want := kinds[0] + "\thv1\n" + kinds[1] + "\thv1"; err == nil && out != want {
			err = fmt.Errorf("%q, want %q", out, want)
		}
		return err
	})

	copied := filepath.Join(t.TempDir(), "copy.db")
	good(t, "state", "backup", copied, "--data", data)
	if s, err := state.Open(ctx, copied, state.Deps{}); err != nil {
		t.Error(err)
	} else {
		h, err := s.Host(ctx, "hv1")
		if err = errors.Join(err, s.Close()); err != nil || h.Target.String() != target {
			t.Errorf("the copy of the state has %+v, %v", h, err)
		}
	}
	fails(t, exitFailed, "already exists", "state", "backup", copied, "--data", data)

	// Detached, the host is as it was.
	fails(t, exitFailed, "take it off", "hosts", "remove", "hv1", "--data", data)
	if r := weirIn(t, "no\n", "hosts", "detach", "hv1", "--data", data); r.code != exitFailed || !strings.Contains(r.err, "ipfix") {
		t.Errorf("weir hosts detach, answered no: %+v", r)
	}
	if r := weirIn(t, "", "hosts", "detach", "hv1", "--data", data); r.code != exitFailed || !strings.Contains(r.err, "give --yes where nobody can") {
		t.Errorf("weir hosts detach, with nobody to answer: %+v", r)
	}
	if out := good(t, "hosts", "detach", "hv1", "--yes", "--data", data); !strings.Contains(out, "nothing of Weir's is left") {
		t.Errorf("weir hosts detach: %s", out)
	}
	after, err := host.VSCtl(ctx, "--format=csv", "list", "Bridge")
	must(err)
	if after != before {
		t.Errorf("bridge after detaching:\n%s\nbefore Weir:\n%s", after, before)
	}
	good(t, "hosts", "remove", "hv1", "--data", data)
	if out := good(t, "hosts", "list", "--data", data); !strings.HasPrefix(out, "no hosts: ") {
		t.Errorf("weir hosts list: %s", out)
	}
}
