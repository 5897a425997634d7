package estate_test

import (
	"testing"

	"github.com/weirhq/weir/estate"
)

func TestCount(t *testing.T) {
	state := func(s string) map[string]string { return map[string]string{"power_state": s} }
	vif := func(network string) []estate.VIF { return []estate.VIF{{Network: network}} }
	m := &estate.Model{
		Pools: []estate.Pool{{Key: "p1"}, {Key: "p2"}, {Key: "p3"}},
		Hosts: []estate.Host{{Key: "h1", Pool: "p1"}, {Key: "h2", Pool: "p1"}, {Key: "h3", Pool: "p2"}, {Key: "h4"}},
		Networks: []estate.Network{
			{Key: "busy"}, {Key: "also"}, {Key: "halted"}, {Key: "empty"},
		},
		VMs: []estate.VM{
			{Key: "a", Host: "h1", VIFs: append(vif("busy"), vif("also")...)},
			{Key: "b", Attributes: state("Running"), VIFs: vif("busy")},
			{Key: "c", Host: "h1", Attributes: state("paused"), VIFs: vif("halted")},
			{Key: "d", VIFs: vif("busy")},
			{Key: "e", Host: "h1"},
		},
	}
	got := m.Count(func(h *estate.Host) (active, managed bool) {
		return h.Key == "h1" || h.Key == "h4", h.Key == "h1" || h.Key == "h2" || h.Key == "h3"
	})
	want := estate.Census{
		Pools: estate.Tally{Total: 3, Active: 1}, Hosts: estate.Tally{Total: 4, Active: 2}, Networks: estate.Tally{Total: 4, Active: 2},
		VMs: estate.Tally{Total: 5, Active: 3}, VIFs: estate.Tally{Total: 5, Active: 3}, Managed: 3,
	}
	if got != want {
		t.Errorf("Count = %+v, want %+v", got, want)
	}
}
