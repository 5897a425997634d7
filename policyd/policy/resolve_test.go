package policy_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/estatetest"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

// step resolves text after what was in force before.
func step(t *testing.T, m *estate.Model, last *policy.Set, text string, next uint32) *policy.Set {
	t.Helper()
	req := policy.Request{Policy: parse(t, text), Names: policy.NamesOf(m), Now: noon, Applied: true, Last: last}
	if last != nil {
		req.Former, req.Bound = last.Kept(), last.Bound
	}
	d, err := policy.Resolve(req)
	if err != nil {
		t.Fatal(err)
	}
	return d.Set(next)
}

func TestInstancesAndRanksAreKept(t *testing.T) {
	m := model(t, estateText)
	const before = `
global: {mandatory: [{id: a, action: allow, protocol: tcp, remote_ports: "443,80"}, {id: b, action: deny, remote: address-group:office}, {id: c, action: deny, protocol: udp}, {id: d, action: deny}]}
vms: [{name: db, mandatory: [{id: e, action: allow}, {id: f, action: allow, disabled: true}]}]
`
	first := step(t, m, nil, before, 1000)
	if again := step(t, m, first, before, 2000); again != first {
		t.Error("the same policy again is another set")
	}
	second := step(t, m, first, `
default: deny
global: {mandatory: [{id: new, action: allow, protocol: sctp}, {id: a, action: allow, direction: either, protocol: tcp, remote_ports: "80,443", comment: web}, {id: c, action: deny, protocol: udp, remote: 10.0.0.1}, {id: b, action: allow, remote: address-group:office}]}
vms: [{name: berlin/web, mandatory: [{id: e, action: allow}]}, {name: db, mandatory: [{id: f, action: allow}, {id: d, action: deny}]}]
`, 2000)
	entries := func(s *policy.Set) map[string]*policy.Entry {
		all := map[string]*policy.Entry{}
		for _, e := range s.Entries() {
			all[e.Rule.ID] = e
		}
		return all
	}
	old, now := entries(first), entries(second)
	for id, kept := range map[string]bool{
		"a": true, // another comment, the same ports in another order
		"b": false, "c": false, "e": false, "d": false, "f": false, "new": false, policy.DefaultRule: false,
	} {
		was := old[id]
		if kept != (was != nil && was.Instance == now[id].Instance) {
			t.Errorf("%s was %+v, is %+v: kept %v, want %v", id, was, now[id], !kept, kept)
		}
		if !kept && now[id].Instance < 2000 {
			t.Errorf("%s has instance %d, which was given before", id, now[id].Instance)
		}
	}
	if now["f"].Scope != now["d"].Scope || now["a"] == old["a"] { // its comment is another one
		t.Errorf("a is shared: %+v", now["a"])
	}
	third := step(t, m, second, `
default: deny
global: {mandatory: [{id: a, action: allow, protocol: tcp, remote_ports: "80,443", comment: web}, {id: b, action: allow, remote: address-group:office}]}
vms: [{name: berlin/web, mandatory: [{id: e, action: allow}]}, {name: db, mandatory: [{id: d, action: deny}]}]
`, 3000)
	for id, e := range entries(third) {
		if e != now[id] {
			t.Errorf("%s is not shared: %+v, %+v", id, now[id], e)
		}
	}
	if !maps.Equal(third.Groups, second.Groups) {
		t.Error("groups are not shared")
	}
	// b and c changed places: one of them keeps its rank with a, and the new one is before them.
	if now["a"].Rank != old["a"].Rank || now["c"].Rank != old["c"].Rank && now["b"].Rank != old["b"].Rank || now["new"].Rank >= now["a"].Rank {
		t.Errorf("ranks were %d %d %d, are %d %d %d after %d", old["a"].Rank, old["b"].Rank, old["c"].Rank, now["a"].Rank, now["b"].Rank, now["c"].Rank, now["new"].Rank)
	}
	if back := entries(step(t, m, second, before, 3000)); back["b"].Instance < 3000 {
		t.Errorf("b means what it meant before the policy that is in force and has instance %d again, which Former does not have", back["b"].Instance)
	}
}

func TestNamesMeanWhatTheyMeant(t *testing.T) {
	const text = `
vms: [{name: db, mandatory: [{id: a, action: deny}]}]
vm_groups: [{name: g, vms: [db]}]
global: {default: [{id: b, action: deny, remote: vm-group:www}]}
`
	first := step(t, model(t, estateText), nil, text, 1000)
	id := func(s *policy.Set) flow.ID {
		for _, e := range s.Entries() {
			if e.Rule.ID == "a" {
				return e.Scope.Of
			}
		}
		return 0
	}
	db := flow.NewID(flow.KindVM, "3f1c5a9e-8d7b-4c06-9a53-0e2b6d4f8c11")
	if id(first) != db {
		t.Fatalf("db is %d, want %d", id(first), db)
	}
	renamed := strings.ReplaceAll(estateText, "name: db", "name: old-db")
	taken := renamed + "\n" // and another one has the name
	taken = strings.Replace(taken, "address_groups:", "  - {name: db, pool: paris, vifs: [{device: \"0\", network: front, mac: \"02:00:00:00:00:09\"}]}\naddress_groups:", 1)
	gone := strings.Replace(estateText, "  - {name: www, select: [{tags: [www]}]}", "  []", 1)
	gone = gone[:strings.Index(gone, "  - name: db")] + gone[strings.Index(gone, "  - name: web\n    pool: paris"):]
	anew := taken[:strings.Index(taken, "  - name: old-db")] + taken[strings.Index(taken, "  - name: web\n    pool: paris"):]
	other := flow.NewID(flow.KindVM, "paris/db")
	for name, c := range map[string]struct {
		estate  string
		applied bool
		want    flow.ID
		warned  int
	}{
		"renamed":                            {renamed, false, db, 0},
		"renamed, applied again":             {renamed, true, db, 1},
		"renamed, another has the name":      {taken, false, db, 0},
		"another has the name, applied then": {taken, true, other, 0},
		"gone, another has the name":         {anew, false, db, 1},
		"gone, that one is applied":          {anew, true, other, 0},
		"gone":                               {gone, false, db, 2},
		"gone, applied again":                {gone, true, db, 2},
	} {
		t.Run(name, func(t *testing.T) {
			m := model(t, c.estate)
			d, err := policy.Resolve(policy.Request{
				Policy: parse(t, text), Names: policy.NamesOf(m), Now: noon, Applied: c.applied, Bound: first.Bound, Former: first.Kept(), Last: first,
			})
			if err != nil {
				t.Fatal(err)
			}
			set := d.Set(2000)
			if got := id(set); got != c.want {
				t.Errorf("db is %d, want %d", got, c.want)
			}
			if len(d.Warnings) != c.warned {
				t.Errorf("warnings %q, want %d", d.Warnings, c.warned)
			}
			if c.want == db && d.New != 0 {
				t.Errorf("%d new instances, want none", d.New)
			}
		})
	}
	if _, err := policy.Resolve(policy.Request{Policy: parse(t, text), Names: policy.NamesOf(model(t, gone)), Now: noon}); err == nil {
		t.Error("names that nothing ever had are taken")
	}
}

// A thing that was found to have had another id is found by that; one that is called by its UUID is one.
func TestOtherIDs(t *testing.T) {
	const uuid = "3f1c5a9e-8d7b-4c06-9a53-0e2b6d4f8c11"
	m := &estate.Model{Merged: true, VMs: []estate.VM{
		{Key: "new", SameAs: []string{"old"}, Name: "other name"},
		{Key: uuid, UUID: uuid, Name: uuid},
	}}
	d, err := policy.Resolve(policy.Request{
		Policy: parse(t, "vms: [{name: db, mandatory: [{id: a, action: deny}]}, {name: "+uuid+", mandatory: [{id: b, action: deny}]}]"),
		Names:  policy.NamesOf(m), Now: noon, Bound: []policy.Bound{{Kind: flow.KindVM, Name: "db", ID: flow.NewID(flow.KindVM, "old")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]flow.ID{}
	for _, e := range d.Set(1000).Entries() {
		got[e.Rule.ID] = e.Scope.Of
	}
	want := map[string]flow.ID{"a": flow.NewID(flow.KindVM, "new"), "b": flow.NewID(flow.KindVM, uuid), policy.DefaultRule: 0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules are of (-want +got):\n%s", diff)
	}
}

// A disabled rule is no rule, and so is one that has expired.
func TestDisabledIsAbsent(t *testing.T) {
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 5))
	for range 100 {
		w := policytest.New(r, policytest.Small)
		p := w.Policy
		remove := func(list []policy.Rule) []policy.Rule {
			return slices.DeleteFunc(list, func(r policy.Rule) bool {
				return r.Disabled || !r.Expires.IsZero() && !policytest.Now.Before(r.Expires)
			})
		}
		level := func(l *policy.Level) { l.Mandatory, l.Default = remove(l.Mandatory), remove(l.Default) }
		level(&p.Global)
		for i := range p.Pools {
			level(&p.Pools[i].Level)
		}
		for _, list := range [][]policy.Named{p.Networks, p.VMs} {
			for i := range list {
				level(&list[i].Level)
			}
		}
		for i := range p.VIFs {
			p.VIFs[i].Rules = remove(p.VIFs[i].Rules)
		}
		d, err := policy.Resolve(policy.Request{Policy: p, Names: policy.NamesOf(w.Model), Now: policytest.Now, Applied: true})
		if err != nil {
			t.Fatal(err)
		}
		got := d.Set(policytest.FirstInstance)
		if diff := cmp.Diff(w.Set.Lists, got.Lists, same); diff != "" {
			t.Fatalf("seed %d: without what is not in force (-before +after):\n%s", seed, diff)
		}
	}
}

func TestEstateShares(t *testing.T) {
	const groups = `
address_groups: [{name: admins, members: [192.0.2.200, address-group:office]}]
vm_groups: [{name: dbs, vms: [db]}]
global: {mandatory: [{action: deny, remote: address-group:admins}, {action: deny, remote: vm-group:dbs}, {action: deny, remote: vm-group:www}, {action: deny, remote: address-group:office}]}
`
	set := resolve(t, model(t, estateText), groups)
	before := policy.EstateOf(model(t, estateText), set.Groups, nil)
	shares := func(a, b *policy.Estate) (changed []string) {
		for id, v := range b.VIFs {
			if a.VIFs[id] != v {
				changed = append(changed, v.Name)
			}
		}
		for id, list := range b.AddressGroups {
			if old := a.AddressGroups[id]; len(old) != len(list) || &old[0] != &list[0] {
				changed = append(changed, set.Groups[id].Name)
			}
		}
		for id, list := range b.VMGroups {
			if old := a.VMGroups[id]; len(old) != len(list) || &old[0] != &list[0] {
				changed = append(changed, set.Groups[id].Name)
			}
		}
		slices.Sort(changed)
		return changed
	}
	for name, c := range map[string]struct {
		old, now string
		changed  []string
	}{
		"nothing":       {"", "", nil},
		"an address":    {"198.51.100.2]", "198.51.100.2, 198.51.100.3]", []string{"db/0", "dbs"}},
		"an attribute":  {"uuid: 3f1c", "attributes: {x: y}\n    uuid: 3f1c", nil},
		"a tag":         {"uuid: 3f1c", "tags: [www]\n    uuid: 3f1c", []string{"www"}},
		"a name":        {"name: db", "name: dc", []string{"dc/0"}},
		"a network":     {"network: back, mac: \"02:00:00:00:00:03\"", "network: front, mac: \"02:00:00:00:00:03\"", []string{"db/0"}},
		"a group":       {"10.1.2.3, ", "11.1.2.3, ", []string{"admins", "office"}},
		"the same said": {"10.1.2.3, ", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := model(t, strings.Replace(estateText, c.old, c.now, 1))
			after := policy.EstateOf(m, set.Groups, before)
			if diff := cmp.Diff(c.changed, shares(before, after)); diff != "" {
				t.Errorf("not shared (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(policy.EstateOf(m, set.Groups, nil), after, same); diff != "" {
				t.Errorf("made after another (-fresh +after):\n%s", diff)
			}
		})
	}
}

// Groups of the estate have the members that flows are told to have.
func TestGroupsAreThoseOfFlows(t *testing.T) {
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 6))
	for range 20 {
		raw := estatetest.Random(r, estatetest.Size{Pools: 2, Hosts: 4, Networks: 5, VMs: 30, VIFs: 2, AddressGroups: 5, Prefixes: 30, VMGroups: 8})
		holder := estate.NewHolder()
		a := estate.NewAssembler(estate.AssemblerDeps{Estate: holder})
		a.Set(estate.FileSource, raw, noon)
		m, snapshot := a.Model(), holder.Load()

		var p policy.Policy
		for i, g := range m.VMGroups {
			p.Global.Mandatory = append(p.Global.Mandatory, policy.Rule{ID: fmt.Sprintf("v%d", i), Action: policy.Deny, Remote: policy.Remote{VMGroup: g.Name}})
		}
		for i, g := range m.AddressGroups {
			p.Global.Mandatory = append(p.Global.Mandatory, policy.Rule{ID: fmt.Sprintf("a%d", i), Action: policy.Deny, Remote: policy.Remote{AddressGroup: g.Name}})
		}
		d, err := policy.Resolve(policy.Request{Policy: &p, Names: policy.NamesOf(m), Now: noon, Applied: true})
		if err != nil {
			t.Fatal(err)
		}
		set := d.Set(1000)
		e := policy.EstateOf(m, set.Groups, nil)
		members := map[flow.ID]map[netip.Addr]bool{}
		for id := range e.VMGroups {
			members[id] = map[netip.Addr]bool{}
		}
		checked := 0
		for id, v := range e.VIFs {
			ref, match := snapshot.MAC(uint64(v.MAC), 0)
			if match != estate.Hit || snapshot.Endpoint(ref).ID != uint64(id) {
				for id := range e.VMGroups { // nobody can say
					for _, addr := range v.Addrs {
						members[id][addr] = true
					}
				}
				continue
			}
			checked++
			if ep := snapshot.Endpoint(ref); ep.VM != uint64(v.VM) || ep.Network != uint64(v.Network) {
				t.Fatalf("seed %d: VIF %s has VM %d and network %d, in flows %d and %d", seed, v.Name, v.VM, v.Network, ep.VM, ep.Network)
			}
			if vm, _ := snapshot.Entity(v.VM); vm.Pool != v.Pool {
				t.Fatalf("seed %d: VIF %s has pool %d, in flows %d", seed, v.Name, v.Pool, vm.Pool)
			}
			for id, list := range e.VMGroups {
				in := slices.Contains(snapshot.VMGroups(ref), uint64(id))
				for _, addr := range v.Addrs {
					if in {
						members[id][addr] = true
					}
					if in && !slices.Contains(list, addr) {
						t.Fatalf("seed %d: %s of %s is in group %s in flows", seed, addr, v.Name, set.Groups[id].Name)
					}
				}
			}
			for _, addr := range v.Addrs {
				groups := snapshot.AddressGroups(addr.As16())
				for id, list := range e.AddressGroups {
					in := slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(addr) })
					if in != slices.Contains(groups, uint64(id)) {
						t.Fatalf("seed %d: %s in address group %s: %v, in flows %v", seed, addr, set.Groups[id].Name, in, !in)
					}
				}
			}
		}
		if checked < len(e.VIFs)/2 {
			t.Fatalf("seed %d: only %d of %d VIFs can be compared", seed, checked, len(e.VIFs))
		}
		for id, list := range e.VMGroups {
			for _, addr := range list {
				if !members[id][addr] {
					t.Fatalf("seed %d: %s is in group %s, in flows it is not", seed, addr, set.Groups[id].Name)
				}
			}
		}
	}
}

// An estate that was made step by step is the one that is made at once, and what is the same is shared.
func TestEstateStepByStep(t *testing.T) {
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 7))
	for range 10 {
		w := policytest.New(r, policytest.Size{Pools: 2, Hosts: 3, Networks: 3, VMs: 10, VIFs: 2, Rules: 6, Groups: 4})
		m, e := *w.Model, w.Estate
		for range 40 {
			m.VMs, m.Hosts = slices.Clone(m.VMs), slices.Clone(m.Hosts)
			vm := &m.VMs[r.IntN(len(m.VMs))]
			switch r.IntN(9) {
			case 0:
				if len(m.VMs) > 2 {
					m.VMs = slices.Delete(m.VMs, 1, 2)
				}
			case 1, 2:
				again := w.Model.VMs[r.IntN(len(w.Model.VMs))]
				if !slices.ContainsFunc(m.VMs, func(o estate.VM) bool { return o.Key == again.Key }) {
					m.VMs = append(m.VMs, again)
				}
			case 3:
				vm.Tags = []string{[]string{"web", "db", "prod"}[r.IntN(3)]}
			case 4:
				vm.VIFs = slices.Clone(vm.VIFs)
				vm.VIFs[0].IPs = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(9))})}
			case 5:
				vm.VIFs = slices.Clone(vm.VIFs)
				vm.VIFs[0].Network = m.Networks[r.IntN(len(m.Networks))].Key
			case 6:
				vm.Pool, vm.Host = "", m.Hosts[r.IntN(len(m.Hosts))].Key
				m.Hosts[0].Pool = m.Pools[r.IntN(len(m.Pools))].Key
			case 7:
				m.VMGroups = slices.Clone(m.VMGroups)
				m.VMGroups[0].VMs = []string{vm.Key}
			case 8:
				m.AddressGroups = slices.Clone(m.AddressGroups)
				m.AddressGroups[r.IntN(len(m.AddressGroups))].Members = []string{fmt.Sprintf("10.0.%d.0/28", r.IntN(4))}
			}
			before := e
			e = policy.EstateOf(&m, w.Set.Groups, before)
			fresh := policy.EstateOf(&m, w.Set.Groups, nil)
			if diff := cmp.Diff(fresh, e, same); diff != "" {
				t.Fatalf("seed %d: step by step (-at once +):\n%s", seed, diff)
			}
			for id, v := range e.VIFs {
				if old := before.VIFs[id]; old != nil && old != v && cmp.Equal(old, v, same) {
					t.Fatalf("seed %d: VIF %s is the same and not shared", seed, v.Name)
				}
			}
			for id, list := range e.VMGroups {
				if old := before.VMGroups[id]; len(list) > 0 && slices.Equal(old, list) && &old[0] != &list[0] {
					t.Fatalf("seed %d: the members of group %s are the same and not shared", seed, w.Set.Groups[id].Name)
				}
			}
		}
	}
}
