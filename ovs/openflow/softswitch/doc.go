// Package softswitch is a table model of Open vSwitch: it says what a switch with given flows and groups does with a packet, within the
// process. It is slow, plain, and strict: a flow that it does not model, or two flows between which a switch may choose as it likes,
// are errors. It reads the encoded form of flows, which is what switches are sent, and is checked against ofproto/trace.
//
//	flows, groups ──New──► Switch ──Send(Packet)──► Result: outputs, samples, flows matched, connections committed
//
// Modelled are: lookup by priority with masks and conjunctions (ovs-fields(7), "Conjunctive Match Fields"), resubmit and goto_table with
// the limits of Open vSwitch, registers, connection tracking as a Packet says it is, groups of type all, VLAN tags, samples, bundle, and
// learn without its limit, and meters that nothing exceeds. NORMAL is told and not followed: it depends on what a switch has learned.
package softswitch
