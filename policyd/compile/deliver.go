package compile

import (
	"slices"

	"github.com/weirhq/weir/ovs/openflow"
)

// Table 40 hands a packet to the rules of its destination: one VIF, or those of a segment, each with a copy.

const (
	priorityToVIF     = 100
	priorityToSeveral = 90

	// manyVIFs is how many VIFs of a segment get a broadcast for certain. Open vSwitch 3.1 does not send one to the rest once what is
	// to be done takes 64 kB: two samples for each VIF and its port are that between 400 and 500 VIFs, one sample above 800. It drops
	// a packet that takes more than 4096 steps through tables: four for each VIF, five with a shadow rule.
	manyVIFs = 400
)

func fixedDeliver(e *emitter) {
	e.add(TableDeliver, priorityToVIF, KindDeliver, 0, match(to(toVIF)), do(next(TableIngress)))
	e.add(TableDeliver, 0, KindDeliver, 0, "", do(next(TableCommit)))
}

// several is packets of a segment for several VIFs, in groups.
type several struct {
	zone   uint16
	to     uint32 // toMulticast or toUnknown
	groups int
}

func (u several) count(*settings) int { return 1 }

func (u several) flows(e *emitter) {
	list := make([]openflow.Action, u.groups)
	for i := range list {
		list[i] = openflow.ToGroup{ID: groupID(u.zone, u.to, i)}
	}
	e.add(TableDeliver, priorityToSeveral, KindDeliver, 0, match(zone(u.zone), to(u.to)), do(list...))
}

func groupID(zone uint16, to uint32, n int) uint32 {
	id := GroupFirst | uint32(zone)<<8 | uint32(n)
	if to == toUnknown {
		id |= groupFlood
	}
	return id
}

// deliveries plans table 40, and groups. What is for several goes out by ports of network and host first, so that what a connection is
// remembered by is what a VIF decided.
func (b *bridge) deliveries(p *plan) {
	for i := range b.segments {
		s := &b.segments[i]
		s.deliver(p, toMulticast, s.vifs)
		unknown := slices.DeleteFunc(slices.Clone(s.vifs), func(v vif) bool { return v.mac != 0 })
		if len(unknown) > 0 {
			s.deliver(p, toUnknown, unknown)
		}
	}
}

func (s *segment) deliver(p *plan, to uint32, vifs []vif) {
	buckets := [][]openflow.Action{{openflow.Resubmit{Table: TableCommit}}}
	for i := range vifs {
		buckets = append(buckets, []openflow.Action{
			load(regDestination, uint32(vifs[i].ports[0])), load(regDestNet, vifs[i].net), openflow.Resubmit{Table: TableIngress},
		})
	}
	n := 0
	for part := range slices.Chunk(buckets, groupBuckets) {
		g := openflow.NewGroup(groupID(s.zone, to, n), part...)
		p.groups[g.ID] = g
		n++
	}
	p.add(several{s.zone, to, n})
}
