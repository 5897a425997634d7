package flowgen

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/export"
)

// Observation is a flow record as one host of the estate exports it.
type Observation struct {
	At   int64  // when its cache gives it up, ms since epoch UTC
	Host int    // index in Estate.Hosts
	Flow uint64 // the same for every record of one direction of one conversation, at whatever host
	export.Record
}

// Config is the traffic that a generator makes.
type Config struct {
	Estate   *Estate       // nil is Demo()
	Profiles []Profile     // nil is Profiles()
	Seed     uint64        // 0 is a seed like any other
	Start    time.Time     // the first record is given up at or after it
	Rate     float64       // observations a second, in the mean over a day
	Warmup   time.Duration // traffic before Start, so that long flows are under way by then
}

// Generator is the observations of an estate in the order of At, without end.
type Generator struct {
	estate  *Estate
	traffic *Traffic
	start   int64
	next    Conversation // not in the caches yet
	flows   uint64       // numbers given
	cached  []entry
	free    []int32 // unused places of cached
	heap    heap    // of what is in cached
	seen    []entry // scratch of advance
}

// New returns the observations of cfg.
func New(cfg Config) (*Generator, error) {
	if cfg.Estate == nil {
		cfg.Estate = Demo()
	}
	if cfg.Profiles == nil {
		cfg.Profiles = Profiles()
	}
	if cfg.Rate <= 0 {
		return nil, fmt.Errorf("make generator: rate %v: want more than 0 observations a second", cfg.Rate)
	}
	start := cfg.Start.UnixMilli()
	perConversation, err := observationsPerConversation(cfg)
	if err != nil {
		return nil, err
	}
	t, err := NewTraffic(cfg.Estate, cfg.Profiles, cfg.Seed, start-cfg.Warmup.Milliseconds(), cfg.Rate/perConversation)
	if err != nil {
		return nil, err
	}
	g := &Generator{estate: cfg.Estate, traffic: t, start: start}
	g.next = t.Next()
	for g.At() < start {
		var o Observation
		g.Next(&o)
	}
	return g, nil
}

// observationsPerConversation returns the mean, from a sample that is the same for every seed.
func observationsPerConversation(cfg Config) (float64, error) {
	const sample = 1 << 14
	t, err := NewTraffic(cfg.Estate, cfg.Profiles, 1, 0, 1)
	if err != nil {
		return 0, err
	}
	n := uint64(0)
	var seen []entry
	for range sample {
		c := t.any()
		seen = observe(cfg.Estate, &c, 0, seen[:0])
		for i := range seen {
			n += (seen[i].volume.Packets + seen[i].per - 1) / seen[i].per
		}
	}
	return float64(n) / sample, nil
}

// At returns when the next observation is given up, ms since epoch UTC.
func (g *Generator) At() int64 {
	g.advance()
	return g.heap[0].at
}

// Next sets o to the next observation.
func (g *Generator) Next(o *Observation) {
	g.advance()
	at, i := g.heap[0].at, g.heap[0].entry
	e := &g.cached[i]
	e.take(o)
	if o.At = at; e.done() {
		g.heap.pop()
		g.free = append(g.free, i)
		return
	}
	g.heap[0].at = e.expiry()
	g.heap.down(0)
}

// advance puts conversations into the caches until none that is to come can be given up before the first there.
func (g *Generator) advance() {
	for len(g.heap) == 0 || g.next.Start <= g.heap[0].at {
		g.seen = observe(g.estate, &g.next, g.flows, g.seen[:0])
		for i := range g.seen {
			g.add(&g.seen[i])
		}
		g.flows += 2
		g.next = g.traffic.Next()
	}
}

func (g *Generator) add(e *entry) {
	var i int32
	if n := len(g.free); n > 0 {
		i, g.free = g.free[n-1], g.free[:n-1]
		g.cached[i] = *e
	} else {
		i = int32(len(g.cached))
		g.cached = append(g.cached, *e)
	}
	g.heap.push(item{e.expiry(), i})
}

// entry is one direction of a conversation in the cache of one host. Its packets are evenly spread over its time;
// each record takes the next per of them, fewer the last.
type entry struct {
	host       int
	flow       uint64
	cache      Cache
	start, end int64 // first and last packet
	volume     Volume
	per        uint64 // packets of a record
	sent       uint64 // packets in records so far
	record     export.Record
}

// observe appends to seen the entries of c: for each direction one at each host that sees it, the sender's first.
func observe(estate *Estate, c *Conversation, flow uint64, seen []entry) []entry {
	seen = observeOneWay(estate, c, flow, &c.Client, &c.Server, c.Request, seen)
	return observeOneWay(estate, c, flow+1, &c.Server, &c.Client, c.Respond, seen)
}

func observeOneWay(estate *Estate, c *Conversation, number uint64, from, to *End, volume Volume, seen []entry) []entry {
	if volume.Packets == 0 {
		return seen
	}
	at := func(h int) {
		e := entry{
			host: h, flow: number, cache: estate.Hosts[h].Cache, volume: volume, start: c.Start, end: c.End,
			record: newRecord(estate, c, from, to, h),
		}
		if volume.Packets == 1 {
			e.end = e.start
		}
		e.per = e.packetsPerRecord()
		seen = append(seen, e)
	}
	sender := -1
	if from.VM >= 0 {
		sender = estate.VMs[from.VM].Host
		at(sender)
	}
	if to.VM >= 0 && estate.VMs[to.VM].Host != sender {
		at(estate.VMs[to.VM].Host)
	}
	if c.Profile.Server == Everyone {
		for h := range estate.Hosts {
			if h != sender {
				at(h)
			}
		}
	}
	return seen
}

// newRecord returns what is the same in all records of a flow at a host.
func newRecord(estate *Estate, c *Conversation, from, to *End, host int) export.Record {
	h, n := &estate.Hosts[host], &estate.Networks[c.Profile.Network]
	r := export.Record{
		Src: from.Addr, Dst: to.Addr,
		SrcMAC: from.MAC, DstMAC: to.MAC,
		SrcPort: from.Port, DstPort: to.Port,
		Protocol: c.Protocol, Ethertype: c.Ethertype, TOS: c.Profile.TOS, TTL: 64,
		ICMPType: c.ICMPType,
		Observed: flow.ObservedIngress, Sampling: 1,
		InIf: h.Uplink, InName: h.UplinkName, VLANIn: n.VLAN,
		OutIf: h.Uplink, OutName: h.UplinkName, VLANOut: n.VLAN,
	}
	if c.Ethertype == etherARP {
		r.TTL = 0
	} else if from.VM < 0 {
		r.TTL = 54
	}
	if c.Profile.Form == Probe {
		r.TCPFlags = flagSYN
		if from == &c.Server {
			r.TCPFlags = flagRST | flagACK
		}
	}
	if from == &c.Server { // the answer
		switch c.ICMPType {
		case 8:
			r.ICMPType = 0
		case 128:
			r.ICMPType = 129
		}
	}
	if from.VM >= 0 && estate.VMs[from.VM].Host == host {
		v := &estate.VMs[from.VM].VIFs[from.VIF]
		r.InIf, r.InName, r.VLANIn = v.Interface, v.Name, 0
	}
	switch {
	case to.VM >= 0 && estate.VMs[to.VM].Host == host:
		v := &estate.VMs[to.VM].VIFs[to.VIF]
		r.OutIf, r.OutName, r.VLANOut = v.Interface, v.Name, 0
	case c.Profile.Server == Everyone: // flooded: no one interface
		r.OutIf, r.OutName, r.VLANOut = 0, "", 0
	}
	return r
}

// packetsPerRecord returns how many packets come before the cache gives up the flow.
func (e *entry) packetsPerRecord() uint64 {
	gaps, took := int64(e.volume.Packets-1), e.end-e.start
	switch {
	case gaps == 0 || took <= 0:
		return e.volume.Packets
	case e.cache.Idle > 0 && took/gaps > e.cache.Idle:
		return 1
	default:
		return uint64(e.cache.Active*gaps/took) + 1
	}
}

// packet returns the time of packet i.
func (e *entry) packet(i uint64) int64 {
	if e.volume.Packets == 1 {
		return e.start
	}
	return e.start + muldiv(uint64(e.end-e.start), i, e.volume.Packets-1)
}

// upTo returns the bytes of the first i packets; what rounding leaves is with the later ones.
func (e *entry) upTo(i uint64) uint64 { return uint64(muldiv(e.volume.Bytes, i, e.volume.Packets)) }

// muldiv returns a*b/c, which must fit, without loss in between.
func muldiv(a, b, c uint64) int64 {
	high, low := bits.Mul64(a, b)
	q, _ := bits.Div64(high, low, c)
	return int64(q)
}

func (e *entry) done() bool { return e.sent >= e.volume.Packets }

// span returns the packets of the next record.
func (e *entry) span() (from, to uint64) {
	return e.sent, min(e.sent+e.per, e.volume.Packets)
}

// expiry returns when the cache gives up the next record.
func (e *entry) expiry() int64 {
	at, _ := e.expire()
	return at
}

func (e *entry) expire() (at int64, reason uint8) {
	from, to := e.span()
	first, last := e.packet(from), e.packet(to-1)
	at, reason = first+e.cache.Active, 2
	if e.cache.Ends && e.record.Protocol == protoTCP && to == e.volume.Packets {
		at, reason = min(at, last), 3
	} else if e.cache.Idle > 0 && last+e.cache.Idle < at {
		at, reason = last+e.cache.Idle, 1
	}
	return max(at, last), reason
}

// take sets o to the next record, but for o.At.
func (e *entry) take(o *Observation) {
	from, to := e.span()
	o.Host, o.Flow, o.Record = e.host, e.flow, e.record
	o.Start, o.End = e.packet(from), e.packet(to-1)
	o.Packets, o.Bytes = to-from, e.upTo(to)-e.upTo(from)
	_, o.EndReason = e.expire()
	if e.record.Protocol == protoTCP && o.TCPFlags == 0 {
		o.TCPFlags = e.tcpFlags(from, to)
	}
	e.sent = to
}

const flagFIN, flagSYN, flagRST, flagPSH, flagACK = 1, 2, 4, 8, 16

// tcpFlags returns the flags of some packets of a whole connection.
func (e *entry) tcpFlags(from, to uint64) uint16 {
	flags := uint16(flagPSH | flagACK)
	if from == 0 {
		flags |= flagSYN
	}
	if to == e.volume.Packets {
		flags |= flagFIN
	}
	return flags
}

// heap is a binary heap, the earliest first.
type heap []item

type item struct {
	at    int64
	entry int32
}

func (h *heap) push(x item) {
	s := append(*h, x)
	i := len(s) - 1
	for i > 0 && s[(i-1)/2].at > s[i].at {
		s[i], s[(i-1)/2] = s[(i-1)/2], s[i]
		i = (i - 1) / 2
	}
	*h = s
}

func (h *heap) pop() {
	s := *h
	s[0] = s[len(s)-1]
	*h = s[:len(s)-1]
	h.down(0)
}

func (h heap) down(i int) {
	for {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(h) && h[child].at < h[least].at {
				least = child
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
