package policyd

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/reconcile"
)

// A bridge is not made secure before all that is to pass it was found there: Weir's flows, over a connection that is up, with those of the host's own ports. Nor
// is one that carries Weir itself, which fails open or not at all.
func TestUnready(t *testing.T) {
	const number, revision, pool, own, other = 7, 3, flow.ID(90), estate.MAC(0x020000000001), estate.MAC(0x020000000002)
	address := netip.MustParseAddr("192.0.2.1")
	type at struct {
		s *subject
		c *compiled
		b *reconcile.BridgeStatus
		r *resolved
	}
	f := func(what string, change func(*at), want string) {
		t.Helper()
		inv := &hosts.Inventory{
			Bridges: []hosts.Bridge{{Name: "br0"}, {Name: "br1"}},
			Ports: []hosts.Port{
				{Bridge: "br0", Name: "br0", Kind: hosts.KindLocal, OFPort: 0xfffe, MAC: 0x02000000000a, LinkUp: true},
				{Bridge: "br0", Name: "storage", Kind: hosts.KindInternal, OFPort: 5, MAC: 0x02000000000b, LinkUp: true},
				{Bridge: "br0", Name: "eth0", Kind: hosts.KindUplink, LinkUp: true},
				{Bridge: "br0", Name: "vif1.0", Kind: hosts.KindVIF, OFPort: 6, LinkUp: true},
				{Bridge: "br1", Name: "br1", Kind: hosts.KindLocal, LinkUp: true},
			},
			VIFs: []hosts.VIF{{Key: "guest/0", Bridge: "br0", MAC: other, Ports: []int{3}}},
		}
		x := &at{
			s: &subject{host: &host{seen: inv}, poolID: pool},
			c: &compiled{number: number, revision: revision, input: compile.Input{
				Inventory: inv, Bridge: "br0", VIFs: []flow.ID{1}, Estate: &policy.Estate{VIFs: map[flow.ID]*policy.Interface{1: {ID: 1, Told: []netip.Addr{address}}}},
			}},
			b: &reconcile.BridgeStatus{Connected: time.Unix(1, 0), State: reconcile.StateInstalled, Verified: number, Others: 12},
			r: &resolved{set: &policy.Set{FailMode: policy.FailSafe}},
		}
		change(x)
		g := &governor{resolved: map[uint64]*resolved{revision: x.r}}
		g.own = compile.Machine{MACs: []estate.MAC{own}, Addrs: []netip.Addr{address}}
		got := g.failMode(x.s, "br0", x.c, x.b)
		wants := x.r.set.FailModeOf(pool)
		if got.Wanted != wants || wants != "" && got.Others != 12 || (got.Unready == "") != (want == "") || !strings.Contains(got.Unready, want) {
			t.Errorf("%s: %+v, want %q", what, got, want)
		}
	}
	const flows = "not all of Weir's flows were found"
	f("ready", func(*at) {}, "")
	f("away", func(x *at) { x.b.Connected = time.Time{} }, "does not dial Weir")
	f("being written", func(x *at) { x.b.State = reconcile.StatePending }, flows)
	f("an older policy is there", func(x *at) { x.b.Verified = number - 1 }, flows)
	f("one by one", func(x *at) { x.b.Stepwise = true }, "writes flows one by one")
	f("a port of the host has no number", func(x *at) { x.s.seen.Ports[1].OFPort = 0 }, `own port "storage" has no OpenFlow number`)
	f("a port of the host has no MAC address", func(x *at) { x.s.seen.Ports[0].MAC = 0 }, `MAC address of the host's own port "br0" is not known`)
	f("a port of the host that is down", func(x *at) { x.s.seen.Ports[1].OFPort, x.s.seen.Ports[1].LinkUp = 0, false }, "")
	weirs := func(x *at) { x.s.seen.VIFs[0].MAC = own }
	f("Weir's own VIF", weirs, "Weir itself is VIF guest/0")
	f("Weir's own VIF, static", func(x *at) { weirs(x); x.r.set.FailMode = policy.FailStatic }, "Weir itself is VIF guest/0")
	f("Weir's own VIF, open", func(x *at) { weirs(x); x.r.set.FailMode = policy.FailOpen }, "")
	f("Weir's own VIF at another bridge", func(x *at) { weirs(x); x.s.seen.VIFs[0].Bridge = "br1" }, "")
	f("an address that a VM says it has", func(*at) {}, "")
	f("an address, of a VIF whose MAC address nobody knows", func(x *at) { x.s.seen.VIFs[0].MAC = 0 }, "Weir itself is VIF guest/0")
	f("policy says nothing", func(x *at) { x.r.set.FailMode = ""; x.b.State = reconcile.StatePending }, "")
	f("its pool says", func(x *at) {
		x.r.set.FailMode, x.r.set.Pools = "", map[flow.ID]*policy.PoolSettings{pool: {FailMode: policy.FailStatic}}
		x.b.Verified = 0
	}, flows)
}

// That a bridge is without Weir is told once, when it has been so for as long as it waits, and that it has Weir again once, when it was found to hold the
// policy. A bridge that was back in time, or that Weir does not enforce any more, is told of no more than one that was never away.
func TestWhenAbsenceIsTold(t *testing.T) {
	const (
		probe  = 5 * time.Second
		waits  = 3 * probe
		number = 7
		uuid   = "h"
	)
	begin := time.Unix(1_000_000, 0)
	// How bridge br0 stands at a moment.
	away := reconcile.BridgeStatus{State: reconcile.StateInstalled, Verified: number}
	writing := reconcile.BridgeStatus{Connected: begin, State: reconcile.StatePending, Verified: number}
	older := reconcile.BridgeStatus{Connected: begin, State: reconcile.StateInstalled, Verified: number - 1}
	holds := reconcile.BridgeStatus{Connected: begin, State: reconcile.StateInstalled, Verified: number}
	type moment struct {
		after time.Duration // since the beginning
		br0   *reconcile.BridgeStatus
		told  string        // "entered br0", "left br0"; with commas
		next  time.Duration // since the beginning, when somebody has to look again; 0: not by itself
		off   bool          // policy is not enforced there
		loose bool          // it has no controller of Weir's
		br1   *reconcile.BridgeStatus
	}
	for name, moments := range map[string][]moment{
		"never away":                {{after: 0, br0: &holds}, {after: waits, br0: &holds}, {after: 2 * waits, br0: &holds}},
		"being written all along":   {{after: 0, br0: &writing}, {after: waits, br0: &older}, {after: 2 * waits, br0: &holds}},
		"away, and back":            {{after: 0, br0: &away, next: waits}, {after: waits - 1, br0: &away, next: waits}, {after: waits, br0: &away, told: "entered br0"}, {after: waits + 1, br0: &away}, {after: 9 * waits, br0: &holds, told: "left br0"}, {after: 9*waits + 1, br0: &holds}},
		"looked at late":            {{after: 0, br0: &away, next: waits}, {after: 2 * waits, br0: &away, told: "entered br0"}, {after: 3 * waits, br0: &away}},
		"nothing is known of it":    {{after: 0, next: waits}, {after: waits, told: "entered br0"}},
		"back in time":              {{after: 0, br0: &away, next: waits}, {after: waits - 1, br0: &holds}, {after: waits, br0: &away, next: 2 * waits}, {after: 2*waits - 1, br0: &away, next: 2 * waits}, {after: 2 * waits, br0: &away, told: "entered br0"}},
		"back in time, and written": {{after: 0, br0: &away, next: waits}, {after: probe, br0: &writing}, {after: waits, br0: &holds}, {after: 2 * waits, br0: &holds}},
		"back, and being written": {
			{after: 0, br0: &away, next: waits}, {after: waits, br0: &away, told: "entered br0"}, {after: waits + 1, br0: &writing}, {after: 2 * waits, br0: &older}, {after: 3 * waits, br0: &holds, told: "left br0"},
		},
		"away again before it was written": {
			{after: 0, br0: &away, next: waits}, {after: waits, br0: &away, told: "entered br0"}, {after: waits + 1, br0: &writing}, {after: waits + 2, br0: &away}, {after: 3 * waits, br0: &away}, {after: 4 * waits, br0: &holds, told: "left br0"},
		},
		"away again later": {
			{after: 0, br0: &away, next: waits}, {after: waits, br0: &away, told: "entered br0"}, {after: 2 * waits, br0: &holds, told: "left br0"}, {after: 3 * waits, br0: &away, next: 4 * waits}, {after: 4 * waits, br0: &away, told: "entered br0"},
		},
		"policy is off meanwhile": {
			{after: 0, br0: &away, next: waits}, {after: probe, br0: &away, off: true}, {after: waits, br0: &away, next: 2 * waits}, {after: 2 * waits, br0: &away, told: "entered br0"}, {after: 3 * waits, br0: &away, off: true}, {after: 4 * waits, br0: &holds},
		},
		"it is not to dial Weir": {{after: 0, br0: &away, loose: true}, {after: waits, br0: &away, loose: true}, {after: 2 * waits, br0: &away, next: 3 * waits}},
		"two": {
			{after: 0, br0: &away, br1: &holds, next: waits},
			{after: probe, br0: &away, br1: &away, next: waits},
			{after: waits, br0: &away, br1: &away, told: "entered br0", next: waits + probe},
			{after: waits + probe, br0: &holds, br1: &away, told: "entered br1, left br0"},
			{after: 2 * waits, br0: &holds, br1: &holds, told: "left br1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := &governor{cfg: &PolicyConfig{Probe: probe}}
			for _, m := range moments {
				ours := []hosts.Controller{{Ours: true}}
				if m.loose {
					ours = []hosts.Controller{{}}
				}
				inv := &hosts.Inventory{Bridges: []hosts.Bridge{{Name: "br0", Controllers: ours}}}
				g.bridges = map[reconcile.Key]*compiled{}
				if !m.off {
					g.bridges[reconcile.Key{Host: uuid, Bridge: "br0"}] = &compiled{number: number}
				}
				var all []reconcile.BridgeStatus
				for bridge, st := range map[string]*reconcile.BridgeStatus{"br0": m.br0, "br1": m.br1} {
					if st != nil {
						is := *st
						is.HostUUID, is.Bridge = uuid, bridge
						all = append(all, is)
					}
				}
				if m.br1 != nil {
					inv.Bridges = append(inv.Bridges, hosts.Bridge{Name: "br1", Controllers: ours})
					g.bridges[reconcile.Key{Host: uuid, Bridge: "br1"}] = &compiled{number: number}
				}
				s := &subject{host: &host{seen: inv}}
				s.UUID = uuid
				entered, left, next := g.absent([]*subject{s}, all, begin.Add(m.after))
				var told []string
				for what, list := range map[string][]reconcile.Bridge{"entered ": entered, "left ": left} {
					for _, b := range list {
						told = append(told, what+b.Name)
					}
				}
				slices.Sort(told)
				if got := strings.Join(told, ", "); got != m.told {
					t.Errorf("after %v it is told: %q, want %q", m.after, got, m.told)
				}
				want := time.Time{}
				if m.next != 0 {
					want = begin.Add(m.next)
				}
				if !next.Equal(want) {
					t.Errorf("after %v somebody looks again at %v, want %v", m.after, next, want)
				}
			}
		})
	}
}
