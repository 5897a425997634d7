// Package mirror decides what makes a bridge send copies of the traffic of VIFs elsewhere: rows of table Mirror, ports by which copies leave
// in tunnels, VLANs in which no addresses are learned. It is pure; package export has the loop and the transaction.
//
//   - All copies to one destination are one row, whatever their direction: Open vSwitch knows 32 mirrors a bridge, those of others included, and
//     sends of a packet one copy by each.
//   - A tunnel is made in a transaction before the one that makes the row: whether Open vSwitch could make it is known then. Its port is in no VLAN
//     (trunks: 4095), so that a bridge that forwards like a learning switch neither floods to it nor takes anything from it, and no packet
//     from outside has its key (in_key).
//   - In a VLAN for copies the bridge learns no addresses (flood_vlans), and ports of VMs that are in all VLANs, since nobody said in which, are
//     in that of untagged frames only (trunks: 0), as long as there is a mirror to a VLAN: Open vSwitch sends copies to every port that is in
//     the VLAN. VMs on enforced bridges get and send untagged frames only, so that they lose nothing.
//   - Rows of others, and ports to which they mirror, are left alone.
package mirror
