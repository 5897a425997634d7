package policy_test

import (
	"testing"

	"github.com/weirhq/weir/policyd/policy"
)

// oneRule returns the one rule of a policy.
func oneRule(t *testing.T, text string) *policy.Entry {
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
		e, before := oneRule(t, text), oneRule(t, was)
		if e.Rule.Direction == "" {
			e.Rule.Direction = policy.Either
		}
		if got := e.AllowsAll(before); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	other := oneRule(t, was)
	other.Scope.Tier = policy.GlobalMandatory
	if other.AllowsAll(oneRule(t, was)) {
		t.Error("a rule of another scope allows all")
	}
}
