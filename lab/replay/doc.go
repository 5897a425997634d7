// Package replay sends captured flow datagrams to a collector again: the UDP payloads of pcap and pcapng files, also
// gzipped, and of files that hold one raw datagram each.
//
//	capture file ─► frame ─► parse (pure) ─► payload ─► pace ─► UDP
//	raw file ──────────────────────────────► payload
//
// Fragments are not put together; they are counted, like everything else that is not sent.
package replay
