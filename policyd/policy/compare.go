package policy

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

// Difference is how a policy differs from another one, as people wrote them: what names mean, and what is expired, is not looked at.
type Difference struct {
	Default  *FieldChange        `json:"default,omitempty" doc:"What is done with what no rule matches."`
	Rules    []RuleDifference    `json:"rules" doc:"In the order of the document: those of the new one, then those that are gone."`
	Groups   []GroupDifference   `json:"groups" doc:"By kind and name."`
	Settings []SettingDifference `json:"settings" doc:"In the order of the document: those of the new one, then those that are gone."`
}

// SettingDifference is a setting that is other than it was.
type SettingDifference struct {
	Change Change `json:"change" enum:"added,removed,changed"`
	Level  string `json:"level" doc:"Whose it is: global, pool NAME, network NAME, VM NAME, VIF NAME, mirror target NAME, or all pools."`
	Key    string `json:"key" doc:"As in the document."`
	Before string `json:"before" doc:"Empty: nothing was said."`
	After  string `json:"after" doc:"Empty: nothing is said."`
}

// Change is what became of a rule or a group.
type Change string

// The values of Change.
const (
	Added   Change = "added"
	Removed Change = "removed"
	Changed Change = "changed" // it says something else; it may have moved, too
	Moved   Change = "moved"   // it says the same at another place
)

// RuleDifference is a rule that is other than it was.
type RuleDifference struct {
	Change Change        `json:"change" enum:"added,removed,changed,moved"`
	Rule   string        `json:"rule" doc:"Its id."`
	Moved  bool          `json:"moved,omitempty" doc:"It stands in another list, or elsewhere among the rules that stayed."`
	Before *Place        `json:"before,omitempty" doc:"Absent: it was added."`
	After  *Place        `json:"after,omitempty" doc:"Absent: it was removed."`
	Fields []FieldChange `json:"fields,omitempty" doc:"Of a rule that was changed: what of it."`
}

// Place is where a rule stands, and what it says.
type Place struct {
	List     string `json:"list" doc:"Whose rules they are: global mandatory, pool NAME default, VIF NAME, and so on."`
	Number   int    `json:"number" doc:"In its list, from 1."`
	Follows  string `json:"follows,omitempty" doc:"Id of the rule before it; absent: it is the first."`
	Text     string `json:"text" doc:"What the rule says."`
	Comment  string `json:"comment,omitempty"`
	Disabled bool   `json:"disabled,omitempty"`
}

// FieldChange is a value that is other than it was, as text; "" is none.
type FieldChange struct {
	Field  string `json:"field,omitempty" doc:"As in the document."`
	Before string `json:"before"`
	After  string `json:"after"`
}

// GroupDifference is a group that is other than it was.
type GroupDifference struct {
	Change  Change   `json:"change" enum:"added,removed,changed"`
	Kind    string   `json:"kind" enum:"address-group,vm-group"`
	Name    string   `json:"name"`
	Added   []string `json:"added,omitempty" doc:"Members."`
	Removed []string `json:"removed,omitempty" doc:"Members."`
}

// Empty reports whether the policies say the same.
func (d *Difference) Empty() bool {
	return d.Default == nil && len(d.Rules) == 0 && len(d.Groups) == 0 && len(d.Settings) == 0
}

// ruleFields are the fields of a rule besides its id, in the order of the document, and what they say.
var ruleFields = []struct {
	name string
	text func(*Rule) string
}{
	{"action", func(r *Rule) string { return string(r.Action) }},
	{"direction", func(r *Rule) string { return string(cmp.Or(r.Direction, Either)) }},
	{"protocol", func(r *Rule) string { return r.Protocol.String() }},
	{"remote", func(r *Rule) string { return r.Remote.String() }},
	{"remote_ports", func(r *Rule) string { return r.RemotePorts.merged().String() }},
	{"local_ports", func(r *Rule) string { return r.LocalPorts.merged().String() }},
	{"disabled", func(r *Rule) string {
		if r.Disabled {
			return "true"
		}
		return ""
	}},
	{"expires", func(r *Rule) string {
		if r.Expires.IsZero() {
			return ""
		}
		return r.Expires.UTC().Format(time.RFC3339Nano)
	}},
	{"comment", func(r *Rule) string { return r.Comment }},
}

// String says for people what the rule does.
func (r *Rule) String() string {
	text := string(r.Action)
	if r.ID == DefaultRule {
		return text
	}
	text += " " + string(cmp.Or(r.Direction, Either)) + " " + r.Remote.String() + " " + r.Protocol.String()
	if len(r.RemotePorts) > 0 {
		text += " remote ports " + r.RemotePorts.String()
	}
	if len(r.LocalPorts) > 0 {
		text += " local ports " + r.LocalPorts.String()
	}
	if !r.Expires.IsZero() {
		text += " until " + r.Expires.Format(time.RFC3339)
	}
	return text
}

// Name says for people whose rules a list of a tier holds; of is the name of the pool, network, VM or VIF, "" where the tier has none.
func (t Tier) Name(of string) string {
	if t == 0 {
		return "final default"
	}
	kind, which, _ := strings.Cut(t.String(), " ")
	return strings.Join(strings.Fields(kind+" "+of+" "+which), " ")
}

// placed is a rule at its place.
type placed struct {
	rule    *Rule
	tier    Tier
	of      string
	number  int // from 1
	follows string
}

// placedRules returns the rules of a policy in the order of the document, and by id.
func (p *Policy) placedRules() (all []*placed, byID map[string]*placed) {
	byID = map[string]*placed{}
	for _, l := range p.lists() {
		before := ""
		for i := range l.rules {
			x := &placed{&l.rules[i], l.tier, l.of, i + 1, before}
			before = x.rule.ID
			all, byID[before] = append(all, x), x
		}
	}
	return all, byID
}

func (x *placed) place() *Place {
	return &Place{List: x.tier.Name(x.of), Number: x.number, Follows: x.follows, Text: x.rule.String(), Comment: x.rule.Comment, Disabled: x.rule.Disabled}
}

func (x *placed) sameList(o *placed) bool { return x.tier == o.tier && x.of == o.of }

// Compare says how after differs from before. All rules of both have ids: see [Policy.Identify].
func Compare(before, after *Policy) *Difference {
	d := &Difference{Rules: []RuleDifference{}, Groups: []GroupDifference{}, Settings: []SettingDifference{}}
	if was, is := cmp.Or(before.Default, Allow), cmp.Or(after.Default, Allow); was != is {
		d.Default = &FieldChange{Before: string(was), After: string(is)}
	}
	olds, old := before.placedRules()
	news, now := after.placedRules()
	stays := staying(news, old)
	for _, x := range news {
		o := old[x.rule.ID]
		if o == nil {
			d.Rules = append(d.Rules, RuleDifference{Change: Added, Rule: x.rule.ID, After: x.place()})
			continue
		}
		r := RuleDifference{Change: Changed, Rule: x.rule.ID, Moved: !stays[x.rule.ID]}
		for _, f := range ruleFields {
			if was, is := f.text(o.rule), f.text(x.rule); was != is {
				r.Fields = append(r.Fields, FieldChange{f.name, was, is})
			}
		}
		if len(r.Fields) == 0 {
			if !r.Moved {
				continue
			}
			r.Change = Moved
		}
		r.Before, r.After = o.place(), x.place()
		d.Rules = append(d.Rules, r)
	}
	for _, o := range olds {
		if now[o.rule.ID] == nil {
			d.Rules = append(d.Rules, RuleDifference{Change: Removed, Rule: o.rule.ID, Before: o.place()})
		}
	}
	d.groups(before, after)
	d.settings(before, after)
	return d
}

func (d *Difference) settings(before, after *Policy) {
	type place struct {
		level LevelName
		key   string
	}
	olds, news := before.Sayings(), after.Sayings()
	byPlace := func(list []Saying) map[place]string {
		m := make(map[place]string, len(list))
		for _, s := range list {
			m[place{s.Level, s.Key}] = s.Value
		}
		return m
	}
	old, now := byPlace(olds), byPlace(news)
	for _, s := range news {
		switch was, ok := old[place{s.Level, s.Key}]; {
		case !ok:
			d.Settings = append(d.Settings, SettingDifference{Added, s.title(), s.Key, "", s.Value})
		case was != s.Value:
			d.Settings = append(d.Settings, SettingDifference{Changed, s.title(), s.Key, was, s.Value})
		}
	}
	for _, s := range olds {
		if _, ok := now[place{s.Level, s.Key}]; !ok {
			d.Settings = append(d.Settings, SettingDifference{Removed, s.title(), s.Key, s.Value, ""})
		}
	}
}

// staying returns the ids of the rules that did not move: in each list the most that are in the same order as before.
func staying(news []*placed, old map[string]*placed) map[string]bool {
	stays := make(map[string]bool, len(news))
	for len(news) > 0 {
		n := 1
		for n < len(news) && news[n].sameList(news[0]) {
			n++
		}
		ranks := make([]uint16, n) // where they were in this list; lists are at most MaxRules long
		for i, x := range news[:n] {
			if o := old[x.rule.ID]; o != nil && o.sameList(x) {
				ranks[i] = uint16(o.number)
			}
		}
		for _, i := range rising(ranks) {
			stays[news[i].rule.ID] = true
		}
		news = news[n:]
	}
	return stays
}

func (d *Difference) groups(before, after *Policy) {
	compareGroups(d, flow.KindAddressGroup, addressMembers(before), addressMembers(after))
	compareGroups(d, flow.KindVMGroup, vmMembers(before), vmMembers(after))
}

func addressMembers(p *Policy) map[string][]string {
	m := make(map[string][]string, len(p.AddressGroups))
	for i := range p.AddressGroups {
		m[p.AddressGroups[i].Name] = p.AddressGroups[i].Members
	}
	return m
}

// vmMembers returns what is in VM groups, for people.
func vmMembers(p *Policy) map[string][]string {
	m := make(map[string][]string, len(p.VMGroups))
	for i := range p.VMGroups {
		g := &p.VMGroups[i]
		var list []string
		for _, vm := range g.VMs {
			list = append(list, "VM "+vm)
		}
		for _, inner := range g.Groups {
			list = append(list, vmGroupWord+inner)
		}
		for j := range g.Select {
			list = append(list, selects(&g.Select[j]))
		}
		m[g.Name] = list
	}
	return m
}

// selects says for people which VMs a selector means.
func selects(s *estate.Selector) string {
	var words []string
	say := func(key, value string) {
		if value != "" {
			words = append(words, fmt.Sprintf("%s %q", key, value))
		}
	}
	for _, tag := range s.Tags {
		say("tag", tag)
	}
	say("name", s.Name)
	say("network", s.Network)
	say("pool", s.Pool)
	for _, key := range slices.Sorted(maps.Keys(s.Attributes)) {
		words = append(words, fmt.Sprintf("attribute %q %q", key, s.Attributes[key]))
	}
	return "VMs with " + strings.Join(words, " and ")
}

func compareGroups(d *Difference, kind flow.Kind, before, after map[string][]string) {
	word := strings.TrimSuffix(addressGroupWord, ":")
	if kind == flow.KindVMGroup {
		word = strings.TrimSuffix(vmGroupWord, ":")
	}
	names := slices.Collect(maps.Keys(after))
	for name := range before {
		if _, ok := after[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		was, wasThere := before[name]
		is, isThere := after[name]
		g := GroupDifference{Change: Changed, Kind: word, Name: name, Added: without(is, was), Removed: without(was, is)}
		switch {
		case !wasThere:
			g.Change = Added
		case !isThere:
			g.Change = Removed
		case len(g.Added)+len(g.Removed) == 0:
			continue
		}
		d.Groups = append(d.Groups, g)
	}
}

// without returns what is in list and not in other, each once, in its order.
func without(list, other []string) []string {
	seen := make(map[string]bool, len(other))
	for _, x := range other {
		seen[x] = true
	}
	var out []string
	for _, x := range list {
		if !seen[x] {
			seen[x] = true
			out = append(out, x)
		}
	}
	return out
}

// Rules yields all rules of the policy, also those that are not in force, in the order of the document.
func (p *Policy) Rules() iter.Seq[*Rule] {
	return func(yield func(*Rule) bool) {
		for _, l := range p.lists() {
			for i := range l.rules {
				if !yield(&l.rules[i]) {
					return
				}
			}
		}
	}
}
