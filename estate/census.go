package estate

import "strings"

// Census says how much there is of each kind, and how much of that is active.
type Census struct {
	Pools, Hosts, Networks, VMs, VIFs Tally

	Managed uint64 // hosts that Weir is to have a session with, active or not
}

// Tally is a number of entities, and how many of those are active.
type Tally struct{ Total, Active uint64 }

func (t *Tally) add(active bool) {
	t.Total++
	if active {
		t.Active++
	}
}

// Count counts what is in m, of which look says whether a host is active, and whether it is managed. A pool is active if one of its hosts is. A VM is if it runs: its
// power state says so, or, where no source tells that, it is known on which host it is. VIFs are as their VM is, and a network is active if
// a VIF in it is.
func (m *Model) Count(look func(*Host) (active, managed bool)) Census {
	var c Census
	pools := map[string]bool{}
	for i := range m.Hosts {
		h := &m.Hosts[i]
		active, managed := look(h)
		c.Hosts.add(active)
		if managed {
			c.Managed++
		}
		pools[h.Pool] = pools[h.Pool] || active
	}
	for i := range m.Pools {
		c.Pools.add(pools[m.Pools[i].Key])
	}
	networks := map[string]bool{}
	for i := range m.VMs {
		vm := &m.VMs[i]
		active := vm.runs()
		c.VMs.add(active)
		for j := range vm.VIFs {
			c.VIFs.add(active)
			networks[vm.VIFs[j].Network] = networks[vm.VIFs[j].Network] || active
		}
	}
	for i := range m.Networks {
		c.Networks.add(networks[m.Networks[i].Key])
	}
	return c
}

func (vm *VM) runs() bool {
	if state := vm.Attributes["power_state"]; state != "" {
		return strings.EqualFold(state, "running")
	}
	return vm.Host != ""
}
