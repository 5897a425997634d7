package flowgen

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/weirhq/weir/flow"
)

// RowsConfig says what rows to make.
type RowsConfig struct {
	Estate   *Estate   // nil is Demo()
	Profiles []Profile // nil is Profiles()
	Seed     uint64
	Start    time.Time // time received of the first row
	Rate     float64   // rows a second of time received
	Enriched bool      // fill also what the enricher adds
}

// Rows makes rows of the table flows as fast as memory takes them: for benchmarks and stores of 10⁶ to 10⁸ rows.
//
// It takes a sample of the traffic of a Generator once, as rows, and then draws from it: all observations of one
// flow record at a time, column by column, with a fresh client port, other times and volumes, and another client in
// the same prefix where the client is outside of the estate. So shares, sizes, pairs of VMs, groups and double
// observations are those of the traffic, ports and clients are not repeated, and the profiles' rhythms are not there.
type Rows struct {
	random random
	now    float64 // ms since epoch UTC
	step   float64 // ms between rows
	batch  uint64
	whole  bool // enriched

	sample *flow.Batch
	of     []bearing // for each row of sample
	groups []uint32  // first row of each group of observations, and the number of rows at the end

	picked []uint32 // scratch: the row of sample behind each row of a batch
	salt   []uint64 // scratch: what the rows of one group share
}

// bearing is what may change in a row of the sample.
type bearing struct {
	client side  // whose port is ephemeral
	bits   uint8 // low bits of the client's address that may change, in its last four bytes (IPv4) or those of its subnet (IPv6)
	vary   bool  // volumes and times may change
}

type side uint8

const (
	noSide side = iota
	source
	destination
)

// sampleRows is how many rows the sample has: some 10 MB, which caches of servers hold in good part.
const sampleRows = 1 << 15

// NewRows draws the sample.
func NewRows(cfg RowsConfig) (*Rows, error) {
	if cfg.Estate == nil {
		cfg.Estate = Demo()
	}
	if cfg.Profiles == nil {
		cfg.Profiles = Profiles()
	}
	if cfg.Rate <= 0 {
		return nil, fmt.Errorf("make rows: rate %v: want more than 0 rows a second", cfg.Rate)
	}
	t, err := NewTraffic(cfg.Estate, cfg.Profiles, cfg.Seed, cfg.Start.UnixMilli(), 1)
	if err != nil {
		return nil, fmt.Errorf("make rows: %w", err)
	}
	r := &Rows{
		random: newRandom(^cfg.Seed), now: float64(cfg.Start.UnixMilli()), step: 1000 / cfg.Rate,
		whole:  cfg.Enriched,
		sample: flow.NewBatch(sampleRows + 1024),
	}
	var ids *identities
	if cfg.Enriched {
		ids = newIdentities(cfg.Estate)
	}
	var seen []entry
	for r.sample.Len() < sampleRows {
		c := t.any()
		seen = observe(cfg.Estate, &c, 0, seen[:0])
		for len(seen) > 0 {
			n := 1
			for n < len(seen) && seen[n].record.Src == seen[0].record.Src && seen[n].record.SrcPort == seen[0].record.SrcPort {
				n++ // the same direction at the next host
			}
			r.addFlow(cfg.Estate, ids, &c, seen[:n])
			seen = seen[n:]
		}
	}
	r.groups = append(r.groups, uint32(r.sample.Len()))
	return r, nil
}

// addFlow adds the observations of one direction of c, record by record. A flow that outlives the timeout is there
// with its first four records: one long flow would crowd out the rest otherwise.
func (r *Rows) addFlow(estate *Estate, ids *identities, c *Conversation, seen []entry) {
	const most = 4
	for range most {
		r.groups = append(r.groups, uint32(r.sample.Len()))
		for i := range seen {
			if seen[i].done() {
				continue
			}
			at := seen[i].expiry()
			var o Observation
			seen[i].take(&o)
			o.At = at
			row := r.sample.Grow(1)
			fillRow(r.sample, row, estate, &o)
			r.of = append(r.of, bearingOf(c, &o))
			if ids != nil {
				ids.fill(r.sample, row, c, &o, i == 0)
			}
		}
		if r.groups[len(r.groups)-1] == uint32(r.sample.Len()) { // all were done
			r.groups = r.groups[:len(r.groups)-1]
			return
		}
	}
}

// fillRow sets what a decoder would set.
func fillRow(b *flow.Batch, i int, estate *Estate, o *Observation) {
	h := &estate.Hosts[o.Host]
	b.TimeReceived[i] = o.At
	b.StartAge[i] = o.At - o.Start
	b.Duration[i] = uint32(o.End - o.Start)
	b.Exporter[i] = h.Exporter.As16()
	b.ObservationDomain[i] = h.Domain
	b.Version[i] = h.Version
	b.SamplingRate[i] = max(o.Sampling, 1)
	if o.Src.IsValid() {
		b.SrcAddr[i] = o.Src.As16()
		b.DstAddr[i] = o.Dst.As16()
	}
	b.SrcPort[i] = o.SrcPort
	b.DstPort[i] = o.DstPort
	b.Protocol[i] = o.Protocol
	b.Ethertype[i] = o.Ethertype
	b.Bytes[i] = o.Bytes
	b.Packets[i] = o.Packets
	b.BytesLayer[i] = flow.BytesLayer3
	b.TCPFlags[i] = o.TCPFlags
	b.TOS[i] = o.TOS
	b.ICMPType[i] = o.ICMPType
	b.ICMPCode[i] = o.ICMPCode
	b.InIf[i] = o.InIf
	b.OutIf[i] = o.OutIf
	b.SrcMAC[i] = o.SrcMAC
	b.DstMAC[i] = o.DstMAC
	b.VLANIn[i] = o.VLANIn
	b.VLANOut[i] = o.VLANOut
	b.Observed[i] = o.Observed
	b.EndReason[i] = o.EndReason
}

func bearingOf(c *Conversation, o *Observation) bearing {
	b := bearing{vary: o.Packets >= 4 && o.Bytes/o.Packets >= 100}
	client := o.Src
	switch {
	case c.Client.Port < 32768: // none, or well known at both ends
	case o.SrcPort == c.Client.Port && o.Src == c.Client.Addr:
		b.client = source
	default:
		b.client = destination
		client = o.Dst
	}
	if b.client != noSide && c.Client.VM < 0 {
		switch {
		case client.Is6():
			b.bits = 12
		case netip.MustParsePrefix("198.18.0.0/15").Contains(client):
			b.bits = 10
		default:
			b.bits = 4
		}
	}
	return b
}

// Fill adds rows to b up to its capacity.
func (r *Rows) Fill(b *flow.Batch) {
	rows := b.Cap() - b.Len()
	if rows <= 0 {
		return
	}
	first := b.Len()
	b.Grow(rows)
	r.draw(rows)
	r.batch++
	for i := first; i < b.Cap(); i++ {
		b.TimeReceived[i] = int64(r.now)
		r.now += r.step
	}
	r.copyRows(b, first)
	r.vary(b, first)
}

// draw fills picked and salt for n rows.
func (r *Rows) draw(n int) {
	r.picked, r.salt = r.picked[:0], r.salt[:0]
	for len(r.picked) < n {
		salt := r.random.bits()
		group := int(uint64(uint32(salt)) * uint64(len(r.groups)-1) >> 32)
		salt = salt>>32 | salt<<32
		for row := r.groups[group]; row < r.groups[group+1]; row++ {
			r.picked = append(r.picked, row)
			r.salt = append(r.salt, salt)
		}
	}
	r.picked, r.salt = r.picked[:n], r.salt[:n]
}

func gather[T any](dst, sample []T, picked []uint32) {
	dst = dst[:len(picked)]
	for i, row := range picked {
		dst[i] = sample[row]
	}
}

// copyRows copies the picked rows, column by column, but for the time received.
func (r *Rows) copyRows(b *flow.Batch, first int) {
	s, p := r.sample, r.picked
	gather(b.StartAge[first:], s.StartAge, p)
	gather(b.Duration[first:], s.Duration, p)
	gather(b.Exporter[first:], s.Exporter, p)
	gather(b.ObservationDomain[first:], s.ObservationDomain, p)
	gather(b.Version[first:], s.Version, p)
	gather(b.SamplingRate[first:], s.SamplingRate, p)
	gather(b.SrcAddr[first:], s.SrcAddr, p)
	gather(b.DstAddr[first:], s.DstAddr, p)
	gather(b.SrcPort[first:], s.SrcPort, p)
	gather(b.DstPort[first:], s.DstPort, p)
	gather(b.Protocol[first:], s.Protocol, p)
	gather(b.Ethertype[first:], s.Ethertype, p)
	gather(b.Bytes[first:], s.Bytes, p)
	gather(b.Packets[first:], s.Packets, p)
	gather(b.BytesLayer[first:], s.BytesLayer, p)
	gather(b.TCPFlags[first:], s.TCPFlags, p)
	gather(b.TOS[first:], s.TOS, p)
	gather(b.ICMPType[first:], s.ICMPType, p)
	gather(b.ICMPCode[first:], s.ICMPCode, p)
	gather(b.InIf[first:], s.InIf, p)
	gather(b.OutIf[first:], s.OutIf, p)
	gather(b.SrcMAC[first:], s.SrcMAC, p)
	gather(b.DstMAC[first:], s.DstMAC, p)
	gather(b.VLANIn[first:], s.VLANIn, p)
	gather(b.VLANOut[first:], s.VLANOut, p)
	gather(b.Observed[first:], s.Observed, p)
	gather(b.EndReason[first:], s.EndReason, p)
	for i := range p {
		b.ID[first+i] = r.batch
	}
	if !r.whole {
		return
	}
	gather(b.Direction[first:], s.Direction, p)
	gather(b.Pool[first:], s.Pool, p)
	gather(b.Host[first:], s.Host, p)
	gather(b.Bridge[first:], s.Bridge, p)
	gather(b.Network[first:], s.Network, p)
	gather(b.SrcVM[first:], s.SrcVM, p)
	gather(b.DstVM[first:], s.DstVM, p)
	gather(b.SrcVIF[first:], s.SrcVIF, p)
	gather(b.DstVIF[first:], s.DstVIF, p)
	gather(b.Counted[first:], s.Counted, p)
	gatherLists(&b.SrcGroups, first, &s.SrcGroups, p)
	gatherLists(&b.DstGroups, first, &s.DstGroups, p)
}

// gatherLists is gather for lists of a few ids.
func gatherLists(dst *flow.Lists, first int, sample *flow.Lists, picked []uint32) {
	offsets := dst.Offsets[first:][:len(picked)]
	for i, row := range picked {
		for _, id := range sample.Row(int(row)) { //nolint:staticcheck // S1011: append of a slice costs a call for one to three ids
			dst.IDs = append(dst.IDs, id)
		}
		offsets[i] = uint64(len(dst.IDs))
	}
}

// vary makes the rows differ from those of the sample; the rows of a group alike.
func (r *Rows) vary(b *flow.Batch, first int) {
	for i, row := range r.picked {
		i, salt, of := first+i, r.salt[i], &r.of[row]
		age := int64(salt & 1023)
		if of.vary {
			// Up to 1/8 less: never more than the packets can hold.
			b.Bytes[i] -= b.Bytes[i] * (salt >> 10 & 63) >> 9
			longer := uint32(salt>>16) & 127
			b.Duration[i] += longer
			age += int64(longer)
		}
		b.StartAge[i] += age
		switch of.client {
		case noSide:
		case source:
			b.SrcPort[i] = clientPort(salt)
			varyAddress(&b.SrcAddr[i], of.bits, salt)
		case destination:
			b.DstPort[i] = clientPort(salt)
			varyAddress(&b.DstAddr[i], of.bits, salt)
		}
	}
}

// clientPort draws from the ephemeral ports of Linux.
func clientPort(salt uint64) uint16 { return uint16(32768 + salt>>24&0xffff*28232>>16) }

// varyAddress changes the low n bits in half of the cases: in the other half the client is one of the frequent ones.
func varyAddress(a *flow.Addr, n uint8, salt uint64) {
	if n == 0 || salt>>63 == 0 {
		return
	}
	change := uint16(salt>>40) & (1<<n - 1)
	if a[10] == 0xff && a[11] == 0xff { // IPv4-mapped
		a[14] ^= byte(change >> 8)
		a[15] ^= byte(change)
		return
	}
	a[6] ^= byte(change >> 8)
	a[7] ^= byte(change)
}

// Now returns the time received of the next row.
func (r *Rows) Now() time.Time { return time.UnixMilli(int64(math.Floor(r.now))) }
