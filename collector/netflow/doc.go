// Package netflow decodes NetFlow 5 (Cisco), NetFlow 9 (RFC 3954) and IPFIX (RFC 7011) into the columns of a
// [flow.Batch].
//
// A template is compiled once, when it comes, into a plan: one operation for each field that a column wants. A set
// of records of fixed length is then decoded by fields, not by records: each operation runs over all records of the
// set, from a strided source to a dense column, so that the cost of choosing what to do is paid once for a set.
//
//	set    | 8: src  | 12: dst | 4 | 7  | 11 | 1: octets | …      plan   SrcAddr  at  0, 4 octets
//	record |---------|---------|---|----|----|-----------|               DstAddr  at  4, 4 octets
//	record |---------|---------|---|----|----|-----------|               Protocol at  8, 1 octet
//	record |---------|---------|---|----|----|-----------|               …
//	            │ stride = record length
//	            ▼
//	       flow.Batch.SrcAddr[first:first+n]
//
// Records of variable length are walked once to count and check them, then each is decoded by the same operations,
// one record at a time.
//
// Everything from the wire is hostile: lengths are checked against what is left before they are used, no count sizes
// memory, and every loop consumes at least one octet. A set that is wrong costs its own rows only.
//
// [Describer] is the slow and complete twin: it names every element of a datagram, for people and for tests, and
// shares no decoding code with the [Decoder].
package netflow
