package compile

import (
	"maps"
	"slices"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/policy"
)

// Compiler compiles one bridge, again and again: what did not change is taken from the time before. It is for one goroutine at a
// time.
type Compiler struct {
	settings settings
	last     *Desired
	known    known
}

// New returns a compiler that has compiled nothing yet.
func New() *Compiler { return &Compiler{last: &Desired{}} }

// Compile returns what the bridge is to hold. It depends on in only, not on what was compiled before; if that was equal, it is
// returned itself. If the flows would be more than in.Limit the error is a *LimitError; a bypass of the bridge is compiled even
// then.
func (c *Compiler) Compile(in *Input) (*Desired, error) {
	p, err := c.plan(in)
	if err != nil {
		return nil, err
	}
	d := &Desired{Groups: p.groups, Meters: p.meters, Warnings: p.warnings, units: p.units}
	old := c.last.units
	if p.settings != c.settings {
		old = nil
	}
	var fresh []maker
	for u := range d.units {
		if f := old[u]; f != nil {
			d.units[u] = f
			d.len += len(f.list)
			continue
		}
		fresh = append(fresh, u)
		d.len += u.count(&p.settings)
	}
	if old != nil && len(fresh) == 0 && len(d.units) == len(old) && maps.Equal(d.Groups, c.last.Groups) && maps.Equal(d.Meters, c.last.Meters) && slices.Equal(d.Warnings, c.last.Warnings) &&
		(in.Limit <= 0 || d.len <= in.Limit) {
		return c.last, nil
	}
	if in.Limit > 0 && d.len > in.Limit {
		refused := &LimitError{in.Bridge, in.Limit, p.estimate()}
		if !in.Bypass {
			return nil, refused
		}
		d = &Desired{Warnings: append(p.warnings, refused.Error()), units: map[maker]*flows{}, len: 1}
		fresh = []maker{bypass{}}
	}
	for _, u := range fresh {
		e := emitter{settings: &p.settings, list: make([]openflow.Flow, 0, u.count(&p.settings))}
		u.flows(&e)
		d.units[u] = &flows{e.list}
	}
	c.settings, c.last = p.settings, d
	return d, nil
}

// plan is what is to be compiled.
type plan struct {
	settings settings
	units    map[maker]*flows // not made yet
	groups   map[uint32]openflow.Group
	meters   map[uint32]openflow.MeterSpec
	warnings []string
}

func (p *plan) add(u maker) { p.units[u] = nil }

// fixed is the flows that every bridge has.
type fixed struct{}

func (fixed) flows(e *emitter) {
	fixedClassify(e)
	fixedGuard(e)
	fixedNotice(e)
	fixedDestination(e)
	fixedConnTrack(e)
	fixedACL(e)
	fixedTell(e)
	fixedLearn(e)
	fixedDeliver(e)
	fixedOutput(e)
	fixedDenied(e)
}

func (u fixed) count(s *settings) int {
	e := emitter{settings: s}
	u.flows(&e)
	return len(e.list)
}

// plan finds the units of an Input.
func (c *Compiler) plan(in *Input) (*plan, error) {
	b, err := newBridge(in)
	if err != nil {
		return nil, err
	}
	p := &plan{settings: settingsOf(in), units: make(map[maker]*flows, len(c.last.units)), groups: map[uint32]openflow.Group{}, meters: map[uint32]openflow.MeterSpec{}, warnings: b.warnings}
	if !p.settings.stateful {
		p.warnings = append(p.warnings, "Open vSwitch of this host tracks no connections: replies pass by rules, as if they were asked of both directions")
	}
	if in.Sampling != SampleOff && !in.Capabilities.Sample {
		p.warnings = append(p.warnings, "Open vSwitch of this host does not sample by rule: flows do not say which rule decided")
	}
	if !p.settings.learns {
		p.warnings = append(p.warnings, "Open vSwitch of this host learns without limit (before 2.8): MAC addresses behind VIFs that are not theirs are not reached from elsewhere")
	}
	p.add(fixed{})
	if in.Bypass {
		p.add(bypass{})
	}
	b.meters(p)
	b.classify(p)
	b.guards(p)
	b.destinations(p)
	b.deliveries(p)
	b.outputs(p)
	for _, instance := range in.Retired {
		p.add(retired{instance})
	}
	if len(b.vifs) > 0 {
		r := rules{p, in, c.known, known{lists: map[policy.Scope]*list{}, groups: map[flow.ID]*group{}}}
		r.of(b)
		c.known = r.now
	}
	return p, nil
}
