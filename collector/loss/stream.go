package loss

import "slices"

const (
	maxGaps   = 8  // gaps of a stream that are not lost yet: a further one makes the oldest lost
	maxRecent = 8  // messages of a stream of which a duplicate is known as one
	maxBehind = 64 // so many messages in a row, in sequence among each other, that are all behind: the exporter began again
)

// stream is the messages of one process.
type stream struct {
	last   Message
	roams  bool              // it came from several ports
	recent [maxRecent]uint32 // numbers of messages, a ring
	at     uint8             // in recent, of the oldest
	filled uint8
	behind uint8  // messages in a row that were behind
	resume uint32 // position after the last of those
	gaps   [maxGaps]gap
	open   uint8 // gaps in use, the oldest first
}

// gap is a stretch of numbers that is missing.
type gap struct {
	from, n uint32
	opened  int64   // ms
	owner   *Counts // who misses it
}

// next is the position after m, in what rule counts.
func next(m *Message, rule Rule) uint32 {
	switch rule {
	case Before:
		return m.Sequence + m.Records
	case After:
		return m.Sequence
	default:
		return m.Sequence + 1
	}
}

// position is that of m, in what rule counts.
func position(m *Message, rule Rule) uint32 {
	if rule == After {
		return m.Sequence - m.Records
	}
	return m.Sequence
}

// span is how many of what rule counts m has.
func span(m *Message, rule Rule) uint32 {
	if rule == Messages {
		return 1
	}
	return m.Records
}

// fits reports whether m is next after the last message by rule, for certain.
func (s *stream) fits(m *Message, rule Rule) bool {
	return position(m, rule) == next(&s.last, rule) && !s.isUnsure(m, rule)
}

// only reports whether m, which fits rule, fits no other.
func (s *stream) only(m *Message, rule Rule) bool {
	for other := range rules {
		if other != rule && position(m, other) == next(&s.last, other) {
			return false
		}
	}
	return true
}

// isUnsure reports whether it cannot be said how far m is from the last message.
func (s *stream) isUnsure(m *Message, rule Rule) bool {
	return rule == Before && s.last.Unsure || rule == After && m.Unsure
}

func (s *stream) advance(m *Message) {
	s.roams = s.roams || s.filled > 0 && m.Port != s.last.Port
	s.last, s.behind = *m, 0
	s.remember(m.Sequence)
}

// reset makes m the first message.
func (s *stream) reset(m *Message) {
	s.loseAll()
	*s = stream{last: *m}
	s.remember(m.Sequence)
}

func (s *stream) remember(sequence uint32) {
	s.recent[s.at] = sequence
	s.at = (s.at + 1) % maxRecent
	s.filled = min(s.filled+1, maxRecent)
}

func (s *stream) repeats(sequence uint32) bool {
	return slices.Contains(s.recent[:s.filled], sequence)
}

// restarted reports whether the exporter's uptime is another than it would be had it run on. The collector's clock is
// what tells how long that was: the exporter's may have been set.
func (s *stream) restarted(m *Message) bool {
	if !m.HasUptime || !s.last.HasUptime || m.Uptime == s.last.Uptime { // some always say the same
		return false
	}
	passed := m.Received - s.last.Received
	off := int32(m.Uptime - s.last.Uptime - uint32(passed)) // modulo 2³² ms: the uptime wraps after 49.7 days
	allowed := 10_000 + int32(max(0, min(passed/1000, 1<<24)))
	return off > allowed || off < -allowed
}

// resumes counts messages in a row that are behind and reports whether there were so many that they are the count
// that goes on.
func (s *stream) resumes(m *Message, rule Rule) bool {
	if position(m, rule) != s.resume {
		s.behind = 0
	}
	s.behind++
	s.resume = next(m, rule)
	return s.behind >= maxBehind
}

// miss opens a gap.
func (s *stream) miss(g gap) {
	if int(s.open) == len(s.gaps) {
		s.lose()
	}
	s.gaps[s.open] = g
	s.open++
	g.owner.Missing += uint64(g.n)
}

// lose makes lost what is missing in the oldest gap.
func (s *stream) lose() {
	s.gaps[0].lose()
	s.close(0)
}

func (s *stream) loseAll() {
	for s.open > 0 {
		s.lose()
	}
}

func (s *stream) forgive() {
	for s.open > 0 {
		g := &s.gaps[0]
		g.owner.Missing -= uint64(g.n)
		s.close(0)
	}
}

func (s *stream) close(i int) {
	copy(s.gaps[i:], s.gaps[i+1:s.open])
	s.open--
	s.gaps[s.open] = gap{}
}

// settle makes lost what was missing for too long.
func (s *stream) settle(now int64) {
	for s.open > 0 && s.gaps[0].opened+Patience.Milliseconds() <= now {
		s.lose()
	}
}

// fill takes n numbers from at on out of the gap that they are in; false if they are in none.
func (s *stream) fill(at, n uint32) bool {
	for i := range s.gaps[:s.open] {
		g := &s.gaps[i]
		offset := at - g.from // modulo 2³²
		if offset >= g.n {
			continue
		}
		n = min(n, g.n-offset)
		if n == 0 {
			return true
		}
		g.owner.Missing -= uint64(n)
		rest := *g
		rest.from, rest.n = at+n, g.n-offset-n
		g.n = offset
		switch {
		case g.n == 0 && rest.n == 0:
			s.close(i)
		case g.n == 0:
			*g = rest
		case rest.n > 0:
			s.split(i, rest)
		}
		return true
	}
	return false
}

// split puts rest behind gap i. Where there is no room the oldest gap is lost, or rest if that is the oldest.
func (s *stream) split(i int, rest gap) {
	if int(s.open) == len(s.gaps) {
		if i == 0 {
			rest.lose()
			return
		}
		s.lose()
		i--
	}
	copy(s.gaps[i+2:], s.gaps[i+1:s.open])
	s.gaps[i+1] = rest
	s.open++
}

// lose makes lost what is missing.
func (g *gap) lose() {
	g.owner.Missing -= uint64(g.n)
	g.owner.Lost += uint64(g.n)
}
