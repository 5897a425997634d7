package estate

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// toldBy and observedBy are the kinds of sources in the order in which they are believed: of what people say (names, pools,
// tags, attributes), and of what can be seen (hosts, ports, networks, MAC addresses). docs/explanation/estate.md has them by
// field.
var (
	toldBy     = []string{"xapi", "libvirt", "file", "host"}
	observedBy = []string{"host", "xapi", "libvirt", "file"}
)

// kindOf returns the kind of a source: what is before the colon in its name.
func kindOf(name string) string {
	kind, _, _ := strings.Cut(name, ":")
	return kind
}

func rankIn(order []string, name string) int {
	if i := slices.Index(order, kindOf(name)); i >= 0 {
		return i
	}
	return len(order)
}

// source is what one source said last.
type source struct {
	name  string
	model *Model
	told  time.Time
	stale time.Time // since when the source cannot be asked; zero if it can

	rank, observed int
	seesHosts      bool // it is a host's database: of the ports of its hosts it says all

	// Own keys of pools, hosts and networks, as they would be without other sources, and what refers to what, by index; -1 is
	// none.
	poolKeys, hostKeys, networkKeys []string
	hostPool, networkPool           []int

	// Their keys in the merged estate.
	pools, hosts, networks []string

	nodes  []*node // of the VMs, in the order of the model
	groups []vmGroup
}

// vmGroup is what a VM group refers to.
type vmGroup struct {
	members   []groupRef
	selectors []selectorRefs
}

// selectorRefs are the pool and the network of a selector, by index; -1 is none.
type selectorRefs struct{ pool, network int }

// groupRef is a member of a VM group: a VM of the source, or one that is known by its uuid to others.
type groupRef struct {
	vm   int // index in source.nodes; -1: none of the source
	uuid string
}

// title returns the source's name for people: host:xcp1.
func (s *source) title() string {
	if s.seesHosts && len(s.model.Hosts) > 0 {
		return HostSourcePrefix + s.model.Hosts[0].Name
	}
	return s.name
}

// node is what one source says of one VM.
type node struct {
	src        *source
	vm         *VM
	id         string // what the VM is called within the source
	key        string // as it would be without other sources
	pool, host int    // indexes in the source's model; -1: none
	vifs       []vifNode
	cluster    *cluster
}

func (n *node) poolKey() string { return keyAt(n.src.pools, n.pool) }

type vifNode struct {
	key     string
	network int   // index in the source's model; -1: none
	ports   []int // hosts of the ports
}

// cluster is what all sources say of one VM.
type cluster struct {
	members []*node // the most believed first
	vm      VM      // merged
	part    *part   // what it was compiled to; nil: it was not
	claims  []identity
}

// before orders nodes by what they are, not by where they stand.
func (n *node) before(o *node) int {
	return cmp.Or(cmp.Compare(n.src.rank, o.src.rank), strings.Compare(n.src.name, o.src.name), strings.Compare(n.id, o.id))
}

func keyOf(given, uuid, parentKey, name string) string {
	switch {
	case given != "":
		return given
	case uuid != "":
		return strings.ToLower(uuid)
	case parentKey != "":
		return parentKey + "/" + name
	}
	return name
}

// newSource resolves the references of a model. What leads nowhere is none: whoever made the model has checked it.
func newSource(name string, m *Model, told time.Time) *source {
	s := &source{
		name: name, model: m, told: told, rank: rankIn(toldBy, name), observed: rankIn(observedBy, name),
		seesHosts: kindOf(name) == "host",
	}
	c := &compiler{m: &Model{}}
	c.pools, c.hosts, c.networks = c.newDirectory("pool"), c.newDirectory("host"), c.newDirectory("network")
	// An id that is not 0 makes an entry known; which one it is does not matter here.
	for i := range m.Pools {
		p := &m.Pools[i]
		s.poolKeys = append(s.poolKeys, keyOf(p.Key, p.UUID, "", p.Name))
		c.pools.add(p.Name, -1)
		c.pools.identify(p.UUID, 1, s.poolKeys[i])
	}
	for i := range m.Hosts {
		h := &m.Hosts[i]
		pool := single(c.lookup(&c.pools, h.Pool, -1))
		s.hostPool = append(s.hostPool, pool)
		s.hostKeys = append(s.hostKeys, keyOf(h.Key, h.UUID, keyAt(s.poolKeys, pool), h.Name))
		c.hosts.add(h.Name, pool)
		c.hosts.identify(h.UUID, 1, s.hostKeys[i])
	}
	for i := range m.Networks {
		n := &m.Networks[i]
		pool := single(c.lookup(&c.pools, n.Pool, -1))
		s.networkPool = append(s.networkPool, pool)
		s.networkKeys = append(s.networkKeys, keyOf(n.Key, n.UUID, keyAt(s.poolKeys, pool), n.Name))
		c.networks.add(n.Name, pool)
		c.networks.identify(n.UUID, 1, s.networkKeys[i])
	}
	s.nodes = make([]*node, len(m.VMs))
	nodes := make([]node, len(m.VMs))
	for i := range m.VMs {
		nodes[i].resolve(s, c, &m.VMs[i])
		s.nodes[i] = &nodes[i]
	}
	s.resolveGroups(c)
	return s
}

// keyAt returns a key of a list; of -1 none.
func keyAt(keys []string, i int) string {
	if i < 0 {
		return ""
	}
	return keys[i]
}

func (n *node) resolve(s *source, c *compiler, vm *VM) {
	inPool := -1
	if vm.Pool != "" {
		inPool = single(c.lookup(&c.pools, vm.Pool, -1))
	}
	var host int
	if vm.Host != "" {
		host = single(c.lookup(&c.hosts, vm.Host, inPool))
	} else {
		host = c.hostOfPorts(vm, inPool)
	}
	pool := inPool
	if pool < 0 && host >= 0 {
		pool = s.hostPool[host]
	}
	*n = node{src: s, vm: vm, key: keyOf(vm.Key, vm.UUID, keyAt(s.poolKeys, inPool), vm.Name), pool: pool, host: host}
	n.id = n.key
	n.vifs = make([]vifNode, len(vm.VIFs))
	for j := range vm.VIFs {
		vif := &vm.VIFs[j]
		device := vif.Device
		if device == "" {
			device = vif.MAC.String()
		}
		v := &n.vifs[j]
		*v = vifNode{key: keyOf(vif.Key, vif.UUID, n.key, device), network: -1}
		if vif.Network != "" {
			v.network = single(c.lookup(&c.networks, vif.Network, pool))
		}
		if len(vif.Ports) > 0 {
			v.ports = make([]int, len(vif.Ports))
		}
		for k := range vif.Ports {
			v.ports[k] = host
			if p := &vif.Ports[k]; p.Host != "" {
				v.ports[k] = single(c.lookup(&c.hosts, p.Host, pool))
			}
		}
	}
}

// resolveGroups finds what groups refer to.
func (s *source) resolveGroups(c *compiler) {
	asked := map[string]bool{} // names and UUIDs
	for i := range s.model.VMGroups {
		for _, ref := range s.model.VMGroups[i].VMs {
			asked[strings.ToLower(ref)] = true
			for rest, found := ref, true; found; _, rest, found = strings.Cut(rest, "/") {
				asked[rest] = true
			}
		}
	}
	c.vms = c.newDirectory("VM")
	c.vms.entries = make([]entry, len(s.nodes))
	for i, n := range s.nodes {
		c.vms.entries[i].pool = n.pool
		if asked[n.vm.Name] {
			c.vms.byName[n.vm.Name] = append(c.vms.byName[n.vm.Name], i)
		}
		if key := strings.ToLower(n.vm.UUID); key != "" && asked[key] {
			c.vms.byUUID[key] = i
		}
	}
	for i := range s.model.VMGroups {
		var g vmGroup
		for _, ref := range s.model.VMGroups[i].VMs {
			if found := single(c.lookup(&c.vms, ref, -1)); found >= 0 {
				g.members = append(g.members, groupRef{vm: found})
			} else if IsUUID(ref) {
				g.members = append(g.members, groupRef{-1, strings.ToLower(ref)})
			}
		}
		for _, sel := range s.model.VMGroups[i].Select {
			pool := single(c.lookup(&c.pools, sel.Pool, -1))
			g.selectors = append(g.selectors, selectorRefs{pool, single(c.lookup(&c.networks, sel.Network, pool))})
		}
		s.groups = append(s.groups, g)
	}
}

// single returns the only one of found, or -1.
func single(found []int) int {
	if len(found) == 1 {
		return found[0]
	}
	return -1
}
