package enricher

import (
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
// and Counted of all rows of b from the others. Rows of one exporter should stand together, as a decoder leaves them.
// It allocates nothing but room for the lists of groups, which the batch keeps.
func (e *Enricher) Enrich(b *flow.Batch) {
	rows := b.Len()
	if rows == 0 {
		return
	}
	s := e.deps.Estate.Load()
	b.SrcGroups.IDs, b.DstGroups.IDs = b.SrcGroups.IDs[:0], b.DstGroups.IDs[:0]
	w := work{b: b, s: s, alive: e.liveHosts(s, b.TimeReceived[rows-1])}
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

// work is the enrichment of rows [from, to) of a batch, at most chunk. Row i is at i-from in the arrays.
type work struct {
	b        *flow.Batch
	s        *estate.Snapshot
	alive    []bool // by HostRef
	from, to int
	tally    Stats
	touched  uint32 // so that no touch seems useless to the compiler

	vantages [chunk]estate.Vantage // of the runs of rows of one exporter and observation domain
	run      [chunk]uint16         // index in vantages
	src, dst [chunk]found
	network  [chunk]estate.NetworkRef
}

// found is the VIF at one end of a row, and whether an interface of the exporter said so.
type found struct {
	ref    estate.Ref
	byPort bool
}

func (w *work) enrich() {
	w.locate()
	w.byPort()
	w.networks()
	w.byMAC()
	w.byAddr()
	w.fill()
	w.groups(&w.b.SrcGroups, w.b.SrcAddr, &w.src)
	w.groups(&w.b.DstGroups, w.b.DstAddr, &w.dst)
}

// at returns where row i was observed.
func (w *work) at(i int) *estate.Vantage { return &w.vantages[w.run[i-w.from]] }

// locate finds where the rows were observed.
func (w *work) locate() {
	b, runs := w.b, 0
	for i := w.from; i < w.to; i++ {
		if i == w.from || b.Exporter[i] != b.Exporter[i-1] || b.ObservationDomain[i] != b.ObservationDomain[i-1] {
			w.vantages[runs] = w.s.Vantage(b.Exporter[i], b.ObservationDomain[i])
			runs++
		}
		w.run[i-w.from] = uint16(runs - 1)
		if w.vantages[runs-1].Host == 0 {
			w.tally.UnknownExporter++
		}
	}
}

// byPort finds ends by interface index.
func (w *work) byPort() {
	version, in, out := w.b.Version, w.b.InIf, w.b.OutIf
	for i := w.from; i < w.to; i++ {
		w.touched += w.s.TouchPort(w.at(i), version[i], in[i]) + w.s.TouchPort(w.at(i), version[i], out[i])
	}
	var n [3]uint64
	find := func(i int, index uint32) (end found) {
		if at := w.at(i); index != 0 && at.Host != 0 {
			ref, m := w.s.Port(at, version[i], index)
			end = found{ref, m == estate.Hit}
			n[m]++
		}
		return end
	}
	for i := w.from; i < w.to; i++ {
		w.src[i-w.from] = find(i, in[i])
		w.dst[i-w.from] = find(i, out[i])
	}
	w.tally.Port.count(&n)
	w.touchEnds()
}

// touchEnds prepares for what is asked of the VIFs that were found.
func (w *work) touchEnds() {
	for i := range w.to - w.from {
		w.touched += uint32(w.s.Endpoint(w.src[i].ref).NetworkRef) + uint32(w.s.Endpoint(w.dst[i].ref).NetworkRef)
	}
}

// networks finds the networks that interfaces and VLAN tags tell, by which MAC and IP addresses are then looked up.
func (w *work) networks() {
	run, last, lastNetwork := -1, uint16(0), estate.NetworkRef(0) // the rows of a run mostly have one tag
	for i := w.from; i < w.to; i++ {
		n := w.s.Endpoint(w.src[i-w.from].ref).NetworkRef
		if n == 0 {
			n = w.s.Endpoint(w.dst[i-w.from].ref).NetworkRef
		}
		if n == 0 {
			vlan := w.b.VLANIn[i]
			if vlan == 0 {
				vlan = w.b.VLANOut[i]
			}
			if vlan != last || int(w.run[i-w.from]) != run {
				run, last, lastNetwork = int(w.run[i-w.from]), vlan, w.s.VLAN(w.at(i), vlan)
			}
			n = lastNetwork
		}
		w.network[i-w.from] = n
	}
}

// byMAC finds ends that are not found yet by MAC address.
func (w *work) byMAC() {
	src, dst := w.b.SrcMAC, w.b.DstMAC
	for i := w.from; i < w.to; i++ {
		if w.src[i-w.from].ref == 0 {
			w.touched += w.s.TouchMAC(src[i])
		}
		if w.dst[i-w.from].ref == 0 {
			w.touched += w.s.TouchMAC(dst[i])
		}
	}
	var n [3]uint64
	find := func(i int, mac uint64, end *found) {
		if end.ref == 0 && mac != 0 {
			var m estate.Match
			end.ref, m = w.s.MAC(mac, w.network[i-w.from])
			n[m]++
			w.learnNetwork(i, end.ref)
		}
	}
	for i := w.from; i < w.to; i++ {
		find(i, src[i], &w.src[i-w.from])
		find(i, dst[i], &w.dst[i-w.from])
	}
	w.tally.MAC.count(&n)
}

// byAddr finds ends that are not found yet by IP address.
func (w *work) byAddr() {
	src, dst := w.b.SrcAddr, w.b.DstAddr
	for i := w.from; i < w.to; i++ {
		if w.src[i-w.from].ref == 0 {
			w.touched += w.s.TouchAddr(src[i])
		}
		if w.dst[i-w.from].ref == 0 {
			w.touched += w.s.TouchAddr(dst[i])
		}
	}
	var n [3]uint64
	find := func(i int, addr flow.Addr, end *found) {
		if end.ref == 0 && addr != (flow.Addr{}) {
			var m estate.Match
			end.ref, m = w.s.Addr(addr, w.network[i-w.from])
			n[m]++
			w.learnNetwork(i, end.ref)
		}
	}
	for i := w.from; i < w.to; i++ {
		find(i, src[i], &w.src[i-w.from])
		find(i, dst[i], &w.dst[i-w.from])
	}
	w.tally.Addr.count(&n)
	w.touchEnds()
}

// learnNetwork takes the network of an end for that of its row, if nothing told it before.
func (w *work) learnNetwork(i int, ref estate.Ref) {
	if n := &w.network[i-w.from]; *n == 0 && ref != 0 {
		*n = w.s.Endpoint(ref).NetworkRef
	}
}

// directions are by whether source and destination are VMs.
var directions = [2][2]flow.Direction{
	{flow.DirectionUnknown, flow.DirectionInbound},
	{flow.DirectionOutbound, flow.DirectionInternal},
}

// fill writes the columns of single values.
func (w *work) fill() {
	b, s := w.b, w.s
	for i := w.from; i < w.to; i++ {
		at, src, dst := w.at(i), w.src[i-w.from], w.dst[i-w.from]
		from, to := s.Endpoint(src.ref), s.Endpoint(dst.ref)
		b.Host[i], b.Pool[i], b.Bridge[i] = at.Host, at.Pool, at.Bridge
		if at.Bridge == 0 {
			b.Bridge[i] = w.bridge(at, src, dst)
		}
		b.SrcVIF[i], b.SrcVM[i] = from.ID, from.VM
		b.DstVIF[i], b.DstVM[i] = to.ID, to.VM
		b.Direction[i] = directions[known(src)][known(dst)]
		if src.ref == 0 && dst.ref == 0 {
			w.tally.NoEnd++
		}
		n := w.network[i-w.from]
		if n == 0 {
			if n = s.Subnet(at, b.SrcAddr[i]); n == 0 {
				n = s.Subnet(at, b.DstAddr[i])
			}
		}
		if n == 0 {
			w.tally.NoNetwork++
		}
		b.Network[i] = s.Network(n)
		b.Counted[i] = w.counted(at, src, dst, b.Stage[i])
		if !b.Counted[i] {
			w.tally.NotCounted++
		}
	}
}

func known(end found) int {
	if end.ref != 0 {
		return 1
	}
	return 0
}

// bridge returns the bridge of the exporting host into which an end found at an interface is plugged.
func (w *work) bridge(at *estate.Vantage, src, dst found) uint64 {
	for _, end := range [2]found{src, dst} {
		if e := w.s.Endpoint(end.ref); end.byPort && e.Host == at.HostRef && e.Bridge != 0 {
			return e.Bridge
		}
	}
	return 0
}

// counted reports whether totals count a row observed at a host, with these ends.
func (w *work) counted(at *estate.Vantage, src, dst found, stage flow.Stage) bool {
	if h := w.hostOf(at, src); h != 0 && (h == at.HostRef || w.alive[h]) {
		return h == at.HostRef && stage != flow.StageIngress
	}
	if h := w.hostOf(at, dst); h != 0 && (h == at.HostRef || w.alive[h]) {
		return h == at.HostRef
	}
	return true
}

// hostOf returns the host of the VIF at an end.
func (w *work) hostOf(at *estate.Vantage, end found) estate.HostRef {
	if end.byPort {
		return at.HostRef
	}
	return w.s.Endpoint(end.ref).Host
}

// groups writes the groups of one end of all rows.
func (w *work) groups(lists *flow.Lists, addrs flow.Column[flow.Addr], ends *[chunk]found) {
	for i := w.from; i < w.to; i++ {
		lists.IDs = w.s.AppendGroups(lists.IDs, ends[i-w.from].ref, addrs[i])
		lists.Offsets[i] = uint64(len(lists.IDs))
	}
}
