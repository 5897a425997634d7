package attach_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/own"
	"github.com/weirhq/weir/policyd/policy"
)

// bridgeModel is what a switch does with the flows of a bridge, as was measured (lab/ovsbed, TestWhatControllersDoToFlows): what it knows of controllers
// by their target, and what becomes of flows when they or fail_mode change.
type bridgeModel struct {
	types  map[string]string // of controllers, by target: that of the first row with it
	secure bool
	weir   bool // it holds Weir's flows
	open   bool // it holds a flow that lets everything pass
}

// carry has the switch do what the database says.
func (m *bridgeModel) carry(r *ovsdb.Rows, b *ovsdb.Bridge) {
	had := m.primary()
	types := map[string]string{}
	for _, id := range b.Controllers {
		c := r.Controllers[id]
		kind := "primary"
		if c.Type == "service" {
			kind = "service"
		}
		if was := m.types[c.Target]; was != "" {
			kind = was // a type that changes is not noticed
		}
		types[c.Target] = kind
	}
	m.types = types
	if had != m.primary() {
		m.flush()
	}
	if secure := b.FailMode == "secure"; secure != m.secure {
		m.secure = secure
		if !m.primary() {
			m.flush()
		}
	}
}

func (m *bridgeModel) primary() bool {
	for _, kind := range m.types {
		if kind == "primary" {
			return true
		}
	}
	return false
}

func (m *bridgeModel) flush() { m.weir, m.open = false, !m.primary() && !m.secure }

// walk is a bridge in a database, the switch that has it, and a Weir that takes one step after the other.
type walk struct {
	*testing.T
	server             *ovsdbtest.Server
	s                  *ovsdb.Session
	model              bridgeModel
	start              string // of fail_mode, before Weir
	foreign, forgetful bool
	found              string
	undone             []string
	opened             bool // it let everything pass at some time since Weir's flows were there
	lost               int  // times that Weir's flows were forgotten
}

func (w *walk) bridge() *ovsdb.Bridge { return own.Bridges(w.s.Rows())[0] }

// step has Weir look once, and the switch do what it is told. It says whether something was changed.
func (w *walk) step(mode attach.FailMode, wanted bool) (attach.Answer, bool) {
	w.Helper()
	r := w.s.Rows()
	if mode.Unready == "" && !w.model.weir {
		mode.Unready = "flows are missing"
	}
	tx, err := own.Begin(r, instance)
	if err != nil {
		w.Fatal(err)
	}
	a, err := attach.Decide(tx, attach.Question{
		Settings: attach.Settings{Reach: netip.MustParseAddrPort("192.0.2.5:6653")}, Rows: r, Has: current, Bridge: w.bridge(), Wanted: wanted, Found: w.found, FailMode: mode,
	})
	if err != nil {
		w.Fatal(err)
	}
	w.found = a.Want
	if a.Forget || w.forgetful {
		w.found = ""
	}
	ops := tx.Operations()
	if ops == nil {
		return a, false
	}
	if _, err := w.s.Transact(w.Context(), ops...); err != nil {
		w.Fatal(err)
	}
	before, _ := own.Controllers(r, w.bridge())
	had := w.model.weir
	w.settle()
	if had && !w.model.weir {
		w.lost++
		if after, _ := own.Controllers(w.s.Rows(), w.bridge()); len(before) > 0 && len(after) > 0 && before[0].UUID == after[0].UUID && !a.Wiped {
			w.Errorf("flows were forgotten while the connection lasts, and nobody is told: %+v", a)
		}
	}
	if a.Undone != "" {
		w.undone = append(w.undone, a.Undone)
	}
	w.opened = w.opened || w.model.open && !w.model.weir
	if ours, _ := own.Controllers(w.s.Rows(), w.bridge()); len(ours) > 0 && !mode.Leaving { // it dials, and Weir writes
		w.model.weir = true
	}
	return a, true
}

// settle has the switch do what the database says, and say so.
func (w *walk) settle() {
	w.Helper()
	root := &w.s.Rows().Root
	if root.CurCfg != root.NextCfg {
		if _, err := w.s.Transact(w.Context(), ovsdb.Update("Open_vSwitch", ovsdb.Is(root.UUID), ovsdb.Values{"cur_cfg": root.NextCfg})); err != nil {
			w.Fatal(err)
		}
	}
	w.model.carry(w.s.Rows(), w.bridge())
}

// until takes steps until nothing is changed any more.
func (w *walk) until(mode attach.FailMode, wanted bool) attach.Answer {
	w.Helper()
	for range 8 {
		if a, changed := w.step(mode, wanted); !changed {
			return a
		}
	}
	w.Fatal("no end after 8 steps")
	return attach.Answer{}
}

// others changes the bridge by hand.
func (w *walk) others(args ...string) {
	w.Helper()
	w.server.VSCtl(append([]string{"--no-wait"}, args...)...)
	mode := w.server.VSCtl("--no-wait", "get-fail-mode", "br0")
	var controllers []ovsdb.UUID // the rows: another one with the same target is another
	for _, id := range strings.FieldsFunc(w.server.VSCtl("--no-wait", "get", "Bridge", "br0", "controller"), func(r rune) bool { return strings.ContainsRune("[], ", r) }) {
		controllers = append(controllers, ovsdb.UUID(id))
	}
	slices.Sort(controllers)
	ovsdbtest.Until(w, "it is known", func() bool {
		b := w.bridge()
		return b.FailMode == mode && slices.Equal(slices.Sorted(slices.Values(b.Controllers)), controllers)
	})
	w.model.carry(w.s.Rows(), w.bridge())
}

// From every state that a bridge may be found in to each fail mode, from each to each other, after others undid it all, and off again: nothing is open in
// between, no more is forgotten than Open vSwitch makes one, and what was before comes back. So it is, too, if a Weir takes each step that knows nothing of the last.
func TestWaysBetweenFailModes(t *testing.T) {
	modes := []policy.FailMode{policy.FailOpen, policy.FailSafe, policy.FailStatic}
	for _, start := range []string{"", "standalone", "secure"} {
		for _, foreign := range []bool{false, true} {
			for _, forgetful := range []bool{false, true} {
				t.Run(fmt.Sprintf("%q, others %v, forgetful %v", start, foreign, forgetful), func(t *testing.T) {
					t.Parallel()
					w := newWalk(t, start, foreign, forgetful)
					for _, from := range modes {
						for _, to := range modes {
							w.round(from, to)
						}
					}
				})
			}
		}
	}
}

func newWalk(t *testing.T, start string, foreign, forgetful bool) *walk {
	t.Helper()
	server := ovsdbtest.Start(t, nil)
	server.VSCtl("--no-wait", "add-br", "br0")
	target, err := ovsdb.ParseTarget(server.Socket())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ovsdb.New(ovsdb.Config{Target: target, Limits: ovsdb.DefaultLimits()}, ovsdb.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	ovsdbtest.Until(t, "the host is known", func() bool { return s.Status().State == ovsdb.StateConnected })
	w := &walk{T: t, server: server, s: s, start: start, foreign: foreign, forgetful: forgetful, model: bridgeModel{open: true}}
	w.asBefore()
	return w
}

// asBefore makes the bridge what it was before Weir.
func (w *walk) asBefore() {
	w.Helper()
	args := []string{"del-controller", "br0"}
	if w.foreign {
		args = []string{"set-controller", "br0", "tcp:203.0.113.1:6653"}
	}
	if args = append(args, "--", "del-fail-mode", "br0"); w.start != "" {
		args = append(args, "--", "set-fail-mode", "br0", w.start)
	}
	w.others(args...)
}

// round goes to one fail mode, then to another, and off again.
func (w *walk) round(from, to policy.FailMode) {
	w.Helper()
	name := fmt.Sprintf("%s to %s", from, to)
	become := func(mode policy.FailMode) {
		w.Helper()
		if a := w.until(attach.FailMode{Wanted: mode}, true); a.Away.Is != mode || a.State != attach.StateSet || a.Away.Differs() != "" {
			w.Fatalf("%s: wanted %s, is %+v", name, mode, a)
		}
		if w.opened {
			w.Fatalf("%s: it was open", name)
		}
	}
	w.until(attach.FailMode{}, true)
	w.opened, w.lost = false, 0
	become(from)
	w.lost = 0
	if a := w.until(attach.FailMode{Wanted: to, Unready: "flows are missing"}, true); a.Away.Is != from || w.lost != 0 || w.opened {
		w.Errorf("%s: before flows are there it is %+v, and %d times without flows", name, a, w.lost)
	}
	become(to)
	most := 0
	if !w.foreign && from != to && (from == policy.FailStatic || to == policy.FailStatic) {
		most = 1
	}
	if len(w.undone) > 0 {
		w.Errorf("%s: Weir takes what it does for what others did: %q", name, w.undone)
	}
	if w.lost != most {
		w.Errorf("%s: flows were forgotten %d times, want %d", name, w.lost, most)
	}

	former := w.start
	if from == to { // others undo it all, as emer-reset does
		reset := []string{"del-fail-mode", "br0", "--", "del-controller", "br0"}
		if w.foreign {
			reset = []string{"del-fail-mode", "br0", "--", "set-controller", "br0", "tcp:203.0.113.1:6653"}
		}
		w.others(reset...)
		w.opened = false
		become(to)
		w.others("set-fail-mode", "br0", "standalone")
		if w.opened, former = false, "standalone"; to != policy.FailOpen {
			w.step(attach.FailMode{Wanted: to}, true) // at once, without waiting for flows that may be gone
			if w.bridge().FailMode != "secure" {
				w.Errorf("%s: others made it standalone, and it still is", name)
			}
		}
		become(to)
		if to == policy.FailOpen {
			former = ""
		}
		if !w.forgetful && !slices.Contains(w.undone, "others removed Weir from its controllers") || !w.forgetful && to != policy.FailOpen && !slices.Contains(w.undone, "others changed its fail mode") {
			w.Errorf("%s: what others did is told as %q", name, w.undone)
		}
		w.undone = nil
	}

	w.until(attach.FailMode{Wanted: to, Leaving: true}, true)
	if is := w.bridge().FailMode; is != former {
		w.Errorf("%s: fail_mode is %q once it is left, want %q", name, is, former)
	}
	if secure := w.bridge().FailMode == "secure"; !w.foreign && !secure && !w.model.open {
		w.Errorf("%s: nothing passes once it is left", name)
	}
	w.model.weir = false
	w.until(attach.FailMode{}, false)
	b := w.bridge()
	if ours, _ := own.Controllers(w.s.Rows(), b); len(ours) > 0 || len(b.ExternalIDs) > 0 {
		w.Errorf("%s: something of Weir's is left: %+v", name, b)
	}
	w.asBefore()
}

// Who dials a host through its bridge is told that he does not come back if both were started anew; whom the host dials is.
func TestWhoDials(t *testing.T) {
	for name, c := range map[string]struct {
		dialled bool
		link    string
		want    bool
	}{
		"Weir dials, and the host is at the bridge":      {true, "up", true},
		"Weir dials, and the host is not at the bridge":  {true, "down", false},
		"the host dials, and it is at the bridge itself": {false, "up", false},
	} {
		h := newHost()
		h.inBand()
		h.local.LinkState = c.link
		tx, err := own.Begin(h.Rows, instance)
		if err != nil {
			t.Fatal(err)
		}
		a, err := attach.Decide(tx, attach.Question{
			Settings: attach.Settings{Reach: netip.MustParseAddrPort("192.0.2.5:6653"), Dialled: c.dialled}, Rows: h.Rows, Has: current, Bridge: h.b, Wanted: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		says := a.Away.IfSwitchRestarts
		if !strings.HasPrefix(says, "nothing passes until Weir is back") || strings.Contains(says, "does not come back") != c.want {
			t.Errorf("%s: %q", name, says)
		}
	}
}

// A bridge is left as it is, and it is said why, before Weir's flows were found there, before the switch has done the last step, and while flows of others would
// be lost that nobody gave up.
func TestWhatASwitchoverWaitsFor(t *testing.T) {
	const unready = "not all of Weir's flows were found at the bridge yet"
	for _, mode := range []policy.FailMode{policy.FailOpen, policy.FailSafe, policy.FailStatic} {
		for name, c := range map[string]struct {
			change func(*attach.Question)
			why    string // "": it goes on
		}{
			"nothing":                        {change: func(*attach.Question) {}},
			"flows that are missing":         {func(q *attach.Question) { q.FailMode.Unready = unready }, unready},
			"flows of others":                {func(q *attach.Question) { q.FailMode.Others = 3 }, "the bridge would forget 3 flows of others"},
			"flows of others, given up":      {change: func(q *attach.Question) { q.FailMode.Others, q.Settings.Wipe = 3, true }},
			"flows that are missing, others": {func(q *attach.Question) { q.FailMode.Unready, q.FailMode.Others = unready, 3 }, unready},
			"the last step":                  {func(q *attach.Question) { q.Rows.Root.NextCfg = 8 }, "ovs-vswitchd has not done yet"},
		} {
			h := newHost()
			h.ours()
			h.Root.CurCfg, h.Root.NextCfg = 7, 7
			tx, err := own.Begin(h.Rows, instance)
			if err != nil {
				t.Fatal(err)
			}
			q := attach.Question{
				Settings: attach.Settings{Reach: netip.MustParseAddrPort("192.0.2.5:6653")}, Rows: h.Rows, Has: current, Bridge: h.b, Wanted: true, FailMode: attach.FailMode{Wanted: mode},
			}
			c.change(&q)
			a, err := attach.Decide(tx, q)
			if err != nil {
				t.Fatal(err)
			}
			if c.why != "" && q.Rows.Root.NextCfg == 7 && (a.State != attach.StateSet || a.Type != "service" || a.Away.Is != "" || a.Away.IfWeirDies != "policy stays in force as it is; a VIF that is plugged meanwhile has no network") {
				t.Errorf("%s, waiting for %s: %+v, want it attached as it was", mode, name, a)
			}
			if goes := tx.Operations() != nil; goes != (c.why == "") || !strings.HasPrefix(a.Away.Why, c.why) || c.why == "" && a.Away.Loses == "" {
				t.Errorf("%s, waiting for %s: changes %v, %+v; want %q", mode, name, tx.Changes(), a.Away, c.why)
			}
		}
	}
}

// What Open vSwitch does not know is said, and nothing else is done in its place.
func TestStaticOfOldSwitches(t *testing.T) {
	h := newHost()
	h.ours().Type = ""
	tx, err := own.Begin(h.Rows, instance)
	if err != nil {
		t.Fatal(err)
	}
	a, err := attach.Decide(tx, attach.Question{
		Settings: attach.Settings{Reach: netip.MustParseAddrPort("192.0.2.5:6653"), Wipe: true}, Rows: h.Rows, Has: old, Bridge: h.b, Wanted: true, FailMode: attach.FailMode{Wanted: policy.FailStatic},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range tx.Changes() {
		if c.Column == "fail_mode" || c.Column == "controller" {
			t.Errorf("changed: %+v", c)
		}
	}
	if a.Away.Is != policy.FailOpen || !strings.Contains(a.Away.Why, "before 2.12") {
		t.Errorf("%+v, want that it stays open, and why", a.Away)
	}
}
