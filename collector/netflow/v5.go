package netflow

import (
	"encoding/binary"
	"math"
	"net/netip"

	"github.com/weirhq/weir/collector/loss"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
)

// samplingInterval5 masks the interval in the last two octets of a NetFlow 5 header; the two bits above are the
// sampling mode.
const samplingInterval5 = 0x3FFF

// netflow5 decodes a NetFlow 5 datagram: a header and up to 30 records of fixed layout.
//
//	header  version 0 · count 2 · sysUptime 4 · unix seconds 8 · nanoseconds 12 · sequence 16 · engine type 20 · id 21 · sampling 22
//	record  src 0 · dst 4 · next hop 8 · in 12 · out 14 · packets 16 · octets 20 · first 24 · last 28 · ports 32, 34
//	        pad 36 · TCP flags 37 · protocol 38 · ToS 39 · AS 40, 42 · masks 44, 45 · pad 46
func (d *Decoder) netflow5(m *message, exporter netip.Addr) {
	b := m.data
	if len(b) < header5 {
		d.fail(m, template.Truncated, 0, 0, header5, len(b))
		return
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	m.uptime = binary.BigEndian.Uint32(b[4:])
	m.exported = int64(binary.BigEndian.Uint32(b[8:]))*1000 + int64(binary.BigEndian.Uint32(b[12:])/1_000_000)
	m.header = loss.Message{
		Sequence: binary.BigEndian.Uint32(b[16:]), Records: uint32(n), Data: n > 0, HasUptime: true, Uptime: m.uptime,
	}
	if !d.enter(m, exporter, uint32(binary.BigEndian.Uint16(b[20:])), 0, len(b)) {
		return
	}
	defer d.leave(m)
	if need := header5 + n*record5; need > len(b) {
		d.fail(m, template.Truncated, 0, 0, need, len(b))
		return
	}
	x := &d.run
	x.message, x.at, x.first, x.n = m, 0, m.out.Grow(n), n
	x.constants()
	x.records5(b[header5 : header5+n*record5])
	d.clamp()
	// An interval of 1 says that every packet was looked at; 0 says nothing: many exporters that sample leave it so.
	if interval := binary.BigEndian.Uint16(b[22:]) & samplingInterval5; interval != 0 {
		fill(column(x, m.out.SamplingRate), uint32(interval))
	} else {
		d.assume()
	}
}

func (x *run) records5(b []byte) {
	o := x.out
	src, dst := column(x, o.SrcAddr), column(x, o.DstAddr)
	in, out := column(x, o.InIf), column(x, o.OutIf)
	packets, octets, layer := column(x, o.Packets), column(x, o.Bytes), column(x, o.BytesLayer)
	ages, durations := column(x, o.StartAge), column(x, o.Duration)
	srcPort, dstPort := column(x, o.SrcPort), column(x, o.DstPort)
	flags, protocol, tos := column(x, o.TCPFlags), column(x, o.Protocol), column(x, o.TOS)
	for i := range src {
		r := b[i*record5:][:record5]
		mapIPv4(&src[i], r)
		mapIPv4(&dst[i], r[4:])
		in[i] = uint32(binary.BigEndian.Uint16(r[12:]))
		out[i] = uint32(binary.BigEndian.Uint16(r[14:]))
		packets[i] = uint64(binary.BigEndian.Uint32(r[16:]))
		octets[i] = uint64(binary.BigEndian.Uint32(r[20:]))
		layer[i] = flow.BytesLayer3
		start := sinceBoot(x.exported, x.uptime, binary.BigEndian.Uint32(r[24:]))
		end := sinceBoot(x.exported, x.uptime, binary.BigEndian.Uint32(r[28:]))
		ages[i] = x.received - start
		durations[i] = uint32(min(max(end-start, 0), math.MaxUint32))
		srcPort[i] = binary.BigEndian.Uint16(r[32:])
		dstPort[i] = binary.BigEndian.Uint16(r[34:])
		flags[i] = uint16(r[37])
		protocol[i] = r[38]
		tos[i] = r[39]
	}
	x.icmpFromPort()
}
