package compile

import (
	"maps"
	"net/netip"
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
	groups   map[flow.ID]*group
	entries  map[uint32]*policy.Entry // by instance
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
	d := &Desired{Groups: p.groups, Warnings: p.warnings, units: p.units}
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
	if old != nil && len(fresh) == 0 && len(d.units) == len(old) && maps.Equal(d.Groups, c.last.Groups) && slices.Equal(d.Warnings, c.last.Warnings) &&
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
	warnings []string
}

func (p *plan) add(u maker) { p.units[u] = nil }

// fixed is the flows that every bridge has.
type fixed struct{}

func (fixed) flows(e *emitter) {
	fixedClassify(e)
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
	p := &plan{settings: settingsOf(in), units: make(map[maker]*flows, len(c.last.units)), groups: map[uint32]openflow.Group{}, warnings: b.warnings}
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
	b.classify(p, in.Weir)
	b.destinations(p)
	b.deliveries(p)
	b.outputs(p)
	for _, instance := range in.Retired {
		p.add(retired{instance})
	}
	if len(b.vifs) > 0 {
		c.rules(in, b, p)
	}
	return p, nil
}

// rules plans the rules of the VIFs of a bridge.
func (c *Compiler) rules(in *Input, b *bridge, p *plan) {
	l := lists{c, in, p, map[uint32]*policy.Entry{}, map[flow.ID]*group{}}
	l.add(everyVIF, 0, policy.GlobalMandatory, policy.GlobalDefault, 0)
	l.add(everyVIF, 0, policy.PoolMandatory, policy.PoolDefault, in.Pool)
	networks := map[flow.ID]uint32{}
	for i := range b.vifs {
		v := &b.vifs[i]
		port := v.ports[0]
		p.add(own{port})
		if v.bypassed {
			p.add(bypassed{port})
		}
		networks[v.rules.Network] = v.net
		l.add(ofVIF, uint32(port), policy.VMMandatory, policy.VMDefault, v.rules.VM)
		l.add(ofVIF, uint32(port), policy.VIFRules, policy.VIFRules, v.rules.ID)
	}
	for id, n := range networks {
		l.add(ofNetwork, n, policy.NetworkMandatory, policy.NetworkDefault, id)
	}
	l.entry(everyVIF, 0, in.Policy.Default)
	c.entries, c.groups = l.entries, l.groups
}

// lists plans lists of rules. What is equal to what was compiled before is taken from there, so that it is the same.
type lists struct {
	before  *Compiler
	in      *Input
	p       *plan
	entries map[uint32]*policy.Entry
	groups  map[flow.ID]*group
}

// add plans the lists of two tiers, which may be one, of a pool, network, VM or VIF, or the global ones.
func (l *lists) add(of subject, value uint32, mandatory, fallback policy.Tier, id flow.ID) {
	if id == 0 && mandatory != policy.GlobalMandatory {
		return
	}
	for _, e := range l.in.Policy.Lists[policy.Scope{Tier: mandatory, Of: id}] {
		l.entry(of, value, e)
	}
	if fallback == mandatory {
		return
	}
	for _, e := range l.in.Policy.Lists[policy.Scope{Tier: fallback, Of: id}] {
		l.entry(of, value, e)
	}
}

// entry plans a rule, and how what it allows is told of.
func (l *lists) entry(of subject, value uint32, e *policy.Entry) {
	e = l.same(e)
	l.p.add(rule{e, l.remote(e), of, value})
	if e.Rule.Action != policy.Allow {
		return
	}
	if e.Rule.Direction != policy.From {
		l.p.add(tell{e.Instance, flow.StageEgress})
	}
	if e.Rule.Direction != policy.To {
		l.p.add(tell{e.Instance, flow.StageIngress})
	}
}

// same returns an equal entry that was compiled before, if there is one, else e.
func (l *lists) same(e *policy.Entry) *policy.Entry {
	if known := l.entries[e.Instance]; known != nil && (known == e || equal(known, e)) {
		return known
	}
	if old := l.before.entries[e.Instance]; old != nil && (old == e || equal(old, e)) {
		e = old
	}
	l.entries[e.Instance] = e
	return e
}

// equal reports whether flows of two entries are the same.
func equal(a, b *policy.Entry) bool {
	r, s := &a.Rule, &b.Rule
	return a.Instance == b.Instance && a.Rank == b.Rank && a.Scope == b.Scope && a.Group == b.Group && r.ID == s.ID && r.Action == s.Action &&
		r.Direction == s.Direction && r.Protocol == s.Protocol && r.Remote == s.Remote && slices.Equal(r.RemotePorts, s.RemotePorts) &&
		slices.Equal(r.LocalPorts, s.LocalPorts)
}

// group is the addresses of a group, and what they were made of.
type group struct {
	prefixes []netip.Prefix
	addrs    []netip.Addr
	addresses
}

// remote returns the addresses of the group that is a rule's remote; nil if none is.
func (l *lists) remote(e *policy.Entry) *addresses {
	r := &e.Rule.Remote
	if r.AddressGroup == "" && r.VMGroup == "" {
		return nil
	}
	if g := l.groups[e.Group]; g != nil {
		return &g.addresses
	}
	g := l.before.groups[e.Group]
	prefixes, addrs := l.in.Estate.AddressGroups[e.Group], l.in.Estate.VMGroups[e.Group]
	if g == nil || !same(g.prefixes, prefixes) || !same(g.addrs, addrs) {
		g = &group{prefixes: prefixes, addrs: addrs}
		for _, x := range prefixes {
			g.add(x)
		}
		for _, a := range addrs {
			g.add(netip.PrefixFrom(a, a.BitLen()))
		}
	}
	l.groups[e.Group] = g
	return &g.addresses
}

// same is slices.Equal, at once for what is at the same address.
func same[T comparable](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}
