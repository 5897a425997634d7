package compile

import (
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/policy"
)

// Table 12 sends to Weir a copy of what tells addresses of VIFs; the packet goes on as without. How many copies a bridge sends is bounded by the
// rate limit in its row of table Controller, which Open vSwitch shares out among the ports. Where nobody listens nothing is sent.

const (
	priorityNotice = 100

	// noticed is how much of a packet Weir gets, in bytes: DHCP's options begin at 282 of a frame without a tag.
	noticed = 1024
)

// noticedPackets returns what tells addresses.
func noticedPackets() [][]openflow.Term {
	list := [][]openflow.Term{{class(classVIF), etherType(policy.EtherARP)}}
	for _, t := range []uint8{135, 136} {
		list = append(list, []openflow.Term{class(classVIF), etherType(policy.EtherIPv6), openflow.IPProto(policy.IPICMPv6), openflow.ICMPv6Type(t)})
	}
	for _, family := range ip {
		client, server, _ := dhcp(family)
		udp := []openflow.Term{etherType(family), openflow.IPProto(policy.IPUDP)}
		list = append(list,
			append([]openflow.Term{class(classVIF), openflow.UDPSrc(client, 0xffff), openflow.UDPDst(server, 0xffff)}, udp...),
			append([]openflow.Term{openflow.UDPSrc(server, 0xffff), openflow.UDPDst(client, 0xffff)}, udp...)) // by whatever port
	}
	return list
}

func fixedNotice(e *emitter) {
	for _, terms := range noticedPackets() {
		e.add(TableNotice, priorityNotice, KindNotice, 0, match(terms...), do(openflow.Output{Port: openflow.PortController, MaxLen: noticed}, next(TableDestination)))
	}
	e.add(TableNotice, 0, KindNotice, 0, "", do(next(TableDestination)))
}
