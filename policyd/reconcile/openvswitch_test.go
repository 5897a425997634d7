package reconcile_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/compile/compiletest"
	"github.com/weirhq/weir/policyd/policy/policytest"
	"github.com/weirhq/weir/policyd/reconcile"
)

// What is wanted is installed, beside what others have there; a change changes what differs and nothing else.
func TestInstall(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, 4)
	foreign := []string{"cookie=1,table=0,priority=8000,in_port=1,ip,actions=NORMAL", "table=7,priority=5,actions=drop"}
	for _, f := range foreign {
		r.ofctl("add-flow", "br0", f)
	}
	first := policy(4, 20, nil)
	r.want(1, first)
	r.installed(1)
	r.holds(first, foreign...)
	if got := r.events.kinds(); got != "policy_installed" {
		t.Errorf("events %q, want policy_installed", got)
	}
	if e := r.events.of(event.PolicyInstalled)[0]; e.Text != `bridge "br0" holds the policy: 32 flows were installed` || e.Subject != r.hosts[0].Name+"/br0" {
		t.Errorf("event %+v", e)
	}

	if got := r.events.of(event.PolicyForeign); len(got) != 0 {
		t.Errorf("told %+v, want nothing of flows of others", got)
	}

	// One rule is another, one is gone, one is new, and a VIF comes.
	second := policy(5, 20, func(list []openflow.Flow) []openflow.Flow {
		list[len(list)-1] = rule(19, 5019)
		list[len(list)-2] = rule(100, 5100)
		return list
	})
	r.want(2, second)
	for _, s := range r.Wait(t.Context(), 2) {
		if !s.Has(2) {
			t.Errorf("%+v, want revision 2", s)
		}
	}
	r.holds(second, foreign...)
	for what, want := range map[string]float64{"added": 32 + 3, "replaced": 1, "removed": 1, "group": 2} {
		if got := r.metric(t, "weir_policyd_reconcile_changes_total", `what="`+what+`"`); got != want {
			t.Errorf("%v %s, want %v", got, what, want)
		}
	}
	if got := r.metric(t, "weir_policyd_reconcile_bundles_total", ""); got != 2 {
		t.Errorf("%v bundles, want 2", got)
	}
	if got := r.events.kinds(); got != "policy_installed" {
		t.Errorf("events %q, want no other", got)
	}

	// Another Weir finds it and leaves it, counters too.
	r.send(3, 2)
	r.start(reconcile.Config{}, nil)
	r.want(7, second)
	r.installed(7)
	r.holds(second, foreign...)
	if got := r.metric(t, "weir_policyd_reconcile_bundles_total", ""); got != 0 {
		t.Errorf("%v bundles, want none", got)
	}
	if got := r.events.kinds(); got != "" {
		t.Errorf("events %q, want none", got)
	}
	if got := r.ofctl("dump-flows", "br0", fmt.Sprintf("table=30,cookie=%v/-1", rule(3, firstRule+3).Cookie)); !strings.Contains(got, "n_packets=2,") {
		t.Errorf("found %s, want that it counted two packets", got)
	}
}

// What others do to flows of ours is set right, and each of it is told once, in words.
func TestDriftIsRepairedAndTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, 4)
	d := policy(4, 20, nil)
	r.want(1, d)
	r.installed(1)
	deny := "table=30,priority=103,udp,nw_dst=10.0.0.3,tp_dst=53"
	for n, do := range []struct {
		what string
		args []string
		says string
	}{
		{"a flow is removed", []string{"--strict", "del-flows", "br0", deny}, `1 flow was missing (rule 1003 (table 30) "r1003")`},
		{"a flow is changed", []string{"mod-flows", "br0", deny + ",actions=drop"}, `1 flow was changed (rule 1003 (table 30) "r1003")`},
		{"somebody else's takes its place", []string{"add-flow", "br0", deny + ",cookie=7,actions=NORMAL"}, `1 flow was changed (rule 1003 (table 30) "r1003")`},
		{"one is added with our cookie", []string{"add-flow", "br0", "cookie=0x5745000800000999,table=30,priority=60000,actions=NORMAL"}, `1 flow had been added (rule 2457 (table 30) "r2457")`},
		{"a group is changed", []string{"mod-group", "br0", "group_id=1459618048,type=all,bucket=output:1"}, "1 group was missing or changed (mod-group group_id=1459618048,"},
		{"all groups are removed, and the flows that use them", []string{"del-groups", "br0"}, `1 flow was missing (deliver (table 40)), 1 group was missing or changed (add-group`},
		{"all flows of ours are removed", []string{"del-flows", "br0", "cookie=0x5745000000000000/0xffff000000000000"}, "32 flows were missing ("},
	} {
		r.ahead.Add(int64(11 * time.Minute)) // else it would yield to so much
		r.ofctl(do.args...)
		r.audit()
		r.installed(1)
		r.holds(d)
		told := r.events.of(event.PolicyDrift)
		if len(told) != n+1 || !strings.Contains(told[n].Text, `bridge "br0": `+do.says) || !strings.HasSuffix(told[n].Text, "; it is set right") {
			t.Fatalf("%s: events %+v, want %d of which the last one says %q", do.what, told, n+1, do.says)
		}
		if s := r.status(); s.Drift == 0 || s.Repaired != s.Drift {
			t.Errorf("%s: %d found, %d repaired, want as many", do.what, s.Drift, s.Repaired)
		}
	}
}

// It is noticed within seconds, without being asked for.
func TestDriftIsNoticed(t *testing.T) {
	long(t)
	r := newRig(t, 2, 4)
	d := policy(4, 20, nil)
	r.want(1, d)
	r.installed(1)
	r.ofctl("del-flows", "br0", "table=30")
	began := time.Now()
	r.await("it is repaired", func(s reconcile.BridgeStatus) bool { return s.Repaired == 21 })
	t.Logf("repaired after %s", time.Since(began))
	r.holds(d)
}

// A database that was restarted does not know the datapath id for a moment: the connection stays, and what is wanted then is installed.
func TestDatapathIDThatIsNotKnownAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, 2)
	r.want(1, policy(2, 3, nil))
	r.installed(1)
	since := r.status().Connected
	b := r.bridge(0, 2, policy(2, 4, nil))
	b.DatapathID = 0
	r.Set([]reconcile.Bridge{b})
	r.installed(2)
	if got := r.status().Connected; !got.Equal(since) {
		t.Errorf("connected since %v, want %v", got, since)
	}
}

// A switch that was started anew gets its flows again, and that is no drift.
func TestSwitchRestarts(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, 4)
	d := policy(4, 20, nil)
	r.want(1, d)
	r.installed(1)
	since := r.status().Connected
	if err := r.hosts[0].RestartSwitch(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.await("it is connected anew", func(s reconcile.BridgeStatus) bool { return s.Connected.After(since) && s.Has(1) })
	r.holds(d)
	if got := r.events.kinds(); got != "policy_installed policy_installed" || !strings.Contains(r.events.of(event.PolicyInstalled)[1].Text, "all flows were gone") {
		t.Errorf("events %+v, want that they were installed twice", r.events.list)
	}
}

// Flows and groups of others that bypass policy are told, and left alone.
func TestForeignFlows(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, 4)
	d := policy(4, 20, nil)
	harmless := []string{"cookie=1,table=0,priority=60000,in_port=1,actions=NORMAL", "table=9,priority=1,actions=drop"}
	harmful := []string{"table=0,priority=65000,in_port=1,actions=NORMAL", "cookie=9,table=30,priority=0,udp,actions=drop"}
	for _, f := range harmless {
		r.ofctl("add-flow", "br0", f)
	}
	r.want(1, d)
	r.installed(1)
	if got := r.events.of(event.PolicyForeign); len(got) != 0 || r.status().Bypasses != 0 {
		t.Errorf("told of %+v, want nothing: %v", got, harmless)
	}
	for _, f := range harmful {
		r.ofctl("add-flow", "br0", f)
	}
	for range 2 {
		r.audit()
	}
	r.holds(d, slices.Concat(harmless, harmful)...)
	told := r.events.of(event.PolicyForeign)
	if len(told) != 1 || !strings.Contains(told[0].Text, "2 of others bypass policy") || !strings.Contains(told[0].Text, "priority=65000") || r.status().Bypasses != 2 {
		t.Errorf("told %+v, want once of both", told)
	}
}

// A flow of others at the very place of one of ours gives way, and that is told.
func TestDisplacedFlow(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, 4)
	d := policy(4, 20, nil)
	r.ofctl("add-flow", "br0", "cookie=5,table=0,priority=60001,actions=NORMAL")
	r.want(1, d)
	r.installed(1)
	r.holds(d)
	told := r.events.of(event.PolicyForeign)
	if len(told) != 1 || !strings.Contains(told[0].Text, "1 flows of others have table, priority and match of flows of Weir's, and are replaced: table=0,priority=60001,cookie=0x5 actions=NORMAL") {
		t.Errorf("told %+v, want that it gave way", told)
	}
}

// A group of others with an id of ours is left alone, and said to be in the way; when it is gone the policy goes in.
func TestForeignGroup(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, 4)
	d := policy(4, 20, nil)
	theirs := fmt.Sprintf("group_id=%d,type=all,bucket=output:1", uint32(group))
	r.ofctl("add-group", "br0", theirs)
	r.want(1, d)
	r.await("it fails", func(s reconcile.BridgeStatus) bool { return s.State == reconcile.StateFailed })
	if s := r.status(); !strings.Contains(s.Error, fmt.Sprintf("found group %d, which is wanted otherwise and is not Weir's", uint32(group))) || s.Bypasses != 1 {
		t.Errorf("%+v, want that the group is in the way", s)
	}
	if got := r.ofctl("dump-groups", "br0"); !strings.Contains(got, "bucket=actions=output:") {
		t.Errorf("groups %s, want theirs", got)
	}
	if got := r.events.kinds(); got != "policy_foreign policy_failed" {
		t.Errorf("events %q", got)
	}
	r.ofctl("del-groups", "br0")
	r.installed(1)
	r.holds(d)
}

// What the switch does not take changes nothing; what was there before is kept up; what is wanted next goes in.
func TestRefused(t *testing.T) {
	long(t)
	r := newRig(t, 2, 4)
	first := policy(4, 20, nil)
	r.want(1, first)
	r.installed(1)
	bad := policy(4, 20, func(list []openflow.Flow) []openflow.Flow {
		list = append(list, rule(50, 1050), rule(51, 1051))
		list[len(list)-1].Actions = openflow.NewActions(openflow.ToGroup{ID: 12345}) // there is none
		return list
	})
	r.want(2, bad)
	for _, s := range r.Wait(t.Context(), 2) {
		if s.State != reconcile.StateFailed || s.Verified != 1 || !strings.HasPrefix(s.Error, `change rule 1051 (table 30) "r1051": `) {
			t.Errorf("%+v, want that rule r1051 is refused", s)
		}
	}
	r.holds(first)
	if told := r.events.of(event.PolicyFailed); len(told) != 1 || !strings.HasSuffix(told[0].Text, "what was there before is still in force") {
		t.Errorf("told %+v, want it once", told)
	}
	r.ofctl("del-flows", "br0", "table=30")
	r.await("what was there before is kept up", func(s reconcile.BridgeStatus) bool { return s.Repaired == 21 })
	r.holds(first)
	next := policy(4, 21, nil)
	r.want(3, next)
	r.installed(3)
	r.holds(next)
}

// Others who undo it again and again: Weir comes back ever later, and says so.
func TestContested(t *testing.T) {
	long(t)
	r := newRig(t, 2, 4)
	d := policy(4, 20, nil)
	r.want(1, d)
	r.installed(1)
	for n := range 5 {
		r.ofctl("del-flows", "br0", "table=30")
		repaired := uint64(21 * (n + 1))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_ = r.Audit(ctx, r.key(0)) // while it waits that is what it says
		cancel()
		if n >= 3 {
			if s := r.status(); s.State != reconcile.StateYielding && s.Repaired != repaired {
				t.Errorf("%d. time: %+v, want that it waits", n+1, s)
			}
		}
		r.await("it is repaired", func(s reconcile.BridgeStatus) bool { return s.Repaired == repaired })
	}
	r.installed(1)
	r.holds(d)
	told := r.events.of(event.PolicyDrift)
	if len(told) != 5 || !strings.Contains(told[3].Text, "for the 4. time in a row") || !strings.HasSuffix(told[3].Text, "it is set right in 2s") || !strings.HasSuffix(told[4].Text, "in 4s") {
		t.Errorf("told %+v, want five times, the last two with a pause", told)
	}
}

// Flows that the switch learned by ours are no drift; they go when their VIF is gone.
func TestLearnedFlows(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, 4)
	d := policy(4, 20, nil)
	r.want(1, d)
	r.installed(1)
	var learned []string
	for port := range 2 {
		learned = append(learned, fmt.Sprintf("cookie=%v,table=45,priority=10,dl_dst=02:00:00:00:00:0%d,actions=load:%#x->NXM_NX_REG6[]", compile.Cookie(0, compile.KindLearned, uint32(port+3)), port, port+3))
		r.ofctl("add-flow", "br0", learned[port])
	}
	r.audit()
	r.holds(d, learned...)
	if s := r.status(); s.Learned != 2 || s.Drift != 0 || !s.Has(1) {
		t.Errorf("%+v, want two learned flows and no drift", s)
	}
	less := policy(3, 20, nil) // port 4 is gone
	r.want(2, less)
	r.installed(2)
	r.await("what was learned of port 4 is gone", func(s reconcile.BridgeStatus) bool { return s.Learned == 1 })
	r.holds(less, learned[:1]...)
	if got := r.events.kinds(); got != "policy_installed" {
		t.Errorf("events %q, want no drift", got)
	}
}

// Removed is all that is ours and nothing else; then the policy comes back if it is wanted again.
func TestRemove(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, 4)
	for _, h := range r.hosts {
		if err := h.SetForeign(t.Context(), "br0"); err != nil {
			t.Fatal(err)
		}
	}
	before := r.dump()
	d := policy(4, 20, nil)
	r.want(1, d)
	r.installed(1)
	r.ofctl("add-flow", "br0", fmt.Sprintf("cookie=%v,table=45,priority=10,actions=load:3->NXM_NX_REG6[]", compile.Cookie(0, compile.KindLearned, 3)))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Remove(ctx, r.key(0)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, r.dump()); diff != "" {
		t.Errorf("after removal (-before +after):\n%s", diff)
	}
	if err := r.Remove(ctx, r.key(0)); err != nil { // once more
		t.Fatal(err)
	}
	if got := r.events.kinds(); got != "policy_installed policy_removed" {
		t.Errorf("events %q", got)
	}
	r.want(2, d)
	r.installed(2)
	ovsdbtest.Until(t, "it is told", func() bool { return r.events.kinds() == "policy_installed policy_removed policy_installed" })
	b := r.bridge(0, 2, d)
	b.Detach = true
	r.Set([]reconcile.Bridge{b})
	r.await("it is detached", func(s reconcile.BridgeStatus) bool { return s.State == reconcile.StateDetached })
	if diff := cmp.Diff(before, r.dump()); diff != "" {
		t.Errorf("after removal by another Weir (-before +after):\n%s", diff)
	}
	if err := r.hosts[0].SetControllers(ctx, "br0"); err != nil {
		t.Fatal(err)
	}
	r.await("it is offline", func(s reconcile.BridgeStatus) bool { return s.State == reconcile.StateOffline })
	gone, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	if err := r.Remove(gone, r.key(0)); err == nil || !strings.Contains(err.Error(), "it is offline") {
		t.Errorf("removal from a bridge that is not connected: %v", err)
	}
}

// What policies compile to is taken by a switch, read back as it was wanted, and changes step by step from one to the next.
func TestCompiledPolicies(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(chance.Seed(t), 0))
	r := newRig(t, 2, 4)
	c := compile.New()
	worlds, flows := 12, 0
	for revision := range uint64(worlds) {
		in := compiletest.Random(rng, policytest.New(rng, policytest.Small))
		d, err := c.Compile(in)
		if err != nil {
			t.Fatal(err)
		}
		r.want(revision+1, d)
		r.installed(revision + 1)
		r.holds(d)
		flows += d.Len()
	}
	r.audit()
	if got := r.events.kinds(); got != "policy_installed" {
		t.Errorf("events %+v, want no drift: what is read back is what was wanted", r.events.list)
	}
	t.Logf("%d flows of %d policies", flows, worlds)
}

// A switch that does not answer holds up nobody but itself, and gets what is wanted when it answers again.
func TestFrozenSwitch(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, 4)
	both := func(revision uint64, d *compile.Desired) {
		r.Set([]reconcile.Bridge{r.bridge(0, revision, d), r.bridge(1, revision, d)})
	}
	stand := func() map[string]reconcile.BridgeStatus {
		m := map[string]reconcile.BridgeStatus{}
		for _, s := range r.Status() {
			m[s.HostUUID] = s
		}
		return m
	}
	both(1, policy(4, 20, nil))
	for i := range r.hosts {
		ovsdbtest.Until(t, "revision 1 is installed", func() bool { s := stand()[r.hosts[i].UUID]; return s.Has(1) })
	}
	if err := r.hosts[0].Freeze(); err != nil {
		t.Fatal(err)
	}
	both(2, policy(4, 25, nil))
	ovsdbtest.Until(t, "the other has revision 2", func() bool { s := stand()[r.hosts[1].UUID]; return s.Has(2) })
	if s := r.status(); s.Has(2) {
		t.Errorf("%+v, want that it has not revision 2", s)
	}
	if err := r.hosts[0].Thaw(); err != nil {
		t.Fatal(err)
	}
	r.installed(2)
}

// Ten thousand flows, of which half are removed by somebody.
func TestManyFlows(t *testing.T) {
	long(t)
	r := newRig(t, 2, 4)
	d := policy(4, 10_000, nil)
	r.want(1, d)
	r.installed(1)
	r.ofctl("del-flows", "br0", "table=30,cookie=0x5745000800000000/0xffff00ff00000001") // even instances
	r.audit()
	if s := r.status(); s.Repaired != 5001 || !s.Has(1) { // with the one of instance 0
		t.Errorf("%+v, want 5001 repaired", s)
	}
	r.holds(d)
}
