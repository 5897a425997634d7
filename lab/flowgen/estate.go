package flowgen

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weirhq/weir/lab/export"
)

// Estate is a simulated estate: one pool of hosts, each with one bridge that carries every network.
type Estate struct {
	Pool          string
	Hosts         []Host
	Networks      []Network
	VMs           []VM
	AddressGroups []AddressGroup
	VMGroups      []VMGroup
}

// Host is a hypervisor host, which exports what its bridge saw.
type Host struct {
	Name       string
	Exporter   netip.Addr // from which it exports: a loopback address of its own
	Bridge     string
	Uplink     uint32 // interface index
	UplinkName string

	Version uint8  // protocol of its export: export.NetFlow9 or export.IPFIX
	Domain  uint32 // observation domain
	Cache   Cache
}

// Cache says when a host's flow cache gives up a flow.
type Cache struct {
	Active int64 // ms after the flow's first packet
	Idle   int64 // ms after its last packet; 0: never, as Open vSwitch
	Ends   bool  // at the FIN or RST of a TCP connection
}

// Network is a layer 2 network with one IPv4 and one IPv6 subnet. The router to everywhere else stands outside of
// the estate.
type Network struct {
	Name      string
	VLAN      uint16 // tag on the uplinks; 0 untagged
	IPv4      netip.Prefix
	IPv6      netip.Prefix
	RouterMAC uint64
}

// VM is a virtual machine.
type VM struct {
	Name string
	Role string
	Host int // index in Hosts
	VIFs []VIF
}

// VIF is a network interface of a VM.
type VIF struct {
	Device    int
	Network   int // index in Networks
	MAC       uint64
	IPv4      netip.Addr
	IPv6      netip.Addr
	Interface uint32 // index on the host
	Name      string // of the interface on the host
}

// AddressGroup is a named set of prefixes.
type AddressGroup struct {
	Name     string
	Prefixes []netip.Prefix
}

// VMGroup is a named set of VMs.
type VMGroup struct {
	Name string
	VMs  []int // indices in VMs
}

// Networks of every estate, by index.
const (
	Front = 0 // untagged, faces the outside
	Back  = 1 // tagged, between VMs
)

// role is what a VM does; its VMs make up a VM group.
type role struct {
	name, group string
	count       int // of the 24 VMs of one tile
	front       bool
}

var roles = []role{
	{"web", "web-servers", 5, true},
	{"app", "applications", 4, false},
	{"db", "databases", 3, false},
	{"cache", "caches", 2, false},
	{"dns", "infrastructure", 2, true},
	{"build", "build", 2, false},
	{"mail", "office-services", 1, true},
	{"vpn", "office-services", 1, true},
	{"git", "office-services", 1, false},
	{"files", "office-services", 1, false},
	{"backup", "infrastructure", 1, false},
	{"monitor", "infrastructure", 1, false},
}

// Size is how large an estate is.
type Size struct {
	Hosts int // 1 to 254
	VMs   int // 1 to 60000; a multiple of 24 keeps the roles in proportion
}

// DemoSize is the estate of the demo.
var DemoSize = Size{Hosts: 3, VMs: 24}

// Demo returns the estate of the demo: 3 hosts, 2 networks, 24 VMs.
func Demo() *Estate {
	e, err := NewEstate(DemoSize)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return e
}

// NewEstate returns the estate of a size: always the same.
func NewEstate(size Size) (*Estate, error) {
	if size.Hosts < 1 || size.Hosts > 254 || size.VMs < 1 || size.VMs > 60000 {
		return nil, fmt.Errorf("make estate of %d hosts and %d VMs: want 1 to 254 and 1 to 60000", size.Hosts, size.VMs)
	}
	e := &Estate{
		Pool: "demo",
		Networks: []Network{
			{
				Name: "front", RouterMAC: 0x02_00_5e_00_01_01,
				IPv4: netip.MustParsePrefix("10.20.0.0/16"), IPv6: netip.MustParsePrefix("2001:db8:20::/64"),
			},
			{
				Name: "back", VLAN: 120, RouterMAC: 0x02_00_5e_00_01_02,
				IPv4: netip.MustParsePrefix("10.30.0.0/16"), IPv6: netip.MustParsePrefix("2001:db8:30::/64"),
			},
		},
		AddressGroups: addressGroups(),
	}
	for i := range size.Hosts {
		e.Hosts = append(e.Hosts, newHost(i))
	}
	e.addVMs(size)
	return e, nil
}

// newHost returns host i. Two hosts of three export NetFlow 9, the third IPFIX with the cache of Open vSwitch, which
// knows no idle timeout.
func newHost(i int) Host {
	loopback := [4]byte{127, 0, byte((i + 11) >> 8), byte(i + 11)}
	h := Host{
		Name:     fmt.Sprintf("xcp-%02d", i+1),
		Exporter: netip.AddrFrom4(loopback),
		Bridge:   "xenbr0", Uplink: 2, UplinkName: "eth0",
		Version: export.NetFlow9,
		Cache:   Cache{Active: 20_000, Idle: 5_000, Ends: true},
	}
	if i%3 == 2 {
		h.Version, h.Domain = export.IPFIX, uint32(i+1)
		h.Cache = Cache{Active: 10_000}
	}
	return h
}

func (e *Estate) addVMs(size Size) {
	groups := map[string][]int{}
	named := map[string]int{}
	domains := make([]int, size.Hosts)
	for vm := 0; vm < size.VMs; {
		for _, r := range roles {
			for range min(r.count, size.VMs-vm) {
				named[r.name]++
				v := VM{Name: r.name, Role: r.name, Host: vm % size.Hosts}
				if r.count > 1 || named[r.name] > 1 {
					v.Name = fmt.Sprintf("%s-%02d", r.name, named[r.name])
				}
				domains[v.Host]++
				if r.front {
					v.VIFs = append(v.VIFs, e.newVIF(Front, vm, len(v.VIFs), domains[v.Host]))
				}
				v.VIFs = append(v.VIFs, e.newVIF(Back, vm, len(v.VIFs), domains[v.Host]))
				groups[r.group] = append(groups[r.group], vm)
				e.VMs = append(e.VMs, v)
				vm++
			}
		}
	}
	for _, r := range roles {
		known := func(g VMGroup) bool { return g.Name == r.group }
		if members := groups[r.group]; len(members) > 0 && !slices.ContainsFunc(e.VMGroups, known) {
			e.VMGroups = append(e.VMGroups, VMGroup{r.group, members})
		}
	}
}

// newVIF returns a VIF of VM number vm, which is domain number domain of its host.
func (e *Estate) newVIF(network, vm, device, domain int) VIF {
	n := &e.Networks[network]
	host := uint32(vm + 11) // .0.1 to .0.10 are for routers and the like
	v4, v6 := n.IPv4.Addr().As4(), n.IPv6.Addr().As16()
	binary.BigEndian.PutUint32(v4[:], binary.BigEndian.Uint32(v4[:])+host)
	binary.BigEndian.PutUint32(v6[12:], host)
	return VIF{
		Device:  device,
		Network: network,
		MAC:     0x02_16_3e_00_00_00 | uint64(network)<<20 | uint64(host),
		IPv4:    netip.AddrFrom4(v4), IPv6: netip.AddrFrom16(v6),
		Interface: uint32(8 + 2*domain + device),
		Name:      fmt.Sprintf("vif%d.%d", domain, device),
	}
}

func addressGroups() []AddressGroup {
	group := func(name string, prefixes ...string) AddressGroup {
		g := AddressGroup{Name: name}
		for _, p := range prefixes {
			g.Prefixes = append(g.Prefixes, netip.MustParsePrefix(p))
		}
		return g
	}
	return []AddressGroup{
		group("inside", "10.0.0.0/8", "2001:db8:20::/48", "2001:db8:30::/48"),
		group("office-berlin", "198.51.100.0/25", "2001:db8:b::/48"),
		group("office-oslo", "198.51.100.128/25", "2001:db8:c::/48"),
		group("partners", "203.0.113.0/24", "2001:db8:d::/48"),
		group("mirrors", "192.0.2.0/24", "2001:db8:e::/48"),
		group("internet-europe", "198.18.0.0/16", "2001:db8:1000::/36"),
		group("internet-americas", "198.19.0.0/17", "2001:db8:2000::/36"),
		group("internet-asia", "198.19.128.0/17", "2001:db8:3000::/36"),
	}
}
