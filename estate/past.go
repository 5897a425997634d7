package estate

import (
	"cmp"
	"slices"

	"github.com/weirhq/weir/flow"
)

// past answers what was behind a key of a look-up until a short while ago, where that was something else than now. Keys are
// those of the look-ups of a Snapshot.
type past struct {
	latest int64 // ms: nothing was different after it; 0: nothing was
	ports  pastTable
	macs   pastTable
	addr4  pastTable
	addr6  before[addrKey]
}

// before holds, by key, what was there until when, the earliest first.
type before[K comparable] map[K][]until

type until struct {
	ms  int64
	ref Ref
}

func (b before[K]) add(k K, ms int64, ref Ref) {
	if i := len(b[k]) - 1; i >= 0 && b[k][i].ms == ms { // two at once: what came last is as good as any
		b[k][i].ref = ref
		return
	}
	b[k] = append(b[k], until{ms, ref})
}

// settle drops what was as it is now, by what is found by a key now, and returns until when something was different.
func (b before[K]) settle(c *compiler, now func(k K) uint32) (latest int64) {
	for k, list := range b {
		for len(list) > 0 && !c.different(now(k), list[len(list)-1].ref) {
			list = list[:len(list)-1]
		}
		if len(list) == 0 {
			delete(b, k)
			continue
		}
		b[k] = list
		latest = max(latest, list[len(list)-1].ms)
	}
	return latest
}

// refAt returns what was in a list at a time in ms; 0 if it was as it is now.
func refAt(list []until, ms int64) Ref {
	for _, u := range list {
		if ms < u.ms {
			return u.ref
		}
	}
	return 0
}

// pastTable is before in the form of a table.
type pastTable struct {
	table table // numbers of lists, from 1 on
	lists [][]until
}

func newPastTable(b before[uint64], hash hasher) pastTable {
	t := pastTable{newTable(len(b), hash), make([][]until, 1, 1+len(b))}
	for k, list := range b {
		t.table.put(k, uint32(len(t.lists)))
		t.lists = append(t.lists, list)
	}
	return t
}

func (t *pastTable) at(k uint64, ms int64) Ref {
	if i := t.table.get(k); i != 0 {
		return refAt(t.lists[i], ms)
	}
	return 0
}

// Late is what flows are resolved with that ended before a change of the estate. A VIF that has had another port, MAC or IP
// address, or was another VM's or at another host, is found as it was at the time. What is found only now is taken to
// have been there before: the first packets of a VIF may be older than the news of it.
type Late struct{ s *Snapshot }

// Late returns s for flows that ended before the last changes; ok is false if nothing is known to have been different before.
func (s *Snapshot) Late() (l Late, ok bool) { return Late{s}, s.past.latest > 0 }

// Before reports whether something may have been different at a time in ms since epoch.
func (l Late) Before(ms int64) bool { return ms < l.s.past.latest }

// Port returns the VIF that was behind a key of Snapshot.Ports at a time in ms, if that was another one than now or it was
// elsewhere; else 0.
func (l Late) Port(key uint64, ms int64) Ref { return l.s.past.ports.at(key, ms) }

// MAC is Port for a MAC address, in a network or, if that is not known, anywhere.
func (l Late) MAC(mac uint64, network NetworkRef, ms int64) Ref {
	return l.in(&l.s.past.macs, uint64(network)<<48, mac, ms)
}

// Addr is Port for an IP address, in a network or, if that is not known, anywhere.
func (l Late) Addr(addr flow.Addr, network NetworkRef, ms int64) Ref {
	if k, ok := addr4Key(addr); ok {
		return l.in(&l.s.past.addr4, uint64(network)<<32, k, ms)
	}
	if len(l.s.past.addr6) == 0 {
		return 0
	}
	if ref := refAt(l.s.past.addr6[addrKey{addr, network}], ms); ref != 0 || network == 0 {
		return ref
	}
	return l.outside(refAt(l.s.past.addr6[addrKey{addr, 0}], ms))
}

// in looks an address up in a network, which is the upper part of a key or 0, then among those in none.
func (l Late) in(t *pastTable, network, addr uint64, ms int64) Ref {
	if t.table.get(addr) == 0 { // what was in a network is in the list of all networks, too
		return 0
	}
	if ref := t.at(network|addr, ms); ref != 0 || network == 0 {
		return ref
	}
	return l.outside(t.at(addr, ms))
}

// outside returns ref if its VIF was in no network, else 0.
func (l Late) outside(ref Ref) Ref {
	if l.s.endpoints[ref].NetworkRef != 0 {
		return 0
	}
	return ref
}

// pastVIF is a VIF as it was until a time.
type pastVIF struct {
	vif *VIF
	ref Ref
	net NetworkRef
	ms  int64
}

// addPast makes endpoints of VIFs as they were. Their references may lead to what is not there any more.
func (c *compiler) addPast() {
	c.pastGroups = map[Ref][]uint64{}
	list := slices.SortedStableFunc(slices.Values(c.m.Past), func(a, b Past) int { return a.Until.Compare(b.Until) })
	for i := range list {
		vm, ms := &list[i].VM, list[i].Until.UnixMilli()
		host := c.known(&c.hosts, vm.Host)
		first := len(c.s.endpoints)
		for j := range vm.VIFs {
			vif := &vm.VIFs[j]
			e := Endpoint{ID: uint64(c.newID(flow.KindVIF, vif.Key)), VM: uint64(c.newID(flow.KindVM, vm.Key)), Host: HostRef(host + 1)}
			if vif.Network != "" {
				e.Network = uint64(c.newID(flow.KindNetwork, vif.Network))
				e.NetworkRef = NetworkRef(c.known(&c.networks, vif.Network) + 1)
			}
			for k := range vif.Ports {
				if p := &vif.Ports[k]; p.Host == vm.Host && p.Bridge != "" {
					e.Bridge = uint64(c.newID(flow.KindBridge, p.Host+"/"+p.Bridge))
				}
			}
			if len(vif.IPs) > 0 {
				e.addr = vif.IPs[0].As16()
			}
			ref := Ref(len(c.s.endpoints))
			c.s.endpoints, c.endpointVM = append(c.s.endpoints, e), append(c.endpointVM, -1)
			c.past = append(c.past, pastVIF{vif, ref, e.NetworkRef, ms})
		}
		for ref := first; ref < len(c.s.endpoints); ref++ {
			c.pastGroups[Ref(ref)] = list[i].Groups
		}
	}
}

// known returns what a key of a merged model refers to; -1 if it is not there.
func (c *compiler) known(d *directory, key string) int {
	if i, ok := d.byKey[key]; ok {
		return i
	}
	return -1
}

// groupsOf returns the VM groups that a VM would be in.
func (c *compiler) groupsOf(vm *VM, pool int, networks []NetworkRef) []uint64 {
	var ids []uint64
	for i := range c.m.VMGroups {
		g := &c.m.VMGroups[i]
		in := slices.Contains(g.VMs, vm.Key)
		for j := 0; j < len(g.Select) && !in; j++ {
			sel := &g.Select[j]
			p, n := c.known(&c.pools, sel.Pool), c.known(&c.networks, sel.Network)
			if sel.Pool != "" && p < 0 || sel.Network != "" && n < 0 {
				continue
			}
			in = selects(sel, vm, pool, networks, p, NetworkRef(n+1))
		}
		if in {
			ids = append(ids, uint64(c.newID(flow.KindVMGroup, cmp.Or(g.UUID, g.Name))))
		}
	}
	return ids
}

// buildPast fills the look-ups of what was before.
func (c *compiler) buildPast() {
	if len(c.past) == 0 {
		return
	}
	ports, macs, addr4, addr6 := before[uint64]{}, before[uint64]{}, before[uint64]{}, before[addrKey]{}
	for i := range c.past {
		x := &c.past[i]
		for k := range x.vif.Ports {
			c.pastPort(ports, &x.vif.Ports[k], x)
		}
		for _, network := range [2]NetworkRef{0, x.net} {
			if mac := uint64(x.vif.MAC); mac != 0 {
				macs.add(uint64(network)<<48|mac, x.ms, x.ref)
			}
			for _, a := range x.vif.IPs {
				addr := flow.Addr(a.Unmap().As16())
				if k, ok := addr4Key(addr); ok {
					addr4.add(uint64(network)<<32|k, x.ms, x.ref)
				} else {
					addr6.add(addrKey{addr, network}, x.ms, x.ref)
				}
			}
		}
	}
	p := &c.s.past
	p.latest = max(
		ports.settle(c, c.s.ports.get),
		macs.settle(c, func(k uint64) uint32 { return found(c.s.MAC(k&(1<<48-1), NetworkRef(k>>48))) }),
		addr4.settle(c, func(k uint64) uint32 { return c.addrNow(k&(1<<32-1), NetworkRef(k>>32)) }),
		addr6.settle(c, func(k addrKey) uint32 { return found(c.s.Addr(k.addr, k.network)) }),
	)
	p.ports, p.macs, p.addr4, p.addr6 = newPastTable(ports, c.hash), newPastTable(macs, c.hash), newPastTable(addr4, c.hash), addr6
}

// addrNow is Snapshot.Addr for the key of an IPv4 address.
func (c *compiler) addrNow(k uint64, network NetworkRef) uint32 {
	value := c.s.addr4.get(k)
	if value == many && network != 0 {
		value = or(c.s.addr4.get(uint64(network)<<32|k), many)
	}
	return value
}

func found(ref Ref, m Match) uint32 {
	if m == Ambiguous {
		return many
	}
	return uint32(ref)
}

// different reports whether what a look-up finds now is not what was there before.
func (c *compiler) different(value uint32, old Ref) bool {
	return value == 0 || value == many || c.s.endpoints[value] != c.s.endpoints[old]
}

// pastPort adds a port by the numbers by which its host's exporter knows its bridges now.
func (c *compiler) pastPort(ports before[uint64], port *Port, x *pastVIF) {
	host := c.known(&c.hosts, port.Host)
	if host < 0 {
		return
	}
	h := &c.s.hosts[host+1]
	h.hasOFPorts = h.hasOFPorts || port.OFPort != 0
	scopes := []int{slices.IndexFunc(h.bridges, func(b bridge) bool { return b.name == c.bridgeName(port.Bridge) })}
	if len(h.bridges) != 1 && scopes[0] >= 0 {
		scopes = append(scopes, -1) // rows that do not say their bridge
	}
	for _, bridge := range scopes {
		ifScope, ofScope := h.scopeOf(bridge)
		for _, n := range [2]struct{ scope, number uint32 }{{ifScope, port.IfIndex}, {ofScope, port.OFPort}} {
			if n.number == 0 {
				continue
			}
			ports.add(uint64(n.scope)<<32|uint64(n.number), x.ms, x.ref)
		}
	}
}
