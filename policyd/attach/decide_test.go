package attach_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/own"
)

const instance = "weir-of-test"

// host has bridge br0 with a port of the host itself, which is down.
type host struct {
	*ovsdb.Rows
	b     *ovsdb.Bridge
	local *ovsdb.Interface
}

func newHost() *host {
	h := &host{
		b:     &ovsdb.Bridge{UUID: "b", Name: "br0", Ports: []ovsdb.UUID{"p", "gone"}, ExternalIDs: map[string]string{}, OtherConfig: map[string]string{"theirs": "1"}},
		local: &ovsdb.Interface{UUID: "i", Name: "br0", Type: "internal", LinkState: "down"},
	}
	h.Rows = &ovsdb.Rows{
		Root:    ovsdb.Root{UUID: "root", Bridges: []ovsdb.UUID{"b"}, Managers: []ovsdb.UUID{"m1", "m2"}},
		Bridges: map[ovsdb.UUID]*ovsdb.Bridge{"b": h.b}, Ports: map[ovsdb.UUID]*ovsdb.Port{"p": {UUID: "p", Name: "br0", Interfaces: []ovsdb.UUID{"i"}}},
		Interfaces: map[ovsdb.UUID]*ovsdb.Interface{"i": h.local}, Controllers: map[ovsdb.UUID]*ovsdb.Controller{},
		Managers: map[ovsdb.UUID]*ovsdb.Manager{"m1": {UUID: "m1", Target: "ssl:192.0.2.5:6640"}, "m2": {UUID: "m2", Target: "tcp:192.0.2.6:6640", ConnectionMode: "out-of-band"}},
	}
	return h
}

// controller gives the bridge one.
func (h *host) controller(c ovsdb.Controller) *ovsdb.Controller {
	c.UUID = ovsdb.UUID(fmt.Sprint("c", len(h.Controllers)+1))
	h.Controllers[c.UUID] = &c
	h.b.Controllers = append(h.b.Controllers, c.UUID)
	return &c
}

// ours is the bridge as Weir leaves it.
func (h *host) ours() *ovsdb.Controller {
	backoff, probe, limit := int64(1000), int64(5000), int64(100)
	h.b.OtherConfig["disable-in-band"], h.b.ExternalIDs["weir-former-other-config-disable-in-band"] = "true", `{"set":"true"}`
	return h.controller(ovsdb.Controller{
		Target: "tcp:192.0.2.5:6653", Type: "service", ConnectionMode: "out-of-band", MaxBackoff: &backoff, InactivityProbe: &probe, RateLimit: &limit, BurstLimit: &limit, IsConnected: true,
		ExternalIDs: map[string]string{"weir-owner": instance},
	})
}

// inBand is the bridge as Weir leaves it where a host would be cut off without in-band control.
func (h *host) inBand() {
	h.ours().ConnectionMode = "in-band"
	delete(h.b.OtherConfig, "disable-in-band")
	delete(h.b.ExternalIDs, "weir-former-other-config-disable-in-band")
	h.b.FailMode = "secure"
}

const (
	row     = "connection_mode=out-of-band controller_burst_limit=100 controller_rate_limit=100 inactivity_probe=5000 max_backoff=1000 target=tcp:192.0.2.5:6653 type=service"
	oldRow  = "connection_mode=out-of-band controller_burst_limit=100 controller_rate_limit=100 inactivity_probe=5000 max_backoff=1000 target=tcp:192.0.2.5:6653"
	added   = "controller:  → " + row
	disable = "other_config:disable-in-band:  → true"
	mark    = "external_ids:weir-former-other-config-disable-in-band: "
)

func current(string, string) bool   { return true }
func old(_ string, col string) bool { return col != "type" }

func TestDecide(t *testing.T) {
	for name, c := range map[string]struct {
		rows   func(*host)
		ask    func(*attach.Question)
		want   attach.Bridge // Target, Foreign and Why are not compared
		change []string      // COLUMN: BEFORE → AFTER
		undone string
		held   bool
	}{
		"not wanted": {ask: func(q *attach.Question) { q.Wanted = false }, want: attach.Bridge{State: attach.StateOff}},
		"nothing there": {
			want:   attach.Bridge{State: attach.StateSetting, Type: "service"},
			change: []string{added, disable, mark + ` → {"set":"true"}`}, held: true,
		},
		"as wanted": {rows: func(h *host) { h.ours() }, want: attach.Bridge{State: attach.StateSet, Type: "service", Connected: true}, held: true},
		"not wanted any more": {
			rows: func(h *host) { h.ours() }, ask: func(q *attach.Question) { q.Wanted = false }, want: attach.Bridge{State: attach.StateOff},
			change: []string{"controller: row c1, made by Weir: target=tcp:192.0.2.5:6653 → ", "other_config:disable-in-band: true → ", mark + `{"set":"true"} → `},
		},
		"beside others": {
			rows: func(h *host) {
				h.controller(ovsdb.Controller{Target: "tcp:203.0.113.1:6653"})
				h.controller(ovsdb.Controller{Target: "tcp:203.0.113.2:6653", Type: "service"})
			},
			want: attach.Bridge{State: attach.StateSetting, Type: "service"}, change: []string{added, disable, mark + ` → {"set":"true"}`}, held: true,
		},
		"where it reaches Weir is not known": {
			rows: func(h *host) { h.ours() }, ask: func(q *attach.Question) { q.Settings.Reach = netip.AddrPort{} }, want: attach.Bridge{State: attach.StateFailed}, held: true,
		},
		"a mark that cannot be read": {
			rows: func(h *host) { h.ours(); h.b.ExternalIDs["weir-former-other-config-disable-in-band"] = "nothing" }, want: attach.Bridge{State: attach.StateFailed}, held: true,
		},
		"yielded": {
			ask: func(q *attach.Question) { q.Yielded = true }, want: attach.Bridge{State: attach.StateYielded, Type: "service"},
		},
		"another address": {
			rows: func(h *host) { h.ours() }, ask: func(q *attach.Question) {
				q.Settings.Reach, q.Settings.TLS = netip.MustParseAddrPort("[2001:db8::5]:6653"), true
			},
			want:   attach.Bridge{State: attach.StateSetting, Type: "service"},
			change: []string{"controller: row c1, made by Weir: target=tcp:192.0.2.5:6653 → ", "controller:  → " + strings.Replace(row, "tcp:192.0.2.5", "ssl:[2001:db8::5]", 1)}, held: true,
		},
		"removed by others": {
			rows: func(h *host) { h.ours(); h.b.Controllers = nil }, ask: found, want: attach.Bridge{State: attach.StateSetting, Type: "service"},
			change: []string{added}, undone: "others removed Weir from its controllers", held: true,
		},
		"removed by others while something else is wanted": {
			rows: func(h *host) { h.ours(); h.b.Controllers = nil }, ask: func(q *attach.Question) { q.Found = "otherwise" },
			want: attach.Bridge{State: attach.StateSetting, Type: "service"}, change: []string{added}, undone: "others removed Weir from its controllers", held: true,
		},
		"changed by others": {
			rows: func(h *host) { h.ours().ConnectionMode = "in-band" }, ask: found, want: attach.Bridge{State: attach.StateSetting, Type: "service"},
			change: []string{"*:  → " + row}, undone: "others changed the row of table Controller that is Weir's", held: true,
		},
		"made primary by others": {
			rows: func(h *host) { h.ours().Type = "primary" }, ask: found, want: attach.Bridge{State: attach.StateSetting, Type: "service"},
			change: []string{"controller: row c1, made by Weir: target=tcp:192.0.2.5:6653 → ", added}, undone: "others removed Weir from its controllers", held: true,
		},
		"in-band control allowed again by others": {
			rows: func(h *host) { h.ours(); h.b.OtherConfig["disable-in-band"] = "false" }, ask: found, want: attach.Bridge{State: attach.StateSetting, Type: "service", Connected: true},
			change: []string{"other_config:disable-in-band: false → true", mark + `{"set":"true"} → {"set":"true","was":"false"}`}, undone: "others allowed in-band control again", held: true,
		},
		"in-band control switched off by others": {
			rows: func(h *host) { h.b.OtherConfig["disable-in-band"] = "true" }, want: attach.Bridge{State: attach.StateSetting, Type: "service"}, change: []string{added}, held: true,
		},
		"in-band control allowed by others": {
			rows: func(h *host) { h.b.OtherConfig["disable-in-band"] = "false" }, want: attach.Bridge{State: attach.StateSetting, Type: "service"},
			change: []string{added, "other_config:disable-in-band: false → true", mark + ` → {"set":"true","was":"false"}`}, held: true,
		},
		"gone, with what others gave": {
			rows: func(h *host) { h.ours(); h.b.OtherConfig["disable-in-band"] = "false" }, ask: func(q *attach.Question) { q.Wanted = false },
			want: attach.Bridge{State: attach.StateOff}, change: []string{"controller: row c1, made by Weir: target=tcp:192.0.2.5:6653 → ", mark + `{"set":"true"} → `},
		},

		// In-band control, where a host would be cut off without it.
		"secure, without the host": {
			rows: func(h *host) { h.b.FailMode = "secure" }, want: attach.Bridge{State: attach.StateSetting, Type: "service"},
			change: []string{added, disable, mark + ` → {"set":"true"}`}, held: true,
		},
		"secure, with the host": {
			rows:   func(h *host) { h.b.FailMode, h.local.LinkState = "secure", "up" },
			want:   attach.Bridge{State: attach.StateSetting, Type: "service", InBand: true, Exposed: []string{"192.0.2.5:6640", "192.0.2.5:6653"}},
			change: []string{strings.Replace(added, "out-of-band", "in-band", 1)}, held: true,
		},
		"with the host": {
			rows: func(h *host) { h.b.FailMode, h.local.LinkState = "standalone", "up" }, want: attach.Bridge{State: attach.StateSetting, Type: "service"},
			change: []string{added, disable, mark + ` → {"set":"true"}`}, held: true,
		},
		"made secure, with the host": {
			rows: func(h *host) { h.ours(); h.b.FailMode, h.local.LinkState = "secure", "up" }, ask: found,
			want:   attach.Bridge{State: attach.StateSetting, Type: "service", InBand: true, Exposed: []string{"192.0.2.5:6640", "192.0.2.5:6653"}},
			change: []string{"*:  → " + strings.Replace(row, "out-of-band", "in-band", 1), "other_config:disable-in-band: true → ", mark + `{"set":"true"} → `}, held: true,
		},
		"secure, with the host, in-band": {
			rows: func(h *host) { h.inBand(); h.local.LinkState = "up" }, ask: foundInBand,
			want: attach.Bridge{State: attach.StateSet, Type: "service", InBand: true, Connected: true, Exposed: []string{"192.0.2.5:6640", "192.0.2.5:6653"}}, held: true,
		},
		"secure, the host has gone": {
			rows: func(h *host) { h.inBand() }, ask: foundInBand, want: attach.Bridge{State: attach.StateSetting, Type: "service"},
			change: []string{"*:  → " + row, disable, mark + ` → {"set":"true"}`}, held: true,
		},
		"secure, whether the host is there is not known, in-band": {
			rows: func(h *host) { h.inBand(); h.local.LinkState = "" }, ask: foundInBand,
			want: attach.Bridge{State: attach.StateSet, Type: "service", InBand: true, Connected: true, Exposed: []string{"192.0.2.5:6640", "192.0.2.5:6653"}}, held: true,
		},
		"secure, whether the host is there is not known of one port, in-band": {
			rows: func(h *host) {
				h.inBand()
				h.Ports["p2"] = &ovsdb.Port{UUID: "p2", Name: "xapi0", Interfaces: []ovsdb.UUID{"i2"}}
				h.Interfaces["i2"] = &ovsdb.Interface{UUID: "i2", Name: "xapi0", Type: "internal"}
				h.b.Ports = append(h.b.Ports, "p2")
			}, ask: foundInBand,
			want: attach.Bridge{State: attach.StateSet, Type: "service", InBand: true, Connected: true, Exposed: []string{"192.0.2.5:6640", "192.0.2.5:6653"}}, held: true,
		},
		"secure, whether the host is there is not known, out-of-band": {
			rows: func(h *host) { h.ours(); h.b.FailMode, h.local.LinkState = "secure", "" }, ask: found,
			want: attach.Bridge{State: attach.StateSet, Type: "service", Connected: true}, held: true,
		},
		"not secure any more, whether the host is there is not known, in-band": {
			rows: func(h *host) { h.inBand(); h.b.FailMode, h.local.LinkState = "standalone", "" }, ask: foundInBand,
			want: attach.Bridge{State: attach.StateSetting, Type: "service"}, change: []string{"*:  → " + row, disable, mark + ` → {"set":"true"}`}, held: true,
		},
		"others are primary, with the host": {
			rows: func(h *host) {
				h.local.LinkState = "up"
				h.controller(ovsdb.Controller{Target: "tcp:203.0.113.1:6653"})
			},
			want:   attach.Bridge{State: attach.StateSetting, Type: "service", InBand: true, Exposed: []string{"192.0.2.5:6640", "192.0.2.5:6653", "203.0.113.1:6653"}},
			change: []string{strings.Replace(added, "out-of-band", "in-band", 1)}, held: true,
		},
		"others listen only, with the host": {
			rows: func(h *host) { h.local.LinkState = "up"; h.controller(ovsdb.Controller{Target: "ptcp:6653"}) },
			want: attach.Bridge{State: attach.StateSetting, Type: "service"}, change: []string{added, disable, mark + ` → {"set":"true"}`}, held: true,
		},

		// An Open vSwitch that knows primary controllers only.
		"old": {ask: func(q *attach.Question) { q.Has = old }, want: attach.Bridge{State: attach.StateUnconfirmed, Type: "primary", Wipes: "all flows"}},
		"old, confirmed": {
			ask: func(q *attach.Question) { q.Has, q.Settings.Wipe = old, true }, want: attach.Bridge{State: attach.StateSetting, Type: "primary", Wipes: "all flows"},
			change: []string{"controller:  → " + oldRow, disable, mark + ` → {"set":"true"}`}, held: true,
		},
		"old, beside a primary one": {
			rows: func(h *host) { h.controller(ovsdb.Controller{Target: "tcp:203.0.113.1:6653"}) }, ask: func(q *attach.Question) { q.Has = old },
			want: attach.Bridge{State: attach.StateSetting, Type: "primary"}, change: []string{"controller:  → " + oldRow, disable, mark + ` → {"set":"true"}`}, held: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost()
			if c.rows != nil {
				c.rows(h)
			}
			q := attach.Question{Settings: attach.Settings{Reach: netip.MustParseAddrPort("192.0.2.5:6653")}, Rows: h.Rows, Has: current, Bridge: h.b, Wanted: true}
			if c.ask != nil {
				c.ask(&q)
			}
			tx, err := own.Begin(h.Rows, instance)
			if err != nil {
				t.Fatal(err)
			}
			a, err := attach.Decide(tx, q)
			if err != nil {
				t.Fatal(err)
			}
			got := a.Bridge
			got.Target, got.Foreign, got.Why = "", nil, ""
			if strings.HasPrefix(got.Wipes, "all flows") {
				got.Wipes = "all flows"
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("Decide (-want +got), because %q:\n%s", a.Why, diff)
			}
			var changes []string
			for _, x := range tx.Changes() {
				changes = append(changes, fmt.Sprintf("%s: %s → %s", x.Column, x.Before, x.After))
			}
			if !slices.Equal(changes, c.change) {
				t.Errorf("changes\n\t%s\nwant\n\t%s", strings.Join(changes, "\n\t"), strings.Join(c.change, "\n\t"))
			}
			if a.Undone != c.undone || a.Held != c.held {
				t.Errorf("undone %q, held %v; want %q, %v", a.Undone, a.Held, c.undone, c.held)
			}
		})
	}
}

// found says that the bridge was as wanted before.
func found(q *attach.Question) { foundAt(newHost(), q) }

// foundInBand says so of one where a host would be cut off without in-band control.
func foundInBand(q *attach.Question) {
	h := newHost()
	h.b.FailMode, h.local.LinkState = "secure", "up"
	foundAt(h, q)
}

func foundAt(h *host, q *attach.Question) {
	tx, err := own.Begin(h.Rows, instance)
	if err != nil {
		panic(err)
	}
	a, err := attach.Decide(tx, attach.Question{Settings: q.Settings, Rows: h.Rows, Has: q.Has, Bridge: h.b, Wanted: true})
	if err != nil {
		panic(err)
	}
	q.Found = a.Want
}

func TestForeignControllersAreToldOf(t *testing.T) {
	h := newHost()
	h.controller(ovsdb.Controller{Target: "tcp:203.0.113.2:6653", Type: "service"})
	h.controller(ovsdb.Controller{Target: "tcp:203.0.113.1:6653", IsConnected: true})
	h.ours()
	tx, err := own.Begin(h.Rows, instance)
	if err != nil {
		t.Fatal(err)
	}
	a, err := attach.Decide(tx, attach.Question{Rows: h.Rows, Has: current, Bridge: h.b})
	if err != nil {
		t.Fatal(err)
	}
	want := []attach.Controller{{Target: "tcp:203.0.113.1:6653", Type: "primary", Connected: true}, {Target: "tcp:203.0.113.2:6653", Type: "service"}}
	if diff := cmp.Diff(want, a.Foreign); diff != "" {
		t.Errorf("Foreign (-want +got):\n%s", diff)
	}
}

// What detaching loses is what the last primary controller takes along.
func TestDetaching(t *testing.T) {
	h := newHost()
	if lost := attach.Detaching(h.Rows, h.b); lost != "" {
		t.Errorf("nothing there: %q is lost", lost)
	}
	c := h.ours()
	if lost := attach.Detaching(h.Rows, h.b); lost != "" {
		t.Errorf("service: %q is lost", lost)
	}
	h.b.FailMode, h.b.ExternalIDs["weir-former-fail_mode"] = "secure", `{"set":"secure","was":"standalone"}`
	if lost := attach.Detaching(h.Rows, h.b); !strings.Contains(lost, "fail mode goes back") {
		t.Errorf("fail static: %q is lost", lost)
	}
	h.b.FailMode = "standalone" // as others made it
	if lost := attach.Detaching(h.Rows, h.b); lost != "" {
		t.Errorf("standalone by others: %q is lost", lost)
	}
	c.Type = ""
	if lost := attach.Detaching(h.Rows, h.b); !strings.HasPrefix(lost, "all flows, groups and meters") {
		t.Errorf("primary: %q is lost", lost)
	}
	h.controller(ovsdb.Controller{Target: "tcp:203.0.113.1:6653"})
	if lost := attach.Detaching(h.Rows, h.b); lost != "" {
		t.Errorf("primary beside another: %q is lost", lost)
	}
}
