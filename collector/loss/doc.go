// Package loss tells, from the headers of an exporter's messages, which of its messages are missing and how far its
// clock is off.
//
//	Ledger ── exporter, protocol ──► Tracker of all its domains together   for exporters that number them so
//	                  └── domain ──► Tracker of its own, Counts, Clock
//
// Every protocol numbers what it sends, each in its own way, and exporters deviate:
//
//	Before    number of records sent before the message    NetFlow 5 (flows), IPFIX (data records, RFC 7011 §3.1)
//	After     number of records sent, this message's too   Open vSwitch in NetFlow 5
//	Messages  number of the message                        NetFlow 9 (RFC 3954 §5.1)
//
// The number is the observation domain's own, says the protocol; Open vSwitch and others number all their domains
// together. A [Tracker] begins with the protocol's own rule and takes up another that fits where the first does not, so
// that a habit of an exporter is not taken for loss. Several processes may send from one address, each with numbers of
// its own: a message belongs to the one that it continues, else to the one whose port it has.
//
// A number that continues nothing is a gap (provisional, until [Patience] has passed: datagrams overtake each other), a
// duplicate, or a restart of the exporter.
//
//	… 40 41 42 │ 46 47 …      3 missing
//	… 40 41 42 │ 46 44 47 …   2 missing, 1 out of order
//	… 40 41 42 │ 0 1 2 …      a restart: nothing is said of what was sent in between
//
// Numbers tell what was lost on the way, whoever lost it: the exporter's socket, the network, or the collector's own.
//
// The package reads no packets and no clock.
package loss
