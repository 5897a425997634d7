package policyd_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/export"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/state"
)

// listen makes bridges be awaited, as nobody needs to reach it here.
func listen(t *testing.T) func(*policyd.Deps) {
	t.Helper()
	sockets, err := policyd.ListenBridges(t.Context(), []policyd.BridgeListener{{ListenerConfig: hosts.ListenerConfig{Addr: "127.0.0.1:0"}}})
	if err != nil {
		t.Fatal(err)
	}
	return func(d *policyd.Deps) { d.Bridges = sockets }
}

// host adds a host that has bridge br0 with a VIF, and no switch that runs.
func (r *rig) host(name string, n int) *ovsdbtest.Server {
	r.t.Helper()
	server := ovsdbtest.Start(r.t, nil)
	server.VSCtl("--no-wait", "add-br", "br0", "--", "add-port", "br0", "vif1.0", "--", "set", "interface", "vif1.0", fmt.Sprintf(`external_ids:attached-mac="02:00:00:00:00:%02x"`, n),
		fmt.Sprintf("external_ids:xs-vif-uuid=11111111-0000-4000-8000-%012d", n), fmt.Sprintf("external_ids:xs-vm-uuid=22222222-0000-4000-8000-%012d", n))
	r.add(policyd.AddRequest{Name: name, Pool: "lab", Target: target(r.t, server.Socket())})
	r.until("the VIFs of "+name+" are known", func() bool { h, err := r.Host(name); return err == nil && h.VIFs == 1 })
	return server
}

func (r *rig) apply(text string, only ...string) policyd.Applied {
	r.t.Helper()
	a, err := r.ApplyPolicy(r.t.Context(), alice, policyd.ApplyRequest{PlanRequest: policyd.PlanRequest{Policy: text, Only: only}, ApplyOptions: policyd.ApplyOptions{Reason: "a test"}})
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) plan(text string, only ...string) policyd.PolicyPlan {
	r.t.Helper()
	p, err := r.PlanPolicy(r.t.Context(), policyd.PlanRequest{Policy: text, Only: only})
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) policy(name string) policyd.HostPolicy {
	r.t.Helper()
	s, err := r.PolicyStatus(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, h := range s.Hosts {
		if h.Host == name {
			return h
		}
	}
	r.t.Fatalf("no host %s in %+v", name, s)
	return policyd.HostPolicy{}
}

// numbers returns those of the rules in the estate, by verdict.
func (r *rig) numbers() map[uint32]flow.Verdict {
	m := map[uint32]flow.Verdict{}
	for _, x := range r.estate.Load().Rules() {
		m[x.Instance] = x.Verdict
	}
	return m
}

const twoRules = `default: deny
address_groups: [{name: inside, members: [10.0.0.0/8]}]
vm_groups: [{name: all, select: [{pool: lab}]}]
global:
  mandatory:
    - {id: a, action: allow, remote: address-group:inside}
    - {action: shadow, remote: vm-group:all}
`

// What is seen of a host just while somebody changes what is configured, as when many hosts are added at once, gets the policy like the rest.
func TestSeenWhileConfigured(t *testing.T) {
	r := startWith(t, t.TempDir(), listen(t))
	r.apply(`global: {mandatory: [{action: deny}]}`)
	server := r.host("hv1", 1)
	if err := r.SetMode(t.Context(), alice, "hv1", state.ModeEnforce); err != nil {
		t.Fatal(err)
	}
	var configured atomic.Bool
	r.events.mu.Lock()
	r.events.hear = func(e event.Event) {
		if e.Kind != event.VIFPlugged { // told when the estate has it, before anything else does
			return
		}
		if err := r.Configure(t.Context()); err != nil {
			t.Error(err)
		}
		configured.Store(true)
	}
	r.events.mu.Unlock()
	server.VSCtl("--no-wait", "add-br", "br1", "--", "add-port", "br1", "vif2.0", "--", "set", "interface", "vif2.0", `external_ids:attached-mac="02:00:00:00:00:02"`)
	r.until("the second bridge is told to dial", func() bool {
		h, err := r.Host("hv1")
		return err == nil && configured.Load() && slices.ContainsFunc(h.Exports, func(b export.Bridge) bool {
			return b.Name == "br1" && b.Controller != nil && b.Controller.State == attach.StateSet
		})
	})
}

// After a restart, groups have the VMs of a host that cannot be asked: those who may talk to them still may.
func TestGroupsOverRestartWithoutHost(t *testing.T) {
	dir := t.TempDir()
	remember := func(d *policyd.Deps) {
		listen(t)(d)
		d.Memory = hosts.NewMemory(filepath.Join(dir, "hosts"), hosts.MemoryDeps{Log: d.Log})
	}
	r := startWith(t, dir, remember)
	r.host("hv1", 1)
	away := r.host("hv2", 2)
	r.apply(`vm_groups: [{name: all, select: [{pool: lab}]}]
global: {mandatory: [{action: allow, remote: vm-group:all}]}`)
	members := func() (n int) {
		s := r.estate.Load()
		for mac := range uint64(2) {
			if ref, match := s.MAC(0x020000000001+mac, 0); match == estate.Hit {
				n += len(s.VMGroups(ref))
			}
		}
		return n
	}
	r.until("the group has both VMs", func() bool { return members() == 2 })
	r.stop()
	away.Stop()

	r = startWith(t, dir, remember)
	r.until("hv1 is back", func() bool { h, err := r.Host("hv1"); return err == nil && h.VIFs == 1 })
	r.until("the group has both VMs again", func() bool { return members() == 2 })
	if h, err := r.Host("hv2"); err != nil || h.State == ovsdb.StateConnected {
		t.Errorf("hv2 is %v, %v", h.State, err)
	}
	for _, s := range r.assembler.Sources() {
		if stale := !s.Stale.IsZero(); strings.HasSuffix(s.Title, "hv2") != stale {
			t.Errorf("source %+v", s)
		}
	}

	// A host that is removed is in no group, not after another restart either.
	if err := r.Remove(t.Context(), alice, "hv2", true); err != nil {
		t.Fatal(err)
	}
	r.until("the group has one VM", func() bool { return members() == 1 })
	r.stop()
	r = startWith(t, dir, remember)
	r.until("hv1 is back", func() bool { h, err := r.Host("hv1"); return err == nil && h.VIFs == 1 })
	r.until("the group has one VM", func() bool { return members() == 1 })
}

// A policy that is applied is kept with ids for all rules, and its rules and groups are in the estate.
func TestApplyPolicy(t *testing.T) {
	dir := t.TempDir()
	r := startWith(t, dir, listen(t))
	r.host("hv1", 1)
	r.until("the pool is known", func() bool { return r.estate.Load().Count(flow.KindPool) == 1 })
	if _, err := r.Policy(t.Context(), 0); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("a policy before there is one: %v", err)
	}
	p := r.plan(twoRules)
	if p.Base != 0 || len(p.Rules) != 3 || p.Instances != 3 || len(p.Hosts) != 0 || len(p.Refused) != 0 {
		t.Errorf("plan %+v", p)
	}
	if s, err := r.PolicyStatus(t.Context()); err != nil || s.Revision.Revision != 0 {
		t.Errorf("a plan changed something: %+v %v", s, err)
	}
	a := r.apply(twoRules)
	if a.Revision.Revision != 1 || a.Same || a.Rules != 2 || a.AppliedBy != "alice" || a.Reason != "a test" {
		t.Errorf("applied %+v", a)
	}
	kept, err := r.Policy(t.Context(), 0)
	if err != nil || strings.Count(kept.Policy, "id: ") != 2 {
		t.Errorf("kept %+v %v", kept, err)
	}
	if again := r.apply(twoRules); !again.Same || again.Revision.Revision != 1 { // the rule without an id is the one that there is
		t.Errorf("applied again: %+v", again)
	}
	want := map[uint32]flow.Verdict{256: flow.VerdictDenied, 257: flow.VerdictAllowed, 258: flow.VerdictShadowDenied}
	if got := r.numbers(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("numbers %v, want %v", got, want)
	}
	inside := flow.NewID(flow.KindAddressGroup, "inside")
	r.until("groups are in the estate", func() bool {
		s := r.estate.Load()
		return slices.Equal(s.AddressGroups(flow.Addr{10: 0xff, 11: 0xff, 12: 10}), []uint64{uint64(inside)}) && s.Count(flow.KindVMGroup) == 1
	})
	r.events.mu.Lock()
	told := slices.ContainsFunc(r.events.list, func(e event.Event) bool {
		return e.Kind == event.PolicyApplied && e.Attributes["by"] == "alice" && e.Attributes["reason"] == "a test" && e.Attributes["revision"] == "1"
	})
	r.events.mu.Unlock()
	if !told {
		t.Error("no event tells that it was applied")
	}

	// A rule that decides otherwise has another number; the others keep theirs, over a restart, too.
	r.stop()
	r = startWith(t, dir, listen(t))
	r.until("the host is back", func() bool { h, _ := r.Host("hv1"); return h.VIFs == 1 })
	changed := r.apply(strings.Replace(kept.Policy, "action: allow", "action: deny", 1))
	want = map[uint32]flow.Verdict{256: flow.VerdictDenied, 257: flow.VerdictAllowed, 258: flow.VerdictShadowDenied, 259: flow.VerdictDenied}
	if got := r.numbers(); fmt.Sprint(got) != fmt.Sprint(want) || changed.Revision.Revision != 2 {
		t.Errorf("revision %d, numbers %v, want %v", changed.Revision.Revision, got, want)
	}
}

// What cannot be is refused with what is wrong, and changes nothing.
func TestRefusedPolicy(t *testing.T) {
	small := func(d *policyd.Deps) { d.Policy.FlowsPerBridge = 50 } // the bridge alone has more
	bridges := listen(t)
	r := startWith(t, t.TempDir(), func(d *policyd.Deps) { bridges(d); small(d) })
	r.host("hv1", 1)
	if err := r.SetMode(t.Context(), alice, "hv1", state.ModeEnforce); err != nil {
		t.Fatal(err)
	}
	for want, text := range map[string]string{
		`"nobody" is no VM`: "vms: [{name: nobody}]", "want allow or deny": "default: perhaps", "the group holds itself": "address_groups: [{name: x, members: [address-group:x]}]",
		"host hv1, bridge br0": "default: deny",
	} {
		_, err := r.ApplyPolicy(t.Context(), alice, policyd.ApplyRequest{PlanRequest: policyd.PlanRequest{Policy: text}})
		isMistake(t, err, want)
	}
	if p := r.plan("default: deny"); len(p.Refused) != 1 || !strings.Contains(p.Refused[0], "host hv1, bridge br0") {
		t.Errorf("plan %+v", p)
	}
	_, err := r.ApplyPolicy(t.Context(), alice, policyd.ApplyRequest{PlanRequest: policyd.PlanRequest{Policy: "default: deny", Only: []string{"hv9"}}})
	if !errors.Is(err, state.ErrNotFound) {
		t.Errorf("at a host that is not there: %v", err)
	}
	if s, err := r.PolicyStatus(t.Context()); err != nil || s.Revision.Revision != 0 || len(s.Only) != 0 || len(r.numbers()) != 0 {
		t.Errorf("something was changed: %+v %v", s, err)
	}
}

// sees wants the settings of the VIFs of pool lab to be told, each as it is at its host: that of tried has guard_ip on, and no address that was told.
func (r *rig) sees(tried, other string) {
	r.t.Helper()
	ask := func(q policyd.EffectiveRequest) (names []string) {
		r.t.Helper()
		list, more, err := r.EffectiveSettings(r.t.Context(), q)
		if err != nil || more != (q.Limit == 1 && q.After == "") {
			r.t.Fatalf("%+v: %+v %t %v", q, list, more, err)
		}
		for _, v := range list {
			guard := v.Settings[slices.IndexFunc(v.Settings, func(s policy.EffectiveSetting) bool { return s.Key == "guard_ip" })]
			names = append(names, fmt.Sprintf("%s %s %d", v.VIF, guard.Value, len(v.Hosts)))
		}
		return names
	}
	want := []string{other + " off 1", tried + " on 1"}
	slices.Sort(want)
	vm, _, _ := strings.Cut(tried, "/")
	for _, x := range []struct {
		q    policyd.EffectiveRequest
		want []string
	}{
		{policyd.EffectiveRequest{Of: "estate"}, want},
		{policyd.EffectiveRequest{Of: "pool:lab"}, want},
		{policyd.EffectiveRequest{Of: "pool:lab", Limit: 2}, want},
		{policyd.EffectiveRequest{Of: "pool:lab", Unguarded: true}, []string{tried + " on 1"}},
		{policyd.EffectiveRequest{Of: "vm:" + vm}, []string{tried + " on 1"}},
		{policyd.EffectiveRequest{Of: "vif:" + tried}, []string{tried + " on 1"}},
	} {
		if diff := cmp.Diff(x.want, ask(x.q)); diff != "" {
			r.t.Errorf("%+v (-want +got):\n%s", x.q, diff)
		}
	}
	page, _, err := r.EffectiveSettings(r.t.Context(), policyd.EffectiveRequest{Of: "estate", Limit: 1})
	if err != nil || len(page) != 1 {
		r.t.Fatalf("%+v %v", page, err)
	}
	if diff := cmp.Diff(want, append(ask(policyd.EffectiveRequest{Of: "estate", Limit: 1}), ask(policyd.EffectiveRequest{Of: "estate", Limit: 1, After: page[0].Key()})...)); diff != "" {
		r.t.Errorf("in pages (-want +got):\n%s", diff)
	}
	for _, of := range []string{"pool:none", "vm:none", "vif:none"} {
		if _, _, err := r.EffectiveSettings(r.t.Context(), policyd.EffectiveRequest{Of: of}); !errors.Is(err, state.ErrNotFound) {
			r.t.Errorf("of %s: %v", of, err)
		}
	}
	for _, of := range []string{"", "pool:", "host:hv1", "lab"} {
		_, _, err := r.EffectiveSettings(r.t.Context(), policyd.EffectiveRequest{Of: of})
		isMistake(r.t, err, "want estate, pool:NAME, network:NAME, vm:NAME or vif:VM/DEVICE")
	}
	r.until("the VIF without addresses is counted", func() bool { return r.PolicySummary().Unguarded == 1 })
}

// A revision is tried at one host, then it is everywhere.
func TestCanary(t *testing.T) {
	r := startWith(t, t.TempDir(), listen(t))
	r.host("hv1", 1)
	r.host("hv2", 2)
	mode := "enforce"
	if err := r.SetPool(t.Context(), alice, "lab", policyd.PoolRequest{Mode: &mode}); err != nil {
		t.Fatal(err)
	}
	if h := r.policy("hv1"); h.Mode != state.ModeEnforce || h.State != policyd.HostNoPolicy {
		t.Errorf("by its pool: %+v", h)
	}
	r.apply("default: allow")
	r.until("hosts are being attached", func() bool {
		return r.policy("hv1").State == policyd.HostAttaching && len(r.policy("hv2").Bridges) == 1
	})
	if p := r.plan("default: deny", "hv2"); len(p.Hosts) != 1 || p.Hosts[0].Host != "hv2" || len(p.Rules) != 1 || p.Rules[0].Change != "changed" || len(p.VIFs) != 1 {
		t.Errorf("plan %+v", p)
	}
	all := r.plan("global: {settings: {guard_ip: on}}")
	one := r.plan("global: {settings: {guard_ip: on}}", "hv2")
	if len(all.Settings) != 1 || len(one.Settings) != 1 || all.SettingVIFs != 2 || one.SettingVIFs != 1 {
		t.Fatalf("settings at all hosts %+v, at one %+v", all.Settings, one.Settings)
	}
	vifs := all.Settings[0].VIFs
	if len(vifs) != 2 || !slices.Contains(vifs, one.Settings[0].VIFs[0]) || one.Settings[0].VIFs[0] == vifs[0] && one.Settings[0].VIFs[0] == vifs[1] {
		t.Errorf("settings at all hosts %+v, at one %+v", all.Settings, one.Settings)
	}
	r.apply("default: deny\nglobal: {settings: {guard_ip: on}}", "hv2")
	all = r.plan("default: deny\nglobal: {settings: {guard_ip: on, guard_mac: on}}")
	want := []policy.SettingChange{{Key: "guard_ip", Before: "off", BeforeLevel: "built in", After: "on", AfterLevel: "global", VIFs: slices.DeleteFunc(vifs, func(v string) bool { return v == one.Settings[0].VIFs[0] })}}
	if diff := cmp.Diff(want, all.Settings); diff != "" || all.SettingVIFs != 1 { // hv2 has it already, and who says that guard_mac is on changes nothing
		t.Errorf("%d VIFs (-want +got):\n%s", all.SettingVIFs, diff)
	}
	r.sees(one.Settings[0].VIFs[0], want[0].VIFs[0])
	r.apply("default: deny", "hv2")
	if one, two := r.policy("hv1").Revision, r.policy("hv2").Revision; one != 1 || two != 3 {
		t.Errorf("hv1 is to have %d, hv2 %d, want 1 and 3", one, two)
	}
	s, err := r.PolicyStatus(t.Context())
	if err != nil || len(s.Only) != 1 || s.Only[0].Host != "hv2" || s.Only[0].Revision.Revision != 3 || s.Revision.Revision != 1 {
		t.Errorf("%+v %v", s, err)
	}
	for name, want := range map[string]string{"22222222-0000-4000-8000-000000000001": "allow", "22222222-0000-4000-8000-000000000002": "deny"} {
		r.until("rules of "+name, func() bool { e, err := r.Effective(t.Context(), name); return err == nil && e.Default == want })
	}
	r.apply("default: deny")
	if one, two := r.policy("hv1").Revision, r.policy("hv2").Revision; one != 4 || two != 4 {
		t.Errorf("hv1 is to have %d, hv2 %d, want 4", one, two)
	}
	c, err := r.Compare(t.Context(), policyd.Version{Revision: 1}, policyd.Version{Revision: 2})
	want = []policy.SettingChange{{Key: "guard_ip", Before: "off", BeforeLevel: "built in", After: "on", AfterLevel: "global", VIFs: slices.Sorted(slices.Values(append(want[0].VIFs, one.Settings[0].VIFs...)))}}
	if diff := cmp.Diff(want, c.SettingChanges); err != nil || diff != "" || c.SettingVIFs != 2 || c.SettingUnknown != "" {
		t.Errorf("revision 2 compared with 1: %d VIFs, %q, %v (-want +got):\n%s", c.SettingVIFs, c.SettingUnknown, err, diff)
	}
	if n := len(r.numbers()); n != 2 {
		t.Errorf("%d numbers, want 2: that of the canary is that of all", n)
	}
}

// A rule is in force until it expires, without anybody doing anything.
func TestRuleExpires(t *testing.T) {
	r := startWith(t, t.TempDir(), listen(t))
	r.host("hv1", 1)
	r.until("the VIF is in the estate", func() bool { return r.estate.Load().Count(flow.KindVIF) == 1 })
	rules := func() string {
		e, err := r.Effective(t.Context(), "22222222-0000-4000-8000-000000000001")
		if err != nil {
			return err.Error()
		}
		var ids []string
		for _, x := range e.Rules {
			ids = append(ids, x.Rule)
		}
		return strings.Join(ids, " ")
	}
	seen := false
	for within := 2 * time.Second; !seen; within *= 2 { // a machine that is busy may be so slow that one has expired before anybody looks
		if within > patience {
			t.Fatal("both rules were never in force")
		}
		expires := time.Now().Add(within)
		r.apply(fmt.Sprintf("global: {default: [{id: soon, action: allow, expires: %s}, {id: for-ever, action: deny}]}", expires.Format(time.RFC3339Nano)))
		r.until("both rules are in force, or one has expired", func() bool {
			seen = rules() == "soon for-ever"
			return seen || !time.Now().Before(expires)
		})
	}
	r.until("one has expired", func() bool { return rules() == "for-ever" })
}

// Hosts cannot be enforced where nothing listens for their bridges; what to do is said.
func TestModes(t *testing.T) {
	r := start(t, t.TempDir())
	r.host("hv1", 1)
	isMistake(t, r.SetMode(t.Context(), alice, "hv1", state.ModeEnforce), "policy: {listeners:")
	mode, sampling := "enforce", "all"
	isMistake(t, r.SetPool(t.Context(), alice, "lab", policyd.PoolRequest{Mode: &mode}), "policy: {listeners:")
	isMistake(t, r.SetPool(t.Context(), alice, "lab", policyd.PoolRequest{Sampling: &sampling}), "sampling")
	if p, err := r.PlanMode(t.Context(), "hv1", state.ModeEnforce); err != nil || len(p.Refused) != 1 {
		t.Errorf("plan %+v %v", p, err)
	}
	if err := r.SetMode(t.Context(), alice, "nobody", state.ModeObserve); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("mode of nobody: %v", err)
	}
	if h := r.policy("hv1"); h.State != policyd.HostObserving || h.Mode != state.ModeObserve {
		t.Errorf("%+v", h)
	}
}

// Collectors that do not know the numbers in time hold a policy up no longer than is configured, and are named.
func TestCollectorsThatLag(t *testing.T) {
	asked := make(chan []state.Instance, 8)
	r := startWith(t, t.TempDir(), func(d *policyd.Deps) {
		d.Policy.CollectorWait = 50 * time.Millisecond
		d.Announce = func(ctx context.Context, live []state.Instance) ([]string, error) {
			asked <- live
			<-ctx.Done()
			return []string{"c1"}, ctx.Err()
		}
	})
	a := r.apply("default: deny")
	if !slices.Equal(a.Waited, []string{"c1"}) {
		t.Errorf("%+v", a)
	}
	if live := <-asked; len(live) != 1 || live[0].Instance != 256 || live[0].Action != "deny" {
		t.Errorf("announced %+v", live)
	}
}

// After a start, a host where policy is switched off is told so while others wait until all have said what exists; switched on again before
// that, it keeps what it has.
func TestBypassWhileHostsAreAwaited(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a host that is not there")
	}
	dir := t.TempDir()
	r := startWith(t, dir, listen(t))
	r.host("hv1", 1)
	r.host("hv2", 2)
	mode := "enforce"
	if err := r.SetPool(t.Context(), alice, "lab", policyd.PoolRequest{Mode: &mode}); err != nil {
		t.Fatal(err)
	}
	r.apply("default: deny")
	r.until("both are being attached", func() bool { return len(r.policy("hv1").Bridges) == 1 && len(r.policy("hv2").Bridges) == 1 })
	r.add(policyd.AddRequest{Name: "hv3", Pool: "lab", Target: target(t, "unix:"+filepath.Join(dir, "nobody"))})
	r.stop()

	r = startWith(t, dir, listen(t))
	if _, err := r.Bypass(t.Context(), alice, policyd.BypassRequest{Target: "host:hv1"}); err != nil {
		t.Fatal(err)
	}
	told := func() (one, two int) { // at once, so that nothing comes in between
		s, err := r.PolicyStatus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		bridges := map[string]int{}
		for i := range s.Hosts {
			bridges[s.Hosts[i].Host] = len(s.Hosts[i].Bridges)
		}
		return bridges["hv1"], bridges["hv2"]
	}
	r.until("hv1 is told, hv2 waits", func() bool { one, two := told(); return one == 1 && two == 0 })
	if _, err := r.EndBypass(t.Context(), alice, "host:hv1"); err != nil {
		t.Fatal(err)
	}
	r.until("hv2 is told", func() bool {
		one, two := told()
		if one != 1 {
			t.Fatal("hv1 does not keep what it has")
		}
		return two == 1
	})
}

// Policy is switched off by all that targets are called, and on again; what it concerns are the hosts of the target, whether they are reached or not.
func TestBypassTargets(t *testing.T) {
	dir := t.TempDir()
	r := startWith(t, dir, listen(t))
	r.host("hv1", 1)
	r.add(policyd.AddRequest{Name: "away", Pool: "lab", Target: target(t, "unix:"+filepath.Join(dir, "nobody"))})
	r.add(policyd.AddRequest{Name: "odd", Target: target(t, "unix:"+filepath.Join(dir, "nobody else"))})
	r.until("the VIF is in the estate", func() bool { return r.estate.Load().Count(flow.KindVIF) == 1 })
	const name = "22222222-0000-4000-8000-000000000001"
	concerned := map[string][]string{
		"estate": {"away", "hv1", "odd"}, "pool:lab": {"away", "hv1"}, "host:hv1": {"hv1"}, "vif:" + name + "/0": {"hv1"}, "vif:11111111-0000-4000-8000-000000000001": {"hv1"},
	}
	for target := range concerned {
		b, err := r.Bypass(t.Context(), alice, policyd.BypassRequest{Target: target, Reason: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if s := r.PolicySummary(); s.Bypasses != 1 || len(s.Problems) == 0 || !strings.Contains(s.Problems[0], "POLICY IS OFF for "+b.Target) {
			t.Errorf("%s: %+v", target, s)
		}
		e, err := r.EndBypass(t.Context(), alice, b.Target)
		if err != nil || e.Target != b.Target {
			t.Errorf("%s: %+v, %v", target, e, err)
		}
		for _, c := range []policyd.Concern{b.Concern, e.Concern} {
			if !slices.Equal(c.Concerned, concerned[target]) {
				t.Errorf("%s concerns %v, want %v", target, c.Concerned, concerned[target])
			}
		}
	}
	for _, target := range []string{"pool:none", "host:none", "vif:none/0"} {
		if _, err := r.Bypass(t.Context(), alice, policyd.BypassRequest{Target: target}); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("%s: %v", target, err)
		}
	}
	for target, want := range map[string]string{ // who hurries mistypes
		"pool:labb": `find pool "labb": not found; did you mean "lab"?`, "host:hv2": `find host "hv2": not found; did you mean "hv1"?`,
		"host:something": `find host "something": not found: weir hosts list shows all`, "vif:" + name + "/1": `did you mean "` + name + `/0"?`,
	} {
		if _, err := r.Bypass(t.Context(), alice, policyd.BypassRequest{Target: target}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", target, err, want)
		}
	}
	if _, err := r.Service.Host("hv2"); err == nil || !strings.Contains(err.Error(), `find host "hv2": not found; did you mean "hv1"?`) {
		t.Errorf("host hv2: %v", err)
	}
	for _, target := range []string{"everything", "estate:x", ""} {
		_, err := r.Bypass(t.Context(), alice, policyd.BypassRequest{Target: target})
		isMistake(t, err, "want estate")
	}
	if _, err := r.EndBypass(t.Context(), alice, "estate"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("ended what is not: %v", err)
	}
}

// VMs of two pools may have one name. What is done to the VIF of one of them says whose it is, and it is found again by what is said.
func TestNamesOfTwoPools(t *testing.T) {
	r := startWith(t, t.TempDir(), listen(t))
	vm := func(pool, uuid string, mac estate.MAC) estate.VM {
		return estate.VM{Name: "web", UUID: uuid, Pool: pool, VIFs: []estate.VIF{{Device: "0", MAC: mac}}}
	}
	r.assembler.Set(estate.FileSource, &estate.Model{Pools: []estate.Pool{{Name: "north"}, {Name: "south"}}, VMs: []estate.VM{
		vm("north", "22222222-0000-4000-8000-000000000001", 0x020000000001), vm("south", "22222222-0000-4000-8000-000000000002", 0x020000000002),
		{Name: "db", UUID: "22222222-0000-4000-8000-000000000003", Pool: "north", VIFs: []estate.VIF{{Device: "0", MAC: 0x020000000003}, {Device: "1", MAC: 0x020000000004}}},
	}}, time.Now())
	r.until("the VIFs are in the estate", func() bool { return r.estate.Load().Count(flow.KindVIF) == 4 })
	r.apply("default: allow")
	_, err := r.Quarantine(t.Context(), alice, policyd.QuarantineRequest{VIF: "web/0"})
	isMistake(t, err, "write it as pool/VM/DEVICE")
	_, err = r.Quarantine(t.Context(), alice, policyd.QuarantineRequest{VIF: "db"})
	if want := `find VIF "db": not found: that is a VM with 2 VIFs: db/0, db/1`; !errors.Is(err, state.ErrNotFound) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	q, err := r.Quarantine(t.Context(), alice, policyd.QuarantineRequest{VIF: "south/web/0"})
	if err != nil || q.VIF != "south/web/0" {
		t.Fatalf("%+v, %v", q, err)
	}
	if _, err := r.Release(t.Context(), alice, q.VIF); err != nil {
		t.Error(err)
	}
	b, err := r.Bypass(t.Context(), alice, policyd.BypassRequest{Target: "vif:north/web/0"})
	if err != nil || b.Target != "vif:north/web/0" {
		t.Fatalf("%+v, %v", b, err)
	}
	if _, err := r.EndBypass(t.Context(), alice, b.Target); err != nil {
		t.Error(err)
	}
}

// A VIF is quarantined and released under all its names, once; it stays so over a restart, and is shown with what guards say of it.
func TestQuarantine(t *testing.T) {
	dir := t.TempDir()
	r := startWith(t, dir, listen(t))
	r.host("hv1", 1)
	r.add(policyd.AddRequest{Name: "hv2", Pool: "lab", Target: target(t, "unix:"+filepath.Join(dir, "nobody"))})
	r.until("the VIF is in the estate", func() bool { return r.estate.Load().Count(flow.KindVIF) == 1 })
	r.apply("default: allow")
	const name = "22222222-0000-4000-8000-000000000001"
	const uuid = "11111111-0000-4000-8000-000000000001"
	for _, called := range []string{name, name + "/0", "lab/" + name + "/0", uuid} {
		q, err := r.Quarantine(t.Context(), alice, policyd.QuarantineRequest{VIF: called, Reason: "scans"})
		if err != nil || q.VIF != name+"/0" || q.By != "alice" || q.Reason != "scans" || len(q.Hosts) != 1 || q.Hosts[0].State != policyd.HostObserving {
			t.Fatalf("%s: %+v, %v", called, q, err)
		}
		if s := r.PolicySummary(); s.Quarantined != 1 || len(s.Problems) == 0 || !strings.Contains(s.Problems[0], q.VIF+" IS QUARANTINED") {
			t.Errorf("%s: %+v", called, s)
		}
		if c, err := r.Release(t.Context(), alice, called); err != nil || !slices.Equal(c.Concerned, []string{"hv1"}) || !slices.Equal(q.Concerned, c.Concerned) {
			t.Errorf("%s: %v concerned, %v then, %v", called, q.Concerned, c.Concerned, err)
		}
		if _, err := r.Release(t.Context(), alice, called); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("%s is released twice: %v", called, err)
		}
	}
	if _, err := r.Quarantine(t.Context(), alice, policyd.QuarantineRequest{VIF: "none/0"}); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("of a VIF that is not there: %v", err)
	}
	q, err := r.Quarantine(t.Context(), alice, policyd.QuarantineRequest{VIF: uuid, Reason: "scans"})
	if err != nil {
		t.Fatal(err)
	}
	r.stop()

	r = startWith(t, dir, listen(t))
	r.until("policy and the VIF are known again", func() bool {
		e, err := r.Effective(t.Context(), uuid)
		return err == nil && strings.Contains(e.Quarantined, "by alice: scans")
	})
	if s, err := r.PolicyStatus(t.Context()); err != nil || len(s.Quarantined) != 1 || s.Quarantined[0].ID != q.ID {
		t.Errorf("%+v, %v", s.Quarantined, err)
	}
	if _, err := r.Release(t.Context(), alice, strconv.FormatUint(uint64(q.ID), 10)); err != nil {
		t.Errorf("by id: %v", err)
	}
}
