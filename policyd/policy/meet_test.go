package policy_test

import (
	"math/rand/v2"
	"testing"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

// Of two random rules and random packets: what the first covers, the second never decides behind it; what it does not meet, the second decides as if it were alone;
// and what a rule decides of kept packets, it names.
func TestMeetRandom(t *testing.T) {
	seed := chance.Seed(t)
	covered, apart, decided := 0, 0, 0
	for run := range 1500 {
		r := rand.New(rand.NewPCG(seed, uint64(run)))
		w := policytest.New(r, policytest.Small)
		var rules []policy.Rule
		for x := range w.Policy.Rules() {
			if x.InForce(policytest.Now) && x.Action != policy.Shadow {
				rules = append(rules, *x)
			}
		}
		if len(rules) < 2 {
			continue
		}
		a, b := rules[r.IntN(len(rules))], rules[r.IntN(len(rules))]
		if r.IntN(3) == 0 { // else few cover each other
			a.Remote, a.RemotePorts, a.LocalPorts = policy.Remote{}, nil, nil
		}
		if r.IntN(3) == 0 {
			a.Protocol = b.Protocol
		}
		a.ID, b.ID = "a", "b"
		if a.Validate() != nil {
			continue
		}
		set := func(list ...policy.Rule) (*policy.Set, *policy.Estate) {
			p := &policy.Policy{AddressGroups: w.Policy.AddressGroups, VMGroups: w.Policy.VMGroups, Global: policy.Level{Mandatory: list}}
			draft, err := policy.Resolve(policy.Request{Policy: p, Names: policy.NamesOf(w.Model), Now: policytest.Now, Applied: true})
			if err != nil {
				t.Fatal(err)
			}
			s := draft.Set(policytest.FirstInstance)
			return s, policy.EstateOf(w.Model, s.Groups, nil)
		}
		both, bothIn := set(a, b)
		alone, aloneIn := set(b)
		for _, state := range []policy.State{policy.New, policy.Stateless} {
			stateless := state == policy.Stateless
			covers, meets := a.Covers(&b, stateless), a.Meets(&b, stateless)
			if covers && !meets || a.Covers(&b, true) && !a.Covers(&b, false) {
				t.Fatalf("seed %d, run %d: %v covers %v: %v, meets it: %v", seed, run, &a, &b, covers, meets)
			}
			for range 60 {
				tr := w.Traffic(r)
				for stage, vif := range map[flow.Stage]*policy.Interface{flow.StageEgress: tr.Src, flow.StageIngress: tr.Dst} {
					if vif == nil {
						continue
					}
					by := func(s *policy.Set, in *policy.Estate) string {
						if d := policy.Evaluate(s, in, vif, stage, &tr.Packet, policy.Conn{State: state}); d.Entry != nil {
							return d.Entry.Rule.ID
						}
						return ""
					}
					was, is := by(alone, aloneIn), by(both, bothIn)
					if was != "b" {
						continue
					}
					decided++
					switch {
					case covers && is == "b", !meets && is != "b":
						t.Fatalf("seed %d, run %d: %s of %s: %q decides behind %q, which covers it: %v, meets it: %v; decided by %s", seed, run, stage, tr.Packet, &b, &a, covers, meets, is)
					case covers:
						covered++
					case !meets:
						apart++
					}
				}
			}
		}
	}
	t.Logf("seed %d: of %d packets, %d were of rules that are covered, %d of rules that do not meet", seed, decided, covered, apart)
	if covered < 200 || apart < 200 {
		t.Errorf("seed %d: %d packets of covered rules, %d of rules that do not meet", seed, covered, apart)
	}
}

func TestNamesKept(t *testing.T) {
	f := func(want bool, rule string) {
		t.Helper()
		p := parsed(t, "global: {default: [{action: deny, "+rule+"}]}")
		if got := p.Global.Default[0].NamesKept(); got != want {
			t.Errorf("NamesKept of %s: %v, want %v", rule, got, want)
		}
	}
	f(false, "protocol: any")
	f(false, "protocol: tcp")
	f(false, "protocol: icmp/8")
	f(false, "protocol: icmpv6/128")
	f(false, "protocol: udp")
	f(false, "protocol: udp, remote_ports: 53")
	f(true, "protocol: arp")
	f(true, "protocol: icmp")
	f(true, "protocol: icmp/3")
	f(true, "protocol: icmp/3/4")
	f(false, "protocol: icmp/3/1")
	f(true, "protocol: icmpv6/135")
	f(true, "protocol: udp, remote_ports: 67")
	f(true, "protocol: udp, remote_ports: 547, local_ports: 546")
}
