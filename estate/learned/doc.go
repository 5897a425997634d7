// Package learned finds out which addresses VIFs have, where nobody tells: from ARP, neighbour discovery and DHCP as bridges pass them on,
// and from the flows of VIFs.
//
//	frame ──Decode──► Packet ─┐
//	                          ├─► Table ──Settle──► estate.LearnedAt ──► estate.Assembler
//	flows of VIFs ────────────┘     (claims)             └─► events
//
// [Decode] and [Table] are pure: no clock, no goroutine. A [Learner] runs them, knows by which port which VIF sends, keeps what was learned over
// a restart, and tells of conflicts. Whatever a VM sends costs no more than maxAddrs claims of its VIF.
package learned
