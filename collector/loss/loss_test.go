package loss_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weirhq/weir/collector/loss"
)

var address = netip.MustParseAddr("192.0.2.1")

const start = int64(1_800_000_000_000)

// line is a message in short: sequence number and records, at a time in ms after start.
type line struct {
	at       int64
	sequence uint32
	records  uint32
	change   func(*loss.Message)
}

func from(port uint16) func(*loss.Message) { return func(m *loss.Message) { m.Port = port } }

func unsure(m *loss.Message)    { m.Unsure = true }
func templates(m *loss.Message) { m.Templates, m.Data = true, m.Records > 0 }

func up(ms uint32) func(*loss.Message) {
	return func(m *loss.Message) { m.HasUptime, m.Uptime = true, ms }
}

func all(changes ...func(*loss.Message)) func(*loss.Message) {
	return func(m *loss.Message) {
		for _, f := range changes {
			f(m)
		}
	}
}

func message(d *loss.Domain, l line) loss.Message {
	m := loss.Message{
		Of: d, Port: 2055, Sequence: l.sequence, Records: l.records, Data: true,
		Exported: start + l.at, Received: start + l.at,
	}
	if l.change != nil {
		l.change(&m)
	}
	return m
}

func TestOneDomain(t *testing.T) {
	const v5, v9, ipfix = 5, 9, 10
	for _, c := range []struct {
		name     string
		protocol uint8
		lines    []line
		want     loss.Counts // after all is settled
	}{
		{"in order", ipfix, []line{{0, 100, 10, nil}, {1, 110, 5, nil}, {2, 115, 7, nil}}, loss.Counts{Received: 22}},
		{"first message tells nothing of what was before", v9, []line{{0, 77, 3, nil}}, loss.Counts{Received: 1}},
		{"lost flows", v5, []line{{0, 0, 30, nil}, {1, 30, 10, nil}, {2, 70, 30, nil}}, loss.Counts{Received: 70, Lost: 30}},
		{"lost messages", v9, []line{{0, 7, 30, nil}, {1, 8, 30, nil}, {2, 11, 30, nil}}, loss.Counts{Received: 3, Lost: 2}},
		{"lost records", ipfix, []line{{0, 0, 1, nil}, {1, 1, 2, nil}, {2, 8, 3, nil}}, loss.Counts{Received: 6, Lost: 5}},
		{"out of order", ipfix, []line{{0, 0, 5, nil}, {1, 5, 4, nil}, {2, 12, 2, nil}, {3, 9, 3, nil}, {4, 14, 1, nil}}, loss.Counts{Received: 15, OutOfOrder: 1}},
		{"in the middle of a gap", ipfix, []line{{0, 0, 5, nil}, {1, 5, 4, nil}, {2, 30, 2, nil}, {3, 12, 3, nil}, {4, 32, 1, nil}}, loss.Counts{Received: 15, Lost: 18, OutOfOrder: 1}},
		{"too late", ipfix, []line{{0, 0, 5, nil}, {1, 5, 4, nil}, {2, 12, 2, nil}, {6000, 14, 1, nil}, {6001, 9, 3, func(m *loss.Message) { m.Exported = start + 2 }}}, loss.Counts{Received: 12, Lost: 3, Duplicates: 1}},
		{"duplicate", v9, []line{{0, 7, 30, nil}, {1, 8, 30, nil}, {2, 8, 30, nil}, {3, 9, 30, nil}}, loss.Counts{Received: 3, Duplicates: 1}},
		{"numbers wrap", v5, []line{{0, math.MaxUint32 - 9, 10, nil}, {1, 0, 30, nil}, {2, 60, 10, nil}}, loss.Counts{Received: 50, Lost: 30}},
		{"numbers wrap within a message", ipfix, []line{{0, math.MaxUint32 - 2, 10, nil}, {1, 7, 5, nil}}, loss.Counts{Received: 15}},
		{"numbers wrap within a gap", ipfix, []line{{0, math.MaxUint32 - 9, 4, nil}, {1, math.MaxUint32 - 5, 3, nil}, {2, 4, 1, nil}}, loss.Counts{Received: 8, Lost: 7}},
		{"number of messages wraps", v9, []line{{0, math.MaxUint32, 10, nil}, {1, 0, 30, nil}, {2, 2, 10, nil}}, loss.Counts{Received: 3, Lost: 1}},
		{"restart by uptime", v5, []line{{0, 5000, 10, up(90_000)}, {5000, 0, 10, up(1000)}, {6000, 10, 10, up(2000)}}, loss.Counts{Received: 30, Restarts: 1}},
		{"restart ahead by uptime", v5, []line{{0, 50, 10, up(90_000)}, {5000, 90, 10, up(1000)}}, loss.Counts{Received: 20, Restarts: 1}},
		{"uptime wraps", v5, []line{{0, 50, 10, up(math.MaxUint32 - 1000)}, {5000, 70, 10, up(4000)}}, loss.Counts{Received: 20, Lost: 10}},
		{"uptime that says nothing", v5, []line{{0, 50, 10, up(0)}, {50_000, 70, 10, up(0)}}, loss.Counts{Received: 20, Lost: 10}},
		{"the exporter's clock is set", v5, []line{{0, 50, 10, up(1000)}, {5000, 70, 10, all(up(6000), func(m *loss.Message) { m.Exported -= 1e10 })}}, loss.Counts{Received: 20, Lost: 10}},
		{"restart with templates", ipfix, []line{{0, 5000, 10, nil}, {0, 0, 0, templates}, {0, 0, 5, nil}}, loss.Counts{Received: 15, Restarts: 1}},
		{"restart without a sign but a later time", ipfix, []line{{0, 5000, 10, nil}, {1000, 0, 5, nil}, {1001, 5, 5, nil}}, loss.Counts{Received: 20, Restarts: 1}},
		{"restart on another port", ipfix, []line{{0, 5000, 10, from(1)}, {1000, 0, 0, all(from(2), templates)}, {1001, 0, 5, from(2)}}, loss.Counts{Received: 15, Restarts: 1}},
		{"restart on another port by uptime", v9, []line{{0, 5000, 10, all(from(1), up(90_000))}, {1000, 17, 1, all(from(2), up(1000))}}, loss.Counts{Received: 2, Restarts: 1}},
		{"port changes, process does not", v9, []line{{0, 1, 1, from(1)}, {1, 2, 1, from(2)}, {2, 3, 1, from(3)}, {3, 6, 1, from(4)}}, loss.Counts{Received: 4, Lost: 2}},
		{"two processes", v9, []line{{0, 100, 1, from(1)}, {0, 7000, 1, from(2)}, {0, 101, 1, from(1)}, {0, 7001, 1, from(2)}, {0, 103, 1, from(1)}, {0, 7002, 1, from(2)}}, loss.Counts{Received: 6, Lost: 1}},
		{"restart of a high number", ipfix, []line{{0, 3_000_000_000, 10, nil}, {1000, 0, 5, nil}}, loss.Counts{Received: 15, Restarts: 1}},
		{"a jump", v9, []line{{0, 100, 1, nil}, {1, 101, 1, nil}, {2, 2_000_000_000, 1, nil}, {3, 2_000_000_001, 1, nil}}, loss.Counts{Received: 4, Jumps: 1}},
		{"long silence, large gap", ipfix, []line{{0, 100, 1, nil}, {3_600_000, 100_000_101, 1, nil}}, loss.Counts{Received: 2, Lost: 100_000_000}},
		{"unknown template", ipfix, []line{{0, 0, 5, nil}, {1, 5, 0, unsure}, {2, 17, 3, nil}, {3, 20, 3, nil}}, loss.Counts{Received: 11, Unchecked: 1}},
		{"unknown template does not matter to messages", v9, []line{{0, 0, 5, nil}, {1, 1, 0, unsure}, {2, 3, 3, nil}}, loss.Counts{Received: 3, Lost: 1}},
		{"templates have no number of their own", v9, []line{{0, 1, 1, nil}, {1, 2, 0, templates}, {2, 2, 3, nil}, {3, 2, 0, templates}, {4, 3, 1, nil}, {5, 5, 1, nil}}, loss.Counts{Received: 6, Lost: 1}},
		{"Open vSwitch, NetFlow 5", v5, []line{{0, 1, 2, nil}, {1, 4, 3, nil}, {2, 8, 4, nil}, {3, 13, 5, nil}, {4, 19, 5, nil}, {5, 20, 1, nil}}, loss.Counts{Received: 20, Lost: 1}},
		{"NetFlow 9 that counts flows", v9, []line{{0, 0, 30, nil}, {1, 30, 10, nil}, {2, 40, 15, nil}, {3, 75, 5, nil}}, loss.Counts{Received: 1 + 30, Lost: 20}},
		{"IPFIX that counts messages", ipfix, []line{{0, 9, 30, nil}, {1, 10, 10, nil}, {2, 11, 15, nil}, {3, 14, 5, nil}}, loss.Counts{Received: 33, Lost: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ledger := loss.NewLedger()
			d := ledger.Domain(address, c.protocol, 1)
			for _, l := range c.lines {
				ledger.Observe([]loss.Message{message(d, l)})
			}
			ledger.Settle(start + 10_000_000)
			if got := ledger.State(d).Counts; got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestMissingIsNotYetLost(t *testing.T) {
	ledger := loss.NewLedger()
	d := ledger.Domain(address, 9, 1)
	ledger.Observe([]loss.Message{message(d, line{0, 1, 1, nil}), message(d, line{1, 4, 1, nil})})
	ledger.Settle(start + loss.Patience.Milliseconds())
	if got, want := ledger.State(d).Counts, (loss.Counts{Received: 2, Missing: 2}); got != want {
		t.Errorf("within Patience: %+v, want %+v", got, want)
	}
	ledger.Settle(start + 1 + loss.Patience.Milliseconds())
	if got, want := ledger.State(d).Counts, (loss.Counts{Received: 2, Lost: 2}); got != want {
		t.Errorf("after Patience: %+v, want %+v", got, want)
	}
}

// Open vSwitch numbers all domains of an IPFIX row together; rows of several bridges send from one address.
func TestDomainsNumberedTogether(t *testing.T) {
	ledger := loss.NewLedger()
	a, b, zero := ledger.Domain(address, 10, 10), ledger.Domain(address, 10, 11), ledger.Domain(address, 10, 0)
	observe := func(d *loss.Domain, sequence, records uint32, change func(*loss.Message)) {
		m := message(d, line{0, sequence, records, change})
		ledger.Observe([]loss.Message{m})
	}
	for range 18 { // as captured
		observe(a, 1, 0, templates)
	}
	observe(zero, 1, 0, templates)
	observe(zero, 1, 1, nil)
	next := uint32(2)
	for range 20 {
		observe(a, next, 1, nil)
		observe(b, next+1, 1, nil)
		next += 2
	}
	for _, d := range []*loss.Domain{a, b, zero} {
		if s := ledger.State(d); s.Lost+s.Missing+s.OutOfOrder+s.Duplicates+s.Restarts+s.Jumps != 0 || !s.Together {
			t.Errorf("in order: %+v, want nothing amiss, together", s)
		}
	}
	next += 3
	observe(b, next, 1, nil)
	observe(a, next+1, 1, nil)
	ledger.Close()
	if lost := ledger.State(a).Lost + ledger.State(b).Lost; lost != 3 {
		t.Errorf("3 records lost, found %d", lost)
	}
}

// Domains that begin alike and number each on its own are not taken for one.
func TestDomainsInStep(t *testing.T) {
	ledger := loss.NewLedger()
	var domains []*loss.Domain
	for id := range uint32(3) {
		domains = append(domains, ledger.Domain(address, 9, id))
	}
	lost := uint64(0)
	for n := range uint32(1000) {
		for i, d := range domains {
			if n > 20 && n < 999 && int(n)%17 == i {
				lost++
				continue
			}
			ledger.Observe([]loss.Message{message(d, line{int64(n) * 1000, n, 1, nil})})
		}
	}
	ledger.Close()
	got := uint64(0)
	for _, d := range domains {
		s := ledger.State(d)
		got += s.Lost
		if s.Together || s.Restarts+s.Jumps+s.Duplicates+s.OutOfOrder != 0 {
			t.Errorf("%+v, want nothing but loss", s)
		}
	}
	if got != lost {
		t.Errorf("%d messages lost, found %d", lost, got)
	}
}

// sent is a message on its way, with what the network does to it.
type sent struct {
	m       loss.Message
	lost    bool
	arrives float64 // order of arrival
	epoch   int
	again   bool // a duplicate
}

// simulation is an exporter with a channel that loses, reorders and doubles what it sends, and with restarts. What must
// be found is known.
type simulation struct {
	rnd      *rand.Rand
	protocol uint8
	rule     loss.Rule
	together bool
	uptimes  bool
	samePort bool
	domains  []*loss.Domain

	now    int64
	boot   int64
	epoch  int
	port   uint16
	next   []uint32 // of each domain; together: the first
	events []sent
}

func (s *simulation) restart() {
	s.now += 11_000 + s.rnd.Int64N(60_000)
	s.boot, s.epoch = s.now, s.epoch+1
	if !s.samePort {
		s.port++
	}
	for i := range s.next {
		s.next[i] = 0
	}
}

// message sends one, whose domain is number i.
func (s *simulation) message(i int, calm bool) {
	s.now += 1 + s.rnd.Int64N(200)
	records := 1 + s.rnd.Uint32N(30)
	k := i
	if s.together {
		k = 0
	}
	m := loss.Message{
		Of: s.domains[i], Port: s.port, Records: records, Data: true, HasUptime: s.uptimes,
		Exported: s.now / 1000 * 1000, Received: s.now, Coarse: true,
	}
	if s.uptimes {
		m.Uptime = uint32(s.now - s.boot)
	}
	switch s.rule {
	case loss.Before:
		m.Sequence = s.next[k]
		s.next[k] += records
	case loss.After:
		s.next[k] += records
		m.Sequence = s.next[k]
	case loss.Messages:
		m.Sequence = s.next[k]
		s.next[k]++
	}
	e := sent{m: m, arrives: float64(len(s.events)), epoch: s.epoch}
	if !calm {
		switch x := s.rnd.Float64(); {
		case x < 0.04:
			e.lost = true
		case x < 0.08:
			e.arrives += 1.5 + float64(s.rnd.IntN(3))
		case x < 0.12:
			double := e
			double.again, double.arrives = true, e.arrives+0.5+float64(s.rnd.IntN(4))
			s.events = append(s.events, e)
			e = double
		}
	}
	s.events = append(s.events, e)
}

func TestRandomExporters(t *testing.T) {
	const seed = 20261126 // 24 000 rounds of other seeds passed too
	rounds := 600
	if testing.Short() {
		rounds = 60
	}
	for round := range uint64(rounds) {
		rnd := rand.New(rand.NewPCG(seed, round))
		s := simulation{rnd: rnd, protocol: []uint8{5, 9, 10}[round%3], port: 1000, now: start, boot: start - rnd.Int64N(1e9)}
		s.rule = loss.RuleOf(s.protocol)
		if round%7 == 0 {
			s.rule = loss.Rule(rnd.IntN(3))
		}
		s.uptimes = s.protocol != 10
		s.samePort = rnd.IntN(2) == 0
		ledger := loss.NewLedger()
		for id := range 1 + rnd.IntN(3) {
			s.domains = append(s.domains, ledger.Domain(address, s.protocol, uint32(id)))
			s.next = append(s.next, rnd.Uint32())
		}
		wraps := s.uptimes && rnd.IntN(4) == 0 // without uptimes a restart then is the same as loss
		if wraps {
			s.next[0] = -uint32(rnd.IntN(5000)) // wraps
		}
		s.together = len(s.domains) > 1 && rnd.IntN(2) == 0
		restarts := 0
		for range 1 + rnd.IntN(3) {
			if s.epoch > 0 || rnd.IntN(2) == 0 {
				restarts++
				s.restart()
			}
			calm := func(n int) {
				for range n {
					for i := range s.domains {
						s.message(i, true)
					}
				}
			}
			calm(6)
			for range 200 + rnd.IntN(800) {
				s.message(rnd.IntN(len(s.domains)), false)
			}
			calm(6)
		}
		check(t, ledger, &s, fmt.Sprintf("seed %d, round %d: protocol %d, rule %d, %d domains, together %v, same port %v",
			seed, round, s.protocol, s.rule, len(s.domains), s.together, s.samePort))
		if t.Failed() {
			return
		}
	}
}

// check delivers the messages of s and compares what the ledger says with what happened.
func check(t *testing.T, ledger *loss.Ledger, s *simulation, what string) {
	t.Helper()
	var want loss.Counts
	span := func(m *loss.Message) uint64 {
		if s.rule == loss.Messages {
			return 1
		}
		return uint64(m.Records)
	}
	type line struct {
		domain *loss.Domain
		epoch  int
	}
	key := func(e *sent) line {
		if s.together {
			return line{nil, e.epoch}
		}
		return line{e.m.Of, e.epoch}
	}
	var arrived []sent
	for i := range s.events {
		if e := &s.events[i]; e.lost {
			want.Lost += span(&e.m)
		} else {
			arrived = append(arrived, *e)
		}
	}
	slices.SortStableFunc(arrived, func(a, b sent) int {
		switch {
		case a.arrives < b.arrives:
			return -1
		case a.arrives > b.arrives:
			return 1
		}
		return 0
	})
	for i := range arrived {
		e := &arrived[i]
		e.m.Received = max(e.m.Received, arrived[max(0, i-1)].m.Received) // time does not go back
	}
	epochs := map[line]bool{}
	last := map[line]uint32{}
	for i := range arrived {
		e := &arrived[i]
		k := key(e)
		if e.again {
			want.Duplicates++
			continue
		}
		want.Received += span(&e.m)
		if before, seen := last[k]; seen && int32(e.m.Sequence-before) < 0 {
			want.OutOfOrder++
		} else {
			last[k] = e.m.Sequence
		}
		if !epochs[k] {
			epochs[k] = true
			if e.epoch > s.events[0].epoch {
				want.Restarts++
			}
		}
	}
	for i := range arrived {
		ledger.Observe([]loss.Message{arrived[i].m})
	}
	ledger.Close()
	var got loss.Counts
	for _, d := range s.domains {
		c := ledger.State(d).Counts
		got.Received += c.Received
		got.Lost += c.Lost
		got.Missing += c.Missing
		got.OutOfOrder += c.OutOfOrder
		got.Duplicates += c.Duplicates
		got.Restarts += c.Restarts
		got.Jumps += c.Jumps
		got.Unchecked += c.Unchecked
	}
	if s.rule != loss.RuleOf(s.protocol) { // the first messages were judged by the protocol's
		got.Received, got.Duplicates = want.Received, want.Duplicates
	}
	if got != want {
		t.Errorf("%s:\ngot  %+v\nwant %+v", what, got, want)
	}
}

func TestClock(t *testing.T) {
	var c loss.Clock
	if _, ok := c.Skew(); ok {
		t.Error("a clock that was not measured has a skew")
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	measure := func(skew, n int64) time.Duration {
		for i := range n {
			at := start + i*137
			c.Measure((at+skew)/1000*1000, at+rnd.Int64N(20), true)
		}
		d, _ := c.Skew()
		return d
	}
	if got := measure(0, 200); got.Abs() > 300*time.Millisecond {
		t.Errorf("skew %v of a clock that is right", got)
	}
	if off, changed := c.Judge(5 * time.Second); off || changed {
		t.Error("a clock that is right is off")
	}
	if got := measure(60_000, 200); (got - time.Minute).Abs() > 300*time.Millisecond {
		t.Errorf("skew %v of a clock that is a minute ahead", got)
	}
	if off, changed := c.Judge(5 * time.Second); !off || !changed {
		t.Error("a minute is not off, or no news")
	}
	if off, changed := c.Judge(5 * time.Second); !off || changed {
		t.Error("still off is news")
	}
	measure(4_500, 200)
	if off, _ := c.Judge(5 * time.Second); !off {
		t.Error("the alarm ends within its margin")
	}
	measure(-2_000, 200)
	if off, changed := c.Judge(5 * time.Second); off || !changed {
		t.Error("the alarm does not end, or is no news")
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	ledger := loss.NewLedger()
	a, b := ledger.Domain(address, 10, 1), ledger.Domain(address, 10, 2)
	messages := make([]loss.Message, 64)
	at := int64(0)
	next := uint32(0)
	observe := func() {
		for i := range messages {
			d := a
			if i%3 == 0 {
				d = b
			}
			at++
			if i%9 == 0 {
				next += 7 // lost
			}
			messages[i] = loss.Message{Of: d, Sequence: next, Records: 10, Data: true, Exported: at, Received: at}
			next += 10
		}
		ledger.Observe(messages)
	}
	observe()
	if n := testing.AllocsPerRun(100, observe); n != 0 {
		t.Errorf("%v allocations for 64 messages, want 0", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	ledger := loss.NewLedger()
	var domains []*loss.Domain
	for i := range 16 {
		domains = append(domains, ledger.Domain(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 10, 1))
	}
	messages := make([]loss.Message, 64)
	next := uint32(0)
	b.ReportAllocs()
	for b.Loop() {
		for i := range messages {
			messages[i] = loss.Message{Of: domains[i%16], Port: 9, Sequence: next + uint32(i/16)*24, Records: 24, Data: true}
		}
		next += 96
		ledger.Observe(messages)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/message")
}
