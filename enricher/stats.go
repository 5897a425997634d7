package enricher

import "sync/atomic"

// Stats are counts since the start.
type Stats struct {
	Rows            uint64 `json:"rows"`             // that came in; all go out again
	UnknownExporter uint64 `json:"unknown_exporter"` // rows of exporters that are no host of the estate
	NoEnd           uint64 `json:"no_end"`           // rows of which neither end is a VIF
	NoNetwork       uint64 `json:"no_network"`       // rows of which the network is not known
	NotCounted      uint64 `json:"not_counted"`      // rows that totals leave out, since another exporter reports the same packets
	UnknownRule     uint64 `json:"unknown_rule"`     // rows of a rule instance that is not known here: their verdict is unknown
	StandIn         uint64 `json:"stand_in"`         // rows that totals count since the source's host, which would come first, does not export

	Port Lookups `json:"port"` // by interface index; rows without one are not looked up
	MAC  Lookups `json:"mac"`  // by MAC address, of ends that the interface did not tell
	Addr Lookups `json:"addr"` // by IP address, of ends that neither told
}

// Lookups are counts of look-ups of one kind by their outcome.
type Lookups struct {
	Hits      uint64 `json:"hits"`
	Misses    uint64 `json:"misses"`
	Ambiguous uint64 `json:"ambiguous"`
}

func (l *Lookups) add(asked, hits, ambiguous int) {
	l.Hits += uint64(hits)
	l.Misses += uint64(asked - hits - ambiguous)
	l.Ambiguous += uint64(ambiguous)
}

// Stats returns what was counted so far.
func (e *Enricher) Stats() Stats {
	c := &e.stats
	return Stats{
		Rows: c.rows.Load(), UnknownExporter: c.unknownExporter.Load(), NoEnd: c.noEnd.Load(),
		NoNetwork: c.noNetwork.Load(), NotCounted: c.notCounted.Load(), UnknownRule: c.unknownRule.Load(), StandIn: c.standIn.Load(),
		Port: c.port.load(), MAC: c.mac.load(), Addr: c.addr.load(),
	}
}

type counters struct {
	rows, unknownExporter, noEnd, noNetwork, notCounted, unknownRule, standIn atomic.Uint64
	port, mac, addr                                                           lookupCounters
}

type lookupCounters struct{ hits, misses, ambiguous atomic.Uint64 }

func (c *lookupCounters) add(l *Lookups) {
	c.hits.Add(l.Hits)
	c.misses.Add(l.Misses)
	c.ambiguous.Add(l.Ambiguous)
}

func (c *lookupCounters) load() Lookups {
	return Lookups{c.hits.Load(), c.misses.Load(), c.ambiguous.Load()}
}

// add adds what a batch had.
func (c *counters) add(s *Stats) {
	c.rows.Add(s.Rows)
	c.unknownExporter.Add(s.UnknownExporter)
	c.noEnd.Add(s.NoEnd)
	c.noNetwork.Add(s.NoNetwork)
	c.notCounted.Add(s.NotCounted)
	c.unknownRule.Add(s.UnknownRule)
	c.standIn.Add(s.StandIn)
	c.port.add(&s.Port)
	c.mac.add(&s.MAC)
	c.addr.add(&s.Addr)
}
