package ovsbed_test

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/lab/traffic"
)

// Everything that may happen to hosts and VMs while traffic goes on: afterwards it goes on, and the database says what is.
func TestChanges(t *testing.T) {
	bed := ovsbedtest.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	host := func(name string) *ovsbed.Host {
		t.Helper()
		h, err := bed.Host(ctx, name)
		must(err)
		must(h.AddBridge(ctx, "br0"))
		return h
	}
	hv1, hv2, lan := host("hv1"), host("hv2"), host("lan") // lan is the physical switch
	bond, err := hv1.JoinBond(ctx, "br0", "bond0", lan, "br0")
	must(err)
	_, _, err = hv2.Join(ctx, "br0", lan, "br0")
	must(err)
	must(hv1.AddNetwork(ctx, "xapi1", "br0", 7))
	must(hv2.AddNetwork(ctx, "xapi1", "br0", 7))
	vm := func(h *ovsbed.Host, number int, name, bridge string, platform ovsbed.Platform) *ovsbed.VM {
		t.Helper()
		vm, err := h.AddVM(ctx, ovsbed.VM{
			Name: name, Bridge: bridge, MAC: fmt.Sprintf("02:00:00:00:00:%02x", number), Identity: ovsbed.Identity{Platform: platform},
			Addrs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.1.0.%d/24", number)), netip.MustParsePrefix(fmt.Sprintf("2001:db8::%d/64", number))},
		})
		must(err)
		return &vm
	}
	web, db := vm(hv1, 1, "web", "xapi1", ovsbed.XenServer), vm(hv2, 2, "db", "xapi1", ovsbed.Libvirt)
	app := vm(hv2, 3, "app", "br0", ovsbed.OpenStack)
	files := vm(hv2, 4, "files", "br0", ovsbed.Proxmox)
	reached := func(what string) {
		t.Helper()
		for _, to := range db.Addrs {
			for deadline := time.Now().Add(time.Minute); ; { // switches learn
				soon, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
				err := traffic.Ping(soon, web.Namespace, to.Addr(), 1, 56)
				cancel()
				if err == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("after %s: %v", what, err)
				}
			}
		}
	}
	reached("start")
	if len(bond) != 2 || bond[0].OFPort == bond[1].OFPort {
		t.Errorf("bond of %+v", bond)
	}
	for h, want := range map[*ovsbed.Host][]string{
		hv1: {"xs-vif-uuid=" + web.Identity.VIF, "xs-vm-uuid=" + web.Identity.VM, "attached-mac=02:00:00:00:00:01"},
		hv2: {"vm-id=" + db.Identity.VM, "vm-uuid=" + app.Identity.VM, "iface-id=" + app.Identity.VIF},
	} {
		out, err := h.VSCtl(ctx, "--bare", "--columns=external_ids", "list", "interface")
		must(err)
		for _, id := range want {
			if !strings.Contains(strings.ReplaceAll(out, `"`, ""), id) {
				t.Errorf("external_ids at %s: %s: no %s", h.Name, out, id)
			}
		}
	}
	if files.Port.Name != fmt.Sprintf("tap%di0", files.Identity.Number) || !strings.HasPrefix(app.Identity.VIF, strings.TrimPrefix(app.Port.Name, "tap")) {
		t.Errorf("interfaces %q and %q", files.Port.Name, app.Port.Name)
	}

	before := web.Port
	must(web.Replug(ctx))
	if web.Port.Name != before.Name || web.Port.OFPort == before.OFPort || web.Port.OFPort == 0 {
		t.Errorf("port %+v after a replug, was %+v", web.Port, before)
	}
	reached("replug")

	ids := func(h *ovsbed.Host) string {
		t.Helper()
		out, err := h.VSCtl(ctx, "--bare", "--columns=name", "find", "interface", fmt.Sprintf("external_ids:xs-vif-uuid=%q", web.Identity.VIF))
		must(err)
		return strings.Join(strings.Fields(out), " ")
	}
	must(web.Move(ctx, hv2, func() error {
		if here, there := ids(hv1), ids(hv2); here != before.Name || there != web.Port.Name || there == "" {
			t.Errorf("during a move, the VIF is %q at hv1 and %q at hv2", here, there)
		}
		return nil
	}))
	if here, there := ids(hv1), ids(hv2); here != "" || there != web.Port.Name || web.Host != hv2 {
		t.Errorf("after a move, the VIF is %q at hv1 and %q at hv2", here, there)
	}
	reached("move")
	must(web.Move(ctx, hv1, nil))
	reached("move back")

	must(web.AddTap(ctx))
	if got := ids(hv1); !strings.Contains(got, web.Tap.Name) || !strings.Contains(got, web.Port.Name) {
		t.Errorf("interfaces %q, want vif and tap", got)
	}
	must(web.RemoveTap(ctx))

	must(hv1.SetNetFlow(ctx, "br0", ovsbed.NetFlow{Target: netip.AddrPortFrom(hv1.Root, 2055)}))
	must(hv1.EmerReset(ctx))
	if out, err := hv1.VSCtl(ctx, "list", "netflow"); err != nil || out != "" {
		t.Errorf("NetFlow after emer-reset: %q, %v", out, err)
	}
	reached("emer-reset")
	must(hv1.RestartDB(ctx))
	reached("restart of ovsdb-server")
	must(hv1.RestartSwitch(ctx))
	reached("restart of ovs-vswitchd")
	must(hv1.ReloadSwitch(ctx))
	reached("restart of ovs-vswitchd by script")
	must(hv1.Kill())
	must(hv1.Start(ctx))
	reached("loss of power")

	must(hv1.Freeze())
	if err := exec.CommandContext(ctx, "ovs-vsctl", "--db=unix:"+hv1.DBSocket(), "--timeout=1", "show").Run(); err == nil {
		t.Error("a frozen database answers")
	}
	must(hv1.Thaw())
	reached("thaw")
	must(hv1.SetManagement(false))
	reached("management cut")
	must(hv1.SetManagement(true))
}

// While ovs-vswitchd has no database, it does not take frames from ports that it reads itself: nothing is lost but what the kernel has no room for
// meanwhile. This is Open vSwitch's doing alone; nothing is connected to the host.
func TestWhatARestartOfTheDatabaseLoses(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	h, err := ovsbedtest.New(t).Host(ctx, "hv1")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	must(h.AddBridge(ctx, "br0"))
	vms := make([]ovsbed.VM, 2)
	for i := range vms {
		vms[i], err = h.AddVM(ctx, ovsbed.VM{
			Name: fmt.Sprintf("vm%d", i+1), Bridge: "br0", MAC: fmt.Sprintf("02:00:00:00:00:%02x", i+1), Addrs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.1.0.%d/24", i+1))},
		})
		must(err)
	}
	p, err := traffic.NewProbe(ctx, traffic.ProbeConfig{
		From: vms[0].Namespace, Source: vms[0].Addrs[0].Addr(), To: []*netns.Namespace{vms[1].Namespace}, Target: netip.AddrPortFrom(vms[1].Addrs[0].Addr(), 7000), Interval: time.Millisecond,
	})
	must(err)
	defer p.Close()
	_, err = p.Passes(ctx, 0)
	must(err)
	overrun, err := h.Overrun(ctx)
	must(err)
	after, began := p.Sent(), time.Now()
	must(h.RestartDB(ctx))
	_, err = p.Passes(ctx, 0)
	must(err)
	took, until := time.Since(began), p.Sent()
	_, err = p.Passes(ctx, 0) // what was sent before has arrived, or never will
	must(err)
	more, err := h.Overrun(ctx)
	must(err)
	lost := p.Lost(0, after, until)
	if len(lost) > more-overrun {
		t.Errorf("%d of %d datagrams were lost, and the kernel dropped %d frames", len(lost), until-after, more-overrun)
	}
	t.Logf("nothing passed for %v; of %d datagrams %d were lost, and the kernel dropped %d frames", took.Round(time.Millisecond), until-after, len(lost), more-overrun)
}

// Managers reach a database in every way, and it reaches them.
func TestManagers(t *testing.T) {
	bed := ovsbedtest.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	h, err := bed.Host(ctx, "hv1")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key, certificate := filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	if out, err := exec.CommandContext(ctx, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-keyout", key, "-out", certificate, "-subj", "/CN=hv1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	client := []string{"--private-key=" + key, "--certificate=" + certificate, "--ca-cert=" + certificate}
	reached := func(target string) {
		t.Helper()
		args := append(client, "--timeout=30", "list-dbs", target)
		if out, err := exec.CommandContext(ctx, "ovsdb-client", args...).CombinedOutput(); err != nil || !strings.Contains(string(out), "Open_vSwitch") {
			t.Errorf("databases at %s: %q, %v", target, out, err)
		}
	}
	reached("unix:" + h.DBSocket())
	target, err := h.Listen(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	reached(target)
	if err := h.SetTLS(ctx, ovsbed.TLS{Key: key, Certificate: certificate, CA: certificate}); err != nil {
		t.Fatal(err)
	}
	if target, err = h.Listen(ctx, true); err != nil {
		t.Fatal(err)
	}
	reached(target)
	if err := h.EmerReset(ctx); err != nil {
		t.Fatal(err)
	}
	reached(target)
}

// A farm is there within seconds, and its hosts and VMs change as others do.
func TestFarm(t *testing.T) {
	bed := ovsbedtest.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	const hosts, vms = 6, 50
	began := time.Now()
	farm, err := bed.Farm(ctx, hosts, vms)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d hosts with %d VMs each within %v", hosts, vms, time.Since(began).Round(time.Millisecond))
	if len(farm.Hosts) != hosts || len(farm.VMs) != hosts*vms {
		t.Fatalf("%d hosts, %d VMs", len(farm.Hosts), len(farm.VMs))
	}
	targets, err := farm.ListenAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range farm.Hosts {
		out, err := exec.CommandContext(ctx, "ovsdb-client", "--timeout=30", "--format=csv", "--no-headings", "dump", targets[i], "Open_vSwitch", "Interface", "name", "ofport", "error").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, vm := range farm.VMs[i*vms : (i+1)*vms] {
			if want := fmt.Sprintf("[],%s,%d\n", vm.Port.Name, vm.Port.OFPort); vm.Host != h || vm.Port.OFPort == 0 || !strings.Contains(string(out), want) {
				t.Fatalf("VM %q: no %q in %s", vm.Name, want, out)
			}
		}
	}
	vm := farm.VMs[0]
	before := vm.Port
	if err := vm.Replug(ctx); err != nil || vm.Port.OFPort == before.OFPort || vm.Port.OFPort == 0 {
		t.Errorf("replug: port %+v, was %+v, %v", vm.Port, before, err)
	}
	if err := vm.Move(ctx, farm.Hosts[1], nil); err != nil || vm.Host != farm.Hosts[1] || vm.Port.OFPort == 0 {
		t.Errorf("move: host %q, port %+v, %v", vm.Host.Name, vm.Port, err)
	}
	if err := farm.Hosts[1].RestartSwitch(ctx); err != nil {
		t.Error(err)
	}
}
