package compile

import (
	"net/netip"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/policy"
)

// addresses are those of a remote. They are immutable.
type addresses struct{ v4, v6 []netip.Prefix }

func (a *addresses) add(p netip.Prefix) {
	if p.Addr().Is4() {
		a.v4 = append(a.v4, p)
	} else {
		a.v6 = append(a.v6, p)
	}
}

// pattern is packets that a rule matches: those for which all terms hold, and one of each dimension.
type pattern struct {
	terms      []openflow.Term
	dimensions []dimension // of more than one each
	family     uint16      // type of its frames, 0: any
}

// dimension is alternatives, of which one is to hold.
type dimension struct {
	n  int
	at func(i int) openflow.Term
}

// with adds a dimension, and reports whether it can hold.
func (p *pattern) with(d dimension) bool {
	switch d.n {
	case 0:
		return false
	case 1:
		p.terms = append(p.terms, d.at(0))
	default:
		p.dimensions = append(p.dimensions, d)
	}
	return true
}

// count is how many flows the pattern takes, and whether as a conjunction.
func (p *pattern) count() (n int, conjunction bool) {
	product, sum := 1, 1 // the flow of the conjunction itself
	for _, d := range p.dimensions {
		product *= d.n
		sum += d.n
	}
	if len(p.dimensions) < 2 || product <= sum {
		return product, false
	}
	return sum, true
}

// matcher is the question which packets a rule matches.
type matcher struct {
	rule    *policy.Rule
	remote  *addresses // nil: the rule's remote has none
	stage   flow.Stage // StageEgress: packets from the VIF, StageIngress: to it
	replies bool       // those that are the mirror image of packets that it matches at the other stage
	kept    bool       // kept packets that it names, only
}

// patterns returns the patterns of packets that a rule matches, none of which matches what another does.
func (m *matcher) patterns() []pattern {
	protocol, ok := m.protocol()
	if !ok {
		return nil
	}
	var list []pattern
	for _, family := range m.families(protocol) {
		p := pattern{family: family}
		if family != 0 {
			p.terms = append(p.terms, etherType(family))
		}
		if protocol.IP != 0 {
			p.terms = append(p.terms, openflow.IPProto(protocol.IP))
		}
		p.terms = append(p.terms, icmpTerms(protocol)...)
		if m.matchRemote(&p) && m.matchPorts(&p, protocol.IP) {
			list = append(list, p)
		}
	}
	return list
}

// protocol returns the protocol of the packets, or false if there are none.
func (m *matcher) protocol() (policy.Protocol, bool) {
	p := m.rule.Protocol
	if m.replies && p.HasType {
		switch { // replies to echo requests; there are none to others
		case p.IP == policy.IPICMP && p.Type == 8:
			p.Type = 0
		case p.IP == policy.IPICMPv6 && p.Type == 128:
			p.Type = 129
		default:
			return p, false
		}
	}
	if m.kept {
		return p, m.names(p)
	}
	return p, p.EtherType != policy.EtherARP && p.EtherType != policy.EtherRARP // which are always kept
}

// families are the types of frames that the packets can be in; 0 is any.
func (m *matcher) families(p policy.Protocol) []uint16 {
	switch {
	case m.kept && p.IP == policy.IPICMP:
		return []uint16{policy.EtherIPv4}
	case m.kept && p.IP == policy.IPICMPv6:
		return []uint16{policy.EtherIPv6}
	case p.EtherType != 0:
		return []uint16{p.EtherType}
	case p.IP != 0 || m.remote != nil:
		return []uint16{policy.EtherIPv4, policy.EtherIPv6}
	}
	return []uint16{0}
}

func icmpTerms(p policy.Protocol) (terms []openflow.Term) {
	six := p.EtherType == policy.EtherIPv6
	switch {
	case p.HasType && six:
		terms = append(terms, openflow.ICMPv6Type(p.Type))
	case p.HasType:
		terms = append(terms, openflow.ICMPType(p.Type))
	}
	switch {
	case p.HasCode && six:
		terms = append(terms, openflow.ICMPv6Code(p.Code))
	case p.HasCode:
		terms = append(terms, openflow.ICMPCode(p.Code))
	}
	return terms
}

// matchRemote adds the remote, and reports whether packets of p can have it.
func (m *matcher) matchRemote(p *pattern) bool {
	out := m.stage == flow.StageEgress
	if mac := m.rule.Remote.MAC; mac != 0 {
		if out {
			return p.with(dimension{1, func(int) openflow.Term { return openflow.EthDst(uint64(mac)) }})
		}
		return p.with(dimension{1, func(int) openflow.Term { return openflow.EthSrc(uint64(mac)) }})
	}
	if m.remote == nil {
		return true
	}
	var list []netip.Prefix
	var term func(netip.Prefix) openflow.Term
	switch p.family {
	case policy.EtherIPv4:
		list, term = m.remote.v4, pick(out, openflow.IPv4Dst, openflow.IPv4Src)
	case policy.EtherIPv6:
		list, term = m.remote.v6, pick(out, openflow.IPv6Dst, openflow.IPv6Src)
	case policy.EtherARP:
		list, term = m.remote.v4, pick(out, openflow.ARPTPA, openflow.ARPSPA)
	}
	return p.with(dimension{len(list), func(i int) openflow.Term { return term(list[i]) }})
}

func pick[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

// matchPorts adds ports, and reports whether packets of p can have them.
func (m *matcher) matchPorts(p *pattern, protocol uint8) bool {
	local, remote := m.rule.LocalPorts, m.rule.RemotePorts
	if m.kept && protocol == policy.IPUDP {
		client, server, _ := dhcp(p.family)
		if !local.Has(client) || !remote.Has(server) {
			return false
		}
		local, remote = policy.Ports{{First: client, Last: client}}, policy.Ports{{First: server, Last: server}}
	}
	src, dst := local, remote
	if m.stage == flow.StageIngress {
		src, dst = remote, local
	}
	return matchPort(p, src, portTerms[protocol].src) && matchPort(p, dst, portTerms[protocol].dst)
}

var portTerms = map[uint8]struct {
	src, dst func(port, mask uint16) openflow.Term
}{
	policy.IPTCP:  {openflow.TCPSrc, openflow.TCPDst},
	policy.IPUDP:  {openflow.UDPSrc, openflow.UDPDst},
	policy.IPSCTP: {openflow.SCTPSrc, openflow.SCTPDst},
}

func matchPort(p *pattern, ports policy.Ports, term func(port, mask uint16) openflow.Term) bool {
	if len(ports) == 0 {
		return true
	}
	if term == nil {
		return false // validation refuses ports of protocols that have none
	}
	masks := portMasks(ports)
	return p.with(dimension{len(masks), func(i int) openflow.Term { return term(masks[i].port, masks[i].mask) }})
}

// portMask is the ports whose bits under mask are those of port.
type portMask struct{ port, mask uint16 }

// portMasks returns the fewest masks that are the same ports.
func portMasks(ports policy.Ports) (list []portMask) {
	for _, r := range ports {
		first, last := int(r.First), int(r.Last)
		for first <= last {
			size := first & -first // the largest block that begins here
			if first == 0 {
				size = 1 << 16
			}
			for first+size-1 > last {
				size /= 2
			}
			list = append(list, portMask{uint16(first), ^uint16(size - 1)})
			first += size
		}
	}
	return list
}
