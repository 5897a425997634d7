package estate

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// memo is what was compiled of a merged model before. As long as pools, hosts, networks and groups are the same, a VM that is
// the same is compiled to the same; only its place is another one.
type memo struct {
	valid bool    // pools, hosts, networks and groups are as they were when the parts were compiled
	parts []*part // by VM of the model; nil: it is new. Afterwards all are there

	// What the groups of parts refer to.
	lists    []uint64
	listNo   map[string]uint32
	prefixes *bart.Table[uint32]
}

// part is what a VM is compiled to. It is immutable; references count from the VM's first VIF.
type part struct {
	entities  []Entity
	aliases   []Entity
	endpoints []Endpoint
	macs      []located[uint64]
	addrs4    []located[uint64]
	addrs6    []located[netip.Addr]
	ports     []port
	warnings  []Problem
	groups    []uint64 // of the VM
}

// mark is how far the lists of a compiler are.
type mark struct{ entities, aliases, endpoints, macs, addrs4, addrs6, ports, warnings int32 }

func (c *compiler) mark() mark {
	return mark{
		int32(len(c.s.entities)), int32(len(c.aliases)), int32(len(c.s.endpoints)), int32(len(c.macs)), int32(len(c.addrs4)),
		int32(len(c.addrs6)), int32(len(c.ports)), int32(len(c.s.warnings)),
	}
}

// reuse adds VM i as it was compiled before, if it was and nothing else has one of its ids.
func (c *compiler) reuse(i int) bool {
	if c.memo == nil || !c.memo.valid || c.memo.parts[i] == nil {
		return false
	}
	p := c.memo.parts[i]
	for j := range p.entities {
		if c.s.byID.get(uint64(p.entities[j].ID)) != 0 {
			c.memo.parts[i] = nil // one of the two is left out, and says so
			return false
		}
	}
	for j := range p.entities {
		c.publish(p.entities[j])
	}
	base := Ref(len(c.s.endpoints))
	c.aliases = append(c.aliases, p.aliases...)
	c.s.endpoints = append(c.s.endpoints, p.endpoints...)
	for range p.endpoints {
		c.endpointVM = append(c.endpointVM, int32(i))
	}
	c.macs, c.addrs4, c.addrs6 = moved(c.macs, p.macs, base), moved(c.addrs4, p.addrs4, base), moved(c.addrs6, p.addrs6, base)
	for _, x := range p.ports {
		x.ref += base
		c.ports = append(c.ports, x)
		h := &c.s.hosts[x.host]
		h.hasOFPorts = h.hasOFPorts || x.ofPort
	}
	for _, w := range p.warnings {
		c.warn(w.Path, "%s", w.Text)
	}
	// Only fresh VMs are asked for these.
	c.vms.entries = append(c.vms.entries, entry{})
	c.vmPool, c.vmHost, c.vmNetworks, c.vmGroups = append(c.vmPool, -1), append(c.vmHost, -1), append(c.vmNetworks, nil), append(c.vmGroups, p.groups)
	c.firstRef = append(c.firstRef, int(base))
	return true
}

// moved appends part, whose references count from base, to list.
func moved[A any](list, part []located[A], base Ref) []located[A] {
	for _, l := range part {
		l.ref += base
		list = append(list, l)
	}
	return list
}

// begin and end go around the adding of a VM that was not compiled before.
func (c *compiler) begin() {
	c.begun = append(c.begun, c.mark())
	c.firstRef = append(c.firstRef, len(c.s.endpoints))
}

func (c *compiler) end(i int) {
	c.fresh = append(c.fresh, i)
	c.ended = append(c.ended, c.mark())
}

// keep gives the memo what was compiled.
func (c *compiler) keep() {
	m := c.memo
	if m == nil {
		return
	}
	for n, i := range c.fresh {
		from, to := c.begun[n], c.ended[n]
		base := Ref(from.endpoints)
		p := &part{
			entities: copied(c.s.entities, from.entities, to.entities), aliases: copied(c.aliases, from.aliases, to.aliases),
			endpoints: copied(c.s.endpoints, from.endpoints, to.endpoints), warnings: copied(c.s.warnings, from.warnings, to.warnings),
			macs: relative(c.macs, from.macs, to.macs, base), addrs4: relative(c.addrs4, from.addrs4, to.addrs4, base),
			addrs6: relative(c.addrs6, from.addrs6, to.addrs6, base), ports: copied(c.ports, from.ports, to.ports), groups: c.vmGroups[i],
		}
		for j := range p.ports {
			p.ports[j].ref -= base
		}
		m.parts[i] = p
	}
	m.lists, m.listNo, m.prefixes = c.s.lists[:len(c.s.lists)-shortList], c.listNo, c.s.prefixes
}

func copied[T any](list []T, from, to int32) []T { return append([]T(nil), list[from:to]...) }

func relative[A any](list []located[A], from, to int32, base Ref) []located[A] {
	part := copied(list, from, to)
	for i := range part {
		part[i].ref -= base
	}
	return part
}
