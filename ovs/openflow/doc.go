// Package openflow speaks OpenFlow with the virtual switches of hosts: the part of version 1.3 and of Open vSwitch's extensions that Weir
// needs, and no policy.
//
// # Flows are values
//
// A Flow can be compared with ==, for its Match and Actions are their own canonical wire encodings, held in strings: fields in one order,
// nothing that says nothing. What a switch tells of a flow is brought to the same form, so that what was installed and what is there are
// equal or differ, and finding what differs is a look-up in a map by FlowKey.
//
//	Terms  ─ NewMatch ──►  Match   ─┐                       ┌─► wire: Modification, Conn.Apply
//	Action ─ NewActions ─► Actions ─┴─ Flow (comparable) ───┤
//	                                  ▲                     └─► text: Flow.String, as ovs-ofctl takes it
//	                                  └── Conn.Flows, from the wire
//
// A field or action that this package does not know stays as the switch told it (Match.Foreign, Foreign): such a flow is listed,
// compared and deleted as others are.
//
// # Sources
//
// OpenFlow Switch Specification 1.3.5; ONF extension EXT-230 (bundles for 1.3); ovs-fields(7), ovs-actions(7), and Open vSwitch's
// nicira-ext.h for the extensions of vendor 0x2320. Section numbers in comments are of the first.
package openflow
