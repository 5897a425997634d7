package policyd

import (
	"slices"
	"testing"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

// What is done to a VIF concerns the hosts where it may be, and no others: what is not known makes them more, never fewer.
func TestHostsOfVIF(t *testing.T) {
	const uuid = "11111111-0000-4000-8000-000000000001"
	hosts := []HostStatus{
		{UUID: "aaaaaaaa-0000-4000-8000-000000000001", Name: "a", Pool: "north"},
		{UUID: "aaaaaaaa-0000-4000-8000-000000000002", Name: "b", Pool: "north"},
		{UUID: "aaaaaaaa-0000-4000-8000-000000000003", Name: "c", Pool: "south"},
		{UUID: "aaaaaaaa-0000-4000-8000-000000000004", Name: "d"}, // never reached, and nobody says of which pool it is
		{UUID: "aaaaaaaa-0000-4000-8000-000000000005", Name: "e"}, // of south, says the estate
	}
	f := func(name string, vm estate.VM, want ...string) {
		t.Helper()
		vm.Name, vm.UUID = "web", "22222222-0000-4000-8000-000000000001"
		for i := range vm.VIFs {
			vm.VIFs[i].Device, vm.VIFs[i].UUID = "0", uuid
		}
		a := estate.NewAssembler(estate.AssemblerDeps{Estate: new(estate.Holder)})
		a.Set(estate.FileSource, &estate.Model{
			Pools: []estate.Pool{{Name: "north"}, {Name: "south"}},
			Hosts: []estate.Host{
				{Name: "a", UUID: hosts[0].UUID, Pool: "north"},
				{Name: "b", UUID: hosts[1].UUID, Pool: "north"},
				{Name: "c", UUID: hosts[2].UUID, Pool: "south"},
				{Name: "e", UUID: hosts[4].UUID, Pool: "south"},
				{Name: "unmanaged", Pool: "south"},
			},
			VMs: []estate.VM{vm},
		}, time.Now())
		m := a.Model()
		if len(m.VMs) != 1 || len(m.Hosts) != 5 {
			t.Fatalf("%s: %+v", name, m)
		}
		id := flow.ID(1)
		if len(m.VMs[0].VIFs) > 0 {
			id = flow.NewID(flow.KindVIF, m.VMs[0].VIFs[0].Key)
		}
		if got := hostsOfVIF(m, id, hosts).Concerned; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	vif := func(hosts ...string) []estate.VIF {
		v := estate.VIF{}
		for i, h := range hosts {
			v.Ports = append(v.Ports, estate.Port{Host: h, Bridge: "br0", OFPort: uint32(i + 1)})
		}
		return []estate.VIF{v}
	}
	f("plugged", estate.VM{Pool: "north", VIFs: vif("a")}, "a")
	f("plugged at two, as while it migrates", estate.VM{Pool: "north", VIFs: vif("a", "b")}, "a", "b")
	f("plugged here, runs there", estate.VM{Pool: "north", Host: "b", VIFs: vif("a")}, "a", "b")
	f("runs, not plugged", estate.VM{Pool: "north", Host: "b", VIFs: vif()}, "b")
	f("nobody knows where, of a pool", estate.VM{Pool: "north", VIFs: vif()}, "a", "b", "d")
	f("nobody knows where, of a pool of which hosts are that do not say so", estate.VM{Pool: "south", VIFs: vif()}, "c", "d", "e")
	f("at a host that Weir does not manage", estate.VM{Host: "unmanaged", VIFs: vif()}, "c", "d", "e")
	f("nobody knows where, of no pool", estate.VM{VIFs: vif()}, "a", "b", "c", "d", "e")
	f("there is no such VIF", estate.VM{Pool: "north", Host: "a"}, "a", "b", "c", "d", "e")
}
