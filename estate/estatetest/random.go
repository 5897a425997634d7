// Package estatetest makes estates for tests and benchmarks.
package estatetest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

// Size is how much is in an estate.
type Size struct {
	Pools, Hosts, Networks, VMs int
	VIFs                        int // of a VM, at most
	AddressGroups, Prefixes     int // prefixes in all groups together
	VMGroups                    int
	Rules                       int  // instances of rules
	Dense                       bool // few addresses, so that most are shared, and everything overlaps
}

// Large is an estate of 100 000 VIFs, 10 000 prefixes and 1 000 groups.
var Large = Size{
	Pools: 8, Hosts: 500, Networks: 400, VMs: 100_000, VIFs: 1, AddressGroups: 500, Prefixes: 10_000, VMGroups: 500,
}

// Random returns a model that Compile accepts.
func Random(r *rand.Rand, size Size) *estate.Model {
	g := generator{r: r, size: size, m: &estate.Model{}, used: map[string]uint32{}}
	g.pools()
	g.hosts()
	g.networks()
	for i := range size.VMs {
		g.vm(i)
	}
	g.groups()
	g.rules()
	return g.m
}

type generator struct {
	r      *rand.Rand
	size   Size
	m      *estate.Model
	serial uint32
	used   map[string]uint32 // numbers of ports given away, by host and bridge
}

func (g *generator) pick(n int) int          { return g.r.IntN(n) }
func (g *generator) chance(percent int) bool { return g.r.IntN(100) < percent }

func (g *generator) pools() {
	for i := range g.size.Pools {
		g.m.Pools = append(g.m.Pools, estate.Pool{Name: fmt.Sprintf("pool%d", i), UUID: g.uuid(20)})
	}
}

// uuid returns a UUID in percent of all cases, else none.
func (g *generator) uuid(percent int) string {
	if !g.chance(percent) {
		return ""
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], g.r.Uint64())
	binary.BigEndian.PutUint64(b[8:], g.r.Uint64())
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// pool returns the name of a pool, or none.
func (g *generator) pool() string {
	if g.size.Pools == 0 || g.size.Dense && g.chance(30) {
		return ""
	}
	return g.m.Pools[g.pick(g.size.Pools)].Name
}

func (g *generator) hosts() {
	for i := range g.size.Hosts {
		h := estate.Host{Name: fmt.Sprintf("host%d", i), UUID: g.uuid(20), Pool: g.pool()}
		h.Exporters = append(h.Exporters, netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}))
		if g.chance(20) {
			a := netip.MustParseAddr("fd00::").As16()
			binary.BigEndian.PutUint32(a[12:], uint32(i+1))
			h.Exporters = append(h.Exporters, netip.AddrFrom16(a))
		}
		for j := range g.pick(4) {
			b := estate.Bridge{
				Name: fmt.Sprintf("xenbr%d", j), ObservationDomains: []uint32{uint32(j + 1), uint32(100 + j)}, RuleSampling: g.chance(30),
			}
			b.TotalsElsewhere = b.RuleSampling && g.chance(30)
			if g.chance(60) {
				b.VirtualObsID = fmt.Sprintf("%s/%s", h.Name, b.Name)
				if g.chance(50) { // several hosts have it
					b.VirtualObsID = b.Name
				}
			}
			h.Bridges = append(h.Bridges, b)
		}
		g.m.Hosts = append(g.m.Hosts, h)
	}
}

func (g *generator) networks() {
	for i := range g.size.Networks {
		n := estate.Network{Name: fmt.Sprintf("net%d", i), UUID: g.uuid(20), Pool: g.pool()}
		if g.chance(60) {
			n.Bridge = fmt.Sprintf("xenbr%d", g.pick(4))
		}
		if g.chance(70) {
			n.VLAN = uint16(1 + g.pick(4094))
			if g.size.Dense {
				n.VLAN = uint16(1 + g.pick(4))
			}
		}
		if g.chance(60) {
			bits := 16 + g.pick(12)
			n.Subnets = append(n.Subnets, netip.PrefixFrom(g.Addr(), bits).Masked())
			a := netip.MustParseAddr("2001:db8::").As16()
			binary.BigEndian.PutUint16(a[6:], uint16(g.pick(4)))
			n.Subnets = append(n.Subnets, netip.PrefixFrom(netip.AddrFrom16(a), 64))
		}
		g.m.Networks = append(g.m.Networks, n)
	}
}

// Addr returns an IPv4 address of the estate, of a host or of nobody.
func (g *generator) Addr() netip.Addr {
	if g.size.Dense {
		return netip.AddrFrom4([4]byte{10, byte(g.pick(2)), byte(g.pick(2)), byte(1 + g.pick(20))})
	}
	g.serial++
	return netip.AddrFrom4([4]byte{10, byte(g.serial >> 16), byte(g.serial >> 8), byte(g.serial)})
}

func (g *generator) vm(i int) {
	vm := estate.VM{Name: fmt.Sprintf("vm%d", i), UUID: g.uuid(30)}
	if g.chance(80) {
		h := g.m.Hosts[g.pick(len(g.m.Hosts))]
		vm.Host, vm.Pool = h.Name, h.Pool
	}
	for range g.pick(4) {
		vm.Tags = append(vm.Tags, g.tag())
	}
	if g.chance(30) {
		vm.Attributes = map[string]string{"owner": fmt.Sprintf("team%d", g.pick(5))}
	}
	for j := range 1 + g.pick(g.size.VIFs) {
		vm.VIFs = append(vm.VIFs, g.vif(&vm, j))
	}
	g.m.VMs = append(g.m.VMs, vm)
}

func (g *generator) tag() string {
	if g.size.Dense {
		return fmt.Sprintf("tag%d", g.pick(4))
	}
	return fmt.Sprintf("tag%d", g.pick(100))
}

func (g *generator) vif(vm *estate.VM, j int) estate.VIF {
	vif := estate.VIF{Device: fmt.Sprint(j), UUID: g.uuid(30)}
	if len(g.m.Networks) > 0 && g.chance(90) {
		vif.Network = g.m.Networks[g.pick(len(g.m.Networks))].Name
	}
	if g.chance(90) {
		g.serial++
		vif.MAC = estate.MAC(0x020000000000 + uint64(g.serial))
		if g.size.Dense {
			vif.MAC = estate.MAC(0x020000000001 + uint64(g.pick(20)))
		}
	}
	for range 1 + g.pick(2) {
		vif.IPs = append(vif.IPs, g.Addr())
	}
	if g.chance(20) {
		vif.Attributes = map[string]string{estate.VIFRate: fmt.Sprint(1000 * (1 + g.pick(9)))}
	}
	if g.chance(30) {
		a := netip.MustParseAddr("2001:db8::").As16()
		binary.BigEndian.PutUint16(a[6:], uint16(g.pick(4)))
		a[15] = byte(1 + g.pick(20))
		vif.IPs = append(vif.IPs, netip.AddrFrom16(a))
	}
	if vm.Host == "" && !g.chance(30) {
		return vif
	}
	for range 1 + g.pick(2) {
		p := estate.Port{Host: vm.Host}
		if vm.Host == "" || g.chance(10) {
			p.Host = g.m.Hosts[g.pick(len(g.m.Hosts))].Name
		}
		if h := g.host(p.Host); len(h.Bridges) > 0 && g.chance(70) {
			p.Bridge = h.Bridges[g.pick(len(h.Bridges))].Name
		}
		p.IfIndex = g.number(p.Host, p.Bridge)
		if g.chance(30) {
			p.OFPort = g.number(p.Host+" of", p.Bridge)
		}
		if p.Host == vm.Host && g.chance(50) {
			p.Host = ""
		}
		vif.Ports = append(vif.Ports, p)
	}
	return vif
}

func (g *generator) host(name string) *estate.Host {
	for i := range g.m.Hosts {
		if g.m.Hosts[i].Name == name {
			return &g.m.Hosts[i]
		}
	}
	return nil
}

// number returns a number for a port: unique on its bridge, and on the host if it names none.
func (g *generator) number(host, bridge string) uint32 {
	if bridge == "" {
		g.used[host]++
		return 100_000 + g.used[host]
	}
	g.used[host+"/"+bridge]++
	return g.used[host+"/"+bridge]
}

func (g *generator) groups() {
	for i := range g.size.AddressGroups {
		group := estate.AddressGroup{Name: fmt.Sprintf("addresses%d", i)}
		for range g.size.Prefixes / g.size.AddressGroups {
			group.Members = append(group.Members, g.member())
		}
		g.m.AddressGroups = append(g.m.AddressGroups, group)
	}
	for i := range g.size.VMGroups {
		group := estate.VMGroup{Name: fmt.Sprintf("vms%d", i)}
		for range g.pick(4) {
			vm := &g.m.VMs[g.pick(len(g.m.VMs))]
			group.VMs = append(group.VMs, vm.Name)
		}
		if g.chance(60) {
			group.Select = append(group.Select, g.selector())
		}
		g.m.VMGroups = append(g.m.VMGroups, group)
	}
}

func (g *generator) member() string {
	a, shortest := netip.AddrFrom4([4]byte{10, byte(g.pick(32)), byte(g.pick(256)), byte(g.pick(256))}), 18
	if g.size.Dense {
		a, shortest = g.Addr(), 8
	}
	switch g.pick(4) {
	case 0:
		return a.String()
	case 1:
		b := a.As4()
		b[3] |= 0x1f
		return a.String() + "-" + netip.AddrFrom4(b).String()
	case 2:
		six := netip.MustParseAddr("2001:db8::").As16()
		binary.BigEndian.PutUint16(six[6:], uint16(g.pick(4)))
		six[15] = byte(g.pick(256))
		return netip.PrefixFrom(netip.AddrFrom16(six), 24+g.pick(105)).Masked().String()
	}
	return netip.PrefixFrom(a, shortest+g.pick(33-shortest)).Masked().String()
}

func (g *generator) selector() estate.Selector {
	sel := estate.Selector{Name: fmt.Sprintf("vm%d*", g.pick(g.size.VMs))}
	if g.chance(40) {
		sel.Name, sel.Tags = "", []string{g.tag(), g.tag()}[:1+g.pick(2)]
		if g.chance(50) {
			sel.Attributes = map[string]string{"owner": fmt.Sprintf("team%d", g.pick(5))}
		}
	}
	if g.chance(20) && len(g.m.Networks) > 0 {
		sel.Network = g.m.Networks[g.pick(len(g.m.Networks))].Name
	}
	if sel.Network == "" {
		sel.Pool = g.pool()
	}
	return sel
}

func (g *generator) rules() {
	for i := range g.size.Rules {
		g.m.Rules = append(g.m.Rules, estate.RuleInstance{
			Instance: flow.MaxSystemInstance + 1 + uint32(i), Rule: flow.NewID(flow.KindRule, fmt.Sprint(g.pick(g.size.Rules))),
			Verdict: []flow.Verdict{flow.VerdictAllowed, flow.VerdictDenied, flow.VerdictShadowDenied}[g.pick(3)],
		})
	}
}
