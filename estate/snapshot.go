package estate

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/gaissmai/bart"

	"github.com/weirhq/weir/flow"
)

// Ref refers to an [Endpoint] of one snapshot; 0 is none.
type Ref uint32

// NetworkRef refers to a network of one snapshot; 0 is none.
type NetworkRef uint32

// HostRef refers to a host of one snapshot; 0 is none.
type HostRef uint32

// Match is the outcome of a look-up.
type Match uint8

// Outcomes of a look-up.
const (
	Miss      Match = iota // nothing is known by that key
	Hit                    // exactly one is
	Ambiguous              // several are, and nothing says which one is meant
)

// Endpoint is a VIF as flows see it, in one cache line. It belongs to its snapshot and is not to be modified.
type Endpoint struct {
	ID         uint64     // of the VIF
	VM         uint64     // that has the VIF
	Network    uint64     // that the VIF is plugged into; 0 if it is not known
	Bridge     uint64     // of Host that the VIF is plugged into; 0 if it is not known
	NetworkRef NetworkRef // of Network
	Host       HostRef    // where the VM runs; 0 if it is not known

	vmGroups, allGroups uint32    // of the VM; with those of addr: where in Snapshot.lists
	addr                flow.Addr // the VIF's first address, or none
}

// Vantage is where a row was observed, as far as its exporter and observation domain tell. The zero Vantage is an
// exporter that is no host of the estate.
type Vantage struct {
	Host    uint64
	Pool    uint64
	Bridge  uint64
	HostRef HostRef

	OpenVSwitch  bool // what the estate knows of the host says that its exporter is Open vSwitch
	RuleSampling bool // the observation points of Bridge are stage and rule instance: flow.SplitPoint

	TotalsElsewhere bool // with RuleSampling: the rows of rules are not the totals of Bridge; its other export is

	pool, bridge     uint32 // numbers of the pool and of the bridge's name
	ifScope, ofScope uint32 // scopes of interface indexes and of OpenFlow ports
}

// Snapshot is an estate at one time. It is immutable.
type Snapshot struct {
	entities []Entity
	byID     table // number of the entity, from 1 on
	warnings []Problem

	conflicts []Conflict
	past      past
	since     time.Time
	rules     *rules

	// Element 0 of each is none.
	hosts     []host
	networks  []network
	endpoints []Endpoint

	exporters map[flow.Addr]HostRef
	domains   map[domainKey]int        // index in host.bridges
	virtuals  map[virtualKey]bridgeRef // of host 0 those of all hosts
	vlans     map[vlanKey]uint32
	subnets   []bart.Table[uint32] // by number of the pool; of all networks for pool 0

	ports table              // scope << 32 | number
	macs  table              // NetworkRef, or 0 for all networks, << 48 | address
	addr4 table              // NetworkRef or 0 << 32 | IPv4 address
	addr6 map[addrKey]uint32 // with NetworkRef or 0

	prefixes *bart.Table[uint32] // of address groups: where in lists
	lists    []uint64            // lists of group ids: each its length, then ids that ascend; no list twice, the first empty; shortList words follow the last
}

type host struct {
	id        uint64
	pool      uint64
	poolNo    uint32
	exporters []netip.Addr
	bridges   []bridge
	scope     uint32 // first of the host's scopes; see scopeOf

	hasOFPorts  bool // OpenFlow ports of VIFs are known
	openVSwitch bool // something else is known that only Open vSwitch has
}

type bridge struct {
	id        uint64
	name      uint32 // number of the name
	rules     bool   // Bridge.RuleSampling
	elsewhere bool   // Bridge.TotalsElsewhere
}

// bridgeRef refers to a bridge of a host; of host 0 to several.
type bridgeRef struct {
	host   HostRef
	bridge int // index in host.bridges
}

type virtualKey struct {
	host HostRef
	id   uint64 // flow.VirtualID of the name
}

type network struct {
	id     uint64
	poolNo uint32
	bridge uint32 // number of the bridge's name
}

type domainKey struct {
	host   HostRef
	domain uint32
}

type vlanKey struct {
	pool   uint32
	bridge uint32 // 0: networks that name no bridge; anyBridge: all
	vlan   uint16 // 0: the only network of the bridge
}

const anyBridge = ^uint32(0)

// Empty returns the snapshot of an estate in which nothing is.
func Empty() *Snapshot {
	s, err := Compile(&Model{})
	if err != nil {
		panic("BUG: compile an empty estate: " + err.Error())
	}
	return s
}

// Vantage returns where an exporter's rows of an observation domain are observed. virtual is the flow.VirtualID that the
// rows have, or 0: it comes before the domain, and before the exporter's address if only one bridge of the estate has it.
func (s *Snapshot) Vantage(exporter flow.Addr, virtual uint64, domain uint32) Vantage {
	ref := s.exporters[exporter]
	at, ok := 0, false
	if virtual != 0 && len(s.virtuals) > 0 {
		b, found := s.virtuals[virtualKey{ref, virtual}]
		if !found {
			b = s.virtuals[virtualKey{0, virtual}]
		}
		if b.host != 0 {
			ref, at, ok = b.host, b.bridge, true
		}
	}
	if ref == 0 {
		return Vantage{}
	}
	h := &s.hosts[ref]
	v := Vantage{Host: h.id, Pool: h.pool, HostRef: ref, OpenVSwitch: h.openVSwitch || h.hasOFPorts, pool: h.poolNo}
	if !ok {
		at, ok = s.domains[domainKey{ref, domain}]
	}
	if !ok && len(h.bridges) == 1 {
		at, ok = 0, true
	}
	if ok {
		b := &h.bridges[at]
		v.Bridge, v.bridge, v.RuleSampling, v.TotalsElsewhere = b.id, b.name, b.rules, b.elsewhere
	} else {
		at = -1
	}
	v.ifScope, v.ofScope = h.scopeOf(at)
	if !h.hasOFPorts {
		v.ofScope = v.ifScope
	}
	return v
}

// scopeOf returns the scopes in which a bridge of h numbers its ports; bridge -1 is h as a whole.
func (h *host) scopeOf(bridge int) (ifScope, ofScope uint32) {
	first := h.scope + 2*uint32(bridge+1)
	return first, first + 1
}

// netFlow5 is the version in which Open vSwitch writes OpenFlow port numbers for interface indexes.
const netFlow5 = 5

// Port returns the VIF behind an interface index that a row of the given protocol version has at v.
func (s *Snapshot) Port(v *Vantage, version uint8, index uint32) (Ref, Match) {
	if k := v.PortKey(version, index); k != 0 {
		return match(s.ports.get(k))
	}
	return 0, Miss
}

// PortKey returns the key for Ports of an interface index that a row of the given protocol version has at v; 0 if there
// is nothing to look up.
func (v *Vantage) PortKey(version uint8, index uint32) uint64 {
	scope := v.ifScope
	if version == netFlow5 {
		scope = v.ofScope
	}
	if scope == 0 || index == 0 {
		return 0
	}
	return uint64(scope)<<32 | uint64(index)
}

// MAC returns the VIF with a MAC address: the one in network, if several networks have it. Broadcast and multicast
// addresses match none.
func (s *Snapshot) MAC(mac uint64, network NetworkRef) (Ref, Match) {
	if mac == 0 || MAC(mac)&multicastBit != 0 {
		return 0, Miss
	}
	value := s.macs.get(mac)
	if value == many && network != 0 {
		value = or(s.macs.get(uint64(network)<<48|mac), many)
	}
	return match(value)
}

// Addr returns the VIF with an IP address: the one in network, if several networks have it.
func (s *Snapshot) Addr(addr flow.Addr, network NetworkRef) (Ref, Match) {
	var value uint32
	if k, ok := addr4Key(addr); ok {
		value = s.addr4.get(k)
		if value == many && network != 0 {
			value = or(s.addr4.get(uint64(network)<<32|k), many)
		}
	} else if len(s.addr6) > 0 {
		value = s.addr6[addrKey{addr, 0}]
		if value == many && network != 0 {
			value = or(s.addr6[addrKey{addr, network}], many)
		}
	}
	return match(value)
}

// addrKey is an address in a network; in any for 0.
type addrKey struct {
	addr    flow.Addr
	network NetworkRef
}

// addr4Key returns the key of an IPv4 address, which is mapped to ::ffff:0:0/96.
func addr4Key(a flow.Addr) (uint64, bool) {
	high, low := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
	return low & 0xffffffff, high == 0 && low>>32 == 0xffff
}

func or(value, otherwise uint32) uint32 {
	if value == 0 {
		return otherwise
	}
	return value
}

// Several is what Ports, MACs and Addrs find where there is more than one.
const Several = Ref(many)

// Ports is Port for many keys at once, which is much faster in a large estate: refs[i] is what keys[i] finds, 0 or
// Several. len(refs) must not be less than len(keys).
func (s *Snapshot) Ports(keys []uint64, refs []Ref) { s.ports.find(keys, refs) }

// MACs is MAC for many addresses at once, none of them broadcast or multicast, as Ports is Port. Where it finds Several,
// MAC with the network may find one.
func (s *Snapshot) MACs(macs []uint64, refs []Ref) { s.macs.find(macs, refs) }

// Addrs is Addr for many addresses at once, as Ports is Port. Where it finds Several, Addr with the network may find
// one.
func (s *Snapshot) Addrs(addrs []flow.Addr, refs []Ref) {
	var keys [64]uint64
	for len(addrs) > 0 {
		n := min(len(keys), len(addrs))
		six := false
		for i := range n {
			k, ok := addr4Key(addrs[i])
			keys[i] = k // of an IPv6 address anything
			six = six || !ok
		}
		s.addr4.find(keys[:n], refs)
		if six {
			for i, a := range addrs[:n] {
				if _, ok := addr4Key(a); !ok {
					refs[i] = Ref(s.addr6[addrKey{a, 0}])
				}
			}
		}
		addrs, refs = addrs[n:], refs[n:]
	}
}

func match(value uint32) (Ref, Match) {
	switch value {
	case 0:
		return 0, Miss
	case many:
		return 0, Ambiguous
	}
	return Ref(value), Hit
}

// Endpoint returns the VIF that r refers to; of 0 one of zeros.
func (s *Snapshot) Endpoint(r Ref) *Endpoint { return &s.endpoints[r] }

// VLAN returns the network that has a VLAN tag at v, or 0. For vlan 0, which may be untagged or unknown, it is the
// bridge's only network.
func (s *Snapshot) VLAN(v *Vantage, vlan uint16) NetworkRef {
	if v.HostRef == 0 || len(s.vlans) == 0 || vlan == 0 && v.bridge == 0 {
		return 0
	}
	for _, pool := range [2]uint32{v.pool, 0} {
		if v.bridge == 0 {
			if n := s.vlans[vlanKey{pool, anyBridge, vlan}]; n != 0 {
				return one(n)
			}
			continue
		}
		if n := s.vlans[vlanKey{pool, v.bridge, vlan}]; n != 0 {
			return one(n)
		}
		if n := s.vlans[vlanKey{pool, 0, vlan}]; n != 0 && vlan != 0 {
			return one(n)
		}
	}
	return 0
}

// Subnet returns the network of v's pool, or of no pool, in whose longest subnet addr lies, or 0.
func (s *Snapshot) Subnet(v *Vantage, addr flow.Addr) NetworkRef {
	t := &s.subnets[v.pool]
	if t.Size() == 0 {
		return 0
	}
	n, _ := t.Lookup(netip.AddrFrom16(addr).Unmap())
	return one(n)
}

func one(n uint32) NetworkRef {
	if n == many {
		return 0
	}
	return NetworkRef(n)
}

// Network returns the id of the network that r refers to; of 0 it is 0.
func (s *Snapshot) Network(r NetworkRef) uint64 { return s.networks[r].id }

// AddressGroups returns the ids of the address groups that addr is in, in ascending order. The list belongs to the
// snapshot.
func (s *Snapshot) AddressGroups(addr flow.Addr) []uint64 { return s.list(s.addressGroups(addr)) }

func (s *Snapshot) addressGroups(addr flow.Addr) uint32 {
	if s.prefixes.Size() == 0 || addr == (flow.Addr{}) {
		return 0
	}
	list, _ := s.prefixes.Lookup(netip.AddrFrom16(addr).Unmap())
	return list
}

// list returns the list of group ids at a place in lists.
func (s *Snapshot) list(at uint32) []uint64 {
	first := int(at) + 1
	return s.lists[first : first+int(s.lists[at])]
}

// VMGroups returns the ids of the VM groups that the VM of a VIF is in, in ascending order. The list belongs to the
// snapshot.
func (s *Snapshot) VMGroups(r Ref) []uint64 { return s.list(s.endpoints[r].vmGroups) }

// MembersOf returns the VMs that are in a VM group and have a VIF.
func (s *Snapshot) MembersOf(group flow.ID) map[flow.ID]bool {
	members := map[flow.ID]bool{}
	for ref := range s.endpoints {
		if _, in := slices.BinarySearch(s.VMGroups(Ref(ref)), uint64(group)); in {
			members[flow.ID(s.endpoints[ref].VM)] = true
		}
	}
	return members
}

// AppendGroups appends to ids, for each end of a flow, the ids of all groups of the end in ascending order: those of its
// address and those of the VM of its VIF. ends[i] is the length of ids after end i, refs[i] and addrs[i].
func (s *Snapshot) AppendGroups(ids, ends []uint64, refs []Ref, addrs []flow.Addr) []uint64 {
	for i := range refs {
		e, addr := &s.endpoints[refs[i]], addrs[i]
		at := e.allGroups
		if addr != e.addr { // then only a VIF's second address is a bit of work
			if at = s.addressGroups(addr); e.vmGroups != 0 {
				ids = appendUnion(ids, s.list(at), s.list(e.vmGroups))
				ends[i] = uint64(len(ids))
				continue
			}
		}
		// Most lists are short: so copy as many words as they have at most, and take in as many as there are.
		n, p := int(s.lists[at]), len(ids)
		if cap(ids)-p < shortList || n > shortList {
			ids = append(ids, s.list(at)...)
		} else {
			*(*[shortList]uint64)(ids[p : p+shortList]) = *(*[shortList]uint64)(s.lists[at+1:])
			ids = ids[:p+n]
		}
		ends[i] = uint64(len(ids))
	}
	return ids
}

// shortList is how many words may be read after each length in Snapshot.lists.
const shortList = 4

// appendUnion appends the ids that are in a or b, which ascend, in ascending order.
func appendUnion(dst, a, b []uint64) []uint64 {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			dst, a = append(dst, a[0]), a[1:]
		case a[0] > b[0]:
			dst, b = append(dst, b[0]), b[1:]
		default:
			a = a[1:]
		}
	}
	return append(append(dst, a...), b...)
}

// LiveHosts says of each host, by its HostRef, whether one of its exporters is live.
func (s *Snapshot) LiveHosts(live *Live) []bool {
	alive := make([]bool, len(s.hosts))
	for i := range s.hosts {
		for _, a := range s.hosts[i].exporters {
			alive[i] = alive[i] || live.Exporter(a)
		}
	}
	return alive
}

// Conflict is an address that several VIFs of one network have, so that look-ups by it find none.
type Conflict struct {
	What    string // "MAC address" or "IP address"
	Address string
	Network flow.ID // 0: outside of all networks
	VIFs    []flow.ID
}

// Conflicts returns the addresses that several VIFs have, at most as many as there are warnings.
func (s *Snapshot) Conflicts() []Conflict { return s.conflicts }

// Since returns from when on the estate has been so, as far as an Assembler made it; else it is zero.
func (s *Snapshot) Since() time.Time { return s.since }

// Warnings returns what Compile found odd, though it could make sense of it.
func (s *Snapshot) Warnings() []Problem {
	if len(s.rules.odd) == 0 {
		return s.warnings
	}
	return slices.Concat(s.warnings, s.rules.odd)
}
