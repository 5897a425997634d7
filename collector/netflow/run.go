package netflow

import "github.com/weirhq/weir/flow"

// run is one set being decoded: where setters write.
type run struct {
	*message
	at, first, n int // rows at hand: [first, first+n) of the batch, [at, at+n) of the set
	scratch      [scratches][]uint64
	parts        parts // of the record at hand, if its length varies
}

// Scratch columns hold what rows need on the way but do not store. Row i of the set is element i.
const (
	scratchStart    = iota // ms since the epoch; 0 = unknown
	scratchEnd             // ms since the epoch; 0 = unknown
	scratchDuration        // ms
	scratchInit            // ms since the epoch; 0 = unknown
	scratchSampler
	scratchInterval
	scratchPacketInterval
	scratchPacketSpace
	scratchSampleSize
	scratchSamplePopulation
	scratchProbability // bits of a float64
	scratches
)

// column returns the part of a column that the rows at hand are in.
func column[T any](x *run, c []T) []T { return c[x.first : x.first+x.n : x.first+x.n] }

// temp returns the part of a scratch column that the rows at hand are in.
func (x *run) temp(k int) []uint64 { return x.scratch[k][x.at : x.at+x.n] }

// flows appends the n records of body to the batch.
func (d *Decoder) flows(m *message, p *plan, body []byte, n int) {
	x := &d.run
	x.message = m
	for _, s := range p.scratch {
		if cap(x.scratch[s.k]) < n {
			x.scratch[s.k] = make([]uint64, n)
		}
		x.scratch[s.k] = x.scratch[s.k][:n]
		if s.clear {
			clear(x.scratch[s.k])
		}
	}
	first := m.out.Grow(n)
	x.at, x.first, x.n = 0, first, n
	if len(p.layout.stretches) > 1 {
		x.each(p, body, n)
		x.at, x.first, x.n = 0, first, n
	} else {
		stride := p.layout.stretches[0]
		for i := range p.ops {
			o := &p.ops[i]
			o.run(x, body[o.offset:], stride, o.width)
		}
	}
	x.constants()
	if p.layer != flow.BytesUnknown {
		fill(column(x, m.out.BytesLayer), p.layer)
	}
	if p.icmpFromPort {
		x.icmpFromPort()
	}
	switch p.pair.kind {
	case uptimes:
		x.uptimes(p.pair, body, p.layout.stretches[0])
	case milliseconds:
		x.milliseconds(p.pair, body, p.layout.stretches[0])
	default:
		x.times(p)
	}
	d.sampling(p)
	if p.stationAddr || p.stationMAC {
		x.stations(p)
	}
	c := &m.domain.Count
	d.clamp()
	if p.reverse {
		c.Reverse.Add(uint64(n))
	}
}

// each decodes n records of variable length, which were counted.
func (x *run) each(p *plan, body []byte, n int) {
	x.parts.fit(&p.layout)
	first, at := x.first, 0
	x.n = 1
	for row := range n {
		at, _ = p.layout.walk(body, at, x.parts.stretches, x.parts.variables)
		x.at, x.first = row, first+row
		for i := range p.ops {
			o := &p.ops[i]
			if e := x.parts.find(o.place); e.length >= o.lo && e.length <= o.hi {
				o.run(x, body[e.at:], 0, e.length)
			}
		}
	}
}

// constants fills the columns that are the same for all records of a message.
func (x *run) constants() {
	fill(column(x, x.out.TimeReceived), x.received)
	fill(column(x, x.out.Exporter), x.exporter)
	fill(column(x, x.out.ObservationDomain), x.domain.Key.Domain)
	fill(column(x, x.out.Version), uint8(x.version))
}

func fill[T any](dst []T, v T) {
	for i := range dst {
		dst[i] = v
	}
}

// icmpFromPort gives ICMP records that have no type and code those of the destination port, where NetFlow 5 and
// many a template of NetFlow 9 put them (type × 256 + code). The port stays as reported.
func (x *run) icmpFromPort() {
	protocol, port := column(x, x.out.Protocol), column(x, x.out.DstPort)
	types, codes := column(x, x.out.ICMPType), column(x, x.out.ICMPCode)
	for i, p := range protocol {
		if (p == protocolICMP || p == protocolICMPv6) && types[i] == 0 && codes[i] == 0 {
			types[i], codes[i] = uint8(port[i]>>8), uint8(port[i])
		}
	}
}

const (
	protocolICMP   = 1
	protocolICMPv6 = 58
)

// stations turns round the records of a wireless controller (Cisco WLC) that were seen on the way to the station:
// the station, which the setters took for the source, is their destination.
func (x *run) stations(p *plan) {
	o := x.out
	for i, observed := range column(x, o.Observed) {
		if observed != flow.ObservedEgress {
			continue
		}
		i += x.first
		if p.stationAddr {
			o.SrcAddr[i], o.DstAddr[i] = o.DstAddr[i], o.SrcAddr[i]
		}
		if p.stationMAC {
			o.SrcMAC[i], o.DstMAC[i] = o.DstMAC[i], o.SrcMAC[i]
		}
	}
}
