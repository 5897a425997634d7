package collector

import (
	"net/netip"
	"time"
)

// Growth tells by how much the counters of observation domains grew since it was asked before. It belongs to one
// goroutine.
type Growth struct {
	last map[growthKey]Exporter
	at   time.Time
}

type growthKey struct {
	exporter  netip.Addr
	protocol  uint8
	domain    uint32
	firstSeen int64 // a domain that was forgotten and heard of again counts from 0
}

// NewGrowth returns one whose first intervals begin at start.
func NewGrowth(start time.Time) *Growth { return &Growth{at: start} }

// Grown is an observation domain with counters that say by how much they grew. Loss.Missing and what is no counter are as
// they are.
type Grown struct {
	Exporter
	Interval time.Duration
}

// Since returns the domains of list whose counters grew, and takes list, as it was at now, for what the next call
// compares with.
func (g *Growth) Since(list []Exporter, now time.Time) []Grown {
	next := make(map[growthKey]Exporter, len(list))
	var grown []Grown
	for _, e := range list {
		k := growthKey{e.Exporter, e.Protocol, e.Domain, e.FirstSeen}
		next[k] = e
		before, known := g.last[k]
		since := g.at
		if first := time.UnixMilli(e.FirstSeen); !known && first.After(since) {
			since = first
		}
		changed := e.Counts.Sub(&before.Counts)
		changed = e.Rows.Sub(&before.Rows) || changed
		changed = e.Loss.Sub(&before.Loss.Counts) || changed
		if changed {
			grown = append(grown, Grown{e, max(0, now.Sub(since))})
		}
	}
	g.last, g.at = next, now
	return grown
}
