package policy

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/weirhq/weir/flow"
)

// SettingChange is a setting that gets another value at VIFs, at all of them alike.
type SettingChange struct {
	Key         string   `json:"key" doc:"As in the policy document."`
	Before      string   `json:"before" doc:"Value, as in the policy document; off, too, where it was off, or no policy was in force."`
	BeforeLevel string   `json:"before_level" doc:"Who said it: global, pool NAME, network NAME, VM NAME or VIF NAME; of VIFs of several, each VM or each VIF; built in, if no level did; no policy, if none was in force."`
	After       string   `json:"after" doc:"Value that it gets."`
	AfterLevel  string   `json:"after_level" doc:"Who says it."`
	VIFs        []string `json:"vifs" doc:"By name."`
}

// What is said instead of a level.
const (
	levelBuiltIn  = "built in"
	levelNoPolicy = "no policy"
)

// sayer is the value of a setting at a VIF, and who says it.
type sayer struct {
	value string
	kind  flow.Kind // of the level
	level string    // its name, for people
}

// sayer returns who says a setting of a VIF; of a nil set, nobody does, and it is off.
func (s *Set) sayer(k *settingKey, vif *Interface) sayer {
	if s == nil {
		return sayer{value: off, level: levelNoPolicy}
	}
	for _, level := range levelsOf(vif) {
		if said := s.said(level); said != nil {
			if value := k.text(&said.Settings); value != "" {
				return sayer{value, level.Kind, levelName(level.Kind, said.Name)}
			}
		}
	}
	return sayer{value: k.text(&builtIn), level: levelBuiltIn}
}

// ofKind returns s as it is of all VIFs that have levels of their own that say the same.
func (s sayer) ofKind() sayer {
	if s.kind == flow.KindVM || s.kind == flow.KindVIF {
		s.level = "each " + strings.ToUpper(string(s.kind))
	}
	return s
}

func (s *sayer) compare(o *sayer) int {
	return cmp.Or(strings.Compare(s.level, o.level), strings.Compare(s.value, o.value))
}

// settingsDiffer returns for the levels of which two policies say something else which settings that is, a bit for each of settingKeys.
func settingsDiffer(before, after *Set) map[LevelID]uint {
	differ := map[LevelID]uint{}
	compare := func(level LevelID, was, is *Settings) {
		for i, k := range settingKeys {
			if k.text(was) != k.text(is) {
				differ[level] |= 1 << i
			}
		}
	}
	for level, is := range after.Settings {
		if was := before.Settings[level]; was == nil {
			compare(level, &Settings{}, &is.Settings)
		} else {
			compare(level, &was.Settings, &is.Settings)
		}
	}
	for level, was := range before.Settings {
		if after.Settings[level] == nil {
			compare(level, &was.Settings, &Settings{})
		}
	}
	return differ
}

// ResolveSettings resolves the settings of p, and no rules or groups: for what VIFs would have, not for what is to be in force. Names that nothing has, and that are not
// in bound, are refused, as those are that several things have.
func ResolveSettings(p *Policy, names *Names, bound []Bound) (*Set, error) {
	only := *p
	only.AddressGroups, only.VMGroups = nil, nil
	only.Global = Level{Settings: p.Global.Settings}
	only.Pools, only.Networks, only.VMs, only.VIFs = slices.Clone(p.Pools), slices.Clone(p.Networks), slices.Clone(p.VMs), slices.Clone(p.VIFs)
	for i := range only.Pools {
		only.Pools[i].Mandatory, only.Pools[i].Default = nil, nil
	}
	for _, list := range [][]Named{only.Networks, only.VMs} {
		for i := range list {
			list[i].Mandatory, list[i].Default = nil, nil
		}
	}
	for i := range only.VIFs {
		only.VIFs[i].Rules = nil
	}
	d, err := Resolve(Request{Policy: &only, Names: names, Bound: bound})
	if err != nil {
		return nil, err
	}
	return d.Set(flow.MaxSystemInstance + 1), nil
}

// SettingChanges says which settings get another value at which of these VIFs when after takes the place of what is in force at them, which comes with each;
// nil: no policy is. It returns, too, at how many VIFs. Where only another level says the same as before, nothing changes. VIFs that change alike are told
// together: from and to the same values of the same levels, or of levels of their own. They are in the order of the document; of one setting, those of the
// most VIFs first.
//
// Of VIFs that are in no level that says something else than before, nothing is looked up.
func SettingChanges(after *Set, vifs iter.Seq2[*Interface, *Set]) (changes []SettingChange, count int) {
	all := gathering{at: map[alike]*gathered{}}
	differ := map[*Set]map[LevelID]uint{}
	for vif, before := range vifs {
		among := uint(1)<<len(settingKeys) - 1
		if before != nil {
			levels, ok := differ[before]
			if !ok {
				levels = settingsDiffer(before, after)
				differ[before] = levels
			}
			among = 0
			if len(levels) > 0 {
				for _, level := range levelsOf(vif) {
					among |= levels[level]
				}
			}
		}
		if all.add(before, after, vif, among) {
			count++
		}
	}
	return all.changes(), count
}

// alike is what VIFs have in common that change alike.
type alike struct {
	key           int // of settingKeys
	before, after sayer
}

// gathered are VIFs that change alike.
type gathered struct {
	alike
	levels [2]string // names of the levels, before and after; "" where they are several
	vifs   []string
}

type gathering struct {
	at   map[alike]*gathered
	list []*gathered
}

// add adds what changes at a VIF among the settings of which a bit is set, and says whether something does.
func (g *gathering) add(before, after *Set, vif *Interface, among uint) (changes bool) {
	for i := range settingKeys {
		if among>>i&1 == 0 {
			continue
		}
		was, is := before.sayer(&settingKeys[i], vif), after.sayer(&settingKeys[i], vif)
		if was.value == is.value {
			continue
		}
		changes = true
		of := alike{i, was.ofKind(), is.ofKind()}
		x := g.at[of]
		if x == nil {
			x = &gathered{alike: of, levels: [2]string{was.level, is.level}}
			g.at[of], g.list = x, append(g.list, x)
		}
		for k, level := range []string{was.level, is.level} {
			if x.levels[k] != level {
				x.levels[k] = ""
			}
		}
		x.vifs = append(x.vifs, vif.Name)
	}
	return changes
}

func (g *gathering) changes() []SettingChange {
	for _, x := range g.list {
		slices.Sort(x.vifs)
	}
	slices.SortFunc(g.list, func(a, b *gathered) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(len(b.vifs), len(a.vifs)), slices.Compare(a.vifs, b.vifs), a.before.compare(&b.before), a.after.compare(&b.after))
	})
	var list []SettingChange
	for _, x := range g.list {
		list = append(list, SettingChange{
			Key: settingKeys[x.key].name, Before: x.before.value, BeforeLevel: cmp.Or(x.levels[0], x.before.level), After: x.after.value, AfterLevel: cmp.Or(x.levels[1], x.after.level), VIFs: x.vifs,
		})
	}
	return list
}
