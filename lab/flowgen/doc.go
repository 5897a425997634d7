// Package flowgen makes realistic flow traffic of a simulated estate: the same seed gives the same traffic. The demo,
// the benchmarks, the tests and the lab use it, so that their figures are about the same thing.
//
//	Estate ─┐
//	        ├─► Traffic ── Conversation ─► Generator ── Observation ─► exporters (lab/export)
//	Profile ┘   who talks to whom, when,    the flow caches of the hosts: which host saw it, active and idle
//	            how much (ground truth)     timeouts, one record a direction, host and timeout
//
//	Rows: rows of a flow.Batch from a sample of the same traffic, for when millions a second are wanted
//
// A conversation between VMs on two hosts is observed at both, as in a real estate.
//
// Everything here is pure and belongs to one goroutine. Addresses are those of documentation and benchmarks
// (RFC 5737, RFC 3849, RFC 2544) and of 10.0.0.0/8; MAC addresses are locally administered.
// docs/reference/generator.md describes the distributions.
package flowgen
