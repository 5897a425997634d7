package account

import (
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// ThrottledError says that there were too many attempts.
type ThrottledError struct{ Wait time.Duration }

func (e *ThrottledError) Error() string {
	return fmt.Sprintf("too many attempts: try again in %s", e.Wait.Round(time.Second))
}

// limit says how many attempts are free, and how long those after it wait: twice as long each time.
type limit struct {
	free int
	most time.Duration
}

// Who guesses the password of one user from one address waits soonest. One address may be many users, so it waits later. And so that many
// addresses cannot guess one user's, he waits, too, but never for long: nobody can lock somebody else out.
var (
	perPair   = limit{5, 15 * time.Minute}
	perSource = limit{20, 15 * time.Minute}
	perUser   = limit{50, 10 * time.Second}
)

const (
	firstWait = 2 * time.Second
	forgotten = time.Hour // after the last attempt
	maxKeys   = 20_000
)

// throttle counts attempts that have failed, or are not decided yet.
type throttle struct {
	mu   sync.Mutex
	keys map[string]*attempts // guarded by mu
}

type attempts struct {
	n    int
	last time.Time
}

// keysOf are under which an attempt is counted.
func keysOf(user, source string) map[string]limit {
	if a, err := netip.ParseAddr(source); err == nil && a.Unmap().Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil { // what one customer has
			source = p.String()
		}
	}
	return map[string]limit{"p " + source + " " + user: perPair, "s " + source: perSource, "u " + user: perUser}
}

// begin counts an attempt, before it is known whether it is right, so that attempts at the same time count, too. It is a *ThrottledError if it
// has to wait; then it is not counted.
func (t *throttle) begin(user, source string, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(now)
	keys := keysOf(user, source)
	var wait time.Duration
	for key, l := range keys {
		if a := t.keys[key]; a != nil && a.n >= l.free {
			delay := l.most
			if shift := a.n - l.free; shift < 20 {
				delay = min(firstWait<<shift, l.most)
			}
			wait = max(wait, a.last.Add(delay).Sub(now))
		}
	}
	if wait > 0 {
		return &ThrottledError{wait}
	}
	if len(t.keys)+len(keys) > maxKeys {
		return &ThrottledError{firstWait} // an attack from very many addresses
	}
	for key := range keys {
		a := t.keys[key]
		if a == nil {
			a = &attempts{}
			t.keys[key] = a
		}
		a.n++
		a.last = now
	}
	return nil
}

// forget drops what is long ago. t.mu is held.
func (t *throttle) forget(now time.Time) {
	if len(t.keys) < maxKeys/2 {
		return
	}
	for key, a := range t.keys {
		if now.Sub(a.last) > forgotten {
			delete(t.keys, key)
		}
	}
}

// right says that an attempt was right: those of that user from there are forgotten, and this one did not count for the others.
func (t *throttle) right(user, source string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, l := range keysOf(user, source) {
		if a := t.keys[key]; a != nil {
			a.n--
			if l == perPair || a.n <= 0 {
				delete(t.keys, key)
			}
		}
	}
}
