package rollup

import (
	"encoding/binary"
	"math/bits"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/query"
)

// minuteKey is the key of flows_1m.
type minuteKey struct {
	host, network, srcVM, dstVM, rule uint64
	bucket                            uint32 // minutes since epoch
	exporter                          uint32 // index into the batch's exporters
	service                           uint16
	protocol                          uint8
	stage                             flow.Stage
	verdict                           flow.Verdict
	counted                           bool
}

// receivedKey is the key of flows_rx_1m.
type receivedKey struct {
	network, srcVM, dstVM, rule uint64
	bucket                      uint32 // minutes since epoch
	exporter                    uint32
	stage                       flow.Stage
	verdict                     flow.Verdict
	counted                     bool
}

// groupKey is the key of flows_group_1m.
type groupKey struct {
	group    uint64
	bucket   uint32
	protocol uint8
	end      end
	stage    flow.Stage
	verdict  flow.Verdict
	counted  bool
}

// end says at which end of a flow a group is. A flow with a group at both ends is one row of it, not two.
type end uint8

const (
	endIn   end = 1 // at the destination
	endOut  end = 2 // at the source
	endBoth end = 3
)

// Aggregator makes the rollups of batches, one at a time, and reuses its memory. It belongs to one goroutine.
type Aggregator struct {
	seed uint64 // odd; from the constructor, so that a sender cannot choose keys that collide

	minute    table[minuteKey]
	received  table[receivedKey]
	group     table[groupKey]
	exporters table[flow.Addr] // their number is their place; the sums are not used
	last      flow.Addr        // the exporter of the row before, and its number
	lastIndex uint32
	columns   columns
}

// New returns an aggregator whose hash tables are seeded with seed, which outsiders do not know.
func New(seed uint64) *Aggregator { return &Aggregator{seed: seed | 1} }

// sum forgets what it held and sums the rows of batches.
func (a *Aggregator) sum(batches []*flow.Batch) {
	a.minute.reset()
	a.received.reset()
	a.group.reset()
	a.exporters.reset()
	a.last, a.lastIndex = flow.Addr{}, none
	for _, b := range batches {
		for i := range b.Len() {
			a.add(b, i)
		}
	}
}

func (a *Aggregator) add(b *flow.Batch, i int) {
	rate := uint64(b.SamplingRate[i])
	total := sums{b.Bytes[i] * rate, b.Packets[i] * rate, 1}
	received := b.TimeReceived[i]
	exporter := a.exporter(b.Exporter[i])

	rx := receivedKey{
		network: b.Network[i], srcVM: b.SrcVM[i], dstVM: b.DstVM[i], rule: b.RuleID[i],
		bucket: uint32(bucketOf(received)), exporter: exporter, stage: b.Stage[i], verdict: b.Verdict[i], counted: b.Counted[i],
	}
	ends := rx.network*3 + rx.srcVM*5 + rx.dstVM*7 + rx.rule*11 // the ids are hashes themselves
	a.received.row(a.hash(ends, uint64(rx.bucket)<<32|uint64(exporter)<<16|uint64(rx.stage)<<4|uint64(rx.verdict)<<1|bit(rx.counted)), &rx).add(total)

	key := minuteKey{
		host: b.Host[i], network: rx.network, srcVM: rx.srcVM, dstVM: rx.dstVM, rule: rx.rule, exporter: exporter,
		service: query.ServicePort(b.SrcPort[i], b.DstPort[i]), protocol: b.Protocol[i], stage: rx.stage, verdict: rx.verdict, counted: rx.counted,
	}
	ends += key.host * 13
	small := uint64(exporter)<<48 ^ uint64(key.service)<<16 | uint64(key.protocol)<<8 | uint64(key.stage)<<4 | uint64(key.verdict)<<1 | bit(key.counted)
	src, dst := b.SrcGroups.Row(i), b.DstGroups.Row(i)

	life := lifetime(received, b.StartAge[i], b.Duration[i])
	first, n := life.buckets()
	if n == 1 {
		key.bucket = uint32(first)
		a.put(&key, ends, small, src, dst, total)
		return
	}
	length := uint64(life.to - life.from)
	bytes, packets := spreader{total: total.bytes, length: length}, spreader{total: total.packets, length: length}
	for k := range n {
		elapsed := uint64(min((first+int64(k)+1)*minuteMs, life.to) - life.from)
		part := sums{bytes.until(elapsed), packets.until(elapsed), bit(k == 0)}
		if part == (sums{}) {
			continue
		}
		key.bucket = uint32(first + int64(k))
		a.put(&key, ends, small, src, dst, part)
	}
}

// put adds to flows_1m and, for each group of either end, to flows_group_1m; no group at an end is group 0 there. src and
// dst ascend.
func (a *Aggregator) put(key *minuteKey, ends, small uint64, src, dst []uint64, part sums) {
	a.minute.row(a.hash(ends, small^uint64(key.bucket)<<28), key).add(part)
	g := groupKey{bucket: key.bucket, protocol: key.protocol, stage: key.stage, verdict: key.verdict, counted: key.counted}
	if len(src) == 0 || len(dst) == 0 {
		switch {
		case len(src) > 0:
			g.end = endIn
		case len(dst) > 0:
			g.end = endOut
		default:
			g.end = endBoth
		}
		a.addGroup(&g, part)
	}
	for len(src)+len(dst) > 0 {
		switch {
		case len(dst) == 0 || len(src) > 0 && src[0] < dst[0]:
			g.group, g.end, src = src[0], endOut, src[1:]
		case len(src) == 0 || dst[0] < src[0]:
			g.group, g.end, dst = dst[0], endIn, dst[1:]
		default:
			g.group, g.end, src, dst = src[0], endBoth, src[1:], dst[1:]
		}
		a.addGroup(&g, part)
	}
}

func (a *Aggregator) addGroup(g *groupKey, part sums) {
	h := a.hash(g.group, uint64(g.bucket)<<32|uint64(g.protocol)<<16|uint64(g.stage)<<8|uint64(g.verdict)<<3|uint64(g.end)<<1|bit(g.counted))
	a.group.row(h, g).add(part)
}

func (s *sums) add(t sums) {
	s.bytes += t.bytes
	s.packets += t.packets
	s.flows += t.flows
}

const none = ^uint32(0)

// exporter returns the number of an exporter. Datagrams have one exporter, so rows of one come in runs.
func (a *Aggregator) exporter(addr flow.Addr) uint32 {
	if a.lastIndex == none || addr != a.last {
		x, y := binary.LittleEndian.Uint64(addr[:8]), binary.LittleEndian.Uint64(addr[8:])
		a.last, a.lastIndex = addr, a.exporters.index(a.hash(x, y), &addr)
	}
	return a.lastIndex
}

func (a *Aggregator) hash(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x^a.seed, y^0x9e3779b97f4a7c15^a.seed<<1)
	h := (hi ^ lo) * a.seed
	return h ^ h>>32
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
