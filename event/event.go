// Package event is the one list of network events: what Weir noticed in the estate, in the order in which it did. It is
// pure; whoever notices something gives it to a [Sink].
package event

import (
	"time"

	"github.com/weirhq/weir/flow"
)

// Event is something that happened in the estate at one time.
type Event struct {
	ID   uint64    // ascends without end, over restarts too; 0 until the log has given it one
	Time time.Time // when it was noticed
	Kind Kind

	// What it is about, as far as that is known; 0 is none.
	Pool    flow.ID
	Host    flow.ID
	Bridge  flow.ID
	Network flow.ID
	VM      flow.ID
	VIF     flow.ID

	Subject    string            // name, for people, of what it is about: "xcp1", "web-01/0"
	Text       string            // what happened, one line
	Attributes map[string]string // facts in the text, for programs
}

// Sink takes events. Emit never blocks on anything slow, keeps order, and may be called from any goroutine.
type Sink interface {
	Emit(e Event)
}
