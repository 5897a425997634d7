// Package xapi makes pools of XenServer and XCP-ng a source of the estate: what XAPI, their management API, says of hosts, networks,
// VMs and VIFs.
//
//	Pool ── login at any address, then at the coordinator (HOST_IS_SLAVE names it)
//	  │       a session that ends (SESSION_INVALID) is opened again, as is a connection that lasted; only if that fails the pool is lost
//	  ▼
//	event.from ── "" returns all, a token what changed since ──► database, records by class and reference
//	  │            valid_ref_counts differ: all is read again
//	  ▼
//	database.model ──► estate.Model, for an estate.Assembler, as source xapi:NAME
//	  │
//	  ▼
//	keeper ── if Config.Write says so and the pool has another: remove_from_other_config, add_to_other_config
//
// The protocol is JSON-RPC 2.0, POST /jsonrpc. Integers come as numbers or as decimal strings, references are opaque.
// Nothing is written to a pool but what Config.Write names.
//
// What comes from a pool costs memory within bounds: of an answer, of records of a class, of what one record brings into the estate. A record
// that makes no sense ends the connection with an error that says which.
package xapi
