package proof_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/netns/netnstest"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/lab/site"
	"github.com/weirhq/weir/lab/traffic"
	"github.com/weirhq/weir/lab/xapi"
)

// Whatever happens in a pool that is asked by XAPI: the estate is what the pool has, flows have the names that VMs have there, and what is
// enforced goes by their tags and addresses, wherever they are.
func TestPool(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up on two hosts")
	}
	r := newPoolRig(t)
	r.connect()
	r.enforce()
	r.rename()
	r.tag()
	r.migrate()
	r.hotPlug()
	r.readdress()
	r.coordinators()
	r.Logf("all of it took %v", time.Since(r.began).Round(time.Second))
}

// poolRig is a site whose hosts are a pool with XAPI, and Weir, which follows it.
//
//	xcp-01  xenbr0  web-01, half of the others   coordinator at first
//	xcp-02  xenbr0  the others
type poolRig struct {
	*policyRig
	site  *site.Site
	web   string          // the name that web-01 has now
	added map[string]bool // hosts to Weir

	former []string // addresses that a VIF had: they were learned, and are kept for a while
}

// quarantine is a policy by which VMs take nothing from VMs with a tag.
const quarantine = `
default: allow
vm_groups:
  - {name: quarantine, select: [{tags: [quarantine]}]}
global:
  mandatory:
    - {id: quarantined, action: deny, direction: from, protocol: udp, remote: vm-group:quarantine}
`

func newPoolRig(t *testing.T) *poolRig {
	t.Helper()
	ovsbedtest.New(t) // skips where there can be no hosts
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	r := &poolRig{web: "web-01", added: map[string]bool{}}
	r.policyRig = &policyRig{rig: &rig{T: t, ctx: ctx, data: t.TempDir(), hv: map[string]*ovsbed.Host{}, vms: map[string]*ovsbed.VM{}, port: 7000, began: time.Now()}}
	var err error
	r.site, err = site.New(ctx, site.Config{Hosts: 2, VMs: 8, XAPI: true}, netnstest.New(t))
	r.must(err)
	for _, h := range r.site.Hosts() {
		r.hv[h.Name] = h
	}
	r.look()
	return r
}

// look reads where the VMs of the test are.
func (r *poolRig) look() {
	r.Helper()
	for rig, name := range map[string]string{"web": r.web, "other": "web-02"} {
		list, err := r.site.VM(name)
		r.must(err)
		r.vms[rig] = &list[0]
	}
}

// do makes something happen in the pool.
func (r *poolRig) do(line string) {
	r.Helper()
	words := strings.Fields(line)
	began := time.Now()
	r.must(r.site.Do(r.ctx, words[0], words[1:]...))
	if words[0] == "rename" {
		r.web = words[2]
	}
	r.Logf("%s: done within %v", line, time.Since(began).Round(time.Millisecond))
	r.look()
}

// file writes a file of Weir's.
func (r *poolRig) file(name, text string) {
	r.Helper()
	r.must(os.WriteFile(filepath.Join(r.data, name), []byte(text), 0o600))
}

// connect starts Weir, which is told of a member of the pool only, and of two ways into it that do not lead there; then of its hosts, one
// after the other.
func (r *poolRig) connect() {
	access := r.site.Access()
	source := func(name string, pins any, password string) string {
		r.file(name+".password", password+"\n")
		list, err := json.Marshal(map[string]any{
			"name": name, "addresses": access.Addresses[1:], "user": site.User, "password_file": name + ".password", "pins": pins,
		})
		r.must(err)
		return "    - " + string(list) + "\n"
	}
	r.listeners = r.ports(1)
	r.file("weir.yaml", fmt.Sprintf(`
estate:
  file: estate.yaml
  xapi:
%s%s%s
collector: {listen: ["0.0.0.0:%d"], active_timeout: 10m, flush_interval: 100ms} # hosts without traffic are not silent soon
hosts: {export: {active_timeout: 1s}}
policy: {listeners: [{addr: "0.0.0.0:%d", tls: false, insecure: true}]}
`, source("lab", access.Pins, site.Password), source("stolen", access.Pins, "another"), source("strange", []string{strings.Repeat("AB:", 31) + "AB"}, site.Password), r.freeUDP(), r.listeners[0]))
	r.file("estate.yaml", "")
	r.start()
	r.equal("at first", "")

	r.add("xcp-01")
	r.says("half a pool: Weir has no session with xcp-02 (--uuid "+r.hv["xcp-02"].UUID, "half of it is connected")
	r.add("xcp-02")
	r.equal("with its hosts", "")
	out := r.command("estate", "sources")
	for _, want := range []string{
		"xapi:stolen: it cannot be asked", "check user and password_file", "xapi:strange: it cannot be asked", "not among pins: compare it at the host, and add it",
		"connected with " + access.Addresses[0],
	} {
		if !strings.Contains(out, want) {
			r.Errorf("weir estate sources does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "half a pool") || strings.Contains(out, site.Password) || strings.Contains(r.weir.Output(), site.Password) {
		r.Errorf("weir estate sources, or the log:\n%s", out)
	}
}

// add makes Weir know a host.
func (r *poolRig) add(name string) {
	r.Helper()
	target, err := r.hv[name].Listen(r.ctx, false)
	r.must(err)
	r.command("hosts", "add", name, target, "--pool", site.Pool)
	r.added[name] = true
}

// says waits until weir doctor says something.
func (r *poolRig) says(want, when string) {
	r.Helper()
	apptest.Eventually(r, soon, when, func() error {
		out, _ := r.weir.Run("doctor") // which fails, as it should
		if !strings.Contains(out, want) {
			return fmt.Errorf("weir doctor does not say %q:\n%s", want, out)
		}
		return nil
	})
}

// equal waits until the estate has what the pool has, no more and no less.
func (r *poolRig) equal(when, coordinator string) {
	r.Helper()
	began := time.Now()
	want := r.wanted()
	apptest.Eventually(r, soon, when+": the estate is the pool", func() error {
		if diff := cmp.Diff(want, r.found()); diff != "" {
			return fmt.Errorf("(-want +got):\n%s", diff)
		}
		if coordinator == "" {
			return nil
		}
		out, err := r.weir.Run("estate", "sources", "xapi:lab")
		if err == nil && !strings.Contains(out, coordinator+" "+r.hv[coordinator].Exporter.String()) {
			err = fmt.Errorf("another coordinator: %s", out)
		}
		return err
	})
	r.Logf("%s: the estate is the pool after %v", when, time.Since(began).Round(10*time.Millisecond))
}

// wanted returns what the pool and the bridges have, as found does. It is not made by what Weir makes its model with.
func (r *poolRig) wanted() map[string]string {
	p := r.site.Management()
	m := map[string]string{}
	put := func(kind, uuid, name, parent string, attributes map[string]string) {
		maps.DeleteFunc(attributes, func(_, v string) bool { return v == "" })
		m[kind+" "+uuid] = fmt.Sprintf("%s < %s %v", name, parent, attributes)
	}
	text := func(rec xapi.Record, key string) string { return fmt.Sprint(rec[key]) }
	name := func(class string, ref any) string { return text(p.Record(class, ref.(string)), "name_label") }
	for _, ref := range p.Refs("host") {
		h := p.Record("host", ref)
		put("host", text(h, "uuid"), text(h, "name_label"), site.Pool, map[string]string{
			"address": text(h, "address"), "exporters": text(h, "address"), "hostname": text(h, "hostname"), "enabled": "true", "live": "true", "product": "XCP-ng 8.3.0", "network_backend": "openvswitch",
		})
	}
	for _, ref := range p.Refs("network") {
		n := p.Record("network", ref)
		vlan := ""
		for _, v := range p.Refs("VLAN") {
			if x := p.Record("VLAN", v); p.Record("PIF", x["untagged_PIF"].(string))["network"] == ref {
				vlan = text(x, "tag")
			}
		}
		put("network", text(n, "uuid"), text(n, "name_label"), site.Pool, map[string]string{"bridge": r.site.Bridge(), "vlan": vlan, "mtu": "1500", "locking_mode": "unlocked"})
	}
	for _, ref := range p.Refs("VM") {
		v := p.Record("VM", ref)
		tags := slices.Sorted(slices.Values(v["tags"].([]string)))
		put("vm", text(v, "uuid"), text(v, "name_label"), site.Pool, map[string]string{
			"host": name("host", v["resident_on"]), "power_state": "running", "os": "Debian 12", "tags": strings.Join(tags, ","),
		})
	}
	for _, ref := range p.Refs("VIF") {
		v := p.Record("VIF", ref)
		vm := p.Record("VM", v["VM"].(string))
		var ips []netip.Addr
		for key, a := range p.Record("VM_guest_metrics", vm["guest_metrics"].(string))["networks"].(map[string]string) {
			if strings.HasPrefix(key, text(v, "device")+"/ipv") {
				ips = append(ips, netip.MustParseAddr(a))
			}
		}
		slices.SortFunc(ips, netip.Addr.Compare)
		port := ""
		if interfaces, err := r.site.VM(text(vm, "name_label")); err == nil && r.added[interfaces[0].Host.Name] {
			for _, x := range interfaces {
				if x.Identity.VIF == text(v, "uuid") && v["currently_attached"] == true {
					port = fmt.Sprintf("%s/%s/%s", x.Host.Name, r.site.Bridge(), x.Port.Name)
				}
			}
		}
		put("vif", text(v, "uuid"), text(vm, "name_label")+"/"+text(v, "device"), text(vm, "name_label"), map[string]string{
			"device": text(v, "device"), "mac": text(v, "MAC"), "network": name("network", v["network"]), "locking_mode": "unlocked", "ips": strings.Trim(strings.ReplaceAll(fmt.Sprint(ips), " ", ","), "[]"), "ports": port,
		})
	}
	return m
}

// found returns what the estate has, by kind and UUID, without addresses that a VIF had before, and without link-local ones: those are learned where a
// namespace looks for its neighbours, of which the pool says nothing.
func (r *poolRig) found() map[string]string {
	r.Helper()
	var answer api.EstateAnswer
	r.must(json.Unmarshal([]byte(r.command("estate", "tree", "--json")), &answer))
	names := map[flow.ID]string{}
	for _, e := range answer.Entities {
		names[e.ID] = e.Name
	}
	m := map[string]string{}
	for _, e := range answer.Entities {
		if ips := strings.Split(e.Attributes["ips"], ","); e.Kind == flow.KindVIF {
			e.Attributes["ips"] = strings.Join(slices.DeleteFunc(ips, func(a string) bool { return slices.Contains(r.former, a) || strings.HasPrefix(a, "fe80:") }), ",")
		}
		if slices.Contains([]flow.Kind{flow.KindHost, flow.KindNetwork, flow.KindVM, flow.KindVIF}, e.Kind) {
			m[string(e.Kind)+" "+e.Key] = fmt.Sprintf("%s < %s %v", e.Name, names[e.Parent], e.Attributes)
		}
	}
	return m
}

// freeUDP returns a port that is free.
func (r *poolRig) freeUDP() int {
	c, err := net.ListenUDP("udp4", nil)
	r.must(err)
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// enforce puts the policy in force at all of the pool.
func (r *poolRig) enforce() {
	r.apply(quarantine)
	r.command("pool", "mode", site.Pool, "enforce", "--yes")
	r.enforced("begin", "xcp-01", "xcp-02")
	r.named("begin")
}

// named sends datagrams from web to the other and waits for rows with the names that they have in the pool now.
func (r *poolRig) named(what string) {
	r.Helper()
	r.reaches("web", "other")
	r.port++
	began := time.Now()
	r.must(traffic.UDP(r.ctx, r.vms["web"].Namespace, r.vms["other"].Namespace, r.udp("other", r.port), marked, 200, -1))
	var want []string
	for _, vm := range []string{"web", "other"} {
		if host := r.vms[vm].Host.Name; !slices.Contains(want, host) {
			want = append(want, host)
		}
	}
	slices.Sort(want)
	for i, host := range want {
		want[i] = strings.Join([]string{host, r.web, "web-02", "front", site.Pool, fmt.Sprint(marked)}, "\t")
	}
	apptest.Eventually(r, soon, what+": flows have names", func() error {
		out, err := r.weir.SQL(fmt.Sprintf(`
SELECT host_name, src_vm_name_then, dst_vm_name_then, network_name, pool_name, max(packets) FROM (
	SELECT host_name, src_vm_name_then, dst_vm_name_then, network_name, pool_name, stage, sum(packets) AS packets FROM flows WHERE dst_port = %d AND protocol = 17 GROUP BY ALL
) GROUP BY ALL ORDER BY ALL`, r.port))
		if err == nil && out != strings.Join(want, "\n") {
			err = fmt.Errorf("rows\n%s\nwant\n%s", out, strings.Join(want, "\n"))
		}
		return err
	})
	r.Logf("%s: flows of %s have names after %v", what, r.web, time.Since(began).Round(10*time.Millisecond))
}

// stream is a probe from one interface to another.
func (r *poolRig) stream(from, to *ovsbed.VM) *traffic.Probe {
	r.Helper()
	r.port++
	p, err := traffic.NewProbe(r.ctx, traffic.ProbeConfig{
		From: from.Namespace, Source: from.Addrs[0].Addr(), To: []*netns.Namespace{to.Namespace}, Target: netip.AddrPortFrom(to.Addrs[0].Addr(), r.port),
	})
	r.must(err)
	r.Cleanup(p.Close)
	return p
}

// A VM gets another name.
func (r *poolRig) rename() {
	r.do("rename web-01 shop")
	r.equal("rename", "")
	r.named("rename")
}

// A tag puts a VM into a group, and what is enforced follows.
func (r *poolRig) tag() {
	p := r.stream(r.vms["web"], r.vms["other"])
	r.seen("before it is tagged", p, 0, time.Now())
	began := time.Now()
	r.do("tag shop web,quarantine")
	r.cut("tag", p, 0, began)
	r.equal("tag", "")
	began = time.Now()
	r.do("tag shop web")
	r.seen("tag taken away", p, 0, began)
	r.equal("tag taken away", "")
}

// A rule holds where a VM arrives, from its first packet.
func (r *poolRig) migrate() {
	p := r.stream(r.vms["web"], r.vms["other"])
	r.do("tag shop quarantine")
	r.cut("tag before it moves", p, 0, time.Now())
	from, to := r.vms["web"].Host.Name, "xcp-02"
	if from == to {
		to = "xcp-01"
	}
	sent := p.Sent()
	r.do("move shop " + to)
	r.equal("migrate", "")
	r.enforced("migrate", "xcp-01", "xcp-02")
	r.never("migrate", p, 0, sent)
	began := time.Now()
	r.do("tag shop web")
	r.seen("tag taken away at the other host", p, 0, began)
	r.named("migrate")
}

// Rules are for an interface that a VM gets while it runs, too: whether it sends or is sent to.
func (r *poolRig) hotPlug() {
	r.do("tag app-01 quarantine")
	r.do("add-vif app-01 front")
	r.equal("hot-plug", "")
	list, err := r.site.VM("app-01")
	r.must(err)
	plugged := &list[len(list)-1]
	p := r.stream(plugged, r.vms["other"])
	r.cut("hot-plug", p, 0, time.Now())
	began := time.Now()
	r.do("tag app-01 app")
	r.seen("hot-plug, tag taken away", p, 0, began)
	to := r.stream(r.vms["web"], plugged)
	r.seen("hot-plug, to the interface", to, 0, began)
	began = time.Now()
	r.do("tag shop quarantine")
	r.cut("hot-plug, to the interface", to, 0, began)
	r.do("tag shop web")
	r.equal("hot-plug, tag taken away", "")
}

// A guest has another address, which its group has then.
func (r *poolRig) readdress() {
	r.do("tag shop quarantine")
	r.former = append(r.former, r.addr("web", false).String())
	r.do("address shop 10.20.9.9")
	r.equal("address", "")
	p := r.stream(r.vms["web"], r.vms["other"])
	r.cut("address", p, 0, time.Now())
	began := time.Now()
	r.do("tag shop web")
	r.seen("address, tag taken away", p, 0, began)
	r.named("address")
}

// The pool is followed on when another host is its coordinator, when XAPI starts anew, and when the session ends.
func (r *poolRig) coordinators() {
	p := r.stream(r.vms["web"], r.vms["other"])
	r.seen("before a failover", p, 0, time.Now())
	for i, line := range []string{"failover xcp-02", "restart-xapi", "expire", "failover xcp-01"} {
		began := time.Now()
		r.do(line)
		name := fmt.Sprint("shop-", i)
		r.do("rename " + r.web + " " + name)
		coordinator := "xcp-02"
		if line == "failover xcp-01" {
			coordinator = "xcp-01"
		}
		r.do("tag " + name + " quarantine")
		r.cut(line, p, 0, began)
		r.equal(line, coordinator)
		began = time.Now()
		r.do("tag " + name + " web")
		r.seen(line+", tag taken away", p, 0, began)
		r.named(line)
		if i > 0 { // else the connection had lasted
			continue
		}
		if n := r.weir.MustSQL("SELECT countIf(kind = 'pool_lost' AND subject = 'lab') FROM network_events"); n != "0" {
			r.Errorf("%s: %s events tell that the pool was lost, which it was not", line, n)
		}
	}
	if out := r.command("estate", "sources", "xapi:lab"); strings.Contains(out, "problem") {
		r.Errorf("weir estate sources xapi:lab:\n%s", out)
	}
}
