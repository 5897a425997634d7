package flowgen

import (
	"slices"
	"strconv"

	"github.com/weirhq/weir/flow"
)

// identities are the ids of an estate's entities, and what the enricher would say of its flows.
type identities struct {
	estate   *Estate
	pool     flow.ID
	hosts    []flow.ID
	bridges  []flow.ID
	networks []flow.ID
	vms      []flow.ID
	vifs     [][]flow.ID
	groups   [][]uint64 // VM groups of each VM
	outside  []flow.ID  // of each address group
}

// newIdentities returns the ids of e: by keys of names, as it has no UUIDs.
func newIdentities(e *Estate) *identities {
	ids := &identities{estate: e, pool: flow.NewID(flow.KindPool, e.Pool)}
	for i := range e.Hosts {
		key := e.Pool + "/" + e.Hosts[i].Name
		ids.hosts = append(ids.hosts, flow.NewID(flow.KindHost, key))
		ids.bridges = append(ids.bridges, flow.NewID(flow.KindBridge, key+"/"+e.Hosts[i].Bridge))
	}
	for i := range e.Networks {
		ids.networks = append(ids.networks, flow.NewID(flow.KindNetwork, e.Pool+"/"+e.Networks[i].Name))
	}
	ids.groups = make([][]uint64, len(e.VMs))
	for i := range e.VMs {
		key := e.Pool + "/" + e.VMs[i].Name
		ids.vms = append(ids.vms, flow.NewID(flow.KindVM, key))
		vifs := make([]flow.ID, len(e.VMs[i].VIFs))
		for j := range vifs {
			vifs[j] = flow.NewID(flow.KindVIF, key+"/"+strconv.Itoa(e.VMs[i].VIFs[j].Device))
		}
		ids.vifs = append(ids.vifs, vifs)
	}
	for _, g := range e.VMGroups {
		for _, vm := range g.VMs {
			ids.groups[vm] = append(ids.groups[vm], uint64(flow.NewID(flow.KindVMGroup, g.Name)))
		}
	}
	for _, g := range e.AddressGroups {
		ids.outside = append(ids.outside, flow.NewID(flow.KindAddressGroup, g.Name))
	}
	return ids
}

// fill sets what the enricher would set in row i, an observation of c. Of the observations of one record, first is
// the one that counts.
func (ids *identities) fill(b *flow.Batch, i int, c *Conversation, o *Observation, first bool) {
	b.Pool[i] = uint64(ids.pool)
	b.Host[i] = uint64(ids.hosts[o.Host])
	b.Bridge[i] = uint64(ids.bridges[o.Host])
	b.Network[i] = uint64(ids.networks[c.Profile.Network])
	b.Counted[i] = first
	src, dst := &c.Client, &c.Server
	if o.SrcMAC == c.Server.MAC {
		src, dst = dst, src
	}
	switch {
	case src.VM >= 0 && dst.VM >= 0:
		b.Direction[i] = flow.DirectionInternal
	case src.VM >= 0:
		b.Direction[i] = flow.DirectionOutbound
	case dst.VM >= 0:
		b.Direction[i] = flow.DirectionInbound
	}
	b.SrcVM[i], b.SrcVIF[i] = ids.end(src)
	b.DstVM[i], b.DstVIF[i] = ids.end(dst)
	b.SrcGroups.Set(i, ids.groupsOf(src))
	b.DstGroups.Set(i, ids.groupsOf(dst))
}

func (ids *identities) end(e *End) (vm, vif uint64) {
	if e.VM < 0 {
		return 0, 0
	}
	return uint64(ids.vms[e.VM]), uint64(ids.vifs[e.VM][e.VIF])
}

// groupsOf returns the groups of an end: the address groups whose prefixes hold its address, and those of its VM.
func (ids *identities) groupsOf(e *End) []uint64 {
	var all []uint64
	if e.VM >= 0 {
		all = append(all, ids.groups[e.VM]...)
	}
	for i, g := range ids.estate.AddressGroups {
		for _, p := range g.Prefixes {
			if p.Contains(e.Addr) {
				all = append(all, uint64(ids.outside[i]))
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
