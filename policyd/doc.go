// Package policyd looks after hosts: it keeps the sessions with those that people added, brings what exists there into the estate, has
// their bridges export flows, and hold what policy asks.
//
//	state (SQLite) ──hosts──► estate/hosts.Fleet ──rows──► estate.Assembler, events
//	   ▲      │                     │ session a host               │
//	   │      │                     └──────────► export.Exports    │ estate
//	   │      └──policy, modes, bypasses──► governor ◄─────────────┘
//	   └── API, weir hosts, weir policy        │ compile
//	                                           └──► reconcile.Reconciler, and Exports: which bridges dial, what is sampled
//
// Every part is level-triggered and each host independent: what is wanted is in the state, what is there is at the host, and a restart of
// Weir looks at both again.
package policyd
