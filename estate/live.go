package estate

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxExporters    = 65536 // tracked; the collector refuses long before
	snapshotKeepsMs = 1000  // how old the answer of Liveness.Snapshot may be
)

// Liveness tracks which exporters send. An exporter is live for a window after its last datagram: three times the
// active timeout of its flows, so that a lost datagram or two does not matter. All methods may be called from any
// goroutine; the collector tells, the enricher asks.
type Liveness struct {
	windowMs int64
	latest   atomic.Pointer[Live]
	known    atomic.Pointer[map[netip.Addr]*atomic.Int64] // ms of the last datagram; the map itself is never changed
	others   atomic.Pointer[[]netip.Addr]                 // told by Others

	mu     sync.Mutex
	fresh  map[netip.Addr]*atomic.Int64 // guarded by mu: exporters that known does not have yet
	misses int                          // guarded by mu: calls of Seen that known could not serve
}

// NewLiveness returns a tracker that has seen nothing yet.
func NewLiveness(window time.Duration) *Liveness {
	l := &Liveness{windowMs: window.Milliseconds(), fresh: map[netip.Addr]*atomic.Int64{}}
	l.known.Store(&map[netip.Addr]*atomic.Int64{})
	l.others.Store(new([]netip.Addr))
	return l
}

// Others says which exporters, unmapped, are live as other collectors hear them, in place of those that it said before. They
// are live until it says otherwise. The list is not changed afterwards.
func (l *Liveness) Others(exporters []netip.Addr) {
	l.others.Store(&exporters)
	l.latest.Store(nil)
}

// Heard returns the exporters that were seen within the window before a time in ms since epoch, and when each was last. Those that
// others hear are not among them.
func (l *Liveness) Heard(nowMs int64) map[netip.Addr]int64 {
	heard := map[netip.Addr]int64{}
	add := func(times map[netip.Addr]*atomic.Int64) {
		for a, t := range times {
			if last := t.Load(); nowMs-last <= l.windowMs {
				heard[a] = last
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	add(*l.known.Load())
	add(l.fresh)
	return heard
}

// Seen says that exporter, unmapped, sent a datagram at a time in ms since epoch. It takes no lock and does not
// allocate, but for an exporter's first datagrams.
func (l *Liveness) Seen(exporter netip.Addr, ms int64) {
	last, ok := (*l.known.Load())[exporter]
	if !ok {
		last = l.enter(exporter, ms)
	}
	if last != nil && last.Load() < ms {
		last.Store(ms)
	}
}

// enter returns the time of an exporter that is not known yet, or nil if there are too many. What known costs to be
// copied is spread over as many calls as an eighth of its length.
func (l *Liveness) enter(exporter netip.Addr, ms int64) *atomic.Int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := *l.known.Load()
	if last, ok := known[exporter]; ok {
		return last
	}
	last, ok := l.fresh[exporter]
	if !ok {
		if len(known)+len(l.fresh) >= maxExporters {
			return nil
		}
		last = new(atomic.Int64)
		l.fresh[exporter] = last
		last.Store(ms)
	}
	if l.misses++; l.misses > len(known)/8 {
		next := make(map[netip.Addr]*atomic.Int64, len(known)+len(l.fresh))
		for a, t := range known {
			if ms-t.Load() <= l.windowMs {
				next[a] = t
			}
		}
		maps.Copy(next, l.fresh)
		l.known.Store(&next)
		clear(l.fresh)
		l.misses = 0
	}
	return last
}

// Snapshot returns which exporters are live at a time in ms since epoch. The answer may be up to a second old and be
// the same for several callers.
func (l *Liveness) Snapshot(nowMs int64) *Live {
	latest := l.latest.Load()
	if latest != nil && nowMs >= latest.atMs && nowMs-latest.atMs < snapshotKeepsMs {
		return latest
	}
	next := NewLive(*l.others.Load()...)
	next.atMs = nowMs
	for a := range l.Heard(nowMs) {
		next.exporters[a] = struct{}{}
	}
	l.latest.CompareAndSwap(latest, next)
	return next
}

// Live is the set of exporters that are live at one time. It is immutable; in a nil one none is.
type Live struct {
	atMs      int64
	exporters map[netip.Addr]struct{}
}

// NewLive returns a set of exporters, unmapped.
func NewLive(exporters ...netip.Addr) *Live {
	l := &Live{exporters: make(map[netip.Addr]struct{}, len(exporters))}
	for _, a := range exporters {
		l.exporters[a] = struct{}{}
	}
	return l
}

// Exporter reports whether exporter, unmapped, is live.
func (l *Live) Exporter(exporter netip.Addr) bool {
	if l == nil {
		return false
	}
	_, ok := l.exporters[exporter]
	return ok
}
