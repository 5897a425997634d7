// Package template remembers what exporters said about their data: the templates of NetFlow 9 and IPFIX (RFC 3954
// §5.2, RFC 7011 §3.4.1), and from options data their sampling rates and the names of interfaces, applications and
// VRFs. It also holds data sets that came before their template, and counts what each exporter sent.
//
//	Store ── Key{exporter, protocol, observation domain} ──► Domain ──► templates   sorted by id, replaced whole
//	                                                               ├──► Sampling    replaced whole
//	                                                               ├──► names, held data   under the domain's mutex
//	                                                               └──► Counters    atomics
//
// The source port of a datagram is not part of the key: exporters restart on another port and expect to be known.
//
// Decoders on several goroutines share a store. Looking up a template or a sampling rate takes no lock: both are
// immutable and reached through an atomic pointer; a writer copies, changes and swaps under the domain's mutex. A
// template that is sent again unchanged only has its time renewed.
//
// Everything here was caused by datagrams of possibly hostile senders, so everything is bounded: exporters, domains,
// templates and fields by number, and templates, names and held data together by [Config.MaxMemory].
//
// The package reads no packets (package netflow does) and no clock: times are milliseconds since the epoch, UTC,
// passed in by the caller.
package template
