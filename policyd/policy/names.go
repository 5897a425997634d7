package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/nearest"
)

// Names are what the things of an estate are called. They are immutable.
type Names struct {
	kinds map[flow.Kind]*directory
	alias map[flow.ID]flow.ID // further ids of entities
}

// directory finds things of a kind.
type directory struct {
	noun string
	by   map[string][]flow.ID // by name, by pool/name, by UUID in lower case
	full map[flow.ID]string   // pool/name, else name
}

// NamesOf returns the names in a merged estate: what estate.Assembler.Model returns.
func NamesOf(m *estate.Model) *Names {
	mustBeMerged(m)
	n := &Names{alias: map[flow.ID]flow.ID{}, kinds: map[flow.Kind]*directory{}}
	for kind, noun := range map[flow.Kind]string{
		flow.KindPool: "pool", flow.KindNetwork: "network", flow.KindVM: "VM", flow.KindVIF: "VIF",
		flow.KindAddressGroup: "address group", flow.KindVMGroup: "VM group",
	} {
		n.kinds[kind] = &directory{noun: noun, by: map[string][]flow.ID{}, full: map[flow.ID]string{}}
	}
	pools := map[string]string{} // names by key
	for i := range m.Pools {
		p := &m.Pools[i]
		pools[p.Key] = p.Name
		n.add(flow.KindPool, p.Key, p.SameAs, p.UUID, "", p.Name)
	}
	for i := range m.Networks {
		w := &m.Networks[i]
		n.add(flow.KindNetwork, w.Key, w.SameAs, w.UUID, pools[w.Pool], w.Name)
	}
	poolOf := poolOfHosts(m)
	for i := range m.VMs {
		vm := &m.VMs[i]
		pool := pools[poolOfVM(vm, poolOf)]
		n.add(flow.KindVM, vm.Key, vm.SameAs, vm.UUID, pool, vm.Name)
		for j := range vm.VIFs {
			v := &vm.VIFs[j]
			n.add(flow.KindVIF, v.Key, v.SameAs, v.UUID, pool, vm.Name+"/"+device(v))
		}
	}
	for i := range m.AddressGroups {
		g := &m.AddressGroups[i]
		n.add(flow.KindAddressGroup, groupKey(g.UUID, g.Name), nil, g.UUID, "", g.Name)
	}
	for i := range m.VMGroups {
		g := &m.VMGroups[i]
		n.add(flow.KindVMGroup, groupKey(g.UUID, g.Name), nil, g.UUID, "", g.Name)
	}
	return n
}

func mustBeMerged(m *estate.Model) {
	if !m.Merged {
		panic("BUG: policy needs a merged estate, in which everything has its key")
	}
}

// groupKey returns the key of a group, which no source gives another one.
func groupKey(uuid, name string) string {
	if uuid != "" {
		return strings.ToLower(uuid)
	}
	return name
}

// device returns the device by which a VIF is called.
func device(v *estate.VIF) string {
	if v.Device != "" {
		return v.Device
	}
	return v.MAC.String()
}

// poolOfHosts returns the keys of hosts' pools, by key of the host.
func poolOfHosts(m *estate.Model) map[string]string {
	pools := make(map[string]string, len(m.Hosts))
	for i := range m.Hosts {
		pools[m.Hosts[i].Key] = m.Hosts[i].Pool
	}
	return pools
}

// poolOfVM returns the key of a VM's pool, else of that of the host where it runs.
func poolOfVM(vm *estate.VM, poolOfHost map[string]string) string {
	if vm.Pool != "" {
		return vm.Pool
	}
	return poolOfHost[hostOfVM(vm)]
}

// hostOfVM returns the key of the host where a VM runs, or "".
func hostOfVM(vm *estate.VM) string {
	if vm.Host != "" {
		return vm.Host
	}
	host := ""
	for i := range vm.VIFs {
		for j := range vm.VIFs[i].Ports {
			switch p := &vm.VIFs[i].Ports[j]; {
			case host == "":
				host = p.Host
			case p.Host != host:
				return ""
			}
		}
	}
	return host
}

func (n *Names) add(kind flow.Kind, key string, sameAs []string, uuid, pool, name string) {
	d := n.kinds[kind]
	id := flow.NewID(kind, key)
	if _, ok := d.full[id]; ok || name == "" {
		return // the estate warned of it
	}
	for _, k := range sameAs {
		n.alias[flow.NewID(kind, k)] = id
	}
	d.full[id] = name
	d.enter(name, id)
	if pool != "" {
		d.full[id] = pool + "/" + name
		d.enter(d.full[id], id)
	}
	if uuid != "" {
		d.enter(strings.ToLower(uuid), id)
	}
}

func (d *directory) enter(name string, id flow.ID) {
	if !slices.Contains(d.by[name], id) {
		d.by[name] = append(d.by[name], id)
	}
}

// Find returns the thing of a kind that a name, pool/name or UUID means; 0: none. An error says that it is the name of several.
func (n *Names) Find(kind flow.Kind, name string) (flow.ID, error) {
	id, err := n.kinds[kind].find(name)
	if errors.Is(err, errUnknown) {
		return 0, nil
	}
	return id, err
}

// Near returns what to say behind the name of a kind that nothing has: which one may be meant, or nothing.
func (n *Names) Near(kind flow.Kind, name string) string { return n.kinds[kind].near(name, nil) }

// find returns the thing that a name means.
func (d *directory) find(name string) (flow.ID, error) {
	found := d.by[name]
	if len(found) == 0 && estate.IsUUID(name) {
		found = d.by[strings.ToLower(name)]
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return 0, errUnknown
	}
	const told = 4
	var list []string
	for _, id := range found[:min(told, len(found))] {
		list = append(list, d.full[id])
	}
	slices.Sort(list)
	if more := len(found) - told; more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	return 0, fmt.Errorf("%q is the name of %d %ss (%s): write it as pool/name or by UUID", name, len(found), d.noun, strings.Join(list, ", "))
}

// near returns what to say about a name that is unknown.
func (d *directory) near(name string, more []string) string {
	known := slices.Sorted(maps.Keys(d.by))
	return nearest.Hint(name, append(known, more...), "")
}
