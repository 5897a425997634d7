package proof_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/lab/traffic"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/attach"
)

// failModes are those of the hosts of a failRig, each of which is alone in a pool of the same name.
var failModes = []string{"open", "safe", "static"}

// Ports of the datagrams of a failRig.
const (
	portAllowed = 7000
	portDenied  = 7100
	portNew     = 7200 // and the number of a VM, from one that is plugged while Weir is away
	portHost    = 7300 // and the number of a host, from a host itself into the network
)

// failRig is a Weir, and a host for each fail mode: bridge br0 with VMs a and b, and the host itself, joined with others at lan. Weir dials two of them by ways of
// their own. Of the one that is safe first, the bridge is the only way: it dials Weir through it, by lan, which leads there.
type failRig struct {
	*testing.T
	ctx   context.Context
	data  string
	weir  *apptest.App
	lan   *ovsbed.Host
	hosts map[string]*failHost // by the fail mode that they have first, which is the name of their pool, too
}

// failHost is a host with probes that run until the test ends.
type failHost struct {
	*ovsbed.Host
	pool    string
	number  int
	a, b    ovsbed.VM
	vms     int
	before  string // fail_mode of its bridge, as it was before Weir came
	inside  bool   // its bridge is its only way to Weir
	allowed *traffic.Probe
	denied  *traffic.Probe
	itself  *traffic.Probe // from the host into the network
}

func newFailRig(t *testing.T) *failRig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	t.Cleanup(cancel)
	r := &failRig{T: t, ctx: ctx, data: t.TempDir(), hosts: map[string]*failHost{}}
	bed := ovsbedtest.New(t)
	var err error
	r.lan, err = bed.Host(ctx, "lan")
	r.must(err)
	r.must(r.lan.AddBridge(ctx, bridge))
	r.must(r.lan.AddAddress(ctx, bridge, netip.PrefixFrom(lanAddr, 24)))
	pools, vms := []string{}, ""
	for i, pool := range failModes {
		h := &failHost{pool: pool, number: i + 1, inside: pool == "safe"}
		h.Host, err = bed.Host(ctx, "hv-"+pool)
		r.must(err)
		r.must(h.AddBridge(ctx, bridge))
		_, _, err = h.Join(ctx, bridge, r.lan, bridge)
		r.must(err)
		r.hosts[pool] = h
		h.a, h.b = r.vm(h), r.vm(h)
		r.address(h)
		h.before, err = h.VSCtl(ctx, "get", "bridge", bridge, "fail_mode")
		r.must(err)
		pools = append(pools, "{name: "+pool+"}")
		for _, vm := range []ovsbed.VM{h.a, h.b} {
			vms += fmt.Sprintf("  - {name: %s, pool: %s, vifs: [{device: \"0\", mac: %q, ips: [%s]}]}\n", vm.Name, pool, vm.MAC, vm.Addrs[0].Addr())
		}
	}
	r.lead()
	ports := r.freePorts(2) // which stay the same when Weir is started again
	r.must(os.WriteFile(filepath.Join(r.data, "estate.yaml"), []byte("pools: ["+strings.Join(pools, ", ")+"]\nvms:\n"+vms), 0o600))
	r.must(os.WriteFile(filepath.Join(r.data, "weir.yaml"), fmt.Appendf(nil, `
estate: {file: estate.yaml}
collector: {listen: ["0.0.0.0:0"], active_timeout: 10m}
hosts: {grace: 2s, session: {probe: 2s}, listeners: [{addr: "0.0.0.0:%d", tls: false, insecure: true}]}
policy: {inactivity_probe: 1s, listeners: [{addr: "0.0.0.0:%d", tls: false, insecure: true}]}
`, ports[0], ports[1]), 0o600))
	r.start()
	for _, pool := range failModes {
		h := r.hosts[pool]
		if h.inside {
			r.command("hosts", "add", "hv-"+pool, "--dials-in", "--insecure", "--uuid", h.UUID, "--pool", pool)
			r.must(h.SetManagers(ctx, fmt.Sprintf("tcp:%v:%d", r.lan.Root, ports[0])))
			continue
		}
		target, err := h.Listen(ctx, false)
		r.must(err)
		r.command("hosts", "add", "hv-"+pool, target, "--pool", pool)
	}
	for _, h := range r.hosts {
		h.allowed, h.denied = r.probe(h, h.a, portAllowed), r.probe(h, h.a, portDenied)
		h.itself, err = traffic.NewProbe(ctx, traffic.ProbeConfig{
			From: h.Namespace, Source: h.addr(), To: []*netns.Namespace{r.lan.Namespace}, Target: netip.AddrPortFrom(lanAddr, portHost+uint16(h.number)), Interval: watchEvery,
		})
		r.must(err)
		r.Cleanup(h.itself.Close)
	}
	return r
}

// lanAddr is an address in the network that hosts are in themselves.
var lanAddr = netip.MustParseAddr("10.3.0.100")

// addr is that of the host itself in its bridge.
func (h *failHost) addr() netip.Addr { return netip.AddrFrom4([4]byte{10, 3, 0, byte(100 + h.number)}) }

// lead makes lan the way between hosts without one and Weir.
func (r *failRig) lead() {
	r.Helper()
	for _, h := range r.hosts {
		if !h.inside {
			continue
		}
		r.must(h.SetManagement(false))
		a := r.alias(h).String()
		_, err := r.lan.Namespace.Run(r.ctx, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward && ip route add "+a+"/32 dev "+bridge)
		r.must(err)
		out, err := exec.CommandContext(r.ctx, "ip", "route", "add", a+"/32", "via", r.lan.Exporter.String()).CombinedOutput() // which ends with the link
		if err != nil {
			r.Fatalf("%v: %s", err, out)
		}
	}
}

// alias is an address of a host by which Weir knows it, where lan leads to it: of no other test on this machine.
func (r *failRig) alias(h *failHost) netip.Addr {
	root := r.lan.Root.As4()
	return netip.AddrFrom4([4]byte{10, byte(64 + h.number), root[2], root[3]})
}

// freePorts returns ports of TCP that are free.
func (r *failRig) freePorts(n int) (ports []int) {
	r.Helper()
	for range n {
		l, err := net.Listen("tcp4", ":0")
		r.must(err)
		defer func() { r.must(l.Close()) }()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// address gives the host its address, also after the switch has made the interface anew.
func (r *failRig) address(h *failHost) {
	r.Helper()
	out, err := h.Namespace.Run(r.ctx, "ip", "address", "show", "dev", bridge)
	r.must(err)
	if !strings.Contains(string(out), h.addr().String()+"/") {
		r.must(h.AddAddress(r.ctx, bridge, netip.PrefixFrom(h.addr(), 24)))
	}
	if h.inside && !strings.Contains(string(out), r.alias(h).String()) {
		r.must(h.AddAddress(r.ctx, bridge, netip.PrefixFrom(r.alias(h), 32)))
	}
	if h.inside {
		_, err := h.Namespace.Run(r.ctx, "ip", "route", "replace", r.lan.Root.String()+"/32", "via", lanAddr.String(), "dev", bridge, "src", r.alias(h).String())
		r.must(err)
	}
}

// vm plugs another VM into a host.
func (r *failRig) vm(h *failHost) ovsbed.VM {
	r.Helper()
	h.vms++
	vm, err := h.AddVM(r.ctx, ovsbed.VM{
		Name: fmt.Sprintf("%s-%d", h.pool, h.vms), Bridge: bridge, MAC: fmt.Sprintf("02:00:00:00:%02x:%02x", h.number, h.vms),
		Addrs:    []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 3, byte(h.number), byte(h.vms)}), 24)},
		Identity: ovsbed.Identity{Platform: ovsbed.XenServer},
	})
	r.must(err)
	return vm
}

// probe sends from a VM to b of the same host.
func (r *failRig) probe(h *failHost, from ovsbed.VM, port uint16) *traffic.Probe {
	r.Helper()
	p, err := traffic.NewProbe(r.ctx, traffic.ProbeConfig{
		From: from.Namespace, Source: from.Addrs[0].Addr(), To: []*netns.Namespace{h.b.Namespace}, Target: netip.AddrPortFrom(h.b.Addrs[0].Addr(), port), Interval: watchEvery,
	})
	r.must(err)
	r.Cleanup(p.Close)
	return p
}

func (r *failRig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *failRig) start() {
	r.Helper()
	r.weir = apptest.Start(r, r.data, "--store-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0")
}

func (r *failRig) command(args ...string) string {
	r.Helper()
	out, err := r.weir.Run(args...)
	r.must(err)
	return out
}

// apply puts the policy in force, in which pools have those fail modes; "" is none.
func (r *failRig) apply(modes map[string]string) {
	r.Helper()
	text := fmt.Sprintf("default: allow\nglobal: {mandatory: [{id: denied, action: deny, direction: from, protocol: udp, local_ports: %q}]}\npools:\n", strconv.Itoa(portDenied))
	for _, pool := range failModes {
		if mode := modes[pool]; mode != "" {
			text += fmt.Sprintf("  - {name: %s, fail_mode: %s}\n", pool, mode)
		}
	}
	path := filepath.Join(r.TempDir(), "policy.yaml")
	r.must(os.WriteFile(path, []byte(strings.TrimSuffix(text, "pools:\n")), 0o600))
	r.command("policy", "apply", path)
}

// become waits until bridges do that while Weir is away, and hold the policy.
func (r *failRig) become(what string, modes map[string]string) {
	r.Helper()
	apptest.Eventually(r, soon, what, func() error {
		for _, pool := range failModes {
			out, err := r.weir.Run("hosts", "show", "hv-"+pool, "--json")
			if err != nil {
				return err
			}
			var h policyd.HostStatus
			if err := json.Unmarshal([]byte(out), &h); err != nil {
				return err
			}
			if len(h.Exports) != 1 || string(h.Exports[0].Away.Is) != modes[pool] || h.Exports[0].Controller == nil || h.Exports[0].Controller.State != attach.StateSet {
				return fmt.Errorf("%s: %s", pool, out)
			}
		}
		out, err := r.weir.Run("policy", "status", "--json")
		if err == nil && strings.Count(out, `"state": "enforced"`) != len(failModes) {
			err = errors.New(out)
		}
		return err
	})
	for _, pool := range failModes {
		r.passes(what, r.hosts[pool].allowed, true)
		r.passes(what, r.hosts[pool].itself, true)
	}
}

// passes waits until a probe passes, or does so no more.
func (r *failRig) passes(what string, p *traffic.Probe, want bool) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.ctx, soon)
	defer cancel()
	var err error
	if want {
		_, err = p.Passes(ctx, 0)
	} else {
		_, err = p.Ends(ctx, 0, 25)
	}
	if err != nil {
		r.Fatalf("%s: passes: want %v: %v", what, want, err)
	}
}

// phase is a time of a test, in which probes are looked at.
type phase struct {
	r     *failRig
	what  string
	began time.Time
	sent  map[*traffic.Probe]uint64
}

func (r *failRig) phase(what string) *phase {
	p := &phase{r: r, what: what, began: time.Now(), sent: map[*traffic.Probe]uint64{}}
	for _, h := range r.hosts {
		for _, probe := range []*traffic.Probe{h.allowed, h.denied, h.itself} {
			p.sent[probe] = probe.Sent()
		}
	}
	return p
}

// none wants nothing of a probe to have arrived since the beginning.
func (p *phase) none(pool string, probe *traffic.Probe) {
	p.r.Helper()
	if n := probe.Arrived(0, p.sent[probe], probe.Sent()); n > 0 {
		p.r.Errorf("%s, %s: %d of %d datagrams passed that should not", p.what, pool, n, probe.Sent()-p.sent[probe])
	}
}

// all wants nothing of a probe to have been lost since the beginning.
func (p *phase) all(pool string, probe *traffic.Probe) {
	p.r.Helper()
	until := probe.Sent() - min(probe.Sent(), 5) // the last may be on their way
	if lost := probe.Lost(0, p.sent[probe], until); until > p.sent[probe] && len(lost) > 0 {
		p.r.Errorf("%s, %s: %d of %d datagrams were lost that should pass", p.what, pool, len(lost), until-p.sent[probe])
	}
}

// says logs how much of what is allowed was lost, and how much of what is denied passed.
func (p *phase) says() {
	var list []string
	for _, pool := range failModes {
		h := p.r.hosts[pool]
		n := h.allowed.Sent() - p.sent[h.allowed]
		list = append(list, fmt.Sprintf("%s: of %d allowed %d lost, of %d of the host %d lost, of %d denied %d passed", pool, n, len(h.allowed.Lost(0, p.sent[h.allowed], h.allowed.Sent())),
			h.itself.Sent()-p.sent[h.itself], len(h.itself.Lost(0, p.sent[h.itself], h.itself.Sent())), h.denied.Sent()-p.sent[h.denied], h.denied.Arrived(0, p.sent[h.denied], h.denied.Sent())))
	}
	p.r.Logf("%s, %v, a datagram each %v: %s", p.what, time.Since(p.began).Round(10*time.Millisecond), watchEvery, strings.Join(list, "; "))
}

// What bridges do while Weir is killed, frozen, back, while VIFs are plugged and switches restart, by fail mode: the table of
// docs/explanation/fail-modes.md. Nothing that is denied passes but where a bridge fails open, after its time.
func TestFailModes(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up and Open vSwitch")
	}
	r := newFailRig(t)
	own := map[string]string{}
	for _, pool := range failModes {
		own[pool] = pool
	}
	r.apply(nil)
	for _, pool := range failModes {
		r.command("pool", "mode", pool, "enforce", "--yes")
	}
	r.become("enforced", map[string]string{})
	r.says("as without a fail mode", "hv-open", "everything passes at once, without policy")
	for _, pool := range failModes {
		r.passes("enforced", r.hosts[pool].denied, false)
	}

	// From none to each, from each to each other, and back to its own.
	for i, modes := range []map[string]string{own, {"open": "safe", "safe": "static", "static": "open"}, {"open": "static", "safe": "open", "static": "safe"}, own} {
		p := r.phase(fmt.Sprintf("change %d", i+1))
		r.apply(modes)
		r.become(p.what, modes)
		for _, pool := range failModes {
			p.none(pool, r.hosts[pool].denied)
		}
		p.says()
	}

	r.says("fails open", "hv-open", "after 3s without Weir policy is gone and everything passes", "nothing passes for 3s, then everything does")
	r.says("fails safe", "hv-safe", "policy stays in force", "nothing passes until Weir is back\n")
	r.says("fails static", "hv-static", "policy stays in force", "nothing passes until Weir is back; if this bridge is the way by which Weir dials")

	r.away("Weir is killed", r.weir.Kill, r.start, own)
	r.away("Weir is frozen", func() { r.signal(syscall.SIGSTOP) }, func() { r.signal(syscall.SIGCONT) }, own)
	r.told()
	r.detached()
}

// says wants Weir to say something of the bridge of a host.
func (r *failRig) says(what, host string, want ...string) {
	r.Helper()
	out := r.command("hosts", "fail-modes", host)
	for _, text := range want {
		if !strings.Contains(out, text) {
			r.Errorf("%s: weir hosts fail-modes %s, want %q:\n%s", what, host, text, out)
		}
	}
}

func (r *failRig) signal(s syscall.Signal) {
	r.Helper()
	r.must(syscall.Kill(r.weir.PID, s))
}

// away takes Weir away and brings it back.
func (r *failRig) away(what string, go_, back func(), modes map[string]string) {
	r.Helper()
	open, shut := r.hosts["open"], []string{"safe", "static"}
	p := r.phase(what)
	go_()
	r.passes(what, open.denied, true)
	r.Logf("%s: the bridge that fails open was open after %v", what, time.Since(p.began).Round(10*time.Millisecond))
	news := map[string]*traffic.Probe{}
	for _, pool := range failModes {
		h := r.hosts[pool]
		news[pool] = r.probe(h, r.vm(h), portNew+uint16(h.vms))
	}
	r.passes(what+", a new VIF", news["open"], true)
	for _, pool := range shut {
		h := r.hosts[pool]
		p.none(pool, h.denied)
		p.none(pool, news[pool])
		p.all(pool, h.allowed)
		p.all(pool, h.itself)
	}
	p.says()

	p = r.phase(what + ", switches restart")
	var all errgroup.Group
	for _, h := range r.hosts {
		all.Go(func() error { return h.RestartSwitch(r.ctx) })
	}
	r.must(all.Wait())
	for _, h := range r.hosts {
		r.address(h)
	}
	restarted := r.phase(what + ", after switches restarted")
	r.passes(restarted.what, open.allowed, true)
	r.passes(restarted.what, open.denied, true)
	for _, pool := range shut {
		h := r.hosts[pool]
		p.none(pool, h.denied)
		for _, probe := range []*traffic.Probe{h.allowed, h.itself} {
			restarted.none(pool, probe)
		}
		p.none(pool, news[pool])
	}
	p.says()

	p = r.phase(what + ", back")
	back()
	r.become(p.what, modes)
	r.passes(p.what, open.denied, false)
	for _, pool := range failModes {
		r.passes(p.what+", a new VIF", news[pool], true)
	}
	for _, pool := range shut {
		p.none(pool, r.hosts[pool].denied)
	}
	p.says()
}

// told cuts a host off and joins it again, and wants that to be told, as what became of bridges before.
func (r *failRig) told() {
	r.Helper()
	p := r.phase("a host is cut off")
	h := r.hosts["static"]
	r.must(h.SetManagement(false))
	r.event("fail_mode_entered", "hv-static/"+bridge)
	r.must(h.SetManagement(true))
	r.event("fail_mode_left", "hv-static/"+bridge)
	p.none("static", h.denied)
	p.all("static", h.allowed)
	for _, pool := range failModes {
		r.event("fail_mode_changed", "hv-"+pool+"/"+bridge)
	}
}

// event waits until one was told of.
func (r *failRig) event(kind, subject string) {
	r.Helper()
	apptest.Eventually(r, soon, kind+" "+subject, func() error {
		out, err := r.weir.SQL(fmt.Sprintf("SELECT text FROM network_events WHERE kind = '%s' AND subject = '%s' ORDER BY time DESC LIMIT 1", kind, subject))
		if err == nil && out == "" {
			err = errors.New("there is none")
		}
		if err == nil {
			r.Logf("%s: %s", kind, out)
		}
		return err
	})
}

// detached takes Weir off, after which bridges are as they were, and never without traffic of their own for long.
func (r *failRig) detached() {
	r.Helper()
	p := r.phase("Weir is detached")
	for _, pool := range failModes {
		h := r.hosts[pool]
		r.command("hosts", "detach", "hv-"+pool, "--yes")
		if is, err := h.VSCtl(r.ctx, "get", "bridge", bridge, "fail_mode"); err != nil || is != h.before {
			r.Errorf("fail_mode of %s is %s, %v; it was %s before Weir", pool, is, err, h.before)
		}
		for _, probe := range []*traffic.Probe{h.allowed, h.denied, h.itself} {
			r.passes(p.what, probe, true)
		}
		for _, what := range []string{"controller", "external_ids"} {
			if is, err := h.VSCtl(r.ctx, "get", "bridge", bridge, what); err != nil || is != "[]" && is != "{}" {
				r.Errorf("%s of %s is %s, %v", what, pool, is, err)
			}
		}
	}
	p.says()
}
