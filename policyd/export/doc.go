// Package export sets up, on hosts, that their bridges export flows to Weir. It is the first tenant of policyd's way with
// hosts, and touches no traffic:
//
//	observe → plan (pure) → one transaction → observe again
//
// Level-triggered: that something changed only says "look again"; a start, a reconnection and a row that somebody removed
// run the same loop. What is Weir's on a host, and what was there before, is in the host's own database (package own), so
// that it can be told, and undone, after a kill or by another process.
package export
