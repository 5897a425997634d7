package export

import (
	"math/bits"
	"net/netip"
	"slices"

	"github.com/weirhq/weir/flow"
)

// Variable is the length of a field whose records carry the length themselves (RFC 7011 §7).
const Variable = 65535

// Enterprise numbers.
const (
	PENReverse = 29305 // RFC 5103 §6.1
	PENVMware  = 6876  // also used by Open vSwitch
)

// Element is an information element that a template may hold.
type Element struct {
	PEN  uint32 // enterprise number, 0 for IANA and NetFlow 9
	ID   uint16
	Len  uint16 // usual length in bytes; 0 where names have no usual length
	Kind ElementKind
	Name string
}

// ElementKind is how the value of an element is laid out.
type ElementKind uint8

// Kinds of elements.
const (
	Number  ElementKind = iota // big endian; every length from 1 to 8 is sent, high bytes cut off (RFC 7011 §6.2)
	Address                    // IPv4 or IPv6, of exactly Len bytes
	Text                       // cut off or padded with zeros, or variable
)

// instant is what times of a message are relative to.
type instant struct {
	now    int64 // ms since epoch UTC: when the message is made
	boot   int64 // ms since epoch UTC: when the exporter booted
	totals totals
}

// totals are the exporter-wide counters that some exporters put into every record.
type totals struct{ bytes, packets uint64 }

// element is an Element with the way to its value. One of the functions is set, as Kind says.
type element struct {
	Element
	number  func(*instant, *Record) uint64
	address func(*Record) netip.Addr
	text    func(*Record) string
}

// Elements returns every element that a template may hold, by enterprise number and id.
func Elements() []Element {
	all := make([]Element, len(elements))
	for i := range elements {
		all[i] = elements[i].Element
	}
	return all
}

func lookUp(pen uint32, id uint16) (*element, bool) {
	i, found := slices.BinarySearchFunc(elements, element{Element: Element{PEN: pen, ID: id}}, compare)
	if !found {
		return nil, false
	}
	return &elements[i], true
}

func compare(a, b element) int {
	if a.PEN != b.PEN {
		return int(a.PEN) - int(b.PEN)
	}
	return int(a.ID) - int(b.ID)
}

// number, addr and text are rows of the table below.
func number(id uint16, length uint16, name string, value func(*instant, *Record) uint64) element {
	return element{Element: Element{ID: id, Len: length, Name: name}, number: value}
}

func field(id uint16, length uint16, name string, value func(*Record) uint64) element {
	return number(id, length, name, func(_ *instant, r *Record) uint64 { return value(r) })
}

func address(id uint16, length uint16, name string, value func(*Record) netip.Addr) element {
	return element{Element: Element{ID: id, Len: length, Kind: Address, Name: name}, address: value}
}

func text(id uint16, name string, value func(*Record) string) element {
	return element{Element: Element{ID: id, Kind: Text, Name: name}, text: value}
}

func enterprise(pen uint32, e element) element {
	e.PEN = pen
	return e
}

// constant is an element that a layout needs and no record has.
func constant(id uint16, length uint16, name string, value uint64) element {
	return field(id, length, name, func(*Record) uint64 { return value })
}

// elements is sorted by enterprise number and id. The names are IANA's.
var elements = []element{
	field(1, 8, "octetDeltaCount", func(r *Record) uint64 { return r.Bytes }),
	field(2, 8, "packetDeltaCount", func(r *Record) uint64 { return r.Packets }),
	field(4, 1, "protocolIdentifier", func(r *Record) uint64 { return uint64(r.Protocol) }),
	field(5, 1, "ipClassOfService", func(r *Record) uint64 { return uint64(r.TOS) }),
	field(6, 1, "tcpControlBits", func(r *Record) uint64 { return uint64(r.TCPFlags) }),
	field(7, 2, "sourceTransportPort", func(r *Record) uint64 { return uint64(r.SrcPort) }),
	address(8, 4, "sourceIPv4Address", func(r *Record) netip.Addr { return r.Src }),
	field(9, 1, "sourceIPv4PrefixLength", func(r *Record) uint64 { return uint64(r.SrcMask) }),
	field(10, 4, "ingressInterface", func(r *Record) uint64 { return uint64(r.InIf) }),
	field(11, 2, "destinationTransportPort", func(r *Record) uint64 { return uint64(r.DstPort) }),
	address(12, 4, "destinationIPv4Address", func(r *Record) netip.Addr { return r.Dst }),
	field(13, 1, "destinationIPv4PrefixLength", func(r *Record) uint64 { return uint64(r.DstMask) }),
	field(14, 4, "egressInterface", func(r *Record) uint64 { return uint64(r.OutIf) }),
	address(15, 4, "ipNextHopIPv4Address", func(r *Record) netip.Addr { return r.NextHop }),
	field(16, 4, "bgpSourceAsNumber", func(r *Record) uint64 { return uint64(r.SrcAS) }),
	field(17, 4, "bgpDestinationAsNumber", func(r *Record) uint64 { return uint64(r.DstAS) }),
	constant(19, 8, "postMCastPacketDeltaCount", 0),
	constant(20, 8, "postMCastOctetDeltaCount", 0),
	number(21, 4, "flowEndSysUpTime", func(t *instant, r *Record) uint64 { return uint64(r.End - t.boot) }),
	number(22, 4, "flowStartSysUpTime", func(t *instant, r *Record) uint64 { return uint64(r.Start - t.boot) }),
	field(25, 8, "minimumIpTotalLength", meanLength),
	field(26, 8, "maximumIpTotalLength", meanLength),
	address(27, 16, "sourceIPv6Address", func(r *Record) netip.Addr { return r.Src }),
	address(28, 16, "destinationIPv6Address", func(r *Record) netip.Addr { return r.Dst }),
	field(29, 1, "sourceIPv6PrefixLength", func(r *Record) uint64 { return uint64(r.SrcMask) }),
	field(30, 1, "destinationIPv6PrefixLength", func(r *Record) uint64 { return uint64(r.DstMask) }),
	constant(31, 4, "flowLabelIPv6", 0),
	field(32, 2, "icmpTypeCodeIPv4", icmpTypeCode),
	field(34, 4, "samplingInterval", func(r *Record) uint64 { return uint64(r.Sampling) }),
	field(48, 1, "samplerId", func(r *Record) uint64 { return uint64(r.Sampler) }),
	field(56, 6, "sourceMacAddress", func(r *Record) uint64 { return r.SrcMAC }),
	field(57, 6, "postDestinationMacAddress", func(r *Record) uint64 { return r.DstMAC }),
	field(58, 2, "vlanId", func(r *Record) uint64 { return uint64(r.VLANIn) }),
	field(59, 2, "postVlanId", func(r *Record) uint64 { return uint64(r.VLANOut) }),
	field(60, 1, "ipVersion", func(r *Record) uint64 { return uint64(r.IP()) }),
	field(61, 1, "flowDirection", flowDirection),
	address(62, 16, "ipNextHopIPv6Address", func(r *Record) netip.Addr { return r.NextHop }),
	field(80, 6, "destinationMacAddress", func(r *Record) uint64 { return r.DstMAC }),
	field(81, 6, "postSourceMacAddress", func(r *Record) uint64 { return r.SrcMAC }),
	text(82, "interfaceName", func(r *Record) string { return r.InName }),
	text(83, "interfaceDescription", func(r *Record) string { return r.InName }),
	number(85, 8, "octetTotalCount", func(t *instant, _ *Record) uint64 { return t.totals.bytes }),
	number(86, 8, "packetTotalCount", func(t *instant, _ *Record) uint64 { return t.totals.packets }),
	field(89, 1, "forwardingStatus", func(r *Record) uint64 { return uint64(r.ForwardingStatus) }),
	field(95, 4, "applicationId", func(r *Record) uint64 { return r.Application }),
	constant(132, 8, "droppedOctetDeltaCount", 0),
	constant(133, 8, "droppedPacketDeltaCount", 0),
	constant(134, 8, "droppedOctetTotalCount", 0),
	constant(135, 8, "droppedPacketTotalCount", 0),
	field(136, 1, "flowEndReason", func(r *Record) uint64 { return uint64(r.EndReason) }),
	field(138, 4, "observationPointId", func(r *Record) uint64 { return uint64(r.ObservationPoint) }),
	field(139, 2, "icmpTypeCodeIPv6", icmpTypeCode),
	field(150, 4, "flowStartSeconds", func(r *Record) uint64 { return uint64(r.Start / 1000) }),
	field(151, 4, "flowEndSeconds", func(r *Record) uint64 { return uint64(r.End / 1000) }),
	field(152, 8, "flowStartMilliseconds", func(r *Record) uint64 { return uint64(r.Start) }),
	field(153, 8, "flowEndMilliseconds", func(r *Record) uint64 { return uint64(r.End) }),
	field(154, 8, "flowStartMicroseconds", func(r *Record) uint64 { return ntp(r.Start) }),
	field(155, 8, "flowEndMicroseconds", func(r *Record) uint64 { return ntp(r.End) }),
	field(156, 8, "flowStartNanoseconds", func(r *Record) uint64 { return ntp(r.Start) }),
	field(157, 8, "flowEndNanoseconds", func(r *Record) uint64 { return ntp(r.End) }),
	number(158, 4, "flowStartDeltaMicroseconds", func(t *instant, r *Record) uint64 { return delta(t.now, r.Start) }),
	number(159, 4, "flowEndDeltaMicroseconds", func(t *instant, r *Record) uint64 { return delta(t.now, r.End) }),
	number(160, 8, "systemInitTimeMilliseconds", func(t *instant, _ *Record) uint64 { return uint64(t.boot) }),
	field(161, 4, "flowDurationMilliseconds", func(r *Record) uint64 { return uint64(r.End - r.Start) }),
	constant(174, 8, "postMCastPacketTotalCount", 0),
	constant(175, 8, "postMCastOctetTotalCount", 0),
	field(176, 1, "icmpTypeIPv4", func(r *Record) uint64 { return uint64(r.ICMPType) }),
	field(177, 1, "icmpCodeIPv4", func(r *Record) uint64 { return uint64(r.ICMPCode) }),
	field(178, 1, "icmpTypeIPv6", func(r *Record) uint64 { return uint64(r.ICMPType) }),
	field(179, 1, "icmpCodeIPv6", func(r *Record) uint64 { return uint64(r.ICMPCode) }),
	field(192, 1, "ipTTL", func(r *Record) uint64 { return uint64(r.TTL) }),
	field(195, 1, "ipDiffServCodePoint", func(r *Record) uint64 { return uint64(r.TOS >> 2) }),
	field(196, 1, "ipPrecedence", func(r *Record) uint64 { return uint64(r.TOS >> 5) }),
	field(198, 8, "octetDeltaSumOfSquares", sumOfSquares),
	field(199, 8, "octetTotalSumOfSquares", sumOfSquares),
	constant(218, 8, "tcpSynTotalCount", 0),
	constant(219, 8, "tcpFinTotalCount", 0),
	constant(220, 8, "tcpRstTotalCount", 0),
	constant(221, 8, "tcpPshTotalCount", 0),
	constant(222, 8, "tcpAckTotalCount", 0),
	constant(223, 8, "tcpUrgTotalCount", 0),
	field(234, 4, "ingressVRFID", func(r *Record) uint64 { return uint64(r.VRFIn) }),
	field(235, 4, "egressVRFID", func(r *Record) uint64 { return uint64(r.VRFOut) }),
	field(240, 1, "ethernetHeaderLength", func(r *Record) uint64 { return r.ethernetHeader() }),
	field(243, 2, "dot1qVlanId", func(r *Record) uint64 { return uint64(r.VLANIn) }),
	constant(244, 1, "dot1qPriority", 0),
	field(254, 2, "postDot1qVlanId", func(r *Record) uint64 { return uint64(r.VLANOut) }),
	field(256, 2, "ethernetType", func(r *Record) uint64 { return uint64(r.Ethertype) }),
	field(302, 4, "selectorId", func(r *Record) uint64 { return uint64(r.Sampler) }),
	field(305, 4, "samplingPacketInterval", func(*Record) uint64 { return 1 }),
	field(306, 4, "samplingPacketSpace", func(r *Record) uint64 { return uint64(max(r.Sampling, 1) - 1) }),
	field(352, 8, "layer2OctetDeltaCount", func(r *Record) uint64 { return r.Bytes + r.Packets*r.ethernetHeader() }),
	number(353, 8, "layer2OctetTotalCount", func(t *instant, _ *Record) uint64 { return t.totals.bytes }),
	number(354, 8, "ingressUnicastPacketTotalCount", func(t *instant, _ *Record) uint64 { return t.totals.packets }),
	constant(355, 8, "ingressMulticastPacketTotalCount", 0),
	constant(356, 8, "ingressBroadcastPacketTotalCount", 0),
	number(357, 8, "egressUnicastPacketTotalCount", func(t *instant, _ *Record) uint64 { return t.totals.packets }),
	constant(358, 8, "egressBroadcastPacketTotalCount", 0),
	constant(368, 4, "ingressInterfaceType", 6), // ethernetCsmacd(6), RFC 7224
	constant(369, 4, "egressInterfaceType", 6),

	enterprise(PENVMware, text(898, "virtualObservationId", func(r *Record) string { return r.VirtualID })),
}

func icmpTypeCode(r *Record) uint64 { return uint64(r.ICMPType)<<8 | uint64(r.ICMPCode) }

// flowDirection: 0 ingress, 1 egress; there is no value for unknown.
func flowDirection(r *Record) uint64 {
	if r.Observed == flow.ObservedEgress {
		return 1
	}
	return 0
}

// ntp returns ms since the Unix epoch as seconds since 1900 and their fraction in 2^-32 s (RFC 7011 §6.1.9), rounded
// up, so that cutting it to milliseconds gives ms again.
func ntp(ms int64) uint64 {
	const epoch = 2208988800 // s from 1900 to 1970, RFC 868
	seconds, rest := uint64(ms/1000), uint64(ms%1000)
	return (seconds+epoch)<<32 | (rest<<32+999)/1000
}

// delta returns the µs from then back to now, at least 0 and at most what 32 bits hold (71 minutes).
func delta(now, then int64) uint64 {
	return uint64(min(max(now-then, 0)*1000, 1<<32-1))
}

func meanLength(r *Record) uint64 {
	if r.Packets == 0 {
		return 0
	}
	return r.Bytes / r.Packets
}

// sumOfSquares is that of packets of equal length, saturated.
func sumOfSquares(r *Record) uint64 {
	high, low := bits.Mul64(meanLength(r), r.Bytes)
	if high != 0 {
		return 1<<64 - 1
	}
	return low
}
