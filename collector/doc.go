// Package collector turns the datagrams of exporters into sealed batches of flows.
//
//	[Listen] ─► udp.Conn ─► worker: read ─► allowed? ─► decode ─► flow.Batch ─┬─ full, or a second old
//	            one each,    one goroutine a socket, no channel, lock or      ▼
//	            or several   allocation a datagram                        Deps.Enrich ─► Deps.Seal
//
// Any protocol may come to any socket; the datagram's version tells. Exporters' templates and counters are in a
// template.Store, which all workers share.
//
// # The ledger
//
// [Collector.Stats] is consistent: at every moment, for each worker and so for their sum,
//
//	Datagrams = Decoded + Σ Dropped by reason
//	Flows     = Sealed rows + Pending rows
//
// and [Stats.KernelDrops] are the datagrams that the kernel discarded before a worker could read them. What happens to
// single records and sets is counted by exporter and observation domain: [Collector.Exporters].
//
// # Back-pressure
//
// A worker waits while Deps.Seal blocks. The datagrams that come meanwhile wait in the socket's receive buffer, and the
// kernel drops and counts those for which there is no room. So whoever is behind Seal must bound the time that it
// blocks, and count what it drops to keep the bound.
package collector
