// Package notify tells whoever wants to know that something changed, not what: who is told looks again.
package notify

import "sync"

// Changes is a set of subscribers. The zero Changes has none and is ready. All methods may be called from any goroutine, also with
// locks of the caller's held; it is not to be copied.
type Changes struct {
	mu   sync.Mutex // guards subs
	subs map[chan struct{}]struct{}
}

// Subscribe returns a channel that gets an element after each Tell; several may be merged into one. The subscriber calls
// cancel when it is done; the channel is never closed.
func (c *Changes) Subscribe() (changes <-chan struct{}, cancel func()) {
	sub := make(chan struct{}, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subs == nil {
		c.subs = map[chan struct{}]struct{}{}
	}
	c.subs[sub] = struct{}{}
	return sub, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.subs, sub)
	}
}

// Tell tells the subscribers. It does not block.
func (c *Changes) Tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for sub := range c.subs {
		select {
		case sub <- struct{}{}:
		default: // one is waiting to be read already
		}
	}
}
