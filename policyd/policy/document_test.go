package policy_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

// same compares policies and sets.
var same = cmp.Options{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.IgnoreUnexported(policy.Estate{})}

// Each *.bad.yaml is refused with every line of its *.bad.txt, and with no other problem.
func TestBadPolicies(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			words, err := os.ReadFile(strings.TrimSuffix(name, ".bad.yaml") + ".bad.txt")
			if err != nil {
				t.Fatal(err)
			}
			_, err = policy.Parse("policy.yaml", data)
			var problems *strictyaml.Error
			if !errors.As(err, &problems) {
				t.Fatalf("Parse = %v, want problems", err)
			}
			var got []string
			for _, p := range problems.Problems {
				got = append(got, p.Error())
			}
			if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(words)), "\n"), got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGoodPolicy(t *testing.T) {
	data, err := os.ReadFile("testdata/all.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse("all.good.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, roundTrip(t, p), same); diff != "" {
		t.Errorf("round trip (-before +after):\n%s", diff)
	}
}

// roundTrip encodes and parses a policy, which is to be as it was.
func roundTrip(t testing.TB, p *policy.Policy) *policy.Policy {
	t.Helper()
	data, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := policy.Parse("again.yaml", data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	second, err := again.Encode()
	if err != nil || string(data) != string(second) {
		t.Fatalf("encoded again it is (%v)\n%s\nnot\n%s", err, second, data)
	}
	return again
}

func TestRoundTrip(t *testing.T) {
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 2))
	for range 100 {
		w := policytest.New(r, policytest.Small)
		again := roundTrip(t, w.Policy)
		if diff := cmp.Diff(w.Policy, again, same); diff != "" {
			t.Fatalf("seed %d: round trip (-before +after):\n%s", seed, diff)
		}
		d, err := policy.Resolve(policy.Request{Policy: again, Names: policy.NamesOf(w.Model), Now: policytest.Now, Applied: true})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w.Set, d.Set(policytest.FirstInstance), same); diff != "" {
			t.Fatalf("seed %d: resolved after a round trip (-before +after):\n%s", seed, diff)
		}
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// What is too much is refused with few words, and without the work that it asks for.
func TestTooMuch(t *testing.T) {
	rules := func(n int) string { return strings.Repeat("{action: deny},", n) }
	many := func(n int, form string) string {
		var s strings.Builder
		for i := range n {
			fmt.Fprintf(&s, form, i)
		}
		return s.String()
	}
	chain := func(n int, last string) string {
		var s strings.Builder
		for i := range n {
			to := fmt.Sprintf("g%d", i+1)
			if i == n-1 {
				to = last
			}
			fmt.Fprintf(&s, "- {name: g%d, members: ['address-group:%s']}\n", i, to)
		}
		return s.String()
	}
	const MiB = 1 << 20
	for name, c := range map[string]struct {
		text string
		want []string
		most uint64 // bytes to be allocated for it
	}{
		"a million rules":          {"global: {mandatory: [" + rules(1_000_000) + "]}", []string{"policy.yaml: about 1000000 rules, want at most 50000 in all"}, MiB},
		"long text":                {strings.Repeat("# nothing\n", 1<<20), []string{"longer than 8MiB"}, MiB},
		"a hundred thousand rules": {"global: {mandatory: [" + rules(100_000) + "]}", []string{"100000 rules, want at most 50000 in all"}, 512 * MiB},
		"rules of one list":        {"global: {mandatory: [" + rules(3001) + "]}", []string{"global.mandatory: 3001 rules, want at most 3000 in one list"}, 64 * MiB},
		"rules by aliases":         {"x: &x [" + rules(1000) + "]\nvms: [" + many(3000, "{name: v%d, mandatory: *x},") + "]", []string{"aliases repeat too much"}, 512 * MiB},
		"groups":                   {"address_groups: [" + many(10_001, "{name: g%d, members: []},") + "]", []string{"10001 groups, want at most 10000"}, 256 * MiB},
		"members":                  {"address_groups: [{name: g, members: [" + strings.Repeat("10.0.0.1,", 100_001) + "]}]", []string{"100001 members, want at most 100000"}, 512 * MiB},
		"nesting":                  {"address_groups:\n" + chain(17, "gx"), []string{"nested deeper than 16"}, 64 * MiB},
		"long chain":               {"address_groups:\n" + chain(9000, "gx"), []string{"nested deeper than 16"}, 512 * MiB},
		"a group that holds itself": {
			"address_groups: [{name: a, members: ['address-group:a']}]",
			[]string{"address_groups[0].members[0]: the group holds itself: a → a"},
			64 * MiB,
		},
		"groups that hold each other": {
			"vm_groups: [{name: a, groups: [b]}, {name: b, groups: [c]}, {name: c, groups: [b]}]",
			[]string{"vm_groups[2].groups[0]: the group holds itself: b → c → b"},
			64 * MiB,
		},
		"ports":   {"global: {mandatory: [{action: deny, protocol: tcp, remote_ports: '" + strings.Repeat("1,", 100) + "1'}]}", []string{"found 101 ports and ranges, want at most 100"}, 64 * MiB},
		"comment": {"global: {mandatory: [{action: deny, comment: '" + strings.Repeat("x", 1025) + "'}]}", []string{"has 1025 bytes, want at most 1024"}, 64 * MiB},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			data := []byte(c.text)
			size := allocated(func() { _, err = policy.Parse("policy.yaml", data) })
			if err == nil {
				t.Fatal("Parse took it")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("Parse: %.300s, want %s", err, w)
				}
			}
			if len(err.Error()) > 64<<10 {
				t.Errorf("Parse says %d bytes", len(err.Error()))
			}
			if size > c.most {
				t.Errorf("Parse allocated %d MiB, want %d at most", size/MiB, c.most/MiB)
			}
		})
	}
}

// Each of 2^16 ways through groups is not gone; what all ranges come to is bounded.
func TestGroupsThatMultiply(t *testing.T) {
	m := model(t, estateText)
	var s strings.Builder
	s.WriteString("global: {mandatory: [{action: deny, remote: address-group:g0}]}\naddress_groups:\n")
	for i := range 15 {
		fmt.Fprintf(&s, "- {name: g%d, members: [10.0.%d.1, %s]}\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("'address-group:g%d', ", i+1), 20), ", "))
	}
	s.WriteString("- {name: g15, members: [10.0.15.1]}\n")
	set := resolve(t, m, s.String())
	for _, g := range set.Groups {
		if len(g.Prefixes) != 16 {
			t.Errorf("group %s has %d prefixes, want 16", g.Name, len(g.Prefixes))
		}
	}

	s.Reset()
	s.WriteString("address_groups:\n")
	for i := range 5 {
		fmt.Fprintf(&s, "- {name: g%d, members: [%s]}\n", i, strings.TrimSuffix(strings.Repeat("'::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe', ", 1000), ", "))
	}
	s.WriteString("global: {mandatory: [")
	for i := range 5 {
		fmt.Fprintf(&s, "{action: deny, remote: address-group:g%d},", i)
	}
	s.WriteString("]}")
	_, err := policy.Resolve(policy.Request{Policy: parse(t, s.String()), Names: policy.NamesOf(m), Now: noon, Applied: true})
	if want := `global.mandatory[1].remote: with group "g1", rules name groups of more than 262144 prefixes`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Resolve: %v, want %s", err, want)
	}
}

func TestIdentify(t *testing.T) {
	next := func(prefix string) func() string {
		n := 0
		return func() string { n++; return fmt.Sprintf("%s%d", prefix, n) }
	}
	text := `
global: {mandatory: [{action: deny, protocol: tcp}, {action: deny, protocol: tcp}, {id: mine, action: allow}]}
vms: [{name: web, default: [{action: allow, protocol: udp, remote_ports: "53,443"}]}]
`
	read := func(text string) *policy.Policy {
		p, err := policy.Parse("p.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := read(text)
	if n := first.Identify(nil, next("x")); n != 3 {
		t.Errorf("Identify gave %d ids, want 3", n)
	}
	// The same again, a rule with another comment and order of ports, one that moved, one that is new.
	second := read(`
global: {mandatory: [{id: x2, action: allow}, {action: deny, direction: either, protocol: tcp, comment: again}, {action: deny, protocol: tcp}]}
vms: [{name: web, mandatory: [{action: allow, protocol: udp, remote_ports: "53,443"}], default: [{action: allow, protocol: udp, remote_ports: "443,53"}]}]
`)
	second.Identify(first, next("x"))
	var got []string
	for _, list := range [][]policy.Rule{second.Global.Mandatory, second.VMs[0].Mandatory, second.VMs[0].Default} {
		for _, r := range list {
			got = append(got, r.ID)
		}
	}
	if diff := cmp.Diff([]string{"x2", "x1", "x4", "x5", "x3"}, got); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	m := model(f, estateText)
	names := policy.NamesOf(m)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := policy.Parse("policy.yaml", data)
		if err != nil {
			return
		}
		if diff := cmp.Diff(p, roundTrip(t, p), same); diff != "" {
			t.Fatalf("round trip (-before +after):\n%s", diff)
		}
		n := 0
		p.Identify(nil, func() string { n++; return fmt.Sprintf("fuzz%d", n) })
		d, err := policy.Resolve(policy.Request{Policy: p, Names: names, Now: noon})
		if err != nil {
			return
		}
		set := d.Set(policytest.FirstInstance)
		e := policy.EstateOf(m, set.Groups, nil)
		for _, v := range e.VIFs {
			policy.Effective(set, e, v, false)
		}
	})
}

func FuzzPacket(f *testing.F) {
	for _, s := range []string{
		"tcp 192.0.2.1:40000 > 192.0.2.2:443 02:00:00:00:00:01 > 02:00:00:00:00:02", "icmpv6/128/0 2001:db8::1 > 2001:db8::2", "arp 192.0.2.1 > 192.0.2.2",
		"ethertype/0x88cc 02:00:00:00:00:01 > 01:80:c2:00:00:0e", "ip/47 ::1 > ::2", "ip/58 192.0.2.1 > 192.0.2.2", "udp [2001:db8::1]:1 > [2001:db8::2]:2", "rarp",
	} {
		p, err := policy.ParsePacket(s)
		if err != nil {
			f.Fatal(err)
		}
		if got := p.String(); got != s {
			f.Fatalf("ParsePacket(%q).String() = %q", s, got)
		}
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := policy.ParsePacket(s)
		if err != nil {
			return
		}
		again, err := policy.ParsePacket(p.String())
		if err != nil || again != p {
			t.Fatalf("%q reads as %+v, written %q, then %+v (%v)", s, p, p, again, err)
		}
	})
}

func TestPacketText(t *testing.T) {
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 3))
	for range 20 {
		w := policytest.New(r, policytest.Small)
		for range 200 {
			p := w.Traffic(r).Packet
			again, err := policy.ParsePacket(p.String())
			if err != nil || again != p {
				t.Fatalf("seed %d: %+v is written %q, and read %+v (%v)", seed, p, p, again, err)
			}
		}
	}
}

func TestBadPackets(t *testing.T) {
	for s, want := range map[string]string{
		"":                                   "want e.g.",
		"any 1.1.1.1 > 2.2.2.2":              `"any" is no protocol of one packet`,
		"ipv4 1.1.1.1 > 2.2.2.2":             `"ipv4" is no protocol of one packet`,
		"tcpp 1.1.1.1:1 > 2.2.2.2:2":         `did you mean "tcp"?`,
		"icmp 1.1.1.1 > 2.2.2.2":             "want its type, e.g. icmp/8",
		"ip/1 1.1.1.1 > 2.2.2.2":             "want the type",
		"tcp 1.1.1.1 > 2.2.2.2":              "want address and port",
		"tcp 1.1.1.1:1 > [::1]:2":            "two families",
		"icmp/8 ::1 > ::2":                   "icmp/8 has no ends as ::1",
		"arp ::1 > ::2":                      "arp has no ends as ::1",
		"tcp 1.1.1.1:1":                      "want the ends after tcp",
		"arp 1.1.1.1 > 2.2.2.2 02:00":        "want MAC addresses or nothing",
		"rarp 02:00:00:00:00:01 > nobody":    "want MAC address",
		"tcp [::ffff:1.1.1.1]:1 > 2.2.2.2:2": "want address and port",
	} {
		if _, err := policy.ParsePacket(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePacket(%q): %v, want %s", s, err, want)
		}
	}
}
