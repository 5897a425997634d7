// Package feed brings the estate from where it is known to the collectors that work alone, and what these hear back.
//
//	policyd                                                  collector
//	estate.Assembler ─► Publisher ── HTTP, zstd, one stream ──► Follower ─► Compile ─► estate.Holder ─► enricher
//	estate.Liveness  ◄──── who is heard ◄──── POST ◄────────────┘   └─► file, for a start without policyd
//
// # The stream
//
// GET PathEstate answers with messages without end. A message is a line of JSON, the header, and as many further lines as it says:
// records, each an entity of the estate with all that belongs to it (a VM with its VIFs), or a block of rule instances. A [Publisher] numbers the states of
// the estate (revision) and names them by a hash of their records. The asker says which state it has; if the publisher still knows
// that one, the first message says how to get from there to the present one: runs of records that stay, that go, that come. Else
// it says all of them. What follows when the estate changes is of the same form. So the size of a message is that of the change, a
// stream that broke is taken up where it was, and a state that does not hash to what was said is asked for anew as a whole.
//
// The form can grow: members and kinds of records that a reader does not know are kept, and passed over. What is read is bounded in size
// and in time before it is believed.
//
// A header also says which exporters are live, as all collectors together hear them: of a flow that two hosts saw, only one
// observation counts, and the other host may export elsewhere. A [Follower] therefore tells the publisher whom it hears, and which
// state it uses. For that [Publisher.Wait] waits: flows are to be decided by a rule only when whoever gets them knows the rule.
package feed
