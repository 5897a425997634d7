package loss

import "time"

// Rule says what sequence numbers count.
type Rule uint8

// The rules. See the package comment.
const (
	Before Rule = iota
	After
	Messages

	rules // number of rules
)

// RuleOf returns the rule of a protocol: 5, 9 or 10 (IPFIX).
func RuleOf(protocol uint8) Rule {
	if protocol == 9 {
		return Messages
	}
	return Before
}

// Patience is how long a message that is missing may still come, before it is lost.
const Patience = 5 * time.Second

const (
	maxStreams = 16 // processes, or ports of one, of a tracker: a further one replaces the one that was silent longest

	// No exporter sends so many records a millisecond. A number that is further ahead, beyond the slack, is a jump.
	maxRate  = 1000
	maxSlack = 1 << 16

	// So many fits that no other rule explains make the rule certain: as many of the other kind are needed to change it.
	maxTrust = 8
)

// Message is what the header of a message says, and what was found in it.
type Message struct {
	Of        *Domain
	Port      uint16 // from which it came: a hint only, exporters change it and several may share an address
	Sequence  uint32
	Records   uint32 // data records in it, those of options too
	Unsure    bool   // Records is not all: there was data that could not be read
	Templates bool   // it announces templates
	Data      bool   // it has data
	HasUptime bool
	Uptime    uint32 // ms; sysUpTime: NetFlow 5 and 9 only
	Coarse    bool   // Exported is in whole seconds
	Exported  int64  // ms since the epoch
	Received  int64  // ms since the epoch
}

// Counts are what is known of an observation domain's messages. Numbers of things received and lost are in what its
// rule counts. They only grow, but for Missing.
type Counts struct {
	Received   uint64 `json:"received"`              // came, each once
	Lost       uint64 `json:"lost"`                  // announced by sequence numbers and did not come within Patience
	Missing    uint64 `json:"missing"`               // announced, and may still come
	OutOfOrder uint64 `json:"messages_out_of_order"` // came after a later one
	Duplicates uint64 `json:"messages_duplicate"`    // came again, or later than Patience
	Restarts   uint64 `json:"restarts"`              // the exporter, or one of its processes, began to number anew
	Jumps      uint64 `json:"jumps"`                 // the number jumped, further than loss can explain
	Unchecked  uint64 `json:"messages_unchecked"`    // what came before them could not be counted: their template was unknown
}

func (a *Counts) add(b *Counts) {
	a.Received += b.Received
	a.Lost += b.Lost
	a.Missing += b.Missing
	a.OutOfOrder += b.OutOfOrder
	a.Duplicates += b.Duplicates
	a.Restarts += b.Restarts
	a.Jumps += b.Jumps
	a.Unchecked += b.Unchecked
}

// Sub takes away what b, which was counted before, has, and reports whether anything is left. Missing stays as it is.
func (a *Counts) Sub(b *Counts) bool {
	a.Received -= b.Received
	a.Lost -= b.Lost
	a.OutOfOrder -= b.OutOfOrder
	a.Duplicates -= b.Duplicates
	a.Restarts -= b.Restarts
	a.Jumps -= b.Jumps
	a.Unchecked -= b.Unchecked
	return *a != Counts{Missing: a.Missing}
}

// Tracker follows the sequence numbers of one observation domain, or of all domains of an exporter that numbers them
// together. It is not safe for concurrent use.
type Tracker struct {
	rule    Rule
	trust   uint8    // in rule
	streams []stream // the one of the last message first
}

// NewTracker returns a tracker of messages that are numbered by rule, until others prove to be.
func NewTracker(rule Rule) Tracker { return Tracker{rule: rule} }

// Rule returns the rule by which messages are numbered, as far as is known.
func (t *Tracker) Rule() Rule { return t.rule }

// Explains reports whether m is the next message of a process that is known, by the rule or, as long as that is not
// certain, by another one. It changes nothing.
func (t *Tracker) Explains(m *Message) bool {
	i, rule := t.find(m)
	return i >= 0 && (rule == t.rule || t.trust == 0)
}

// Observe takes note of m and books on c what it tells. c may be that of another domain with the next call.
func (t *Tracker) Observe(m *Message, c *Counts) {
	i := t.match(m)
	if i < 0 {
		t.odd(m, c)
		return
	}
	s := t.use(i)
	if s.open > 0 {
		s.settle(m.Received)
	}
	c.Received += uint64(span(m, t.rule))
	s.advance(m)
}

// Note makes m the last message of its process, whatever its number is, and misses nothing any more. It is for a
// tracker whose verdict is not wanted at the moment.
func (t *Tracker) Note(m *Message) {
	i := t.match(m)
	if i < 0 {
		i = t.ofPort(m.Port)
	}
	s := t.use(t.orNew(i))
	s.forgive()
	s.advance(m)
}

// match returns the stream that m continues, or -1. It learns the rule.
func (t *Tracker) match(m *Message) int {
	i, rule := t.find(m)
	switch {
	case i < 0:
	case rule == t.rule:
		if t.trust < maxTrust && t.streams[i].only(m, rule) {
			t.trust++
		}
	case t.trust > 0: // once is chance
		t.trust--
		return -1
	default:
		t.Forgive() // by the wrong rule they were none
		t.rule = rule
	}
	return i
}

// Settle makes lost what has been missing for Patience at now (ms).
func (t *Tracker) Settle(now int64) {
	for i := range t.streams {
		if s := &t.streams[i]; s.open > 0 {
			s.settle(now)
		}
	}
}

// Forgive takes back what is missing: it is neither lost nor received.
func (t *Tracker) Forgive() {
	for i := range t.streams {
		t.streams[i].forgive()
	}
}

// lose makes lost what is missing, now.
func (t *Tracker) lose() {
	for i := range t.streams {
		t.streams[i].loseAll()
	}
}

// find returns the stream that m continues, and by which rule; -1 if there is none.
func (t *Tracker) find(m *Message) (int, Rule) {
	i := t.ofPort(m.Port)
	if i >= 0 && position(m, t.rule) == next(&t.streams[i].last, t.rule) {
		return i, t.rule
	}
	for other := range t.streams {
		s := &t.streams[other]
		if (i < 0 || s.roams) && position(m, t.rule) == next(&s.last, t.rule) {
			return other, t.rule
		}
	}
	if i < 0 {
		return -1, t.rule
	}
	s := &t.streams[i]
	// What some exporters send beside their data, they do not count.
	if m.Sequence == s.last.Sequence && (!m.Data || !s.last.Data) {
		return i, t.rule
	}
	for rule := range rules {
		if rule != t.rule && s.fits(m, rule) {
			return i, rule
		}
	}
	return -1, t.rule
}

// odd is a message that does not follow the one before.
func (t *Tracker) odd(m *Message, c *Counts) {
	i := t.ofPort(m.Port)
	if i < 0 {
		t.begin(m, c)
		return
	}
	s := t.use(i)
	s.settle(m.Received)
	at, expected, n := position(m, t.rule), next(&s.last, t.rule), span(m, t.rule)
	ahead := int32(at - expected)
	switch {
	case s.restarted(m):
		t.restart(s, m, c)
	case ahead >= 0 && s.isUnsure(m, t.rule):
		c.Unchecked++
		c.Received += uint64(n)
		s.advance(m)
	case ahead > maxSlack && begins(at): // the last number was high
		t.restart(s, m, c)
	case int64(ahead) > maxSlack+maxRate*max(0, m.Received-s.last.Received):
		c.Jumps++
		c.Received += uint64(n)
		s.reset(m)
	case ahead >= 0:
		s.miss(gap{from: expected, n: uint32(ahead), opened: m.Received, owner: c})
		c.Received += uint64(n)
		s.advance(m)
	default:
		t.behind(s, m, c)
	}
}

// behind is a message whose number is lower than was expected.
func (t *Tracker) behind(s *stream, m *Message, c *Counts) {
	at, n := position(m, t.rule), span(m, t.rule)
	switch {
	case s.fill(at, n):
		c.OutOfOrder++
		c.Received += uint64(n)
		s.remember(m.Sequence)
	case s.repeats(m.Sequence) || m.Exported <= s.last.Exported && !m.Templates:
		c.Duplicates++
		if s.resumes(m, t.rule) {
			t.restart(s, m, c)
		}
	default: // sent later than what has a higher number
		t.restart(s, m, c)
	}
}

// restart makes m the first message of s.
func (t *Tracker) restart(s *stream, m *Message, c *Counts) {
	s.reset(m)
	t.trust = 0 // it may be another program now
	c.Restarts++
	c.Received += uint64(span(m, t.rule))
}

// begin is a message of a port that is not known.
func (t *Tracker) begin(m *Message, c *Counts) {
	for i := range t.streams {
		if s := &t.streams[i]; s.restarted(m) {
			t.restart(t.use(i), m, c)
			return
		}
	}
	if len(t.streams) > 0 && begins(position(m, t.rule)) {
		c.Restarts++
	}
	s := t.use(t.orNew(-1))
	s.reset(m)
	c.Received += uint64(span(m, t.rule))
}

// begins reports whether a process that begins to number could be at position at. Some begin with 1, and Open vSwitch
// sends NetFlow 5 as if a flow less had been there.
func begins(at uint32) bool { return at+1 <= 2 }

// ofPort returns the stream of port, else one that does not keep to a port, else -1.
func (t *Tracker) ofPort(port uint16) int {
	roams := -1
	for i := range t.streams {
		s := &t.streams[i]
		if s.last.Port == port {
			return i
		}
		if s.roams && roams < 0 {
			roams = i
		}
	}
	return roams
}

// orNew returns i or, if that is -1, a stream for another process: where there are too many, the one that was silent
// longest.
func (t *Tracker) orNew(i int) int {
	if i >= 0 {
		return i
	}
	if len(t.streams) < maxStreams {
		t.streams = append(t.streams, stream{})
	} else {
		t.streams[maxStreams-1].loseAll()
		t.streams[maxStreams-1] = stream{}
	}
	return len(t.streams) - 1
}

// use puts stream i first and returns it.
func (t *Tracker) use(i int) *stream {
	if i > 0 {
		s := t.streams[i]
		copy(t.streams[1:], t.streams[:i])
		t.streams[0] = s
	}
	return &t.streams[0]
}
