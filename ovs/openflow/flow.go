package openflow

import "slices"

// Port is the number of a port of a bridge.
type Port uint32

// Ports that are none (§7.2.1).
const (
	PortMax        Port = 0xffffff00 // ports are below
	PortIn         Port = 0xfffffff8 // where the packet came from
	PortNormal     Port = 0xfffffffa // as a learning switch does
	PortFlood      Port = 0xfffffffb
	PortAll        Port = 0xfffffffc
	PortController Port = 0xfffffffd
	PortLocal      Port = 0xfffffffe // the bridge's own interface
	PortAny        Port = 0xffffffff
)

// Cookie is what the owner of a flow says of it. This package gives it no meaning.
type Cookie uint64

// FlowFlags are wishes about a flow that stay with it.
type FlowFlags uint16

// Flags of flows (§7.3.4.1).
const (
	SendRemoved FlowFlags = 1 << 0 // tell when it is gone
)

// keptFlags are those of a flow that the switch keeps; others are wishes about the modification.
const keptFlags = SendRemoved | 1<<3 | 1<<4 // no packet counts, no byte counts

// Flow is one flow of a bridge. Flows are equal by == if they are the same in every respect.
type Flow struct {
	Table    uint8
	Priority uint16
	Flags    FlowFlags
	Idle     uint16 // seconds without a packet after which it goes; 0: never
	Hard     uint16 // seconds after which it goes; 0: never
	Cookie   Cookie
	Match    Match
	Actions  Actions
}

// FlowKey is what a flow is told from others by: a bridge has at most one flow with a key.
type FlowKey struct {
	Table    uint8
	Priority uint16
	Match    Match
}

// Key returns the flow's key.
func (f Flow) Key() FlowKey { return FlowKey{f.Table, f.Priority, f.Match} }

// Group is a group of buckets, each of which is a list of actions. Groups are equal by == if they are the same in every respect.
type Group struct {
	ID      uint32
	Type    GroupType
	Buckets Buckets
}

// MaxGroup is the highest id that a group may have.
const MaxGroup = 0xffffff00

// GroupType is which buckets of a group a packet goes through.
type GroupType uint8

// Types of groups (§7.3.4.2).
const (
	GroupAll      GroupType = 0 // each, with a copy of the packet
	GroupSelect   GroupType = 1 // one, by hash
	GroupIndirect GroupType = 2 // the only one
	GroupFailover GroupType = 3 // the first that is alive
)

// Buckets are the buckets of a group in their canonical encoding.
type Buckets string

// Bucket is one of a group's lists of actions.
type Bucket struct {
	Weight  uint16 // of GroupSelect
	Port    Port   // of GroupFailover: it is alive if this is; else PortAny
	Actions []Action
}

// NewGroup returns a group of type all with a bucket for each list of actions.
func NewGroup(id uint32, buckets ...[]Action) Group {
	list := make([]Bucket, len(buckets))
	for i, actions := range buckets {
		list[i] = Bucket{Port: PortAny, Actions: actions}
	}
	return Group{id, GroupAll, NewBuckets(list...)}
}

// NewBuckets encodes buckets.
func NewBuckets(buckets ...Bucket) Buckets {
	var b []byte
	for _, k := range buckets {
		at := len(b)
		b = append16(b, 0, k.Weight)
		b = append32(b, uint32(k.Port), noGroup)
		b = append(b, 0, 0, 0, 0)
		b = appendActions(b, k.Actions)
		put16(b[at:], len(b)-at)
	}
	return Buckets(b)
}

const noGroup = 0xffffffff // OFPG_ANY

// List decodes the buckets.
func (b Buckets) List() []Bucket {
	list, err := decodeBuckets([]byte(b), nil)
	if err != nil {
		return nil // Buckets that are not of this package's making
	}
	return slices.Clip(list)
}
