package policy

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

// EstateOf returns what rules ask about a merged estate (estate.Assembler.Model) if these groups are in force. It shares with
// before, which may be nil, whatever is the same; who is in groups that are the same is looked at for VMs that changed only.
func EstateOf(m *estate.Model, groups map[flow.ID]*Group, before *Estate) *Estate {
	mustBeMerged(m)
	if before == nil {
		before = &Estate{}
	}
	b := &estateBuilder{
		before: before, poolOfHost: poolOfHosts(m), ids: map[boundKey]flow.ID{},
		e: &Estate{VIFs: make(map[flow.ID]*Interface, len(before.VIFs)), vms: make(map[string]*machine, len(m.VMs)), groups: map[flow.ID]*membership{}},
	}
	for i := range m.VMs {
		b.add(&m.VMs[i])
	}
	for key, mc := range before.vms {
		if b.e.vms[key] != mc {
			b.gone = append(b.gone, mc)
		}
	}
	b.e.AddressGroups = b.addresses(m, groups)
	b.e.VMGroups = b.members(m, groups)
	return b.e
}

// machine is a VM as groups ask for it. It is immutable: as long as it is at the same address, it is the same.
type machine struct {
	id       flow.ID
	vm       *estate.VM
	pool     flow.ID
	networks []flow.ID
	vifs     []*Interface
}

// membership is a group and who is in it. It is immutable.
type membership struct {
	group    *Group
	estate   []estate.VMGroup      // the estate's groups in it, of VM groups
	prefixes []estate.AddressGroup // of address groups
	machines []*machine
}

type estateBuilder struct {
	e, before   *Estate
	poolOfHost  map[string]string
	ids         map[boundKey]flow.ID // of pools and networks by key
	machines    []*machine
	fresh, gone []*machine // that before does not have, that only before has

	indexed   bool
	byTag     map[string][]*machine
	byNetwork map[flow.ID][]*machine
	byPool    map[flow.ID][]*machine
	byID      map[flow.ID]*machine
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
	if b.e.vms[vm.Key] != nil {
		return // the estate warned of it
	}
	mc := old
	if old == nil || old.pool != pool || !sameVM(old.vm, vm) {
		mc = b.machine(vm, pool, old)
		b.fresh = append(b.fresh, mc)
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
			MAC: v.MAC, Addrs: addresses(v.IPs), Told: addresses(v.Told()), Platform: platformOf(v),
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
	return v.ID == o.ID && v.Name == o.Name && v.VM == o.VM && v.Network == o.Network && v.Pool == o.Pool && v.MAC == o.MAC && slices.Equal(v.Addrs, o.Addrs) && slices.Equal(v.Told, o.Told) &&
		v.Platform == o.Platform
}

// sameVM reports whether two VMs of one key are the same to rules and groups.
func sameVM(a, b *estate.VM) bool {
	return a.Name == b.Name && slices.Equal(a.Tags, b.Tags) && maps.Equal(a.Attributes, b.Attributes) && sameVIFs(a.VIFs, b.VIFs)
}

func sameVIFs(a, b []estate.VIF) bool {
	if len(a) != len(b) || len(a) == 0 || &a[0] == &b[0] { // nobody changes what is in a model
		return len(a) == len(b)
	}
	return slices.EqualFunc(a, b, func(v, w estate.VIF) bool {
		return v.Key == w.Key && v.Device == w.Device && v.Network == w.Network && v.MAC == w.MAC && v.Learned == w.Learned && slices.Equal(v.IPs, w.IPs) &&
			maps.Equal(v.Attributes, w.Attributes)
	})
}

// addresses returns the contents of address groups.
func (b *estateBuilder) addresses(m *estate.Model, groups map[flow.ID]*Group) map[flow.ID][]netip.Prefix {
	contents := map[flow.ID][]netip.Prefix{}
	own := map[flow.ID]*estate.AddressGroup{}
	for i := range m.AddressGroups {
		g := &m.AddressGroups[i]
		own[flow.NewID(flow.KindAddressGroup, groupKey(g.UUID, g.Name))] = g
	}
	for id, g := range groups {
		if g.Kind != flow.KindAddressGroup {
			continue
		}
		in := &membership{group: g}
		for _, id := range g.Estate {
			if o := own[id]; o != nil {
				in.prefixes = append(in.prefixes, *o)
			}
		}
		b.e.groups[id] = in
		if old := b.before.groups[id]; old != nil && old.group == g && slices.EqualFunc(old.prefixes, in.prefixes, sameAddresses) {
			contents[id] = b.before.AddressGroups[id]
			continue
		}
		list := g.Prefixes
		if len(in.prefixes) > 0 {
			list = slices.Clone(list)
			for _, o := range in.prefixes {
				for _, member := range o.Members {
					prefixes, _ := estate.ParseMember(member) // what is wrong is left out, as in the estate
					list = append(list, prefixes...)
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

func sameAddresses(a, b estate.AddressGroup) bool {
	return a.Name == b.Name && slices.Equal(a.Members, b.Members)
}

// members returns the addresses of VM groups.
func (b *estateBuilder) members(m *estate.Model, groups map[flow.ID]*Group) map[flow.ID][]netip.Addr {
	contents := map[flow.ID][]netip.Addr{}
	own := map[flow.ID]*estate.VMGroup{}
	for i := range m.VMGroups {
		g := &m.VMGroups[i]
		own[flow.NewID(flow.KindVMGroup, groupKey(g.UUID, g.Name))] = g
	}
	for id, g := range groups {
		if g.Kind != flow.KindVMGroup {
			continue
		}
		in := &membership{group: g}
		for _, id := range g.Estate {
			if o := own[id]; o != nil {
				in.estate = append(in.estate, *o)
			}
		}
		b.e.groups[id] = in
		old := b.before.groups[id]
		if old != nil && old.group == g && slices.EqualFunc(old.estate, in.estate, sameMembers) {
			isIn := func(mc *machine) bool { return b.isIn(mc, in) }
			left, came := slices.ContainsFunc(b.gone, isIn), slices.ContainsFunc(b.fresh, isIn)
			if in.machines = old.machines; !left && !came {
				contents[id] = b.before.VMGroups[id]
				continue
			}
			in.machines = nil
			for _, mc := range old.machines {
				if b.e.vms[mc.vm.Key] == mc {
					in.machines = append(in.machines, mc)
				}
			}
			for _, mc := range b.fresh {
				if isIn(mc) {
					in.machines = append(in.machines, mc)
				}
			}
		} else {
			in.machines = b.find(in)
		}
		var list []netip.Addr
		for _, mc := range in.machines {
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

func sameMembers(a, b estate.VMGroup) bool {
	return a.Name == b.Name && slices.Equal(a.VMs, b.VMs) && slices.EqualFunc(a.Select, b.Select, func(s, t estate.Selector) bool { return sameSelector(&s, &t) })
}

func sameSelector(s, t *estate.Selector) bool {
	return s.Name == t.Name && s.Network == t.Network && s.Pool == t.Pool && slices.Equal(s.Tags, t.Tags) && maps.Equal(s.Attributes, t.Attributes)
}

// selectors returns all selectors of a VM group, of which those of the estate's groups name keys.
func (b *estateBuilder) selectors(in *membership) []Selector {
	list := in.group.Select
	for i := range in.estate {
		for _, s := range in.estate[i].Select {
			list = append(slices.Clip(list), Selector{Selector: s, Pool: b.id(flow.KindPool, s.Pool), Network: b.id(flow.KindNetwork, s.Network)})
		}
	}
	return list
}

// isIn reports whether a VM is in a group.
func (b *estateBuilder) isIn(mc *machine, in *membership) bool {
	if _, ok := slices.BinarySearch(in.group.VMs, mc.id); ok {
		return true
	}
	for i := range in.estate {
		if slices.Contains(in.estate[i].VMs, mc.vm.Key) {
			return true
		}
	}
	return slices.ContainsFunc(b.selectors(in), func(s Selector) bool { return s.selects(mc) })
}

// selects reports whether all of s applies to a VM.
func (s *Selector) selects(mc *machine) bool {
	return (s.Pool == 0 || mc.pool == s.Pool) && (s.Network == 0 || slices.Contains(mc.networks, s.Network)) && s.Describes(mc.vm)
}

// find returns the VMs that are in a group.
func (b *estateBuilder) find(in *membership) []*machine {
	b.index()
	found := map[*machine]bool{}
	for _, vm := range in.group.VMs {
		if mc := b.byID[vm]; mc != nil {
			found[mc] = true
		}
	}
	for i := range in.estate {
		for _, key := range in.estate[i].VMs {
			if mc := b.e.vms[key]; mc != nil {
				found[mc] = true
			}
		}
	}
	for _, s := range b.selectors(in) {
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
			if s.selects(mc) {
				found[mc] = true
			}
		}
	}
	return slices.Collect(maps.Keys(found))
}

// index prepares what selectors ask for, so that few VMs are looked at for a group.
func (b *estateBuilder) index() {
	if b.indexed {
		return
	}
	b.indexed = true
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
