package export

import (
	"net/netip"

	"github.com/weirhq/weir/flow"
)

// Record is one entry of an exporter's flow cache: packets of one direction that share a key, as one interface or
// bridge saw them. Zero means unknown or absent everywhere.
type Record struct {
	Start int64 // time of the first packet, ms since epoch UTC
	End   int64 // time of the last packet, ms since epoch UTC

	Bytes   uint64 // from the IP header on; for frames that are not IP, without the Ethernet header
	Packets uint64

	Src, Dst netip.Addr // not IPv4-mapped; invalid where the frame is not IP
	NextHop  netip.Addr
	SrcMAC   uint64 // low 48 bits, first octet highest
	DstMAC   uint64

	InName, OutName string // interface names
	VirtualID       string // Open vSwitch's other_config:virtual_obs_id

	Application      uint64 // RFC 6759 §4: engine in the first octet
	InIf, OutIf      uint32
	VRFIn, VRFOut    uint32
	SrcAS, DstAS     uint32
	ObservationPoint uint32
	Sampler          uint32 // sampler or selector id
	Sampling         uint32 // one packet in this many

	SrcPort, DstPort uint16
	Ethertype        uint16
	VLANIn, VLANOut  uint16 // of the frame as it came and as it left; 0 untagged
	TCPFlags         uint16

	Protocol           uint8
	TOS                uint8
	TTL                uint8
	ICMPType, ICMPCode uint8
	SrcMask, DstMask   uint8 // prefix lengths
	ForwardingStatus   uint8 // RFC 7270 §4.12
	EndReason          uint8 // RFC 5102 §5.11.3

	Observed flow.Observed
}

// IP returns 4 or 6, or 0 for a frame that is not IP.
func (r *Record) IP() uint8 {
	switch {
	case r.Src.Is4():
		return 4
	case r.Src.Is6():
		return 6
	default:
		return 0
	}
}

// ethernetHeader returns the length of the Ethernet header of the record's frames as they came in.
func (r *Record) ethernetHeader() uint64 {
	if r.VLANIn != 0 {
		return 18
	}
	return 14
}
