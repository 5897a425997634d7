package policyd_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/policyd"
)

// What XAPI gives bridges when a host starts follows policy, unless a host might not come back that way.
func TestFailModeAtStart(t *testing.T) {
	const uuid = "44444444-0000-4000-8000-000000000001"
	r := startWith(t, t.TempDir(), listen(t))
	pool := func(vms ...estate.VM) {
		r.assembler.Set(estate.FileSource, &estate.Model{Pools: []estate.Pool{{Name: "lab", UUID: uuid}, {Name: "other"}}, VMs: vms}, time.Now())
	}
	pool()
	is := func(what, mode, not string) {
		t.Helper()
		found, why := "", ""
		r.until(what, func() bool {
			found, why = r.AtStart(uuid)
			return found == mode && strings.Contains(why, not) && (not != "" || why == "")
		})
	}
	is("nothing was applied", "", "")
	r.apply("fail_mode: open")
	is("open of all pools", "standalone", "")
	r.apply("fail_mode: open\npools: [{name: lab, fail_mode: static}]")
	is("static of the pool", "secure", "")
	if mode, not := r.AtStart("44444444-0000-4000-8000-000000000002"); mode != "" || not != "" {
		t.Errorf("a pool that is not known: %q, %q", mode, not)
	}
	r.host("hv1", 1)
	is("Weir dials a host", "secure", "Weir dials the database of hv1")
	if err := r.Remove(t.Context(), alice, "hv1", true); err != nil {
		t.Fatal(err)
	}
	r.add(policyd.AddRequest{Name: "hv2", Pool: "lab"})
	is("hosts dial in", "secure", "")
	list, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		mac, err := estate.ParseMAC(list[i].HardwareAddr.String())
		if err != nil || mac == 0 {
			continue
		}
		own, err := list[i].Addrs()
		if err != nil {
			t.Fatal(err)
		}
		vif := estate.VIF{Device: "0", MAC: mac ^ 1<<41}
		for _, a := range own {
			vif.IPs = append(vif.IPs, netip.MustParsePrefix(a.String()).Addr().Unmap())
		}
		pool(estate.VM{Name: "pretender", Pool: "lab", VIFs: []estate.VIF{vif}})
		is("a VM of the pool says that it has Weir's addresses", "secure", "")
		vif.MAC = mac
		pool(estate.VM{Name: "weir", Pool: "lab", VIFs: []estate.VIF{vif}})
		is("Weir is a VM of the pool", "secure", "Weir itself is VM weir")
		_, err = r.Quarantine(t.Context(), alice, policyd.QuarantineRequest{VIF: "weir/0"}) // which would be the end of it
		isMistake(t, err, "Weir's own")
		return
	}
	t.Skip("this machine has no interface with a MAC address")
}
