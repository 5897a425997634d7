package proof_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/lab/traffic"
	"github.com/weirhq/weir/pki"
)

func TestMain(m *testing.M) { os.Exit(apptest.Main(m)) }

// soon is how long what happens within seconds may take on a busy machine.
const soon = time.Minute

// rig is three hosts that a running Weir manages, joined by a switch that it does not, and their VMs.
//
//	hv1  Weir dials it, tcp   br0  web 10.1.0.1   red 10.1.7.4 (VLAN 7)   ┐
//	hv2  Weir dials it, TLS   br0  db 10.1.0.2                           ├ lan
//	hv3  it dials Weir, TLS   br0  app 10.1.0.3   blue 10.1.7.5 (VLAN 7)  ┘
//
// Databases say what those of XenServer say; names are in the estate file.
type rig struct {
	*testing.T
	ctx  context.Context
	data string // directory of Weir
	weir *apptest.App
	hv   map[string]*ovsbed.Host
	lan  *ovsbed.Host          // the switch between them
	vms  map[string]*ovsbed.VM // by the name that they had first

	names   map[string]string // of VMs in the estate file
	began   time.Time
	settled time.Time // when Weir knew everything that there was first
	port    uint16    // of the last marked datagrams
	marks   []mark
	events  uint64 // id of the last network event that was looked at
}

// mark is datagrams that were sent from one VM to another by a port of their own.
type mark struct {
	what     string
	port     uint16
	from, to string   // names at that time
	hosts    []string // that saw them
	network  string
}

const (
	pool   = "lab"
	bridge = "br0"
	marked = 20 // datagrams of a mark
)

// networks are those of the rig: name, UUID and bridge.
var networks = map[string]struct {
	uuid, bridge string
	vlan         uint16
}{
	"flat":  {"11111111-0000-4000-8000-000000000001", bridge, 0},
	"seven": {"11111111-0000-4000-8000-000000000007", "xapi7", 7},
}

// placed is a VM, where it is plugged in first.
type placed struct{ name, host, network string }

func newRig(t *testing.T, limit time.Duration, vms ...placed) *rig {
	t.Helper()
	bed := ovsbedtest.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	r := &rig{T: t, ctx: ctx, data: t.TempDir(), hv: map[string]*ovsbed.Host{}, vms: map[string]*ovsbed.VM{}, names: map[string]string{}, port: 7000, began: time.Now()}
	lan, err := bed.Host(ctx, "lan")
	r.must(err)
	r.must(lan.AddBridge(ctx, bridge))
	r.lan = lan
	for _, name := range []string{"hv1", "hv2", "hv3"} {
		h, err := bed.Host(ctx, name)
		r.must(err)
		r.must(h.AddBridge(ctx, bridge))
		r.must(h.AddNetwork(ctx, "xapi7", bridge, 7))
		_, _, err = h.Join(ctx, bridge, lan, bridge)
		r.must(err)
		r.hv[name] = h
	}
	for i, vm := range vms {
		r.declare(vm.name, vm.network, i+1)
		r.plugIn(vm.name, vm.host)
	}
	return r
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// declare makes a VM, which is plugged in nowhere yet, one that the estate file names.
func (r *rig) declare(name, network string, number int) {
	n := networks[network]
	r.names[name] = name
	r.vms[name] = &ovsbed.VM{
		Name: name, Bridge: n.bridge, MAC: fmt.Sprintf("02:00:00:00:00:%02x", number),
		Addrs: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("10.1.%d.%d/24", n.vlan, number)), netip.MustParsePrefix(fmt.Sprintf("fd01:%d::%d/64", n.vlan, number)),
		},
		Identity: ovsbed.Identity{
			Platform: ovsbed.XenServer, Network: n.uuid,
			VM: fmt.Sprintf("22222222-0000-4000-8000-%012d", number), VIF: fmt.Sprintf("33333333-0000-4000-8000-%012d", number),
		},
	}
}

// plugIn starts a VM that was declared.
func (r *rig) plugIn(name, host string) {
	r.Helper()
	vm, err := r.hv[host].AddVM(r.ctx, *r.vms[name])
	r.must(err)
	r.vms[name] = &vm
}

// describe writes the estate file: what hosts do not say.
func (r *rig) describe() {
	r.Helper()
	m := estate.Model{Pools: []estate.Pool{{Name: pool}}}
	for name, n := range networks {
		m.Networks = append(m.Networks, estate.Network{Name: name, UUID: n.uuid, Pool: pool})
	}
	for first, vm := range r.vms {
		m.VMs = append(m.VMs, estate.VM{
			Name: r.names[first], UUID: vm.Identity.VM, Pool: pool, VIFs: []estate.VIF{{UUID: vm.Identity.VIF, IPs: []netip.Addr{vm.Addrs[0].Addr(), vm.Addrs[1].Addr()}}},
		})
	}
	body, err := strictyaml.Encode(m)
	r.must(err)
	path := filepath.Join(r.data, "estate.yaml")
	r.must(os.WriteFile(path+".new", body, 0o600))
	r.must(os.Rename(path+".new", path))
}

// configure writes what Weir reads when it starts, more in the end.
func (r *rig) configure(more string) {
	r.Helper()
	c, err := net.ListenUDP("udp4", nil) // a port that is free, and stays the same when Weir is started again
	r.must(err)
	port := c.LocalAddr().(*net.UDPAddr).Port
	r.must(c.Close())
	r.must(os.WriteFile(filepath.Join(r.data, "weir.yaml"), fmt.Appendf(nil, `
estate: {file: estate.yaml}
collector: {listen: ["0.0.0.0:%d"], active_timeout: 10m, flush_interval: 100ms} # hosts without traffic are not silent soon
hosts: {listeners: [{addr: "%v:6640"}], grace: 5s, session: {probe: 2s}, export: {active_timeout: 1s}}
%s`, port, r.hv["hv3"].Root, more), 0o600))
	r.describe()
}

// knows waits until Weir has read that there is a VM of that name.
func (r *rig) knows(name string) {
	r.Helper()
	apptest.Eventually(r, soon, name+" is known", func() error {
		out, err := r.weir.SQL(fmt.Sprintf("SELECT count() FROM entities_now WHERE kind = 'vm' AND name = '%s'", name))
		if err == nil && out != "1" {
			err = fmt.Errorf("%s of that name", out)
		}
		return err
	})
}

// start starts Weir, or starts it again.
func (r *rig) start() {
	r.Helper()
	r.weir = apptest.Start(r, r.data, "--store-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0")
}

// addHosts makes Weir know the hosts: hv1 by tcp, hv2 by TLS with a certificate of Weir's own authority, and hv3, which dials in with a
// certificate of its own that somebody confirms.
func (r *rig) addHosts() {
	r.Helper()
	target, err := r.hv["hv1"].Listen(r.ctx, false)
	r.must(err)
	r.command("hosts", "add", "hv1", target, "--pool", pool)

	keys := r.TempDir()
	r.command("ca", "init")
	r.command("ca", "host", "hv2", "--out", filepath.Join(keys, "hv2"))
	r.must(r.hv["hv2"].SetTLS(r.ctx, ovsbed.TLS{
		Key: filepath.Join(keys, "hv2", "hv2-privkey.pem"), Certificate: filepath.Join(keys, "hv2", "hv2-cert.pem"), CA: filepath.Join(keys, "hv2", "weir-ca.pem"),
	}))
	target, err = r.hv["hv2"].Listen(r.ctx, true)
	r.must(err)
	r.command("hosts", "add", "hv2", target, "--pool", pool)

	own, err := pki.Init(filepath.Join(keys, "own"), pki.RSA, time.Now())
	r.must(err)
	pair, err := own.Issue(pki.Request{Name: "hv3"}, time.Now())
	r.must(err)
	r.must(own.WriteHost(filepath.Join(keys, "hv3"), pair))
	r.must(r.hv["hv3"].SetTLS(r.ctx, ovsbed.TLS{
		Key: filepath.Join(keys, "hv3", "hv3-privkey.pem"), Certificate: filepath.Join(keys, "hv3", "hv3-cert.pem"), CA: filepath.Join(keys, "bootstrap.pem"),
	}))
	r.command("hosts", "add", "hv3", "--dials-in", "--pin-first", "--uuid", r.hv["hv3"].UUID, "--pool", pool)
	r.must(r.hv["hv3"].SetManagers(r.ctx, "ssl:"+net.JoinHostPort(r.hv["hv3"].Root.String(), "6640")))
	apptest.Eventually(r, soon, "hv3 is confirmed", func() error {
		_, err := r.weir.Run("hosts", "confirm", "hv3", "--yes")
		return err
	})
}

// command runs a weir command on the instance.
func (r *rig) command(args ...string) string {
	r.Helper()
	out, err := r.weir.Run(args...)
	r.must(err)
	return out
}

// reaches waits until a VM reaches another: switches learn.
func (r *rig) reaches(from, to string) {
	r.Helper()
	apptest.Eventually(r, soon, from+" reaches "+to, func() error {
		ctx, cancel := context.WithTimeout(r.ctx, 300*time.Millisecond)
		defer cancel()
		return traffic.Ping(ctx, r.vms[from].Namespace, r.vms[to].Addrs[0].Addr(), 1, 56)
	})
}

// live makes every host report a flow, and waits until it has: from then on each counts what its own VMs send.
func (r *rig) live() {
	r.Helper()
	apptest.Eventually(r, soon, "three hosts are live", func() error {
		for first, vm := range r.vms {
			other := "web"
			if vm.Bridge != bridge {
				other = "blue"
			}
			if first != other && vm.Port.Name != "" {
				r.reaches(first, other)
			}
		}
		resp, err := http.Get("http://" + r.weir.API + "/metrics")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		metrics, err := io.ReadAll(resp.Body)
		if err == nil && !strings.Contains(string(metrics), "\nweir_enricher_live_hosts 3\n") {
			err = errors.New("weir_enricher_live_hosts is not 3")
		}
		return err
	})
}

// passes sends datagrams from one VM to another and waits until the hosts of both have told of all of them, with the right names.
func (r *rig) passes(what, from, to string) {
	r.Helper()
	r.reaches(from, to)
	r.port++
	m := mark{what: what, port: r.port, from: r.names[from], to: r.names[to], network: "flat"}
	if r.vms[from].Bridge != bridge {
		m.network = "seven"
	}
	m.hosts = []string{r.vms[from].Host.Name}
	if other := r.vms[to].Host.Name; other != m.hosts[0] {
		m.hosts = append(m.hosts, other)
	}
	slices.Sort(m.hosts)
	began := time.Now()
	r.must(traffic.UDP(r.ctx, r.vms[from].Namespace, r.vms[to].Namespace, netip.AddrPortFrom(r.vms[to].Addrs[0].Addr(), m.port), marked, 200, -1))
	apptest.Eventually(r, soon, what+": flows", func() error { return r.check(m, m.from, m.to) })
	r.Logf("%s: %s to %s told by %v after %v", what, m.from, m.to, m.hosts, time.Since(began).Round(100*time.Millisecond))
	r.marks = append(r.marks, m)
}

// check looks at the rows of a mark. now are the names that its VMs should have now.
func (r *rig) check(m mark, fromNow, toNow string) error {
	out, err := r.weir.SQL(fmt.Sprintf(`
SELECT host_name, src_vm_name, dst_vm_name, src_vm_name_then, dst_vm_name_then, network_name, bridge_name, pool_name, sum(packets)
FROM flows WHERE dst_port = %d AND protocol = 17 GROUP BY ALL ORDER BY ALL`, m.port))
	if err != nil {
		return err
	}
	var want []string
	for _, host := range m.hosts {
		want = append(want, strings.Join([]string{host, fromNow, toNow, m.from, m.to, m.network, bridge, pool, fmt.Sprint(marked)}, "\t"))
	}
	if got := strings.Split(out, "\n"); !slices.Equal(got, want) {
		return fmt.Errorf("rows\n%s\nwant\n%s", out, strings.Join(want, "\n"))
	}
	counted, err := r.weir.SQL(fmt.Sprintf("SELECT sum(packets), uniqExact(host) FROM flows WHERE dst_port = %d AND protocol = 17 AND counted", m.port))
	if err == nil && counted != fmt.Sprintf("%d\t1", marked) {
		err = fmt.Errorf("packets and hosts in totals: %q, want %d of one host", counted, marked)
	}
	return err
}

// happened waits until exactly these events, each "kind subject", were noticed since it was called last, and returns how long it waited. The order
// of events at different hosts is of no account.
func (r *rig) happened(what string, want ...string) {
	r.Helper()
	slices.Sort(want)
	began := time.Now()
	var list []string
	look := func() error {
		out, err := r.weir.SQL(fmt.Sprintf("SELECT kind, subject FROM network_events FINAL WHERE id > %d ORDER BY id", r.events))
		if err != nil {
			return err
		}
		list = nil
		for line := range strings.Lines(out) {
			list = append(list, strings.ReplaceAll(strings.TrimSpace(line), "\t", " "))
		}
		slices.Sort(list)
		if len(list) > len(want) || len(list) == len(want) && !slices.Equal(list, want) {
			r.Fatalf("%s: network events %q, want %q", what, list, want)
		}
		if len(list) < len(want) {
			return fmt.Errorf("network events %q, want %q", list, want)
		}
		return nil
	}
	apptest.Eventually(r, soon, what+": events", look)
	r.Logf("%s: noticed after %v: %v", what, time.Since(began).Round(10*time.Millisecond), want)
	if len(want) > 0 {
		_, err := fmt.Sscan(r.weir.MustSQL("SELECT max(id) FROM network_events"), &r.events)
		r.must(err)
	}
}

// exports waits until a bridge of every host exports flows to Weir, and says how long that took.
func (r *rig) exports(what string, hosts ...string) {
	r.Helper()
	began := time.Now()
	for _, name := range hosts {
		apptest.Eventually(r, soon, what+": export of "+name, func() error {
			out, err := r.hv[name].VSCtl(r.ctx, "get", "bridge", bridge, "ipfix")
			if err == nil && out == "[]" {
				err = errors.New("none")
			}
			return err
		})
	}
	r.Logf("%s: flows are exported again after %v", what, time.Since(began).Round(10*time.Millisecond))
}
