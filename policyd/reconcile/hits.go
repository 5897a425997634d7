package reconcile

import (
	"maps"
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
)

// counters are those of a flow, or of a rule at a stage.
type counters struct{ packets, bytes uint64 }

// reading is what the counters of a flow were when they were read.
type reading struct {
	counters
	cookie openflow.Cookie
	age    time.Duration // of the flow
}

// decision is a rule at a stage; of a guard, at a port of a VIF.
type decision struct {
	instance uint32
	stage    flow.Stage
	port     openflow.Port // 0: of no guard
}

// tally turns readings of flows into how much the counters of rules grew. It keeps the last reading of each flow that was ever hit; one
// without is taken to have been at zero.
type tally struct {
	last   map[openflow.FlowKey]reading
	before map[openflow.FlowKey]reading // while all flows are read: what last was; else nil
	grown  map[decision]counters        // since it was taken
	most   int                          // flows that are kept: a switch may say that it holds whatever it likes
}

func newTally() *tally {
	return &tally{last: map[openflow.FlowKey]reading{}, grown: map[decision]counters{}, most: tallyLeast}
}

// tallyLeast is how many flows are kept in any case.
const tallyLeast = 10_000

// begin says that all flows are going to be read, so that those which are gone can be forgotten.
func (m *tally) begin() { m.before, m.last = m.last, map[openflow.FlowKey]reading{} }

// done says that all flows were read, or that this went wrong on the way.
func (m *tally) done(err error) {
	if err != nil {
		maps.Copy(m.before, m.last)
		m.last = m.before
	}
	m.before = nil
}

// read notes the counters of a flow. If it was made anew since the last time, which shows by its cookie, its age, or counters that are
// smaller, all that it has counted is growth. Of base, the first reading after a start, nothing is: counting begins there.
func (m *tally) read(s *openflow.FlowStats, base bool) {
	instance, stage, is := compile.Hit(s.Table, s.Cookie)
	if !is {
		return
	}
	key := s.Key()
	was, known := m.last[key]
	if !known && m.before != nil {
		was, known = m.before[key]
	}
	switch {
	case s.Packets == 0 && s.Bytes == 0:
		delete(m.last, key)
		return
	case !known && len(m.last) >= m.most:
		return
	}
	m.last[key] = reading{counters{s.Packets, s.Bytes}, s.Cookie, s.Age}
	grew := counters{s.Packets, s.Bytes}
	if known && was.cookie == s.Cookie && was.age <= s.Age && was.packets <= s.Packets && was.bytes <= s.Bytes {
		grew = counters{s.Packets - was.packets, s.Bytes - was.bytes}
	}
	if base || grew == (counters{}) {
		return
	}
	d := decision{instance, stage, compile.GuardedPort(s.Flow)}
	sum := m.grown[d]
	m.grown[d] = counters{sum.packets + grew.packets, sum.bytes + grew.bytes}
}

// end notes that a flow is gone, or counts from zero.
func (m *tally) end(key openflow.FlowKey) { delete(m.last, key) }

// renew notes that a flow is going to be replaced by f: if it has the same cookie it goes on counting, but its age begins anew.
func (m *tally) renew(f openflow.Flow) {
	if r, known := m.last[f.Key()]; known && r.cookie == f.Cookie {
		r.age = 0
		m.last[f.Key()] = r
	}
}

// take returns by how much the counters grew since it was last called.
func (m *tally) take() map[decision]counters {
	grown := m.grown
	m.grown = map[decision]counters{}
	return grown
}

// takeGuards is take of those of guards; the others wait.
func (m *tally) takeGuards() map[decision]counters {
	taken := map[decision]counters{}
	for d, c := range m.grown {
		if d.port != 0 {
			taken[d] = c
			delete(m.grown, d)
		}
	}
	return taken
}
