package export_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/export"
	"github.com/weirhq/weir/policyd/mirror"
	"github.com/weirhq/weir/policyd/policy"
)

// database starts one with bridges br0 and br1, and something of others in their external_ids.
func database(t *testing.T, edit func(schema map[string]any)) *ovsdbtest.Server {
	t.Helper()
	s := ovsdbtest.Start(t, edit)
	s.VSCtl("--no-wait", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "external_ids:theirs=1",
		"--", "add-br", "br1", "--", "set", "Open_vSwitch", ".", "external_ids:system-id=x")
	applied(t, s.Socket())
	return s
}

// client runs ovsdb-client.
func client(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ovsdb-client", args...).CombinedOutput(); err != nil || strings.Contains(string(out), "error") {
		t.Fatalf("ovsdb-client %v: %v: %s", args, err, out)
	}
}

func list(s *ovsdbtest.Server, table string) string { return s.VSCtl("--no-wait", "list", table) }

func TestExportIsSetUpAndComesBack(t *testing.T) {
	s := database(t, nil)
	w, _ := start(t, s.Socket(), settings(nil))
	w.await(t, "br0=set br1=set")
	ipfix, netflow := list(s, "IPFIX"), list(s, "NetFlow")
	for in, want := range map[string][]string{
		ipfix:   {`"192.0.2.5:4739"`, "sampling            : 1\n", `enable-input-sampling="false"`, `enable-output-sampling="true"`, "weir-owner=" + instance, "cache_active_timeout: 60"},
		netflow: {`"192.0.2.5:4739"`, "active_timeout      : 60", "weir-owner=" + instance},
	} {
		for _, x := range want {
			if !strings.Contains(in, x) {
				t.Errorf("found\n%s\nwant %q in it", in, x)
			}
		}
	}
	set := w.events.of(event.ExportSet)
	if len(set) != 2 || set[0].Subject != "hv1/br0" || set[0].Bridge != flow.NewID(flow.KindBridge, identity.UUID+"/br0") || set[0].Host != flow.NewID(flow.KindHost, identity.UUID) || set[0].Pool != identity.Pool ||
		set[0].Text != `bridge "br0" exports IPFIX of every packet to 192.0.2.5:4739 (userspace datapath: looking at every packet costs little)` || set[1].Subject != "hv1/br1" {
		t.Errorf("events %+v, want that br0 and br1 export", set)
	}

	// What the tools of a host do.
	for n, wipe := range [][]string{{"emer-reset"}, {"clear", "bridge", "br0", "ipfix"}, {"clear", "bridge", "br1", "netflow"}} {
		s.VSCtl(append([]string{"--no-wait"}, wipe...)...)
		ovsdbtest.Until(t, "what was removed is back", func() bool { return list(s, "IPFIX") != "" && list(s, "NetFlow") != "" })
		w.await(t, "br0=set br1=set")
		want := 2 + n // emer-reset took two
		ovsdbtest.Until(t, "it is told", func() bool { return len(w.events.of(event.ExportWiped)) == want })
	}
	w.events.atOnce(t)
	ovsdbtest.Until(t, "it is told that all is back", func() bool { return len(w.events.of(event.ExportSet)) == 6 })

	s.VSCtl("--no-wait", "del-br", "br1", "--", "add-br", "br2", "--", "set", "bridge", "br2", "datapath_type=netdev")
	w.await(t, "br0=set br2=set")
	s.Stop()
	s.Run()
	s.VSCtl("--no-wait", "add-br", "br3")
	w.await(t, "br0=set br2=set br3=set")
	if n := len(w.events.of(event.ExportWiped)); n != 4 {
		t.Errorf("%d events of wiping, want 4: of what others did", n)
	}

	// Another Weir of the same instance finds it as it is to be: nothing happens.
	before := ovsdbtest.Dump(t, s.Socket(), false)
	other, _ := start(t, s.Socket(), settings(nil))
	other.await(t, "br0=set br2=set br3=set")
	if diff := cmp.Diff(before, ovsdbtest.Dump(t, s.Socket(), false)); diff != "" || len(other.events.list) != 0 {
		t.Errorf("after a restart: events %v, and the host differs:\n%s", other.events.list, diff)
	}
}

// Settings that change are applied, and an export by NetFlow gives way to one by IPFIX in one step.
func TestOtherSettings(t *testing.T) {
	s := database(t, nil)
	w, _ := start(t, s.Socket(), settings(func(s *export.Settings) { s.Protocol = export.NetFlow }))
	w.await(t, "br0=set br1=set")
	for _, c := range []struct {
		change        func(*export.Settings)
		stand         string
		ipfix, netflo int
	}{
		{func(s *export.Settings) { s.Protocol = export.IPFIX }, "br0=set br1=set", 2, 0},
		{func(s *export.Settings) { s.Protocol, s.Sampling = export.IPFIX, 9 }, "br0=set br1=set", 2, 0},
		{func(s *export.Settings) { s.Bridges = map[string]export.Protocol{"br1": export.Off} }, "br0=set br1=off", 1, 0},
		{nil, "br0=set br1=set", 1, 1},
		{func(s *export.Settings) { s.Protocol = export.Off }, "br0=off br1=off", 0, 0},
	} {
		w.set(settings(c.change), false)
		count := func(table string) int { return strings.Count(list(s, table), "_uuid") }
		ovsdbtest.Until(t, fmt.Sprintf("%d rows of IPFIX and %d of NetFlow, and %s", c.ipfix, c.netflo, c.stand), func() bool {
			return w.bridges() == c.stand && count("IPFIX") == c.ipfix && count("NetFlow") == c.netflo
		})
	}
	if all := list(s, "bridge") + list(s, "Open_vSwitch"); strings.Contains(all, "weir") {
		t.Errorf("nothing is exported, and the host still has\n%s", all)
	}
	if n := len(w.events.of(event.ExportWiped)); n != 0 {
		t.Errorf("%d events of wiping, want none: it was Weir", n)
	}
}

// Somebody who removes what Weir sets up again and again is not fought.
func TestWhoMeansItIsYieldedTo(t *testing.T) {
	s := database(t, nil)
	w, _ := start(t, s.Socket(), settings(func(s *export.Settings) { s.Bridges = map[string]export.Protocol{"br1": export.Off} }))
	for n := range 3 {
		w.await(t, "br0=set br1=off")
		s.VSCtl("--no-wait", "clear", "bridge", "br0", "ipfix")
		ovsdbtest.Until(t, "it is told", func() bool { return len(w.events.of(event.ExportWiped)) == n+1 })
	}
	w.await(t, "br0=set br1=off")
	s.VSCtl("--no-wait", "clear", "bridge", "br0", "ipfix")
	w.await(t, "br0=yielded br1=off")
	last := w.events.of(event.ExportWiped)[3]
	if want := `bridge "br0": others removed it, for the 4th time; it is set up again in 2s`; last.Text != want {
		t.Errorf("event says %q, want %q", last.Text, want)
	}
	if status := w.exports.Status()[0].Bridges[0]; status.Wiped != 4 {
		t.Errorf("status %+v, want that it was wiped 4 times", status)
	}
	w.await(t, "br0=set br1=off")
	ovsdbtest.Until(t, "it is told that it is back", func() bool { return len(w.events.of(event.ExportSet)) == 5 })
	if waited := w.events.of(event.ExportSet)[4].Time.Sub(last.Time); waited < time.Second {
		t.Errorf("set up again after %s, want 2s", waited)
	}
	if n := len(w.events.of(event.ExportWiped)); n != 4 {
		t.Errorf("%d events of wiping, want 4", n)
	}
}

// While Weir yields, what is told of copies is what the switch makes: they go on when others undo only what keeps them apart, and end when others remove
// the row.
func TestCopiesThatGoOnAreNotToldToEnd(t *testing.T) {
	s := database(t, nil)
	s.VSCtl("--no-wait", "add-port", "br0", "vif1.0")
	port := ovsdb.UUID(strings.TrimSpace(s.VSCtl("--no-wait", "get", "port", "vif1.0", "_uuid")))
	w, _ := startEnforcing(t, s.Socket(), settings(nil), map[string]export.Enforced{"br0": {Mirrors: mirror.Order{
		Copies: []mirror.Copy{{VIF: "web/0", Ports: []ovsdb.UUID{port}, In: true, Out: true, To: policy.MirrorTarget{Name: "wire", VLAN: 900}}}, Guests: []ovsdb.UUID{port},
	}}}, attach.Settings{})
	stands := func(want mirror.State) {
		t.Helper()
		ovsdbtest.Until(t, "the mirror is "+string(want), func() bool {
			for _, b := range w.status() {
				if b.Name == "br0" && len(b.Mirrors) == 1 {
					return b.Mirrors[0].State == want
				}
			}
			return false
		})
	}
	told := func(what string, started, stopped int) {
		t.Helper()
		ovsdbtest.Until(t, what, func() bool {
			return len(w.events.of(event.MirrorStarted)) >= started && len(w.events.of(event.MirrorStopped)) >= stopped
		})
		if a, b := len(w.events.of(event.MirrorStarted)), len(w.events.of(event.MirrorStopped)); a != started || b != stopped {
			t.Errorf("%s: it was told that copies began %d times and ended %d times, want %d and %d", what, a, b, started, stopped)
		}
	}
	for n := range 4 {
		stands(mirror.StateActive)
		s.VSCtl("--no-wait", "clear", "bridge", "br0", "flood_vlans")
		ovsdbtest.Until(t, "it is told that others undid it", func() bool { return len(w.events.of(event.MirrorWiped)) == n+1 })
	}
	stands(mirror.StateYielded)
	told("others have addresses be learned", 1, 0)
	s.VSCtl("--no-wait", "clear", "bridge", "br0", "mirrors")
	told("others remove the row, and Weir comes back", 2, 1)
	if last := w.events.of(event.MirrorStopped)[0]; last.Text != `bridge "br0": no more copies of the traffic of web/0 go to vlan 900 (mirror target wire)` {
		t.Errorf("event says %q", last.Text)
	}
}

// A host that another Weir has is left alone, until it is released there or its mark is removed by hand; what the other one left behind is then
// this one's, with what was there before.
func TestTwoWeirs(t *testing.T) {
	s := database(t, nil)
	before := ovsdbtest.Dump(t, s.Socket(), false)
	s.VSCtl("--no-wait", "--", "--id=@r", "create", "NetFlow", `targets="192.0.2.5:1"`, "external_ids:weir-owner=another", "--", "set", "bridge", "br1", "netflow=@r",
		`external_ids:weir-former-netflow="{}"`, "--", "set", "Open_vSwitch", ".", "external_ids:weir-owner=another")
	w, _ := start(t, s.Socket(), settings(nil))
	var status export.HostStatus
	ovsdbtest.Until(t, "the host is refused", func() bool {
		status = w.exports.Status()[0]
		return strings.Contains(status.Error, `another Weir, instance "another"`)
	})
	if strings.Contains(list(s, "bridge"), "weir-former-ipfix") {
		t.Errorf("found\n%s\nwant no change", list(s, "bridge"))
	}
	w.set(settings(nil), true)
	if _, err := w.exports.Plan(t.Context(), identity.UUID, nil); err == nil || !strings.Contains(err.Error(), "ovs-vsctl remove Open_vSwitch . external_ids weir-owner") {
		t.Errorf("Plan = %v, want what to do", err)
	}
	w.set(settings(nil), false)
	s.VSCtl("--no-wait", "remove", "Open_vSwitch", ".", "external_ids", "weir-owner")
	w.await(t, "br0=set br1=set")
	if rows := list(s, "NetFlow"); strings.Contains(rows, "another") || !strings.Contains(rows, instance) {
		t.Errorf("found\n%s\nwant a row of this instance", rows)
	}
	w.detach(t, settings(nil))
	if diff := cmp.Diff(before, ovsdbtest.Dump(t, s.Socket(), false)); diff != "" {
		t.Errorf("after detaching (-before +after):\n%s", diff)
	}
}

// What others set up is left alone and told of. Taken over, it is saved, and put back when the host is detached: shared, if it was.
func TestExportsOfOthers(t *testing.T) {
	s := database(t, nil)
	s.VSCtl("--no-wait", "add-br", "br2", "--", "set", "bridge", "br2", "datapath_type=netdev",
		"--", "--id=@n", "create", "NetFlow", `targets="203.0.113.1:2055","[2001:db8::1]:9"`, "engine_type=1", "engine_id=2", "add_id_to_interface=true", "external_ids:by=them",
		"--", "--id=@i", "create", "IPFIX", `targets="203.0.113.1:4739"`, "sampling=7", "obs_domain_id=4294967295", "cache_max_flows=0", "other_config:enable-tunnel-sampling=false",
		"--", "--id=@d", "create", "NetFlow", `targets="192.0.2.5:4739"`, "active_timeout=-1",
		"--", "set", "bridge", "br0", "ipfix=@i", "--", "set", "bridge", "br1", "netflow=@n", "--", "set", "bridge", "br2", "ipfix=@i", "netflow=@d")
	before := ovsdbtest.Dump(t, s.Socket(), false)
	w, stop := start(t, s.Socket(), settings(nil))
	w.await(t, "br0=foreign br1=foreign br2=foreign")
	if diff := cmp.Diff(before, ovsdbtest.Dump(t, s.Socket(), false)); diff != "" {
		t.Errorf("left alone (-before +after):\n%s", diff)
	}
	ovsdbtest.Until(t, "it is told", func() bool { return len(w.events.of(event.ExportForeign)) == 3 })
	told := w.events.of(event.ExportForeign)
	if !strings.Contains(told[1].Text, `bridge "br1": a row of table NetFlow that is not Weir's exports to ["203.0.113.1:2055" "[2001:db8::1]:9"]`) ||
		!strings.Contains(told[2].Text, `bridge "br2": a row of table NetFlow that is not Weir's sends to Weir already`) {
		t.Errorf("events %+v, want one of each bridge", told)
	}

	over := settings(func(s *export.Settings) { s.TakeOver = true })
	plan, err := w.exports.Plan(t.Context(), identity.UUID, &over)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, ovsdbtest.Dump(t, s.Socket(), false)); diff != "" {
		t.Errorf("Plan changed something (-before +after):\n%s", diff)
	}
	w.set(over, false)
	w.await(t, "br0=set br1=set br2=set")
	for _, c := range plan.Changes {
		if key, is := strings.CutPrefix(c.Column, "external_ids:"); is {
			if got := s.VSCtl("--no-wait", "get", c.Table, c.Row, "external_ids:"+key); got != fmt.Sprintf("%q", c.After) && got != c.After {
				t.Errorf("planned %+v, found %s", c, got)
			}
		}
	}
	if got := list(s, "NetFlow") + list(s, "IPFIX"); strings.Contains(got, "203.0.113.1") || strings.Count(got, "_uuid") != 3 {
		t.Errorf("taken over; found\n%s\nwant three rows of Weir's", got)
	}
	stop()
	w, _ = start(t, s.Socket(), over) // which knows nothing but what the host says
	w.await(t, "br0=set br1=set br2=set")
	plan, err = w.exports.Plan(t.Context(), identity.UUID, nil)
	if err != nil || len(plan.Changes) != 9 {
		t.Errorf("Plan of detaching = %+v, %v; want 4 columns, 4 keys of bridges and one of the host", plan.Changes, err)
	}
	w.detach(t, over)
	if diff := cmp.Diff(before, ovsdbtest.Dump(t, s.Socket(), false)); diff != "" {
		t.Errorf("after detaching (-before +after):\n%s", diff)
	}
	ovsdbtest.Until(t, "that is told", func() bool { return len(w.events.of(event.HostDetached)) > 0 })
	if told := w.events.of(event.HostDetached); len(told) != 1 || told[0].Subject != "hv1" {
		t.Errorf("events %+v, want that the host is detached", told)
	}
}

// What others put in the place of Weir's export stays, and nothing of before comes back later.
func TestReplacedByOthers(t *testing.T) {
	s := database(t, nil)
	w, _ := start(t, s.Socket(), settings(func(s *export.Settings) { s.Bridges = map[string]export.Protocol{"br1": export.Off} }))
	w.await(t, "br0=set br1=off")
	s.VSCtl("--no-wait", "--", "--id=@i", "create", "IPFIX", `targets="203.0.113.9:4739"`, "--", "set", "bridge", "br0", "ipfix=@i")
	w.await(t, "br0=foreign br1=off")
	ovsdbtest.Until(t, "nothing of Weir's is left", func() bool { return !strings.Contains(list(s, "bridge")+list(s, "Open_vSwitch"), "weir") })
	if rows := list(s, "IPFIX"); !strings.Contains(rows, "203.0.113.9") || strings.Count(rows, "_uuid") != 1 {
		t.Errorf("found\n%s\nwant theirs", rows)
	}
}

// A host that is away when it is to be detached is detached when it comes back, and told of once.
func TestDetachOfAHostThatIsAway(t *testing.T) {
	s := database(t, nil)
	before := ovsdbtest.Dump(t, s.Socket(), false)
	w, stop := start(t, s.Socket(), settings(nil))
	w.await(t, "br0=set br1=set")
	s.Stop()
	w.set(settings(nil), true)
	stop() // Weir is restarted, too
	w, _ = start(t, s.Socket(), settings(nil))
	w.set(settings(nil), true)
	ovsdbtest.Until(t, "the host cannot be reached", func() bool { return w.session.Status().Error != "" })
	if status := w.exports.Status()[0]; status.Detached || status.Error == "" {
		t.Errorf("status of a host that is away: %+v, want that it is not detached, and why", status)
	}
	s.Run()
	ovsdbtest.Until(t, "the host is detached", func() bool { return w.exports.Status()[0].Detached })
	if diff := cmp.Diff(before, ovsdbtest.Dump(t, s.Socket(), false)); diff != "" {
		t.Errorf("after detaching (-before +after):\n%s", diff)
	}
	ovsdbtest.Until(t, "that is told", func() bool { return len(w.events.of(event.HostDetached)) > 0 })
	w.set(settings(nil), true) // once more: nothing
	s.VSCtl("--no-wait", "add-br", "br9")
	ovsdbtest.Until(t, "the change is seen", func() bool { return len(w.session.Rows().Bridges) == 3 })
	if told := w.events.of(event.HostDetached); len(told) != 1 {
		t.Errorf("%d events of detaching, want one", len(told))
	}
	w.set(settings(nil), false) // attached again
	w.await(t, "br0=set br1=set br9=set")
}

// A connection that is lost does not make Weir believe that the host, of which it knows the last content, is detached.
func TestDetachIsVerifiedAtTheHost(t *testing.T) {
	s := database(t, nil)
	w, _ := start(t, s.Socket(), settings(func(s *export.Settings) { s.Protocol = export.Off }))
	w.await(t, "br0=off br1=off")
	s.Stop()
	ovsdbtest.Until(t, "the host cannot be reached", func() bool { return w.session.Status().Error != "" })
	w.set(settings(nil), true)
	ovsdbtest.Until(t, "Weir says why", func() bool { return strings.Contains(w.exports.Status()[0].Error, "not connected") })
	if w.exports.Status()[0].Detached {
		t.Error("a host that is away is said to be detached")
	}
	s.Run()
	ovsdbtest.Until(t, "the host is detached", func() bool { return w.exports.Status()[0].Detached })
}

// A database that no switch has used yet has nothing to set up, and nothing to undo.
func TestDatabaseWithoutSwitch(t *testing.T) {
	s := ovsdbtest.Start(t, nil)
	client(t, "transact", s.Socket(), `["Open_vSwitch",{"op":"delete","table":"Open_vSwitch","where":[]}]`)
	w, _ := start(t, s.Socket(), settings(nil))
	ovsdbtest.Until(t, "it was looked at", func() bool { return !w.exports.Status()[0].Checked.IsZero() })
	if status := w.exports.Status()[0]; status.Error != "" || len(status.Bridges) != 0 {
		t.Errorf("status %+v, want no bridges and no error", status)
	}
	w.detach(t, settings(nil))
}

// Old hosts have no IPFIX; from 3.2 on templates are sent as often as one likes.
func TestVersionsOfOpenVSwitch(t *testing.T) {
	columns := func(schema map[string]any, table string) map[string]any {
		return schema["tables"].(map[string]any)[table].(map[string]any)["columns"].(map[string]any)
	}
	t.Run("without IPFIX", func(t *testing.T) {
		s := database(t, func(schema map[string]any) {
			delete(columns(schema, "Bridge"), "ipfix")
			delete(columns(schema, "Flow_Sample_Collector_Set"), "ipfix")
			delete(schema["tables"].(map[string]any), "IPFIX")
		})
		w, _ := start(t, s.Socket(), settings(nil))
		w.await(t, "br0=off br1=set")
		if b := w.exports.Status()[0].Bridges[0]; !strings.Contains(b.Why, "too old for IPFIX") {
			t.Errorf("br0 exports nothing because of %q", b.Why)
		}
		w.set(settings(func(s *export.Settings) { s.Protocol = export.NetFlow }), false)
		w.await(t, "br0=set br1=set")
		w.detach(t, settings(nil))
	})
	t.Run("with template_interval", func(t *testing.T) {
		s := database(t, func(schema map[string]any) {
			columns(schema, "IPFIX")["template_interval"] = map[string]any{"type": map[string]any{"key": "integer", "min": 0, "max": 1}}
			columns(schema, "IPFIX")["of_the_future"] = map[string]any{"type": map[string]any{"key": "string", "min": 0, "max": 1}}
		})
		s.VSCtl("--no-wait", "--", "--id=@i", "create", "IPFIX", `targets="203.0.113.1:4739"`, "--", "set", "bridge", "br1", "ipfix=@i")
		client(t, "transact", s.Socket(), `["Open_vSwitch",{"op":"update","table":"IPFIX","where":[],"row":{"of_the_future":"kept","template_interval":5}}]`)
		before := ovsdbtest.Dump(t, s.Socket(), false)
		w, _ := start(t, s.Socket(), settings(func(s *export.Settings) { s.Protocol, s.TakeOver = export.IPFIX, true }))
		w.await(t, "br0=set br1=set")
		if got := ovsdbtest.Dump(t, s.Socket(), false); strings.Count(got, "template_interval=60") != 2 {
			t.Errorf("found\n%s\nwant a template_interval of 60 s at two rows", got)
		}
		w.detach(t, settings(nil))
		if diff := cmp.Diff(before, ovsdbtest.Dump(t, s.Socket(), false)); diff != "" {
			t.Errorf("after detaching (-before +after):\n%s", diff)
		}
	})
}

func TestUnknownHosts(t *testing.T) {
	w, err := newWeir("unix:/nowhere")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for what, err := range map[string]error{
		"Resend": w.exports.Resend("x", 1),
		"Plan":   func() error { _, err := w.exports.Plan(ctx, "x", nil); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), `host "x"`) {
			t.Errorf("%s of a host that is not there: %v", what, err)
		}
	}
	w.set(settings(nil), false)
	if _, err := w.exports.Plan(ctx, identity.UUID, nil); err == nil || !strings.Contains(err.Error(), "not seen yet") {
		t.Errorf("Plan of a host that was never seen: %v", err)
	}
}

// Without a word about it, flows go to where the host's database is reached from, from the first moment on: nothing is set up twice.
func TestWhereWeirIs(t *testing.T) {
	s := database(t, nil)
	port := s.Listen("ptcp:0:127.0.0.1")
	for target, want := range map[string]string{s.Socket(): `"127.0.0.1:4739"`, "tcp:127.0.0.1:" + port: `"127.0.0.1:4739"`, "tcp:[::ffff:127.0.0.1]:" + port: `"127.0.0.1:4739"`} {
		w, stop := start(t, target, settings(func(s *export.Settings) { s.Collector = netip.AddrPort{} }))
		w.await(t, "br0=set br1=set")
		if rows := list(s, "IPFIX"); !strings.Contains(rows, want) {
			t.Errorf("%s: found\n%s\nwant %s", target, rows, want)
		}
		if b := w.exports.Status()[0].Bridges[0]; b.Targets[0] != strings.Trim(want, `"`) {
			t.Errorf("%s: status says %v", target, b.Targets)
		}
		if n := len(w.events.of(event.ExportSet)); n != 0 && n != 2 {
			t.Errorf("%s: %d events that exports were set up, want one of each bridge", target, n)
		}
		stop()
	}
}

// The commands that docs/howto/export-from-hosts.md gives for undoing everything by hand do that.
func TestUndoneByHand(t *testing.T) {
	page, err := os.ReadFile("../../docs/howto/export-from-hosts.md")
	if err != nil {
		t.Fatal(err)
	}
	_, script, found := strings.Cut(string(page), "### By hand, without Weir\n")
	if found {
		_, script, found = strings.Cut(script, "```text\n")
		script, _, _ = strings.Cut(script, "```")
	}
	if !found {
		t.Fatal("the page has no commands")
	}
	s := database(t, nil)
	s.VSCtl("--no-wait", "add-br", "vlan7", "br0", "7")
	before := ovsdbtest.Dump(t, s.Socket(), false)
	w, stop := startEnforcing(t, s.Socket(), settings(nil), map[string]export.Enforced{
		"br0": {Sampling: compile.SampleNew, Flows: export.FlowsInstalled}, "br1": {},
	}, attach.Settings{Reach: netip.MustParseAddrPort("192.0.2.5:6653")})
	w.await(t, "br0=set br1=set")
	ovsdbtest.Until(t, "policy is enforced", func() bool { return w.policy() == "br0:set/set br1:set/off" })
	stop()
	cmd := exec.Command("bash", "-euc", script)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+s.Dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, script)
	}
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(ovsdbtest.Dump(t, s.Socket(), false), "\n")); diff != "" {
		t.Errorf("afterwards (-before +after):\n%s", diff)
	}
}

// While it is not known what is wanted, nothing is changed, and what is there is not taken for unwanted.
func TestHeldHostIsLeftAsItIs(t *testing.T) {
	s := database(t, nil)
	reach := attach.Settings{Reach: netip.MustParseAddrPort("192.0.2.5:6653")}
	enforced := map[string]export.Enforced{"br0": {Sampling: compile.SampleFull, Flows: export.FlowsInstalled}}
	w, stop := startEnforcing(t, s.Socket(), settings(nil), enforced, reach)
	w.await(t, "br0=off br1=set")
	ovsdbtest.Until(t, "policy is enforced", func() bool { return w.policy() == "br0:set/set! br1:/" })
	stop()
	before := ovsdbtest.Dump(t, s.Socket(), false)

	w, err := newWeir(s.Socket())
	if err != nil {
		t.Fatal(err)
	}
	host := export.Host{Identity: identity, Session: w.session, Settings: settings(nil), Hold: true}
	w.exports.Set([]export.Host{host})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.run(ctx) }()
	ovsdbtest.Until(t, "the host is known", func() bool { return w.session.Rows() != nil })
	for i := range 20 { // it looks whenever something changes
		s.VSCtl("--no-wait", "br-set-external-id", "br0", "theirs", fmt.Sprint(i))
	}
	s.VSCtl("--no-wait", "br-set-external-id", "br0", "theirs", "1")
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(ovsdbtest.Dump(t, s.Socket(), false), "\n")); diff != "" {
		t.Errorf("held (-before +after):\n%s", diff)
	}
	w.enforced, w.controller = map[string]export.Enforced{"br0": {Sampling: compile.SampleFull}}, reach
	w.set(settings(nil), false)
	ovsdbtest.Until(t, "policy is enforced", func() bool { return w.policy() == "br0:set/set! br1:/" })
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(ovsdbtest.Dump(t, s.Socket(), false), "\n")); diff != "" {
		t.Errorf("held no more (-before +after):\n%s", diff)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
