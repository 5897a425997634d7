package flowgen

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// End is one end of a conversation.
type End struct {
	VM   int // index in Estate.VMs; -1 is outside, or all in case of multicast
	VIF  int // index in its VIFs
	Addr netip.Addr
	Port uint16
	MAC  uint64 // the router's for an end outside
}

// Volume is what one end sent, at layer 3: IP headers included.
type Volume struct{ Bytes, Packets uint64 }

// Conversation is what two ends said to each other: the ground truth behind up to four flow records, or more if it
// outlives a timeout.
type Conversation struct {
	Profile          *Profile
	Start, End       int64 // first and last packet, ms since epoch UTC
	Client, Server   End
	Protocol         uint8
	Ethertype        uint16
	ICMPType         uint8 // of the client's packets
	Request, Respond Volume
}

// Traffic is the conversations of an estate in the order of their beginning, without end.
type Traffic struct {
	estate   *Estate
	profiles []Profile
	parties  []parties
	random   random
	now      float64   // ms since epoch UTC
	rate     float64   // candidates per ms, before thinning
	choice   []float64 // cumulative share at peak, of 1
}

// parties are the resolved ends of a profile.
type parties struct{ client, server party }

// party is a list of VIFs, or a population outside.
type party struct {
	vifs       []vifRef
	population []subnet
	everyone   bool
}

type vifRef struct{ vm, vif int }

type subnet struct {
	upTo   float64 // cumulative weight
	v4, v6 netip.Prefix
}

// NewTraffic returns the conversations of estate from start on (ms since epoch UTC): rate a second in the mean over
// a day. Profiles that the estate has no VM for are left out.
func NewTraffic(estate *Estate, profiles []Profile, seed uint64, start int64, rate float64) (*Traffic, error) {
	t := &Traffic{estate: estate, random: newRandom(seed), now: float64(start)}
	total, peak := 0.0, 0.0
	for _, p := range profiles {
		client, err := estate.party(p.Client, p.Network)
		if err != nil {
			return nil, fmt.Errorf("make traffic of profile %q: client: %w", p.Name, err)
		}
		server, err := estate.party(p.Server, p.Network)
		if err != nil {
			return nil, fmt.Errorf("make traffic of profile %q: server: %w", p.Name, err)
		}
		if client.empty() || server.empty() || client.alone() && server.alone() && client.vifs[0] == server.vifs[0] {
			continue
		}
		t.profiles = append(t.profiles, p)
		t.parties = append(t.parties, parties{client, server})
		total += p.Share
		peak += p.Share * p.Rhythm.peak()
		t.choice = append(t.choice, peak)
	}
	if peak <= 0 {
		return nil, fmt.Errorf("make traffic: no profile has both of its ends in an estate of %d VMs", len(estate.VMs))
	}
	for i := range t.choice {
		t.choice[i] /= peak
	}
	t.rate = rate / 1000 * peak / total
	return t, nil
}

func (p *party) empty() bool { return len(p.vifs) == 0 && len(p.population) == 0 && !p.everyone }

func (p *party) alone() bool { return len(p.vifs) == 1 }

func (e *Estate) party(name Party, network int) (party, error) {
	if name == Everyone {
		return party{everyone: true}, nil
	}
	var p party
	if groups, ok := populations[name]; ok {
		sum := 0.0
		for _, g := range groups {
			i := slices.IndexFunc(e.AddressGroups, func(a AddressGroup) bool { return a.Name == g.group })
			if i < 0 {
				return p, fmt.Errorf("party %q: no address group %q", name, g.group)
			}
			sum += g.weight
			p.population = append(p.population, subnet{sum, e.AddressGroups[i].Prefixes[0], e.AddressGroups[i].Prefixes[1]})
		}
		return p, nil
	}
	if name != AnyVM && !slices.ContainsFunc(roles, func(r role) bool { return r.name == string(name) }) {
		return p, fmt.Errorf("party %q: neither a role nor a population", name)
	}
	for i := range e.VMs {
		if name != AnyVM && e.VMs[i].Role != string(name) {
			continue
		}
		for j := range e.VMs[i].VIFs {
			if e.VMs[i].VIFs[j].Network == network {
				p.vifs = append(p.vifs, vifRef{i, j})
			}
		}
	}
	return p, nil
}

// Next returns the next conversation.
func (t *Traffic) Next() Conversation {
	for {
		t.now += t.random.exponential() / t.rate
		i, _ := slices.BinarySearch(t.choice, t.random.unit())
		i = min(i, len(t.choice)-1)
		rhythm := t.profiles[i].Rhythm
		if rhythm == Steady || t.random.unit()*rhythm.peak() < rhythm.at(int64(t.now)) {
			return t.draw(i, int64(t.now))
		}
	}
}

// any returns a conversation of any profile by its share, whatever the time of day.
func (t *Traffic) any() Conversation {
	for {
		i, _ := slices.BinarySearch(t.choice, t.random.unit())
		i = min(i, len(t.choice)-1)
		if t.random.unit()*t.profiles[i].Rhythm.peak() < 1 {
			return t.draw(i, int64(t.now))
		}
	}
}

const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58

	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	mtu       = 1500
	tcpHeader = 32 // with timestamps
)

// draw returns a conversation of profile number i that begins at start.
func (t *Traffic) draw(i int, start int64) Conversation {
	p, who, r := &t.profiles[i], &t.parties[i], &t.random
	v6 := p.IPv6 > 0 && r.unit() < p.IPv6
	c := Conversation{Profile: p, Start: start, End: start, Ethertype: etherIPv4}
	if v6 {
		c.Ethertype = etherIPv6
	}
	for c.Client.VM == c.Server.VM && c.Client.VIF == c.Server.VIF { // both are zero at first
		c.Client = t.end(&who.client, p.Network, v6)
		c.Server = t.end(&who.server, p.Network, v6)
	}
	c.Server.Port = p.Port
	c.Client.Port = uint16(32768 + r.below(28232)) // Linux: ip_local_port_range
	ipHeader := uint64(20)
	if v6 {
		ipHeader = 40
	}
	switch p.Form {
	case Stream:
		t.stream(&c, ipHeader)
	case Datagram:
		c.Protocol = protoUDP
		c.Request = datagrams(p.Request.draw(r), ipHeader+8)
		c.Respond = datagrams(p.Response.draw(r), ipHeader+8)
		c.End += max(p.Duration.draw(r), 0)
	case Echo:
		n := uint64(p.Request.draw(r))
		c.Client.Port, c.Server.Port = 0, 0
		c.Protocol, c.ICMPType = protoICMP, 8
		if v6 {
			c.Protocol, c.ICMPType = protoICMPv6, 128
		}
		c.Request = Volume{n * (ipHeader + 64), n}
		c.Respond = c.Request
		c.End += p.Duration.draw(r)
	case Probe:
		c.Protocol = protoTCP
		c.Server.Port = scanned[r.rank(len(scanned))]
		c.Request = Volume{ipHeader + 24, 1}
		if r.unit() < 0.2 {
			c.Respond = Volume{ipHeader + 20, 1} // RST
		}
	case Announce:
		c.Protocol = protoUDP
		c.Client.Port = p.Port
		c.Request = datagrams(p.Request.draw(r), ipHeader+8)
		c.Server = multicast("224.0.0.251", "ff02::fb", v6, p.Port)
	case Resolve:
		c.Client.Port, c.Server.Port = 0, 0
		if !v6 {
			c.Ethertype = etherARP
			c.Request = Volume{28, 1} // ARP without its Ethernet header
			c.Client.Addr, c.Server = netip.Addr{}, End{VM: -1, MAC: 0xffff_ffff_ffff}
			break
		}
		c.Protocol, c.ICMPType = protoICMPv6, 135
		c.Request = Volume{72, 1} // neighbour solicitation with source link-layer address
		c.Server = multicast("", "ff02::1:ff00:1", true, 0)
	}
	return c
}

// scanned are the ports that scans try, the most frequent first.
var scanned = []uint16{
	22, 23, 3389, 445, 80, 8080, 5900, 1433, 3306, 21, 443, 6379, 5432, 25, 2222, 8443, 9200, 27017, 5060, 110, 139, 8888, 81, 53,
	111, 1723, 7547, 2375, 11211, 5555, 8291, 161,
}

func multicast(v4, v6 string, six bool, port uint16) End {
	if !six {
		a := netip.MustParseAddr(v4)
		b := a.As4() // RFC 1112 §6.4
		return End{VM: -1, Addr: a, Port: port, MAC: 0x01005e<<24 | uint64(binary.BigEndian.Uint32(b[:])&0x7fffff)}
	}
	a := netip.MustParseAddr(v6)
	b := a.As16() // RFC 2464 §7
	return End{VM: -1, Addr: a, Port: port, MAC: 0x3333<<32 | uint64(binary.BigEndian.Uint32(b[12:]))}
}

// stream fills in a TCP connection: full segments one way, an acknowledgement for every second one the other way,
// and the segments of opening and closing.
func (t *Traffic) stream(c *Conversation, ipHeader uint64) {
	r, p := &t.random, c.Profile
	c.Protocol = protoTCP
	request, response := uint64(max(p.Request.draw(r), 1)), uint64(max(p.Response.draw(r), 1))
	mss := mtu - tcpHeader - ipHeader
	up, down := (request+mss-1)/mss, (response+mss-1)/mss
	c.Request.Packets = 3 + max(up, down/2)
	c.Respond.Packets = 2 + max(down, up/2)
	c.Request.Bytes = request + c.Request.Packets*(ipHeader+tcpHeader)
	c.Respond.Bytes = response + c.Respond.Packets*(ipHeader+tcpHeader)
	// Not faster than 5 Gbit/s.
	c.End = c.Start + max(p.Duration.draw(r), int64(max(request, response)/625_000), 1)
}

// datagrams returns the volume of n bytes of payload in datagrams of at most 1200.
func datagrams(n int64, header uint64) Volume {
	if n <= 0 {
		return Volume{}
	}
	packets := uint64(n+1199) / 1200
	return Volume{uint64(n) + packets*header, packets}
}

// end draws an end.
func (t *Traffic) end(p *party, network int, v6 bool) End {
	r := &t.random
	switch {
	case p.everyone:
		return End{VM: -1}
	case len(p.vifs) > 0:
		ref := p.vifs[r.rank(len(p.vifs))]
		vif := &t.estate.VMs[ref.vm].VIFs[ref.vif]
		e := End{VM: ref.vm, VIF: ref.vif, Addr: vif.IPv4, MAC: vif.MAC}
		if v6 {
			e.Addr = vif.IPv6
		}
		return e
	}
	u, i := r.unit(), 0
	for i < len(p.population)-1 && u >= p.population[i].upTo {
		i++
	}
	e := End{VM: -1, MAC: t.estate.Networks[network].RouterMAC}
	if v6 {
		e.Addr = outside6(p.population[i].v6, r)
	} else {
		e.Addr = outside4(p.population[i].v4, r)
	}
	return e
}

// outside4 draws an address of prefix: by Zipf's law, the frequent ones scattered over it.
func outside4(prefix netip.Prefix, r *random) netip.Addr {
	size := 1 << (32 - prefix.Bits())
	rank := uint32(r.rank(size))
	b := prefix.Addr().As4()
	v := binary.BigEndian.Uint32(b[:]) | scatter(rank)&uint32(size-1)
	binary.BigEndian.PutUint32(b[:], v)
	return netip.AddrFrom4(b)
}

// outside6 draws one of 65536 subnets of prefix by Zipf's law, and a host with a lasting interface id in it.
func outside6(prefix netip.Prefix, r *random) netip.Addr {
	rank := uint32(r.rank(1 << 16))
	b := prefix.Addr().As16()
	// The subnet number ends at bit 64; /36 and /48 both leave 16 bits before that.
	binary.BigEndian.PutUint16(b[6:], uint16(scatter(rank)))
	hash := newRandom(uint64(rank) ^ uint64(b[3])<<32 ^ uint64(b[5])<<40)
	binary.BigEndian.PutUint64(b[8:], hash.bits())
	return netip.AddrFrom16(b)
}

// scatter is a bijection on the low k bits for every k.
func scatter(v uint32) uint32 { return v*2654435761 + 101 }
