package flowgen

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/lab/export"
)

// Model returns e as a source of the estate declares it.
func (e *Estate) Model() estate.Model {
	m := estate.Model{Pools: []estate.Pool{{Name: e.Pool}}}
	bridge := ""
	for i := range e.Hosts {
		h := &e.Hosts[i]
		bridge = h.Bridge
		b := estate.Bridge{Name: h.Bridge}
		if h.Version == export.IPFIX {
			b.ObservationDomains = []uint32{h.Domain}
		}
		m.Hosts = append(m.Hosts, estate.Host{
			Name: h.Name, Pool: e.Pool, Exporters: []netip.Addr{h.Exporter}, Bridges: []estate.Bridge{b},
		})
	}
	for i := range e.Networks {
		n := &e.Networks[i]
		m.Networks = append(m.Networks, estate.Network{
			Name: n.Name, Pool: e.Pool, Bridge: bridge, VLAN: n.VLAN, Subnets: []netip.Prefix{n.IPv4, n.IPv6},
		})
	}
	for i := range e.VMs {
		v := &e.VMs[i]
		vm := estate.VM{Name: v.Name, Pool: e.Pool, Host: e.Hosts[v.Host].Name, Tags: []string{v.Role}}
		for j := range v.VIFs {
			f := &v.VIFs[j]
			vm.VIFs = append(vm.VIFs, estate.VIF{
				Device: strconv.Itoa(f.Device), Network: e.Networks[f.Network].Name, MAC: estate.MAC(f.MAC),
				IPs: []netip.Addr{f.IPv4, f.IPv6}, Ports: []estate.Port{{IfIndex: f.Interface}},
			})
		}
		m.VMs = append(m.VMs, vm)
	}
	for _, g := range e.AddressGroups {
		group := estate.AddressGroup{Name: g.Name}
		for _, p := range g.Prefixes {
			group.Members = append(group.Members, p.String())
		}
		m.AddressGroups = append(m.AddressGroups, group)
	}
	for _, g := range e.VMGroups {
		group := estate.VMGroup{Name: g.Name}
		for _, vm := range g.VMs {
			group.VMs = append(group.VMs, e.VMs[vm].Name)
		}
		m.VMGroups = append(m.VMGroups, group)
	}
	return m
}

// YAML returns e as an estate file.
func (e *Estate) YAML() ([]byte, error) {
	body, err := strictyaml.Encode(e.Model())
	if err != nil {
		return nil, fmt.Errorf("encode estate: %w", err)
	}
	head := fmt.Sprintf("# A simulated estate of %d hosts and %d VMs: those that send the flows of the demo.\n", len(e.Hosts), len(e.VMs))
	return append([]byte(head), body...), nil
}
