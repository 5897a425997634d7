// Package libvirt makes hosts that run libvirt a source of the estate: which domains there are, with their metadata, and which
// interfaces they have.
//
//	Host ── unix or tls ──► libvirtd
//	  │  events of domains: lifecycle, devices, metadata, migration ──► that domain is read again
//	  │  now and then: all are
//	  ▼
//	domain XML ──► domain ──► estate.Model, for an estate.Assembler, as source libvirt:NAME
//
// The connection is read-only in what it does: domains are listed and described, nothing is changed. The protocol is libvirt's RPC, spoken by
// github.com/digitalocean/go-libvirt, which has no cgo.
package libvirt
