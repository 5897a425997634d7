// Package state keeps what the collector has learnt from exporters in a file, so that a restart, a kill or a loss of
// power does not make it wait for templates and sampling rates, which exporters send every few minutes only.
//
//	template.Store ──► changed domains ──► Save: frames appended, synced ──► file ──► Open: last frame of each key ──► template.Store
//	                                        └─► file too long: written anew, renamed over it
//
// It is a log: Save appends what changed, so that the work is that of the changes, whatever the file holds. What a frame
// replaces is left behind, and when that is more than half, the file is written anew beside itself, synced and renamed.
// Nothing here is on the way of a datagram: domains tell by a version number whether they changed.
//
// # The file
//
// All integers are little-endian; CRCs are CRC-32C.
//
//	header  magic "weirstat" │ version u32 = 1 │ CRC u32 of the 12 octets before
//	frame   kind u8 │ 0 u24 │ length of contents u32 │ CRC u32 of contents and of the 8 octets before │ contents
//
//	kind 1    a domain:    what template.Domain.AppendMemory makes, which begins with the key
//	kind 2    forgotten:   kind u8 │ key; the frame of that kind and key does not count any more
//	kind 16…  other parts: key │ what a Part makes
//
// The last frame of a kind and key counts; frames of kinds that are not known are passed over. A file that ends within a frame
// was being written when something ended: the rest is cut off. A file that is damaged, or is something else, is renamed to
// *.bad, what came before the damage is kept, and a new one is begun.
//
// Templates that were not sent for template.Config.Timeout are left out, and what is read is as little trusted as a
// datagram. A restored template is marked until the exporter sends it; see template.Template.Restored.
package state
