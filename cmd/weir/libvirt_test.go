package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/libvirtrpc"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/lab/traffic"
	"github.com/weirhq/weir/policyd"
)

// domainXML is what libvirt says of a domain with an interface at a bridge of Open vSwitch.
func domainXML(vm *ovsbed.VM) string {
	return fmt.Sprintf(`<domain type='kvm'><name>%s</name><uuid>%s</uuid>
<metadata><weir:domain xmlns:weir="urn:weir:domain"><weir:tag>%s</weir:tag></weir:domain></metadata>
<devices><interface type='bridge'><mac address='%s'/><source bridge='br0'/>
<virtualport type='openvswitch'><parameters interfaceid='%s'/></virtualport></interface></devices></domain>`,
		vm.Name, vm.Identity.VM, vm.Name, vm.MAC, strings.ToUpper(vm.Identity.VIF))
}

// On two hosts with libvirt and Open vSwitch a domain is plugged in and migrates: it is one VM of both sources, its tags put it into groups, and the rules of these
// and the names in flows go with it. Libvirt is the lab's stand-in, Open vSwitch a real one.
func TestLibvirtMigration(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up and Open vSwitch")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	bed, data := ovsbedtest.New(t), t.TempDir()
	config := "estate:\n  libvirt:\n"
	var hv [2]*ovsbed.Host
	var libvirts [2]*libvirtrpc.Host
	for i := range hv {
		name, socket := fmt.Sprint("kvm", i+1), filepath.Join(data, fmt.Sprint("libvirt-", i+1))
		var err error
		hv[i], err = bed.Host(ctx, name)
		must(err)
		must(hv[i].AddBridge(ctx, "br0"))
		l, err := net.Listen("unix", socket)
		must(err)
		libvirts[i] = libvirtrpc.New(name, fmt.Sprintf("44444444-0000-4000-8000-%012d", i+1))
		done := make(chan struct{})
		go func() { libvirts[i].Serve(l); close(done) }()
		t.Cleanup(func() { l.Close(); <-done })
		config += fmt.Sprintf("    - {name: %[1]s, host: %[1]s, pool: lab, uri: \"qemu+unix:///system?socket=%[2]s\", resync: 1h}\n", name, socket)
	}
	_, _, err := hv[0].Join(ctx, "br0", hv[1], "br0")
	must(err)
	var web, db ovsbed.VM
	for i, vm := range []*ovsbed.VM{&web, &db} {
		name := []string{"web", "db"}[i]
		*vm, err = hv[0].AddVM(ctx, ovsbed.VM{
			Name: name, Bridge: "br0", MAC: fmt.Sprintf("52:54:00:00:00:%02x", i+1), Addrs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.1.0.%d/24", i+1))},
			Identity: ovsbed.Identity{Platform: ovsbed.Libvirt},
		})
		must(err)
	}
	libvirts[0].Start(libvirtrpc.Domain{Name: "db", UUID: db.Identity.VM, XML: domainXML(&db), State: rpc.DomainRunning})
	must(os.WriteFile(filepath.Join(data, "weir.yaml"), fmt.Appendf(nil, `%s
collector: {listen: ["0.0.0.0:0"], active_timeout: 3s, flush_interval: 100ms}
hosts: {export: {active_timeout: 1s}}
policy: {listeners: [{addr: "0.0.0.0:0", tls: false, insecure: true}]}
`, config), 0o600))
	app := apptest.Start(t, data, "--store-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0")
	run := func(args ...string) string {
		t.Helper()
		return good(t, append(args, "--data", data)...)
	}
	for i, h := range hv {
		target, err := h.Listen(ctx, false)
		must(err)
		run("hosts", "add", h.Name, target, "--pool", "lab")
		apptest.Eventually(t, soon, h.Name+" is read", func() error {
			if s := parse[policyd.HostStatus](t, run("hosts", "show", h.Name, "--json")); s.VIFs != []int{2, 0}[i] {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
	}
	explained := func(what string, want ...string) {
		t.Helper()
		apptest.Eventually(t, soon, what+" is explained", func() error {
			a := weir(t, "estate", "explain", what, "--data", data)
			for _, w := range want {
				if !strings.Contains(a.stdout, w) {
					return fmt.Errorf("want %q in:\n%s%s", w, a.stdout, a.err)
				}
			}
			return nil
		})
	}

	// web's domain comes while its interface is there: what both sources tell is one VM and one VIF.
	libvirts[0].Start(libvirtrpc.Domain{Name: "web", UUID: web.Identity.VM, XML: domainXML(&web), State: rpc.DomainRunning})
	explained("web", "libvirt:kvm1 *", "host:kvm1", "tags", "web", "kvm1")
	if out := run("estate", "explain", web.MAC); strings.Count(out, "vif ") != 1 || !strings.Contains(out, "libvirt:kvm1") || !strings.Contains(out, "host:kvm1") {
		t.Errorf("the VIF of both sources is not one:\n%s", out)
	}
	run("policy", "apply", write(t, t.TempDir(), "policy.yaml", []byte(`default: allow
vm_groups: [{name: webs, select: [{tags: [web]}]}]
vms:
  - name: web
    mandatory: [{id: no-telnet, action: deny, direction: to, protocol: tcp, remote_ports: "23"}]
  - name: db
    mandatory:
      - {id: webs, action: allow, direction: from, protocol: tcp, remote: vm-group:webs, local_ports: "23,5432"}
      - {id: nothing-else, action: deny, direction: from}
`)))
	for _, h := range hv {
		a := weir(t, "hosts", "mode", h.Name, "enforce", "--yes", "--data", data)
		if !strings.Contains(a.stdout, "is in force and verified at 1 bridge") {
			out, err := h.VSCtl(ctx, "list", "controller")
			t.Fatalf("weir hosts mode %s enforce: %+v\n%s\n%s %v\n%+v", h.Name, a, run("policy", "status"), out, err, parse[policyd.HostStatus](t, run("hosts", "show", h.Name, "--json")).Exports)
		}
	}
	passes := func(what string, port uint16, want bool) {
		t.Helper()
		apptest.Eventually(t, soon, fmt.Sprintf("%s, port %d passes: %v", what, port, want), func() error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if got := traffic.Knock(ctx, web.Namespace, web.Addrs[0].Addr(), netip.AddrPortFrom(db.Addrs[0].Addr(), port)); got != want {
				return fmt.Errorf("passes: %v", got)
			}
			return nil
		})
	}
	rules := func(what string) {
		t.Helper()
		passes(what, 5432, true) // by the group, of which web is by its tag, with an address that its bridge learned
		passes(what, 23, false)
		passes(what, 80, false)
	}
	rules("at the first host")

	must(libvirts[0].Migrate("web", libvirts[1], func() error { return web.Move(ctx, hv[1], nil) }))
	explained("web", "libvirt:kvm2 *", "host:kvm2")
	rules("at the second host")
	apptest.Eventually(t, soon, "flows at the second host are of web, and say which of its rules decided", func() error {
		out, err := app.SQL("SELECT DISTINCT src_vm_name, host_name FROM flows WHERE rule_name = 'no-telnet' AND verdict = 'denied' ORDER BY ALL")
		if want := "web\tkvm1\nweb\tkvm2"; err == nil && out != want {
			err = fmt.Errorf("%q, want %q", out, want)
		}
		return err
	})

	// An interface is plugged into a domain that runs.
	app2 := ovsbed.VM{
		Name: "app", Bridge: "br0", MAC: "52:54:00:00:00:09",
		Identity: ovsbed.Identity{Platform: ovsbed.Libvirt, VM: "55555555-0000-4000-8000-000000000009", VIF: "66666666-0000-4000-8000-000000000009"},
	}
	without := libvirtrpc.Domain{Name: "app", UUID: app2.Identity.VM, State: rpc.DomainRunning, XML: fmt.Sprintf("<domain type='kvm'><name>app</name><uuid>%s</uuid></domain>", app2.Identity.VM)}
	libvirts[1].Start(without)
	explained("app", "libvirt:kvm2 *", "kvm2")
	app2, err = hv[1].AddVM(ctx, app2)
	must(err)
	without.XML = domainXML(&app2)
	libvirts[1].Update(without)
	explained(app2.MAC, "vif app/", "libvirt:kvm2 *", "host:kvm2", "br0/"+app2.Port.Name)
}
