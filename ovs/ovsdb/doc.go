// Package ovsdb is the binding to the configuration database of Open vSwitch hosts (RFC 7047, ovs-vswitchd.conf.db(5)).
// It has no policy: it keeps sessions, holds a copy of the tables that Weir reads, and carries transactions.
//
//	Session ── dials Target, or is given a Peer that dialled in (Accept, Offer)
//	   │  TLS: verified before anything but the handshake is sent
//	   ▼
//	 framer ── bytes ──► one JSON object at a time: length, depth and time bounded
//	   ▼
//	 conn ──── questions and answers, echoes, updates, in their order
//	   ▼
//	 monitor ─ reads the columns of tables ──► Rows, immutable, shared as far as nothing changed
//
// What comes from a host is hostile: it costs time and memory within Limits, and anything that is not understood ends the
// connection, with a reason in Status. A column that a host's schema lacks is empty in Rows and in Status.Missing.
package ovsdb
