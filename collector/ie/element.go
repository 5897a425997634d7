// Package ie is the registry of information elements: what an exporter means by (enterprise, element id).
//
// It holds IANA's IPFIX Information Elements (https://www.iana.org/assignments/ipfix, RFC 7012), the field types
// of NetFlow 9 that never became IPFIX elements, the scope types of RFC 3954 §6.1, and the elements of enterprises
// whose exporters are in use. It is pure data: nothing here reads a packet.
//
// Enterprise numbers are those of IANA's private enterprise numbers. 0 is IANA itself; [Reverse] (RFC 5103 §6.1)
// marks the reverse direction of a biflow; [NetFlow9] and [Scope9] are no enterprises but the two name spaces that
// only NetFlow 9 has.
package ie

import "strings"

// Enterprises with a meaning of their own.
const (
	IANA    uint32 = 0
	Reverse uint32 = 29305 // RFC 5103 §6.1: element of IANA, counted in the reverse direction
	VMware  uint32 = 6876  // also used by Open vSwitch for tunnels and virtual_obs_id
	Cisco   uint32 = 9
	CERT    uint32 = 6871 // YAF
	Ntop    uint32 = 35632

	// NetFlow9 is the name space of NetFlow 9 field types that IPFIX does not have: those from 32768 on, which
	// vendors took for themselves and which carry no enterprise number on the wire. It is not on the wire.
	NetFlow9 uint32 = 0xFFFFFFFE
	// Scope9 is the name space of the scope types of NetFlow 9 (RFC 3954 §6.1). It is not on the wire.
	Scope9 uint32 = 0xFFFFFFFF
)

// Scope types of NetFlow 9 options templates, RFC 3954 §6.1.
const (
	ScopeSystem    uint16 = 1
	ScopeInterface uint16 = 2
	ScopeLineCard  uint16 = 3
	ScopeCache     uint16 = 4
	ScopeTemplate  uint16 = 5
)

// ID names an element.
type ID struct {
	Enterprise uint32
	Number     uint16
}

// Of returns the id of an element of IANA.
func Of(number uint16) ID { return ID{Number: number} }

// Element is what the registry knows of one information element.
type Element struct {
	ID   ID
	Name string // as the registry spells it
	Type Type
}

// Semantics says whether the values of an element can be added up (RFC 7012 §3.2). Only the two kinds of counter
// are told apart; everything else is Default.
type Semantics uint8

// The semantics that matter to who adds up counters.
const (
	Default      Semantics = iota
	DeltaCounter           // since the previous report of the flow
	TotalCounter           // since the exporter was initialised
)

// Semantics returns the counter semantics, which the registry's names state without exception.
func (e Element) Semantics() Semantics {
	switch {
	case strings.HasSuffix(e.Name, "DeltaCount"), e.Name == "initiatorOctets", e.Name == "responderOctets",
		e.Name == "initiatorPackets", e.Name == "responderPackets":
		return DeltaCounter
	case strings.HasSuffix(e.Name, "TotalCount"):
		return TotalCounter
	default:
		return Default
	}
}

// Lookup returns the element id. It does not allocate for elements of IANA.
func Lookup(id ID) (Element, bool) {
	switch id.Enterprise {
	case IANA:
		if int(id.Number) < len(iana) && iana[id.Number].name != "" {
			d := iana[id.Number]
			return Element{ID: id, Name: d.name, Type: d.typ}, true
		}
		return Element{}, false
	case Reverse:
		e, ok := Lookup(Of(id.Number))
		if !ok {
			return Element{}, false
		}
		// RFC 5103 §6.1: the name of the reverse element is the forward name with "reverse" before it.
		return Element{ID: id, Name: "reverse" + strings.ToUpper(e.Name[:1]) + e.Name[1:], Type: e.Type}, true
	default:
		if d, ok := enterprise[id]; ok {
			return Element{ID: id, Name: d.name, Type: d.typ}, true
		}
		return Element{}, false
	}
}

// FromNetFlow9 returns the id of a field type of NetFlow 9 as it is on the wire. Types below 32768 are those of
// IANA (RFC 7012 §4.1 keeps 1–127 compatible); nProbe's private types are its enterprise elements plus 57472.
func FromNetFlow9(fieldType uint16) ID {
	switch {
	case fieldType >= ntopBase && int(fieldType) < ntopBase+ntopSpan:
		return ID{Enterprise: Ntop, Number: fieldType - ntopBase}
	case fieldType >= 0x8000:
		return ID{Enterprise: NetFlow9, Number: fieldType}
	case int(fieldType) < len(iana):
		return Of(fieldType)
	default: // 492–32767: nobody assigned them; vendors used them all the same
		return ID{Enterprise: NetFlow9, Number: fieldType}
	}
}

const (
	ntopBase = 57472
	ntopSpan = 1024
)

// Type is an abstract data type, RFC 7012 §3.1.
type Type uint8

// The abstract data types. The order is that of IANA's registry of IPFIX Information Element Data Types.
const (
	OctetArray Type = iota
	Unsigned8
	Unsigned16
	Unsigned32
	Unsigned64
	Signed8
	Signed16
	Signed32
	Signed64
	Float32
	Float64
	Boolean
	MACAddress
	String
	DateTimeSeconds
	DateTimeMilliseconds
	DateTimeMicroseconds
	DateTimeNanoseconds
	IPv4Address
	IPv6Address
	BasicList
	SubTemplateList
	SubTemplateMultiList
	Unsigned256
)

var typeNames = [...]string{
	"octetArray", "unsigned8", "unsigned16", "unsigned32", "unsigned64", "signed8", "signed16", "signed32",
	"signed64", "float32", "float64", "boolean", "macAddress", "string", "dateTimeSeconds", "dateTimeMilliseconds",
	"dateTimeMicroseconds", "dateTimeNanoseconds", "ipv4Address", "ipv6Address", "basicList", "subTemplateList",
	"subTemplateMultiList", "unsigned256",
}

// String returns the name as the registry spells it.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "unknown"
}

// Unsigned reports whether values are unsigned integers, which may be sent in fewer octets (RFC 7011 §6.2).
func (t Type) Unsigned() bool { return t >= Unsigned8 && t <= Unsigned64 }

// Signed reports whether values are signed integers, which may be sent in fewer octets (RFC 7011 §6.2).
func (t Type) Signed() bool { return t >= Signed8 && t <= Signed64 }
