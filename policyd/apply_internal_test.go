package policyd

import (
	"slices"
	"testing"
	"time"

	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/state"
)

// rule returns the one rule of a policy.
func rule(t *testing.T, text string) *policy.Entry {
	t.Helper()
	p, err := policy.Parse("policy", []byte("global: {default: [{id: r, "+text+"}]}"))
	if err != nil {
		t.Fatal(err)
	}
	return &policy.Entry{Rule: p.Global.Default[0], Scope: policy.Scope{Tier: policy.GlobalDefault}}
}

// Connections go on only where all that the rule allowed is certainly allowed by it still.
func TestAllowsAll(t *testing.T) {
	const was = `action: allow, direction: to, protocol: tcp, remote: 10.1.0.0/16, remote_ports: "80,443"`
	for text, want := range map[string]bool{
		was: true,
		`action: allow, direction: to, protocol: tcp, remote: 10.1.0.0/16, remote_ports: "1-1000"`: true,
		`action: allow, direction: to, protocol: tcp, remote: 10.0.0.0/8, remote_ports: "80,443"`:  true,
		`action: allow, direction: to`:                                                                                 true,
		`action: allow, direction: either, protocol: tcp`:                                                              true,
		`action: deny, direction: to, protocol: tcp, remote: 10.1.0.0/16, remote_ports: "80,443"`:                      false,
		`action: shadow, direction: to, protocol: tcp, remote: 10.1.0.0/16, remote_ports: "80,443"`:                    false,
		`action: allow, direction: from, protocol: tcp, remote: 10.1.0.0/16, remote_ports: "80,443"`:                   false,
		`action: allow, direction: to, protocol: udp, remote: 10.1.0.0/16, remote_ports: "80,443"`:                     false,
		`action: allow, direction: to, protocol: tcp, remote: 10.1.0.0/17, remote_ports: "80,443"`:                     false,
		`action: allow, direction: to, protocol: tcp, remote: 10.1.0.0/16, remote_ports: "80"`:                         false,
		`action: allow, direction: to, protocol: tcp, remote: 10.1.0.0/16, remote_ports: "80,443", local_ports: "999"`: false,
	} {
		e, before := rule(t, text), rule(t, was)
		if e.Rule.Direction == "" {
			e.Rule.Direction = policy.Either
		}
		if got := allowsAll(e, before); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	other := rule(t, was)
	other.Scope.Tier = policy.GlobalMandatory
	if allowsAll(other, rule(t, was)) {
		t.Error("a rule of another scope allows all")
	}
}

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
