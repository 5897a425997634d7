package oracle_test

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/compile/compiletest"
	"github.com/weirhq/weir/policyd/policy"
)

// clone copies an input as far as what follows changes it: entries and interfaces are shared, as they are in a service.
func clone(in *compile.Input) *compile.Input {
	c := *in
	inv := *in.Inventory
	inv.Ports, inv.VIFs = slices.Clone(inv.Ports), slices.Clone(inv.VIFs)
	set, e := *in.Policy, *in.Estate
	set.Lists = maps.Clone(set.Lists)
	e.AddressGroups, e.VMGroups, e.VIFs = maps.Clone(e.AddressGroups), maps.Clone(e.VMGroups), maps.Clone(e.VIFs)
	c.Inventory, c.Policy, c.Estate = &inv, &set, &e
	c.VIFs, c.Retired, c.BypassVIFs = slices.Clone(in.VIFs), slices.Clone(in.Retired), maps.Clone(in.BypassVIFs)
	c.Quarantined = maps.Clone(in.Quarantined)
	return &c
}

// edit replaces an entry of a list, which is at an index of Entries, by others.
func edit(in *compile.Input, at int, by ...*policy.Entry) {
	old := in.Policy.Entries()[at]
	if old == in.Policy.Default {
		for _, e := range by {
			in.Policy.Default = e
		}
		return
	}
	list := slices.Clone(in.Policy.Lists[old.Scope])
	i := slices.Index(list, old)
	in.Policy.Lists[old.Scope] = slices.Replace(list, i, i+1, by...)
}

// change returns an input after something happened to policy, estate or host. next is the instance that is given next.
func change(r *rand.Rand, in *compile.Input, next *uint32) *compile.Input {
	in = clone(in)
	entries := in.Policy.Entries()
	at := r.IntN(len(entries))
	e := entries[at]
	retire := func() {
		if e.Rule.Action == policy.Allow {
			in.Retired = append(in.Retired, e.Instance)
		}
	}
	another := func() *policy.Entry {
		n := *e
		n.Instance = *next
		*next++
		return &n
	}
	port := func() *hosts.Port {
		if len(in.Inventory.VIFs) == 0 {
			return &in.Inventory.Ports[0]
		}
		return &in.Inventory.Ports[in.Inventory.VIFs[r.IntN(len(in.Inventory.VIFs))].Ports[0]]
	}
	switch r.IntN(12) {
	case 0: // a rule is taken away
		if e != in.Policy.Default {
			retire()
			edit(in, at)
		}
	case 1, 2: // a rule decides otherwise
		retire()
		n := another()
		n.Rule.Action = map[policy.Action]policy.Action{policy.Allow: policy.Deny, policy.Deny: policy.Allow, policy.Shadow: policy.Deny}[e.Rule.Action]
		edit(in, at, n)
	case 3: // a rule of another list is put behind one
		if from := pick(r, entries...); e != in.Policy.Default && from != in.Policy.Default && e.Rank < policy.MaxRank {
			list := in.Policy.Lists[e.Scope]
			if i := slices.Index(list, e); i+1 == len(list) || list[i+1].Rank > e.Rank+1 {
				n := another()
				n.Rule, n.Group, n.Rank = from.Rule, from.Group, e.Rank+1
				edit(in, at, e, n)
			}
		}
	case 4: // who is in groups
		for id, list := range in.Estate.VMGroups {
			if n := len(list); n > 0 {
				in.Estate.VMGroups[id] = list[:n-1]
			} else {
				in.Estate.VMGroups[id] = []netip.Addr{netip.MustParseAddr("10.0.0.7")}
			}
		}
		for id, list := range in.Estate.AddressGroups {
			in.Estate.AddressGroups[id] = list[len(list)/2:]
		}
	case 5:
		in.Sampling = compile.Sampling(r.IntN(3))
	case 6:
		in.Bypass = !in.Bypass && likely(r, 20)
	case 7: // policy off, or on again, for a VIF; quarantined, or released
		list := &in.BypassVIFs
		if likely(r, 50) {
			list = &in.Quarantined
		}
		if *list == nil {
			*list = map[flow.ID]bool{}
		}
		if len(in.VIFs) > 0 {
			id := pick(r, in.VIFs...)
			(*list)[id] = !(*list)[id]
		}
	case 8: // unplugged, plugged again
		p := port()
		if p.OFPort != 0 && p.Kind == hosts.KindVIF {
			p.OFPort = 0
		}
	case 9: // plugged elsewhere
		if p := port(); p.Kind == hosts.KindVIF {
			p.OFPort = free(in, r)
		}
	case 10: // in another VLAN
		if p := port(); p.Kind == hosts.KindVIF {
			p.VLAN = uint16(10 * r.IntN(4))
		}
	case 11:
		if likely(r, 30) {
			in.Capabilities.ConnTrack = !in.Capabilities.ConnTrack
		}
	}
	return in
}

// odd returns an input with what else there may be on a host.
func odd(r *rand.Rand, in *compile.Input) *compile.Input {
	in = clone(in)
	inv := in.Inventory
	vif := func() (*hosts.VIF, *hosts.Port) {
		v := &inv.VIFs[r.IntN(len(inv.VIFs))]
		return v, &inv.Ports[v.Ports[0]]
	}
	if likely(r, 15) { // one of which nothing is known
		compiletest.AddVIF(in, 0, 0, uint16(10*r.IntN(3)))
	}
	if likely(r, 20) { // another bridge, whose ports have numbers of their own
		const other = "xenbr1"
		inv.Bridges = append(slices.Clone(inv.Bridges), hosts.Bridge{Name: other})
		inv.Ports = append(inv.Ports, hosts.Port{Kind: hosts.KindUplink, Bridge: other, Name: "eth9", OFPort: 11, VIF: -1},
			hosts.Port{Kind: hosts.KindLocal, Bridge: other, Name: other, OFPort: compiletest.LocalPort, MAC: strangers[1], VIF: -1},
			hosts.Port{Kind: hosts.KindVIF, Bridge: other, Name: "vif99.0", OFPort: 12, VLAN: 10, VIF: len(inv.VIFs)})
		inv.VIFs = append(inv.VIFs, hosts.VIF{Key: "vif99", MAC: strangers[2], Bridge: other, Ports: []int{len(inv.Ports) - 1}})
		in.VIFs = append(in.VIFs, 0)
	}
	if len(inv.VIFs) > 0 && likely(r, 8) { // a port of a VIF that is more than an access port: only frames without a tag pass
		_, p := vif()
		p.VLANMode = pick(r, "trunk", "native-tagged", "native-untagged", "dot1q-tunnel")
	}
	if len(inv.VIFs) > 1 && likely(r, 8) { // the MAC address of another
		v, _ := vif()
		from, _ := vif()
		v.MAC = pick(r, from.MAC, from.MAC, compiletest.HostMAC, groups[1])
	}
	if likely(r, 10) { // the host's address is not known
		for i := range inv.Ports {
			if isHost(&inv.Ports[i]) {
				inv.Ports[i].MAC = 0
			}
		}
	}
	in.Capabilities.Sample = !likely(r, 5)
	return in
}

// dense makes rules of what takes conjunctions: many addresses and many ports.
func dense(r *rand.Rand, in *compile.Input, next *uint32) *compile.Input {
	in = clone(in)
	var group flow.ID
	for id, list := range in.Estate.AddressGroups {
		if old := in.Estate.AddressGroups[group]; len(list) > len(old) || len(list) == len(old) && id < group {
			group = id
		}
	}
	entries := in.Policy.Entries()
	for at, e := range entries {
		if e == in.Policy.Default || !e.Rule.Protocol.HasPorts() && !likely(r, 30) {
			continue
		}
		n := *e
		n.Instance = *next
		*next++
		if !n.Rule.Protocol.HasPorts() {
			n.Rule.Protocol = policy.Protocol{IP: pick[uint8](r, policy.IPTCP, policy.IPUDP)}
		}
		n.Rule.RemotePorts = policy.Ports{{First: 1, Last: uint16(50 + r.IntN(40))}, {First: 443, Last: 443}, {First: 8000, Last: uint16(8000 + r.IntN(20))}}
		if likely(r, 50) {
			n.Rule.LocalPorts = policy.Ports{{First: 60, Last: 90}, {First: 39990, Last: 40003}}
		}
		if likely(r, 70) && group != 0 {
			n.Rule.Remote, n.Group = policy.Remote{AddressGroup: "the largest"}, group
		}
		edit(in, at, &n)
	}
	return in
}

// free returns the number of a port that is not in use.
func free(in *compile.Input, r *rand.Rand) uint32 {
	for {
		n := uint32(11 + r.IntN(19))
		if !slices.ContainsFunc(in.Inventory.Ports, func(p hosts.Port) bool { return p.OFPort == n }) {
			return n
		}
	}
}
