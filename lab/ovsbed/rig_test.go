package ovsbed_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/state"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/enricher"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
)

const (
	ethernet = 14 // octets of an Ethernet header
	tag      = 4  // octets that a VLAN tag adds

	quiet    = 200 * time.Millisecond // without a row: none comes any more
	patience = time.Minute            // a wait that takes longer has failed
	attempts = 5                      // at traffic that nothing else may cross

	assumedRate = 1000 // of exporters that do not tell theirs; those of Open vSwitch must not get it
)

// row is a row of the collector after enrichment.
type row struct {
	src, dst netip.Addr
	rest
}

type rest struct {
	version          uint8
	domain           uint32
	protocol         uint8
	ethertype        uint16
	bytes, packets   uint64
	layer            flow.BytesLayer
	in, out          uint32
	vlan             uint16
	observed         flow.Observed
	point, instance  uint32
	stage            flow.Stage
	verdict          flow.Verdict
	counted          bool
	rate             uint32
	assumed          bool
	forwarding       uint8
	reason           uint8
	age, duration    time.Duration
	host, bridge     string
	network          string
	srcVM, dstVM     string
	srcPort, dstPort uint16
}

// frames returns the bytes of the row's packets with their Ethernet headers and the tag that the row tells of.
func (r *row) frames() uint64 {
	if r.layer == flow.BytesLayer2 {
		return r.bytes
	}
	header := uint64(ethernet)
	if r.vlan != 0 {
		header += tag
	}
	return r.bytes + r.packets*header
}

// rig is a pair of hosts, and a collector that knows them.
type rig struct {
	*testing.T
	*ovsbedtest.Pair
	ctx context.Context

	to     map[*ovsbed.Host]netip.AddrPort // where the collector receives
	estate *estate.Holder
	stop   func() // ends the collector
	// templates are what the collector remembers.
	templates *template.Store
	stateFile string // of the next collector; empty: none

	mu   sync.Mutex
	rows []row // guarded by mu
}

func newRig(t *testing.T) *rig {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	r := &rig{T: t, Pair: ovsbedtest.NewPair(t), ctx: ctx, to: map[*ovsbed.Host]netip.AddrPort{}, estate: estate.NewHolder()}
	r.to[r.HV1], r.to[r.HV2] = netip.AddrPortFrom(r.HV1.Root, 0), netip.AddrPortFrom(r.HV2.Root, 0)
	r.collect()
	t.Cleanup(func() { r.stop() })
	return r
}

// run runs a part of the test by itself.
func (r *rig) run(name string, f func()) {
	whole := r.T
	whole.Run(name, func(t *testing.T) {
		r.T = t
		defer func() { r.T = whole }()
		f()
	})
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// setEstate makes the rig known to the enricher, with what change changes.
func (r *rig) setEstate(change func(*estate.Model)) {
	r.Helper()
	m := &estate.Model{
		Hosts: []estate.Host{
			{Name: "hv1", Exporters: []netip.Addr{r.HV1.Exporter}, Bridges: []estate.Bridge{
				{Name: "br0", VirtualObsID: "hv1/br0", ObservationDomains: []uint32{0x0103}},
				{Name: "br1", ObservationDomains: []uint32{2, 0x0104}},
			}},
			{Name: "hv2", Exporters: []netip.Addr{r.HV2.Exporter}, Bridges: []estate.Bridge{{Name: "br0"}}},
		},
		Networks: []estate.Network{
			{Name: "flat", Bridge: "br0", Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}},
			{Name: "seven", Bridge: "br0", VLAN: 7},
			{Name: "inner", Bridge: "br1"},
		},
	}
	for name, vm := range r.VMs {
		network := map[string]string{"br0": "flat", "br1": "inner"}[vm.Bridge]
		if vm.VLAN == 7 {
			network = "seven"
		}
		var mac estate.MAC
		r.must(mac.UnmarshalText([]byte(vm.MAC)))
		m.VMs = append(m.VMs, estate.VM{Name: name, Host: vm.Host.Name, VIFs: []estate.VIF{{
			Device: "eth0", Network: network, MAC: mac, IPs: []netip.Addr{r.IPv4(name), r.IPv6(name)},
			Ports: []estate.Port{{Bridge: vm.Bridge, IfIndex: vm.Port.IfIndex, OFPort: vm.Port.OFPort}},
		}}})
	}
	if change != nil {
		change(m)
	}
	s, err := estate.Compile(m)
	r.must(err)
	r.estate.Store(s)
}

// collect starts a collector where the one before it received. It remembers what is in stateFile.
func (r *rig) collect() {
	r.Helper()
	r.setEstate(nil)
	cfg := collector.Default()
	cfg.Listen = []string{r.to[r.HV1].String(), r.to[r.HV2].String()}
	cfg.Workers, cfg.BatchRows, cfg.FlushInterval, cfg.RecvBuffer = 1, 500, 50*time.Millisecond, 4<<20
	cfg.Sampling = []collector.Sampling{{Exporters: netip.MustParsePrefix("0.0.0.0/0"), Rate: assumedRate}}
	conns, err := collector.Listen(cfg)
	r.must(err)
	r.to[r.HV1], r.to[r.HV2] = conns[0].LocalAddr(), conns[1].LocalAddr()
	var id atomic.Uint64
	live := estate.NewLiveness(10 * time.Minute)
	for _, h := range []*ovsbed.Host{r.HV1, r.HV2} { // both have sent before: a change-over is not what is tested here
		live.Seen(h.Exporter, time.Now().UnixMilli())
	}
	r.templates = template.New(cfg.Templates)
	var remembered *state.File
	if r.stateFile != "" {
		cfg.State.File = r.stateFile
		remembered, err = state.Open(cfg.State, state.Deps{
			Log: slog.New(slog.DiscardHandler), Store: r.templates, Parse: netflow.ParseTemplate, Now: time.Now,
		})
		r.must(err)
	}
	c, err := collector.New(cfg, collector.Deps{
		Log: slog.New(slog.DiscardHandler), Conns: conns, Templates: r.templates, State: remembered,
		Get:     func() *flow.Batch { return flow.NewBatch(cfg.BatchCap()) },
		BatchID: func() uint64 { return id.Add(1) },
		Enrich:  enricher.New(enricher.Deps{Estate: r.estate, Live: live}).Enrich, Seal: r.seal, Seen: live.Seen,
	})
	r.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.Error(err)
		}
	})
}

func (r *rig) seal(b *flow.Batch) {
	s := r.estate.Load()
	name := func(id uint64) string {
		e, _ := s.Entity(flow.ID(id))
		return e.Name
	}
	unmap := func(a flow.Addr) netip.Addr { return netip.AddrFrom16(a).Unmap() }
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range b.Len() {
		r.rows = append(r.rows, row{unmap(b.SrcAddr[i]), unmap(b.DstAddr[i]), rest{
			version: b.Version[i], domain: b.ObservationDomain[i],
			srcPort: b.SrcPort[i], dstPort: b.DstPort[i], protocol: b.Protocol[i], ethertype: b.Ethertype[i],
			bytes: b.Bytes[i], packets: b.Packets[i], layer: b.BytesLayer[i], in: b.InIf[i], out: b.OutIf[i], vlan: b.VLANIn[i],
			observed: b.Observed[i], point: b.ObservationPoint[i], instance: b.RuleInstance[i], stage: b.Stage[i], verdict: b.Verdict[i],
			counted: b.Counted[i], rate: b.SamplingRate[i], assumed: b.SamplingAssumed[i], forwarding: b.ForwardingStatus[i],
			reason: b.EndReason[i], age: ms(b.StartAge[i]), duration: ms(int64(b.Duration[i])),
			host: name(b.Host[i]), bridge: name(b.Bridge[i]), network: name(b.Network[i]), srcVM: name(b.SrcVM[i]), dstVM: name(b.DstVM[i]),
		}})
	}
}

// received returns the rows so far for which all of is hold.
func (r *rig) received(is ...func(*row) bool) []row {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []row
	for _, x := range r.rows {
		if !slices.ContainsFunc(is, func(f func(*row) bool) bool { return !f(&x) }) {
			found = append(found, x)
		}
	}
	return found
}

func (r *rig) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = nil
}

// sums are packets, and their bytes as reported and as frames.
type sums struct{ packets, bytes, frames uint64 }

func add(rows []row) (s sums) {
	for i := range rows {
		s.packets += rows[i].packets
		s.bytes += rows[i].bytes
		s.frames += rows[i].frames()
	}
	return s
}

// times returns the sums of n packets of size bytes from the IP header on.
func times(n, size uint64) sums { return sums{n, n * size, n * (size + ethernet)} }

// wait calls check until it finds nothing wrong.
func (r *rig) wait(what string, check func() error) {
	r.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) || r.ctx.Err() != nil {
			r.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(20 * time.Millisecond) // between polls
	}
}

// errMoved says that packets passed at a moment when none was to pass.
var errMoved = errors.New("packets passed that nobody sent")

// export is how bridges export: on makes them, off ends it, flush (nil: off) makes them export what they hold.
type export struct{ on, flush, off func() error }

// measured says what passed at ports while hosts exported, and hands it to check, until that finds nothing wrong. Exports
// begin and end at moments when nothing passes; if something does, all is done again.
func (r *rig) measured(ports []ovsbedtest.Port, e export, send func() error, check func(passed []netns.Counters) error) {
	r.Helper()
	for range attempts {
		err := r.measure(ports, e, send, check)
		r.must(e.off())
		if err == nil {
			return
		}
		if !errors.Is(err, errMoved) {
			r.Fatal(err)
		}
		r.Log(err)
	}
	r.Fatalf("%v, %d times", errMoved, attempts)
}

func (r *rig) measure(ports []ovsbedtest.Port, e export, send func() error, check func(passed []netns.Counters) error) error {
	before := ovsbedtest.Settle(r, ports)
	r.forget()
	if err := e.on(); err != nil {
		return err
	}
	if !slices.Equal(ovsbedtest.Counters(r, ports), before) {
		return errMoved
	}
	if err := send(); err != nil {
		return err
	}
	after := ovsbedtest.Settle(r, ports)
	if e.flush != nil {
		if err := e.flush(); err != nil {
			return err
		}
	}
	passed := make([]netns.Counters, len(ports))
	for i := range ports {
		passed[i] = after[i].Sub(before[i])
	}
	deadline := time.Now().Add(patience)
	for {
		err := check(passed)
		if err == nil {
			r.wait("the end of rows", r.noMore())
			err = check(passed) // nor too much
		}
		moved := !slices.Equal(ovsbedtest.Counters(r, ports), after)
		switch {
		case err == nil && !moved:
			return nil
		case moved:
			return errMoved
		case time.Now().After(deadline):
			return fmt.Errorf("not within %v: %w", patience, err)
		}
		time.Sleep(20 * time.Millisecond) // between polls
	}
}

// noMore returns a check that no row came for a while.
func (r *rig) noMore() func() error {
	n, since := len(r.received()), time.Now()
	return func() error {
		if now := len(r.received()); now != n {
			n, since = now, time.Now()
		}
		if time.Since(since) < quiet {
			return errors.New("rows come")
		}
		return nil
	}
}

// named checks that rows from and to VMs say so: by the names of those that have the addresses.
func (r *rig) named(rows []row) error {
	who := map[netip.Addr]string{}
	for name := range r.VMs {
		who[r.IPv4(name)], who[r.IPv6(name)] = name, name
	}
	for i := range rows {
		x := &rows[i]
		src, dst := who[x.src], who[x.dst]
		if src != "" && x.srcVM != src || dst != "" && x.dstVM != dst {
			return fmt.Errorf("named %q to %q, want %q to %q: %s", x.srcVM, x.dstVM, src, dst, list(rows[i:i+1]))
		}
	}
	return nil
}

// all reports the first row for which wrong says something.
func (r *rig) all(wrong func(*row) string) {
	r.Helper()
	rows := r.received()
	if len(rows) == 0 {
		r.Error("no rows")
	}
	for i := range rows {
		if what := wrong(&rows[i]); what != "" {
			r.Errorf("%s: %s", what, list(rows[i:i+1]))
			return
		}
	}
}

// list shows a few rows.
func list(rows []row) string {
	const most = 10
	var s strings.Builder
	for i, x := range rows {
		if i == most {
			fmt.Fprintf(&s, "\nand %d more", len(rows)-most)
			break
		}
		fmt.Fprintf(&s, "\n%v > %v %+v", x.src, x.dst, x.rest)
	}
	return s.String()
}

func of(host, bridge string) func(*row) bool {
	return func(x *row) bool { return x.host == host && x.bridge == bridge }
}
func cameIn(port uint32) func(*row) bool  { return func(x *row) bool { return x.in == port } }
func wentOut(port uint32) func(*row) bool { return func(x *row) bool { return x.out == port } }
func isCounted(x *row) bool               { return x.counted }

// fromTo is of packets of one protocol from one VM to another.
func (r *rig) fromTo(a, b string, protocol uint8) func(*row) bool {
	return func(x *row) bool {
		return x.protocol == protocol && (x.src == r.IPv4(a) && x.dst == r.IPv4(b) || x.src == r.IPv6(a) && x.dst == r.IPv6(b))
	}
}
