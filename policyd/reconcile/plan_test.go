package reconcile

import (
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/compile"
)

// bridge is what a switch holds, and does what it is told.
type bridge struct {
	flows  map[openflow.FlowKey]openflow.Flow
	groups map[uint32]openflow.Group
	meters map[uint32]openflow.MeterSpec
}

// do carries out modifications as a switch does.
func (b *bridge) do(t *testing.T, mods []openflow.Mod) {
	t.Helper()
	for _, m := range mods {
		switch m := m.(type) {
		case openflow.AddFlow:
			for id := range groupsIn(m.Flow.Actions) {
				if _, is := b.groups[id]; !is {
					t.Fatalf("%s: there is no group %d yet", m, id)
				}
			}
			if id, is := meterIn(m.Flow.Actions); is && b.meters[id].ID == 0 {
				t.Fatalf("%s: there is no meter %d yet", m, id)
			}
			if was, is := b.flows[m.Flow.Key()]; is && m.Reset != (was.Cookie != m.Flow.Cookie) {
				t.Fatalf("%s: counters begin anew: %v, its cookie was %v", m, m.Reset, was.Cookie)
			}
			b.flows[m.Flow.Key()] = m.Flow
		case openflow.DeleteFlow:
			if f, is := b.flows[m.Key]; is && f.Cookie&m.CookieMask == m.Cookie {
				delete(b.flows, m.Key)
			}
		case openflow.AddGroup:
			if _, is := b.groups[m.Group.ID]; is {
				t.Fatalf("%s: there is one", m)
			}
			b.groups[m.Group.ID] = m.Group
		case openflow.ModifyGroup:
			if _, is := b.groups[m.Group.ID]; !is {
				t.Fatalf("%s: there is none", m)
			}
			b.groups[m.Group.ID] = m.Group
		case openflow.DeleteGroup:
			delete(b.groups, m.ID)
			for _, f := range b.flows {
				for id := range groupsIn(f.Actions) {
					if id == m.ID {
						t.Fatalf("%s: %s uses it", m, f)
					}
				}
			}
		default:
			t.Fatalf("%s: not wanted here", m)
		}
	}
}

// carry carries out a plan.
func (b *bridge) carry(t *testing.T, p *plan) {
	t.Helper()
	for _, m := range p.metersAdded {
		if _, is := b.meters[m.ID]; is {
			t.Fatalf("add %s: there is one", m)
		}
		b.meters[m.ID] = m
	}
	b.do(t, p.mods())
	for _, m := range p.metersChanged {
		if _, is := b.meters[m.ID]; !is {
			t.Fatalf("change %s: there is none", m)
		}
		b.meters[m.ID] = m
	}
	for _, id := range p.metersUnused {
		for _, f := range b.flows {
			if used, is := meterIn(f.Actions); is && used == id {
				t.Fatalf("remove meter %d: %s uses it", id, f)
			}
		}
		delete(b.meters, id)
	}
	if missed := p.missedMeter(slices.Collect(maps.Values(b.meters))); missed != "" {
		t.Fatalf("missed: %s", missed)
	}
}

func (b *bridge) clone() *bridge {
	return &bridge{maps.Clone(b.flows), maps.Clone(b.groups), maps.Clone(b.meters)}
}

// look returns the observation of b.
func (b *bridge) look(want *compile.Desired, before map[uint32]openflow.Group) (*observation, error) {
	o := observe(want)
	for _, f := range b.flows {
		o.see(f)
	}
	return o, o.finish(slices.Collect(maps.Values(b.groups)), slices.Collect(maps.Values(b.meters)), before)
}

// randomDesired returns flows of few keys, some of which use groups.
func randomDesired(rng *rand.Rand) *compile.Desired {
	byKey := map[openflow.FlowKey]openflow.Flow{}
	groups := map[uint32]openflow.Group{}
	for range rng.IntN(40) {
		f := randomFlow(rng, compile.Cookie(0, compile.KindRule, uint32(1000+rng.IntN(5))))
		for id := range groupsIn(f.Actions) {
			if _, is := groups[id]; !is {
				groups[id] = openflow.NewGroup(id, []openflow.Action{openflow.Output{Port: openflow.Port(rng.IntN(3))}})
			}
		}
		byKey[f.Key()] = f
	}
	d := compile.Of(slices.Collect(maps.Values(byKey)), slices.Collect(maps.Values(groups))...)
	d.Meters = map[uint32]openflow.MeterSpec{}
	for f := range d.Each() {
		if id, is := meterIn(f.Actions); is && d.Meters[id].ID == 0 {
			d.Meters[id] = randomMeter(rng, id)
		}
	}
	return d
}

func randomMeter(rng *rand.Rand, id uint32) openflow.MeterSpec {
	return openflow.MeterSpec{ID: id, Rate: 1 + rng.Uint32N(2), Burst: 1 + rng.Uint32N(2)}
}

func randomFlow(rng *rand.Rand, cookie openflow.Cookie) openflow.Flow {
	f := openflow.Flow{Table: []uint8{0, 30, 50}[rng.IntN(3)], Priority: uint16(rng.IntN(4)), Cookie: cookie}
	if n := rng.IntN(5); n > 0 {
		f.Match = openflow.NewMatch(openflow.InPort(openflow.Port(n)))
	}
	if n := rng.IntN(4); n > 0 {
		f.Actions = openflow.NewActions(openflow.ToGroup{ID: compile.GroupFirst + uint32(n)})
	} else {
		f.Actions = openflow.NewActions(openflow.Output{Port: openflow.Port(rng.IntN(3))})
	}
	if n := rng.Uint32N(8); n < 3 {
		f.Actions = openflow.NewActions(append(f.Actions.List(), openflow.Meter{ID: compile.MeterFirst + n})...)
	}
	return f
}

func learned(f openflow.Flow) bool {
	_, is := passing(f.Cookie)
	return is
}

// is checks that b holds want, and of other flows those in others.
func (b *bridge) is(t *testing.T, want *compile.Desired, others map[openflow.FlowKey]openflow.Flow) {
	t.Helper()
	all := maps.Clone(others)
	for f := range want.Each() {
		all[f.Key()] = f
	}
	if diff := cmp.Diff(all, b.flows); diff != "" {
		t.Fatalf("flows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.Groups, b.groups); diff != "" {
		t.Fatalf("groups (-want +got):\n%s", diff)
	}
	left := maps.Clone(b.meters)
	maps.DeleteFunc(left, func(id uint32, _ openflow.MeterSpec) bool { return id == theirMeter })
	if diff := cmp.Diff(want.Meters, left); diff != "" || len(left) == len(b.meters) {
		t.Fatalf("meters (-want +got):\n%s\nall: %v", diff, b.meters)
	}
}

// theirMeter is one of others.
const theirMeter = 1

// Whatever is on a bridge, the plan leads to what is wanted and leaves flows of others alone; from there to the next thing wanted, the
// difference leads as the whole comparison does.
func TestPlansLeadThere(t *testing.T) {
	seed := chance.Seed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	for n := range 1000 {
		first, second := randomDesired(rng), randomDesired(rng)
		b := &bridge{map[openflow.FlowKey]openflow.Flow{}, map[uint32]openflow.Group{}, map[uint32]openflow.MeterSpec{theirMeter: {ID: theirMeter, Rate: 7}}}
		for id := range uint32(4) { // of ours from before, used or not
			if rng.IntN(2) == 0 {
				b.meters[compile.MeterFirst+id] = randomMeter(rng, compile.MeterFirst+id)
			}
		}
		others := map[openflow.FlowKey]openflow.Flow{}
		for id := range uint32(4) { // of ours from before, which flows of ours use
			b.groups[compile.GroupFirst+id] = openflow.NewGroup(compile.GroupFirst+id, []openflow.Action{openflow.Output{Port: openflow.Port(rng.IntN(3))}})
			f := openflow.Flow{Table: 99, Priority: uint16(id), Cookie: compile.Cookie(3, compile.KindDeliver, 0), Actions: openflow.NewActions(openflow.ToGroup{ID: compile.GroupFirst + id})}
			b.flows[f.Key()] = f
		}
		for range rng.IntN(60) {
			cookie := compile.Cookie(uint8(rng.IntN(2)), compile.KindRule, uint32(1000+rng.IntN(5)))
			switch rng.IntN(4) {
			case 0:
				cookie = openflow.Cookie(rng.Uint64N(3))
			case 1:
				cookie = compile.Cookie(0, compile.KindLearned, 0)
			}
			f := randomFlow(rng, cookie)
			if !owned(cookie) || learned(f) {
				f.Actions = "" // a group of ours that they use would take them along
			}
			b.flows[f.Key()] = f
		}
		wanted := map[openflow.FlowKey]bool{}
		for f := range first.Each() {
			wanted[f.Key()] = true
		}
		for key, f := range b.flows {
			if (!owned(f.Cookie) || learned(f)) && !wanted[key] {
				others[key] = f
			}
		}
		o, err := b.look(first, nil)
		if err != nil {
			t.Fatalf("seed %d, %d: %v", seed, n, err)
		}
		b.carry(t, &o.plan)
		b.is(t, first, others)
		if again, err := b.look(first, first.Groups); err != nil || again.plan.size() != 0 {
			t.Fatalf("seed %d, %d: after the plan there is %+v, %v", seed, n, again.plan, err)
		}
		for key := range b.flows { // those of others must not be in the way of the second
			if _, is := others[key]; is {
				delete(b.flows, key)
				delete(others, key)
			}
		}
		other := b.clone()
		p := difference(first, second)
		b.carry(t, p)
		b.is(t, second, others)
		o, err = other.look(second, first.Groups)
		if err != nil {
			t.Fatalf("seed %d, %d: %v", seed, n, err)
		}
		if got, want := [4]int{len(p.add), len(p.replace), len(p.remove), p.meters()}, [4]int{len(o.plan.add), len(o.plan.replace), len(o.plan.remove), o.plan.meters()}; got != want {
			t.Fatalf("seed %d, %d: the difference adds, replaces, removes, and changes of meters %v, the whole comparison %v", seed, n, got, want)
		}
	}
}

// Groups are removed after the flows that use them, if they are ours.
func TestGroupsGoLast(t *testing.T) {
	g := openflow.NewGroup(compile.GroupFirst+1, []openflow.Action{openflow.Output{Port: 1}})
	theirs := openflow.NewGroup(compile.GroupFirst+2, []openflow.Action{openflow.Output{Port: 1}})
	user := openflow.Flow{Table: 40, Cookie: compile.Cookie(0, compile.KindDeliver, 0), Actions: openflow.NewActions(openflow.ToGroup{ID: g.ID})}
	b := &bridge{map[openflow.FlowKey]openflow.Flow{user.Key(): user}, map[uint32]openflow.Group{g.ID: g, theirs.ID: theirs, 7: openflow.NewGroup(7)}, nil}
	o, err := b.look(compile.Of(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	b.do(t, o.plan.mods())
	if len(b.flows) != 0 || len(b.groups) != 2 || b.groups[g.ID].ID != 0 {
		t.Errorf("left are %v and %v, want groups 7 and %d", b.flows, b.groups, theirs.ID)
	}
}

// Meters in the range of ours are ours, unless flows of others use them.
func TestMetersThatOthersUse(t *testing.T) {
	spec := func(id, rate uint32) openflow.MeterSpec { return openflow.MeterSpec{ID: id, Rate: rate, Burst: 1} }
	theirs := openflow.Flow{Priority: 1, Actions: openflow.NewActions(openflow.Meter{ID: compile.MeterFirst}, openflow.Normal())}
	b := &bridge{map[openflow.FlowKey]openflow.Flow{theirs.Key(): theirs}, map[uint32]openflow.Group{}, map[uint32]openflow.MeterSpec{
		compile.MeterFirst: spec(compile.MeterFirst, 1), compile.MeterFirst + 1: spec(compile.MeterFirst+1, 1), compile.MeterLast + 1: spec(compile.MeterLast+1, 1),
	}}
	want := compile.Of(nil)
	o, err := b.look(want, nil)
	if err != nil || o.plan.meters() != 1 || o.plan.metersUnused[0] != compile.MeterFirst+1 {
		t.Errorf("plan %+v, %v; want that meter %d is removed", o.plan, err, compile.MeterFirst+1)
	}
	want.Meters = map[uint32]openflow.MeterSpec{compile.MeterFirst: spec(compile.MeterFirst, 2)}
	if o, err = b.look(want, nil); err == nil || !strings.Contains(err.Error(), "del-meter") || len(o.foreign) == 0 {
		t.Errorf("%v, strangers %q; want to be told whose meter is in the way", err, o.foreign)
	}
	want.Meters[compile.MeterFirst] = spec(compile.MeterFirst, 1)
	if o, err = b.look(want, nil); err != nil || len(o.plan.metersChanged)+len(o.plan.metersAdded) != 0 {
		t.Errorf("plan %+v, %v; want nothing of one that is as wanted", o.plan, err)
	}
}

// The tally tells of every packet once, whatever becomes of flows, as long as they are read before they end.
func TestMeter(t *testing.T) {
	seed := chance.Seed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	for n := range 500 {
		m := newTally()
		there := map[openflow.FlowKey]*openflow.FlowStats{}
		want, got := map[decision]counters{}, map[decision]counters{}
		take := func() {
			for d, c := range m.take() {
				got[d] = counters{got[d].packets + c.packets, got[d].bytes + c.bytes}
			}
		}
		key := func() openflow.Flow {
			return openflow.Flow{Table: 30, Priority: uint16(rng.IntN(6)), Cookie: compile.Cookie(0, compile.KindRule, uint32(1000+rng.IntN(4)))}
		}
		for range 300 {
			f := key()
			s := there[f.Key()]
			switch rng.IntN(8) {
			case 0: // it is made, or made another rule's, or goes on with other actions
				if s != nil {
					m.read(s, false)
				}
				next := &openflow.FlowStats{Flow: f}
				if s != nil && s.Cookie == f.Cookie {
					m.renew(f)
					next.Packets, next.Bytes = s.Packets, s.Bytes
				} else {
					m.end(f.Key())
				}
				there[f.Key()] = next
			case 1: // it is removed
				if s != nil {
					m.read(s, false)
					m.end(f.Key())
					delete(there, f.Key())
				}
			case 2: // the switch starts anew: nothing is there at first
				for key, s := range there {
					m.read(s, false)
					there[key] = &openflow.FlowStats{Flow: s.Flow}
				}
				m.begin()
				m.done(nil)
			case 3:
				if s != nil {
					m.read(s, false)
				}
			case 4: // all are read, or some before it goes wrong
				var err error
				m.begin()
				for _, s := range there {
					if m.read(s, false); rng.IntN(20) == 0 {
						err = errors.New("fault of the test")
						break
					}
				}
				m.done(err)
			case 5:
				take()
			default:
				if s != nil {
					packets := rng.Uint64N(5)
					s.Packets += packets
					s.Bytes += packets * 60
					instance, stage, _ := compile.Hit(s.Table, s.Cookie)
					d := decision{instance, stage, 0}
					if packets > 0 {
						want[d] = counters{want[d].packets + packets, want[d].bytes + packets*60}
					}
				}
			}
			for _, s := range there {
				s.Age += time.Second
			}
		}
		for _, s := range there {
			m.read(s, false)
		}
		take()
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(decision{}, counters{})); diff != "" {
			t.Fatalf("seed %d, %d: (-counted +told):\n%s", seed, n, diff)
		}
	}
	m := newTally()
	first := &openflow.FlowStats{Flow: openflow.Flow{Table: 30, Cookie: compile.Cookie(0, compile.KindRule, 1000)}, Packets: 9, Bytes: 99, Age: time.Minute}
	m.read(first, true)
	first.Packets++
	m.read(first, false)
	if got := m.take(); got[decision{1000, flow.StageEgress, 0}] != (counters{packets: 1}) {
		t.Errorf("after a first reading: %v, want one packet", got)
	}
}

// Whatever a switch says, what is kept of it and done about it has a bound, and what it says of others is short.
func TestHostileSwitch(t *testing.T) {
	o := observe(compile.Of(nil))
	m := newTally()
	for i := range uint32(removeMost + 10) {
		s := openflow.FlowStats{Flow: openflow.Flow{Table: 30, Cookie: compile.Cookie(0, compile.KindRule, 1000+i), Match: openflow.NewMatch(openflow.Reg(0, i, ^uint32(0)))}, Packets: 1}
		o.see(s.Flow)
		m.read(&s, false)
		m.read(&s, false)
	}
	if len(o.plan.remove) != removeMost || len(m.last) != tallyLeast || len(m.grown) != tallyLeast {
		t.Errorf("%d flows to be removed, %d readings, %d rules that grew; want %d, %d, %d", len(o.plan.remove), len(m.last), len(m.grown), removeMost, tallyLeast, tallyLeast)
	}
	o = observe(compile.Of([]openflow.Flow{{Table: 30}}))
	for i := range uint16(20) {
		o.see(openflow.Flow{Table: 30, Priority: i + 1, Actions: openflow.NewActions(make([]openflow.Action, 0)...), Match: openflow.Match(slices.Repeat([]byte{0xff, 0xee, 0, 4, 1, 2, 3, 4}, 500))})
	}
	if len(o.foreign) != foreignNamed || o.bypasses != 20 || len(o.foreign[0]) > textMost+10 {
		t.Errorf("%d flows of others are named of %d, the first in %d octets", len(o.foreign), o.bypasses, len(o.foreign[0]))
	}
}

// A connection is a bridge's by datapath id, and by certificate or else by address.
func TestWhoseConnection(t *testing.T) {
	r := New(Config{}, Deps{Log: slog.New(slog.DiscardHandler)})
	addr := netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		name        string
		certificate ovsdb.Fingerprint // of the host
		link        *link
		want        bool
	}{
		{"address", "", &link{datapath: 5, addr: netip.AddrPortFrom(addr, 1)}, true},
		{"address, with a certificate that nobody asked for", "", &link{datapath: 5, addr: netip.AddrPortFrom(addr, 1), certificate: "AA"}, true},
		{"another datapath", "", &link{datapath: 6, addr: netip.AddrPortFrom(addr, 1)}, false},
		{"another address", "", &link{datapath: 5, addr: netip.MustParseAddrPort("192.0.2.2:1")}, false},
		{"certificate", "AA", &link{datapath: 5, addr: netip.MustParseAddrPort("192.0.2.2:1"), certificate: "AA"}, true},
		{"another certificate", "AA", &link{datapath: 5, addr: netip.AddrPortFrom(addr, 1), certificate: "BB"}, false},
		{"no certificate", "AA", &link{datapath: 5, addr: netip.AddrPortFrom(addr, 1)}, false},
	} {
		k := newKeeper(r, Bridge{DatapathID: 5, Addrs: []netip.Addr{addr}, Certificate: c.certificate})
		if got := k.expects(c.link); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
