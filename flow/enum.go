package flow

import (
	"strconv"
	"strings"
)

// Verdict says what policy did with the packets of a row.
type Verdict int8

// Verdicts. The numbers are stored; they never change.
const (
	VerdictUnknown      Verdict = 0 // no policy of Weir's is known to have decided
	VerdictAllowed      Verdict = 1
	VerdictDenied       Verdict = 2
	VerdictShadowDenied Verdict = 3 // a shadow rule would have denied it; the packets went on
	VerdictSpoofed      Verdict = 4 // source MAC or address that the VIF may not use
	VerdictInvalid      Verdict = 5 // connection tracking found the packets invalid
	VerdictUnknownPort  Verdict = 6 // came in by a port that no policy knows
)

// Dropped reports whether the packets ended where the verdict was given.
func (v Verdict) Dropped() bool {
	return v == VerdictDenied || v == VerdictSpoofed || v == VerdictInvalid || v == VerdictUnknownPort
}

// Stage is where in the pipeline of a bridge a row was observed.
type Stage int8

// Stages. The numbers are stored; they never change.
const (
	StageNone    Stage = 0 // not sampled by a rule
	StageEgress  Stage = 1 // from the VM: the source VIF's rules
	StageIngress Stage = 2 // to the VM: the destination VIF's rules
	StageReply   Stage = 3 // reply of an allowed connection
	StageSystem  Stage = 4 // built-in rules before all others
)

// Direction is how a flow crosses the border of the estate.
type Direction int8

// Directions. The numbers are stored; they never change.
const (
	DirectionUnknown  Direction = 0 // neither end is known
	DirectionInbound  Direction = 1 // from outside to a VM
	DirectionOutbound Direction = 2 // from a VM to outside
	DirectionInternal Direction = 3 // between two VMs
)

// Observed is the side of the interface at which the exporter saw the flow (flowDirection, IANA element 61).
type Observed int8

// Sides of an interface. The numbers are stored; they never change.
const (
	ObservedUnknown Observed = 0
	ObservedIngress Observed = 1
	ObservedEgress  Observed = 2
)

// BytesLayer says which layer the byte count of a row includes.
type BytesLayer int8

// Layers of byte counts. The numbers are stored; they never change.
const (
	BytesUnknown BytesLayer = 0
	BytesLayer2  BytesLayer = 2 // Ethernet header included, frame check sequence not
	BytesLayer3  BytesLayer = 3 // IP header and payload
)

type enum []struct {
	value int8
	name  string
}

var (
	verdicts = enum{
		{0, "unknown"},
		{1, "allowed"},
		{2, "denied"},
		{3, "shadow_denied"},
		{4, "spoofed"},
		{5, "invalid"},
		{6, "unknown_port"},
	}
	stages     = enum{{0, "none"}, {1, "egress"}, {2, "ingress"}, {3, "reply"}, {4, "system"}}
	directions = enum{{0, "unknown"}, {1, "inbound"}, {2, "outbound"}, {3, "internal"}}
	observeds  = enum{{0, "unknown"}, {1, "ingress"}, {2, "egress"}}
	layers     = enum{{0, "unknown"}, {2, "layer2"}, {3, "layer3"}}
)

// typ returns the ClickHouse type, as "Enum8('unknown' = 0, 'ingress' = 1)".
func (e enum) typ() string {
	var s strings.Builder
	s.WriteString("Enum8(")
	for i, v := range e {
		if i > 0 {
			s.WriteString(", ")
		}
		s.WriteString("'" + v.name + "' = " + strconv.Itoa(int(v.value)))
	}
	s.WriteString(")")
	return s.String()
}

func (e enum) name(v int8) string {
	for _, x := range e {
		if x.value == v {
			return x.name
		}
	}
	return strconv.Itoa(int(v))
}

func (v Verdict) String() string    { return verdicts.name(int8(v)) }
func (s Stage) String() string      { return stages.name(int8(s)) }
func (d Direction) String() string  { return directions.name(int8(d)) }
func (o Observed) String() string   { return observeds.name(int8(o)) }
func (l BytesLayer) String() string { return layers.name(int8(l)) }
