// Package cli shows things to people at a terminal and to programs behind a pipe: tables, JSON, a view that redraws
// itself, and the flows that a request of package query asks for.
//
//	query.Request ─► Flows ─► DB (names checked, then asked) ─► rows ─► Table or JSON ─► Output
//
// Text that comes from outside (names of VMs, errors of servers) is made harmless for terminals before it is shown.
// JSON is an array of objects with raw numbers and stable keys; ids are strings, since they have 64 bits and readers
// of JSON have 53. The package does not parse flags and does not know the commands: cmd/weir wires it.
package cli
