package compile_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/compile/compiletest"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

// byKey returns what a bridge is to hold, and fails if two flows have one key, which a bridge could not hold.
func byKey(t testing.TB, d *compile.Desired) map[openflow.FlowKey]openflow.Flow {
	t.Helper()
	flows := make(map[openflow.FlowKey]openflow.Flow, d.Len())
	for f := range d.Each() {
		if other, ok := flows[f.Key()]; ok {
			t.Fatalf("two flows have one key:\n%v\n%v", other, f)
		}
		flows[f.Key()] = f
	}
	if len(flows) != d.Len() {
		t.Fatalf("%d flows, Len says %d", len(flows), d.Len())
	}
	return flows
}

func difference(got, want map[openflow.FlowKey]openflow.Flow) string {
	var lines []string
	for k, f := range got {
		if want[k] != f {
			lines = append(lines, "+ "+f.String())
		}
	}
	for k, f := range want {
		if got[k] != f {
			lines = append(lines, "- "+f.String())
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func mustCompile(t testing.TB, c *compile.Compiler, in *compile.Input) *compile.Desired {
	t.Helper()
	d, err := c.Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestIncrementalIsScratch changes bridges again and again: what a compiler makes that has compiled before is what a new one
// makes, Diff leads there, and an estimate is exact.
func TestIncrementalIsScratch(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			w := policytest.New(r, policytest.Small)
			in, c := compiletest.Random(r, w), compile.New()
			last := mustCompile(t, c, in)
			for range 25 {
				in = change(r, w, in)
				next, fresh := mustCompile(t, c, in), mustCompile(t, compile.New(), in)
				got, want := byKey(t, next), byKey(t, fresh)
				if text := difference(got, want); text != "" {
					t.Fatalf("compiled after others (+) and anew (-):\n%s", text)
				}
				if !maps.Equal(next.Groups, fresh.Groups) || !maps.Equal(next.Meters, fresh.Meters) || !slices.Equal(next.Warnings, fresh.Warnings) {
					t.Fatal("groups, meters or warnings are not those of a new compiler")
				}
				if e, err := compile.New().Estimate(in); err != nil || e.Flows != next.Len() {
					t.Fatalf("estimated %d flows, %v; there are %d", e.Flows, err, next.Len())
				}
				checkDiff(t, last, next)
				last = next
			}
		})
	}
}

// checkDiff applies a difference to what was there before.
func checkDiff(t *testing.T, from, to *compile.Desired) {
	t.Helper()
	flows, groups, meters, c := byKey(t, from), maps.Clone(from.Groups), maps.Clone(from.Meters), compile.Diff(from, to)
	for _, k := range c.Delete {
		if _, ok := flows[k]; !ok {
			t.Fatalf("Diff deletes %v, which is not there", k)
		}
		delete(flows, k)
	}
	for _, f := range c.Add {
		if flows[f.Key()] == f {
			t.Fatalf("Diff adds %v, which is there", f)
		}
		flows[f.Key()] = f
	}
	for _, id := range c.DeleteGroups {
		delete(groups, id)
	}
	for _, g := range c.SetGroups {
		groups[g.ID] = g
	}
	if text := difference(flows, byKey(t, to)); text != "" {
		t.Fatalf("Diff leads elsewhere:\n%s", text)
	}
	if !maps.Equal(groups, to.Groups) {
		t.Fatal("Diff leads to other groups")
	}
	for _, id := range c.DeleteMeters {
		delete(meters, id)
	}
	for _, m := range c.SetMeters {
		meters[m.ID] = m
	}
	if !maps.Equal(meters, to.Meters) {
		t.Fatal("Diff leads to other meters")
	}
	if again := compile.Diff(to, to); !again.Empty() {
		t.Fatalf("Diff of the same is %v", again)
	}
}

// change returns an input that differs a little. Nothing that in refers to is changed.
func change(r *rand.Rand, w *policytest.World, in *compile.Input) *compile.Input {
	next := *in
	inv := *in.Inventory
	inv.Ports, inv.VIFs = slices.Clone(inv.Ports), slices.Clone(inv.VIFs)
	next.Inventory = &inv
	set := *in.Policy
	set.Lists = maps.Clone(set.Lists)
	est := *in.Estate
	est.VIFs, est.AddressGroups, est.VMGroups = maps.Clone(est.VIFs), maps.Clone(est.AddressGroups), maps.Clone(est.VMGroups)
	port := func() *hosts.Port { return &inv.Ports[r.IntN(len(inv.Ports))] }
	scopes := slices.SortedFunc(maps.Keys(set.Lists), func(a, b policy.Scope) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	switch r.IntN(15) {
	case 0: // plugged again
		p := port()
		if p.Kind == hosts.KindVIF {
			p.OFPort = 200 + r.Uint32N(200)
			for i := range inv.Ports {
				if o := &inv.Ports[i]; o != p && o.OFPort == p.OFPort {
					p.OFPort = 0
				}
			}
		}
	case 1:
		if p := port(); p.Kind == hosts.KindVIF {
			p.VLAN = uint16(10 * r.IntN(4))
		}
	case 2:
		if len(inv.VIFs) > 0 {
			inv.VIFs[r.IntN(len(inv.VIFs))].MAC = 0
		}
	case 3:
		port().Active = r.IntN(2) == 0
	case 4: // a group changes
		for _, id := range slices.Sorted(maps.Keys(est.AddressGroups)) {
			if r.IntN(2) == 0 {
				more := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(r.IntN(9)), 1}), 32)
				if list := est.AddressGroups[id]; !slices.ContainsFunc(list, more.Overlaps) {
					est.AddressGroups[id] = append(slices.Clone(list), more)
				}
				break
			}
		}
	case 5: // nothing does, at other addresses
		for id, list := range est.AddressGroups {
			est.AddressGroups[id] = slices.Clone(list)
		}
		for id, list := range est.VMGroups {
			est.VMGroups[id] = slices.Clone(list)
		}
		for scope, list := range set.Lists {
			own := make([]*policy.Entry, len(list))
			for i, e := range list {
				other := *e
				own[i] = &other
			}
			set.Lists[scope] = own
		}
	case 6: // a rule goes
		if len(scopes) > 0 {
			s := scopes[r.IntN(len(scopes))]
			list := slices.Clone(set.Lists[s])
			i := r.IntN(len(list))
			next.Retired = append(slices.Clone(next.Retired), list[i].Instance)
			if list = slices.Delete(list, i, i+1); len(list) == 0 {
				delete(set.Lists, s)
			} else {
				set.Lists[s] = list
			}
		}
	case 7, 8: // a rule changes
		if len(scopes) > 0 {
			s := scopes[r.IntN(len(scopes))]
			list := slices.Clone(set.Lists[s])
			i := r.IntN(len(list))
			other := *list[i]
			other.Instance += 100_000
			other.Rule.Action = []policy.Action{policy.Allow, policy.Deny, policy.Shadow}[r.IntN(3)]
			other.Rule.Direction = []policy.Direction{policy.To, policy.From, policy.Either}[r.IntN(3)]
			list[i] = &other
			set.Lists[s] = list
		}
	case 9:
		next.Sampling = compile.Sampling(r.IntN(3))
	case 10:
		next.Bypass = !next.Bypass
	case 11:
		next.Generation++
	case 12:
		next.Capabilities.ConnTrack = !next.Capabilities.ConnTrack
	case 13:
		inv.OVSVersion = []string{"2.5.3", "2.17.7", "3.1.0", ""}[r.IntN(4)]
	case 14:
		next.BypassVIFs = map[flow.ID]bool{w.VIFs()[r.IntN(len(w.VIFs()))].ID: true}
	}
	next.Policy, next.Estate = &set, &est
	return &next
}

// TestCostOfAChange: what did not change is not made anew.
func TestCostOfAChange(t *testing.T) {
	for scope, in := range map[policy.Scope]*compile.Input{
		{Tier: policy.GlobalMandatory}:  large(50, 200),
		{Tier: policy.VIFRules, Of: 11}: own(20, 50),
	} {
		c := compile.New()
		before := mustCompile(t, c, in)
		d := compile.Diff(before, mustCompile(t, c, change1(in, scope)))
		if len(d.Add) == 0 || len(d.Add)+len(d.Delete) > 12 || len(d.SetGroups) > 0 {
			t.Errorf("a rule of %v that changes its action adds %d flows, deletes %d, sets %d groups", scope, len(d.Add), len(d.Delete), len(d.SetGroups))
		}
	}
}

func TestNothingChanged(t *testing.T) {
	c := compile.New()
	if a, b := mustCompile(t, c, large(5, 5)), mustCompile(t, c, large(5, 5)); a != b {
		t.Error("an equal input compiles to another Desired")
	}
	if a, b := mustCompile(t, c, large(5, 5)), mustCompile(t, c, large(5, 4)); a == b {
		t.Error("an input with a rule less compiles to the same Desired")
	}
}

func TestLimit(t *testing.T) {
	in := large(20, 20)
	in.Policy.Lists[policy.Scope{Tier: policy.GlobalMandatory}][9].Rule.RemotePorts = policy.Ports{{First: 1, Last: 65535}}
	n := mustCompile(t, compile.New(), in).Len()
	in.Limit = n
	mustCompile(t, compile.New(), in)
	in.Limit = n - 1
	_, err := compile.New().Compile(in)
	refused, ok := errors.AsType[*compile.LimitError](err)
	if !ok || refused.Flows != n || len(refused.Rules) == 0 || refused.Rules[0].Rule != "rule-9" {
		t.Fatalf("Compile beyond the limit: %v, want a LimitError of %d flows that names rule-9 first", err, n)
	}
	in.Bypass = true
	d := mustCompile(t, compile.New(), in)
	if d.Len() != 1 || len(byKey(t, d)) != 1 || len(d.Warnings) == 0 {
		t.Errorf("a bypass beyond the limit is %d flows with warnings %q, want the one that lets everything pass and a warning", d.Len(), d.Warnings)
	}
}

func TestRefused(t *testing.T) {
	in := large(1, 1)
	in.Bridge = "xenbr7"
	if _, err := compile.New().Compile(in); err == nil || !strings.Contains(err.Error(), `find bridge "xenbr7"`) {
		t.Errorf("Compile of an unknown bridge: %v", err)
	}
	in = large(2, 1)
	in.VIFs = in.VIFs[:1]
	if _, err := compile.New().Compile(in); err == nil || !strings.Contains(err.Error(), "1 VIFs for the 2 of the inventory") {
		t.Errorf("Compile with a VIF missing: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	in := large(4, 1)
	inv := in.Inventory
	inv.VIFs[2].MAC, inv.VIFs[3].MAC = compiletest.HostMAC, 0xffffffffffff
	inv.Ports = append(inv.Ports, hosts.Port{Kind: hosts.KindUnknown, Bridge: in.Bridge, Name: "veth3", OFPort: 5000, VIF: -1})
	inv.VIFs[1].MAC = inv.VIFs[0].MAC
	inv.Ports[2].VLANMode = "trunk"
	in.Capabilities = compile.Capabilities{}
	in.Inventory.OVSVersion = "2.5.3"
	d := mustCompile(t, compile.New(), in)
	for _, want := range []string{`port "veth3": nothing says what it is of`, "is that of two VIFs in VLAN 0", "is that of the host, too", "is of a group", "vlan_mode trunk", "tracks no connections", "does not sample", "learns without limit"} {
		if !slices.ContainsFunc(d.Warnings, func(w string) bool { return strings.Contains(w, want) }) {
			t.Errorf("no warning %q among %q", want, d.Warnings)
		}
	}
}
