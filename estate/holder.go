package estate

import (
	"sync/atomic"

	"github.com/weirhq/weir/internal/notify"
)

// Holder holds the current snapshot. All methods may be called from any goroutine.
type Holder struct {
	current atomic.Pointer[Snapshot]

	changes notify.Changes
}

// NewHolder returns a holder of the empty estate.
func NewHolder() *Holder {
	h := &Holder{}
	h.current.Store(Empty())
	return h
}

// Load returns the current snapshot, never nil. A look-up session (a batch) loads once and keeps to it: references
// are good only within one snapshot.
func (h *Holder) Load() *Snapshot { return h.current.Load() }

// Store makes s the current snapshot and tells the subscribers.
func (h *Holder) Store(s *Snapshot) {
	h.current.Store(s)
	h.changes.Tell()
}

// Subscribe returns a channel that gets an element after each Store; several may be merged into one. The subscriber
// calls cancel when it is done; the channel is never closed.
func (h *Holder) Subscribe() (changes <-chan struct{}, cancel func()) {
	return h.changes.Subscribe()
}
