package policyd

import (
	"net/netip"
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
