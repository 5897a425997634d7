package enricher

import (
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

// Deps are what an Enricher uses and does not own.
type Deps struct {
	Estate *estate.Holder
	Live   *estate.Liveness // which exporters send; the collector tells it

	Metrics prometheus.Registerer // nil: none
}

// Enricher fills batches. Its methods may be called from any goroutine, each with a batch of its own.
type Enricher struct {
	deps  Deps
	alive atomic.Pointer[alive]
	stats counters
}

// New returns an enricher.
func New(d Deps) *Enricher {
	e := &Enricher{deps: d}
	if d.Metrics != nil {
		d.Metrics.MustRegister(metrics{e})
	}
	return e
}

// alive says which hosts of a snapshot export, by HostRef.
type alive struct {
	snapshot *estate.Snapshot
	live     *estate.Live
	hosts    []bool
}

// chunk is how many rows are looked up together. Each step goes through all of them before the next begins: so the
// columns are read in long pieces, and the look-ups of a step, which in a large estate wait for memory, wait together.
const chunk = 256

// Enrich fills the columns Direction, Pool, Host, Bridge, Network, SrcVM, DstVM, SrcVIF, DstVIF, SrcGroups, DstGroups
// and Counted of all rows of b from the others; of rows of Open vSwitch hosts also Stage, RuleID, RuleInstance, Verdict,
// BytesLayer, SamplingRate and SamplingAssumed, as the package comment says. Rows of one exporter should stand together, as
// a decoder leaves them. It allocates nothing but room for the lists of groups, which the batch keeps.
func (e *Enricher) Enrich(b *flow.Batch) {
	rows := b.Len()
	if rows == 0 {
		return
	}
	s := e.deps.Estate.Load()
	b.SrcGroups.IDs, b.DstGroups.IDs = b.SrcGroups.IDs[:0], b.DstGroups.IDs[:0]
	w := work{b: b, s: s, alive: e.liveHosts(s, b.TimeReceived[rows-1])}
	w.late, w.hasLate = s.Late()
	for w.from = 0; w.from < rows; w.from = w.to {
		w.to = min(rows, w.from+chunk)
		w.enrich()
	}
	w.tally.Rows = uint64(rows)
	e.stats.add(&w.tally)
}

// liveHosts returns which hosts of s export at a time in ms since epoch. It is computed anew about once a second.
func (e *Enricher) liveHosts(s *estate.Snapshot, ms int64) []bool {
	live := e.deps.Live.Snapshot(ms)
	if a := e.alive.Load(); a != nil && a.snapshot == s && a.live == live {
		return a.hosts
	}
	a := &alive{s, live, s.LiveHosts(live)}
	e.alive.Store(a)
	return a.hosts
}

// work is the enrichment of rows [from, to) of a batch, at most chunk. Row i is number i-from in the arrays of rows, and
// its ends are 2*(i-from), the source, and the next, the destination, in the arrays of ends.
type work struct {
	b        *flow.Batch
	s        *estate.Snapshot
	alive    []bool // by HostRef
	from, to int
	tally    Stats

	late    estate.Late  // for rows whose flow ended before the estate was as it is
	hasLate bool         // there may be such rows
	isLate  bool         // among these rows there are some
	ended   [chunk]int64 // of rows: when the flow ended, in ms since epoch; set if isLate

	// Of rows.
	vantages [chunk]estate.Vantage // of the runs of rows of one exporter and observation domain
	run      [chunk]uint16         // index in vantages
	network  [chunk]estate.NetworkRef

	// Of ends.
	ref    [2 * chunk]estate.Ref // the VIF that was found; 0 if none
	byPort [2 * chunk]bool       // an interface of the exporter said so

	// What is looked up in a step.
	asked [2 * chunk]uint16 // ends
	keys  [2 * chunk]uint64
	addrs [2 * chunk]flow.Addr
	found [2 * chunk]estate.Ref
}

func (w *work) enrich() {
	w.locate()
	if w.hasLate {
		w.findLate()
	}
	w.findByPort()
	w.findNetworks()
	w.findByMAC()
	w.findByAddr()
	w.fill()
	w.groups(&w.b.SrcGroups, w.b.SrcAddr, 0)
	w.groups(&w.b.DstGroups, w.b.DstAddr, 1)
}

// at returns where row number n was observed.
func (w *work) at(n int) *estate.Vantage { return &w.vantages[w.run[n]] }

// locate finds where the rows were observed.
func (w *work) locate() {
	b, runs := w.b, 0
	for i := w.from; i < w.to; i++ {
		if i == w.from || b.Exporter[i] != b.Exporter[i-1] || b.ObservationDomain[i] != b.ObservationDomain[i-1] || b.VirtualID[i] != b.VirtualID[i-1] {
			w.vantages[runs] = w.s.Vantage(b.Exporter[i], b.VirtualID[i], b.ObservationDomain[i])
			runs++
		}
		w.run[i-w.from] = uint16(runs - 1)
		at := &w.vantages[runs-1]
		if at.HostRef == 0 {
			w.tally.UnknownExporter++
		}
		if at.RuleSampling {
			w.interpret(i)
		}
		if at.OpenVSwitch && b.Version[i] == netFlow5 {
			w.correct(i)
		}
	}
}

// findLate finds out which rows are of flows that ended before the last changes of the estate. The end is what counts: a
// flow's numbers and addresses were those of its ends as long as it went on, and its start may be long ago.
func (w *work) findLate() {
	received, age, duration := w.b.TimeReceived[w.from:w.to], w.b.StartAge[w.from:w.to], w.b.Duration[w.from:w.to]
	w.isLate = false
	for n := range received {
		ended := received[n] - max(0, age[n]-int64(duration[n]))
		w.ended[n] = ended
		w.isLate = w.isLate || w.late.Before(ended)
	}
}

const netFlow5 = 5

// correct says of row i, NetFlow 5 of Open vSwitch, what the protocol has no field for: all packets are looked at, and
// their bytes are counted with the Ethernet header, where others count from the IP header on.
func (w *work) correct(i int) {
	if w.b.BytesLayer[i] == flow.BytesLayer3 {
		w.b.BytesLayer[i] = flow.BytesLayer2
	}
	if w.b.SamplingAssumed[i] {
		w.b.SamplingRate[i], w.b.SamplingAssumed[i] = 1, false
	}
}

// interpret takes the observation point of row i, of a bridge whose sampling Weir set up, for what it says.
func (w *work) interpret(i int) {
	stage, instance := flow.SplitPoint(w.b.ObservationPoint[i])
	if instance == 0 {
		return
	}
	rule, verdict := w.s.Rule(instance)
	w.b.Stage[i], w.b.RuleInstance[i], w.b.RuleID[i], w.b.Verdict[i] = stage, instance, rule, verdict
	w.tally.UnknownRule += uint64(one(verdict == flow.VerdictUnknown))
}

// The steps below do without branches where they can: which of the ends are found, and how, is as good as random, and a
// branch that the processor guesses wrong costs as much as a look-up.

// findByPort finds ends by interface index.
func (w *work) findByPort() {
	rows := w.to - w.from
	version, in, out := w.b.Version[w.from:w.to], w.b.InIf[w.from:w.to], w.b.OutIf[w.from:w.to]
	asked := 0
	for n := range rows {
		at := w.at(n)
		src, dst := at.PortKey(version[n], in[n]), at.PortKey(version[n], out[n])
		w.keys[2*n], w.keys[2*n+1] = src, dst
		asked += one(src != 0) + one(dst != 0)
	}
	w.s.Ports(w.keys[:2*rows], w.ref[:])
	if w.isLate {
		for e, key := range w.keys[:2*rows] {
			if ref := w.late.Port(key, w.ended[e/2]); ref != 0 {
				w.ref[e] = ref
			}
		}
	}
	hits, ambiguous := 0, 0
	for e, ref := range w.ref[:2*rows] {
		if ref == estate.Several {
			ref = 0
			ambiguous++
		}
		w.ref[e], w.byPort[e] = ref, ref != 0
		hits += one(ref != 0)
	}
	w.tally.Port.add(asked, hits, ambiguous)
}

// findNetworks finds the networks that interfaces and VLAN tags tell, by which MAC and IP addresses are looked up.
func (w *work) findNetworks() {
	run, last, lastNetwork := -1, uint16(0), estate.NetworkRef(0) // the rows of a run mostly have one tag
	for n := range w.to - w.from {
		network := w.s.Endpoint(w.ref[2*n]).NetworkRef
		ofDst := w.s.Endpoint(w.ref[2*n+1]).NetworkRef
		if network == 0 {
			network = ofDst
		}
		if network == 0 {
			vlan, vlanOut := w.b.VLANIn[w.from+n], w.b.VLANOut[w.from+n]
			if vlan == 0 {
				vlan = vlanOut
			}
			if vlan != last || int(w.run[n]) != run {
				run, last, lastNetwork = int(w.run[n]), vlan, w.s.VLAN(w.at(n), vlan)
			}
			network = lastNetwork
		}
		w.network[n] = network
	}
}

// findByMAC finds ends that are not found yet by MAC address.
func (w *work) findByMAC() {
	rows, asked := w.to-w.from, 0
	src, dst := w.b.SrcMAC[w.from:w.to], w.b.DstMAC[w.from:w.to]
	ask := func(e int, mac uint64) {
		const multicast = 40 // the number of the bit that says so
		w.asked[asked], w.keys[asked] = uint16(e), mac
		asked += one(w.ref[e] == 0) & one(mac != 0) &^ int(mac>>multicast)
	}
	for n := range rows {
		ask(2*n, src[n])
		ask(2*n+1, dst[n])
	}
	w.s.MACs(w.keys[:asked], w.found[:])
	if w.isLate {
		for i, e := range w.asked[:asked] {
			if ref := w.late.MAC(w.keys[i], w.network[e/2], w.ended[e/2]); ref != 0 {
				w.found[i] = ref
			}
		}
	}
	w.tally.MAC.add(w.take(asked, func(i int, network estate.NetworkRef) estate.Ref {
		ref, _ := w.s.MAC(w.keys[i], network)
		return ref
	}))
}

// findByAddr finds ends that are not found yet by IP address.
func (w *work) findByAddr() {
	rows, asked := w.to-w.from, 0
	src, dst := w.b.SrcAddr[w.from:w.to], w.b.DstAddr[w.from:w.to]
	ask := func(e int, addr *flow.Addr) {
		w.asked[asked], w.addrs[asked] = uint16(e), *addr
		asked += one(w.ref[e] == 0) & one(*addr != flow.Addr{})
	}
	for n := range rows {
		ask(2*n, &src[n])
		ask(2*n+1, &dst[n])
	}
	w.s.Addrs(w.addrs[:asked], w.found[:])
	if w.isLate {
		for i, e := range w.asked[:asked] {
			if ref := w.late.Addr(w.addrs[i], w.network[e/2], w.ended[e/2]); ref != 0 {
				w.found[i] = ref
			}
		}
	}
	w.tally.Addr.add(w.take(asked, func(i int, network estate.NetworkRef) estate.Ref {
		ref, _ := w.s.Addr(w.addrs[i], network)
		return ref
	}))
}

// take takes over what was found for the ends that were asked for. Where there are several, within asks for the one in
// a network. The network of an end becomes that of its row, if nothing told it before.
func (w *work) take(n int, within func(i int, network estate.NetworkRef) estate.Ref) (asked, hits, ambiguous int) {
	for i := range n {
		e, ref := int(w.asked[i]), w.found[i]
		network := w.network[e/2]
		if ref == estate.Several {
			ref = within(i, network)
			ambiguous += one(ref == 0)
		}
		w.ref[e] = ref
		hits += one(ref != 0)
		ofEnd := w.s.Endpoint(ref).NetworkRef
		if network == 0 {
			network = ofEnd
		}
		w.network[e/2] = network
	}
	return n, hits, ambiguous
}

// one returns 1 for true, without a branch.
func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// directions are by whether source and destination are VMs.
var directions = [2][2]flow.Direction{
	{flow.DirectionUnknown, flow.DirectionInbound},
	{flow.DirectionOutbound, flow.DirectionInternal},
}

// fill writes the columns of single values.
func (w *work) fill() {
	b, s := w.b, w.s
	for n := range w.to - w.from {
		i, at := w.from+n, w.at(n)
		src, dst := 2*n, 2*n+1
		from, to := s.Endpoint(w.ref[src]), s.Endpoint(w.ref[dst])
		b.Host[i], b.Pool[i], b.Bridge[i] = at.Host, at.Pool, at.Bridge
		if at.Bridge == 0 && at.HostRef != 0 {
			b.Bridge[i] = w.bridge(at, src, dst)
		}
		b.SrcVIF[i], b.SrcVM[i] = from.ID, from.VM
		b.DstVIF[i], b.DstVM[i] = to.ID, to.VM
		srcKnown, dstKnown := one(w.ref[src] != 0), one(w.ref[dst] != 0)
		b.Direction[i] = directions[srcKnown][dstKnown]
		w.tally.NoEnd += uint64(1 &^ (srcKnown | dstKnown))
		network := w.network[n]
		if network == 0 {
			if network = s.Subnet(at, b.SrcAddr[i]); network == 0 {
				network = s.Subnet(at, b.DstAddr[i])
			}
			w.tally.NoNetwork += uint64(one(network == 0))
		}
		b.Network[i] = s.Network(network)
		var counted, standIn int
		if at.RuleSampling {
			counted, standIn = w.countedByRule(i, at, src, dst)
		} else {
			counted, standIn = w.counted(at, w.hostOf(at, src), w.hostOf(at, dst), 1)
		}
		b.Counted[i] = counted != 0
		w.tally.NotCounted += uint64(1 - counted)
		w.tally.StandIn += uint64(standIn)
	}
}

// bridge returns the bridge of the exporting host into which an end found at an interface is plugged.
func (w *work) bridge(at *estate.Vantage, ends ...int) uint64 {
	for _, end := range ends {
		if e := w.s.Endpoint(w.ref[end]); w.byPort[end] && e.Host == at.HostRef && e.Bridge != 0 {
			return e.Bridge
		}
	}
	return 0
}

// hostOf returns the host of the VIF at an end; 0 if it is not known.
func (w *work) hostOf(at *estate.Vantage, end int) estate.HostRef {
	h := w.s.Endpoint(w.ref[end]).Host
	if w.byPort[end] {
		h = at.HostRef
	}
	return h
}

// counted returns 1 if totals count a row observed at a host, with ends on two hosts, else 0; standIn is 1 if they do since
// the source's host does not export. first is 0 if another row of the source's host has the same packets and is counted.
func (w *work) counted(at *estate.Vantage, src, dst estate.HostRef, first int) (counted, standIn int) {
	me := at.HostRef
	srcHere, dstHere := one(src == me), one(dst == me)
	srcLive := (srcHere | one(w.alive[src])) & one(src != 0)
	dstLive := (dstHere | one(w.alive[dst])) & one(dst != 0)
	second := (1 - srcLive) & (dstHere | (1 - dstLive))
	return srcLive&srcHere&first | second, second & one(src != 0)
}

// countedByRule is counted for row i, of a bridge whose sampling Weir set up.
func (w *work) countedByRule(i int, at *estate.Vantage, src, dst int) (counted, standIn int) {
	stage := w.b.Stage[i]
	if (stage == flow.StageNone) != at.TotalsElsewhere {
		return 0, 0
	}
	srcHost, dstHost, first := w.hostOf(at, src), w.hostOf(at, dst), 1
	switch {
	case stage == flow.StageNone:
	case w.b.Verdict[i] == flow.VerdictShadowDenied:
		return 0, 0
	case stage == flow.StageEgress, atDoor(w.b.RuleInstance[i]):
		return 1, 0
	case stage == flow.StageIngress:
		first, dstHost = 0, at.HostRef
	default:
		// Between two bridges of a host the second sees what the first did.
		if of := w.s.Endpoint(w.ref[src]).Bridge; !w.byPort[src] && srcHost == at.HostRef && of != 0 && of != at.Bridge {
			first = 0
		}
	}
	return w.counted(at, srcHost, dstHost, first)
}

// atDoor reports whether a built-in rule drops packets of VIFs before anybody else sees them.
func atDoor(instance uint32) bool {
	switch instance {
	case flow.SystemTagged, flow.SystemUnknownPort:
		return true
	}
	return slices.Contains(flow.Guards, instance)
}

// groups writes the groups of one end of all rows: of the source for side 0, of the destination for side 1.
func (w *work) groups(lists *flow.Lists, addrs flow.Column[flow.Addr], side int) {
	rows := w.to - w.from
	refs := w.found[:rows]
	for n := range refs {
		refs[n] = w.ref[2*n+side]
	}
	lists.IDs = w.s.AppendGroups(lists.IDs, lists.Offsets[w.from:w.to], refs, addrs[w.from:w.to])
}
