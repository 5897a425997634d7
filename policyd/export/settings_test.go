package export

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDefaultSettingsAreValid(t *testing.T) {
	s := Default()
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
}

func TestSettingsThatMakeNoSense(t *testing.T) {
	addr := netip.MustParseAddrPort
	for want, change := range map[string]func(*Settings){
		"active_timeout": func(s *Settings) { s.ActiveTimeout = 1500 * time.Millisecond },
		"up to 70m":      func(s *Settings) { s.ActiveTimeout = 2 * time.Hour },
		"collector":      func(s *Settings) { s.Collector = addr("0.0.0.0:4739") },
		"external[1]":    func(s *Settings) { s.External = []netip.AddrPort{addr("192.0.2.1:2055"), addr("192.0.2.1:0")} },
		"external[0]":    func(s *Settings) { s.External = []netip.AddrPort{addr("[fe80::1%eth0]:2055")} },
		"one host":       func(s *Settings) { s.External = []netip.AddrPort{addr("224.0.0.1:2055")} },
	} {
		s := Default()
		change(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate(%+v) = %v, want one that says %q", s, err, want)
		}
	}
}

func TestProtocolsAreWords(t *testing.T) {
	for _, p := range []Protocol{Auto, IPFIX, NetFlow, Off} {
		var got Protocol
		if err := got.UnmarshalText([]byte(p)); err != nil || got != p {
			t.Errorf("UnmarshalText(%q) = %q, %v", p, got, err)
		}
	}
	var p Protocol
	if err := p.UnmarshalText([]byte("sflow")); err == nil || !strings.Contains(err.Error(), "auto or ipfix or netflow or off") {
		t.Errorf("UnmarshalText(sflow) = %v, want the allowed values", err)
	}
}

func TestOverrides(t *testing.T) {
	addr := netip.MustParseAddrPort
	base := Default()
	base.External = []netip.AddrPort{addr("192.0.2.1:2055")}
	base.Bridges = map[string]Protocol{"br-tun": Off}
	pool := Override{Protocol: NetFlow, External: []netip.AddrPort{addr("192.0.2.2:2055")}, TakeOver: true, Bridges: map[string]Protocol{"br0": IPFIX}}
	host := Override{Collector: addr("198.51.100.1:4739"), Sampling: 7, Bridges: map[string]Protocol{"br0": Off}}
	got := base.With(pool).With(host)
	want := Settings{
		Protocol: NetFlow, Collector: addr("198.51.100.1:4739"), External: []netip.AddrPort{addr("192.0.2.1:2055"), addr("192.0.2.2:2055")},
		Sampling: 7, CacheFlows: 10_000, TakeOver: true, Bridges: map[string]Protocol{"br-tun": Off, "br0": Off},
	}
	compare := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("With (-want +got):\n%s", diff)
	}
	if !slices.Equal(base.External, []netip.AddrPort{addr("192.0.2.1:2055")}) || !maps.Equal(base.Bridges, map[string]Protocol{"br-tun": Off}) {
		t.Errorf("With changed the settings of all: %+v", base)
	}
	if diff := cmp.Diff(base, base.With(Override{}), compare); diff != "" {
		t.Errorf("With nothing (-want +got):\n%s", diff)
	}
}
