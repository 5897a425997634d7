package policy_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/estatetest"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/policy"
)

// large is an estate of 10 000 VIFs, and a policy that names 100 groups of it and 100 of its own.
func large(b *testing.B) (*estate.Model, *policy.Policy) {
	r := rand.New(rand.NewPCG(1, 1))
	raw := estatetest.Random(r, estatetest.Size{Pools: 4, Hosts: 64, Networks: 40, VMs: 10_000, VIFs: 1, AddressGroups: 50, Prefixes: 5000, VMGroups: 50})
	a := estate.NewAssembler(estate.AssemblerDeps{Estate: estate.NewHolder()})
	a.Set(estate.FileSource, raw, noon)
	m := a.Model()
	var p policy.Policy
	add := func(remote policy.Remote) {
		p.Global.Default = append(p.Global.Default, policy.Rule{ID: fmt.Sprintf("r%d", len(p.Global.Default)), Action: policy.Deny, Remote: remote})
	}
	for _, g := range m.AddressGroups {
		add(policy.Remote{AddressGroup: g.Name})
	}
	for _, g := range m.VMGroups {
		add(policy.Remote{VMGroup: g.Name})
	}
	for i := range 50 {
		name := fmt.Sprintf("own%d", i)
		p.AddressGroups = append(p.AddressGroups, policy.AddressGroup{Name: name, Members: []string{fmt.Sprintf("10.9.%d.1-10.9.%d.254", i, i)}})
		p.VMGroups = append(p.VMGroups, policy.VMGroup{Name: name, Select: []estate.Selector{{Name: fmt.Sprintf("vm%d*", 10+i)}}})
		add(policy.Remote{AddressGroup: name})
		add(policy.Remote{VMGroup: name})
	}
	for i := range 10_000 {
		p.VMs = append(p.VMs, policy.Named{Name: m.VMs[i].Key, Level: policy.Level{Mandatory: []policy.Rule{
			{ID: fmt.Sprintf("a%d", i), Action: policy.Allow, Protocol: policy.Protocol{IP: policy.IPTCP}, RemotePorts: policy.Ports{{First: 1, Last: 1023}}},
			{ID: fmt.Sprintf("b%d", i), Action: policy.Deny, Direction: policy.To},
		}}})
	}
	return m, &p
}

// A change of one VM, of an estate of 10 000 VIFs.
func BenchmarkEstateOf(b *testing.B) {
	m, p := large(b)
	p.VMs = nil
	d, err := policy.Resolve(policy.Request{Policy: p, Names: policy.NamesOf(m), Now: noon, Applied: true})
	if err != nil {
		b.Fatal(err)
	}
	groups := d.Set(1000).Groups
	before := policy.EstateOf(m, groups, nil)
	changed := *m
	changed.VMs = append([]estate.VM(nil), m.VMs...)
	changed.VMs[0].VIFs = append([]estate.VIF(nil), changed.VMs[0].VIFs...)
	changed.VMs[0].VIFs[0].IPs = []netip.Addr{netip.MustParseAddr("10.200.0.1")}
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			policy.EstateOf(m, groups, nil)
		}
	})
	b.Run("one VM changed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			policy.EstateOf(&changed, groups, before)
		}
	})
}

// A policy of 20 000 rules.
func BenchmarkResolve(b *testing.B) {
	m, p := large(b)
	for i := range p.VMs {
		p.VMs[i].Name = m.VMs[i].Name
		if m.VMs[i].Pool != "" {
			for _, pool := range m.Pools {
				if pool.Key == m.VMs[i].Pool {
					p.VMs[i].Name = pool.Name + "/" + m.VMs[i].Name
				}
			}
		}
	}
	text, err := p.Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			if _, err := policy.Parse("policy.yaml", text); err != nil {
				b.Fatal(err)
			}
		}
	})
	req := policy.Request{Policy: p, Names: policy.NamesOf(m), Now: noon, Applied: true}
	var last *policy.Set
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d, err := policy.Resolve(req)
			if err != nil {
				b.Fatal(err)
			}
			last = d.Set(1000)
		}
	})
	req.Last, req.Former, req.Bound = last, last.Kept(), last.Bound
	b.Run("again", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d, err := policy.Resolve(req)
			if err != nil || d.New != 0 {
				b.Fatal(err, d.New)
			}
			d.Set(1000)
		}
	})
	b.Run("names", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			policy.NamesOf(m)
		}
	})
}

// What changes for 10 000 VIFs when levels say something else.
func BenchmarkSettingChanges(b *testing.B) {
	m, p := large(b)
	p.VMs = nil
	before := resolved(b, m, p)
	e := policy.EstateOf(m, before.Groups, nil)
	limit := policy.Settings{RateOut: policy.Limit{Rate: 100_000}}
	pool, vm := *p, *p
	pool.Pools = []policy.Pool{{Named: policy.Named{Name: m.Pools[0].Name, Level: policy.Level{Settings: limit}}}}
	vm.VMs = []policy.Named{{Name: m.VMs[0].Key, Level: policy.Level{Settings: limit}}}
	for name, after := range map[string]*policy.Set{"nothing": before, "a VM": resolved(b, m, &vm), "a pool": resolved(b, m, &pool)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				policy.SettingChanges(after, of(maps.Values(e.VIFs), before))
			}
		})
	}
}

func resolved(b *testing.B, m *estate.Model, p *policy.Policy) *policy.Set {
	b.Helper()
	d, err := policy.Resolve(policy.Request{Policy: p, Names: policy.NamesOf(m), Now: noon, Applied: false})
	if err != nil {
		b.Fatal(err)
	}
	return d.Set(1000)
}

func BenchmarkEffective(b *testing.B) {
	m := model(b, estateText)
	var p policy.Policy
	for i := range 3000 {
		p.Global.Mandatory = append(p.Global.Mandatory, policy.Rule{
			ID: fmt.Sprintf("r%d", i), Action: policy.Allow, Protocol: policy.Protocol{IP: policy.IPTCP}, RemotePorts: policy.Ports{{First: uint16(i + 1), Last: uint16(i + 1)}},
		})
	}
	d, err := policy.Resolve(policy.Request{Policy: &p, Names: policy.NamesOf(m), Now: noon, Applied: true})
	if err != nil {
		b.Fatal(err)
	}
	set := d.Set(1000)
	e := policy.EstateOf(m, set.Groups, nil)
	vif := e.VIFs[flow.NewID(flow.KindVIF, "berlin/web/0")]
	if vif == nil {
		b.Fatal("no VIF")
	}
	for b.Loop() {
		policy.Effective(set, e, vif, false)
	}
}
