// Package enricher fills the columns of a flow batch that say who: pool, host, bridge and network of the observation,
// VIF, VM and groups of both ends, direction, and whether totals count the row. It only looks up, in the snapshot
// that the estate holds when the batch comes; it drops nothing, and a look-up that finds nothing leaves 0.
//
// # Who is an end
//
// The source of a row is the VIF that put its packets on the network, the destination the VIF that the network gave
// them to. Each is found by, in this order,
//
//  1. the exporter's interface: in_if is the source's, out_if the destination's;
//  2. the MAC address, in the network of the row;
//  3. the IP address: in the network of the row or, if only one VIF of the estate has it, anywhere.
//
// An interface or MAC address that is known wins over the IP address, because it says where the packets were and
// policy applies there. So a VM that routes for others is the source of what it forwards, whatever src_addr says:
//
//	web ──────► router VM ──────► db       row seen at web's host:    src web,    dst router (by its MAC)
//	  10.1.0.5             10.2.0.7        row seen at router's host: src router, dst db
//
// Each hop then is in the totals of its network once, and src_addr and dst_addr still name the ends of the
// conversation. An interface that is no VIF's (an uplink) decides nothing: behind a router outside of the estate the
// ends are found by IP address, also across networks.
//
// # Where a row was seen
//
// A virtual_obs_id, by which Open vSwitch names a bridge in its records, tells bridge and host; else pool and host are
// the exporter's, and the bridge is the one of the observation domain, else the host's only one, else the one into which
// the VIF found at an interface is plugged. The network is that of the VIF found at an interface
// (the source's first), else the one of the VLAN tag at that bridge, else that of a VIF found by MAC, then by IP
// address, else the one in whose subnet an address lies, the source's first.
//
// # What Open vSwitch means
//
// At a bridge whose sampling Weir set up, the observation point is stage and rule instance (flow.SplitPoint); rule and verdict are
// those that the estate knows of the instance, or the built-in rule's. Of an instance that it does not know the verdict is
// unknown. At other bridges the point is kept as it is and nothing is made of it. NetFlow 5
// of a host that the estate knows to run Open vSwitch counts bytes with the Ethernet header, and looks at all packets: a
// sampling rate that was assumed is 1.
//
// # Which row is counted
//
// Several exporters see the same packets. Totals count one of them: the source VIF's host as long as it exports, else
// the destination VIF's host as long as it does, else whoever saw it. A VIF's host is the one at whose interface the
// row found it, else the one where its VM runs. A host exports if one of its exporters is live, or sent the row in
// question.
//
// A bridge whose sampling Weir set up has one source of totals. Where its other export is (estate.Bridge.TotalsElsewhere), rows with
// a stage are not counted; else those without are not. Of the rows with a stage
//
//   - what a shadow rule tells is not counted: the packets went on to the next rule;
//   - the egress stage is counted: the packets came from a VIF of the bridge, and nobody saw them before. So are those that a built-in
//     rule drops at the door (spoofed, guard, tagged, unknown port);
//   - the ingress stage is counted if the source's host does not export, or is none: else the packets are in a row of it;
//   - replies and the other built-in rules go by the hosts, as above; a VIF of another bridge of the host has been seen there.
//
// docs/explanation/attribution.md says the same by cases.
package enricher
