// Package estate holds what exists in the estate: pools, hosts and their bridges, networks, virtual machines and their
// virtual interfaces (VIFs), groups of addresses and of VMs — and answers who is behind an interface, a MAC address
// or an IP address of a flow.
//
//	Model ──Compile──► Snapshot ──Store──► Holder ──Load──► enricher, publication, …
//	(declared, from a      (immutable,         (the current
//	 file, XAPI, OVSDB)     look-ups)           one)
//
// A [Model] is plain data that a source declares, with references by name. [Compile] checks it, gives every entity
// its identifier (flow.ID) and builds the look-ups. A [Snapshot] never changes: its methods take no lock, allocate
// nothing and may be called from any goroutine. [Liveness] says which exporters send at present.
//
// The package opens no file and no connection: estate/file and its siblings do.
package estate
