package compile

import (
	"slices"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/policy"
)

// Kept packets are those without which a VM is not on the network: ARP and RARP, neighbour discovery, a DHCP client's, path MTU messages.
// Rules that do not name them do not apply: they have tables of their own, which hold the rules that do.

// keptICMPv6 are the types of ICMPv6 messages that are kept: packet too big, router solicitations from a VIF and advertisements to
// it, neighbour solicitations and advertisements.
func keptICMPv6(stage flow.Stage) []uint8 {
	if stage == flow.StageEgress {
		return []uint8{2, 133, 135, 136}
	}
	return []uint8{2, 134, 135, 136}
}

// dhcp returns the ports of DHCP over IPv4 or IPv6.
func dhcp(family uint16) (client, server uint16, ok bool) {
	switch family {
	case policy.EtherIPv4:
		return 68, 67, true
	case policy.EtherIPv6:
		return 546, 547, true
	}
	return 0, 0, false
}

// keptPackets returns what is kept at a stage.
func keptPackets(stage flow.Stage) [][]openflow.Term {
	list := [][]openflow.Term{
		{etherType(policy.EtherARP)},
		{etherType(policy.EtherRARP)},
		{etherType(policy.EtherIPv4), openflow.IPProto(policy.IPICMP), openflow.ICMPType(3), openflow.ICMPCode(4)},
	}
	for _, family := range ip {
		client, server, _ := dhcp(family)
		src, dst := client, server
		if stage == flow.StageIngress {
			src, dst = server, client
		}
		list = append(list, []openflow.Term{etherType(family), openflow.IPProto(policy.IPUDP), openflow.UDPSrc(src, 0xffff), openflow.UDPDst(dst, 0xffff)})
	}
	for _, t := range keptICMPv6(stage) {
		list = append(list, []openflow.Term{etherType(policy.EtherIPv6), openflow.IPProto(policy.IPICMPv6), openflow.ICMPv6Type(t)})
	}
	return list
}

// names reports whether a rule of protocol p is about kept packets.
func (m *matcher) names(p policy.Protocol) bool {
	switch {
	case p.EtherType == policy.EtherARP, p.EtherType == policy.EtherRARP:
		return true
	case p.IP == policy.IPUDP:
		return len(m.rule.LocalPorts)+len(m.rule.RemotePorts) > 0
	case p.IP == policy.IPICMP && p.EtherType != policy.EtherIPv6:
		return !p.HasType || p.Type == 3 && (!p.HasCode || p.Code == 4)
	case p.IP == policy.IPICMPv6 && p.EtherType != policy.EtherIPv4:
		return !p.HasType || slices.Contains(keptICMPv6(m.stage), p.Type)
	}
	return false
}
