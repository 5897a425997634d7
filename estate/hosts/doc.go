// Package hosts keeps sessions with the databases of Open vSwitch hosts, and makes an estate of what they hold.
//
//	[]Host ──Set──► Fleet ── one ovsdb.Session a host, dialled or dialling in
//	                  │  └──► event.Event: connected, lost, refused, restarted
//	                  ▼
//	ovsdb.Rows ──Map──► Inventory ──Model──► estate.Model, for an estate.Assembler
//	 of a host            what exists there
//	                         └──Tracker──► event.Event, by comparing with what was before
//
// [Map] and [Inventory.Model] are pure. A [Tracker] holds what was seen last, and its methods take the time. A [Fleet] runs.
package hosts
