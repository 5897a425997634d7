package loss

import (
	"maps"
	"net/netip"
	"sync"
	"time"
)

// Ledger follows the messages of all exporters. It is safe for concurrent use: a lock is taken for each call of Observe,
// not for each message.
type Ledger struct {
	mu        sync.Mutex              // guards what follows, and everything in exporters and their domains
	exporters map[numbering]*exporter // those that have domains
	gone      map[uint8]Counts        // by protocol, of the domains that were forgotten
}

// numbering is who may number the messages of several domains together.
type numbering struct {
	address  netip.Addr
	protocol uint8
}

type exporter struct {
	numbering
	domains map[uint32]*Domain
	all     Tracker // of all domains together
	common  int8    // evidence that numbers are of all domains together, above 0, or of each, -maxCommon to maxCommon
}

const maxCommon = 8

// Domain is an observation domain of an exporter in a [Ledger], which guards it.
type Domain struct {
	id       uint32
	exporter *exporter
	own      Tracker
	counts   Counts
	clock    Clock
}

// State is what is known of a domain's messages at one moment.
type State struct {
	Counts
	Unit     string        `json:"unit"`           // what is counted: flows, messages or records
	Together bool          `json:"together"`       // the exporter numbers all its domains together: what is lost may be of another one
	Skew     time.Duration `json:"clock_skew_ns"`  // by which the exporter's clock is ahead of ours
	Measured bool          `json:"clock_measured"` // Skew is
	ClockOff bool          `json:"clock_off"`      // Skew was more than is allowed, when it was judged last
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{exporters: map[numbering]*exporter{}, gone: map[uint8]Counts{}}
}

// Domain returns the domain of an exporter (unmapped, without zone) by a protocol; it is made if it is new.
func (l *Ledger) Domain(address netip.Addr, protocol uint8, id uint32) *Domain {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.domain(numbering{address, protocol}, id)
}

func (l *Ledger) domain(n numbering, id uint32) *Domain {
	e := l.exporters[n]
	if e == nil {
		e = &exporter{numbering: n, domains: map[uint32]*Domain{}, all: NewTracker(RuleOf(n.protocol))}
		l.exporters[n] = e
	}
	d := e.domains[id]
	if d == nil {
		d = &Domain{id: id, exporter: e, own: NewTracker(RuleOf(n.protocol))}
		e.domains[id] = d
	}
	return d
}

// Forget lets go of d. Messages of it may still be under way and are observed in vain.
func (l *Ledger) Forget(d *Domain) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := d.exporter
	if e.domains[d.id] != d {
		return
	}
	d.own.lose()
	gone := l.gone[e.protocol]
	gone.add(&d.counts)
	l.gone[e.protocol] = gone
	if delete(e.domains, d.id); len(e.domains) == 0 {
		delete(l.exporters, e.numbering)
	}
}

// Observe takes note of messages, in the order in which they came.
func (l *Ledger) Observe(messages []Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range messages {
		messages[i].Of.observe(&messages[i])
	}
}

func (d *Domain) observe(m *Message) {
	d.clock.Measure(m.Exported, m.Received, m.Coarse)
	e := d.exporter
	if len(e.domains) == 1 {
		d.own.Observe(m, &d.counts)
		e.all.Note(m)
		return
	}
	if e.numbersTogether(d, m) {
		e.all.Observe(m, &d.counts)
		d.own.Note(m)
	} else {
		d.own.Observe(m, &d.counts)
		e.all.Note(m)
	}
}

// numbersTogether weighs whether m, of d, continues what any domain sent last, or what its own did.
func (e *exporter) numbersTogether(d *Domain, m *Message) bool {
	switch own, all := d.own.Explains(m), e.all.Explains(m); {
	case all && !own:
		e.common = min(e.common+1, maxCommon)
	case own && !all:
		e.common = max(e.common-1, -maxCommon)
	}
	return e.common > 0
}

// Settle makes lost, everywhere, what has been missing for Patience at now (ms). Call it every few seconds.
func (l *Ledger) Settle(now int64) {
	l.each(func(e *exporter) {
		e.all.Settle(now)
		for _, d := range e.domains {
			d.own.Settle(now)
		}
	})
}

// Close makes lost what is missing.
func (l *Ledger) Close() {
	l.each(func(e *exporter) {
		e.all.lose()
		for _, d := range e.domains {
			d.own.lose()
		}
	})
}

// Judge calls tell for each domain whose clock became or ceased to be off by more than allowed. tell must not call the
// ledger.
func (l *Ledger) Judge(allowed time.Duration, tell func(address netip.Addr, protocol uint8, domain uint32, skew time.Duration, off bool)) {
	l.each(func(e *exporter) {
		for _, d := range e.domains {
			if off, changed := d.clock.Judge(allowed); changed {
				skew, _ := d.clock.Skew()
				tell(e.address, e.protocol, d.id, skew, off)
			}
		}
	})
}

// Totals returns what is known of all messages by protocol, those of domains that were forgotten too, and the number of
// domains whose clock is off.
func (l *Ledger) Totals() (byProtocol map[uint8]Counts, clocksOff int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	byProtocol = maps.Clone(l.gone)
	for _, e := range l.exporters {
		total := byProtocol[e.protocol]
		for _, d := range e.domains {
			total.add(&d.counts)
			if d.clock.off {
				clocksOff++
			}
		}
		byProtocol[e.protocol] = total
	}
	return byProtocol, clocksOff
}

func (l *Ledger) each(f func(*exporter)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.exporters {
		f(e)
	}
}

// State returns what is known of d.
func (l *Ledger) State(d *Domain) State {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := State{Counts: d.counts, Together: d.exporter.common > 0 && len(d.exporter.domains) > 1, ClockOff: d.clock.off}
	rule := d.own.rule
	if s.Together {
		rule = d.exporter.all.rule
	}
	switch {
	case rule == Messages:
		s.Unit = "messages"
	case d.exporter.protocol == 5:
		s.Unit = "flows"
	default:
		s.Unit = "records"
	}
	s.Skew, s.Measured = d.clock.Skew()
	return s
}
