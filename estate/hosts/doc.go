// Package hosts makes an estate of what the databases of Open vSwitch hosts hold.
//
//	ovsdb.Rows ──Map──► Inventory ──Model──► estate.Model, for an estate.Assembler
//	 of a host            what exists there
//	                         └──Tracker──► event.Event, by comparing with what was before
//
// [Map] and [Inventory.Model] are pure. A [Tracker] holds what was seen last, and its methods take the time.
package hosts
