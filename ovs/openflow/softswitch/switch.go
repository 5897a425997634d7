package softswitch

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/weirhq/weir/ovs/openflow"
)

// Switch is flows and groups. Several goroutines may send packets through it, but not while Add changes it.
type Switch struct {
	tables [256]table
	groups map[uint32][][]openflow.Action // buckets
	live   func(openflow.Port) bool
}

// Config is what a Switch depends on besides its flows and groups.
type Config struct {
	// Live tells whether a port works, which decides among the members of a bond. Nil: all do.
	Live func(openflow.Port) bool
}

// New returns a switch with flows, and groups that they may use.
func New(cfg Config, flows iter.Seq[openflow.Flow], groups []openflow.Group) (*Switch, error) {
	s := &Switch{groups: map[uint32][][]openflow.Action{}, live: cfg.Live}
	if s.live == nil {
		s.live = func(openflow.Port) bool { return true }
	}
	for _, g := range groups {
		buckets, err := readBuckets(g)
		if err == nil && s.groups[g.ID] != nil {
			err = errors.New("there is one with its number")
		}
		if err != nil {
			return nil, fmt.Errorf("read group %q: %w", g, err)
		}
		s.groups[g.ID] = buckets
	}
	keys := map[openflow.FlowKey]bool{}
	for f := range flows {
		r, err := readFlow(f)
		if err == nil && keys[f.Key()] {
			err = errors.New("there is one with its key")
		}
		if err != nil {
			return nil, fmt.Errorf("read flow %q: %w", f, err)
		}
		keys[f.Key()] = true
		s.tables[f.Table] = append(s.tables[f.Table], r)
	}
	for _, t := range s.tables {
		slices.SortStableFunc(t, byPriority)
	}
	return s, nil
}

// Add gives the switch a flow, such as one that it learned, in place of one with the same key.
func (s *Switch) Add(f openflow.Flow) error {
	r, err := readFlow(f)
	if err != nil {
		return fmt.Errorf("read flow %q: %w", f, err)
	}
	t := slices.DeleteFunc(slices.Clone(s.tables[f.Table]), func(r *rule) bool { return r.flow.Key() == f.Key() })
	t = append(t, r)
	slices.SortStableFunc(t, byPriority)
	s.tables[f.Table] = t
	return nil
}

// rule is a flow, decoded.
type rule struct {
	flow    openflow.Flow
	terms   []openflow.Term
	clauses []openflow.Conjunction // not empty: a part of conjunctions, which is never matched by itself
	actions []openflow.Action
}

// table is rules by falling priority.
type table []*rule

func byPriority(a, b *rule) int { return cmp.Compare(b.flow.Priority, a.flow.Priority) }

func readFlow(f openflow.Flow) (*rule, error) {
	terms, err := readMatch(f.Match)
	if err != nil {
		return nil, err
	}
	r := &rule{flow: f, terms: terms}
	if r.actions, err = readActions(f.Actions.List()); err != nil {
		return nil, err
	}
	for _, a := range r.actions {
		switch a := a.(type) {
		case openflow.Conjunction:
			if a.Clause < 1 || a.Clause > a.Of || a.Of < 2 || a.Of > 64 {
				return nil, fmt.Errorf("clause %d of %d", a.Clause, a.Of)
			}
			r.clauses = append(r.clauses, a)
		case openflow.Goto:
			if a.Table <= f.Table {
				return nil, fmt.Errorf("goto_table:%d", a.Table)
			}
		}
	}
	if err := checkPackets(r.actions, f.Match); err != nil {
		return nil, err
	}
	if n := len(r.clauses); n != 0 && n != len(r.actions) {
		return nil, errors.New("conjunction beside other actions")
	}
	return r, nil
}

// checkPackets refuses actions that the packets of a match may not allow, as switches do: what is done with a tag that is perhaps not
// there, and tracking of what is perhaps not IP.
func checkPackets(actions []openflow.Action, match openflow.Match) error {
	tagged := match.Term(openflow.FieldVLANVID).Value.Lo&vlanPresent != 0
	etherType := match.Term(openflow.FieldEthType).Value.Lo
	for _, a := range actions {
		switch a := a.(type) {
		case openflow.PushVLAN:
			tagged = true
		case openflow.PopVLAN:
			if !tagged {
				return errors.New("pop_vlan of packets without a tag")
			}
			tagged = false
		case openflow.SetField:
			if a.Field == openflow.FieldVLANVID && !tagged {
				return errors.New("VLAN of packets without a tag")
			}
		case openflow.CT:
			invalid := match.Term(openflow.FieldCTState).Value.Lo&uint64(openflow.CTInvalid) != 0
			if etherType != openflow.EthTypeIPv4 && etherType != openflow.EthTypeIPv6 || invalid && a.Commit {
				return errors.New("ct of packets other than IP, or commit of invalid ones")
			}
		}
	}
	return nil
}

func readActions(list []openflow.Action) ([]openflow.Action, error) {
	actions := make([]openflow.Action, len(list))
	for i, a := range list {
		var err error
		if actions[i], err = checkAction(a); err != nil {
			return nil, err
		}
	}
	return actions, nil
}

// readBuckets reads the buckets of a group. They are action sets (OpenFlow 1.3.5 §5.10): of what sends the packet on, one only is done,
// last; so one only is modelled, and at the end.
func readBuckets(g openflow.Group) ([][]openflow.Action, error) {
	if g.Type != openflow.GroupAll {
		return nil, fmt.Errorf("groups of type %s are not modelled", g.Type)
	}
	buckets := [][]openflow.Action{}
	for _, b := range g.Buckets.List() {
		actions, err := readActions(b.Actions)
		if err != nil {
			return nil, err
		}
		for i, a := range actions {
			_, writes := written(a)
			switch a.(type) {
			case openflow.Output, openflow.ToGroup, openflow.Resubmit:
				if i == len(actions)-1 {
					continue
				}
			}
			if !writes {
				return nil, fmt.Errorf("%T, action %d of %d in a bucket, is not modelled", a, i+1, len(actions))
			}
		}
		if err := checkPackets(actions, ""); err != nil {
			return nil, err
		}
		buckets = append(buckets, actions)
	}
	return buckets, nil
}

func (f *rule) matches(s *state) bool {
	for i := range f.terms {
		t := &f.terms[i]
		if s.fields[t.Field].And(t.Mask) != t.Value {
			return false
		}
	}
	return true
}

// same tells whether two flows do the same and are told of as the same.
func (f *rule) same(g *rule) bool {
	return f.flow.Actions == g.flow.Actions && f.flow.Cookie == g.flow.Cookie
}

// Result is what the switch does with a packet. Lists are in the order in which it does.
type Result struct {
	Outputs []Output
	Normal  []Output // packets given to NORMAL
	Asked   int      // packets, or parts of them, sent to the controller
	Samples []openflow.Sample
	Flows   []*openflow.Flow // that the packet matched; of a conjunction the flow with its conj_id
	Missed  []uint8          // tables where it matched none
	Tracked []Tracked
	Commits []Commit
	Learned []openflow.Flow
}

// Output is a packet that leaves by a port, which is not the one by which it came.
type Output struct {
	Port   openflow.Port
	Or     []openflow.Port // by which it may leave instead: the switch spreads what it sends over them
	Tagged bool
	VLAN   uint16
}

// Tracked is a packet that came back from connection tracking.
type Tracked struct {
	Zone uint16
	Connection
}

// Commit is what is written to a connection: the bits of Mark and Label that are in the masks.
type Commit struct {
	Zone             uint16
	Mark, MarkMask   uint32
	Label, LabelMask openflow.Bits
}

// Limits of Open vSwitch (ofproto-dpif-xlate.c): of look-ups of a packet, and of those in the same or an earlier table within each other.
const (
	maxLookups = 4096
	maxDepth   = 64
)

// maxResumed is how often a packet and its copies come back from connection tracking, at most. Open vSwitch has no such limit.
const maxResumed = 64

// ErrLoop is the error of a packet that is looked up too often. Open vSwitch drops it.
var ErrLoop = errors.New("too many look-ups")

// run is a packet's way.
type run struct {
	*Switch
	result  *Result
	lookups int
	depth   int
	table   uint8 // where the packet is
	waiting []resumption
}

// resumption is a packet that came back from connection tracking, and where it goes on.
type resumption struct {
	state *state
	table uint8
}

// Send returns what the switch does with a packet.
func (s *Switch) Send(p *Packet) (*Result, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("send packet %q: %w", p, err)
	}
	r := &run{Switch: s, result: &Result{}, waiting: []resumption{{newState(p), 0}}}
	for resumed := 0; len(r.waiting) > 0; resumed++ {
		if resumed > maxResumed {
			return nil, fmt.Errorf("send packet %q: it came back from connection tracking more than %d times, which is not modelled", p, maxResumed)
		}
		next := r.waiting[0]
		r.waiting = r.waiting[1:]
		r.lookups, r.depth, r.table = 0, 0, next.table
		if err := r.lookUp(next.table, next.state); err != nil {
			return nil, fmt.Errorf("send packet %q: %w", p, err)
		}
	}
	return r.result, nil
}

// lookUp runs a packet through a table, and those that its flows name.
func (r *run) lookUp(id uint8, s *state) error {
	if r.lookups++; r.lookups > maxLookups {
		return fmt.Errorf("table %d: %w: %d", id, ErrLoop, r.lookups)
	}
	f, err := r.tables[id].lookUp(s)
	if err != nil {
		return fmt.Errorf("table %d: %w", id, err)
	}
	if f == nil {
		r.result.Missed = append(r.result.Missed, id)
		return nil
	}
	r.result.Flows = append(r.result.Flows, &f.flow)
	before, deeper := r.table, 0
	if id <= before {
		deeper = 1
	}
	if r.depth += deeper; r.depth > maxDepth {
		return fmt.Errorf("table %d: %w within each other: %d", id, ErrLoop, r.depth)
	}
	r.table = id
	err = r.all(f.actions, s)
	r.table, r.depth = before, r.depth-deeper
	return err
}

// ErrUndefined is the error of a packet of which Open vSwitch does not say what it does: several flows of one priority match it and do
// different things, or a conjunction is met whose flow with the conj_id then does not match. (Open vSwitch 3.1 looks for a flow of
// lower priority in that case, and overlooks those whose match is that of a part of a conjunction.)
var ErrUndefined = errors.New("what the switch does is not defined")

// lookUp returns the flow that a packet matches, nil if there is none: the flow of the highest priority, where all parts of a
// conjunction count as one flow of their priority, which is then the flow with its conj_id.
func (t table) lookUp(s *state) (*rule, error) {
	s.fields[openflow.FieldConjID] = openflow.Bits{}
	hard, err := t.plain(s)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(t) && (hard == nil || t[i].flow.Priority >= hard.flow.Priority); {
		end := i
		for end < len(t) && t[end].flow.Priority == t[i].flow.Priority {
			end++
		}
		found, err := t.conjunctive(met(t[i:end], s), s)
		switch {
		case err != nil:
			return nil, fmt.Errorf("priority %d: %w", t[i].flow.Priority, err)
		case found != nil && hard != nil && t[i].flow.Priority == hard.flow.Priority:
			return nil, fmt.Errorf("priority %d: %w: a conjunction is met, and a flow", t[i].flow.Priority, ErrUndefined)
		case found != nil:
			return found, nil
		}
		i = end
	}
	return hard, nil
}

// conjunctive returns the flow of conjunctions that are met.
func (t table) conjunctive(ids []uint32, s *state) (*rule, error) {
	var found *rule
	for _, id := range ids {
		s.fields[openflow.FieldConjID] = openflow.U64(uint64(id))
		f, err := t.plain(s)
		s.fields[openflow.FieldConjID] = openflow.Bits{}
		switch {
		case err != nil:
			return nil, err
		case f == nil || f.flow.Match.Term(openflow.FieldConjID).Mask.IsZero():
			return nil, fmt.Errorf("%w: conjunction %d is met and leads nowhere", ErrUndefined, id)
		case found == nil:
			found = f
		case !found.same(f):
			return nil, fmt.Errorf("%w: conjunctions %d are met", ErrUndefined, ids)
		}
	}
	return found, nil
}

// plain returns the flow of the highest priority that is no part of a conjunction.
func (t table) plain(s *state) (*rule, error) {
	var found *rule
	for _, f := range t {
		if found != nil && f.flow.Priority < found.flow.Priority {
			break
		}
		if len(f.clauses) > 0 || !f.matches(s) {
			continue
		}
		if found != nil && !found.same(f) {
			return nil, fmt.Errorf("priority %d: %w: cookies %s and %s match", f.flow.Priority, ErrUndefined, found.flow.Cookie, f.flow.Cookie)
		}
		found = f
	}
	return found, nil
}

// met returns the conjunctions all parts of which a packet matches, in the order in which rules name them.
func met(rules table, s *state) []uint32 {
	type conjunction struct {
		of   uint8
		have uint64 // clauses
	}
	var all map[uint32]conjunction
	var ids []uint32
	for _, f := range rules {
		if len(f.clauses) == 0 || !f.matches(s) {
			continue
		}
		for _, c := range f.clauses {
			if all == nil {
				all = map[uint32]conjunction{}
			}
			x := all[c.ID]
			full := uint64(1)<<c.Of - 1
			switch {
			case x.of != 0 && x.of != c.Of: // Open vSwitch takes those that agree with the first
				continue
			case x.have != full:
				if x.have |= 1 << (c.Clause - 1); x.have == full {
					ids = append(ids, c.ID)
				}
			}
			x.of = c.Of
			all[c.ID] = x
		}
	}
	return ids
}
