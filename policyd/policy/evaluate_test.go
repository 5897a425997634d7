package policy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

// conns are states of connections by the words of tests.
var conns = map[string]policy.Conn{
	"stateless":   {State: policy.Stateless},
	"new":         {State: policy.New},
	"established": {State: policy.Established},
	"reply":       {State: policy.Reply, Egress: 1000, Ingress: 1001},
	"received":    {State: policy.Reply, Ingress: 1001},
	"unnamed":     {State: policy.Reply},
	"blocked":     {State: policy.Reply, Egress: 1000, Blocked: true},
	"retired":     {State: policy.Reply, Egress: 1000, Retired: true},
	"related":     {State: policy.Related, Egress: 1000},
	"invalid":     {State: policy.Invalid},
}

// ask answers "web/0 out new tcp 192.0.2.1:1 > 192.0.2.2:443": VIF, direction, state (new if it is left out), packet.
func ask(t *testing.T, set *policy.Set, e *policy.Estate, question string) policy.Decision {
	t.Helper()
	words := strings.SplitN(question, " ", 3)
	if len(words) != 3 {
		t.Fatalf("found %q, want VIF, direction and packet", question)
	}
	vif := &policy.Interface{} // of nobody
	for _, v := range e.VIFs {
		if v.Name == words[0] {
			vif = v
		}
	}
	if vif.ID == 0 && words[0] != "nobody" {
		t.Fatalf("no VIF %q", words[0])
	}
	stage := map[string]flow.Stage{"out": flow.StageEgress, "in": flow.StageIngress}[words[1]]
	if stage == flow.StageNone {
		t.Fatalf("found %q, want out or in", words[1])
	}
	conn := policy.Conn{State: policy.New}
	if word, rest, _ := strings.Cut(words[2], " "); conns[word] != (policy.Conn{}) || word == "stateless" {
		conn, words[2] = conns[word], rest
	}
	p, err := policy.ParsePacket(words[2])
	if err != nil {
		t.Fatal(err)
	}
	return policy.Evaluate(set, e, vif, stage, &p, conn)
}

const pair = `
pools: [{name: berlin}]
networks: [{name: front, pool: berlin}]
vms:
  - {name: web, pool: berlin, vifs: [{device: "0", network: front, mac: "02:00:00:00:00:01", ips: [192.0.2.1, "2001:db8::1"]}]}
  - {name: db, pool: berlin, vifs: [{device: "0", network: front, mac: "02:00:00:00:00:02", ips: [192.0.2.2, "2001:db8::2"]}]}
address_groups: [{name: office, members: [10.0.0.0/8, "2001:db8:1::/48"]}]
vm_groups: [{name: dbs, vms: [db]}]
`

// Each case is a policy and questions with their answers. Rules are numbered r1, r2, … from the top.
func TestEvaluate(t *testing.T) {
	m := model(t, pair)
	web := func(rules ...string) string {
		return "vms: [{name: web, mandatory: [" + strings.Join(rules, ", ") + "]}]"
	}
	for name, c := range map[string]struct {
		policy  string
		answers [][2]string
	}{
		"nothing is said": {"{}", [][2]string{
			{"web/0 out tcp 192.0.2.1:1 > 192.0.2.2:2", "allowed by the final default"},
			{"web/0 in ethertype/0x88cc", "allowed by the final default"},
			{"nobody out tcp 192.0.2.1:1 > 192.0.2.2:2", "allowed by the final default"},
		}},
		"default deny": {"default: deny", [][2]string{
			{"web/0 out tcp 192.0.2.1:1 > 192.0.2.2:2", "denied by the final default"},
			{"nobody in udp [2001:db8::1]:1 > [2001:db8::2]:2", "denied by the final default"},
			{"web/0 out established tcp 192.0.2.1:1 > 192.0.2.2:2", "denied by the final default; the connection ends"},
		}},
		"tiers": {`
global: {mandatory: [{id: 1, action: deny, protocol: tcp, remote_ports: "1"}], default: [{id: 9, action: deny, protocol: tcp, remote_ports: 1-9}]}
pools: [{name: berlin, mandatory: [{id: 2, action: deny, protocol: tcp, remote_ports: 1-2}], default: [{id: 8, action: deny, protocol: tcp, remote_ports: 1-8}]}]
networks: [{name: front, mandatory: [{id: 3, action: deny, protocol: tcp, remote_ports: 1-3}], default: [{id: 7, action: deny, protocol: tcp, remote_ports: 1-7}]}]
vms: [{name: web, mandatory: [{id: 4, action: deny, protocol: tcp, remote_ports: 1-4}], default: [{id: 6, action: deny, protocol: tcp, remote_ports: 1-6}]}]
vifs: [{name: web/0, rules: [{id: 5, action: deny, protocol: tcp, remote_ports: 1-5}]}]
`, [][2]string{
			{"web/0 out tcp 192.0.2.1:1 > 192.0.2.2:1", "denied by rule 1 (global mandatory)"},
			{"web/0 out tcp 192.0.2.1:1 > 192.0.2.2:2", "denied by rule 2 (pool mandatory)"},
			{"web/0 out tcp 192.0.2.1:1 > 192.0.2.2:3", "denied by rule 3 (network mandatory)"},
			{"web/0 out tcp 192.0.2.1:1 > 192.0.2.2:4", "denied by rule 4 (VM mandatory)"},
			{"web/0 out tcp 192.0.2.1:1 > 192.0.2.2:5", "denied by rule 5 (VIF)"},
			{"web/0 out tcp 192.0.2.1:1 > 192.0.2.2:6", "denied by rule 6 (VM default)"},
			{"web/0 out tcp 192.0.2.1:1 > 192.0.2.2:7", "denied by rule 7 (network default)"},
			{"web/0 out tcp 192.0.2.1:1 > 192.0.2.2:8", "denied by rule 8 (pool default)"},
			{"web/0 out tcp 192.0.2.1:1 > 192.0.2.2:9", "denied by rule 9 (global default)"},
			{"web/0 out tcp 192.0.2.1:1 > 192.0.2.2:10", "allowed by the final default"},
			{"db/0 out tcp 192.0.2.2:1 > 192.0.2.1:5", "denied by rule 7 (network default)"},
			{"nobody out tcp 192.0.2.2:1 > 192.0.2.1:5", "denied by rule 9 (global default)"},
		}},
		"directions": {web("{action: deny, direction: to, protocol: tcp}", "{action: deny, direction: from, protocol: udp}", "{action: deny, protocol: sctp}"), [][2]string{
			{"web/0 out tcp 192.0.2.1:1 > 192.0.2.2:2", "denied by rule r1 (VM mandatory)"},
			{"web/0 in tcp 192.0.2.2:1 > 192.0.2.1:2", "allowed by the final default"},
			{"web/0 out udp 192.0.2.1:1 > 192.0.2.2:2", "allowed by the final default"},
			{"web/0 in udp 192.0.2.2:1 > 192.0.2.1:2", "denied by rule r2 (VM mandatory)"},
			{"web/0 out sctp 192.0.2.1:1 > 192.0.2.2:2", "denied by rule r3 (VM mandatory)"},
			{"web/0 in sctp 192.0.2.2:1 > 192.0.2.1:2", "denied by rule r3 (VM mandatory)"},
		}},
		"ports are local and remote": {web(`{action: deny, protocol: tcp, local_ports: "22"}`, `{action: deny, protocol: tcp, remote_ports: "443,8000-8009"}`), [][2]string{
			{"web/0 in tcp 192.0.2.2:5 > 192.0.2.1:22", "denied by rule r1 (VM mandatory)"},
			{"web/0 out tcp 192.0.2.1:22 > 192.0.2.2:5", "denied by rule r1 (VM mandatory)"},
			{"web/0 out tcp 192.0.2.1:5 > 192.0.2.2:22", "allowed by the final default"},
			{"web/0 out tcp 192.0.2.1:5 > 192.0.2.2:8009", "denied by rule r2 (VM mandatory)"},
			{"web/0 out tcp 192.0.2.1:5 > 192.0.2.2:8010", "allowed by the final default"},
			{"web/0 in tcp 192.0.2.2:443 > 192.0.2.1:5", "denied by rule r2 (VM mandatory)"},
			{"web/0 in udp 192.0.2.2:443 > 192.0.2.1:5", "allowed by the final default"},
		}},
		"remotes": {web("{action: deny, remote: 10.1.0.0/16}", "{action: deny, remote: address-group:office, protocol: tcp}",
			"{action: deny, remote: vm-group:dbs, protocol: udp}", `{action: deny, remote: "02:ff:00:00:00:01"}`, `{action: deny, remote: "2001:db8::9"}`), [][2]string{
			{"web/0 out tcp 192.0.2.1:1 > 10.1.255.255:2", "denied by rule r1 (VM mandatory)"},
			{"web/0 out tcp 192.0.2.1:1 > 10.2.0.0:2", "denied by rule r2 (VM mandatory)"},
			{"web/0 in tcp [2001:db8:1::1]:1 > [2001:db8::1]:2", "denied by rule r2 (VM mandatory)"},
			{"web/0 out udp 192.0.2.1:1 > 192.0.2.2:2", "denied by rule r3 (VM mandatory)"},
			{"web/0 in udp [2001:db8::2]:1 > [2001:db8::1]:2", "denied by rule r3 (VM mandatory)"},
			{"web/0 out udp 192.0.2.1:1 > 192.0.2.3:2 02:00:00:00:00:01 > 02:ff:00:00:00:01", "denied by rule r4 (VM mandatory)"},
			{"web/0 in ethertype/0x88cc 02:ff:00:00:00:01 > 02:00:00:00:00:01", "denied by rule r4 (VM mandatory)"},
			{"web/0 out ethertype/0x88cc 02:ff:00:00:00:01 > 02:00:00:00:00:01", "allowed by the final default"},
			{"web/0 out ip/47 2001:db8::1 > 2001:db8::9", "denied by rule r5 (VM mandatory)"},
		}},
		"protocols": {web("{action: deny, protocol: icmp/8}", "{action: deny, protocol: icmp/3/1}", "{action: deny, protocol: ip/47}",
			"{action: deny, protocol: ethertype/0x88cc}", "{action: deny, protocol: ipv6}", "{action: deny, protocol: rarp}"), [][2]string{
			{"web/0 out icmp/8/0 192.0.2.1 > 192.0.2.2", "denied by rule r1 (VM mandatory)"},
			{"web/0 out icmp/8/7 192.0.2.1 > 192.0.2.2", "denied by rule r1 (VM mandatory)"},
			{"web/0 out icmp/0/0 192.0.2.1 > 192.0.2.2", "allowed by the final default"},
			{"web/0 out icmp/3/1 192.0.2.1 > 192.0.2.2", "denied by rule r2 (VM mandatory)"},
			{"web/0 out icmp/3/2 192.0.2.1 > 192.0.2.2", "allowed by the final default"},
			{"web/0 out ip/47 192.0.2.1 > 192.0.2.2", "denied by rule r3 (VM mandatory)"},
			{"web/0 out ip/47 2001:db8::1 > 2001:db8::2", "denied by rule r3 (VM mandatory)"},
			{"web/0 out ethertype/0x88cc", "denied by rule r4 (VM mandatory)"},
			{"web/0 out icmpv6/128/0 2001:db8::1 > 2001:db8::2", "denied by rule r5 (VM mandatory)"},
			{"web/0 out rarp", "denied by rule r6 (VM mandatory)"},
		}},
		"kept packets under deny-all": {"default: deny\nglobal: {mandatory: [{action: deny}, {action: deny, protocol: ipv4}, {action: deny, protocol: ipv6}, {action: deny, protocol: udp}]}", [][2]string{
			{"web/0 out arp 192.0.2.1 > 192.0.2.2", "allowed, since no rule names it"},
			{"web/0 in arp 192.0.2.2 > 192.0.2.1", "allowed, since no rule names it"},
			{"web/0 out icmpv6/133/0 fe80::1 > ff02::2", "allowed, since no rule names it"},
			{"web/0 in icmpv6/133/0 fe80::2 > ff02::2", "denied by rule r1 (global mandatory)"},
			{"web/0 in icmpv6/134/0 fe80::2 > ff02::1", "allowed, since no rule names it"},
			{"web/0 out icmpv6/134/0 fe80::1 > ff02::1", "denied by rule r1 (global mandatory)"},
			{"web/0 out icmpv6/135/0 fe80::1 > ff02::1", "allowed, since no rule names it"},
			{"web/0 in icmpv6/136/0 fe80::2 > fe80::1", "allowed, since no rule names it"},
			{"web/0 out icmpv6/137/0 fe80::1 > fe80::2", "denied by rule r1 (global mandatory)"},
			{"web/0 out icmpv6/2/0 2001:db8::1 > 2001:db8::2", "allowed, since no rule names it"},
			{"web/0 in icmp/3/4 192.0.2.2 > 192.0.2.1", "allowed, since no rule names it"},
			{"web/0 in icmp/3/3 192.0.2.2 > 192.0.2.1", "denied by rule r1 (global mandatory)"},
			{"web/0 out udp 0.0.0.0:68 > 255.255.255.255:67", "allowed, since no rule names it"},
			{"web/0 in udp 192.0.2.2:67 > 192.0.2.1:68", "allowed, since no rule names it"},
			{"web/0 in udp 192.0.2.2:68 > 192.0.2.1:67", "denied by rule r1 (global mandatory)"},
			{"web/0 out udp 192.0.2.1:67 > 192.0.2.2:68", "denied by rule r1 (global mandatory)"},
			{"web/0 out udp [fe80::1]:546 > [ff02::1:2]:547", "allowed, since no rule names it"},
			{"web/0 in udp [fe80::2]:547 > [fe80::1]:546", "allowed, since no rule names it"},
			{"web/0 out udp [fe80::1]:68 > [fe80::2]:67", "denied by rule r1 (global mandatory)"},
			{"web/0 out rarp", "allowed, since no rule names it"},
		}},
		"kept packets that rules name": {web("{action: deny, protocol: arp, remote: 192.0.2.0/30}", "{action: deny, protocol: icmpv6/135}", "{action: deny, protocol: ip/58, direction: from}",
			`{action: deny, protocol: udp, remote_ports: 1-1023}`, "{action: deny, protocol: icmp}"), [][2]string{
			{"web/0 out arp 192.0.2.1 > 192.0.2.2", "denied by rule r1 (VM mandatory)"},
			{"web/0 in arp 192.0.2.4 > 192.0.2.1", "allowed, since no rule names it"},
			{"web/0 out icmpv6/135/0 fe80::1 > ff02::1", "denied by rule r2 (VM mandatory)"},
			{"web/0 out icmpv6/136/0 fe80::1 > ff02::1", "allowed, since no rule names it"},
			{"web/0 in icmpv6/136/0 fe80::2 > fe80::1", "denied by rule r3 (VM mandatory)"},
			{"web/0 out udp 0.0.0.0:68 > 255.255.255.255:67", "denied by rule r4 (VM mandatory)"},
			{"web/0 in icmp/3/4 192.0.2.2 > 192.0.2.1", "denied by rule r5 (VM mandatory)"},
		}},
		"shadow": {web("{action: shadow, protocol: tcp}", "{action: shadow}", `{action: deny, protocol: tcp, remote_ports: "1"}`, "{action: shadow, protocol: arp}"), [][2]string{
			{"web/0 out tcp 192.0.2.1:1 > 192.0.2.2:1", "denied by rule r3 (VM mandatory); shadow rule r1 would deny it (VM mandatory)"},
			{"web/0 out tcp 192.0.2.1:1 > 192.0.2.2:2", "allowed by the final default; shadow rule r1 would deny it (VM mandatory)"},
			{"web/0 out udp 192.0.2.1:1 > 192.0.2.2:2", "allowed by the final default; shadow rule r2 would deny it (VM mandatory)"},
			{"web/0 out arp 192.0.2.1 > 192.0.2.2", "allowed, since no rule names it; shadow rule r4 would deny it (VM mandatory)"},
		}},
		"shadow after the decision": {web("{action: allow, protocol: tcp}", "{action: shadow}"), [][2]string{
			{"web/0 out tcp 192.0.2.1:1 > 192.0.2.2:1", "allowed by rule r1 (VM mandatory)"},
		}},
		"states": {"default: deny\n" + web("{action: deny, protocol: tcp}"), [][2]string{
			{"web/0 in reply tcp 192.0.2.2:1 > 192.0.2.1:2", "allowed as a reply, by rule instance 1000"},
			{"web/0 out received tcp 192.0.2.1:1 > 192.0.2.2:2", "allowed as a reply, by rule instance 1001"},
			{"web/0 in unnamed tcp 192.0.2.2:1 > 192.0.2.1:2", "allowed as a reply"},
			{"web/0 in related icmp/3/3 192.0.2.2 > 192.0.2.1", "allowed as a reply, by rule instance 1000"},
			{"web/0 in blocked tcp 192.0.2.2:1 > 192.0.2.1:2", "denied, since a rule ended the connection"},
			{"web/0 in retired tcp 192.0.2.2:1 > 192.0.2.1:2", "denied, since a rule ended the connection"},
			{"web/0 out established tcp 192.0.2.1:1 > 192.0.2.2:2", "denied by rule r1 (VM mandatory); the connection ends"},
			{"web/0 out invalid tcp 192.0.2.1:1 > 192.0.2.2:2", "invalid"},
		}},
		"stateless": {"default: deny\n" + web(`{action: allow, direction: to, protocol: tcp, remote: 192.0.2.2, remote_ports: "443"}`, "{action: allow, direction: from, protocol: icmp/8}",
			"{action: allow, direction: to, protocol: icmpv6}", "{action: deny, direction: to, protocol: udp}", "{action: allow, protocol: sctp}"), [][2]string{
			{"web/0 out stateless tcp 192.0.2.1:1 > 192.0.2.2:443", "allowed by rule r1 (VM mandatory)"},
			{"web/0 in stateless tcp 192.0.2.2:443 > 192.0.2.1:1", "allowed by rule r1 (VM mandatory), as a reply to what it matches"},
			{"web/0 in new tcp 192.0.2.2:443 > 192.0.2.1:1", "denied by the final default"},
			{"web/0 in stateless tcp 192.0.2.3:443 > 192.0.2.1:1", "denied by the final default"},
			{"web/0 out stateless icmp/0/0 192.0.2.1 > 192.0.2.2", "allowed by rule r2 (VM mandatory), as a reply to what it matches"},
			{"web/0 out stateless icmp/8/0 192.0.2.1 > 192.0.2.2", "denied by the final default"},
			{"web/0 in stateless icmpv6/129/0 2001:db8::2 > 2001:db8::1", "allowed by rule r3 (VM mandatory), as a reply to what it matches"},
			{"web/0 in stateless icmpv6/128/0 2001:db8::2 > 2001:db8::1", "allowed by rule r3 (VM mandatory), as a reply to what it matches"},
			{"web/0 in stateless udp 192.0.2.2:1 > 192.0.2.1:2", "denied by the final default"},
			{"web/0 in stateless sctp 192.0.2.2:1 > 192.0.2.1:2", "allowed by rule r5 (VM mandatory)"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			set := resolve(t, m, c.policy)
			e := policy.EstateOf(m, set.Groups, nil)
			for _, a := range c.answers {
				if got := ask(t, set, e, a[0]).String(); got != a[1] {
					t.Errorf("%s: %s, want %s", a[0], got, a[1])
				}
			}
		})
	}
}

// questions calls f with random questions of random worlds.
func questions(t *testing.T, worlds int, f func(w *policytest.World, vif *policy.Interface, stage flow.Stage, tr *policytest.Traffic, conn policy.Conn) error) {
	t.Helper()
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	for range worlds {
		w := policytest.New(r, policytest.Small)
		for range 60 {
			tr, conn := w.Traffic(r), w.Conn(r)
			if r.IntN(3) == 0 {
				conn = policy.Conn{}
			}
			for stage, vif := range map[flow.Stage]*policy.Interface{flow.StageEgress: tr.Src, flow.StageIngress: tr.Dst} {
				if vif == nil {
					continue
				}
				if err := f(w, vif, stage, &tr, conn); err != nil {
					t.Fatalf("seed %d: %s %s %+v %s: %v", seed, vif.Name, stage, conn, tr.Packet, err)
				}
			}
		}
	}
}

// without returns set with only those entries that keep says.
func without(set *policy.Set, keep func(*policy.Entry) bool) *policy.Set {
	out := *set
	out.Lists = map[policy.Scope][]*policy.Entry{}
	for s, list := range set.Lists {
		for _, e := range list {
			if keep(e) {
				out.Lists[s] = append(out.Lists[s], e)
			}
		}
	}
	return &out
}

func TestShadowRulesChangeNoVerdict(t *testing.T) {
	var last *policytest.World
	var plain *policy.Set
	questions(t, 100, func(w *policytest.World, vif *policy.Interface, stage flow.Stage, tr *policytest.Traffic, conn policy.Conn) error {
		if w != last {
			last, plain = w, without(w.Set, func(e *policy.Entry) bool { return e.Rule.Action != policy.Shadow })
		}
		got := policy.Evaluate(w.Set, w.Estate, vif, stage, &tr.Packet, conn)
		want := policy.Evaluate(plain, w.Estate, vif, stage, &tr.Packet, conn)
		if got.Shadow = nil; got != want {
			return fmt.Errorf("%s, without shadow rules %s", got, want)
		}
		return nil
	})
}

// A rule that comes before the deciding one does not match; what comes after it has no say.
func TestFirstMatchDecides(t *testing.T) {
	questions(t, 100, func(w *policytest.World, vif *policy.Interface, stage flow.Stage, tr *policytest.Traffic, conn policy.Conn) error {
		all := policy.Evaluate(w.Set, w.Estate, vif, stage, &tr.Packet, conn)
		if all.Entry == nil || all.Entry == w.Set.Default {
			return nil
		}
		at := all.Entry
		alone := without(w.Set, func(e *policy.Entry) bool { return e == at || e == all.Shadow })
		if got := policy.Evaluate(alone, w.Estate, vif, stage, &tr.Packet, conn); got != all {
			return fmt.Errorf("%s, the rule alone: %s", all, got)
		}
		before := without(w.Set, func(e *policy.Entry) bool {
			return e != at && (e.Scope.Tier < at.Scope.Tier || e.Scope == at.Scope && e.Rank < at.Rank)
		})
		got := policy.Evaluate(before, w.Estate, vif, stage, &tr.Packet, conn)
		if got.Entry != nil && got.Entry != w.Set.Default {
			return fmt.Errorf("%s, the rules before it: %s", all, got)
		}
		return nil
	})
}

// A line that is said to be covered decides nothing and tells nothing.
func TestEffective(t *testing.T) {
	covered := 0
	questions(t, 300, func(w *policytest.World, vif *policy.Interface, stage flow.Stage, tr *policytest.Traffic, conn policy.Conn) error {
		d := policy.Evaluate(w.Set, w.Estate, vif, stage, &tr.Packet, conn)
		for _, line := range policy.Effective(w.Set, w.Estate, vif, conn.State == policy.Stateless) {
			if line.Covered == nil {
				continue
			}
			covered++
			if d.Entry == line.Entry || d.Shadow == line.Entry {
				return fmt.Errorf("%s, but rule %s is covered by %s", d, line.Entry.Rule.ID, line.Covered.Rule.ID)
			}
		}
		return nil
	})
	if covered == 0 {
		t.Error("no line was covered")
	}
}

func TestEffectiveLines(t *testing.T) {
	m := model(t, pair)
	set := resolve(t, m, `
global: {mandatory: [{id: a, action: deny, protocol: tcp, remote: 10.0.0.0/8, remote_ports: 1-1023}], default: [{id: z, action: allow}]}
pools: [{name: berlin, default: [{id: y, action: allow, protocol: arp}]}]
vms: [{name: db, mandatory: [{id: other, action: deny}]}]
vifs:
- name: web/0
  rules:
  - {id: b, action: allow, protocol: tcp, remote: 10.1.0.0/16, remote_ports: "22,80-443"}
  - {id: c, action: allow, protocol: tcp, remote: 10.1.0.0/16, remote_ports: "22,80-1024"}
  - {id: d, action: deny, direction: to, remote: address-group:office}
  - {id: e, action: allow, direction: to, protocol: udp, remote: 10.9.9.9}
  - {id: f, action: allow, direction: to, protocol: udp, remote: address-group:office}
  - {id: g, action: deny, protocol: icmp/8}
  - {id: h, action: allow, direction: to, protocol: icmp/8}
  - {id: i, action: allow, protocol: icmp/8}
  - {id: j, action: deny, protocol: icmp}
  - {id: k, action: allow, direction: to, protocol: icmp/8}
`)
	e := policy.EstateOf(m, set.Groups, nil)
	for stateless, want := range map[bool]string{
		false: "a(global mandatory) b(VIF web/0)<a c(VIF web/0) d(VIF web/0) e(VIF web/0)<d f(VIF web/0)<d g(VIF web/0) h(VIF web/0)<g i(VIF web/0)<g j(VIF web/0) k(VIF web/0)<g y(pool default berlin) z(global default) default(default)<z",
		true:  "a(global mandatory) b(VIF web/0)<a c(VIF web/0) d(VIF web/0) e(VIF web/0) f(VIF web/0) g(VIF web/0) h(VIF web/0) i(VIF web/0) j(VIF web/0) k(VIF web/0)<h y(pool default berlin) z(global default) default(default)<z",
	} {
		var got []string
		for _, line := range policy.Effective(set, e, vifNamed(t, e, "web/0"), stateless) {
			text := line.Entry.Rule.ID + "(" + strings.TrimSpace(line.Entry.Scope.Tier.String()+" "+line.Of) + ")"
			if line.Covered != nil {
				text += "<" + line.Covered.Rule.ID
			}
			got = append(got, text)
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("stateless %v:\n%s, want\n%s", stateless, got, want)
		}
	}
}

func vifNamed(t *testing.T, e *policy.Estate, name string) *policy.Interface {
	t.Helper()
	for _, v := range e.VIFs {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("no VIF %q", name)
	return nil
}
