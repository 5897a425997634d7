package replay

import (
	"encoding/binary"
	"net/netip"
)

// linkType is a link type of capture files, as registered with tcpdump.org.
type linkType uint32

const (
	linkNull     linkType = 0 // BSD loopback: address family in the byte order of the machine
	linkEthernet linkType = 1
	linkRawOld   linkType = 12 // raw IP in files of some systems
	linkRaw      linkType = 101
	linkLoop     linkType = 108 // OpenBSD loopback: as linkNull, big endian
	linkSLL      linkType = 113 // Linux "any"
	linkIPv4     linkType = 228
	linkIPv6     linkType = 229
	linkSLL2     linkType = 276
)

// verdict is what became of a captured frame.
type verdict uint8

const (
	isUDP       verdict = iota
	isOther             // not UDP over IP
	isFragment          // of an IP packet: first or later
	isTruncated         // cut off by the capture, or malformed
	isForeign           // link type that is not known here
)

// datagram is a UDP datagram within a frame.
type datagram struct {
	source  netip.AddrPort
	port    uint16 // destination
	payload []byte
}

// parse finds the UDP datagram in a frame.
func parse(link linkType, frame []byte) (datagram, verdict) {
	switch link {
	case linkEthernet:
		if len(frame) < 14 {
			return datagram{}, isTruncated
		}
		return parseEther(binary.BigEndian.Uint16(frame[12:]), frame[14:])
	case linkSLL:
		if len(frame) < 16 {
			return datagram{}, isTruncated
		}
		return parseEther(binary.BigEndian.Uint16(frame[14:]), frame[16:])
	case linkSLL2:
		if len(frame) < 20 {
			return datagram{}, isTruncated
		}
		return parseEther(binary.BigEndian.Uint16(frame), frame[20:])
	case linkNull, linkLoop:
		if len(frame) < 4 {
			return datagram{}, isTruncated
		}
		return parseIP(frame[4:])
	case linkRaw, linkRawOld, linkIPv4, linkIPv6:
		return parseIP(frame)
	default:
		return datagram{}, isForeign
	}
}

// parseEther parses what follows an EtherType, VLAN tags included.
func parseEther(etherType uint16, b []byte) (datagram, verdict) {
	for range 4 { // more tags than any network has
		switch etherType {
		case 0x8100, 0x88a8, 0x9100: // 802.1Q, 802.1ad, and its forerunner
			if len(b) < 4 {
				return datagram{}, isTruncated
			}
			etherType, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		case 0x0800, 0x86dd:
			return parseIP(b)
		default:
			return datagram{}, isOther
		}
	}
	return datagram{}, isOther
}

func parseIP(b []byte) (datagram, verdict) {
	if len(b) < 1 {
		return datagram{}, isTruncated
	}
	switch b[0] >> 4 {
	case 4:
		return parseIPv4(b)
	case 6:
		return parseIPv6(b)
	default:
		return datagram{}, isOther
	}
}

const (
	protocolHopByHop = 0
	protocolUDP      = 17
	protocolRouting  = 43
	protocolFragment = 44
	protocolAH       = 51
	protocolOptions  = 60
)

func parseIPv4(b []byte) (datagram, verdict) { // RFC 791 §3.1
	if len(b) < 20 {
		return datagram{}, isTruncated
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if b[9] != protocolUDP {
		return datagram{}, isOther
	}
	if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 { // more fragments, or an offset
		return datagram{}, isFragment
	}
	if header < 20 || total < header || total > len(b) {
		return datagram{}, isTruncated
	}
	return parseUDP(netip.AddrFrom4([4]byte(b[12:16])), b[header:total])
}

func parseIPv6(b []byte) (datagram, verdict) { // RFC 8200 §3, §4
	if len(b) < 40 {
		return datagram{}, isTruncated
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length > len(b)-40 {
		return datagram{}, isTruncated
	}
	next, source, rest := b[6], netip.AddrFrom16([16]byte(b[8:24])), b[40:40+length]
	for {
		switch next {
		case protocolUDP:
			return parseUDP(source, rest)
		case protocolHopByHop, protocolRouting, protocolOptions, protocolFragment, protocolAH:
		default:
			return datagram{}, isOther
		}
		if len(rest) < 8 {
			return datagram{}, isTruncated
		}
		size := 8 + 8*int(rest[1])
		switch next {
		case protocolFragment:
			if binary.BigEndian.Uint16(rest[2:])&0xfff9 != 0 { // an offset, or more fragments
				return datagram{}, isFragment
			}
			size = 8
		case protocolAH: // RFC 4302 §2.2: counted in 4 bytes
			size = 8 + 4*int(rest[1])
		}
		if size > len(rest) {
			return datagram{}, isTruncated
		}
		next, rest = rest[0], rest[size:]
	}
}

func parseUDP(source netip.Addr, b []byte) (datagram, verdict) { // RFC 768
	if len(b) < 8 {
		return datagram{}, isTruncated
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length < 8 || length > len(b) {
		return datagram{}, isTruncated
	}
	return datagram{
		source:  netip.AddrPortFrom(source, binary.BigEndian.Uint16(b)),
		port:    binary.BigEndian.Uint16(b[2:]),
		payload: b[8:length],
	}, isUDP
}

// isFlowExport reports whether a payload begins like NetFlow 1, 5, 7 or 9, IPFIX or sFlow 5.
func isFlowExport(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	switch binary.BigEndian.Uint16(b) {
	case 1, 5, 7, 9, 10:
		return true
	case 0:
		return binary.BigEndian.Uint16(b[2:]) == 5
	default:
		return false
	}
}
