package estate

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gaissmai/bart"

	"github.com/weirhq/weir/flow"
)

// Problem is something in a model that makes no sense, or, as a warning, that is odd.
type Problem struct {
	Path string // as "vms[3].vifs[0].network"
	Text string
}

// Error returns "path: text".
func (p Problem) Error() string { return p.Path + ": " + p.Text }

// Problems is everything for which Compile refused a model.
type Problems struct {
	List []Problem // at least one, at most maxProblems
	More int       // found beyond those listed
}

const maxProblems = 100

func (p *Problems) Error() string {
	var s strings.Builder
	for i, one := range p.List {
		if i > 0 {
			s.WriteByte('\n')
		}
		s.WriteString(one.Error())
	}
	if p.More > 0 {
		fmt.Fprintf(&s, "\n… and %d more", p.More)
	}
	return s.String()
}

// Compile checks a model and builds its look-ups. It is pure; m is not kept.
//
// It refuses, with a *Problems that lists everything, what leaves unclear what an entity is: missing names, two
// entities with one key or id, references that lead to none or to several, a malformed value, an exporter or port of
// two owners. What live networks do have — one MAC or IP address at two VIFs of a network, overlapping subnets, an
// address outside the subnets of its network — is a warning, and the look-up in question is [Ambiguous].
func Compile(m *Model) (*Snapshot, error) { return compile(m, flow.NewID, nil) }

// compile compiles a model; of one of which parts were compiled before, memo has them. nil is none.
func compile(m *Model, newID func(flow.Kind, string) flow.ID, memo *memo) (*Snapshot, error) {
	c := &compiler{
		m: m, newID: newID, memo: memo, hash: newHasher(), bridgeNames: map[string]uint32{}, listNo: map[string]uint32{},
		s: &Snapshot{
			hosts: make([]host, 1, 1+len(m.Hosts)), networks: make([]network, 1, 1+len(m.Networks)),
			exporters: map[flow.Addr]HostRef{}, domains: map[domainKey]int{}, virtuals: map[virtualKey]bridgeRef{}, vlans: map[vlanKey]uint32{},
			addr6: map[addrKey]uint32{}, prefixes: new(bart.Table[uint32]),
		},
	}
	entities, vifs := c.count()
	c.s.byID, c.s.entities = newTable(entities, c.hash), make([]Entity, 0, entities)
	c.s.endpoints = make([]Endpoint, 1, 1+vifs)
	c.endpointVM = make([]int32, 1, 1+vifs)
	c.endpointVM[0] = -1
	c.macs, c.addrs4, c.ports = make([]located[uint64], 0, vifs), make([]located[uint64], 0, vifs), make([]port, 0, vifs)
	if memo != nil && memo.valid {
		c.s.lists, c.listNo, c.s.prefixes = slices.Clip(memo.lists), maps.Clone(memo.listNo), memo.prefixes
	} else {
		c.list(nil)
	}
	c.addPools()
	c.addHosts()
	c.addNetworks()
	c.addVMs()
	c.addAddressGroups()
	c.addVMGroups()
	c.buildSubnets()
	c.buildPorts()
	c.buildMACs()
	c.buildAddrs()
	c.buildPast()
	c.addAliases()
	if len(c.problems.List) > 0 {
		return nil, &c.problems
	}
	c.keep()
	if c.s.rules = newRules(m.Rules); len(c.s.rules.odd) > 0 && !m.Merged {
		return nil, &Problems{List: c.s.rules.odd}
	}
	return c.s, nil
}

type compiler struct {
	m        *Model
	newID    func(flow.Kind, string) flow.ID
	hash     hasher
	s        *Snapshot
	problems Problems
	paths    []string // of the entities; of a merged model none
	memo     *memo    // nil: none

	pools, hosts, networks, vms directory
	vmPool, vmHost              []int // by VM: index in pools or hosts, -1 if it has none
	vmNetworks                  [][]NetworkRef
	vmGroups                    [][]uint64
	bridgeNames                 map[string]uint32
	aliases                     []Entity
	past                        []pastVIF
	pastGroups                  map[Ref][]uint64

	fresh    []int  // VMs that were not compiled before
	begun    []mark // by place in fresh: where the VM's own begins
	ended    []mark // and ends
	firstRef []int  // by VM: its first VIF
	union    []uint64

	endpointVM []int32           // by Ref: index in vms; -1: of the past
	listNo     map[string]uint32 // where in Snapshot.lists, by the ids
	listKey    []byte
	macs       []located[uint64]
	addrs4     []located[uint64]
	addrs6     []located[netip.Addr]
	ports      []port
}

// located is an address of a VIF.
type located[A any] struct {
	addr A
	net  NetworkRef
	ref  Ref
	path string
}

// port is a number by which an exporter knows a VIF.
type port struct {
	host   HostRef
	bridge int // index in host.bridges; -1 if it is not said
	index  uint32
	ofPort bool // index is an OpenFlow port number
	ref    Ref
	path   string
}

// refuse says what makes no sense. Of a merged model that is a warning: the thing is left out.
func (c *compiler) refuse(path, format string, args ...any) {
	if c.m.Merged {
		c.warn(path, format+"; it is left out", args...)
		return
	}
	if len(c.problems.List) == maxProblems {
		c.problems.More++
		return
	}
	c.problems.List = append(c.problems.List, Problem{path, fmt.Sprintf(format, args...)})
}

func (c *compiler) warn(path, format string, args ...any) {
	if len(c.s.warnings) < maxProblems {
		c.s.warnings = append(c.s.warnings, Problem{path, fmt.Sprintf(format, args...)})
	}
}

// enter gives an entity its id and publishes it. The key is the given one, else the uuid or, without one, that of its parent and a name.
// It returns 0 if the entity was refused.
func (c *compiler) enter(path, given, uuid, parentKey string, e Entity) (flow.ID, string) {
	e.Key = e.Name
	if e.Kind == flow.KindVIF {
		e.Key = e.Attributes["device"]
	}
	if parentKey != "" {
		e.Key = parentKey + "/" + e.Key
	}
	switch {
	case uuid != "" && !IsUUID(uuid):
		c.refuse(path+".uuid", "found %q, want a UUID, e.g. %q", uuid, "3f1c5a9e-8d7b-4c06-9a53-0e2b6d4f8c11")
		return 0, e.Key
	case given != "":
		e.Key = given
	case uuid != "":
		e.Key = strings.ToLower(uuid)
	}
	e.ID = c.newID(e.Kind, e.Key)
	if i := c.s.byID.get(uint64(e.ID)); i != 0 {
		o := &c.s.entities[i-1]
		switch other := c.pathOf(int(i - 1)); {
		case o.Kind == e.Kind && o.Key == e.Key && uuid != "":
			c.refuse(path+".uuid", "%s is also the uuid of %s", e.Key, other)
		case o.Kind == e.Kind && o.Key == e.Key:
			c.refuse(path, "%s %q is also %s: give it another name, or both a uuid", noun(e.Kind), e.Key, other)
		default:
			c.refuse(path, "%s %q has the id of %s %q (%s): rename one of them", noun(e.Kind), e.Key, noun(o.Kind), o.Key, other)
		}
		return 0, e.Key
	}
	if !c.m.Merged {
		c.paths = append(c.paths, path)
	}
	c.publish(e)
	return e.ID, e.Key
}

// publish makes e an entity of the snapshot. No other has its id.
func (c *compiler) publish(e Entity) {
	c.s.entities = append(c.s.entities, e)
	c.s.byID.put(uint64(e.ID), uint32(len(c.s.entities)))
}

// pathOf returns where entity i is in the model.
func (c *compiler) pathOf(i int) string {
	if i < len(c.paths) {
		return c.paths[i]
	}
	e := &c.s.entities[i]
	return fmt.Sprintf("%s %q", noun(e.Kind), e.Name)
}

// count returns how many entities there can be, and how many VIFs there are, those of the past included.
func (c *compiler) count() (n, vifs int) {
	m := c.m
	n = len(m.Pools) + len(m.Hosts) + len(m.Networks) + len(m.VMs) + len(m.AddressGroups) + len(m.VMGroups)
	for i := range m.Pools {
		n += len(m.Pools[i].SameAs)
	}
	for i := range m.Hosts {
		n += len(m.Hosts[i].Bridges) + len(m.Hosts[i].SameAs)
	}
	for i := range m.Networks {
		n += len(m.Networks[i].SameAs)
	}
	for i := range m.VMs {
		vifs += len(m.VMs[i].VIFs)
		n += len(m.VMs[i].VIFs) + len(m.VMs[i].SameAs)
		for j := range m.VMs[i].VIFs {
			n += len(m.VMs[i].VIFs[j].SameAs)
		}
	}
	for i := range m.Past {
		vifs += len(m.Past[i].VM.VIFs)
	}
	return n, vifs
}

// alias publishes the further keys of the entity that was entered last, unless it was refused.
func (c *compiler) alias(id flow.ID, keys []string) {
	if id == 0 {
		return
	}
	for _, key := range keys {
		e := c.s.entities[len(c.s.entities)-1]
		e.Key, e.ID, e.SameAs = key, c.newID(e.Kind, key), id
		c.aliases = append(c.aliases, e)
	}
}

// addAliases adds those further keys that no entity has.
func (c *compiler) addAliases() {
	for _, e := range c.aliases {
		if i := c.s.byID.get(uint64(e.ID)); i != 0 {
			c.warn(c.pathOf(int(i-1)), "it goes by key %q, which was found to be that of another %s, too", e.Key, noun(e.Kind))
			continue
		}
		c.publish(e)
	}
}

// noun returns the word for a kind in messages.
func noun(k flow.Kind) string {
	return strings.NewReplacer("vm", "VM", "vif", "VIF", "_", " ").Replace(string(k))
}

// IsUUID reports whether s is a UUID in its usual form, in either case.
func IsUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if s[i] != '-' {
				return false
			}
		case !strings.ContainsRune("0123456789abcdefABCDEF", rune(s[i])):
			return false
		}
	}
	return true
}

// named reports whether an entity has a name that can be printed.
func (c *compiler) named(path, name string) bool {
	switch {
	case name == "":
		c.refuse(path+".name", "missing")
	case strings.TrimSpace(name) != name || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		c.refuse(path+".name", "found %q, want a name without control characters and spaces around it", name)
	default:
		return true
	}
	return false
}

func (c *compiler) addPools() {
	c.pools = c.newDirectory("pool")
	for i, p := range c.m.Pools {
		path := at("pools", i)
		c.pools.add(p.Name, -1)
		if c.named(path, p.Name) {
			id, key := c.enter(path, p.Key, p.UUID, "", Entity{Kind: flow.KindPool, Name: p.Name, Source: p.Origin, Attributes: maps.Clone(p.Attributes)})
			c.alias(id, p.SameAs)
			c.pools.identify(p.UUID, id, key)
			c.entityPool(id)
		}
	}
}

// entityPool makes the pool entered last its own pool.
func (c *compiler) entityPool(id flow.ID) {
	if id != 0 {
		c.s.entities[len(c.s.entities)-1].Pool = id
	}
}

func (c *compiler) addHosts() {
	c.hosts = c.newDirectory("host")
	scope := uint32(2)
	for i, h := range c.m.Hosts {
		path := at("hosts", i)
		pool := c.find(&c.pools, path+".pool", h.Pool, -1)
		c.hosts.add(h.Name, pool)
		compiled := host{pool: uint64(c.pools.id(pool)), poolNo: uint32(pool + 1), scope: scope}
		scope += 2 * uint32(1+len(h.Bridges))
		if c.named(path, h.Name) {
			id, key := c.enter(path, h.Key, h.UUID, c.pools.key(pool), Entity{
				Kind: flow.KindHost, Name: h.Name, Source: h.Origin, Parent: c.pools.id(pool), Pool: c.pools.id(pool),
				Attributes: with(h.Attributes, "exporters", joined(h.Exporters)),
			})
			c.alias(id, h.SameAs)
			c.hosts.identify(h.UUID, id, key)
			compiled.id = uint64(id)
		}
		for j, b := range h.Bridges {
			path := at(path+".bridges", j)
			var id flow.ID
			if c.named(path, b.Name) {
				id, _ = c.enter(path, "", "", c.hosts.key(i), Entity{
					Kind: flow.KindBridge, Name: b.Name, Source: h.Origin, Parent: c.hosts.id(i), Pool: c.pools.id(pool),
				})
			}
			compiled.bridges = append(compiled.bridges, bridge{uint64(id), c.bridgeName(b.Name), b.RuleSampling, b.TotalsElsewhere})
			compiled.openVSwitch = compiled.openVSwitch || b.VirtualObsID != "" || b.RuleSampling
			c.addVirtualID(path+".virtual_obs_id", b.VirtualObsID, bridgeRef{HostRef(i + 1), j})
			for _, domain := range b.ObservationDomains {
				k := domainKey{HostRef(i + 1), domain}
				if other, ok := c.s.domains[k]; ok && other != j {
					c.refuse(path+".observation_domains", "%d is also that of bridge %q", domain, h.Bridges[other].Name)
					continue
				}
				c.s.domains[k] = j
			}
		}
		for j, a := range h.Exporters {
			path := at(path+".exporters", j)
			a, ok := c.unicast(path, a)
			if !ok {
				continue
			}
			if other, ok := c.s.exporters[a.As16()]; ok && c.m.Merged {
				if other != HostRef(i+1) { // several: it tells none
					c.warn(path, "%s is an exporter of several hosts: it tells none of them", a)
					c.s.exporters[a.As16()] = 0
				}
				continue
			} else if ok {
				c.refuse(path, "%s is also an exporter of hosts[%d] %q", a, other-1, c.m.Hosts[other-1].Name)
				continue
			}
			c.s.exporters[a.As16()] = HostRef(i + 1)
			compiled.exporters = append(compiled.exporters, a)
		}
		c.s.hosts = append(c.s.hosts, compiled)
	}
}

// addVirtualID makes a bridge known by its virtual_obs_id, if it has one.
func (c *compiler) addVirtualID(path, name string, at bridgeRef) {
	if name == "" {
		return
	}
	id := flow.VirtualID(name)
	if other, ok := c.s.virtuals[virtualKey{at.host, id}]; ok {
		c.refuse(path, "%q is also that of bridge %q", name, c.m.Hosts[at.host-1].Bridges[other.bridge].Name)
		return
	}
	c.s.virtuals[virtualKey{at.host, id}] = at
	if _, ok := c.s.virtuals[virtualKey{0, id}]; ok {
		at = bridgeRef{} // several
	}
	c.s.virtuals[virtualKey{0, id}] = at
}

// bridgeName returns the number of a bridge's name; of "" it is 0.
func (c *compiler) bridgeName(name string) uint32 {
	if name == "" {
		return 0
	}
	n, ok := c.bridgeNames[name]
	if !ok {
		n = uint32(len(c.bridgeNames) + 1)
		c.bridgeNames[name] = n
	}
	return n
}

// unicast returns an address of an interface, unmapped.
func (c *compiler) unicast(path string, a netip.Addr) (netip.Addr, bool) {
	u := a.Unmap()
	switch {
	case !u.IsValid():
		c.refuse(path, "missing, want an IP address")
	case u.Zone() != "":
		c.refuse(path, "%s has a zone, which means nothing to other hosts", u)
	case u.IsUnspecified() || u.IsMulticast() || u == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		c.refuse(path, "%s is no address of one interface", u)
	default:
		return u, true
	}
	return u, false
}

func (c *compiler) addNetworks() {
	c.networks = c.newDirectory("network")
	const maxVLAN = 4094      // IEEE 802.1Q §9.6: 4095 is reserved
	const maxNetworks = 65535 // a NetworkRef and a MAC address make a key of 64 bits
	if len(c.m.Networks) > maxNetworks {
		c.refuse("networks", "found %d, want at most %d", len(c.m.Networks), maxNetworks)
	}
	type onBridge struct{ pool, bridge uint32 }
	perBridge := map[onBridge][]uint32{}
	for i, n := range c.m.Networks {
		path := at("networks", i)
		pool := c.find(&c.pools, path+".pool", n.Pool, -1)
		c.networks.add(n.Name, pool)
		compiled := network{poolNo: uint32(pool + 1), bridge: c.bridgeName(n.Bridge)}
		if c.named(path, n.Name) {
			attributes := with(n.Attributes, "bridge", n.Bridge)
			if n.VLAN > 0 {
				attributes["vlan"] = strconv.Itoa(int(n.VLAN))
			}
			id, key := c.enter(path, n.Key, n.UUID, c.pools.key(pool), Entity{
				Kind: flow.KindNetwork, Name: n.Name, Source: n.Origin, Parent: c.pools.id(pool), Pool: c.pools.id(pool),
				Attributes: with(attributes, "subnets", joined(n.Subnets)),
			})
			c.alias(id, n.SameAs)
			c.networks.identify(n.UUID, id, key)
			compiled.id = uint64(id)
		}
		if n.VLAN > maxVLAN {
			c.refuse(path+".vlan", "found %d, want 0 (untagged) to %d", n.VLAN, maxVLAN)
		}
		for j, p := range n.Subnets {
			c.prefix(at(path+".subnets", j), p)
		}
		c.s.networks = append(c.s.networks, compiled)

		ref := uint32(i + 1)
		if n.VLAN > 0 {
			c.share(vlanKey{compiled.poolNo, compiled.bridge, n.VLAN}, ref)
			c.share(vlanKey{compiled.poolNo, anyBridge, n.VLAN}, ref)
		}
		if compiled.bridge != 0 {
			k := onBridge{compiled.poolNo, compiled.bridge}
			perBridge[k] = append(perBridge[k], ref)
		}
	}
	for k, refs := range perBridge {
		if len(refs) == 1 {
			c.s.vlans[vlanKey{k.pool, k.bridge, 0}] = refs[0]
		}
	}
}

func (c *compiler) share(k vlanKey, ref uint32) {
	if _, ok := c.s.vlans[k]; ok {
		ref = many
	}
	c.s.vlans[k] = ref
}

// prefix checks a prefix and returns it.
func (c *compiler) prefix(path string, p netip.Prefix) (netip.Prefix, bool) {
	switch {
	case !p.IsValid():
		c.refuse(path, "missing, want a prefix")
	case p.Addr().Is4In6():
		c.refuse(path, "%s is an IPv4-mapped prefix: write it as IPv4", p)
	case p.Masked() != p:
		c.refuse(path, "%s has bits set beyond /%d: write %s for the prefix", p, p.Bits(), p.Masked())
	default:
		return p, true
	}
	return p, false
}

func (c *compiler) addVMs() {
	c.vms = c.newDirectory("VM")
	n := len(c.m.VMs)
	c.vms.entries = make([]entry, 0, n)
	c.vmPool, c.vmHost, c.vmNetworks, c.vmGroups = make([]int, 0, n), make([]int, 0, n), make([][]NetworkRef, 0, n), make([][]uint64, 0, n)
	c.firstRef = make([]int, 0, n)
	for i := range c.m.VMs {
		if !c.reuse(i) {
			c.begin()
			c.addVM(i)
			c.end(i)
		}
	}
}

// addVM adds a VM and its VIFs.
func (c *compiler) addVM(i int) {
	vm := &c.m.VMs[i]
	{
		path := at("vms", i)
		if c.m.Merged { // numbers say nothing there
			path = fmt.Sprintf("VM %q", vm.Name)
		}
		inPool := c.find(&c.pools, path+".pool", vm.Pool, -1)
		onHost := c.find(&c.hosts, path+".host", vm.Host, inPool)
		if vm.Host == "" {
			onHost = c.hostOfPorts(vm, inPool)
		}
		pool := inPool
		if onHost >= 0 {
			hostPool := c.hosts.pool(onHost)
			if pool >= 0 && hostPool >= 0 && hostPool != pool {
				c.refuse(path+".pool", "found %q, but it is on host %q of pool %q", vm.Pool, c.m.Hosts[onHost].Name, c.m.Pools[hostPool].Name)
			}
			if pool < 0 {
				pool = hostPool
			}
		}
		c.vms.add(vm.Name, pool)
		c.vmPool, c.vmHost = append(c.vmPool, pool), append(c.vmHost, onHost)
		c.vmNetworks, c.vmGroups = append(c.vmNetworks, nil), append(c.vmGroups, nil)
		if !c.named(path, vm.Name) {
			return
		}
		attributes := with(vm.Attributes, "tags", strings.Join(vm.Tags, ","))
		if onHost >= 0 {
			attributes["host"] = c.m.Hosts[onHost].Name
		}
		// The pool that only follows from the host is no part of the key: a VM keeps its id when it moves.
		id, key := c.enter(path, vm.Key, vm.UUID, c.pools.key(inPool), Entity{
			Kind: flow.KindVM, Name: vm.Name, Source: vm.Origin, Parent: c.pools.id(pool), Pool: c.pools.id(pool), Attributes: attributes,
		})
		c.alias(id, vm.SameAs)
		c.vms.identify(vm.UUID, id, key)
		for j := range vm.VIFs {
			c.addVIF(at(path+".vifs", j), i, j)
		}
	}
}

// hostOfPorts returns the host of all ports of a VM that names no host, or -1 if they are on none or on several.
func (c *compiler) hostOfPorts(vm *VM, pool int) int {
	onHost := -1
	for i := range vm.VIFs {
		for _, p := range vm.VIFs[i].Ports {
			found := c.lookup(&c.hosts, p.Host, pool)
			if len(found) != 1 || onHost >= 0 && found[0] != onHost {
				return -1
			}
			onHost = found[0]
		}
	}
	return onHost
}

// addVIF adds VIF j of VM i.
func (c *compiler) addVIF(path string, i, j int) {
	vm, vif := &c.m.VMs[i], &c.m.VMs[i].VIFs[j]
	ref := Ref(len(c.s.endpoints))
	net := NetworkRef(c.find(&c.networks, path+".network", vif.Network, c.vmPool[i]) + 1)
	if vif.MAC&multicastBit != 0 || vif.MAC >= 1<<48 {
		c.refuse(path+".mac", "%s is a multicast address, which no interface has", vif.MAC)
	} else if vif.MAC != 0 {
		c.macs = append(c.macs, located[uint64]{uint64(vif.MAC), net, ref, path + ".mac"})
	}
	var first flow.Addr
	for n, a := range vif.IPs {
		path := at(path+".ips", n)
		u, ok := c.unicast(path, a)
		if !ok {
			continue
		}
		if k, ok := addr4Key(u.As16()); ok {
			c.addrs4 = append(c.addrs4, located[uint64]{k, net, ref, path})
		} else {
			c.addrs6 = append(c.addrs6, located[netip.Addr]{u, net, ref, path})
		}
		if first == (flow.Addr{}) {
			first = u.As16()
		}
		if net != 0 {
			subnets := c.m.Networks[net-1].Subnets
			ofFamily := func(p netip.Prefix) bool { return p.Addr().BitLen() == u.BitLen() }
			if slices.ContainsFunc(subnets, ofFamily) && !slices.ContainsFunc(subnets, func(p netip.Prefix) bool { return p.Contains(u) }) {
				c.warn(path, "%s is in none of the subnets of network %q", u, vif.Network)
			}
		}
	}
	onBridge := -1 // index among the bridges of the VM's host
	for n := range vif.Ports {
		if host, bridge := c.addPort(at(path+".ports", n), i, &vif.Ports[n], ref); host == c.vmHost[i] && bridge >= 0 {
			onBridge = bridge
		}
	}
	e := Endpoint{VM: uint64(c.vms.id(i)), Network: c.s.networks[net].id, NetworkRef: net, Host: HostRef(c.vmHost[i] + 1), addr: first}
	if e.Host != 0 {
		bridges := c.s.hosts[e.Host].bridges
		if onBridge < 0 && net != 0 && c.s.networks[net].bridge != 0 {
			onBridge = slices.IndexFunc(bridges, func(b bridge) bool { return b.name == c.s.networks[net].bridge })
		}
		if onBridge >= 0 {
			e.Bridge = bridges[onBridge].id
		}
	}
	device := vif.Device
	if device == "" {
		device = vif.MAC.String()
	}
	if device == "" && vif.UUID == "" && vif.Key == "" {
		c.refuse(path, "has none of device, mac and uuid: nothing identifies it")
		device = strconv.Itoa(j)
	}
	attributes := map[string]string{}
	maps.Copy(attributes, vif.Attributes)
	attributes["device"] = device
	if vif.MAC != 0 {
		attributes["mac"] = vif.MAC.String()
	}
	if net != 0 {
		attributes["network"] = c.m.Networks[net-1].Name
	}
	id, _ := c.enter(path, vif.Key, vif.UUID, c.vms.key(i), Entity{
		Kind: flow.KindVIF, Name: vm.Name + "/" + device, Source: vif.Origin, Parent: c.vms.id(i), Pool: c.pools.id(c.vmPool[i]),
		Attributes: with(with(attributes, "ips", joined(vif.IPs)), "ports", c.portNames(vif)),
	})
	c.alias(id, vif.SameAs)
	e.ID = uint64(id)
	c.s.endpoints, c.endpointVM = append(c.s.endpoints, e), append(c.endpointVM, int32(i))
	if net != 0 {
		c.vmNetworks[i] = append(c.vmNetworks[i], net)
	}
}

// addPort adds a port of a VIF of VM i, and returns its host and its bridge there, -1 if it does not say.
func (c *compiler) addPort(path string, i int, p *Port, ref Ref) (host, bridge int) {
	host, bridge = c.vmHost[i], -1
	if p.Host != "" {
		host = c.find(&c.hosts, path+".host", p.Host, c.vmPool[i])
	} else if host < 0 {
		c.refuse(path+".host", "missing, and the VM names no host either")
	}
	if p.IfIndex == 0 && p.OFPort == 0 && p.Name == "" {
		c.refuse(path, "has neither if_index nor of_port")
	}
	if host < 0 {
		return host, bridge
	}
	if p.Bridge != "" {
		var names []string
		for _, b := range c.m.Hosts[host].Bridges {
			names = append(names, b.Name)
		}
		if bridge = slices.Index(names, p.Bridge); bridge < 0 {
			c.refuse(path+".bridge", "%q is no bridge of host %q%s", p.Bridge, c.m.Hosts[host].Name, c.meant(p.Bridge, names))
		}
	}
	c.s.hosts[host+1].hasOFPorts = c.s.hosts[host+1].hasOFPorts || p.OFPort != 0
	added := port{host: HostRef(host + 1), bridge: bridge, ref: ref}
	if p.IfIndex != 0 {
		added.path, added.index = path+".if_index", p.IfIndex
		c.ports = append(c.ports, added)
	}
	if p.OFPort != 0 {
		added.path, added.index, added.ofPort = path+".of_port", p.OFPort, true
		c.ports = append(c.ports, added)
	}
	return host, bridge
}

// portNames returns where a VIF is plugged, as "xcp1/xenbr0/vif5.0", as far as that has names.
func (c *compiler) portNames(vif *VIF) string {
	var names []string
	for i := range vif.Ports {
		p := &vif.Ports[i]
		if found := c.lookup(&c.hosts, p.Host, -1); p.Name != "" && len(found) == 1 {
			names = append(names, c.m.Hosts[found[0]].Name+"/"+p.Bridge+"/"+p.Name)
		}
	}
	return strings.Join(names, ",")
}

// buildSubnets fills the table of each pool with its own networks and those of no pool.
func (c *compiler) buildSubnets() {
	c.s.subnets = make([]bart.Table[uint32], len(c.m.Pools)+1)
	for i := range c.m.Networks {
		n, own := NetworkRef(i+1), c.s.networks[i+1].poolNo
		for j, p := range c.m.Networks[i].Subnets {
			if !p.IsValid() {
				continue
			}
			shared := false
			for pool := range c.s.subnets {
				if pool != 0 && own != 0 && int(own) != pool {
					continue
				}
				t := &c.s.subnets[pool]
				other, ok := t.Get(p)
				if !ok || other == uint32(n) {
					t.Insert(p, uint32(n))
					continue
				}
				t.Insert(p, many)
				shared = shared || pool != 0 || own == 0
			}
			if shared {
				c.warn(at(at("networks", i)+".subnets", j), "%s is also a subnet of another network there: an address in it tells neither", p)
			}
		}
	}
}

// buildPorts fills the look-up of ports. A bridge has its own numbers; a port that does not say its bridge may be on
// any. At a host where the row may not say its bridge either, the numbers of all bridges together are looked up.
// OpenFlow ports count for themselves; at a host of which none is known, NetFlow 5 comes from something else than Open
// vSwitch and has interface indexes as well (Vantage.ofScope).
func (c *compiler) buildPorts() {
	n := 0
	for i := range c.ports {
		n += 1 + max(1, len(c.s.hosts[c.ports[i].host].bridges))
	}
	c.s.ports = newTable(n, c.hash)
	for i := range c.ports {
		p := &c.ports[i]
		h := &c.s.hosts[p.host]
		put := func(bridge int, exact bool) {
			k := h.portKey(bridge, p)
			value := c.s.ports.get(k)
			switch {
			case value == 0:
				c.s.ports.put(k, uint32(p.ref))
			case value == uint32(p.ref):
			case exact && c.m.Merged:
				c.warn(p.path, "%d is that of several VIFs at host %q: it tells none of them", p.index, c.m.Hosts[p.host-1].Name)
				c.s.ports.set(k, many)
			case exact:
				c.refuse(p.path, "%d is also that of another VIF at host %q (%s)", p.index, c.m.Hosts[p.host-1].Name, c.firstPort(k))
			default: // on two bridges, and the row does not say on which
				c.s.ports.set(k, many)
			}
		}
		if p.bridge >= 0 {
			put(p.bridge, true)
		} else {
			for b := range h.bridges {
				put(b, true)
			}
		}
		if len(h.bridges) != 1 { // else the row is always of that bridge
			put(-1, len(h.bridges) == 0)
		}
	}
}

// portKey returns the key of a port by a bridge of its host; bridge -1 is the host as a whole.
func (h *host) portKey(bridge int, p *port) uint64 {
	scope, ofScope := h.scopeOf(bridge)
	if p.ofPort {
		scope = ofScope
	}
	return uint64(scope)<<32 | uint64(p.index)
}

// firstPort returns where the first port with a key is in the model; only for the first problems, since it looks at all.
func (c *compiler) firstPort(k uint64) string {
	for i := 0; i < len(c.ports) && len(c.problems.List) < maxProblems; i++ {
		p := &c.ports[i]
		h := &c.s.hosts[p.host]
		for b := -1; b < len(h.bridges); b++ {
			if (b == p.bridge || b == -1 || p.bridge == -1) && h.portKey(b, p) == k {
				return p.path
			}
		}
	}
	return "elsewhere"
}

// buildMACs fills the look-up of MAC addresses.
func (c *compiler) buildMACs() {
	c.s.macs = buildTable(c, c.macs, 48, "MAC address", func(mac uint64) string { return MAC(mac).String() })
}

// buildAddrs fills the look-ups of IPv4 and IPv6 addresses.
func (c *compiler) buildAddrs() {
	c.s.addr4 = buildTable(c, c.addrs4, 32, "IP address", func(k uint64) string {
		return netip.AddrFrom4([4]byte{byte(k >> 24), byte(k >> 16), byte(k >> 8), byte(k)}).String()
	})
	for _, f := range resolve(c, slices.Clone(c.addrs6), "IP address", netip.Addr.Compare, netip.Addr.String) {
		c.s.addr6[addrKey{f.addr.As16(), f.net}] = f.value
	}
}

// buildTable returns the look-up of addresses of some bits, by address and, above that, the network.
func buildTable(c *compiler, list []located[uint64], bits uint, what string, show func(uint64) string) table {
	t := newTable(len(list), c.hash)
	shared := map[uint64]bool{}
	for i := range list {
		l := &list[i]
		switch value := t.get(l.addr); value {
		case 0:
			t.put(l.addr, uint32(l.ref))
		case uint32(l.ref), many:
		default:
			t.set(l.addr, many)
			shared[l.addr] = true
		}
	}
	if len(shared) == 0 {
		return t
	}
	// Most are of one VIF: only the others need to be told apart by network.
	var several []located[uint64]
	for i := range list {
		if shared[list[i].addr] {
			several = append(several, list[i])
		}
	}
	found := resolve(c, several, what, cmp.Compare[uint64], show)
	larger := newTable(len(list)+len(found), c.hash)
	for i := range list {
		if l := &list[i]; larger.get(l.addr) == 0 {
			larger.put(l.addr, t.get(l.addr))
		}
	}
	for _, f := range found {
		if f.net != 0 {
			larger.put(uint64(f.net)<<bits|f.addr, f.value)
		}
	}
	return larger
}

// resolved is what a look-up by an address finds.
type resolved[A any] struct {
	addr  A
	net   NetworkRef // 0 for all networks
	value uint32     // Ref, or many
}

// resolve returns what look-ups by the addresses in list find: in all networks, and within each network for those
// addresses that several VIFs have.
func resolve[A comparable](c *compiler, list []located[A], what string, compare func(a, b A) int, show func(A) string) []resolved[A] {
	slices.SortStableFunc(list, func(a, b located[A]) int { return cmp.Or(compare(a.addr, b.addr), cmp.Compare(a.net, b.net)) })
	found := make([]resolved[A], 0, len(list))
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].addr == list[0].addr {
			n++
		}
		same := list[:n]
		list = list[n:]
		addr := same[0].addr
		found = append(found, resolved[A]{addr, 0, sole(same)})
		if sole(same) != many {
			continue
		}
		for len(same) > 0 {
			n := 1
			for n < len(same) && same[n].net == same[0].net {
				n++
			}
			value := sole(same[:n])
			if same[0].net != 0 {
				found = append(found, resolved[A]{addr, same[0].net, value})
			}
			if value == many {
				warnTwice(c, same[:n], what, show)
			}
			same = same[n:]
		}
	}
	return found
}

// sole returns the VIF that all of list are about, or many.
func sole[A any](list []located[A]) uint32 {
	for i := range list {
		if list[i].ref != list[0].ref {
			return many
		}
	}
	return uint32(list[0].ref)
}

func warnTwice[A any](c *compiler, list []located[A], what string, show func(A) string) {
	if len(c.s.conflicts) < maxProblems {
		found := Conflict{What: what, Address: show(list[0].addr), Network: flow.ID(c.s.networks[list[0].net].id)}
		for i := range list {
			if id := flow.ID(c.s.endpoints[list[i].ref].ID); len(found.VIFs) < maxHolders && !slices.Contains(found.VIFs, id) {
				found.VIFs = append(found.VIFs, id)
			}
		}
		c.s.conflicts = append(c.s.conflicts, found)
	}
	where := "outside of all networks"
	if list[0].net != 0 {
		where = fmt.Sprintf("in network %q", c.m.Networks[list[0].net-1].Name)
	}
	other := slices.IndexFunc(list, func(l located[A]) bool { return l.ref != list[0].ref })
	c.warn(list[other].path, "the same %s %s as %s: look-ups by it find no VIF", what, where, list[0].path)
}

func at(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func joined[T fmt.Stringer](list []T) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = v.String()
	}
	return strings.Join(words, ",")
}

// with returns a copy of m in which key has value, unless value is empty.
func with(m map[string]string, key, value string) map[string]string {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]string{}
	}
	if value != "" {
		m[key] = value
	}
	return m
}
