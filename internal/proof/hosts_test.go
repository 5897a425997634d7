package proof_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/apptest"
)

// Whatever happens to hosts, VMs and Weir: flows that start after it was noticed have the right names, then and now; it is told in
// exactly the network events that it is; and the export of flows is there again within seconds.
func TestHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up on three hosts")
	}
	r := newRig(
		t, 5*time.Minute, placed{"web", "hv1", "flat"}, placed{"db", "hv2", "flat"}, placed{"app", "hv3", "flat"}, placed{"red", "hv1", "seven"}, placed{"blue", "hv3", "seven"},
	)
	r.begin()
	r.plug()
	r.replug()
	r.rename()
	r.unplugAndMove()
	r.emerReset()
	r.restartSwitch()
	r.restartDatabases()
	r.restartWeir()
	r.cut()
	r.history()
}

// begin makes Weir know the hosts, each in its way.
func (r *rig) begin() {
	r.configure("")
	r.start()
	r.addHosts()
	r.exports("begin", "hv1", "hv2", "hv3")
	r.happened(
		"begin", "host_connected hv1", "host_connected hv2", "host_refused hv3", "host_connected hv3",
		"export_set hv1/br0", "export_set hv2/br0", "export_set hv3/br0",
	)
	r.live()
	r.passes("begin", "web", "db")
	r.passes("begin", "db", "app")
	r.passes("begin", "red", "blue")
	r.settled = time.Now()
}

// A VM is there that was not before.
func (r *rig) plug() {
	r.declare("cache", "flat", 6)
	r.describe()
	r.knows("cache")
	r.plugIn("cache", "hv2")
	r.happened("plug", "vif_plugged cache/0")
	r.passes("plug", "web", "cache")
}

// A VIF gets another port number.
func (r *rig) replug() {
	r.must(r.vms["web"].Replug(r.ctx))
	r.happened("replug", "vif_plugged web/0")
	r.passes("replug", "web", "db")
}

// A VM gets another name, which is no network event.
func (r *rig) rename() {
	r.names["web"] = "shop"
	r.describe()
	r.knows("shop")
	r.passes("rename", "web", "db")
	r.happened("rename")
}

// Within the time that it takes to tell that a VIF is plugged nowhere else, others move.
func (r *rig) unplugAndMove() {
	r.must(r.vms["cache"].Unplug(r.ctx))
	r.must(r.vms["db"].Move(r.ctx, r.hv["hv3"], nil))
	r.must(r.vms["red"].Move(r.ctx, r.hv["hv2"], nil))
	r.happened("unplug and move", "vif_moved db/0", "vif_moved red/0", "vif_unplugged cache/0")
	r.passes("move", "web", "db")
	r.passes("move of one with a VLAN", "red", "blue")
}

// Somebody wipes what is set up at a host, as XAPI does.
func (r *rig) emerReset() {
	r.must(r.hv["hv1"].EmerReset(r.ctx))
	r.exports("emer-reset", "hv1")
	r.happened("emer-reset", "export_wiped hv1/br0", "export_set hv1/br0")
	r.passes("emer-reset", "web", "app")
}

// A switch starts anew, and numbers its ports as it likes.
func (r *rig) restartSwitch() {
	want := []string{"switch_restarted hv3"}
	r.must(r.hv["hv3"].ReloadSwitch(r.ctx))
	for first, vm := range r.vms {
		if vm.Host != r.hv["hv3"] {
			continue
		}
		before := vm.Port
		var err error
		vm.Port, err = vm.Host.Port(r.ctx, before.Name)
		r.must(err)
		if vm.Port.OFPort != before.OFPort {
			want = append(want, fmt.Sprintf("vif_plugged %s/0", r.names[first]))
		}
	}
	r.happened("restart of ovs-vswitchd", want...)
	r.passes("restart of ovs-vswitchd", "app", "web")
}

// A database that is back at once is no event.
func (r *rig) restartDatabases() {
	r.must(r.hv["hv1"].RestartDB(r.ctx))
	r.must(r.hv["hv3"].RestartDB(r.ctx))
	r.must(r.vms["app"].Replug(r.ctx)) // it is noticed once the host has dialled in again
	r.happened("restart of ovsdb-server", "vif_plugged app/0")
	r.passes("restart of ovsdb-server", "web", "app")
}

// Weir is killed, and finds what happened while it was not there.
func (r *rig) restartWeir() {
	r.weir.Kill()
	r.must(r.vms["blue"].Move(r.ctx, r.hv["hv1"], nil))
	r.must(r.hv["hv2"].EmerReset(r.ctx))
	r.start()
	r.exports("restart of Weir", "hv2")
	r.happened(
		"restart of Weir", "host_connected hv1", "host_connected hv2", "host_connected hv3",
		"vif_moved blue/0", "export_wiped hv2/br0", "export_set hv2/br0",
	)
	r.live()
	r.passes("restart of Weir", "red", "blue")
	r.passes("restart of Weir", "db", "web")
}

// A host is not reached for some time. What it sends is still named.
func (r *rig) cut() {
	r.must(r.hv["hv2"].SetManagement(false))
	r.happened("cut", "host_lost hv2")
	r.must(r.hv["hv2"].SetManagement(true))
	r.happened("joined", "host_connected hv2")
	r.passes("joined", "red", "blue")
}

// Rows of then say what was then, and what is now.
func (r *rig) history() {
	for _, m := range r.marks {
		from, to := m.from, m.to
		if from == "web" {
			from = "shop"
		}
		if to == "web" {
			to = "shop"
		}
		apptest.Eventually(r, soon, m.what+": names now", func() error { return r.check(m, from, to) })
	}
	was, is := r.command("estate", "search", "10.1.0.1", "--at", r.settled.UTC().Format(time.RFC3339Nano)), r.command("estate", "search", "10.1.0.1")
	if !strings.Contains(was, "web") || strings.Contains(was, "shop") || !strings.Contains(is, "shop") || strings.Contains(is, "web") {
		r.Errorf("what had the address of web when all began, and has it now:\n%s\n%s", was, is)
	}
	if says := r.command("estate", "explain", "10.1.0.1"); !strings.Contains(says, "shop") || !strings.Contains(says, "hv1") {
		r.Errorf("who says so:\n%s", says)
	}
	r.Logf("%d rows of marks are right then and now, %v after the start", len(r.marks), time.Since(r.began).Round(time.Second))
}
