package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/policyd"
)

// A host that enforced policy is as before once Weir was detached from it: its database, flows, groups and meters, beside controllers, flows,
// groups, collector sets and exports of others, and with Weir killed while it enforces, and while it detaches.
func TestDetachWithPolicy(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up and Open vSwitch")
	}
	r := startPolicyRun(t, false)
	r.says("nothing of Weir's is left", "hosts", "detach", "hv1", "--yes")
	r.must(r.host.Secure(r.ctx, "br0"))
	r.must(r.host.SetControllers(r.ctx, "br0",
		ovsbed.Controller{Target: "tcp:" + netip.AddrPortFrom(r.host.Root, 9).String(), Service: true}, ovsbed.Controller{Target: "tcp:" + netip.AddrPortFrom(r.host.Root, 10).String()}))
	r.must(r.host.SetForeign(r.ctx, "br0"))
	_, err := r.host.VSCtl(r.ctx,
		"--", "--id=@n", "create", "NetFlow", `targets="203.0.113.1:2055"`, "engine_id=7", "external_ids:by=them",
		"--", "--id=@i", "create", "IPFIX", `targets="203.0.113.1:4739"`, "cache_max_flows=100",
		"--", "set", "bridge", "br0", "netflow=@n", "other_config:disable-in-band=false", "other_config:theirs=1",
		"--", "--id=@b", "get", "bridge", "br0", "--", "create", "Flow_Sample_Collector_Set", "id=1", "bridge=@b", "ipfix=@i")
	r.must(err)
	target := "unix:" + r.host.DBSocket()
	database := ovsdbtest.Dump(t, target, false)
	flows, err := r.host.OpenFlow(r.ctx, "br0")
	r.must(err)

	r.weir("policy", "apply", r.file(webPolicy))
	r.says("enforced", "hosts", "mode", "hv1", "enforce", "--yes")
	r.passes("enforced", 80, false)
	r.passes("enforced", 5432, true)
	for _, want := range []string{"the source of totals", "a service controller", "(primary, of others)"} {
		r.says(want, "hosts", "show", "hv1")
	}
	r.says("rules 1 of 1", "hosts", "list")

	seed, kills := chance.Seed(t), 3
	if text := os.Getenv("WEIR_TEST_RUNS"); text != "" { // the long version
		n, err := strconv.Atoi(text)
		r.must(err)
		kills = 10 * n
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	for n := range kills {
		// It is told to detach, or to enforce again, and killed soon after.
		done := make(chan result, 1)
		args := []string{"hosts", "detach", "hv1", "--yes"}
		if n%2 == 1 {
			args = []string{"hosts", "mode", "hv1", "enforce", "--yes"}
		}
		go func() { done <- weir(t, append(args, "--data", r.data)...) }()
		timer := time.NewTimer(50*time.Millisecond + time.Duration(rng.Int64N(int64(1500*time.Millisecond))))
		<-timer.C
		r.app.Kill()
		<-done // in whatever way it ended
		now, err := r.host.OpenFlow(r.ctx, "br0")
		r.must(err)
		t.Logf("kill %d: %d flows of Weir's", n+1, strings.Count(now, "cookie=0x5745"))
		r.app = apptest.Start(t, r.data, "--store-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0")
	}
	apptest.Eventually(t, soon, "the host is connected", func() error {
		if out := r.weir("hosts", "list"); !strings.Contains(out, "connected") {
			return errors.New(out)
		}
		return nil
	})
	r.says("enforced", "hosts", "mode", "hv1", "enforce", "--yes")
	r.passes("enforced", 80, false)
	r.says("nothing of Weir's is left", "hosts", "detach", "hv1", "--yes")
	r.passes("detached", 80, true)
	if diff := cmp.Diff(strings.Split(database, "\n"), strings.Split(ovsdbtest.Dump(t, target, false), "\n")); diff != "" {
		t.Errorf("the database differs (-before +after):\n%s", diff)
	}
	after, err := r.host.OpenFlow(r.ctx, "br0")
	r.must(err)
	if diff := cmp.Diff(strings.Split(flows, "\n"), strings.Split(after, "\n")); diff != "" {
		t.Errorf("flows, groups or meters differ (-before +after):\n%s", diff)
	}
}

// A Weir that is killed and started again changes nothing at a host that enforces policy.
func TestRestartChangesNothingAtHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up and Open vSwitch")
	}
	r := startPolicyRun(t, false)
	r.weir("policy", "apply", r.file(webPolicy))
	r.says("enforced", "hosts", "mode", "hv1", "enforce", "--yes")
	settled := func() error {
		h := parse[policyd.HostStatus](t, r.weir("hosts", "show", "hv1", "--json"))
		if len(h.Exports) != 1 || h.Exports[0].Rules == nil || h.Exports[0].Rules.State != "set" || h.Exports[0].Controller == nil || !h.Exports[0].Controller.Connected {
			return fmt.Errorf("%+v", h)
		}
		return nil
	}
	apptest.Eventually(t, soon, "all is set up", settled)

	// The next one listens where this one did.
	target, err := r.host.VSCtl(r.ctx, "--bare", "--columns=target", "list", "Controller")
	r.must(err)
	file := filepath.Join(r.data, "weir.yaml")
	text, err := os.ReadFile(file)
	r.must(err)
	changed := strings.Replace(string(text), fmt.Sprintf("addr: %q", r.host.Root.String()+":0"), fmt.Sprintf("addr: %q", strings.TrimPrefix(target, "tcp:")), 1)
	exporter, err := r.host.VSCtl(r.ctx, "--bare", "--columns=targets", "list", "IPFIX")
	r.must(err)
	changed = strings.Replace(changed, fmt.Sprintf("listen: [%q]", r.host.Root.String()+":0"), fmt.Sprintf("listen: [%q]", exporter), 1)
	if changed == string(text) || strings.Contains(changed, `"`+r.host.Root.String()+":0") {
		t.Fatalf("change ports in %s to %q and %q", text, target, exporter)
	}
	r.must(os.WriteFile(file, []byte(changed), 0o600))

	written := func() int {
		out, err := exec.CommandContext(r.ctx, "ovsdb-tool", "show-log", filepath.Join(filepath.Dir(r.host.DBSocket()), "conf.db")).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.Count(string(out), "weir: instance")
	}
	before := written()
	if before == 0 {
		t.Fatal("no transaction of Weir's in the log of the database")
	}
	r.app.Kill()
	r.app = apptest.Start(t, r.data, "--store-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0")
	apptest.Eventually(t, soon, "policy is verified", func() error {
		if out := r.weir("policy", "status"); !strings.Contains(out, "enforced") {
			return errors.New(out)
		}
		return settled()
	})
	r.passes("after a restart", 80, false)
	if now := written(); now != before {
		t.Errorf("after a restart Weir changed the host's database %d times, want never", now-before)
	}
}
