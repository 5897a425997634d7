package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/lab/traffic"
)

// ovsEstate says who is who by addresses alone: those of exporters, VIFs, and what the bridges call themselves.
const ovsEstate = `
hosts:
  - name: hv1
    exporters: [%s]
    bridges:
      - {name: br0, virtual_obs_id: hv1/br0, observation_domains: [257, 258, 259, 260, 261, 262, 263, 264]}
      - {name: br1, virtual_obs_id: hv1/br1}
  - name: hv2
    exporters: [%s]
    bridges: [{name: br0, virtual_obs_id: hv2/br0, observation_domains: [257, 258, 259, 260, 261, 262, 263, 264]}]
networks: [{name: flat, bridge: br0, subnets: [10.1.0.0/24]}, {name: seven, bridge: br0, vlan: 7}, {name: inner, bridge: br1}]
vm_groups: [{name: everyone, select: [{name: "*"}]}]
vms:
`

// ovsRun is `weir up` and two Open vSwitch hosts that send to it.
type ovsRun struct {
	*testing.T
	*ovsbedtest.Pair
	ctx    context.Context
	weir   *apptest.App
	to     map[*ovsbed.Host]netip.AddrPort
	domain uint32 // that all bridges say at present

	mu    sync.Mutex // held while something is sent that is measured apart
	apart uint64     // packets of that so far; guarded by mu
}

// volume is packets and the bytes of their frames.
type volume struct{ packets, bytes uint64 }

// senders are the VMs whose traffic is measured. left and right are at a bridge of their own.
var senders = []string{"app", "blue", "db", "red", "web"}

// Known traffic through two real Open vSwitch hosts is in the store under the names of its VMs, and each table's totals are
// what the senders' interfaces counted: for NetFlow 5 and IPFIX, VMs on one host and on two, also when one of the
// hosts falls silent in between and comes back.
func TestOpenVSwitch(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up and Open vSwitch")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	r := &ovsRun{T: t, Pair: ovsbedtest.NewPair(t), ctx: ctx, to: map[*ovsbed.Host]netip.AddrPort{}, domain: 256}

	data := t.TempDir()
	config := fmt.Sprintf(ovsEstate, r.HV1.Exporter, r.HV2.Exporter)
	for name, vm := range r.VMs {
		network := map[bool]string{true: "flat", false: "seven"}[vm.VLAN == 0]
		if vm.Bridge == "br1" {
			network = "inner"
		}
		config += fmt.Sprintf("  - {name: %s, host: %s, vifs: [{network: %s, mac: %q, ips: [%q, %q]}]}\n", name, vm.Host.Name, network, vm.MAC, r.IPv4(name), r.IPv6(name))
	}
	r.must(os.WriteFile(filepath.Join(data, "estate.yaml"), []byte(config), 0o600))
	r.start(data, netip.AddrPortFrom(r.HV1.Root, 0).String(), netip.AddrPortFrom(r.HV2.Root, 0).String())
	for i, h := range []*ovsbed.Host{r.HV1, r.HV2} {
		r.to[h] = netip.MustParseAddrPort(r.weir.Listen[i])
	}

	stop := r.keepLive()
	r.netFlow5()
	r.ipfix()
	r.silence()
	r.restart()
	stop()
	r.end()
	r.names()
	r.tables()
}

// start starts Weir with one address for each host.
func (r *ovsRun) start(data string, listen ...string) {
	r.Helper()
	r.must(os.WriteFile(filepath.Join(data, "weir.yaml"), fmt.Appendf(nil, `
estate: {file: estate.yaml}
collector: {listen: [%q, %q], active_timeout: 3s, flush_interval: 100ms}
`, listen[0], listen[1]), 0o600))
	r.weir = apptest.Start(r, data, "--store-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0")
}

func (r *ovsRun) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// bridges are those that export.
func (r *ovsRun) bridges() map[*ovsbed.Host][]string {
	return map[*ovsbed.Host][]string{r.HV1: {"br0", "br1"}, r.HV2: {"br0"}}
}

// Ports of datagrams from web to app that are measured apart.
const (
	portAlive  = 7000 // those that keep both hosts live
	portSilent = 7001
	portBack   = 7002

	markedSize = 200
)

// marked sends n datagrams from web to app by one of these ports.
func (r *ovsRun) marked(port uint16, n int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.apart += uint64(n)
	return traffic.UDP(r.ctx, r.VMs["web"].Namespace, r.VMs["app"].Namespace, netip.AddrPortFrom(r.IPv4("app"), port), n, markedSize, -1)
}

// keepLive makes both hosts send something all the time, until stop: no change-over happens that is not meant.
func (r *ovsRun) keepLive() (stop func()) {
	ctx, cancel := context.WithCancel(r.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(300 * time.Millisecond); ctx.Err() == nil; {
			if err := r.marked(portAlive, 1); err != nil {
				r.Error(err)
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	r.Cleanup(stop)
	return stop
}

// begin makes the bridges export at a moment when nothing passes, each time under another observation domain: should
// something have passed, it is done again.
func (r *ovsRun) begin(set func(h *ovsbed.Host, bridge string) error) {
	r.Helper()
	defer apptest.Eventually(r, soon, "both hosts live", r.liveHosts("2"))
	r.mu.Lock()
	defer r.mu.Unlock()
	for range 5 {
		r.domain++
		before := ovsbedtest.Settle(r, r.Ports())
		for h, bridges := range r.bridges() {
			for _, bridge := range bridges {
				r.must(set(h, bridge))
			}
		}
		if slices.Equal(ovsbedtest.Counters(r, r.Ports()), before) {
			return
		}
		r.end()
	}
	r.Fatal("packets passed whenever exports began")
}

func (r *ovsRun) end() {
	r.Helper()
	for h, bridges := range r.bridges() {
		for _, bridge := range bridges {
			r.must(h.ClearExports(r.ctx, bridge))
		}
	}
}

// sent returns what the interfaces of VMs counted, without what is measured apart.
func (r *ovsRun) sent() map[string]volume {
	r.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	m := map[string]volume{}
	for _, name := range senders {
		c, err := r.VMs[name].Namespace.Counters("eth0")
		r.must(err)
		m[name] = volume{c.TxPackets, c.TxBytes}
	}
	web := m["web"]
	m["web"] = volume{web.packets - r.apart, web.bytes - r.apart*(markedSize+8+20+14)}
	return m
}

// counted returns what the totals of raw flows say that VMs sent, as frames.
func (r *ovsRun) counted() (map[string]volume, error) {
	// A tag is not there when a VM sends: only on the way to the other host.
	return r.byVM(fmt.Sprintf(`
SELECT src_vm_name, sum(packets * sampling_rate) AS sent_packets,
    sum(sampling_rate * (bytes + packets * multiIf(bytes_layer = 'layer3', 14, vlan_in > 0, -4, 0))) AS sent_bytes
FROM flows WHERE counted AND dst_port NOT BETWEEN %d AND %d AND observation_domain = %d AND src_vm_name IN ('%s') GROUP BY 1`, portAlive, portBack, r.domain, strings.Join(senders, "', '")))
}

func (r *ovsRun) byVM(query string) (map[string]volume, error) {
	out, err := r.weir.SQL(query)
	if err != nil {
		return nil, err
	}
	m := map[string]volume{}
	for _, name := range senders {
		m[name] = volume{}
	}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("answer %q", line)
		}
		packets, err1 := strconv.ParseUint(f[1], 10, 64)
		bytes, err2 := strconv.ParseUint(f[2], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		m[f[0]] = volume{packets, bytes}
	}
	return m, nil
}

// less returns a - b.
func less(a, b map[string]volume) map[string]volume {
	m := map[string]volume{}
	for name := range a {
		m[name] = volume{a[name].packets - b[name].packets, a[name].bytes - b[name].bytes}
	}
	return m
}

// passes sends, and waits until totals have grown by what VMs sent. others, if not nil, tells what of it is not exported.
func (r *ovsRun) passes(what string, send func() error, others func() map[string]volume) {
	r.Helper()
	begin := time.Now()
	before := r.sent()
	told, err := r.counted()
	r.must(err)
	r.must(send())
	apptest.Eventually(r, soon, what+": flows", func() error {
		got, err := r.counted()
		if err != nil {
			return err
		}
		want := less(r.sent(), before)
		if others != nil {
			want = less(want, others())
		}
		if got := less(got, told); fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("they say %v, interfaces %v", got, want)
		}
		return nil
	})
	r.Logf("%s: %v in %v", what, less(r.sent(), before), time.Since(begin).Round(time.Millisecond))
}

// NetFlow 5 of IPv4.
func (r *ovsRun) netFlow5() {
	r.begin(func(h *ovsbed.Host, bridge string) error {
		if bridge != "br0" { // a domain is of one bridge
			return nil
		}
		return h.SetNetFlow(r.ctx, bridge, ovsbed.NetFlow{
			Target: r.to[h], EngineType: uint8(r.domain >> 8), EngineID: uint8(r.domain), ActiveTimeout: time.Second,
		})
	})
	counters := map[string]*netns.Others{}
	for _, name := range senders {
		var err error
		counters[name], err = r.VMs[name].Namespace.Others("eth0", netns.EtherTypeIPv4)
		r.must(err)
		defer counters[name].Close()
	}
	others := func() map[string]volume {
		m := map[string]volume{}
		for name, o := range counters {
			c, err := o.Counts()
			r.must(err)
			m[name] = volume{c.TxPackets, c.TxBytes}
		}
		return m
	}
	r.passes("NetFlow 5", func() (err error) {
		for _, pair := range [][2]string{{"web", "db"}, {"web", "app"}, {"red", "blue"}} {
			from, to := r.VMs[pair[0]].Namespace, r.VMs[pair[1]].Namespace
			err = errors.Join(
				err, traffic.Ping(r.ctx, from, r.IPv4(pair[1]), 20, 56),
				traffic.UDP(r.ctx, from, to, netip.AddrPortFrom(r.IPv4(pair[1]), 5353), 100, 700, 33), r.iperf3(pair[0], pair[1], r.IPv4(pair[1])),
			)
		}
		return err
	}, others)
	r.end()
}

// iperf3 sends 300 000 bytes from one VM to another.
func (r *ovsRun) iperf3(a, b string, to netip.Addr) error {
	log := filepath.Join(r.TempDir(), "iperf3.log")
	server, err := r.VMs[b].Namespace.Start(log, "iperf3", "--server", "--one-off", "--forceflush")
	if err != nil {
		return err
	}
	apptest.Eventually(r, soon, "iperf3 listens", func() error {
		if !strings.Contains(server.Log(), "Server listening") {
			return errors.New(server.Log())
		}
		return nil
	})
	// A small window, as in lab/traffic: the switch loses nothing.
	_, err = r.VMs[a].Namespace.Run(r.ctx, "iperf3", "--client", to.String(), "--bytes", "300000", "--window", "16K")
	if err == nil {
		<-server.Done()
	}
	return err
}

// IPFIX of all packets, by both hosts.
func (r *ovsRun) ipfix() {
	r.begin(func(h *ovsbed.Host, bridge string) error {
		return h.SetIPFIX(r.ctx, bridge, ovsbed.IPFIX{
			Targets: []netip.AddrPort{r.to[h]}, ActiveTimeout: time.Second, MaxFlows: 10_000, VirtualID: h.Name + "/" + bridge,
			Sampling: 1, Domain: r.domain, NoOutput: true,
		})
	})
	r.passes("IPFIX", func() error {
		return errors.Join(r.SendAll(r.ctx), r.iperf3("web", "db", r.IPv4("db")), r.iperf3("app", "web", r.IPv6("web")), r.iperf3("red", "blue", r.IPv6("blue")))
	}, nil)
	// Both hosts report what passes between them.
	twice := r.weir.MustSQL(fmt.Sprintf(`SELECT sum(packets), sumIf(packets, counted), uniqExact(host_name) FROM flows
WHERE observation_domain = %d AND src_vm_name = 'web' AND dst_vm_name = 'app' AND protocol = 1`, r.domain))
	if twice != "40\t20\t2" {
		r.Errorf("20 echoes from web to app: packets, those counted, and hosts that saw them: %q", twice)
	}
}

// liveHosts returns a check that so many hosts export.
func (r *ovsRun) liveHosts(n string) func() error {
	return func() error {
		_, metrics := ask(r.T, r.weir, "/metrics")
		if !strings.Contains(metrics, "\nweir_enricher_live_hosts "+n+"\n") {
			return errors.New("weir_enricher_live_hosts is not " + n)
		}
		return nil
	}
}

// markedCounted returns how many of 100 marked packets totals count, once a host has reported all of them.
func (r *ovsRun) markedCounted(port uint16, host string) uint64 {
	r.Helper()
	var counted uint64
	apptest.Eventually(r, soon, "marked flows", func() error {
		var seen uint64
		out, err := r.weir.SQL(fmt.Sprintf("SELECT sumIf(packets, host_name = '%s'), sumIf(packets, counted) FROM flows WHERE dst_port = %d", host, port))
		if err == nil {
			_, err = fmt.Sscan(out, &seen, &counted)
		}
		if err == nil && seen != 100 {
			err = fmt.Errorf("%s saw %d of 100", host, seen)
		}
		return err
	})
	return counted
}

// comeBack makes hv1 heard again, when it has nothing more to tell of the time in which it was not.
func (r *ovsRun) comeBack(uplink string) {
	r.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	apptest.Eventually(r, soon, "an empty cache", func() error {
		n, err := r.HV1.CachedFlows(r.ctx, "br0")
		if err == nil && n > 0 {
			err = fmt.Errorf("it holds %d flows", n)
		}
		return err
	})
	r.must(r.HV1.Namespace.SetLink(uplink, true))
}

// between sends between VMs of the two hosts.
func (r *ovsRun) between() error {
	return errors.Join(r.Send(r.ctx, "web", "app"), r.Send(r.ctx, "red", "blue"))
}

// missedQuery is that of docs/explanation/open-vswitch.md.
const missedQuery = `
SELECT minute, src_vm_name, dst_vm_name, sum(counted_here) AS in_totals, max(seen_here) AS seen
FROM
(
    SELECT toStartOfMinute(time_received) AS minute, src_vm_name, dst_vm_name, host,
        sum(packets * sampling_rate) AS seen_here, sumIf(packets * sampling_rate, counted) AS counted_here
    FROM flows
    WHERE time_received > now() - INTERVAL 1 HOUR AND src_vm != 0 AND dst_vm != 0
    GROUP BY minute, src_vm_name, dst_vm_name, host
)
GROUP BY minute, src_vm_name, dst_vm_name
HAVING in_totals != seen
ORDER BY minute`

// hv1 falls silent, hv2 takes over what it sees; hv1 comes back and takes over again.
func (r *ovsRun) silence() {
	const uplink = "uplink1"
	r.must(r.HV1.Namespace.SetLink(uplink, false))
	r.must(r.marked(portSilent, 100))
	// hv2 reports it while hv1 still counts as live: that is what a change-over misses. The rows are there, not counted.
	if counted := r.markedCounted(portSilent, "hv2"); counted > 100 {
		r.Errorf("of 100 packets sent when hv1 fell silent %d are counted", counted)
	} else {
		r.Logf("change-over: of 100 packets %d are counted, all 100 are in rows", counted)
		if out := r.weir.MustSQL(missedQuery); counted == 0 && !strings.Contains(out, "web\tapp\t") {
			r.Errorf("what was missed is not shown: %q", out)
		}
	}
	apptest.Eventually(r, soon, "hv1 no longer live", r.liveHosts("1"))
	r.passes("hv1 silent", r.between, nil)
	if n := r.weir.MustSQL(fmt.Sprintf("SELECT uniqExact(host_name) FROM flows WHERE observation_domain = %d AND counted AND src_vm_name = 'web' AND host_name = 'hv2'", r.domain)); n != "1" {
		r.Error("hv2 did not count in place of hv1")
	}
	if _, metrics := ask(r.T, r.weir, "/metrics"); strings.Contains(metrics, `weir_enricher_odd_rows_total{what="stand_in"} 0`) {
		r.Error("no row was counted in place of another, say the metrics")
	}

	r.comeBack(uplink)
	r.must(r.marked(portBack, 100))
	if counted := r.markedCounted(portBack, "hv2"); counted > 200 {
		r.Errorf("of 100 packets sent when hv1 came back %d are counted", counted)
	} else {
		r.Logf("back: of 100 packets %d are counted", counted)
	}
	apptest.Eventually(r, soon, "hv1 live again", r.liveHosts("2"))
	r.passes("hv1 back", r.between, nil)
}

// restart kills Weir and starts it again. The hosts sent their templates long ago, and will again in ten minutes.
func (r *ovsRun) restart() {
	r.weir.Kill()
	r.start(r.weir.Data, r.weir.Listen...)
	apptest.Eventually(r, soon, "both hosts live", r.liveHosts("2"))
	r.passes("Weir restarted", r.between, nil)
}

// Every row between VMs says so.
func (r *ovsRun) names() {
	name := "CAST(multiIf("
	for vm := range r.VMs {
		name += fmt.Sprintf("%%[1]s IN (toIPv6('%s'), toIPv6('%s')), '%s', ", r.IPv4(vm), r.IPv6(vm), vm)
	}
	name += "''), 'String')"
	src, dst := fmt.Sprintf(name, "src_addr"), fmt.Sprintf(name, "dst_addr")
	wrong := r.weir.MustSQL(fmt.Sprintf(`SELECT version, host_name, src_addr_text, dst_addr_text, src_vm_name, dst_vm_name, bridge_name, network_name FROM flows
WHERE %[1]s != '' AND src_vm_name != %[1]s OR %[2]s != '' AND dst_vm_name != %[2]s OR bridge_name = '' OR sampling_rate != 1
OR network_name != multiIf(src_vm_name IN ('red', 'blue'), 'seven', src_vm_name IN ('left', 'right'), 'inner', 'flat') LIMIT 5`, src, dst))
	if wrong != "" {
		r.Errorf("rows with wrong names:\n%s", wrong)
	}
	if n := r.weir.MustSQL("SELECT uniqExact(src_vm_name, dst_vm_name) FROM flows WHERE dst_vm != 0"); n == "0" {
		r.Error("no rows with names")
	}
}

// All tables have the same totals.
func (r *ovsRun) tables() {
	for _, from := range []string{
		"flows_1m WHERE counted AND src_vm != 0", "flows_1h WHERE counted AND src_vm != 0", "flows_rx_1m WHERE counted AND src_vm != 0",
		"flows_group_1m WHERE counted AND group_name = 'everyone' AND end IN ('out', 'both')",
	} {
		var want string
		apptest.Eventually(r, soon, from, func() (err error) { // the last rows may be on their way
			want, err = r.weir.SQL("SELECT sum(packets * sampling_rate), sum(bytes * sampling_rate), count() FROM flows WHERE counted AND src_vm != 0")
			if err != nil {
				return err
			}
			got, err := r.weir.SQL("SELECT sum(packets), sum(bytes), sum(flows) FROM " + from)
			if err == nil && (got != want || strings.HasPrefix(want, "0\t")) {
				err = fmt.Errorf("packets, bytes, flows: %q, want those of flows: %q", got, want)
			}
			return err
		})
		r.Logf("packets, bytes, flows of %s: %s", from, want)
	}
}
