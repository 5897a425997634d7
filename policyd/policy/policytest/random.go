// Package policytest makes policies, estates and packets for tests: small worlds in which much meets, so that rules match
// often, and packets that try the edges of rules.
package policytest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/policy"
)

// Size is how much is in a world.
type Size struct {
	Pools, Hosts, Networks, VMs int
	VIFs                        int // of a VM, at most
	Rules                       int // of a list, at most
	Groups                      int // of each kind, in the estate and in the policy
}

// Small is a world whose VIFs have room on one bridge. Every VIF has a MAC address and a network; the first pool is that of
// the first host.
var Small = Size{Pools: 2, Hosts: 2, Networks: 3, VMs: 6, VIFs: 2, Rules: 3, Groups: 3}

// World is an estate and a policy for it.
type World struct {
	Model  *estate.Model // merged
	Policy *policy.Policy
	Set    *policy.Set // of Policy, at Now; instances from FirstInstance on
	Estate *policy.Estate

	vifs     []*policy.Interface // in the order of the model
	prefixes []netip.Prefix      // of rules and groups
}

// Now is the time at which worlds are resolved, and FirstInstance the first number that a rule gets.
var Now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// FirstInstance is above flow.MaxSystemInstance.
const FirstInstance = 1000

// New returns the world of a random number generator.
func New(r *rand.Rand, size Size) *World {
	g := &generator{r: r, size: size, w: &World{Model: &estate.Model{Merged: true}, Policy: &policy.Policy{}}}
	g.estate()
	g.policy()
	draft, err := policy.Resolve(policy.Request{Policy: g.w.Policy, Names: policy.NamesOf(g.w.Model), Now: Now, Applied: true})
	if err != nil {
		panic("BUG: a random policy is refused: " + err.Error())
	}
	g.w.Set = draft.Set(FirstInstance)
	g.w.Estate = policy.EstateOf(g.w.Model, g.w.Set.Groups, nil)
	for i := range g.w.Model.VMs {
		for j := range g.w.Model.VMs[i].VIFs {
			g.w.vifs = append(g.w.vifs, g.w.Estate.VIFs[flow.NewID(flow.KindVIF, g.w.Model.VMs[i].VIFs[j].Key)])
		}
	}
	for _, list := range g.w.Estate.AddressGroups {
		g.w.prefixes = append(g.w.prefixes, list...)
	}
	slices.SortFunc(g.w.prefixes, func(a, b netip.Prefix) int { return a.Compare(b) })
	return g.w
}

// VIFs returns all VIFs, in the order of the model.
func (w *World) VIFs() []*policy.Interface { return w.vifs }

type generator struct {
	r       *rand.Rand
	size    Size
	w       *World
	rules   int
	vmNames []string
}

func (g *generator) chance(percent int) bool { return chance(g.r, percent) }

func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func (g *generator) estate() {
	m := g.w.Model
	for i := range g.size.Pools {
		name := fmt.Sprintf("pool%d", i)
		m.Pools = append(m.Pools, estate.Pool{Key: name, Name: name})
	}
	pool := func(i int) string { return m.Pools[i%len(m.Pools)].Key }
	for i := range g.size.Hosts {
		name := fmt.Sprintf("host%d", i)
		m.Hosts = append(m.Hosts, estate.Host{Key: name, Name: name, Pool: pool(i)})
	}
	for i := range g.size.Networks {
		name := fmt.Sprintf("net%d", i)
		m.Networks = append(m.Networks, estate.Network{Key: name, Name: name, Bridge: "xenbr0", VLAN: uint16(10 * i)})
	}
	for i := range g.size.VMs {
		host := m.Hosts[0]
		if g.chance(20) {
			host = pick(g.r, m.Hosts...)
		}
		name := fmt.Sprintf("vm%d", i)
		vm := estate.VM{Key: name, Name: name, Pool: host.Pool, Host: host.Key}
		for range g.r.IntN(3) {
			vm.Tags = append(vm.Tags, pick(g.r, "web", "db", "prod"))
		}
		if g.chance(30) {
			vm.Attributes = map[string]string{"owner": pick(g.r, "red", "blue")}
		}
		for j := range 1 + g.r.IntN(g.size.VIFs) {
			v := estate.VIF{
				Key: fmt.Sprintf("%s/%d", name, j), Device: fmt.Sprint(j), Network: pick(g.r, m.Networks...).Key,
				MAC: estate.MAC(0x020000000000 + 16*(i+1) + j),
			}
			for range g.r.IntN(4) {
				v.IPs = append(v.IPs, addr(g.r))
			}
			if g.chance(10) {
				v.Attributes = map[string]string{estate.VIFRate: pick(g.r, "800", "16384"), estate.VIFLocking: pick(g.r, "locked", "unlocked")}
			}
			vm.VIFs = append(vm.VIFs, v)
		}
		m.VMs = append(m.VMs, vm)
		g.vmNames = append(g.vmNames, vm.Name, vm.Pool+"/"+vm.Name)
	}
	for i := range g.size.Groups {
		m.AddressGroups = append(m.AddressGroups, estate.AddressGroup{Name: fmt.Sprintf("addresses%d", i), Members: g.members()})
		group := estate.VMGroup{Name: fmt.Sprintf("vms%d", i)}
		for range g.r.IntN(3) {
			group.VMs = append(group.VMs, pick(g.r, m.VMs...).Key)
		}
		for range g.r.IntN(2) {
			group.Select = append(group.Select, g.selector())
		}
		m.VMGroups = append(m.VMGroups, group)
	}
}

// addr returns one of few addresses, of either family.
func addr(r *rand.Rand) netip.Addr {
	if chance(r, 35) {
		a := netip.MustParseAddr("2001:db8::").As16()
		a[7], a[15] = byte(r.IntN(2)), byte(r.IntN(24))
		return netip.AddrFrom16(a)
	}
	return netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(2)), byte(r.IntN(24))})
}

// prefix returns a prefix that has some of these addresses.
func prefix(r *rand.Rand) netip.Prefix {
	a := addr(r)
	bits := a.BitLen()
	switch r.IntN(4) {
	case 0:
		bits -= r.IntN(5)
	case 1:
		bits -= pick(r, 8, 9)
	case 2:
		if chance(r, 20) {
			bits = 0
		}
	}
	return netip.PrefixFrom(a, bits).Masked()
}

func (g *generator) members() []string {
	var list []string
	for range g.r.IntN(5) {
		if g.chance(25) {
			if a := netip.AddrFrom4([4]byte{10, 0, byte(g.r.IntN(2)), byte(g.r.IntN(16))}); g.chance(80) {
				b := a.As4()
				b[3] += byte(g.r.IntN(8))
				list = append(list, fmt.Sprintf("%s-%s", a, netip.AddrFrom4(b)))
				continue
			}
		}
		p := prefix(g.r)
		if p.IsSingleIP() {
			list = append(list, p.Addr().String())
		} else {
			list = append(list, p.String())
		}
	}
	return list
}

// selector returns a selector whose names are those of things, which are their keys, too.
func (g *generator) selector() estate.Selector {
	var s estate.Selector
	for s.Name == "" && len(s.Tags) == 0 && s.Network == "" && s.Pool == "" && s.Attributes == nil {
		if g.chance(40) {
			s.Tags = []string{pick(g.r, "web", "db", "prod")}
		}
		if g.chance(20) {
			s.Name = pick(g.r, "vm?", "*1", "*", "vm2")
		}
		if g.chance(20) {
			s.Network = pick(g.r, g.w.Model.Networks...).Name
		}
		if g.chance(20) {
			s.Pool = pick(g.r, g.w.Model.Pools...).Name
		}
		if g.chance(10) {
			s.Attributes = map[string]string{"owner": "red"}
		}
	}
	return s
}

func (g *generator) policy() {
	p, m := g.w.Policy, g.w.Model
	p.Default = pick(g.r, "", policy.Allow, policy.Deny)
	for i := range g.size.Groups {
		a := policy.AddressGroup{Name: fmt.Sprintf("own%d", i), Members: g.members()}
		v := policy.VMGroup{Name: fmt.Sprintf("own%d", i)}
		for range g.r.IntN(3) { // groups before it and those of the estate: none holds itself
			if of := fmt.Sprintf("addresses%d", g.r.IntN(g.size.Groups)); g.chance(30) {
				a.Members = append(a.Members, "address-group:"+of)
			} else if i > 0 && g.chance(50) {
				a.Members = append(a.Members, fmt.Sprintf("address-group:own%d", g.r.IntN(i)))
			}
			if of := fmt.Sprintf("vms%d", g.r.IntN(g.size.Groups)); g.chance(30) {
				v.Groups = append(v.Groups, of)
			} else if i > 0 && g.chance(30) {
				v.Groups = append(v.Groups, fmt.Sprintf("own%d", g.r.IntN(i)))
			}
			if g.chance(50) {
				v.VMs = append(v.VMs, pick(g.r, g.vmNames...))
			}
		}
		for range g.r.IntN(2) {
			v.Select = append(v.Select, g.selector())
		}
		p.AddressGroups, p.VMGroups = append(p.AddressGroups, a), append(p.VMGroups, v)
	}
	p.FailMode = pick(g.r, "", policy.FailOpen, policy.FailSafe, policy.FailStatic)
	p.MirrorTargets = []policy.MirrorTarget{
		{Name: "ids", VLAN: 900}, {Name: "tap", Port: "eth9"}, {Name: "far", GRE: netip.MustParseAddr("192.0.2.7"), Key: 9},
	}
	p.Global = g.level()
	for _, x := range m.Pools {
		p.Pools = append(p.Pools, policy.Pool{Named: policy.Named{Name: x.Name, Level: g.level()}, PoolSettings: policy.PoolSettings{
			FailMode: pick(g.r, "", policy.FailOpen, policy.FailSafe, policy.FailStatic), MirrorVLANs: []uint16{900},
		}})
	}
	for _, x := range m.Networks {
		p.Networks = append(p.Networks, policy.Named{Name: x.Name, Level: g.level()})
	}
	for _, x := range m.VMs {
		if g.chance(60) {
			p.VMs = append(p.VMs, policy.Named{Name: pick(g.r, x.Name, x.Pool+"/"+x.Name), Level: g.level()})
		}
		for _, v := range x.VIFs {
			if g.chance(50) {
				p.VIFs = append(p.VIFs, policy.VIF{Name: x.Name + "/" + v.Device, Settings: g.settings(), Rules: g.list()})
			}
		}
	}
}

func (g *generator) level() policy.Level {
	return policy.Level{Settings: g.settings(), Mandatory: g.list(), Default: g.list()}
}

// settings says something now and then.
func (g *generator) settings() policy.Settings {
	toggle := func() policy.Switch { return pick(g.r, "", "", "", policy.On, policy.Off) }
	limit := func() policy.Limit {
		return pick(g.r, policy.Limit{}, policy.Limit{}, policy.Limit{Off: true}, policy.Limit{Rate: 20_000}, policy.Limit{Rate: 1_000_000, Burst: 2_000_000})
	}
	s := policy.Settings{
		RateOut: limit(), RateIn: limit(), GuardMAC: toggle(), GuardIP: pick(g.r, "", "", "", "", "", "", policy.On, policy.Off, policy.Off), GuardDHCP: toggle(), GuardRA: toggle(),
		Quarantine: pick(g.r, "", "", "", policy.QuarantineMAC, policy.QuarantineAny, policy.QuarantineOff),
		Mirror: pick(g.r, policy.Mirror{}, policy.Mirror{}, policy.Mirror{Off: true}, policy.Mirror{Target: "ids", Direction: policy.MirrorBoth},
			policy.Mirror{Target: "tap", Direction: policy.MirrorIn}, policy.Mirror{Target: "far", Direction: policy.MirrorOut}),
	}
	switch g.r.IntN(6) {
	case 0:
		s.AllowedAddresses.Off = true
	case 1:
		for range 1 + g.r.IntN(2) {
			pair := policy.Pair{MAC: pick[estate.MAC](g.r, 0, 0x00005e000101, outside[0])}
			if pair.MAC == 0 || g.chance(70) {
				pair.Prefix = prefix(g.r)
			}
			s.AllowedAddresses.List = append(s.AllowedAddresses.List, pair)
		}
	}
	return s
}

func (g *generator) list() []policy.Rule {
	if g.chance(25) {
		return nil
	}
	var list []policy.Rule
	for range g.r.IntN(g.size.Rules + 1) {
		list = append(list, g.rule())
	}
	return list
}

func (g *generator) rule() policy.Rule {
	g.rules++
	for {
		r := policy.Rule{
			ID:        fmt.Sprintf("rule-%d", g.rules),
			Action:    pick(g.r, policy.Allow, policy.Allow, policy.Allow, policy.Deny, policy.Deny, policy.Deny, policy.Shadow),
			Direction: pick(g.r, "", policy.To, policy.To, policy.From, policy.From, policy.Either),
			Protocol:  g.protocol(), Remote: g.remote(),
		}
		if r.Protocol.HasPorts() {
			if g.chance(50) {
				r.RemotePorts = ports(g.r)
			}
			if g.chance(25) {
				r.LocalPorts = ports(g.r)
			}
		}
		switch g.r.IntN(20) {
		case 0:
			r.Disabled = true
		case 1:
			r.Expires = Now.Add(time.Duration(g.r.IntN(5)-2) * time.Hour)
		case 2:
			r.Comment = "because: of \"this\"\n- and #that ✓"
		}
		if r.Validate() == nil {
			return r
		}
	}
}

func (g *generator) protocol() policy.Protocol {
	text := pick(g.r,
		"any", "any", "any", "arp", "arp", "rarp", "ipv4", "ipv6", "tcp", "tcp", "tcp", "tcp", "udp", "udp", "udp", "sctp", "icmp", "icmpv6",
		"icmp/8", "icmp/0", "icmp/3", "icmp/3/4", "icmpv6/128", "icmpv6/2", "icmpv6/135", "icmpv6/136/0", "icmpv6/134", "ip/47", "ip/1", "ip/58", "ethertype/0x88cc")
	p, err := policy.ParseProtocol(text)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return p
}

func (g *generator) remote() policy.Remote {
	switch n := g.r.IntN(100); {
	case n < 25:
		return policy.Remote{}
	case n < 55:
		return policy.Remote{Prefix: prefix(g.r)}
	case n < 62:
		return policy.Remote{MAC: g.mac()}
	case n < 80:
		return policy.Remote{AddressGroup: fmt.Sprintf("%s%d", pick(g.r, "own", "addresses"), g.r.IntN(g.size.Groups))}
	default:
		return policy.Remote{VMGroup: fmt.Sprintf("%s%d", pick(g.r, "own", "vms"), g.r.IntN(g.size.Groups))}
	}
}

// outside are MAC addresses of nobody in the estate.
var outside = []estate.MAC{0x02ff00000001, 0x02ff00000002, 0x02ff00000003}

// groupMACs are multicast addresses, and broadcast.
var groupMACs = []estate.MAC{0xffffffffffff, 0x333300000001, 0x01005e000001}

func (g *generator) mac() estate.MAC {
	switch n := g.r.IntN(100); {
	case n < 60:
		return pick(g.r, pick(g.r, g.w.Model.VMs...).VIFs...).MAC
	case n < 90:
		return pick(g.r, outside...)
	}
	return pick(g.r, groupMACs...)
}

// wellKnown are ports that meet in rules and packets; those of DHCP among them.
var wellKnown = []uint16{1, 22, 53, 67, 68, 80, 443, 546, 547, 8000, 8010, 40000, 65535}

func ports(r *rand.Rand) policy.Ports {
	var list policy.Ports
	for range 1 + r.IntN(3) {
		first := pick(r, wellKnown...)
		last := first
		if chance(r, 40) {
			last = uint16(min(65535, int(first)+r.IntN(20)))
		}
		list = append(list, policy.PortRange{First: first, Last: last})
	}
	return list
}
