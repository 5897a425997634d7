package policy_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/policy"
)

// What a VIF is believed, which the flows of a bridge and what they are compared with are both made of: as text, MAC addresses; IPv4; IPv6; servers.
func TestGuardOf(t *testing.T) {
	const (
		own   = 0x020000000001
		ownLL = "fe80::ff:fe00:1" // of which RFC 4291, appendix A, makes it
		allLL = "fe80::/10"
	)
	words := func(g *policy.Guard) string {
		var list [4]string
		prefixes := func(of []netip.Prefix) string {
			var words []string
			for _, p := range of {
				words = append(words, strings.TrimSuffix(strings.TrimSuffix(p.String(), "/32"), "/128"))
			}
			return strings.Join(words, " ")
		}
		list[0], list[1], list[2], list[3] = "any", "any", "any", ""
		if g.MACs != nil {
			var words []string
			for _, m := range g.MACs {
				words = append(words, m.String())
			}
			list[0] = strings.Join(words, " ")
		}
		if g.Four != nil {
			list[1] = prefixes(g.Four)
		}
		if g.Six != nil {
			list[2] = prefixes(g.Six)
		}
		if g.DHCP {
			list[3] += "no DHCP server"
		}
		if g.RA {
			list[3] += "no router"
		}
		return strings.TrimSuffix(strings.Join(list[:], "; "), "; ")
	}
	f := func(settings string, mac estate.MAC, told, want string) {
		t.Helper()
		set := &policy.Set{Settings: map[policy.LevelID]*policy.Said{{}: {Settings: parsed(t, "global: {settings: {"+settings+"}}").Global.Settings}}}
		in := set.SettingsOf(&policy.Interface{})
		var addrs []netip.Addr
		for a := range strings.FieldsSeq(told) {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		g := policy.GuardOf(&in, mac, addrs)
		if got := words(&g); got != want {
			t.Errorf("{%s} at %v with %q:\ngot  %s\nwant %s", settings, mac, told, got, want)
		}
	}
	both := "192.0.2.1 2001:db8::1"

	// The MAC address is guarded unless somebody says otherwise, its addresses are not; whatever guard_mac says, guard_ip guards both.
	f("rate_in: off", own, both, "02:00:00:00:00:01; any; any")
	f("guard_mac: off", own, both, "any; any; any")
	f("guard_mac: off, guard_ip: on", own, both, "02:00:00:00:00:01; 192.0.2.1; 2001:db8::1 "+allLL)
	f("guard_ip: on", own, both, "02:00:00:00:00:01; 192.0.2.1; 2001:db8::1 "+allLL)

	// Of what is not known nothing is checked: its MAC address, or addresses of a family, to which allowed ones and the link-local ones are no beginning.
	f("guard_ip: on, guard_dhcp: on", 0, both, "any; any; any; no DHCP server")
	f("guard_ip: on, guard_ra: on", 0x010000000001, both, "any; any; any; no router")
	f("guard_ip: on", own, "", "02:00:00:00:00:01; any; any")
	f("guard_ip: on", own, "192.0.2.1", "02:00:00:00:00:01; 192.0.2.1; any")
	f("guard_ip: on", own, "2001:db8::1", "02:00:00:00:00:01; any; 2001:db8::1 "+allLL)
	f("guard_ip: on", own, "192.0.2.1 fe80::5", "02:00:00:00:00:01; 192.0.2.1; any")
	f(`guard_ip: on, allowed_addresses: "192.0.2.50, 2001:db8::50"`, own, "", "02:00:00:00:00:01; any; any")
	f(`guard_ip: on, allowed_addresses: "192.0.2.50, 2001:db8::50"`, own, "2001:db8::1", "02:00:00:00:00:01; any; 2001:db8::1 2001:db8::50 "+allLL)

	// Which link-local address it chose is known if one was told; that of its MAC address is its own.
	f("guard_ip: on", own, "2001:db8::1 fe80::5", "02:00:00:00:00:01; any; 2001:db8::1 fe80::5 "+ownLL)

	// Pairs: every MAC address of them, once, and every address.
	pairs := `allowed_addresses: "00:00:5e:00:01:0a 192.0.2.50, 00:00:5e:00:01:0a 2001:db8::50, 02:00:00:00:00:01, 192.0.2.64/26"`
	f(pairs, own, both, "02:00:00:00:00:01 00:00:5e:00:01:0a; any; any")
	f("guard_ip: on, "+pairs, own, both+" fe80::5", "02:00:00:00:00:01 00:00:5e:00:01:0a; 192.0.2.1 192.0.2.50 192.0.2.64/26; 2001:db8::1 2001:db8::50 fe80::5 "+ownLL+" fe80::200:5eff:fe00:10a")
	f("guard_ip: on, guard_mac: off, allowed_addresses: 00:00:5e:00:01:0a", own, "192.0.2.1", "02:00:00:00:00:01 00:00:5e:00:01:0a; 192.0.2.1; any")

	// Servers.
	f("guard_dhcp: on", own, both, "02:00:00:00:00:01; any; any; no DHCP server")
	f("guard_ra: on, guard_mac: off", own, both, "any; any; any; no router")
}

// For what a VIF is quarantined.
func TestQuarantineFor(t *testing.T) {
	for _, instance := range flow.Guards {
		for q, want := range map[policy.Quarantine]bool{"": false, policy.QuarantineOff: false, policy.QuarantineAny: true, policy.QuarantineMAC: instance == flow.SystemSpoofedMAC} {
			if q.For(instance) != want {
				t.Errorf("quarantine %q for %s: %t", q, flow.SystemRules[instance-1].Name, !want)
			}
		}
	}
}
