package policy

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/weirhq/weir/flow"
)

// Conflict is something that two people changed in different ways.
type Conflict struct {
	Rule   string `json:"rule,omitempty" doc:"Id of the rule that it is about."`
	Kind   string `json:"kind,omitempty" doc:"Of the group that it is about: address-group or vm-group; or mirror-target, or setting."`
	Group  string `json:"group,omitempty" doc:"Name of the group, or mirror target, that it is about; of a setting, key and level."`
	Ours   string `json:"ours" doc:"What we did with it."`
	Theirs string `json:"theirs" doc:"What they did with it."`
}

// String says for people what the conflict is.
func (c Conflict) String() string {
	what := fmt.Sprintf("rule %q", c.Rule)
	if c.Group != "" {
		what = fmt.Sprintf("%s %q", strings.Replace(c.Kind, "-", " ", 1), c.Group)
	}
	return fmt.Sprintf("%s: you %s it, and meanwhile it was %s", what, c.Ours, c.Theirs)
}

// Merge returns theirs with what ours changed of base, which both began with: rule by rule, what it says and where it stands, and group by group. Where both
// changed the same thing differently there is a conflict: then the result has what ours says if mine, else what theirs does. All rules have ids. Whether names
// of groups in the result are still known is not looked at. The arguments are not changed.
func Merge(base, ours, theirs *Policy, mine bool) (*Policy, []Conflict) {
	m := &merger{out: theirs.clone(), mine: mine, their: map[string]*RuleDifference{}}
	order, ourRules := ours.placedRules()
	_, theirRules := theirs.placedRules()
	our, their := Compare(base, ours), Compare(base, theirs)
	for i := range their.Rules {
		m.their[their.Rules[i].Rule] = &their.Rules[i]
	}
	insert := map[string]*Rule{} // rules that get the place that they have in ours
	for i := range our.Rules {
		d := &our.Rules[i]
		o, t := ourRules[d.Rule], theirRules[d.Rule]
		says, moves := m.takes(d, o, t)
		switch {
		case o == nil && says:
			m.cut(t)
		case moves:
			rule := o.rule
			if t != nil {
				if !says {
					rule = t.rule
				}
				m.cut(t)
			}
			insert[d.Rule] = rule
		case says && t != nil:
			list := *m.out.RulesOf(t.tier, t.of)
			list[slices.IndexFunc(list, func(r Rule) bool { return r.ID == d.Rule })] = *o.rule
		}
	}
	for i, x := range order {
		if rule := insert[x.rule.ID]; rule != nil {
			m.insert(rule, order[:i+1])
		}
	}
	if our.Default != nil {
		m.out.Default = ours.Default
	}
	mergeGroups(m, flow.KindAddressGroup, &m.out.AddressGroups, base.AddressGroups, ours.AddressGroups, theirs.AddressGroups,
		func(g *AddressGroup) string { return g.Name }, joinMembers)
	mergeGroups(m, flow.KindVMGroup, &m.out.VMGroups, base.VMGroups, ours.VMGroups, theirs.VMGroups, func(g *VMGroup) string { return g.Name }, nil)
	mergeGroups(m, KindMirrorTarget, &m.out.MirrorTargets, base.MirrorTargets, ours.MirrorTargets, theirs.MirrorTargets, func(t *MirrorTarget) string { return t.Name }, nil)
	m.settings(base, ours, theirs)
	return m.out, m.conflicts
}

// merger is a merge that is going on.
type merger struct {
	out       *Policy
	mine      bool
	their     map[string]*RuleDifference
	conflicts []Conflict
}

// takes reports whether what ours does with a rule is to be done: as to what it says, or that it is gone, and as to where it stands. o and t are the rule
// in ours and theirs; nil: it is not there.
func (m *merger) takes(d *RuleDifference, o, t *placed) (says, moves bool) {
	their := m.their[d.Rule]
	conflict := false
	switch {
	case o == nil:
		says = t != nil
		conflict = says && their != nil && len(their.Fields) > 0
	case t == nil:
		says, moves = true, true
		conflict = d.Change != Added
	case d.Change == Added:
		if o.sameList(t) && equalRules(o.rule, t.rule) {
			return false, false
		}
		says, moves, conflict = true, true, true
	default:
		says, moves = len(d.Fields) > 0, d.Moved
		if says && their != nil && len(their.Fields) > 0 {
			says = !equalRules(o.rule, t.rule)
			conflict = says
		}
		if moves && their != nil && their.Moved {
			moves = !o.sameList(t) || o.follows != t.follows
			conflict = conflict || moves
		}
	}
	if !conflict {
		return says, moves
	}
	m.conflicts = append(m.conflicts, Conflict{Rule: d.Rule, Ours: did(d), Theirs: did(their)})
	return says && m.mine, moves && m.mine
}

// cut takes a rule of theirs out of the result.
func (m *merger) cut(t *placed) {
	list := m.out.RulesOf(t.tier, t.of)
	*list = slices.DeleteFunc(*list, func(r Rule) bool { return r.ID == t.rule.ID })
}

// insert puts a rule where the last of order stands in ours: after the nearest rule before it that is in the result, too.
func (m *merger) insert(rule *Rule, order []*placed) {
	x := order[len(order)-1]
	list := m.out.RulesOf(x.tier, x.of)
	at := 0
	for i := len(order) - 2; i >= 0 && at == 0 && order[i].sameList(x); i-- {
		at = 1 + slices.IndexFunc(*list, func(r Rule) bool { return r.ID == order[i].rule.ID })
	}
	*list = slices.Insert(*list, at, *rule)
}

// clone returns a copy whose lists can be changed.
func (p *Policy) clone() *Policy {
	c := *p
	level := func(l Level) Level { return Level{l.Settings, slices.Clone(l.Mandatory), slices.Clone(l.Default)} }
	named := func(list []Named) []Named {
		out := slices.Clone(list)
		for i := range out {
			out[i].Level = level(out[i].Level)
		}
		return out
	}
	c.Global, c.Networks, c.VMs = level(p.Global), named(p.Networks), named(p.VMs)
	c.Pools = slices.Clone(p.Pools)
	for i := range c.Pools {
		c.Pools[i].Level = level(c.Pools[i].Level)
	}
	c.MirrorTargets = slices.Clone(p.MirrorTargets)
	c.VIFs = slices.Clone(p.VIFs)
	for i := range c.VIFs {
		c.VIFs[i].Rules = slices.Clone(c.VIFs[i].Rules)
	}
	c.AddressGroups, c.VMGroups = slices.Clone(p.AddressGroups), slices.Clone(p.VMGroups)
	return &c
}

// settings merges the settings of levels, one by one.
func (m *merger) settings(base, ours, theirs *Policy) {
	all := func(p *Policy) map[LevelName][]level {
		by := map[LevelName][]level{}
		for _, l := range p.sayers() {
			by[l.name()] = append(by[l.name()], l)
		}
		return by
	}
	before, mine, their := all(base), all(ours), all(theirs)
	names := slices.Collect(maps.Keys(mine))
	for name := range before {
		if _, ok := mine[name]; !ok {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b LevelName) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	for _, name := range names {
		if name.Kind == KindMirrorTarget {
			continue // merged as a whole
		}
		for i := range sayables {
			s := &sayables[i]
			if !slices.Contains(s.kinds, name.Kind) {
				continue
			}
			in := func(levels []level) level {
				if at := slices.IndexFunc(levels, func(l level) bool { return s.has(&l) }); at >= 0 {
					return levels[at]
				}
				return blank()
			}
			b, o, t := in(before[name]), in(mine[name]), in(their[name])
			switch was, is, other := s.text(&b), s.text(&o), s.text(&t); {
			case is == was, is == other:
				continue
			case other != was:
				of := Saying{Level: name, Key: s.key}
				m.conflicts = append(m.conflicts, Conflict{Kind: "setting", Group: s.key + " of " + of.title(), Ours: "changed", Theirs: "changed"})
				if !m.mine {
					continue
				}
			}
			s.take(m.out.made(name, s), &o)
		}
	}
}

// tierOf is a tier of the levels of each kind.
var tierOf = map[flow.Kind]Tier{
	"": GlobalMandatory, flow.KindPool: PoolMandatory, flow.KindNetwork: NetworkMandatory, flow.KindVM: VMMandatory, flow.KindVIF: VIFRules,
}

// did says for people what was done with a rule.
func did(d *RuleDifference) string {
	if d.Change == Changed && d.Moved {
		return "changed and moved"
	}
	return string(d.Change)
}

func equalRules(a, b *Rule) bool {
	return !slices.ContainsFunc(ruleFields, func(f struct {
		name string
		text func(*Rule) string
	},
	) bool {
		return f.text(a) != f.text(b)
	})
}

// RulesOf returns the list of a tier, of the pool, network, VM or VIF of a name, to be changed; it is made if it is not there. It is valid until lists of others are
// made.
func (p *Policy) RulesOf(tier Tier, of string) *[]Rule {
	level := func(l *Level, mandatory bool) *[]Rule {
		if mandatory {
			return &l.Mandatory
		}
		return &l.Default
	}
	named := func(list *[]Named, mandatory bool) *[]Rule {
		i := slices.IndexFunc(*list, func(n Named) bool { return n.Name == of })
		if i < 0 {
			i = len(*list)
			*list = append(*list, Named{Name: of})
		}
		return level(&(*list)[i].Level, mandatory)
	}
	switch tier {
	case PoolMandatory, PoolDefault:
		i := slices.IndexFunc(p.Pools, func(x Pool) bool { return x.Name == of })
		if i < 0 {
			i = len(p.Pools)
			p.Pools = append(p.Pools, Pool{Named: Named{Name: of}})
		}
		return level(&p.Pools[i].Level, tier == PoolMandatory)
	case NetworkMandatory, NetworkDefault:
		return named(&p.Networks, tier == NetworkMandatory)
	case VMMandatory, VMDefault:
		return named(&p.VMs, tier == VMMandatory)
	case VIFRules:
		i := slices.IndexFunc(p.VIFs, func(v VIF) bool { return v.Name == of })
		if i < 0 {
			i = len(p.VIFs)
			p.VIFs = append(p.VIFs, VIF{Name: of})
		}
		return &p.VIFs[i].Rules
	default:
		return level(&p.Global, tier == GlobalMandatory)
	}
}

// mergeGroups merges the groups of a kind. join, if it is there, merges what both changed.
func mergeGroups[G any](m *merger, kind flow.Kind, out *[]G, base, ours, theirs []G, name func(*G) string, join func(base, ours, theirs *G) *G) {
	byName := func(list []G) map[string]*G {
		all := make(map[string]*G, len(list))
		for i := range list {
			all[name(&list[i])] = &list[i]
		}
		return all
	}
	word := strings.TrimSuffix(cmp.Or(map[flow.Kind]string{flow.KindAddressGroup: addressGroupWord, flow.KindVMGroup: vmGroupWord}[kind], string(kind)), ":")
	before, mine, their := byName(base), byName(ours), byName(theirs)
	what := func(was, is *G) string {
		switch {
		case was == nil:
			return string(Added)
		case is == nil:
			return string(Removed)
		}
		return string(Changed)
	}
	set := func(n string, g *G) {
		i := slices.IndexFunc(*out, func(o G) bool { return name(&o) == n })
		switch {
		case g == nil && i >= 0:
			*out = slices.Delete(*out, i, i+1)
		case g != nil && i >= 0:
			(*out)[i] = *g
		case g != nil:
			*out = append(*out, *g)
		}
	}
	merge := func(n string) {
		b, o, t := before[n], mine[n], their[n]
		switch {
		case reflect.DeepEqual(b, o), reflect.DeepEqual(o, t):
		case reflect.DeepEqual(b, t):
			set(n, o)
		case join != nil && b != nil && o != nil && t != nil:
			set(n, join(b, o, t))
		default:
			m.conflicts = append(m.conflicts, Conflict{Kind: word, Group: n, Ours: what(b, o), Theirs: what(b, t)})
			if m.mine {
				set(n, o)
			}
		}
	}
	for i := range ours {
		merge(name(&ours[i]))
	}
	for i := range base {
		if n := name(&base[i]); mine[n] == nil {
			merge(n)
		}
	}
}

// joinMembers returns an address group with what both added, and without what one of them removed.
func joinMembers(base, ours, theirs *AddressGroup) *AddressGroup {
	gone := without(base.Members, ours.Members)
	g := AddressGroup{Name: ours.Name, Members: without(theirs.Members, gone)}
	g.Members = append(g.Members, without(without(ours.Members, base.Members), g.Members)...)
	return &g
}
