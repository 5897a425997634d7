// Package syslog sends network events to a syslog receiver in the form of RFC 5424: over UDP (RFC 5426), TCP with octet counting
// (RFC 6587 §3.4.1) or TLS (RFC 5425).
//
//	<131>1 2026-11-26T12:00:00.000Z weir1 weir 812 host_lost [event@32473 id="57" severity="error" subject="xcp1" host="…"][facts@32473 …] host xcp1 is lost: …
//
// [Format] is pure. A [Sender] follows the log of events and notes how far it came, so that a receiver that was away, or a restart,
// costs nothing but time. Syslog has no acknowledgement: what was on its way when a connection broke may be lost.
package syslog
