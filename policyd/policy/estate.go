package policy

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

// EstateOf returns what rules ask about a merged estate (estate.Assembler.Model) if these groups are in force. It shares with
// before, which may be nil, whatever is the same.
func EstateOf(m *estate.Model, groups map[flow.ID]*Group, before *Estate) *Estate {
	mustBeMerged(m)
	if before == nil {
		before = &Estate{}
	}
	b := &estateBuilder{
		before: before, poolOfHost: poolOfHosts(m), ids: map[boundKey]flow.ID{},
		e: &Estate{VIFs: make(map[flow.ID]*Interface, len(before.VIFs)), vms: make(map[string]*machine, len(m.VMs))},
	}
	for i := range m.VMs {
		b.add(&m.VMs[i])
	}
	b.e.AddressGroups = b.addresses(m, groups)
	b.e.VMGroups = b.members(m, groups)
	return b.e
}

// machine is a VM as groups ask for it. It is immutable.
type machine struct {
	id       flow.ID
	vm       *estate.VM
	pool     flow.ID
	networks []flow.ID
	vifs     []*Interface
}

type estateBuilder struct {
	e, before  *Estate
	poolOfHost map[string]string
	ids        map[boundKey]flow.ID // of pools and networks by key
	machines   []*machine
	byTag      map[string][]*machine
	byNetwork  map[flow.ID][]*machine
	byPool     map[flow.ID][]*machine
	byID       map[flow.ID]*machine
}

func (b *estateBuilder) id(kind flow.Kind, key string) flow.ID {
	if key == "" {
		return 0
	}
	k := boundKey{kind, key}
	id, ok := b.ids[k]
	if !ok {
		id = flow.NewID(kind, key)
		b.ids[k] = id
	}
	return id
}

// add adds a VM, as it was before if it is the same.
func (b *estateBuilder) add(vm *estate.VM) {
	pool := b.id(flow.KindPool, poolOfVM(vm, b.poolOfHost))
	old := b.before.vms[vm.Key]
	mc := old
	if old == nil || old.pool != pool || !sameVM(old.vm, vm) {
		mc = b.machine(vm, pool, old)
	}
	if b.e.vms[vm.Key] != nil {
		return // the estate warned of it
	}
	b.e.vms[vm.Key] = mc
	b.machines = append(b.machines, mc)
	for _, v := range mc.vifs {
		b.e.VIFs[v.ID] = v
	}
}

func (b *estateBuilder) machine(vm *estate.VM, pool flow.ID, old *machine) *machine {
	mc := &machine{vm: vm, pool: pool}
	if old != nil {
		mc.id = old.id
	} else {
		mc.id = flow.NewID(flow.KindVM, vm.Key)
	}
	for i := range vm.VIFs {
		v := &vm.VIFs[i]
		x := &Interface{
			ID: flow.NewID(flow.KindVIF, v.Key), Name: vm.Name + "/" + device(v), VM: mc.id, Network: b.id(flow.KindNetwork, v.Network), Pool: pool,
			MAC: v.MAC, Addrs: addresses(v.IPs),
		}
		if was := b.before.VIFs[x.ID]; was != nil && was.equal(x) {
			x = was
		}
		mc.vifs = append(mc.vifs, x)
		if x.Network != 0 {
			mc.networks = append(mc.networks, x.Network)
		}
	}
	return mc
}

// addresses returns addresses of one interface, unmapped, ascending, each once.
func addresses(ips []netip.Addr) []netip.Addr {
	var list []netip.Addr
	for _, a := range ips {
		if a = a.Unmap(); a.IsValid() && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast() {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

func (v *Interface) equal(o *Interface) bool {
	return v.ID == o.ID && v.Name == o.Name && v.VM == o.VM && v.Network == o.Network && v.Pool == o.Pool && v.MAC == o.MAC && slices.Equal(v.Addrs, o.Addrs)
}

// sameVM reports whether two VMs of one key are the same to rules and groups.
func sameVM(a, b *estate.VM) bool {
	return a.Name == b.Name && len(a.VIFs) == len(b.VIFs) && slices.Equal(a.Tags, b.Tags) && maps.Equal(a.Attributes, b.Attributes) &&
		slices.EqualFunc(a.VIFs, b.VIFs, func(v, w estate.VIF) bool {
			return v.Key == w.Key && v.Device == w.Device && v.Network == w.Network && v.MAC == w.MAC && slices.Equal(v.IPs, w.IPs)
		})
}

// addresses returns the contents of address groups.
func (b *estateBuilder) addresses(m *estate.Model, groups map[flow.ID]*Group) map[flow.ID][]netip.Prefix {
	contents := map[flow.ID][]netip.Prefix{}
	var own map[flow.ID]*estate.AddressGroup
	for id, g := range groups {
		if g.Kind != flow.KindAddressGroup {
			continue
		}
		list := g.Prefixes
		if len(g.Estate) > 0 {
			if own == nil {
				own = map[flow.ID]*estate.AddressGroup{}
				for i := range m.AddressGroups {
					own[flow.NewID(flow.KindAddressGroup, groupKey(m.AddressGroups[i].UUID, m.AddressGroups[i].Name))] = &m.AddressGroups[i]
				}
			}
			list = slices.Clone(list)
			for _, id := range g.Estate {
				if g := own[id]; g != nil {
					for _, member := range g.Members {
						prefixes, _ := estate.ParseMember(member) // what is wrong is left out, as in the estate
						list = append(list, prefixes...)
					}
				}
			}
			list = disjoint(list)
		}
		if old, ok := b.before.AddressGroups[id]; ok && slices.Equal(old, list) {
			list = old
		}
		contents[id] = list
	}
	return contents
}

// members returns the addresses of VM groups.
func (b *estateBuilder) members(m *estate.Model, groups map[flow.ID]*Group) map[flow.ID][]netip.Addr {
	contents := map[flow.ID][]netip.Addr{}
	var own map[flow.ID]*estate.VMGroup
	for id, g := range groups {
		if g.Kind != flow.KindVMGroup {
			continue
		}
		if own == nil {
			b.index()
			own = map[flow.ID]*estate.VMGroup{}
			for i := range m.VMGroups {
				own[flow.NewID(flow.KindVMGroup, groupKey(m.VMGroups[i].UUID, m.VMGroups[i].Name))] = &m.VMGroups[i]
			}
		}
		in := map[*machine]bool{}
		for _, vm := range g.VMs {
			if mc := b.byID[vm]; mc != nil {
				in[mc] = true
			}
		}
		for i := range g.Select {
			b.selected(in, &g.Select[i])
		}
		for _, id := range g.Estate {
			if o := own[id]; o != nil {
				b.ofEstate(in, o)
			}
		}
		var list []netip.Addr
		for mc := range in {
			for _, v := range mc.vifs {
				list = append(list, v.Addrs...)
			}
		}
		slices.SortFunc(list, netip.Addr.Compare)
		list = slices.Compact(list)
		if old, ok := b.before.VMGroups[id]; ok && slices.Equal(old, list) {
			list = old
		}
		contents[id] = list
	}
	return contents
}

// index prepares what selectors ask for, so that few VMs are looked at for a group.
func (b *estateBuilder) index() {
	b.byTag, b.byNetwork, b.byPool = map[string][]*machine{}, map[flow.ID][]*machine{}, map[flow.ID][]*machine{}
	b.byID = make(map[flow.ID]*machine, len(b.machines))
	for _, mc := range b.machines {
		b.byID[mc.id] = mc
		b.byPool[mc.pool] = append(b.byPool[mc.pool], mc)
		for _, tag := range mc.vm.Tags {
			b.byTag[tag] = append(b.byTag[tag], mc)
		}
		for _, n := range mc.networks {
			b.byNetwork[n] = append(b.byNetwork[n], mc)
		}
	}
}

// selected adds the VMs that a selector selects.
func (b *estateBuilder) selected(in map[*machine]bool, s *Selector) {
	candidates := b.machines
	shorter := func(list []*machine) {
		if len(list) < len(candidates) {
			candidates = list
		}
	}
	if s.Pool != 0 {
		shorter(b.byPool[s.Pool])
	}
	if s.Network != 0 {
		shorter(b.byNetwork[s.Network])
	}
	for _, tag := range s.Tags {
		shorter(b.byTag[tag])
	}
	for _, mc := range candidates {
		if (s.Pool == 0 || mc.pool == s.Pool) && (s.Network == 0 || slices.Contains(mc.networks, s.Network)) && s.Describes(mc.vm) {
			in[mc] = true
		}
	}
}

// ofEstate adds the VMs of a group of the estate, whose references are keys.
func (b *estateBuilder) ofEstate(in map[*machine]bool, g *estate.VMGroup) {
	for _, key := range g.VMs {
		if mc := b.e.vms[key]; mc != nil {
			in[mc] = true
		}
	}
	for i := range g.Select {
		s := &g.Select[i]
		b.selected(in, &Selector{Selector: *s, Pool: b.id(flow.KindPool, s.Pool), Network: b.id(flow.KindNetwork, s.Network)})
	}
}
