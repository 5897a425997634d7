package reconcile_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/reconcile"
)

const patience = time.Minute

// rig is simulated hosts, each with a bridge br0 that is secure, and a Weir that they dial.
type rig struct {
	t     testing.TB
	hosts []*ovsbed.Host
	vms   []*ovsbed.VM
	addr  string // of the listener
	*weir
}

// weir is a Reconciler with its listener.
type weir struct {
	*reconcile.Reconciler
	events   *events
	hits     *hits
	registry *prometheus.Registry
	stop     func()        // ends it; what is installed stays
	ahead    *atomic.Int64 // by how much its clock is, ns
}

// long is what tests that take seconds begin with.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Parallel()
}

// newRig starts hosts and a Weir.
func newRig(t testing.TB, hosts, vms int) *rig {
	t.Helper()
	farm, err := ovsbedtest.New(t).Farm(t.Context(), hosts, vms)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, hosts: farm.Hosts, vms: farm.VMs}
	r.start(reconcile.Config{}, nil)
	for i, h := range r.hosts {
		if _, err := h.VSCtl(t.Context(), "set", "bridge", "br0", "fail_mode=secure", fmt.Sprintf("other_config:datapath-id=%016x", datapath(i))); err != nil {
			t.Fatal(err)
		}
		r.dial(i)
	}
	return r
}

// dial makes host i dial Weir at once: after an attempt that failed it would wait, of a service up to 8 s, whatever max_backoff says.
func (r *rig) dial(i int) {
	r.t.Helper()
	h := r.hosts[i]
	if err := h.SetControllers(r.t.Context(), "br0"); err != nil {
		r.t.Fatal(err)
	}
	weir := netip.AddrPortFrom(h.Root, netip.MustParseAddrPort(r.addr).Port())
	if err := h.SetControllers(r.t.Context(), "br0", ovsbed.Controller{Target: fmt.Sprintf("tcp:%s", weir), Service: true, OutOfBand: true}); err != nil {
		r.t.Fatal(err)
	}
}

// hurry makes Weir's clock run so that what waits because something went wrong is tried again soon.
func (r *rig) hurry() {
	ctx := r.t.Context()
	w := r.weir
	go func() {
		for ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond) // of the time that is sped up
			w.ahead.Add(int64(time.Second))
			w.Wake()
		}
	}()
}

func datapath(i int) uint64 { return 0xfa_0001 + uint64(i) }

// start starts another Weir in place of the one before. wrap makes connections go wrong.
func (r *rig) start(cfg reconcile.Config, wrap func(reconcile.Conn) reconcile.Conn) {
	r.t.Helper()
	again := r.weir != nil
	if again {
		r.stop()
	}
	l, err := net.Listen("tcp4", "0.0.0.0:0") // hosts have different ways here
	if err != nil {
		r.t.Fatal(err)
	}
	r.addr = l.Addr().String()
	if r.weir, err = newWeir(l, cfg, wrap); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.stop)
	if again {
		for i := range r.hosts {
			r.dial(i)
		}
	}
}

func newWeir(l net.Listener, cfg reconcile.Config, wrap func(reconcile.Conn) reconcile.Conn) (*weir, error) {
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("WEIR_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	w := &weir{events: &events{}, hits: &hits{sum: map[decision]reconcile.Hit{}}, registry: prometheus.NewRegistry(), ahead: &atomic.Int64{}}
	w.Reconciler = reconcile.New(cfg, reconcile.Deps{Log: log, Events: w.events, Hits: w.hits.add, Metrics: w.registry, Now: func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }})
	handle := w.Handle
	if wrap != nil {
		handle = func(_ context.Context, c *openflow.Conn) { w.HandleWith(c, wrap) }
	}
	listener, err := openflow.NewListener(openflow.Config{Limits: openflow.DefaultLimits()}, openflow.Deps{Log: log, Handle: handle})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { _ = w.Run(ctx) })                  // it returns nil
	all.Go(func() { _ = listener.Serve(ctx, l, nil) }) // until then
	w.stop = sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
	return w, nil
}

// bridge returns what is wanted of host i.
func (r *rig) bridge(i int, revision uint64, d *compile.Desired) reconcile.Bridge {
	h := r.hosts[i]
	return reconcile.Bridge{
		Host: reconcile.Host{UUID: h.UUID, Name: h.Name, Pool: flow.NewID(flow.KindPool, "pool1")}, Name: "br0", DatapathID: datapath(i), Addrs: []netip.Addr{h.Exporter},
		Revision: revision, Desired: d, Rule: func(instance uint32) string { return fmt.Sprintf("r%d", instance) },
	}
}

// key is that of host i's bridge.
func (r *rig) key(i int) reconcile.Key { return reconcile.Key{Host: r.hosts[i].UUID, Bridge: "br0"} }

// want says what host 0 is to hold, alone.
func (r *rig) want(revision uint64, d *compile.Desired) {
	r.Set([]reconcile.Bridge{r.bridge(0, revision, d)})
}

// status returns how host 0 stands.
func (r *rig) status() reconcile.BridgeStatus {
	for _, s := range r.Status() {
		if s.HostUUID == r.hosts[0].UUID {
			return s
		}
	}
	return reconcile.BridgeStatus{}
}

// await waits until host 0 stands so.
func (r *rig) await(what string, holds func(s reconcile.BridgeStatus) bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !holds(r.status()); time.Sleep(2 * time.Millisecond) { // between polls
		if time.Now().After(deadline) {
			r.t.Fatalf("waited for %s until %s; it stands so: %+v", patience, what, r.status())
		}
	}
}

// installed waits until host 0 has a revision.
func (r *rig) installed(revision uint64) {
	r.t.Helper()
	r.await(fmt.Sprintf("revision %d is installed", revision), func(s reconcile.BridgeStatus) bool { return s.Has(revision) })
}

// audit has the flows of host 0 read, and what is wrong set right.
func (r *rig) audit() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	if err := r.Audit(ctx, r.key(0)); err != nil {
		r.t.Fatal(err)
	}
}

// ofctl runs ovs-ofctl at host 0.
func (r *rig) ofctl(args ...string) string {
	r.t.Helper()
	out, err := r.hosts[0].OFCtl(r.t.Context(), append([]string{"-OOpenFlow13"}, args...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// received matches how many packets a port has taken in, in what ovs-ofctl says of it.
var received = regexp.MustCompile(`rx pkts=(\d+)`)

// send has a VM of host 0 send packets that rule i is for, and the switch count them. The switch takes them in a moment after it was told to, and rules
// have them once it has forgotten what it knew of their flow.
func (r *rig) send(i, packets int) {
	r.t.Helper()
	taken := func() int {
		m := received.FindStringSubmatch(r.ofctl("dump-ports", "br0", r.vms[0].Port.Name))
		if m == nil {
			r.t.Fatal("the switch does not say what the port has received")
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			r.t.Fatal(err)
		}
		return n
	}
	before := taken()
	packet := fmt.Sprintf("in_port(1),eth(src=02:fa:00:01:00:01,dst=02:fa:00:01:00:02),eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.%d.%d.%d,proto=17,tos=0,ttl=64,frag=no),udp(src=4000,dst=53)",
		byte(i>>16), byte(i>>8), byte(i))
	for range packets {
		if _, err := r.hosts[0].AppCtl(r.t.Context(), "netdev-dummy/receive", r.vms[0].Port.Name, packet); err != nil {
			r.t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(patience); taken() < before+packets; time.Sleep(2 * time.Millisecond) { // between polls
		if time.Now().After(deadline) {
			r.t.Fatalf("the switch has not taken %d packets within %s", packets, patience)
		}
	}
	if err := r.hosts[0].Forget(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// dump returns what host 0 holds.
func (r *rig) dump() []string {
	r.t.Helper()
	return dump(r.t, r.hosts[0])
}

func dump(t testing.TB, h *ovsbed.Host) []string {
	t.Helper()
	out, err := h.OpenFlow(t.Context(), "br0")
	if err != nil { // seen once: the switch closed the connection of ovs-ofctl before it was greeted
		if out, err = h.OpenFlow(t.Context(), "br0"); err != nil {
			t.Fatal(err)
		}
	}
	// A flow remembers how it was put there.
	list := strings.Split(strings.ReplaceAll(out, "reset_counts ", ""), "\n")
	slices.Sort(list) // it was by what is left out, too
	return list
}

// holds checks that host 0 holds what was wanted and flows of others, and nothing else, by what ovs-ofctl makes of their text at another
// host, the last one.
func (r *rig) holds(d *compile.Desired, foreign ...string) {
	r.t.Helper()
	twin := r.hosts[len(r.hosts)-1]
	var groups []openflow.Group
	for _, g := range d.Groups {
		groups = append(groups, g)
	}
	ctl := func(args ...string) {
		r.t.Helper()
		if _, err := twin.OFCtl(r.t.Context(), append([]string{"-OOpenFlow13"}, args...)...); err != nil {
			r.t.Fatal(err)
		}
	}
	ctl("del-flows", "br0")
	ctl("del-groups", "br0")
	ctl("del-meters", "br0")
	for _, m := range d.Meters {
		ctl("add-meter", "br0", m.String())
	}
	for _, g := range groups {
		ctl("add-group", "br0", g.String())
	}
	lines := foreign
	for f := range d.Each() {
		lines = append(lines, f.String())
	}
	if err := twin.SetFlows(r.t.Context(), "br0", lines...); err != nil {
		r.t.Fatal(err)
	}
	if diff := cmp.Diff(dump(r.t, twin), r.dump()); diff != "" {
		r.t.Errorf("flows and groups (-want +got):\n%s", diff)
	}
}

// events keeps what is emitted.
type events struct {
	mu   sync.Mutex
	list []event.Event // guarded by mu
}

// Emit keeps e.
func (s *events) Emit(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, e)
}

// of returns those of a kind.
func (s *events) of(kind event.Kind) (list []event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.list {
		if e.Kind == kind {
			list = append(list, e)
		}
	}
	return list
}

// kinds returns those of all events, in order.
func (s *events) kinds() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, e := range s.list {
		list = append(list, string(e.Kind))
	}
	return strings.Join(list, " ")
}

// decision is a rule at a stage.
type decision struct {
	instance uint32
	stage    flow.Stage
}

// hits sums up what is handed over.
type hits struct {
	mu  sync.Mutex
	sum map[decision]reconcile.Hit // guarded by mu
}

func (s *hits) add(list []reconcile.Hit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range list {
		d := decision{h.Instance, h.Stage}
		h.Packets += s.sum[d].Packets
		h.Bytes += s.sum[d].Bytes
		s.sum[d] = h
	}
}

func (s *hits) packets(instance uint32) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sum[decision{instance, flow.StageEgress}].Packets
}

// metric returns the value of a metric, summed up over labels; label as `outcome="done"` picks one.
func (w *weir) metric(t testing.TB, name, label string) float64 {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum, found := 0.0, false
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			picked := label == ""
			for _, l := range m.GetLabel() {
				picked = picked || fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()) == label
			}
			if picked {
				found = true
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	if !found {
		t.Fatalf("no metric %s{%s}", name, label)
	}
	return sum
}

// Flows as a policy makes them, in a form that is short: packets of VIFs, ports 1 to vifs, go to table 30, where rules decide; what they
// allow goes to a group of all VIFs, by table 50.
const (
	firstRule = 1000
	group     = compile.GroupFirst + 0x100
)

// rule is the one of instance firstRule+i, or another instance: what it matches is i's.
func rule(i int, instance uint32) openflow.Flow {
	return openflow.Flow{
		Table: compile.TableEgress, Priority: uint16(100 + i%50000), Cookie: compile.Cookie(0, compile.KindRule, instance),
		Match: openflow.NewMatch(openflow.EthType(0x800), openflow.IPProto(17), openflow.IPv4Dst(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)),
			openflow.UDPDst(53, 0xffff)),
		Actions: openflow.NewActions(openflow.LoadReg(2, instance), openflow.Resubmit{Table: compile.TableDeliver}),
	}
}

// base are the flows that are not of rules.
func base(vifs int) (list []openflow.Flow) {
	add := func(table uint8, priority uint16, kind compile.Kind, m openflow.Match, actions ...openflow.Action) {
		list = append(list, openflow.Flow{Table: table, Priority: priority, Cookie: compile.Cookie(0, kind, 0), Match: m, Actions: openflow.NewActions(actions...)})
	}
	for port := range vifs {
		p := uint32(port + 1)
		add(compile.TableClassify, 62000, compile.KindClassify, openflow.NewMatch(openflow.InPort(openflow.Port(p))), openflow.Meter{ID: compile.MeterFirst + p}, openflow.LoadReg(0, 1), openflow.LoadReg(5, p), openflow.Resubmit{Table: compile.TableEgress})
		add(compile.TableIngress, 100, compile.KindDeliver, openflow.NewMatch(openflow.Reg(6, p, ^uint32(0))), openflow.Output{Port: openflow.Port(p)})
	}
	add(compile.TableClassify, 60001, compile.KindUnknownPort, "")
	add(compile.TableEgress, 0, compile.KindRule, "")
	add(compile.TableDeliver, 0, compile.KindDeliver, "", openflow.ToGroup{ID: group})
	add(compile.TableIngress, 0, compile.KindRule, "")
	return list
}

// policy has so many rules for so many VIFs; change may change the flows.
func policy(vifs, rules int, change func(list []openflow.Flow) []openflow.Flow) *compile.Desired {
	list := base(vifs)
	for i := range rules {
		list = append(list, rule(i, uint32(firstRule+i)))
	}
	if change != nil {
		list = change(list)
	}
	d := compile.Of(list, flood(vifs))
	d.Meters = map[uint32]openflow.MeterSpec{}
	for port := range vifs {
		id := compile.MeterFirst + uint32(port+1)
		d.Meters[id] = openflow.MeterSpec{ID: id, Rate: uint32(1_000_000 + rules), Burst: 100_000}
	}
	return d
}

func flood(vifs int) openflow.Group {
	var buckets [][]openflow.Action
	for port := range vifs {
		buckets = append(buckets, []openflow.Action{openflow.LoadReg(6, uint32(port+1)), openflow.Resubmit{Table: compile.TableIngress}})
	}
	return openflow.NewGroup(group, buckets...)
}
