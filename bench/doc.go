// Package bench measures Weir as a whole beside its peers. It holds benchmarks only; docs/performance.md has their
// method and figures, make bench and make bench-full run them.
//
//	BenchmarkUDP     datagrams received, decoded and enriched: CPU time a flow and loss, beside nfcapd and nfacctd
//	BenchmarkStored  datagrams to rows and rollups stored, beside rows encoded beforehand into the same store
//	BenchmarkSize    bytes on disk, by table and column
//	BenchmarkPool    a pool of 10 000 VMs that is asked by XAPI: until it is known, until changes are, memory
//	BenchmarkFull    a month of flows, and questions about it
//
// bench/corpus makes datagrams, bench/turns times ways of doing one thing beside each other, and bench/goflow2 is the
// comparison with a decoder that cannot be linked into the same program.
//
// A benchmark asserts that the work was done, never how fast.
package bench
