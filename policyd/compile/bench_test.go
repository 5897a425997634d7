package compile_test

import (
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/compile/compiletest"
	"github.com/weirhq/weir/policyd/policy"
)

// large returns the input of a bridge with so many VIFs and global rules, every tenth of them for an address group of 100 prefixes.
func large(vifs, rules int) *compile.Input {
	group := flow.NewID(flow.KindAddressGroup, "servers")
	in := &compile.Input{
		Inventory: &hosts.Inventory{
			Settings: hosts.Settings{Key: "host0", Name: "host0"},
			Bridges:  []hosts.Bridge{{Name: compiletest.Bridge}},
			Ports: []hosts.Port{
				{Kind: hosts.KindUplink, Bridge: compiletest.Bridge, Name: "eth0", OFPort: 1, VIF: -1},
				{Kind: hosts.KindLocal, Bridge: compiletest.Bridge, Name: compiletest.Bridge, OFPort: compiletest.LocalPort, MAC: compiletest.HostMAC, VIF: -1},
			},
		},
		Bridge: compiletest.Bridge, Pool: 1, Sampling: compile.SampleFull, CollectorSet: 1, Domain: 1,
		Capabilities: compile.Capabilities{ConnTrack: true, Sample: true},
		Policy: &policy.Set{
			Default: &policy.Entry{Rule: policy.Rule{ID: policy.DefaultRule, Action: policy.Deny, Direction: policy.Either}, Instance: 256},
			Lists:   map[policy.Scope][]*policy.Entry{},
		},
		Estate: &policy.Estate{VIFs: map[flow.ID]*policy.Interface{}, AddressGroups: map[flow.ID][]netip.Prefix{}},
	}
	for i := range 100 {
		in.Estate.AddressGroups[group] = append(in.Estate.AddressGroups[group], netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(i), 0}), 24))
	}
	for i := range vifs {
		id, mac := flow.ID(i+1), estate.MAC(0x020000010000+i)
		in.Estate.VIFs[id] = &policy.Interface{ID: id, VM: id + 1<<32, Network: 7, Pool: 1, MAC: mac}
		compiletest.AddVIF(in, id, mac, 0)
	}
	scope := policy.Scope{Tier: policy.GlobalMandatory}
	for i := range rules {
		r := policy.Rule{
			ID: fmt.Sprint("rule-", i), Action: policy.Allow, Direction: policy.To, Protocol: policy.Protocol{IP: policy.IPTCP},
			Remote: policy.Remote{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i), 0}), 24)}, RemotePorts: policy.Ports{{First: 443, Last: 443}, {First: 8000, Last: 8003}},
		}
		e := &policy.Entry{Rule: r, Scope: scope, Instance: uint32(1000 + i), Rank: uint16(10 * (i + 1))}
		if i%10 == 9 {
			e.Rule.Remote, e.Group = policy.Remote{AddressGroup: "servers"}, group
		}
		in.Policy.Lists[scope] = append(in.Policy.Lists[scope], e)
	}
	return in
}

// own returns the input of a bridge of VIFs with so many rules each.
func own(vifs, rules int) *compile.Input {
	in := large(vifs, rules)
	all := policy.Scope{Tier: policy.GlobalMandatory}
	list := in.Policy.Lists[all]
	delete(in.Policy.Lists, all)
	for i := range vifs {
		scope := policy.Scope{Tier: policy.VIFRules, Of: flow.ID(i + 1)}
		for _, e := range list {
			mine := *e
			mine.Scope, mine.Instance = scope, e.Instance+uint32(10_000*(i+1))
			in.Policy.Lists[scope] = append(in.Policy.Lists[scope], &mine)
		}
	}
	return in
}

// change1 returns in with another action of a rule of a scope.
func change1(in *compile.Input, scope policy.Scope) *compile.Input {
	next, set := *in, *in.Policy
	list := slices.Clone(set.Lists[scope])
	e := *list[len(list)/2]
	e.Instance += 100_000
	e.Rule.Action = policy.Deny
	list[len(list)/2] = &e
	set.Lists = maps.Clone(set.Lists)
	set.Lists[scope] = list
	next.Policy = &set
	return &next
}

// measure runs f with 1, 2, … and says how much processor time it takes.
func measure(b *testing.B, f func(n int)) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	b.ReportAllocs()
	from, n := used(), 0
	for b.Loop() {
		n++
		f(n)
	}
	b.ReportMetric(float64((used()-from).Microseconds())/float64(n), "cpu-µs/op")
}

// BenchmarkCompile is a bridge from nothing.
func BenchmarkCompile(b *testing.B) {
	for _, n := range [][2]int{{50, 200}, {50, 3000}, {1000, 200}} {
		b.Run(fmt.Sprintf("%dvifs_%drules", n[0], n[1]), func(b *testing.B) {
			in, flows := large(n[0], n[1]), 0
			measure(b, func(int) { flows = mustCompile(b, compile.New(), in).Len() })
			b.ReportMetric(float64(flows), "flows")
		})
	}
}

// BenchmarkRule is one rule changed on 64 bridges of 50 VIFs, with what differs: one of 200 that all have, and one of 200 that each VIF
// has.
func BenchmarkRule(b *testing.B) {
	for _, c := range []struct {
		name  string
		input *compile.Input
		scope policy.Scope
	}{
		{"all", large(50, 200), policy.Scope{Tier: policy.GlobalMandatory}},
		{"own", own(50, 200), policy.Scope{Tier: policy.VIFRules, Of: 7}},
	} {
		b.Run(c.name, func(b *testing.B) {
			compilers := make([]*compile.Compiler, 64)
			last := make([]*compile.Desired, 64)
			in := [2]*compile.Input{c.input, change1(c.input, c.scope)}
			for i := range compilers {
				compilers[i] = compile.New()
				last[i] = mustCompile(b, compilers[i], in[0])
			}
			measure(b, func(n int) {
				for i, c := range compilers {
					next := mustCompile(b, c, in[n%2])
					if d := compile.Diff(last[i], next); d.Empty() {
						b.Fatal("nothing differs")
					}
					last[i] = next
				}
			})
		})
	}
}

// BenchmarkVIF is one VIF of 10 000 in the estate plugged again, on a bridge of 50, and on one that has them all.
func BenchmarkVIF(b *testing.B) {
	for _, here := range []int{50, 10_000} {
		b.Run(fmt.Sprintf("%dhere", here), func(b *testing.B) {
			in := large(here, 20)
			for i := here; i < 10_000; i++ {
				id := flow.ID(i + 1)
				in.Estate.VIFs[id] = &policy.Interface{ID: id, Network: 7, Pool: 1}
			}
			inputs := [2]compile.Input{*in, *in}
			inv := *in.Inventory
			inv.Ports = slices.Clone(inv.Ports)
			inv.Ports[len(inv.Ports)-1].OFPort += 5
			inputs[1].Inventory = &inv
			c := compile.New()
			last := mustCompile(b, c, &inputs[0])
			measure(b, func(n int) {
				next := mustCompile(b, c, &inputs[n%2])
				if d := compile.Diff(last, next); d.Empty() {
					b.Fatal("nothing differs")
				}
				last = next
			})
		})
	}
}

// BenchmarkMemory is what a flow takes.
func BenchmarkMemory(b *testing.B) {
	in := large(50, 3000)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		c := compile.New()
		d := mustCompile(b, c, in)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(d.Len()), "B/flow")
		runtime.KeepAlive(c)
	}
}
