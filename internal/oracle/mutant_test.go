package oracle_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	of "github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/compile/compiletest"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

// specimen is flows of a bridge, frames of which the outcome is right, and which flows they matched.
type specimen struct {
	in      *compile.Input
	desired *compile.Desired
	flows   []of.Flow
	frames  []frame
	want    []outcome
	met     []int                // indexes in flows
	metBy   map[of.FlowKey][]int // indexes in frames
	after   *bridge              // with what the frames taught it
}

// mutant is flows with one change.
type mutant struct {
	flows []of.Flow
	d     *compile.Desired // has the groups
	term  *of.Term         // that flow i asks no more, or not whole
}

const framesPerSpecimen = 250

func newSpecimen(t *testing.T, r *rand.Rand) *specimen {
	t.Helper()
	w := policytest.New(r, policytest.Small)
	in := compiletest.Random(r, w)
	in.Bypass, in.Sampling = false, compile.SampleFull
	d, err := compile.New().Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	s := &specimen{in: in, desired: d, flows: slices.SortedFunc(d.Each(), func(a, b of.Flow) int {
		if a.Key() == b.Key() {
			return 0
		}
		if fmt.Sprint(a.Key()) < fmt.Sprint(b.Key()) {
			return -1
		}
		return 1
	})}
	b := newBridge(in, anyPort)
	for range framesPerSpecimen {
		f := b.frame(r, w)
		s.frames, s.want = append(s.frames, f), append(s.want, b.expect(f))
	}
	s.after, s.metBy = b, map[of.FlowKey][]int{}
	if noticed := s.examine(&mutant{flows: s.flows, d: d}, nil, s.metBy); noticed != "" {
		t.Fatalf("without a change: %s", noticed)
	}
	for i, f := range s.flows {
		if s.metBy[f.Key()] != nil {
			s.met = append(s.met, i)
		}
	}
	return s
}

func anyPort(of.Port) bool { return true }

// examine asks all frames of a mutant, and then others, until one is not as it is to be, and says what is not; empty: they are all. It
// adds to metBy which flows were met by which frame.
func (s *specimen) examine(m *mutant, others []frame, metBy map[of.FlowKey][]int) string {
	c, err := loadFlows(s.in, m.flows, m.d, anyPort)
	if err != nil {
		return "refused: " + err.Error()
	}
	ask := func(i int, f *frame, want *outcome) string {
		r, err := c.model.Send(f.send())
		if err != nil {
			return err.Error()
		}
		for _, f := range r.Flows {
			metBy[f.Key()] = append(metBy[f.Key()], i)
		}
		said, err := c.told(r)
		if err != nil {
			return err.Error()
		}
		for _, l := range r.Learned {
			if err := c.model.Add(l); err != nil {
				return err.Error()
			}
		}
		return differ(want, &said)
	}
	for i := range s.frames {
		if d := ask(i, &s.frames[i], &s.want[i]); d != "" {
			return d
		}
	}
	after := *s.after
	after.learned = slices.Clone(after.learned)
	for _, f := range others {
		want := after.expect(f)
		if d := ask(-1, &f, &want); d != "" {
			return d
		}
	}
	return ""
}

// variants returns frames like those that met flow i, but for a field of it.
func (s *specimen) variants(i int, term of.Term) (list []frame) {
	for _, k := range s.metBy[s.flows[i].Key()] {
		if len(list) > 200 {
			break
		}
		for bit := range term.Field.Width() {
			f := s.frames[k]
			if f.flip(term.Field, bit) {
				list = append(list, f)
			}
		}
		f := s.frames[k]
		switch term.Field {
		case of.FieldInPort, of.FieldReg0, of.FieldReg(5), of.FieldReg(8): // whose it is
			for _, p := range s.after.ports() {
				f.port, f.tagged = number(p), false
				list = append(list, f)
			}
		case of.FieldEthDst, of.FieldReg(6), of.FieldReg(7), of.FieldReg(9): // to whom
			for v, r := range s.after.rules {
				if r != nil && s.after.mac(v) != 0 {
					f.packet.DstMAC = s.after.mac(v)
					list = append(list, f)
				}
			}
		default:
		}
	}
	return list
}

// flip changes a bit of a field, if packets have it.
func (f *frame) flip(field of.Field, bit int) bool {
	p := &f.packet
	addr := func(a *netip.Addr, is4 bool) bool {
		if a.Is4() != is4 || !a.IsValid() {
			return false
		}
		b := a.AsSlice()
		b[len(b)-1-bit/8] ^= 1 << (bit % 8)
		*a, _ = netip.AddrFromSlice(b)
		return true
	}
	port := func(n *uint16, proto uint8) bool {
		*n ^= 1 << bit
		return p.IP == proto
	}
	switch field {
	case of.FieldIPv4Src, of.FieldARPSPA:
		return addr(&p.Src, true)
	case of.FieldIPv4Dst, of.FieldARPTPA:
		return addr(&p.Dst, true)
	case of.FieldIPv6Src:
		return addr(&p.Src, false)
	case of.FieldIPv6Dst:
		return addr(&p.Dst, false)
	case of.FieldTCPSrc:
		return port(&p.SrcPort, policy.IPTCP)
	case of.FieldTCPDst:
		return port(&p.DstPort, policy.IPTCP)
	case of.FieldUDPSrc:
		return port(&p.SrcPort, policy.IPUDP)
	case of.FieldUDPDst:
		return port(&p.DstPort, policy.IPUDP)
	case of.FieldCTLabel:
		if bit >= 64 || f.state == policy.New || f.state == policy.Invalid {
			return false
		}
		if bit < 32 {
			f.egress ^= 1 << bit
		} else {
			f.ingress ^= 1 << (bit - 32)
		}
		return f.egress < 1<<30 && f.ingress < 1<<30
	default:
		return false
	}
}

// instead returns the flow of the same table that frames meet if flow i is not there; -1: none that was not met before.
func (s *specimen) instead(i int) int {
	metBy := map[of.FlowKey][]int{}
	for _, k := range s.metBy[s.flows[i].Key()] { // each alone: they are not as they are to be
		one := &specimen{in: s.in, frames: s.frames[k : k+1], want: s.want[k : k+1], after: s.after}
		_ = one.examine(&mutant{flows: slices.Delete(slices.Clone(s.flows), i, i+1), d: s.desired}, nil, metBy)
		for k, f := range s.flows {
			if f.Table == s.flows[i].Table && f.Priority < s.flows[i].Priority && metBy[f.Key()] != nil {
				return k
			}
		}
	}
	return -1
}

// mutations are what may go wrong with flows, each at flow i; nil: this one cannot go wrong so.
var mutations = map[string]func(r *rand.Rand, s *specimen, i int) *mutant{
	"a flow is missing": func(_ *rand.Rand, s *specimen, i int) *mutant {
		return &mutant{flows: slices.Delete(slices.Clone(s.flows), i, i+1), d: s.desired}
	},
	"two flows have each other's priority": func(_ *rand.Rand, s *specimen, i int) *mutant {
		k := s.instead(i)
		if k < 0 {
			return nil
		}
		flows := slices.Clone(s.flows)
		flows[i].Priority, flows[k].Priority = flows[k].Priority, flows[i].Priority
		return &mutant{flows: flows, d: s.desired}
	},
	"a field is not matched": func(r *rand.Rand, s *specimen, i int) *mutant {
		terms := slices.Collect(s.flows[i].Match.Terms())
		if len(terms) == 0 {
			return nil
		}
		at := r.IntN(len(terms))
		term := terms[at]
		m := s.with(i, func(f *of.Flow) { f.Match = of.NewMatch(slices.Delete(terms, at, at+1)...) })
		m.term = &term
		return m
	},
	"a bit is not matched": func(r *rand.Rand, s *specimen, i int) *mutant {
		terms := slices.Collect(s.flows[i].Match.Terms())
		var masked []int
		for k, t := range terms {
			switch t.Field {
			case of.FieldIPv4Src, of.FieldIPv4Dst, of.FieldIPv6Src, of.FieldIPv6Dst, of.FieldTCPSrc, of.FieldTCPDst, of.FieldUDPSrc, of.FieldUDPDst, of.FieldCTLabel:
				masked = append(masked, k)
			default:
			}
		}
		if len(masked) == 0 {
			return nil
		}
		k := masked[r.IntN(len(masked))]
		term := terms[k]
		low := terms[k].Mask.AndNot(terms[k].Mask.Shl(1)) // the lowest bits of each run of them
		terms[k] = of.Masked(terms[k].Field, terms[k].Value, terms[k].Mask.AndNot(low))
		m := s.with(i, func(f *of.Flow) { f.Match = of.NewMatch(terms...) })
		m.term = &term
		return m
	},
	"an action is missing": func(r *rand.Rand, s *specimen, i int) *mutant {
		actions := s.flows[i].Actions.List()
		if len(actions) == 0 {
			return nil
		}
		at := r.IntN(len(actions))
		return s.with(i, func(f *of.Flow) { f.Actions = of.NewActions(slices.Delete(actions, at, at+1)...) })
	},
	"a sample says another instance": func(_ *rand.Rand, s *specimen, i int) *mutant {
		return s.action(i, func(a of.Action) of.Action {
			if x, ok := a.(of.Sample); ok {
				x.Point++
				return x
			}
			return nil
		})
	},
	"a sample says another stage": func(_ *rand.Rand, s *specimen, i int) *mutant {
		return s.action(i, func(a of.Action) of.Action {
			if x, ok := a.(of.Sample); ok {
				stage, instance := flow.SplitPoint(x.Point)
				x.Point = flow.Point(flow.StageEgress+(stage-flow.StageEgress+1)%4, instance)
				return x
			}
			return nil
		})
	},
	"a cookie says another instance": func(_ *rand.Rand, s *specimen, i int) *mutant {
		if _, _, ok := compile.Hit(s.flows[i].Table, s.flows[i].Cookie); !ok {
			return nil
		}
		return s.with(i, func(f *of.Flow) { f.Cookie++ })
	},
	"a register is another value": func(_ *rand.Rand, s *specimen, i int) *mutant {
		return s.action(i, func(a of.Action) of.Action {
			if x, ok := a.(of.Load); ok {
				x.Value ^= 1
				return x
			}
			return nil
		})
	},
	"a packet leaves by another port": func(_ *rand.Rand, s *specimen, i int) *mutant {
		return s.action(i, func(a of.Action) of.Action {
			switch x := a.(type) {
			case of.Output:
				x.Port = 29
				return x
			case of.SetField:
				x.Value.Lo ^= 1
				return x
			}
			return nil
		})
	},
	"a flow does what another of its table does": func(r *rand.Rand, s *specimen, i int) *mutant {
		k := s.met[r.IntN(len(s.met))]
		if s.flows[k].Table != s.flows[i].Table || s.flows[k].Actions == s.flows[i].Actions {
			return nil
		}
		return s.with(i, func(f *of.Flow) { f.Actions = s.flows[k].Actions })
	},
	"a connection is remembered otherwise": func(_ *rand.Rand, s *specimen, i int) *mutant {
		return s.action(i, func(a of.Action) of.Action {
			x, ok := a.(of.CT)
			if !ok {
				return nil
			}
			if x.Commit {
				x.Exec = x.Exec[:len(x.Exec)-1]
			} else {
				x.ZoneFrom, x.Zone = of.Part{}, 7
			}
			return x
		})
	},
	"a VIF gets no copy": func(r *rand.Rand, s *specimen, i int) *mutant {
		for _, a := range s.flows[i].Actions.List() {
			g, ok := a.(of.ToGroup)
			if !ok {
				continue
			}
			d := compile.Of(nil)
			d.Groups = maps.Clone(s.desired.Groups)
			group := d.Groups[g.ID]
			buckets := group.Buckets.List()
			at := r.IntN(len(buckets))
			group.Buckets = of.NewBuckets(slices.Delete(buckets, at, at+1)...)
			d.Groups[g.ID] = group
			return &mutant{flows: s.flows, d: d}
		}
		return nil
	},
}

// with returns the flows with one changed.
func (s *specimen) with(i int, change func(*of.Flow)) *mutant {
	flows := slices.Clone(s.flows)
	change(&flows[i])
	return &mutant{flows: flows, d: s.desired}
}

// action returns the flows with the first action of one changed for which change returns another.
func (s *specimen) action(i int, change func(of.Action) of.Action) *mutant {
	actions := s.flows[i].Actions.List()
	for k, a := range actions {
		if other := change(a); other != nil {
			actions[k] = other
			return s.with(i, func(f *of.Flow) { f.Actions = of.NewActions(actions...) })
		}
	}
	return nil
}

// What goes wrong with a flow is noticed: of flows that frames meet, one is changed, and one of the frames is then not as it is to
// be. Not all changes matter, so that some are not.
func TestMutantsAreNoticed(t *testing.T) {
	const specimens, each = 20, 4
	r := rand.New(rand.NewPCG(chance.Seed(t), 0))
	type tally struct{ made, noticed int }
	tallies := map[string]*tally{}
	names := slices.Sorted(maps.Keys(mutations))
	for range specimens {
		s := newSpecimen(t, r)
		for _, name := range names {
			n := tallies[name]
			if n == nil {
				n = &tally{}
				tallies[name] = n
			}
			made := 0
			for range 100 * each {
				i := s.met[r.IntN(len(s.met))]
				m := mutations[name](r, s, i)
				if m == nil {
					continue
				}
				var others []frame
				if m.term != nil {
					others = s.variants(i, *m.term)
				}
				if noticed := s.examine(m, others, map[of.FlowKey][]int{}); noticed != "" {
					n.noticed++
				} else {
					t.Logf("not noticed: %s: %s", name, s.flows[i])
				}
				n.made++
				if made++; made == each {
					break
				}
			}
		}
	}
	for _, name := range names {
		n := tallies[name]
		t.Logf("%s: %d of %d noticed", name, n.noticed, n.made)
		// Of 100. Twelve runs of 80 mutants each measured 79 to 91, with a deviation of 4, where least but one are noticed, and of fields that
		// are not matched 64 to 86, with a deviation of 6.4: others often say the same, such as the port and the segment. What is enough is
		// more than four deviations from the mean.
		enough := 65
		if name == "a field is not matched" {
			enough = 50
		}
		if n.made < specimens || n.noticed*100 < n.made*enough {
			t.Errorf("%s: %d of %d noticed, want %d of 100, of %d or more", name, n.noticed, n.made, enough, specimens)
		}
	}
}
