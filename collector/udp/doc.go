// Package udp receives datagrams in batches, and knows what the kernel did with those it never handed over.
//
//	[Listen] / [FromFiles] ──► [Conn] ──► [Reader.Read] ──► []Datagram
//	  bind, shards, buffer     options,     recvmmsg(2)        payload, source,
//	                           counters                        kernel time
//
// A [Conn] is one socket with its counters. An address may be served by several (SO_REUSEPORT shards): the kernel sends
// a datagram to the shard that a hash of its source and destination picks, so one exporter (one source port) always
// reaches the same shard and its templates, data and sequence numbers stay in order. The price is that a handful of
// exporters spreads unevenly.
//
// A [Reader] owns the memory that a Conn's datagrams are read into; it belongs to one goroutine and allocates nothing
// after [NewReader]. The package knows nothing of flows.
//
// It is for Linux (4.12 or later for the drop counter): recvmmsg(2), socket(7), udp(7).
package udp
