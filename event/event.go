// Package event is the one list of network events: what Weir noticed in the estate, in the order in which it did.
//
// Whoever notices something gives it to a [Sink]. The [Log] is the one that gives ids, keeps events on disk until the store has
// them, and tells them to everybody who follows it.
package event

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

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

// Bounds of what an event says, in bytes: parts of it come from hosts. The log cuts what is longer.
const (
	maxSubject    = 256
	maxText       = 1000
	maxAttributes = 32
	maxKey        = 64
	maxValue      = 512
)

// bound cuts e to its bounds, and copies what others could change.
func (e *Event) bound() {
	e.Subject, e.Text = cut(e.Subject, maxSubject), cut(e.Text, maxText)
	attributes := make(map[string]string, min(len(e.Attributes), maxAttributes))
	for _, k := range slices.Sorted(maps.Keys(e.Attributes)) {
		if len(attributes) == maxAttributes {
			break
		}
		attributes[cut(k, maxKey)] = cut(e.Attributes[k], maxValue)
	}
	e.Attributes = attributes
}

// cut makes s valid UTF-8 of at most n bytes.
func cut(s string, n int) string {
	const dots = "…"
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	s = s[:n-len(dots)]
	for len(s) > 0 {
		if r, size := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || size != 1 {
			break
		}
		s = s[:len(s)-1]
	}
	return s + dots
}
