package netflow

import (
	"encoding/binary"
	"math"

	"github.com/weirhq/weir/collector/ie"
	"github.com/weirhq/weir/flow"
)

// readUint reads an unsigned integer of width octets, 1 to 8 (reduced-size encoding, RFC 7011 §6.2).
func readUint(src []byte, width int) uint64 {
	switch width {
	case 1:
		return uint64(src[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(src))
	case 4:
		return uint64(binary.BigEndian.Uint32(src))
	case 8:
		return binary.BigEndian.Uint64(src)
	}
	v := uint64(0)
	for _, c := range src[:width] {
		v = v<<8 | uint64(c)
	}
	return v
}

// readUints reads len(dst) unsigned integers that are stride octets apart. Those wider than a cell lose their high
// octets.
func readUints[T uint8 | uint16 | uint32 | uint64](dst []T, src []byte, stride, width int) {
	at := 0
	switch width {
	case 1:
		for i := range dst {
			dst[i] = T(src[at])
			at += stride
		}
	case 2:
		for i := range dst {
			dst[i] = T(binary.BigEndian.Uint16(src[at:]))
			at += stride
		}
	case 4:
		for i := range dst {
			dst[i] = T(binary.BigEndian.Uint32(src[at:]))
			at += stride
		}
	case 8:
		for i := range dst {
			dst[i] = T(binary.BigEndian.Uint64(src[at:]))
			at += stride
		}
	default:
		for i := range dst {
			dst[i] = T(readUint(src[i*stride:], width))
		}
	}
}

// number returns a target that fills a column of integers.
func number[T uint8 | uint16 | uint32 | uint64](s slot, rank uint8, col func(*flow.Batch) flow.Column[T]) target {
	return target{
		slot: s, rank: rank, lo: 1, hi: 8,
		set: func(x *run, src []byte, stride, width int) {
			readUints(column(x, col(x.out)), src, stride, width)
		},
		fill: func(x *run, src []byte, stride, width int) {
			for i, dst := 0, column(x, col(x.out)); i < len(dst); i++ {
				if dst[i] == 0 {
					dst[i] = T(readUint(src[i*stride:], width))
				}
			}
		},
	}
}

// only is t that never adds to an element of better rank.
func (t target) only() target {
	t.fill = nil
	return t
}

// scratched returns a target that fills a scratch column of integers.
func scratched(s slot, rank uint8, k int) target {
	return target{slot: s, rank: rank, lo: 1, hi: 8, set: func(x *run, src []byte, stride, width int) {
		readUints(x.temp(k), src, stride, width)
	}}
}

// timed returns a target that fills a scratch column of times from values of lo to hi octets.
func timed(s slot, rank uint8, lo, hi int, set setter) target {
	return target{slot: s, rank: rank, lo: lo, hi: hi, set: set}
}

// probability returns a target that fills the scratch column of that name with the bits of float64 values.
func probability() target {
	return target{slot: slotProbability, lo: 4, hi: 8, set: func(x *run, src []byte, stride, width int) {
		for i, dst := 0, x.temp(scratchProbability); i < len(dst); i++ {
			dst[i] = readFloat(src[i*stride:], width)
		}
	}}
}

// readFloat reads a float64 and returns its bits. It may have been sent as a float32 (RFC 7011 §6.2); a value of
// another width is taken as 0.
func readFloat(src []byte, width int) uint64 {
	switch width {
	case 4:
		return math.Float64bits(float64(math.Float32frombits(binary.BigEndian.Uint32(src))))
	case 8:
		return binary.BigEndian.Uint64(src)
	default:
		return 0
	}
}

// direction returns a target that fills the column Observed from flowDirection (RFC 5102 §5.11.1).
func direction() target {
	return target{slot: slotObserved, lo: 1, hi: 8, set: func(x *run, src []byte, stride, width int) {
		last := width - 1 // of a wider field than RFC 5102 has; what stands before it must be zero
		for i, dst := 0, column(x, x.out.Observed); i < len(dst); i++ {
			v := src[i*stride+last]
			if v > 1 || last > 0 && !zero(src[i*stride:][:last]) {
				continue
			}
			dst[i] = flow.ObservedIngress + flow.Observed(v)
		}
	}}
}

func address4(s slot, rank uint8, col func(*flow.Batch) flow.Column[flow.Addr]) target {
	return target{
		slot: s, rank: rank, lo: 4, hi: 4,
		set: func(x *run, src []byte, stride, _ int) {
			for i, dst := 0, column(x, col(x.out)); i < len(dst); i++ {
				mapIPv4(&dst[i], src[i*stride:])
			}
		},
		fill: func(x *run, src []byte, stride, _ int) {
			for i, dst := 0, column(x, col(x.out)); i < len(dst); i++ {
				if dst[i] == (flow.Addr{}) {
					mapIPv4(&dst[i], src[i*stride:])
				}
			}
		},
	}
}

// mapIPv4 makes dst, which is zero, the IPv4-mapped address of the four octets at src.
func mapIPv4(dst *flow.Addr, src []byte) {
	binary.BigEndian.PutUint64(dst[8:], 0xFFFF<<32|uint64(binary.BigEndian.Uint32(src)))
}

func address6(s slot, rank uint8, col func(*flow.Batch) flow.Column[flow.Addr]) target {
	return target{
		slot: s, rank: rank, lo: 16, hi: 16,
		set: func(x *run, src []byte, stride, _ int) {
			for i, dst := 0, column(x, col(x.out)); i < len(dst); i++ {
				dst[i] = flow.Addr(src[i*stride:][:16])
			}
		},
		fill: func(x *run, src []byte, stride, _ int) {
			for i, dst := 0, column(x, col(x.out)); i < len(dst); i++ {
				if dst[i] == (flow.Addr{}) {
					dst[i] = flow.Addr(src[i*stride:][:16])
				}
			}
		},
	}
}

// mac returns a target that fills a column of MAC addresses: an integer of six octets.
func mac(s slot, rank uint8, col func(*flow.Batch) flow.Column[uint64]) target {
	return target{slot: s, rank: rank, lo: 6, hi: 6, set: func(x *run, src []byte, stride, _ int) {
		for i, dst := 0, column(x, col(x.out)); i < len(dst); i++ {
			b := src[i*stride:][:6]
			dst[i] = uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
		}
	}}
}

// icmp returns a target that fills ICMP type and code from type × 256 + code, where both are zero.
func icmp(rank uint8) target {
	set := func(x *run, src []byte, stride, width int) {
		types, codes := column(x, x.out.ICMPType), column(x, x.out.ICMPCode)
		for i := range types {
			if types[i] == 0 && codes[i] == 0 {
				v := readUint(src[i*stride:], width)
				types[i], codes[i] = uint8(v>>8), uint8(v)
			}
		}
	}
	return target{slot: slotICMP, rank: rank, lo: 1, hi: 2, set: set, fill: set}
}

// dscp returns a target that fills the column TOS from a differentiated services code point: its six high bits.
func dscp(rank uint8) target {
	return target{slot: slotTOS, rank: rank, lo: 1, hi: 8, set: func(x *run, src []byte, stride, width int) {
		for i, dst := 0, column(x, x.out.TOS); i < len(dst); i++ {
			dst[i] = uint8(readUint(src[i*stride:], width) << 2)
		}
	}}
}

const maxApplication = 64 // octets of the longest applicationId that is looked at

// application returns a target that fills the column of the same name.
func application() target {
	return target{slot: slotApplication, lo: 1, hi: maxApplication, set: func(x *run, src []byte, stride, width int) {
		for i, dst := 0, column(x, x.out.Application); i < len(dst); i++ {
			dst[i] = applicationID(src[i*stride:][:width])
		}
	}}
}

// applicationID reads an applicationId (RFC 6759 §4) as one number. Those of more than eight octets, which have an
// enterprise number and a selector after the engine, keep the engine (the first octet) and the low seven octets.
func applicationID(b []byte) uint64 {
	if len(b) <= 8 {
		v := uint64(0)
		for _, c := range b {
			v = v<<8 | uint64(c)
		}
		return v
	}
	return uint64(b[0])<<56 | binary.BigEndian.Uint64(b[len(b)-8:])&(1<<56-1)
}

const maxVirtual = 255 // octets of the longest virtual_obs_id that is looked at; Open vSwitch sends at most 254

// virtual returns a target that fills the column VirtualID.
func virtual() target {
	return target{slot: slotVirtual, lo: 1, hi: maxVirtual, set: func(x *run, src []byte, stride, width int) {
		for i, dst := 0, column(x, x.out.VirtualID); i < len(dst); i++ {
			dst[i] = flow.VirtualID(src[i*stride:][:width])
		}
	}}
}

// Elements that have a name here.
var (
	startSysUpTime = ie.Of(22)
	endSysUpTime   = ie.Of(21)
	stationMAC     = ie.Of(365)
	station        = ie.Of(366)
	virtualObsID   = ie.ID{Enterprise: ie.VMware, Number: 898}
)

// layers says what elements that give bytes include. initiatorOctets are payload of layer 4, which has no name here.
var layers = map[ie.ID]flow.BytesLayer{
	ie.Of(1):   flow.BytesLayer3,
	ie.Of(23):  flow.BytesLayer3,
	ie.Of(85):  flow.BytesLayer3,
	ie.Of(171): flow.BytesLayer3,
	ie.Of(352): flow.BytesLayer2,
	ie.Of(353): flow.BytesLayer2,
}

// counters are the elements whose reverse (RFC 5103) is traffic of the other direction; responder those that are
// always of the other direction. Rows hold one direction: records with them are counted.
var (
	counters  = map[ie.ID]bool{ie.Of(1): true, ie.Of(2): true, ie.Of(85): true, ie.Of(86): true, ie.Of(352): true}
	responder = map[ie.ID]bool{ie.Of(232): true, ie.Of(299): true}
)

// targets says what each element gives to a row. Elements that are not here are skipped. Those that say what
// happened to a packet later (post…, except where nothing else is there) and those that count all traffic of the
// exporter (…TotalCount, where the template has deltas) never replace what a flow is about.
var targets = map[ie.ID]target{
	ie.Of(27):  address6(slotSrcAddr, 0, func(b *flow.Batch) flow.Column[flow.Addr] { return b.SrcAddr }),
	ie.Of(8):   address4(slotSrcAddr, 1, func(b *flow.Batch) flow.Column[flow.Addr] { return b.SrcAddr }),
	station:    address4(slotSrcAddr, 2, func(b *flow.Batch) flow.Column[flow.Addr] { return b.SrcAddr }).only(),
	ie.Of(28):  address6(slotDstAddr, 0, func(b *flow.Batch) flow.Column[flow.Addr] { return b.DstAddr }),
	ie.Of(12):  address4(slotDstAddr, 1, func(b *flow.Batch) flow.Column[flow.Addr] { return b.DstAddr }),
	ie.Of(56):  mac(slotSrcMAC, 0, func(b *flow.Batch) flow.Column[uint64] { return b.SrcMAC }),
	ie.Of(81):  mac(slotSrcMAC, 1, func(b *flow.Batch) flow.Column[uint64] { return b.SrcMAC }),
	stationMAC: mac(slotSrcMAC, 2, func(b *flow.Batch) flow.Column[uint64] { return b.SrcMAC }),
	ie.Of(80):  mac(slotDstMAC, 0, func(b *flow.Batch) flow.Column[uint64] { return b.DstMAC }),
	ie.Of(57):  mac(slotDstMAC, 1, func(b *flow.Batch) flow.Column[uint64] { return b.DstMAC }),
	ie.Of(367): mac(slotDstMAC, 2, func(b *flow.Batch) flow.Column[uint64] { return b.DstMAC }), // access point

	ie.Of(7):   number(slotSrcPort, 0, func(b *flow.Batch) flow.Column[uint16] { return b.SrcPort }),
	ie.Of(182): number(slotSrcPort, 1, func(b *flow.Batch) flow.Column[uint16] { return b.SrcPort }),
	ie.Of(180): number(slotSrcPort, 2, func(b *flow.Batch) flow.Column[uint16] { return b.SrcPort }),
	ie.Of(11):  number(slotDstPort, 0, func(b *flow.Batch) flow.Column[uint16] { return b.DstPort }),
	ie.Of(183): number(slotDstPort, 1, func(b *flow.Batch) flow.Column[uint16] { return b.DstPort }),
	ie.Of(181): number(slotDstPort, 2, func(b *flow.Batch) flow.Column[uint16] { return b.DstPort }),
	ie.Of(4):   number(slotProtocol, 0, func(b *flow.Batch) flow.Column[uint8] { return b.Protocol }),
	ie.Of(256): number(slotEthertype, 0, func(b *flow.Batch) flow.Column[uint16] { return b.Ethertype }),

	ie.Of(1):   number(slotBytes, 0, func(b *flow.Batch) flow.Column[uint64] { return b.Bytes }).only(),
	ie.Of(352): number(slotBytes, 1, func(b *flow.Batch) flow.Column[uint64] { return b.Bytes }).only(),
	ie.Of(231): number(slotBytes, 2, func(b *flow.Batch) flow.Column[uint64] { return b.Bytes }).only(),
	ie.Of(23):  number(slotBytes, 3, func(b *flow.Batch) flow.Column[uint64] { return b.Bytes }).only(),
	ie.Of(85):  number(slotBytes, 4, func(b *flow.Batch) flow.Column[uint64] { return b.Bytes }).only(),
	ie.Of(353): number(slotBytes, 5, func(b *flow.Batch) flow.Column[uint64] { return b.Bytes }).only(),
	ie.Of(171): number(slotBytes, 6, func(b *flow.Batch) flow.Column[uint64] { return b.Bytes }).only(),
	ie.Of(2):   number(slotPackets, 0, func(b *flow.Batch) flow.Column[uint64] { return b.Packets }).only(),
	ie.Of(298): number(slotPackets, 2, func(b *flow.Batch) flow.Column[uint64] { return b.Packets }).only(),
	ie.Of(24):  number(slotPackets, 3, func(b *flow.Batch) flow.Column[uint64] { return b.Packets }).only(),
	ie.Of(86):  number(slotPackets, 4, func(b *flow.Batch) flow.Column[uint64] { return b.Packets }).only(),
	ie.Of(172): number(slotPackets, 6, func(b *flow.Batch) flow.Column[uint64] { return b.Packets }).only(),

	ie.Of(6):   number(slotTCPFlags, 0, func(b *flow.Batch) flow.Column[uint16] { return b.TCPFlags }),
	ie.Of(5):   number(slotTOS, 0, func(b *flow.Batch) flow.Column[uint8] { return b.TOS }),
	ie.Of(195): dscp(1),
	ie.Of(10):  number(slotInIf, 0, func(b *flow.Batch) flow.Column[uint32] { return b.InIf }),
	ie.Of(252): number(slotInIf, 1, func(b *flow.Batch) flow.Column[uint32] { return b.InIf }).only(),
	ie.Of(14):  number(slotOutIf, 0, func(b *flow.Batch) flow.Column[uint32] { return b.OutIf }),
	ie.Of(253): number(slotOutIf, 1, func(b *flow.Batch) flow.Column[uint32] { return b.OutIf }).only(),
	ie.Of(58):  number(slotVLANIn, 0, func(b *flow.Batch) flow.Column[uint16] { return b.VLANIn }),
	ie.Of(243): number(slotVLANIn, 1, func(b *flow.Batch) flow.Column[uint16] { return b.VLANIn }),
	ie.Of(59):  number(slotVLANOut, 0, func(b *flow.Batch) flow.Column[uint16] { return b.VLANOut }),
	ie.Of(254): number(slotVLANOut, 1, func(b *flow.Batch) flow.Column[uint16] { return b.VLANOut }),
	ie.Of(234): number(slotVRFIn, 0, func(b *flow.Batch) flow.Column[uint32] { return b.VRFIn }),
	ie.Of(235): number(slotVRFOut, 0, func(b *flow.Batch) flow.Column[uint32] { return b.VRFOut }),
	ie.Of(95):  application(),
	ie.Of(89):  number(slotForwarding, 0, func(b *flow.Batch) flow.Column[uint8] { return b.ForwardingStatus }),
	ie.Of(136): number(slotEndReason, 0, func(b *flow.Batch) flow.Column[uint8] { return b.EndReason }),
	ie.Of(138): number(slotPoint, 0, func(b *flow.Batch) flow.Column[uint32] { return b.ObservationPoint }),
	ie.Of(61):  direction(),

	virtualObsID: virtual(),

	ie.Of(176): number(slotICMPType, 0, func(b *flow.Batch) flow.Column[uint8] { return b.ICMPType }),
	ie.Of(178): number(slotICMPType, 1, func(b *flow.Batch) flow.Column[uint8] { return b.ICMPType }),
	ie.Of(177): number(slotICMPCode, 0, func(b *flow.Batch) flow.Column[uint8] { return b.ICMPCode }),
	ie.Of(179): number(slotICMPCode, 1, func(b *flow.Batch) flow.Column[uint8] { return b.ICMPCode }),
	ie.Of(32):  icmp(0),
	ie.Of(139): icmp(1),

	ie.Of(152):     timed(slotStart, 0, 8, 8, epochMilliseconds(scratchStart)),
	ie.Of(156):     timed(slotStart, 1, 8, 8, ntp(scratchStart)),
	ie.Of(154):     timed(slotStart, 2, 8, 8, ntp(scratchStart)),
	ie.Of(150):     timed(slotStart, 3, 4, 8, seconds(scratchStart)),
	startSysUpTime: timed(slotStart, 4, 1, 4, uptime(scratchStart)),
	ie.Of(158):     timed(slotStart, 5, 1, 8, deltaMicroseconds(scratchStart)),
	ie.Of(153):     timed(slotEnd, 0, 8, 8, epochMilliseconds(scratchEnd)),
	ie.Of(157):     timed(slotEnd, 1, 8, 8, ntp(scratchEnd)),
	ie.Of(155):     timed(slotEnd, 2, 8, 8, ntp(scratchEnd)),
	ie.Of(151):     timed(slotEnd, 3, 4, 8, seconds(scratchEnd)),
	endSysUpTime:   timed(slotEnd, 4, 1, 4, uptime(scratchEnd)),
	ie.Of(159):     timed(slotEnd, 5, 1, 8, deltaMicroseconds(scratchEnd)),
	ie.Of(323):     timed(slotEnd, 6, 8, 8, epochMilliseconds(scratchEnd)), // when an event was seen (Cisco NSEL)
	ie.Of(325):     timed(slotEnd, 7, 8, 8, ntp(scratchEnd)),
	ie.Of(324):     timed(slotEnd, 8, 8, 8, ntp(scratchEnd)),
	ie.Of(322):     timed(slotEnd, 9, 4, 8, seconds(scratchEnd)),
	ie.Of(160):     timed(slotInit, 0, 8, 8, epochMilliseconds(scratchInit)),
	ie.Of(161):     scratched(slotDuration, 0, scratchDuration),
	ie.Of(162): timed(slotDuration, 1, 1, 8, timeSetter(scratchDuration,
		func(_ *run, v uint64) uint64 { return v / 1000 })),

	ie.Of(302): scratched(slotSampler, 0, scratchSampler),
	ie.Of(48):  scratched(slotSampler, 1, scratchSampler),
	ie.Of(34):  scratched(slotInterval, 0, scratchInterval),
	ie.Of(50):  scratched(slotInterval, 1, scratchInterval),
	ie.Of(305): scratched(slotPacketInterval, 0, scratchPacketInterval),
	ie.Of(306): scratched(slotPacketSpace, 0, scratchPacketSpace),
	ie.Of(309): scratched(slotSampleSize, 0, scratchSampleSize),
	ie.Of(310): scratched(slotSamplePopulation, 0, scratchSamplePopulation),
	ie.Of(311): probability(),
}
