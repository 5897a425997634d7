// Package policyd looks after hosts: it keeps the sessions with those that people added, brings what exists there into the estate, and
// has their bridges export flows.
//
//	state (SQLite) ──hosts──► estate/hosts.Fleet ──rows──► estate.Assembler, events
//	   ▲                            │ session a host
//	   └── API, weir hosts          └──────────► export.Exports
//
// Every part is level-triggered and each host independent: what is wanted is in the state, what is there is at the host, and a restart of
// Weir looks at both again.
package policyd
