package flow

// Field describes one stored column of the table flows.
type Field struct {
	Name     string // column name
	Type     string // ClickHouse type, exactly as in the schema
	Unit     string // unit of the value; empty where the type or meaning says it
	Elements string // what it is decoded from, by IANA element name; empty for what Weir adds
	Doc      string // meaning, one sentence

	column func(*Batch) AnyColumn
}

// Fields is the one list of stored columns of the table flows, in the order of the schema. The SQL schema, the
// batch, the reference page and the clients' types are held against it by tests. It is not to be modified.
var Fields = []Field{
	{
		"time_received", "DateTime64(3, 'UTC')", "", "",
		"When the datagram reached the collector.",
		func(b *Batch) AnyColumn { return &b.TimeReceived },
	},
	{
		"start_age_ms", "Int64", "ms", "flowStart*, first switched",
		"Time from the flow's first packet to time_received; flow_start is computed from it.",
		func(b *Batch) AnyColumn { return &b.StartAge },
	},
	{
		"duration_ms", "UInt32", "ms", "flowEnd*, last switched",
		"Time from the flow's first packet to its last; flow_end is computed from it.",
		func(b *Batch) AnyColumn { return &b.Duration },
	},
	{
		"exporter", "IPv6", "", "",
		"Source address of the datagram; IPv4 is IPv4-mapped.",
		func(b *Batch) AnyColumn { return &b.Exporter },
	},
	{
		"observation_domain", "UInt32", "", "observationDomainId, source id, engine type × 256 + engine id",
		"Part of the exporter that numbers its own templates and sequence.",
		func(b *Batch) AnyColumn { return &b.ObservationDomain },
	},
	{
		"version", "UInt8", "", "",
		"Protocol: 5 and 9 NetFlow, 10 IPFIX; 105 is reserved for sFlow 5.",
		func(b *Batch) AnyColumn { return &b.Version },
	},
	{
		"sampling_rate", "UInt32", "packets", "samplingInterval, samplingPacketInterval, samplingPacketSpace, …",
		"One packet in this many was looked at; multiply bytes and packets by it for totals.",
		func(b *Batch) AnyColumn { return &b.SamplingRate },
	},
	{
		"sampling_assumed", "Bool", "", "",
		"The exporter did not say its sampling rate; sampling_rate is the configured default.",
		func(b *Batch) AnyColumn { return &b.SamplingAssumed },
	},
	{
		"src_addr", "IPv6", "", "sourceIPv4Address, sourceIPv6Address",
		"Source address; IPv4 is IPv4-mapped, :: is none.",
		func(b *Batch) AnyColumn { return &b.SrcAddr },
	},
	{
		"dst_addr", "IPv6", "", "destinationIPv4Address, destinationIPv6Address",
		"Destination address; IPv4 is IPv4-mapped, :: is none.",
		func(b *Batch) AnyColumn { return &b.DstAddr },
	},
	{
		"src_port", "UInt16", "", "sourceTransportPort, udpSourcePort, tcpSourcePort",
		"Source port of TCP, UDP, SCTP.",
		func(b *Batch) AnyColumn { return &b.SrcPort },
	},
	{
		"dst_port", "UInt16", "", "destinationTransportPort, udpDestinationPort, tcpDestinationPort",
		"Destination port of TCP, UDP, SCTP.",
		func(b *Batch) AnyColumn { return &b.DstPort },
	},
	{
		"protocol", "UInt8", "", "protocolIdentifier",
		"IP protocol number; 0 where the frame is not IP or the exporter did not say.",
		func(b *Batch) AnyColumn { return &b.Protocol },
	},
	{
		"ethertype", "UInt16", "", "ethernetType",
		"EtherType; 0 where the exporter did not say.",
		func(b *Batch) AnyColumn { return &b.Ethertype },
	},
	{
		"bytes", "UInt64", "bytes", "octetDeltaCount, layer2OctetDeltaCount, initiatorOctets, …",
		"Bytes as reported, before sampling_rate; bytes_layer says what they include.",
		func(b *Batch) AnyColumn { return &b.Bytes },
	},
	{
		"packets", "UInt64", "packets", "packetDeltaCount, initiatorPackets, …",
		"Packets as reported, before sampling_rate.",
		func(b *Batch) AnyColumn { return &b.Packets },
	},
	{
		"bytes_layer", layers.typ(), "", "",
		"Layer from which bytes count: layer2 with the Ethernet header, layer3 from the IP header.",
		func(b *Batch) AnyColumn { return &b.BytesLayer },
	},
	{
		"tcp_flags", "UInt16", "", "tcpControlBits",
		"TCP flags seen, ORed.",
		func(b *Batch) AnyColumn { return &b.TCPFlags },
	},
	{
		"tos", "UInt8", "", "ipClassOfService, ipDiffServCodePoint",
		"IPv4 type of service or IPv6 traffic class.",
		func(b *Batch) AnyColumn { return &b.TOS },
	},
	{
		"icmp_type", "UInt8", "", "icmpTypeIPv4, icmpTypeIPv6, icmpTypeCodeIPv4, icmpTypeCodeIPv6",
		"ICMP or ICMPv6 type.",
		func(b *Batch) AnyColumn { return &b.ICMPType },
	},
	{
		"icmp_code", "UInt8", "", "icmpCodeIPv4, icmpCodeIPv6, icmpTypeCodeIPv4, icmpTypeCodeIPv6",
		"ICMP or ICMPv6 code.",
		func(b *Batch) AnyColumn { return &b.ICMPCode },
	},
	{
		"in_if", "UInt32", "", "ingressInterface",
		"Interface index by which the flow came in; 0 is unknown or local.",
		func(b *Batch) AnyColumn { return &b.InIf },
	},
	{
		"out_if", "UInt32", "", "egressInterface",
		"Interface index by which the flow left; 0 is unknown, local or dropped.",
		func(b *Batch) AnyColumn { return &b.OutIf },
	},
	{
		"src_mac", "UInt64", "", "sourceMacAddress, postSourceMacAddress",
		"Source MAC address in the low 48 bits, first octet highest; 0 is none. MACNumToString prints it.",
		func(b *Batch) AnyColumn { return &b.SrcMAC },
	},
	{
		"dst_mac", "UInt64", "", "destinationMacAddress, postDestinationMacAddress",
		"Destination MAC address in the low 48 bits, first octet highest; 0 is none.",
		func(b *Batch) AnyColumn { return &b.DstMAC },
	},
	{
		"vlan_in", "UInt16", "", "vlanId, dot1qVlanId",
		"VLAN at the ingress; 0 is untagged or unknown.",
		func(b *Batch) AnyColumn { return &b.VLANIn },
	},
	{
		"vlan_out", "UInt16", "", "postVlanId, postDot1qVlanId",
		"VLAN at the egress; 0 is untagged or unknown.",
		func(b *Batch) AnyColumn { return &b.VLANOut },
	},
	{
		"vrf_in", "UInt32", "", "ingressVRFID",
		"VRF at the ingress.",
		func(b *Batch) AnyColumn { return &b.VRFIn },
	},
	{
		"vrf_out", "UInt32", "", "egressVRFID",
		"VRF at the egress.",
		func(b *Batch) AnyColumn { return &b.VRFOut },
	},
	{
		"application", "UInt64", "", "applicationId",
		"Application as the exporter numbers it (RFC 6759 §4: engine in the first octet), read as one big-endian number.",
		func(b *Batch) AnyColumn { return &b.Application },
	},
	{
		"observed", observeds.typ(), "", "flowDirection",
		"Side of the interface at which the exporter saw the flow.",
		func(b *Batch) AnyColumn { return &b.Observed },
	},
	{
		"forwarding_status", "UInt8", "", "forwardingStatus",
		"RFC 7270 §4.12: status in the two high bits (1 forwarded, 2 dropped, 3 consumed), reason below.",
		func(b *Batch) AnyColumn { return &b.ForwardingStatus },
	},
	{
		"end_reason", "UInt8", "", "flowEndReason",
		"RFC 5102 §5.11.3: 1 idle timeout, 2 active timeout, 3 end of flow, 4 forced, 5 lack of resources.",
		func(b *Batch) AnyColumn { return &b.EndReason },
	},
	{
		"observation_point", "UInt32", "", "observationPointId",
		"Observation point as exported, also where it has no meaning for Weir.",
		func(b *Batch) AnyColumn { return &b.ObservationPoint },
	},
	{
		"direction", directions.typ(), "", "",
		"How the flow crosses the border of the estate.",
		func(b *Batch) AnyColumn { return &b.Direction },
	},
	{
		"pool", "UInt64", "", "",
		"Pool of the exporting host.",
		func(b *Batch) AnyColumn { return &b.Pool },
	},
	{
		"host", "UInt64", "", "",
		"Host that exported the flow.",
		func(b *Batch) AnyColumn { return &b.Host },
	},
	{
		"bridge", "UInt64", "", "",
		"Bridge at which the flow was seen.",
		func(b *Batch) AnyColumn { return &b.Bridge },
	},
	{
		"network", "UInt64", "", "",
		"Network in which the flow was seen.",
		func(b *Batch) AnyColumn { return &b.Network },
	},
	{
		"src_vm", "UInt64", "", "",
		"VM that sent it; 0 is none known.",
		func(b *Batch) AnyColumn { return &b.SrcVM },
	},
	{
		"dst_vm", "UInt64", "", "",
		"VM that received it; 0 is none known.",
		func(b *Batch) AnyColumn { return &b.DstVM },
	},
	{
		"src_vif", "UInt64", "", "",
		"VIF that sent it; 0 is none known.",
		func(b *Batch) AnyColumn { return &b.SrcVIF },
	},
	{
		"dst_vif", "UInt64", "", "",
		"VIF that received it; 0 is none known.",
		func(b *Batch) AnyColumn { return &b.DstVIF },
	},
	{
		"src_groups", "Array(UInt64)", "", "",
		"Address groups and VM groups of the source, in ascending order.",
		func(b *Batch) AnyColumn { return &b.SrcGroups },
	},
	{
		"dst_groups", "Array(UInt64)", "", "",
		"Address groups and VM groups of the destination, in ascending order.",
		func(b *Batch) AnyColumn { return &b.DstGroups },
	},
	{
		"rule_id", "UInt64", "", "",
		"Policy rule that decided; 0 is none known.",
		func(b *Batch) AnyColumn { return &b.RuleID },
	},
	{
		"rule_instance", "UInt32", "", "observationPointId",
		"Version of the rule that decided: its rule, action and text at that time.",
		func(b *Batch) AnyColumn { return &b.RuleInstance },
	},
	{
		"stage", stages.typ(), "", "observationPointId",
		"Stage of policy at which the row was sampled.",
		func(b *Batch) AnyColumn { return &b.Stage },
	},
	{
		"verdict", verdicts.typ(), "", "",
		"What policy did with the packets of this row.",
		func(b *Batch) AnyColumn { return &b.Verdict },
	},
	{
		"counted", "Bool", "", "",
		"This observation is the one that totals count; others of the same packets are false.",
		func(b *Batch) AnyColumn { return &b.Counted },
	},
	{
		"batch", "UInt64", "", "",
		"Batch in which the collector sealed the row.",
		func(b *Batch) AnyColumn { return &b.ID },
	},
}

// FieldByName returns the stored column named name.
func FieldByName(name string) (Field, bool) {
	for i := range Fields {
		if Fields[i].Name == name {
			return Fields[i], true
		}
	}
	return Field{}, false
}
