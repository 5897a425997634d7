package policyd

import (
	"maps"
	"reflect"
	"slices"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/policy"
)

// withoutPolicy returns a merged estate without the groups that policy brought into it, which are fed: what a policy is resolved against.
func withoutPolicy(m, fed *estate.Model) *estate.Model {
	if fed == nil || len(fed.AddressGroups)+len(fed.VMGroups) == 0 {
		return m
	}
	bare := *m
	bare.AddressGroups = slices.DeleteFunc(slices.Clone(m.AddressGroups), func(g estate.AddressGroup) bool {
		return slices.ContainsFunc(fed.AddressGroups, func(o estate.AddressGroup) bool { return o.Name == g.Name && reflect.DeepEqual(o, g) })
	})
	bare.VMGroups = slices.DeleteFunc(slices.Clone(m.VMGroups), func(g estate.VMGroup) bool {
		return slices.ContainsFunc(fed.VMGroups, func(o estate.VMGroup) bool { return o.Name == g.Name && reflect.DeepEqual(o, g) })
	})
	return &bare
}

// groups returns the groups of the policies in force as a source of the estate, so that flows have them; nil if they are as they were. Of a
// group that several revisions have, it is that of the one at most hosts. g.mu is held.
func (g *governor) groups() *estate.Model {
	if g.policies == nil {
		return nil
	}
	all := map[flow.ID]*policy.Group{}
	for _, revision := range slices.Sorted(maps.Keys(g.resolved)) {
		if r := g.resolved[revision]; r.set != nil && revision != g.policies.Revision {
			maps.Copy(all, r.set.Groups)
		}
	}
	if r := g.resolved[g.policies.Revision]; r != nil && r.set != nil {
		maps.Copy(all, r.set.Groups)
	}
	m := &estate.Model{Merged: true}
	k := keysOf(g.world.bare)
	for _, id := range slices.Sorted(maps.Keys(all)) {
		switch x := all[id]; {
		case len(x.Estate) == 1 && x.Estate[0] == id: // the estate has it
		case x.Kind == flow.KindAddressGroup:
			m.AddressGroups = append(m.AddressGroups, k.addressGroup(x))
		case x.Kind == flow.KindVMGroup:
			m.VMGroups = append(m.VMGroups, k.vmGroup(x))
		}
	}
	if g.fed != nil && reflect.DeepEqual(m, g.fed) || g.fed == nil && len(m.AddressGroups)+len(m.VMGroups) == 0 {
		return nil
	}
	g.fed = m
	return m
}

// keys are those of what policy groups hold.
type keys struct {
	pools, networks, vms map[flow.ID]string
	addressGroups        map[flow.ID]*estate.AddressGroup
	vmGroups             map[flow.ID]*estate.VMGroup
}

func keysOf(m *estate.Model) *keys {
	k := &keys{map[flow.ID]string{}, map[flow.ID]string{}, map[flow.ID]string{}, map[flow.ID]*estate.AddressGroup{}, map[flow.ID]*estate.VMGroup{}}
	for i := range m.Pools {
		k.pools[flow.NewID(flow.KindPool, m.Pools[i].Key)] = m.Pools[i].Key
	}
	for i := range m.Networks {
		k.networks[flow.NewID(flow.KindNetwork, m.Networks[i].Key)] = m.Networks[i].Key
	}
	for i := range m.VMs {
		k.vms[flow.NewID(flow.KindVM, m.VMs[i].Key)] = m.VMs[i].Key
	}
	for i := range m.AddressGroups {
		k.addressGroups[groupID(flow.KindAddressGroup, m.AddressGroups[i].UUID, m.AddressGroups[i].Name)] = &m.AddressGroups[i]
	}
	for i := range m.VMGroups {
		k.vmGroups[groupID(flow.KindVMGroup, m.VMGroups[i].UUID, m.VMGroups[i].Name)] = &m.VMGroups[i]
	}
	return k
}

// groupID returns the id of a group of the estate.
func groupID(kind flow.Kind, uuid, name string) flow.ID {
	if uuid != "" {
		return flow.NewID(kind, uuid)
	}
	return flow.NewID(kind, name)
}

func (k *keys) addressGroup(x *policy.Group) estate.AddressGroup {
	g := estate.AddressGroup{Name: x.Name}
	for _, p := range x.Prefixes {
		g.Members = append(g.Members, p.String())
	}
	for _, id := range x.Estate {
		if inner := k.addressGroups[id]; inner != nil {
			g.Members = append(g.Members, inner.Members...)
		}
	}
	return g
}

// vmGroup returns a group by keys. What is not there at present is left out.
func (k *keys) vmGroup(x *policy.Group) estate.VMGroup {
	g := estate.VMGroup{Name: x.Name}
	for _, id := range x.VMs {
		if key, ok := k.vms[id]; ok {
			g.VMs = append(g.VMs, key)
		}
	}
	for _, s := range x.Select {
		selector := s.Selector
		var poolKnown, networkKnown bool
		selector.Pool, poolKnown = k.pools[s.Pool]
		selector.Network, networkKnown = k.networks[s.Network]
		if (poolKnown || s.Pool == 0) && (networkKnown || s.Network == 0) {
			g.Select = append(g.Select, selector)
		}
	}
	for _, id := range x.Estate {
		if inner := k.vmGroups[id]; inner != nil {
			g.VMs, g.Select = append(g.VMs, inner.VMs...), append(g.Select, inner.Select...)
		}
	}
	return g
}
