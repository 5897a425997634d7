package learned

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/weirhq/weir/estate"
)

// Kind is what a packet says about addresses.
type Kind uint8

// The values of Kind.
const (
	Nothing Kind = iota
	Claim        // who sends it has the address
	Ask          // a DHCP client asks
	Grant        // a DHCP server says what a client has
	Release      // a DHCP client does not want the address any more
)

// Packet is what a frame says about addresses.
type Packet struct {
	Kind   Kind
	From   Source
	MAC    estate.MAC // of whom it is about: who sends it; of a Grant, whom it is for
	XID    uint32     // of Ask and Grant: both have the same
	Addrs  [maxGranted]Granted
	Number int // of Addrs that are used; none of Ask

	v6 bool // of DHCPv6
}

// Granted is an address, and for how long; 0 except of a Grant.
type Granted struct {
	Addr  netip.Addr
	Lease time.Duration
}

// maxGranted is how many addresses of one packet are looked at: DHCPv6 may give several.
const maxGranted = 8

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherIPv6 = 0x86dd

	protoUDP    = 17
	protoICMPv6 = 58
)

// Decode reads an Ethernet frame, with a tag or without, of which the end may be missing. What it does not understand says Nothing; it never
// fails. It is for ARP over Ethernet (RFC 826), neighbour discovery (RFC 4861 §4.3, §4.4), DHCP (RFC 2131) and DHCPv6 (RFC 8415).
func Decode(b []byte) (p Packet) {
	if len(b) < 14 {
		return p
	}
	dst, src := macOf(b), macOf(b[6:])
	if src == 0 || src&(1<<40) != 0 {
		return p
	}
	kind, b := binary.BigEndian.Uint16(b[12:]), b[14:]
	if kind == etherVLAN {
		if len(b) < 4 {
			return p
		}
		kind, b = binary.BigEndian.Uint16(b[2:]), b[4:]
	}
	switch kind {
	case etherARP:
		p.arp(b, src)
	case etherIPv4:
		p.ipv4(b, src)
	case etherIPv6:
		p.ipv6(b, src, dst)
	}
	return p
}

func macOf(b []byte) estate.MAC {
	return estate.MAC(uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:])))
}

// add adds an address, if it is one that an interface can have.
func (p *Packet) add(a netip.Addr, lease time.Duration) {
	if p.Number < maxGranted && Possible(a) {
		p.Addrs[p.Number] = Granted{a, lease}
		p.Number++
	}
}

// Possible reports whether an interface can have an address.
func Possible(a netip.Addr) bool {
	if a.Is4() {
		first := a.As4()[0]
		return first != 0 && first != 127 && first < 224
	}
	return a.Is6() && !a.Is4In6() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast()
}

// claims makes p say that who sends has an address.
func (p *Packet) claims(from Source, mac estate.MAC, a netip.Addr) {
	if p.add(a, 0); p.Number > 0 {
		p.Kind, p.From, p.MAC = Claim, from, mac
	}
}

// arp reads requests and answers: whoever sends them has the sender's address. A probe (RFC 5227) has none.
func (p *Packet) arp(b []byte, src estate.MAC) {
	const head = "\x00\x01\x08\x00\x06\x04\x00" // Ethernet, IPv4, their lengths, half of the operation
	if len(b) < 28 || string(b[:7]) != head || b[7] != 1 && b[7] != 2 || macOf(b[8:]) != src {
		return
	}
	p.claims(ARP, src, netip.AddrFrom4([4]byte(b[14:])))
}

func (p *Packet) ipv4(b []byte, src estate.MAC) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return
	}
	head := int(b[0]&15) * 4
	const fragment = 0x3fff // more to come, or not the first
	if head < 20 || len(b) < head+8 || b[9] != protoUDP || binary.BigEndian.Uint16(b[6:])&fragment != 0 {
		return
	}
	from, to := binary.BigEndian.Uint16(b[head:]), binary.BigEndian.Uint16(b[head+2:])
	switch b = b[head+8:]; {
	case from == 68 && to == 67:
		p.dhcp(b, 1, src)
	case from == 67 && to == 68:
		p.dhcp(b, 2, src)
	}
}

// dhcp reads a message of a client (op 1) or of a server (op 2).
func (p *Packet) dhcp(b []byte, op byte, src estate.MAC) {
	const fixed = 240
	if len(b) < fixed || b[0] != op || b[1] != 1 || b[2] != 6 || string(b[236:240]) != "\x63\x82\x53\x63" {
		return
	}
	client := macOf(b[28:])
	var kind byte
	var lease time.Duration
	var asked netip.Addr
	for o := b[fixed:]; len(o) >= 2 && o[0] != 255; {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		n := int(o[1])
		if len(o) < 2+n {
			break
		}
		switch v := o[2 : 2+n]; { // of what is there twice, the first counts
		case o[0] == 53 && n == 1 && kind == 0:
			kind = v[0]
		case o[0] == 51 && n == 4 && lease == 0:
			lease = time.Duration(binary.BigEndian.Uint32(v)) * time.Second
		case o[0] == 50 && n == 4 && !asked.IsValid():
			asked = netip.AddrFrom4([4]byte(v))
		}
		o = o[2+n:]
	}
	const request, decline, ack, release = 3, 4, 5, 7
	p.From, p.MAC, p.XID = DHCP, client, binary.BigEndian.Uint32(b[4:])
	switch {
	case op == 2 && kind == ack:
		if p.add(netip.AddrFrom4([4]byte(b[16:])), lease); p.Number > 0 && lease > 0 {
			p.Kind = Grant
			return
		}
	case client != src: // by a relay, which is not the client
	case op == 1 && kind == request:
		p.Kind = Ask
		return
	case op == 1 && (kind == release || kind == decline):
		if kind == release {
			asked = netip.AddrFrom4([4]byte(b[12:]))
		}
		if p.add(asked, 0); p.Number > 0 {
			p.Kind = Release
			return
		}
	}
	*p = Packet{}
}

func (p *Packet) ipv6(b []byte, src, dst estate.MAC) {
	if len(b) < 40+8 || b[0]>>4 != 6 {
		return
	}
	from := netip.AddrFrom16([16]byte(b[8:]))
	next, hops := b[6], b[7]
	switch b = b[40:]; {
	case next == protoICMPv6 && hops == 255 && len(b) >= 24 && b[1] == 0:
		switch b[0] {
		case 135: // solicitation; the source is unspecified while an address is tried
			p.claims(ND, src, from)
		case 136: // advertisement
			p.claims(ND, src, netip.AddrFrom16([16]byte(b[8:])))
		}
	case next == protoUDP:
		from, to := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		switch b = b[8:]; {
		case from == 546 && to == 547:
			p.dhcp6(b, src, true)
		case from == 547 && to == 546:
			p.dhcp6(b, dst, false)
		}
	}
}

// dhcp6 reads a message of a client, or of a server for it.
func (p *Packet) dhcp6(b []byte, client estate.MAC, asks bool) {
	if len(b) < 4 {
		return
	}
	const solicit, request, renew, rebind, reply, release, decline = 1, 3, 5, 6, 7, 8, 9
	kind := b[0]
	p.From, p.MAC, p.XID, p.v6 = DHCP, client, binary.BigEndian.Uint32(b)&0xffffff, true
	switch {
	case asks && (kind == solicit || kind == request || kind == renew || kind == rebind): // solicit: with rapid commit it is all that is asked
		p.Kind = Ask
		return
	case asks && (kind == release || kind == decline):
		p.Kind = Release
	case !asks && kind == reply:
		p.Kind = Grant
	default:
		*p = Packet{}
		return
	}
	options(b[4:], func(code uint16, v []byte) {
		const forAddresses, address = 3, 5
		if code != forAddresses || len(v) < 12 {
			return
		}
		options(v[12:], func(code uint16, v []byte) {
			if code != address || len(v) < 24 {
				return
			}
			lease := time.Duration(binary.BigEndian.Uint32(v[20:])) * time.Second
			if p.Kind == Release {
				lease = 0
			} else if lease == 0 {
				return // it is taken back
			}
			p.add(netip.AddrFrom16([16]byte(v)), lease)
		})
	})
	if p.Number == 0 {
		*p = Packet{}
	}
}

// options calls f with each option of DHCPv6 that is there as a whole.
func options(b []byte, f func(code uint16, v []byte)) {
	for len(b) >= 4 {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if len(b) < 4+n {
			return
		}
		f(binary.BigEndian.Uint16(b), b[4:4+n])
		b = b[4+n:]
	}
}
