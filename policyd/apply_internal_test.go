package policyd

import (
	"slices"
	"testing"
	"time"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/reconcile"
	"github.com/weirhq/weir/policyd/state"
)

// Numbers are retired for an hour: those that ended, of rules that allowed, and of rules that expired.
func TestRetired(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	p, err := policy.Parse("policy", []byte(`global: {default: [{id: e, action: allow, expires: 2026-11-26T11:30:00Z}, {id: d, action: deny, expires: 2026-11-26T11:30:00Z}, {id: f, action: allow, expires: 2026-11-26T13:00:00Z}]}`))
	if err != nil {
		t.Fatal(err)
	}
	i := &state.Intent{
		Rules: map[uint64][]state.Placed{3: {{Rule: "e", Instance: 300}, {Rule: "d", Instance: 301}, {Rule: "f", Instance: 302}, {Rule: "back", Instance: 303}}},
		Live: []state.Instance{
			{Instance: 256, Until: now.Add(-time.Minute), Ends: true},
			{Instance: 257, Until: now.Add(-time.Minute)},
			{Instance: 258, Until: now.Add(-state.Remembered), Ends: true},
			{Instance: 303, Until: now.Add(-time.Minute), Ends: true},
		},
	}
	r := &resolved{policy: p}
	for at, want := range map[time.Duration][]uint32{0: {256, 300}, 90 * time.Minute: {302}, 24 * time.Hour: nil} {
		if got := retired(i, r, 3, now.Add(at)); !slices.Equal(got, want) {
			t.Errorf("after %v: %v, want %v", at, got, want)
		}
	}
}

// Whether a bridge has meters its switch says; before it was asked, its version and the type of its datapath.
func TestCapabilities(t *testing.T) {
	type bridge struct{ version, datapath string }
	key := reconcile.Key{Host: "h", Bridge: "br0"}
	for b, want := range map[bridge]bool{
		{"3.1.0", "netdev"}: true, {"3.1.0", "system"}: true, {"3.1.0", ""}: true, {"2.17.7", "system"}: true, {"2.10.0", ""}: true, {"2.9.8", "system"}: false, {"2.9.8", "netdev"}: true,
		{"2.8.0", "netdev"}: true, {"2.7.0", "netdev"}: false, {"2.5.3", "system"}: false, {"", ""}: true,
	} {
		s := &subject{host: &host{}, status: ovsdb.Status{OVSVersion: b.version}, datapath: map[string]string{key.Bridge: b.datapath}}
		s.UUID = key.Host
		for most, says := range map[uint32]bool{0: false, compile.MeterLast - 1: false, compile.MeterLast: true} {
			g := &governor{maxMeters: map[reconcile.Key]uint32{}}
			if got := g.capabilities(s, key.Bridge).Meters; got != want {
				t.Errorf("%+v, not asked: meters %v, want %v", b, got, want)
			}
			g.maxMeters[key] = most
			if got := g.capabilities(s, key.Bridge).Meters; got != says {
				t.Errorf("%+v with meters up to %d: meters %v, want %v", b, most, got, says)
			}
		}
	}
}
