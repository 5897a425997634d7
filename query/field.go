package query

import (
	"slices"
	"strings"

	"github.com/weirhq/weir/flow"
)

// Type is what the values of a field are, and so how they are written and compared.
type Type uint8

// The types of fields.
const (
	Entity    Type = iota + 1 // something of the estate, by name, UUID or #id
	Group                     // a list of groups; compared by membership
	Address                   // IP address or prefix
	MAC                       // MAC address
	Port                      // port number or service name
	Protocol                  // IP protocol number or name
	EtherType                 // EtherType number or name
	DSCP                      // DiffServ code point number or name
	Flags                     // set of TCP flags
	Enum                      // one of a few words
	Bool                      // true or false
	Number                    // plain number
	Count                     // number that may end in k, M or G
	Size                      // bytes, with or without a unit
	Span                      // length of time with a unit, in ms
)

var typeNames = map[Type]string{
	Entity: "name", Group: "group", Address: "address", MAC: "MAC", Port: "port", Protocol: "protocol",
	EtherType: "EtherType", DSCP: "DSCP", Flags: "TCP flags", Enum: "word", Bool: "true/false", Number: "number",
	Count: "count", Size: "size", Span: "duration",
}

// String returns the word for the type that the reference uses.
func (t Type) String() string { return typeNames[t] }

// Field is a word of the filter language, and of By in a [Request].
type Field struct {
	Name    string
	Aliases []string
	Type    Type
	Doc     string      // meaning, one sentence
	Kinds   []flow.Kind // what its names name; for Entity and Group

	// columns are the logical columns that hold it. With two, the field means "either of them". If ends is set they are
	// the source's and the destination's, and [Request.Direction] may narrow it to one; ports are not narrowed, since
	// what comes in to a client comes from the service's port.
	columns []string
	ends    bool
	words   []word // for Enum
	noGroup string // why it cannot be in By; empty if it can

	observed bool // it is of the observation: of one packet, observers say different things
}

// word is one word of an enumeration and its number.
type word struct {
	name  string
	value uint64
}

// Groupable reports whether the field can stand in By of a request that aggregates.
func (f *Field) Groupable() bool { return f.noGroup == "" }

// Either reports whether the field means the source's or the destination's, which [Request.Direction] narrows.
func (f *Field) Either() bool { return f.ends }

// columnsFor returns the logical columns that the field means in a request of that direction.
func (f *Field) columnsFor(d Direction) []string {
	switch {
	case f.ends && d == Inbound:
		return f.columns[1:]
	case f.ends && d == Outbound:
		return f.columns[:1]
	default:
		return f.columns
	}
}

// Columns returns the logical columns that hold the field: one, or the two of which it means either.
func (f *Field) Columns() []string { return slices.Clone(f.columns) }

// Words returns the words of an enumeration, and nil for other types.
func (f *Field) Words() []string {
	var names []string
	for _, w := range f.words {
		names = append(names, w.name)
	}
	return names
}

var (
	groupKinds = []flow.Kind{flow.KindAddressGroup, flow.KindVMGroup}

	directions = enumWords(flow.DirectionUnknown, flow.DirectionInternal)
	verdicts   = enumWords(flow.VerdictUnknown, flow.VerdictUnknownPort)
	stages     = enumWords(flow.StageNone, flow.StageSystem)
	sides      = enumWords(flow.ObservedUnknown, flow.ObservedEgress)
	layers     = []word{{flow.BytesUnknown.String(), 0}, {flow.BytesLayer2.String(), 2}, {flow.BytesLayer3.String(), 3}}
)

// enumWords lists the enumeration from its first value to its last.
func enumWords[T interface {
	~int8
	String() string
}](first, last T) []word {
	var words []word
	for v := first; v <= last; v++ {
		words = append(words, word{v.String(), uint64(v)})
	}
	return words
}

const measured = "it is a figure, not a key"

// Fields is the list of all fields, in the order of the reference page. It is not to be modified.
var Fields = []Field{
	{Name: "vm", Type: Entity, Doc: "VM at either end.", Kinds: []flow.Kind{flow.KindVM}, columns: []string{"src_vm", "dst_vm"}, ends: true},
	{Name: "src_vm", Type: Entity, Doc: "VM that sent it.", Kinds: []flow.Kind{flow.KindVM}, columns: []string{"src_vm"}},
	{Name: "dst_vm", Type: Entity, Doc: "VM that received it.", Kinds: []flow.Kind{flow.KindVM}, columns: []string{"dst_vm"}},
	{Name: "vif", Type: Entity, Doc: "VIF at either end.", Kinds: []flow.Kind{flow.KindVIF}, columns: []string{"src_vif", "dst_vif"}, ends: true},
	{Name: "src_vif", Type: Entity, Doc: "VIF that sent it.", Kinds: []flow.Kind{flow.KindVIF}, columns: []string{"src_vif"}},
	{Name: "dst_vif", Type: Entity, Doc: "VIF that received it.", Kinds: []flow.Kind{flow.KindVIF}, columns: []string{"dst_vif"}},
	{Name: "group", Type: Group, Doc: "Address group or VM group at either end.", Kinds: groupKinds, columns: []string{"src_groups", "dst_groups"}, ends: true},
	{Name: "src_group", Aliases: []string{"src_groups"}, Type: Group, Doc: "Address group or VM group of the source.", Kinds: groupKinds, columns: []string{"src_groups"}},
	{Name: "dst_group", Aliases: []string{"dst_groups"}, Type: Group, Doc: "Address group or VM group of the destination.", Kinds: groupKinds, columns: []string{"dst_groups"}},
	{Name: "network", Aliases: []string{"net"}, Type: Entity, Doc: "Network in which the flow was seen.", Kinds: []flow.Kind{flow.KindNetwork}, columns: []string{"network"}},
	{Name: "host", Type: Entity, Doc: "Host that exported the flow.", Kinds: []flow.Kind{flow.KindHost}, columns: []string{"host"}, observed: true},
	{Name: "pool", Type: Entity, Doc: "Pool of the exporting host.", Kinds: []flow.Kind{flow.KindPool}, columns: []string{"pool"}, observed: true},
	{Name: "bridge", Type: Entity, Doc: "Bridge at which the flow was seen.", Kinds: []flow.Kind{flow.KindBridge}, columns: []string{"bridge"}, observed: true},
	{Name: "rule", Aliases: []string{"rule_id"}, Type: Entity, Doc: "Policy rule that decided.", Kinds: []flow.Kind{flow.KindRule}, columns: []string{"rule_id"}, observed: true},

	{Name: "addr", Aliases: []string{"ip", "address"}, Type: Address, Doc: "IP address at either end.", columns: []string{"src_addr", "dst_addr"}, ends: true},
	{Name: "src_addr", Aliases: []string{"src_ip", "src"}, Type: Address, Doc: "Source address.", columns: []string{"src_addr"}},
	{Name: "dst_addr", Aliases: []string{"dst_ip", "dst"}, Type: Address, Doc: "Destination address.", columns: []string{"dst_addr"}},
	{Name: "service", Type: Port, Doc: "Port of the service: the lower of the two ports, 0 if that is above 32767 and has no name.", columns: []string{"service"}},
	{Name: "port", Type: Port, Doc: "Port at either end.", columns: []string{"src_port", "dst_port"}},
	{Name: "src_port", Aliases: []string{"sport"}, Type: Port, Doc: "Source port.", columns: []string{"src_port"}},
	{Name: "dst_port", Aliases: []string{"dport"}, Type: Port, Doc: "Destination port.", columns: []string{"dst_port"}},
	{Name: "protocol", Aliases: []string{"proto"}, Type: Protocol, Doc: "IP protocol.", columns: []string{"protocol"}},
	{Name: "ethertype", Aliases: []string{"ether_type"}, Type: EtherType, Doc: "EtherType.", columns: []string{"ethertype"}},
	{Name: "tcp_flags", Aliases: []string{"flags"}, Type: Flags, Doc: "TCP flags seen, ORed.", columns: []string{"tcp_flags"}, observed: true},
	{Name: "dscp", Type: DSCP, Doc: "DiffServ code point: the upper six bits of tos.", columns: []string{"dscp"}},
	{Name: "tos", Type: Number, Doc: "IPv4 type of service or IPv6 traffic class.", columns: []string{"tos"}},
	{Name: "icmp_type", Type: Number, Doc: "ICMP or ICMPv6 type.", columns: []string{"icmp_type"}},
	{Name: "icmp_code", Type: Number, Doc: "ICMP or ICMPv6 code.", columns: []string{"icmp_code"}},
	{Name: "application", Aliases: []string{"app"}, Type: Number, Doc: "Application as the exporter numbers it.", columns: []string{"application"}, observed: true},
	{Name: "mac", Type: MAC, Doc: "MAC address at either end.", columns: []string{"src_mac", "dst_mac"}, ends: true},
	{Name: "src_mac", Type: MAC, Doc: "Source MAC address.", columns: []string{"src_mac"}},
	{Name: "dst_mac", Type: MAC, Doc: "Destination MAC address.", columns: []string{"dst_mac"}},
	{Name: "vlan", Type: Number, Doc: "VLAN at ingress or egress.", columns: []string{"vlan_in", "vlan_out"}, observed: true},
	{Name: "vlan_in", Type: Number, Doc: "VLAN at the ingress.", columns: []string{"vlan_in"}, observed: true},
	{Name: "vlan_out", Type: Number, Doc: "VLAN at the egress.", columns: []string{"vlan_out"}, observed: true},
	{Name: "vrf", Type: Number, Doc: "VRF at ingress or egress.", columns: []string{"vrf_in", "vrf_out"}, observed: true},
	{Name: "vrf_in", Type: Number, Doc: "VRF at the ingress.", columns: []string{"vrf_in"}, observed: true},
	{Name: "vrf_out", Type: Number, Doc: "VRF at the egress.", columns: []string{"vrf_out"}, observed: true},

	{Name: "direction", Type: Enum, Doc: "How the flow crosses the border of the estate.", words: directions, columns: []string{"direction"}},
	{Name: "verdict", Type: Enum, Doc: "What policy did with the packets.", words: verdicts, columns: []string{"verdict"}, observed: true},
	{Name: "stage", Type: Enum, Doc: "Stage of policy at which the row was sampled.", words: stages, columns: []string{"stage"}, observed: true},
	{Name: "rule_instance", Type: Number, Doc: "Version of the rule that decided.", columns: []string{"rule_instance"}, observed: true},

	{Name: "exporter", Type: Address, Doc: "Exporter that sent the record.", columns: []string{"exporter"}, observed: true},
	{Name: "observation_domain", Aliases: []string{"domain"}, Type: Number, Doc: "Observation domain of the exporter.", columns: []string{"observation_domain"}, observed: true},
	{Name: "observation_point", Type: Number, Doc: "Observation point as exported.", columns: []string{"observation_point"}, observed: true},
	{Name: "in_if", Type: Number, Doc: "Interface index by which the flow came in.", columns: []string{"in_if"}, observed: true},
	{Name: "out_if", Type: Number, Doc: "Interface index by which the flow left.", columns: []string{"out_if"}, observed: true},
	{Name: "interface", Aliases: []string{"if"}, Type: Number, Doc: "Interface index by which the flow came in or left.", columns: []string{"in_if", "out_if"}, observed: true},
	{Name: "observed", Type: Enum, Doc: "Side of the interface at which the exporter saw the flow.", words: sides, columns: []string{"observed"}, observed: true},
	{Name: "version", Type: Number, Doc: "Protocol of export: 5 and 9 NetFlow, 10 IPFIX.", columns: []string{"version"}, observed: true},
	{Name: "sampling_rate", Type: Number, Doc: "One packet in this many was looked at.", columns: []string{"sampling_rate"}, observed: true},
	{Name: "sampling_assumed", Type: Bool, Doc: "The sampling rate is the configured default.", columns: []string{"sampling_assumed"}, observed: true},
	{Name: "forwarding_status", Type: Number, Doc: "Forwarding status (RFC 7270 §4.12).", columns: []string{"forwarding_status"}, observed: true},
	{Name: "end_reason", Type: Number, Doc: "Why the exporter ended the flow (RFC 5102 §5.11.3).", columns: []string{"end_reason"}, observed: true},
	{Name: "bytes_layer", Type: Enum, Doc: "Layer from which bytes count.", words: layers, columns: []string{"bytes_layer"}, observed: true},
	{Name: "counted", Type: Bool, Doc: "The observation is the one that totals count; naming it takes the choice over.", columns: []string{"counted"}, observed: true},

	{Name: "bytes", Type: Size, Doc: "Bytes of one record as reported, before sampling_rate.", columns: []string{"bytes"}, noGroup: measured, observed: true},
	{Name: "packets", Type: Count, Doc: "Packets of one record as reported, before sampling_rate.", columns: []string{"packets"}, noGroup: measured, observed: true},
	{Name: "duration", Type: Span, Doc: "Time from a record's first packet to its last.", columns: []string{"duration_ms"}, noGroup: measured, observed: true},
	{Name: "batch", Type: Number, Doc: "Batch in which the collector sealed the row.", columns: []string{"batch"}, noGroup: "it says nothing about the traffic", observed: true},
}

// FieldByName returns the field of that name or alias; upper and lower case are alike.
func FieldByName(name string) (*Field, bool) {
	name = strings.ToLower(name)
	for i := range Fields {
		if Fields[i].Name == name || slices.Contains(Fields[i].Aliases, name) {
			return &Fields[i], true
		}
	}
	return nil, false
}

// fieldNames returns all names and aliases.
func fieldNames() []string {
	var names []string
	for i := range Fields {
		names = append(append(names, Fields[i].Name), Fields[i].Aliases...)
	}
	return names
}

// columnType returns the ClickHouse type of a logical column.
func columnType(column string) string {
	switch column {
	case "service":
		return "UInt16"
	case "dscp":
		return "UInt8"
	case "flow_start", "flow_end":
		return "DateTime64(3, 'UTC')"
	}
	f, ok := flow.FieldByName(column)
	if !ok {
		panic("BUG: field of an unknown column " + column)
	}
	return f.Type
}

// largest returns the largest value of a numeric column.
func largest(column string) uint64 {
	switch columnType(column) {
	case "UInt8":
		return 1<<8 - 1
	case "UInt16":
		return 1<<16 - 1
	case "UInt32":
		return 1<<32 - 1
	default:
		return 1<<64 - 1
	}
}
