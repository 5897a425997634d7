package proof_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/traffic"
)

// watched is probes that run on whatever happens: some of what is allowed, and some of what is not.
type watched struct {
	r       *policyRig
	names   []string // of those that are allowed, in their order
	allowed map[string]*traffic.Probe
	denied  map[string]*traffic.Probe
	blind   []string // hosts whose switch does not look at its ports for a while: what the kernel drops there meanwhile is lost
}

// watchEvery is the time between two datagrams of a probe.
const watchEvery = 20 * time.Millisecond

func (r *policyRig) watch() *watched {
	r.Helper()
	w := &watched{r: r, allowed: map[string]*traffic.Probe{}, denied: map[string]*traffic.Probe{}}
	for _, c := range []struct {
		from, to string
		six      bool
		port     uint16
		allowed  bool
	}{
		{"web", "db", false, 7050, true},
		{"web", "cache", false, 7051, true},
		{"red", "blue", true, 7052, true},
		{"app", "db", true, 7053, true},
		{"db", "web", false, 7054, true},
		{"web", "db", false, 7150, false},    // by a rule of the source
		{"web", "db", true, 7550, false},     // at the destination, by the final default
		{"web", "cache", false, 7551, false}, // the same, at one host
		{"blue", "red", false, 7950, false},  // at the source, by the final default
		{"app", "ops", false, 7951, false},
	} {
		name := fmt.Sprintf("%s to %s, port %d", c.from, c.to, c.port)
		p := r.probe(traffic.ProbeConfig{Target: netip.AddrPortFrom(r.addr(c.to, c.six), c.port), Interval: watchEvery}, c.from, c.to)
		if c.allowed {
			w.names = append(w.names, name)
			w.allowed[name] = p
			continue
		}
		w.denied[name] = p
	}
	for _, way := range [][2]string{{"hv1", "hv2"}, {"hv2", "hv1"}} {
		name := "host " + way[0] + " itself to " + way[1]
		w.names = append(w.names, name)
		w.allowed[name] = r.betweenHosts(way[0], way[1])
	}
	w.passing("begin")
	return w
}

// passing waits until all that is allowed passes.
func (w *watched) passing(what string) {
	w.r.Helper()
	for _, name := range w.names {
		if _, err := w.allowed[name].Passes(w.r.within(soon), 0); err != nil {
			w.r.Fatalf("%s: %s: %v\n%s", what, name, err, w.r.command("policy", "status"))
		}
	}
}

func (w *watched) close() {
	for _, m := range []map[string]*traffic.Probe{w.allowed, w.denied} {
		for _, p := range m {
			p.Close()
		}
	}
}

// fault has something happen while the probes run. Afterwards what is allowed passes, and nothing that is denied ever did. Of what is allowed
// and does not go by the ends or hosts in loses, nothing was lost, but what the kernel dropped at blind hosts.
func (w *watched) fault(what string, do func(), loses ...string) {
	w.r.Helper()
	before, until := map[string]uint64{}, map[string]uint64{}
	for name, p := range w.allowed {
		before[name] = p.Sent()
	}
	overrun := w.overrun()
	began := time.Now()
	do()
	w.passing(what)
	took := time.Since(began)
	for _, name := range w.names {
		p := w.allowed[name]
		if n := p.Twice(0); n != 0 {
			w.r.Errorf("%s: %d datagrams came twice, from %s", what, n, name)
		}
		until[name] = max(before[name], p.Sent()-min(p.Sent(), 5)) // the last may still be on their way
	}
	spare := w.overrun() - overrun
	gone := func() (lost []string, wrong int) {
		for _, name := range w.names {
			list := w.allowed[name].Lost(0, before[name], until[name])
			if len(list) == 0 {
				continue
			}
			at := began.Add(time.Duration(list[0]-before[name]) * watchEvery)
			lost = append(lost, fmt.Sprintf("%d of %d from %s, the first at about %s", len(list), until[name]-before[name], name, at.UTC().Format("15:04:05.000")))
			if !slices.ContainsFunc(loses, func(l string) bool { return strings.Contains(name, l) }) {
				wrong += len(list)
			}
		}
		return lost, wrong
	}
	lost, wrong := gone()
	for late := time.Now().Add(soon); wrong > spare && time.Now().Before(late); { // or later than that, on a busy machine
		time.Sleep(watchEvery) // between polls
		lost, wrong = gone()
	}
	if wrong > spare {
		w.r.Errorf("%s: %d datagrams that are allowed were lost, and the kernel dropped %d frames at hosts %v: %s", what, wrong, spare, w.blind, strings.Join(lost, ", "))
	}
	if lost == nil {
		lost = []string{"nothing"}
	}
	w.r.Logf("%s: %v; lost %s; dropped by the kernel at hosts %v: %d", what, took.Round(10*time.Millisecond), strings.Join(lost, ", "), w.blind, spare)
	for name, p := range w.denied {
		w.r.never(what+": "+name, p, 0, 0)
	}
}

// overrun returns how many frames the kernel has dropped so far at blind hosts, as their switch had not taken those before them.
func (w *watched) overrun() (sum int) {
	w.r.Helper()
	for _, name := range w.blind {
		n, err := w.r.hv[name].Overrun(w.r.ctx)
		w.r.must(err)
		sum += n
	}
	return sum
}

// at are the VMs of a host, by which names of probes are found.
func (r *policyRig) at(host string) []string {
	var list []string
	for name, vm := range r.vms {
		if vm.Host == r.hv[host] {
			list = append(list, name)
		}
	}
	return list
}

// Whatever happens to Weir, to switches, databases and cables: nothing passes that is denied, and what is allowed is lost only where the
// switch itself is away.
func (r *policyRig) faults() {
	w := r.watch()
	defer w.close()

	w.fault("Weir is stopped and started again", func() {
		r.weir.Stop()
		r.start()
		r.enforced("after a stop", "hv1", "hv2", "hv3")
	})
	r.hits()
	w.fault("garbage is sent to Weir's ports", r.garbage)
	w.fault("policies are refused", r.refuse)
	w.fault("Weir is killed and started again", func() {
		r.weir.Kill()
		r.start()
		r.enforced("after kill -9", "hv1", "hv2", "hv3")
	})
	// While ovs-vswitchd has no database it does not look at ports that it reads itself, whoever its controller is, and tries again a second
	// later: so long frames wait in the kernel, 257 small ones a port. See docs/explanation/fail-modes.md.
	w.blind = []string{"hv1", "hv3"}
	w.fault("ovsdb-server is started again", func() {
		r.must(r.hv["hv1"].RestartDB(r.ctx))
		r.must(r.hv["hv3"].RestartDB(r.ctx))
		r.enforced("after a restart of databases", "hv1", "hv2", "hv3")
	})
	w.blind = nil
	w.fault("the cable to Weir is cut and joined", func() {
		r.must(r.hv["hv2"].SetManagement(false))
		apptest.Eventually(r, soon, "hv2 is offline", func() error {
			out, err := r.weir.Run("policy", "status")
			if err == nil && !strings.Contains(out, "offline") {
				err = fmt.Errorf("%s", out)
			}
			return err
		})
		if out, err := r.weir.Run("policy", "apply", r.write(strings.Replace(estatePolicy, "7031", "7033", 1)), "--wait", "10s"); !strings.Contains(out+fmt.Sprint(err), "offline") {
			r.Errorf("a policy applied while a host is offline: %s %v", out, err)
		}
		r.must(r.hv["hv2"].SetManagement(true))
		r.enforced("after the cable was joined", "hv1", "hv2", "hv3")
	})
	w.fault("a VIF is plugged anew", func() { r.must(r.vms["db"].Replug(r.ctx)) }, "db")
	w.fault("ovs-vswitchd is started again", func() {
		r.must(r.hv["hv1"].RestartSwitch(r.ctx))
		r.address()
	}, append(r.at("hv1"), "host")...)
	w.fault("ovs-vswitchd is reloaded", func() { r.must(r.hv["hv3"].ReloadSwitch(r.ctx)) }, r.at("hv3")...)
	w.fault("a host is killed", func() {
		r.must(r.hv["hv3"].Kill())
		r.must(r.hv["hv3"].Start(r.ctx))
	}, r.at("hv3")...)
	w.fault("all flows are deleted by hand", func() {
		_, err := r.hv["hv3"].OFCtl(r.ctx, "del-flows", bridge)
		r.must(err)
	}, r.at("hv3")...)
	w.fault("rules are deleted by hand", func() {
		_, err := r.hv["hv2"].OFCtl(r.ctx, "del-flows", bridge, "table=50")
		r.must(err)
	}, "db")
	w.fault("flows are added by hand in Weir's tables", func() {
		_, err := r.hv["hv2"].OFCtl(r.ctx, "add-flow", bridge, "table=70,priority=50000,cookie=0x5745011200000001,udp,tp_dst=7999,actions=drop")
		r.must(err)
	})
	r.emerReset(w)
}

// emerReset has a host lose controllers, exports and fail modes, as XAPI does. Until it is secured again its bridge is not; how much that is
// denied passes meanwhile is told.
func (r *policyRig) emerReset(w *watched) {
	before := map[string]int{}
	for name, p := range w.denied {
		before[name] = p.Arrived(0, 0, p.Sent())
	}
	began := time.Now()
	r.must(r.hv["hv1"].EmerReset(r.ctx))
	apptest.Eventually(r, soon, "policy is back", func() error {
		out, err := r.hv["hv1"].VSCtl(r.ctx, "get", "bridge", bridge, "controller")
		if err == nil && out == "[]" {
			err = fmt.Errorf("no controller")
		}
		return err
	})
	r.must(r.hv["hv1"].Secure(r.ctx, bridge))
	r.enforced("emer-reset", "hv1", "hv2", "hv3")
	w.passing("emer-reset")
	took, passed := time.Since(began), []string{}
	for _, p := range w.denied {
		_, err := p.Ends(r.within(soon), 0, 10)
		r.must(err)
	}
	for name, p := range w.denied {
		if n := p.Arrived(0, 0, p.Sent()) - before[name]; n > 0 {
			passed = append(passed, fmt.Sprintf("%d from %s", n, name))
		}
	}
	r.Logf("emer-reset, which makes a bridge forget that it is secure: %v; passed that is denied: %v", took.Round(10*time.Millisecond), passed)
}

// hits wants what switches counted of rules to be what rows say, packet by packet: of those that nothing meets at the moment, and that were met by
// nothing while they were changed, of which the last half second is not known.
func (r *policyRig) hits() {
	const quiet = "rule_name LIKE 'allow-%' OR rule_name LIKE 'deny-%' OR rule_name IN ('trial', 'not-seven', 'no-cast')"
	list := func(table string) (string, error) {
		return r.weir.SQL("SELECT host_name, rule_name, stage, sum(packets) FROM " + table + " WHERE " + quiet + " GROUP BY ALL ORDER BY ALL")
	}
	apptest.Eventually(r, soon, "hits", func() error {
		rows, err := list("flows")
		if err != nil {
			return err
		}
		hits, err := list("rule_hits_1m FINAL")
		if err == nil && (hits != rows || strings.Count(rows, "\n") < 20) {
			err = fmt.Errorf("switches counted\n%s\nrows say\n%s", hits, rows)
		}
		return err
	})
}

// garbage sends what is no OpenFlow and no OVSDB to the ports of Weir. Each connection is closed and counted.
func (r *policyRig) garbage() {
	before := r.state()
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	const of13 = 4
	ports := map[string]string{
		"OpenFlow": fmt.Sprintf("%v:%d", r.hv["hv1"].Root, r.listeners[0]), "OpenFlow with TLS": fmt.Sprintf("%v:%d", r.hv["hv1"].Root, r.listeners[1]),
		"OVSDB": net.JoinHostPort(r.hv["hv3"].Root.String(), "6640"),
	}
	all := [][]byte{
		noise,
		[]byte("GET / HTTP/1.1\r\nHost: weir\r\n\r\n"),
		[]byte(`{"method":"echo","params":[],"id":"x"}`),
		{of13, 0, 0xff, 0xff, 0, 0, 0, 1}, // longer than what follows
		{of13, 0, 0, 4, 0, 0, 0, 1},       // shorter than its own header
		append([]byte{of13, 0, 0, 8, 0, 0, 0, 1}, noise...),
		{99, 0, 0, 8, 0, 0, 0, 1},
	}
	ended := r.metric("weir_openflow_ended_total")
	for what, addr := range ports {
		for i, sent := range all {
			c, err := net.DialTimeout("tcp", addr, soon)
			r.must(err)
			_, _ = c.Write(sent)
			_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				r.Errorf("garbage %d to the port of %s: the connection is open after 30 s", i, what)
			}
			_ = c.Close()
		}
	}
	apptest.Eventually(r, soon, "garbage is counted", func() error {
		if n := r.metric("weir_openflow_ended_total") - ended; n < float64(2*len(all)) {
			return fmt.Errorf("%v connections ended, want %d", n, 2*len(all))
		}
		return nil
	})
	r.unchanged("garbage", before)
}

// refuse has policies refused, each as a whole.
func (r *policyRig) refuse() {
	before := r.state()
	var many strings.Builder
	many.WriteString("global:\n  default:\n")
	for i := range 1_000_000 {
		fmt.Fprintf(&many, "    - {action: deny, remote: 10.%d.%d.%d}\n", i>>16, i>>8&255, i&255)
	}
	for want, text := range map[string]string{
		"50000 in all":               many.String(),
		"the group holds itself":     "vm_groups: [{name: a, groups: [b]}, {name: b, groups: [a]}]\nglobal: {default: [{action: deny, remote: vm-group:a}]}",
		`"nobody" is no VM`:          "vms: [{name: nobody, default: [{action: deny}]}]",
		`"none" is no address group`: "global: {default: [{action: deny, remote: address-group:none}]}",
		"allow or deny":              "global: {default: [{action: perhaps}]}",
	} {
		if out, err := r.weir.Run("policy", "apply", r.write(text)); err == nil || !strings.Contains(err.Error(), want) {
			r.Errorf("a policy that cannot be: %s %v, want an error with %q", out, err, want)
		}
	}
	r.unchanged("policies that were refused", before)
}

// state is what must not change by itself: what was applied, and what bridges hold.
func (r *policyRig) state() map[string]string {
	all := map[string]string{"policy": r.command("policy", "get"), "revisions": r.command("policy", "revisions")}
	for _, name := range []string{"hv1", "hv2", "hv3"} {
		all["flows of "+name], all["bridge of "+name] = r.lasting(r.openFlow(name)), r.bridgeRow(name)
	}
	return all
}

var linkLocal = regexp.MustCompile(`nw_src=(169\.254\.[0-9.]+)|ipv6_src=(fe80::[0-9a-f:]+)`)

// lasting returns flows but those that let this machine reach the host from addresses that are not of this rig: other tests, which may run beside
// this one, take and give back addresses of it.
func (r *policyRig) lasting(flows string) string {
	ours := map[string]bool{}
	for _, h := range r.hv {
		ours[h.Root.String()] = true
	}
	var kept strings.Builder
	for line := range strings.Lines(flows) {
		if at := linkLocal.FindStringSubmatch(line); at == nil || ours[at[1]] {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func (r *policyRig) unchanged(by string, before map[string]string) {
	r.Helper()
	for what, is := range r.state() {
		if is != before[what] {
			r.Errorf("%s: %s changed: now\n%s\nbefore\n%s", by, what, is, before[what])
		}
	}
}

// metric returns the sum of a metric over its labels.
func (r *policyRig) metric(name string) float64 {
	r.Helper()
	resp, err := http.Get("http://" + r.weir.API + "/metrics")
	r.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	r.must(err)
	sum := 0.0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, name) || strings.HasPrefix(line, "#") {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:]), 64)
		r.must(err)
		sum += v
	}
	return sum
}

// detach takes Weir off the host that has flows of others, which are then as they were.
func (r *policyRig) detach() {
	r.command("hosts", "detach", "hv2", "--yes")
	if is := r.openFlow("hv2"); is != r.foreign {
		r.Errorf("flows, groups and meters of hv2 after Weir was detached:\n%s\nbefore it came:\n%s", is, r.foreign)
	}
	r.tells(
		"policy_applied policy", "host_mode_changed hv1", "controller_set hv1/br0", "controller_wiped hv1/br0", "policy_installed hv1/br0", "policy_bypassed vif:web/0", "policy_restored vif:web/0",
		"switch_restarted hv3", "policy_drift hv2/br0", "policy_removed hv2/br0", "host_detached hv2",
	)
	if is := r.bridgeRow("hv2"); is != r.settings {
		r.Errorf("bridge of hv2 after Weir was detached:\n%s\nbefore it came:\n%s", is, r.settings)
	}
}

// tells waits until there were network events of some kinds and subjects, among others.
func (r *policyRig) tells(want ...string) {
	r.Helper()
	apptest.Eventually(r, soon, "events", func() error {
		out, err := r.weir.SQL("SELECT DISTINCT kind, subject FROM network_events ORDER BY ALL")
		if err != nil {
			return err
		}
		have := strings.Split(strings.ReplaceAll(out, "\t", " "), "\n")
		for _, event := range want {
			if !slices.Contains(have, event) {
				return fmt.Errorf("no event %q; there are %q", event, have)
			}
		}
		return nil
	})
}
