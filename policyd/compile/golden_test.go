package compile_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/compile/compiletest"
	"github.com/weirhq/weir/policyd/policy"
)

// scene is a bridge, and what is shown of it: the flows that it has and before has not.
type scene struct {
	name   string
	before func(in *compile.Input)
	after  func(in *compile.Input)
}

// global puts rules into the policy: numbers and places are 1000, 1001, …
func global(in *compile.Input, rules ...string) {
	for i, text := range rules {
		r, err := parseRule(text)
		if err != nil {
			panic(err)
		}
		r.ID = fmt.Sprint("r", i)
		scope := policy.Scope{Tier: policy.GlobalMandatory}
		e := &policy.Entry{Rule: r, Scope: scope, Instance: uint32(1000 + i), Rank: uint16(10 * (i + 1))}
		if r.Remote.AddressGroup != "" {
			e.Group = flow.NewID(flow.KindAddressGroup, r.Remote.AddressGroup)
		}
		in.Policy.Lists[scope] = append(in.Policy.Lists[scope], e)
	}
}

// parseRule reads "deny from udp 192.0.2.0/24 remote=53 local=1024-65535".
func parseRule(text string) (r policy.Rule, err error) {
	words := strings.Fields(text)
	r.Action, r.Direction = policy.Action(words[0]), policy.Direction(words[1])
	if r.Protocol, err = policy.ParseProtocol(words[2]); err != nil {
		return r, err
	}
	if r.Remote, err = policy.ParseRemote(words[3]); err != nil {
		return r, err
	}
	for _, w := range words[4:] {
		side, ports, _ := strings.Cut(w, "=")
		list, err := policy.ParsePorts(ports)
		if err != nil {
			return r, err
		}
		if side == "remote" {
			r.RemotePorts = list
		} else {
			r.LocalPorts = list
		}
	}
	return r, r.Validate()
}

// twoVIFs is a bridge with an uplink, and a VIF in each of two VLANs.
func twoVIFs(in *compile.Input) {
	compiletest.AddVIF(in, 1, 0x020000000001, 0)
	compiletest.AddVIF(in, 2, 0x020000000002, 7)
}

var scenes = []scene{
	{"bridge", nil, func(*compile.Input) {}},
	{"stateless", nil, func(in *compile.Input) { in.Capabilities.ConnTrack = false }},
	{"vif", func(*compile.Input) {}, func(in *compile.Input) { compiletest.AddVIF(in, 1, 0x020000000001, 0) }},
	{"vif_vlan", func(*compile.Input) {}, func(in *compile.Input) { compiletest.AddVIF(in, 1, 0x020000000001, 7) }},
	{"vif_without_address", func(*compile.Input) {}, func(in *compile.Input) { compiletest.AddVIF(in, 1, 0, 0) }},
	{"tap", twoVIFs, func(in *compile.Input) {
		twoVIFs(in)
		inv := in.Inventory
		inv.Ports = append(inv.Ports, hosts.Port{Kind: hosts.KindVIF, Bridge: in.Bridge, Name: "tap", OFPort: 30, VIF: 0})
		inv.VIFs[0].Ports = []int{len(inv.Ports) - 1, inv.VIFs[0].Ports[0]}
	}},
	{"bond", twoVIFs, func(in *compile.Input) {
		twoVIFs(in)
		p := &in.Inventory.Ports[0]
		p.Bond, p.BondMode = "bond0", "balance-slb"
		second := *p
		second.Name, second.OFPort, second.Active = "eth1", 2, true
		in.Inventory.Ports = append(in.Inventory.Ports, second)
	}},
	{"fake_bridge_and_patch", twoVIFs, func(in *compile.Input) {
		twoVIFs(in)
		in.Inventory.Ports = append(in.Inventory.Ports,
			hosts.Port{Kind: hosts.KindLocal, Bridge: in.Bridge, Name: "xapi7", OFPort: 5, VLAN: 7, MAC: compiletest.HostMAC, VIF: -1},
			hosts.Port{Kind: hosts.KindPatch, Bridge: in.Bridge, Name: "patch", OFPort: 6, Trunks: []uint16{7, 9}, VIF: -1})
	}},
	{"bypass", twoVIFs, func(in *compile.Input) { twoVIFs(in); in.Bypass, in.BypassVIFs = true, map[flow.ID]bool{1: true} }},
	{"weir", twoVIFs, func(in *compile.Input) {
		twoVIFs(in)
		in.Weir.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.5"), netip.MustParseAddr("2001:db8::5")}
	}},
	{"retired", twoVIFs, func(in *compile.Input) { twoVIFs(in); in.Retired = []uint32{900} }},
	{"new_only", twoVIFs, func(in *compile.Input) { twoVIFs(in); in.Sampling = compile.SampleNew }},
	{"rules", twoVIFs, func(in *compile.Input) {
		twoVIFs(in)
		global(in,
			"allow to tcp 192.0.2.0/24 remote=80,443",
			"deny either any 02:00:00:00:00:09",
			"shadow from icmpv6 any",
			"allow from udp any local=67-69",
			"deny to arp 192.0.2.9",
		)
	}},
	{"rule_of_group", twoVIFs, func(in *compile.Input) {
		twoVIFs(in)
		for _, p := range []string{"192.0.2.1/32", "192.0.2.8/29", "198.51.100.0/24", "2001:db8::/64"} {
			id := flow.NewID(flow.KindAddressGroup, "servers")
			in.Estate.AddressGroups[id] = append(in.Estate.AddressGroups[id], netip.MustParsePrefix(p))
		}
		global(in, "allow to tcp address-group:servers remote=22,80,443")
	}},
	{"rules_of_levels", twoVIFs, func(in *compile.Input) {
		twoVIFs(in)
		for i, scope := range []policy.Scope{
			{Tier: policy.PoolMandatory, Of: 1},
			{Tier: policy.NetworkMandatory, Of: 50},
			{Tier: policy.VMMandatory, Of: 40},
			{Tier: policy.VIFRules, Of: 1},
			{Tier: policy.VMDefault, Of: 40},
			{Tier: policy.NetworkDefault, Of: 51},
			{Tier: policy.PoolDefault, Of: 1},
			{Tier: policy.GlobalDefault},
		} {
			r, err := parseRule("allow to tcp 192.0.2.1 remote=22")
			if err != nil {
				panic(err)
			}
			in.Policy.Lists[scope] = []*policy.Entry{{Rule: r, Scope: scope, Instance: uint32(1000 + i), Rank: 10}}
		}
		in.Estate.VIFs[1] = &policy.Interface{ID: 1, VM: 40, Network: 50, Pool: 1}
		in.Estate.VIFs[2] = &policy.Interface{ID: 2, VM: 41, Network: 51, Pool: 1}
	}},
	{"copies", func(in *compile.Input) { twoVIFs(in); twoWays(in) }, func(in *compile.Input) { // ports that get copies of traffic, and a VLAN for them
		twoVIFs(in)
		twoWays(in)
		in.Inventory.Ports = append(in.Inventory.Ports, hosts.Port{Kind: hosts.KindMirror, Bridge: compiletest.Bridge, Name: "weirm1", Type: "gre", OFPort: 20, VIF: -1})
		in.Policy.Pools = map[flow.ID]*policy.PoolSettings{in.Pool: {MirrorVLANs: []uint16{900}}}
	}},
	{"mirrored", func(in *compile.Input) { twoVIFs(in); in.Capabilities.ConnTrack = false }, func(in *compile.Input) {
		twoVIFs(in)
		in.Capabilities.ConnTrack = false
		global(in, "allow to tcp 192.0.2.0/24 remote=443", "allow either icmp/8 any", "allow from udp any", "deny to any 192.0.2.1")
	}},
}

// twoWays gives the bridge a second way to the network.
func twoWays(in *compile.Input) {
	in.Inventory.Ports = append(in.Inventory.Ports, hosts.Port{Kind: hosts.KindUplink, Bridge: compiletest.Bridge, Name: "eth1", OFPort: 19, LinkUp: true, VIF: -1})
}

func (s *scene) compile(t *testing.T, set func(*compile.Input)) map[openflow.FlowKey]openflow.Flow {
	t.Helper()
	in := large(0, 0)
	in.Estate.AddressGroups = map[flow.ID][]netip.Prefix{}
	set(in)
	d := mustCompile(t, compile.New(), in)
	flows := byKey(t, d)
	for id, g := range d.Groups { // as a flow of no table, so that it is among the lines
		for i, b := range g.Buckets.List() {
			f := openflow.Flow{Table: 255, Priority: uint16(i), Cookie: openflow.Cookie(id), Actions: openflow.NewActions(b.Actions...)}
			flows[openflow.FlowKey{Table: 255, Priority: uint16(i), Match: openflow.Match(fmt.Sprint(id))}] = f
		}
	}
	return flows
}

// TestGolden shows the flows of small bridges. Lines with - are flows that others replace, or that are no more.
func TestGolden(t *testing.T) {
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			var before map[openflow.FlowKey]openflow.Flow
			if s.before != nil {
				before = s.compile(t, s.before)
			}
			got := show(before, s.compile(t, s.after))
			name := filepath.Join("testdata", s.name+".golden")
			if *compile.Update {
				if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s is different; -update writes it. Got\n%s", name, got)
			}
		})
	}
}

// show returns what differs, by table and falling priority.
func show(before, after map[openflow.FlowKey]openflow.Flow) string {
	type line struct {
		sign string
		f    openflow.Flow
	}
	var lines []line
	for k, f := range before {
		if after[k] != f {
			lines = append(lines, line{"-", f})
		}
	}
	for k, f := range after {
		if before[k] != f {
			lines = append(lines, line{"+", f})
		}
	}
	slices.SortFunc(lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.f.Table, b.f.Table), cmp.Compare(b.f.Priority, a.f.Priority), cmp.Compare(a.f.String(), b.f.String()), cmp.Compare(b.sign, a.sign))
	})
	var text strings.Builder
	for _, l := range lines {
		if l.f.Table == 255 {
			fmt.Fprintf(&text, "%s group %#x bucket %d actions=%s\n", l.sign, uint64(l.f.Cookie), l.f.Priority, strings.TrimPrefix(l.f.String()[strings.Index(l.f.String(), "actions="):], "actions="))
			continue
		}
		what := compile.Describe(l.f.Table, l.f.Cookie)
		l.f.Cookie = 0
		fmt.Fprintf(&text, "%s %s # %s\n", l.sign, l.f, what[:strings.LastIndex(what, " (")])
	}
	return text.String()
}
