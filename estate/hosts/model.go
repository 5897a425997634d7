package hosts

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weirhq/weir/estate"
)

// Model returns the inventory as a source of an estate.Assembler. since returns from when on a VIF has been plugged into
// the host, by its key; the zero time, or a nil since, is not known.
func (inv *Inventory) Model(since func(vif string) time.Time) *estate.Model {
	m := &estate.Model{}
	s := &inv.Settings
	if s.Pool != "" {
		m.Pools = []estate.Pool{{Name: s.Pool}}
	}
	host := estate.Host{Name: s.Name, UUID: inv.UUID, Pool: s.Pool, Exporters: inv.exporters()}
	for i := range inv.Bridges {
		b := &inv.Bridges[i]
		host.Bridges = append(host.Bridges, estate.Bridge{
			Name: b.Name, ObservationDomains: b.ObservationDomains, VirtualObsID: b.VirtualObsID, RuleSampling: b.RuleSampling, TotalsElsewhere: b.TotalsElsewhere,
		})
	}
	m.Hosts = []estate.Host{host}

	networks, vms := map[string]bool{}, map[string]int{}
	for i := range inv.VIFs {
		v := &inv.VIFs[i]
		if v.Network != "" && !networks[v.Network] {
			networks[v.Network] = true
			m.Networks = append(m.Networks, inv.network(v))
		}
		n, ok := vms[v.VM.Key]
		if !ok {
			n = len(m.VMs)
			vms[v.VM.Key] = n
			vm := estate.VM{Name: v.VM.Name, UUID: v.VM.UUID, Pool: s.Pool, Host: s.Name}
			switch {
			case v.VM.ID != "":
				vm.Attributes = map[string]string{"vmid": v.VM.ID}
				if s.Pool == "" { // else pool and number are its key
					vm.Key = v.VM.Key
				}
			case vm.UUID == "":
				vm.Key, vm.Anonymous = v.VM.Key, true
			}
			m.VMs = append(m.VMs, vm)
		}
		vif := estate.VIF{Device: v.Device, UUID: v.UUID, Network: v.Network, MAC: v.MAC}
		if vif.UUID == "" {
			vif.Key = v.Key
		}
		var at time.Time
		if since != nil {
			at = since(v.Key)
		}
		for j, p := range v.Ports {
			p := &inv.Ports[p]
			port := estate.Port{
				Host: s.Name, Bridge: p.Bridge, IfIndex: p.IfIndex, OFPort: p.OFPort, Name: p.Name, Since: at, Inactive: j > 0,
			}
			if !v.LocalVLAN {
				port.VLAN = p.VLAN
			}
			vif.Ports = append(vif.Ports, port)
		}
		m.VMs[n].VIFs = append(m.VMs[n].VIFs, vif)
	}
	return m
}

// exporters returns the addresses from which the flows of the host come: those given, and that of the session.
func (inv *Inventory) exporters() []netip.Addr {
	list := slices.Clone(inv.Settings.Exporters)
	if a := inv.Settings.Peer.Unmap(); a.IsValid() && !a.IsLoopback() && a.Zone() == "" && !slices.Contains(list, a) {
		list = append(list, a)
	}
	return list
}

// network returns the network of a VIF, named as the host names it: by the fake bridge of its VLAN, or the bridge.
func (inv *Inventory) network(v *VIF) estate.Network {
	n := estate.Network{UUID: v.Network, Pool: inv.Settings.Pool, Name: v.Network}
	if v.LocalVLAN {
		return n
	}
	n.Bridge, n.VLAN, n.Name = v.Bridge, v.VLAN, v.Bridge
	if v.VLAN == 0 {
		return n
	}
	n.Name = fmt.Sprintf("%s.%d", v.Bridge, v.VLAN)
	for i := range inv.Bridges {
		if inv.Bridges[i].Name != v.Bridge {
			continue
		}
		for _, fake := range inv.Bridges[i].Fake {
			if fake.VLAN == v.VLAN {
				n.Name = fake.Name
			}
		}
	}
	return n
}
