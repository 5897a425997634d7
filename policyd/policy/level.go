package policy

import (
	"encoding"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/nearest"
	"github.com/weirhq/weir/internal/strictyaml"
)

// KindMirrorTarget is the kind of mirror targets, as far as they are named as levels are.
const KindMirrorTarget flow.Kind = "mirror-target"

// Levels are the kinds of levels, the highest first. Rules are of these.
var Levels = []flow.Kind{"", flow.KindPool, flow.KindNetwork, flow.KindVM, flow.KindVIF}

// Sayers are the kinds of what settings may be said of: levels, and mirror targets, which say where they lead.
var Sayers = append(slices.Clone(Levels), KindMirrorTarget)

// LevelName is the name of a level of a policy, or of a mirror target.
type LevelName struct {
	Kind flow.Kind // one of Sayers
	Name string    // as the policy has it; "" of the global level
}

// String returns what ParseLevel reads.
func (l LevelName) String() string {
	if l.Kind == "" {
		return "global"
	}
	return string(l.Kind) + ":" + l.Name
}

// forms are how names of levels of some kinds are written.
func forms(kinds []flow.Kind) []string {
	list := make([]string, len(kinds))
	for i, kind := range kinds {
		name := "NAME"
		if kind == flow.KindVIF {
			name = "VM/DEVICE"
		}
		list[i] = LevelName{kind, name}.String()
	}
	return list
}

// ParseLevel reads the name of a level of one of kinds, which are among Sayers: global, pool:NAME, network:NAME, vm:NAME, vif:VM/DEVICE or mirror-target:NAME.
func ParseLevel(text string, kinds []flow.Kind) (LevelName, error) {
	word, name, named := strings.Cut(text, ":")
	known, near := forms(kinds), ""
	words := make([]string, len(kinds))
	for i, kind := range kinds {
		words[i], _, _ = strings.Cut(known[i], ":")
		if words[i] == word && named == (kind != "") && (name != "" || !named) {
			if err := checkName(name); named && err != nil {
				return LevelName{}, err
			}
			return LevelName{kind, name}, nil
		}
	}
	if i := slices.Index(words, nearest.Word(word, words)); i >= 0 {
		near = fmt.Sprintf("; did you mean %s?", known[i])
	}
	return LevelName{}, fmt.Errorf("found %q, want %s%s", text, choice(known), near)
}

// choice is a list of choices, for people.
func choice(list []string) string {
	if last := len(list) - 1; last > 0 {
		return strings.Join(list[:last], ", ") + " or " + list[last]
	}
	return strings.Join(list, "")
}

// blank returns a level that has all that one may have, and says nothing.
func blank() level {
	return level{settings: &Settings{}, failMode: new(FailMode), vlans: new(vlans), target: &MirrorTarget{}}
}

// name returns the level's name.
func (l *level) name() LevelName { return LevelName{l.kind, l.of} }

// sayable is what levels of some kinds say in one line of text, which is that of the document but for lists; "" says nothing.
type sayable struct {
	key    string
	kinds  []flow.Kind // of the levels that may say it
	path   string      // in the document, as strictyaml.Describe has it; "": no key of the document is this
	values []string    // those that it may have; nil: form says what they look like
	form   string      // of a value, for messages
	has    func(*level) bool
	text   func(*level) string               // of a level that has it, as are the following
	say    func(l *level, text string) error // changes nothing on errors
	take   func(to, from *level)
}

// value is a value of type T in a policy.
type value[T any] interface {
	*T
	fmt.Stringer
	encoding.TextUnmarshaler
}

// sayableOf is a sayable whose value is where at says; nil: such a level has none.
func sayableOf[T any, V value[T]](key, path string, kinds []flow.Kind, at func(*level) *T) sayable {
	s := sayable{
		key: key, kinds: kinds, path: path,
		has:  func(l *level) bool { return at(l) != nil },
		text: func(l *level) string { return V(at(l)).String() },
		take: func(to, from *level) { *at(to) = *at(from) },
		say: func(l *level, text string) error {
			if text == "" {
				*at(l) = *new(T)
				return nil
			}
			v := *at(l)
			if err := V(&v).UnmarshalText([]byte(text)); err != nil {
				return err
			}
			*at(l) = v
			return nil
		},
	}
	switch v := any(new(T)).(type) {
	case interface{ Allowed() []string }:
		s.values = v.Allowed()
		s.form = choice(s.values)
	case interface{ Form() string }:
		s.form = v.Form()
	}
	return s
}

// sayables are all that levels say, in the order of the document: settingKeys, and what is said of pools and mirror targets.
var sayables = func() []sayable {
	var list []sayable
	for _, k := range settingKeys {
		list = append(list, k.sayable)
	}
	return append(
		list,
		sayableOf("fail_mode", "fail_mode", []flow.Kind{"", flow.KindPool}, func(l *level) *FailMode { return l.failMode }),
		sayableOf("mirror_vlans", "pools[].mirror_vlans", []flow.Kind{flow.KindPool}, func(l *level) *vlans { return l.vlans }),
		sayableOf("to", "", []flow.Kind{KindMirrorTarget}, func(l *level) *way { return (*way)(l.target) }),
	)
}()

// vlans is a list of VLANs as text.
type vlans []uint16

func (v *vlans) String() string {
	var words []string
	for _, vlan := range *v {
		words = append(words, strconv.Itoa(int(vlan)))
	}
	return strings.Join(words, ", ")
}

// Form says what the text looks like.
func (*vlans) Form() string { return `VLANs, e.g. "900", "900, 901"` }

// UnmarshalText implements encoding.TextUnmarshaler. How many there are is not looked at: Policy.Validate does.
func (v *vlans) UnmarshalText(text []byte) error {
	var list vlans
	for word := range strings.SplitSeq(string(text), ",") {
		vlan, err := strconv.ParseUint(strings.TrimSpace(word), 10, 16)
		if err != nil || vlan < 1 || vlan > maxVLAN {
			return fmt.Errorf("found %q, want VLANs from 1 to %d, with commas", word, maxVLAN)
		}
		list = append(list, uint16(vlan))
	}
	*v = list
	return nil
}

// way is a mirror target as to where it leads, as text.
type way MirrorTarget

func (w *way) String() string { return (*MirrorTarget)(w).String() }

// Form says what the text looks like.
func (*way) Form() string {
	return `where copies go, e.g. "gre 192.0.2.1", "erspan 192.0.2.1 key 5", "port eth3", "vlan 900"`
}

// UnmarshalText implements encoding.TextUnmarshaler. What Policy.Validate looks at is not looked at.
func (w *way) UnmarshalText(text []byte) error {
	wrong := fmt.Errorf("found %q, want %s", text, w.Form())
	words := strings.Fields(string(text))
	if len(words) != 2 && (len(words) != 4 || words[2] != "key") {
		return wrong
	}
	to := way{Name: w.Name}
	if len(words) == 4 {
		key, err := strconv.ParseUint(words[3], 10, 32)
		if err != nil || key == 0 {
			return fmt.Errorf("found key %q, want a number from 1 to %d", words[3], uint32(1<<32-1))
		}
		to.Key = uint32(key)
	}
	var err error
	switch words[0] {
	case "vlan":
		var list vlans
		if err = list.UnmarshalText([]byte(words[1])); err == nil && len(list) != 1 {
			err = wrong
		}
		if err == nil {
			to.VLAN = list[0]
		}
	case "port":
		to.Port = words[1]
	case "gre":
		to.GRE, err = netip.ParseAddr(words[1])
	case "erspan":
		to.ERSPAN, err = netip.ParseAddr(words[1])
	default:
		err = wrong
	}
	if err != nil {
		return err
	}
	*w = to
	return nil
}

// sayers returns all that says something, in the order of the document. The fail mode of all pools stands before the rest of the global level.
func (p *Policy) sayers() []level {
	all := []level{{failMode: &p.FailMode}}
	for i := range p.MirrorTargets {
		t := &p.MirrorTargets[i]
		all = append(all, level{kind: KindMirrorTarget, of: t.Name, target: t})
	}
	return append(all, p.levels()...)
}

// Saying is a setting that a level says.
type Saying struct {
	Level LevelName
	Key   string
	Value string // never ""
}

// title says for people whose setting it is.
func (s *Saying) title() string {
	if s.Level.Kind == "" && s.Key == "fail_mode" {
		return "all pools"
	}
	return levelName(s.Level.Kind, s.Level.Name)
}

// Sayings returns all settings that the policy says, in the order of the document.
func (p *Policy) Sayings() (all []Saying) {
	for _, l := range p.sayers() {
		for _, s := range sayables {
			if s.has(&l) && s.text(&l) != "" {
				all = append(all, Saying{l.name(), s.key, s.text(&l)})
			}
		}
	}
	return all
}

// sayer returns what of a name says something, and whether it is there.
func (p *Policy) sayer(name LevelName, s *sayable) (level, bool) {
	for _, l := range p.sayers() {
		if l.name() == name && s.has(&l) {
			return l, true
		}
	}
	return level{}, false
}

// made returns the level of a name that says something, which is made if it is not there. It is valid until another one is made.
func (p *Policy) made(name LevelName, s *sayable) *level {
	l, ok := p.sayer(name, s)
	if !ok {
		if name.Kind == KindMirrorTarget {
			p.MirrorTargets = append(p.MirrorTargets, MirrorTarget{Name: name.Name})
		} else {
			p.RulesOf(tierOf[name.Kind], name.Name)
		}
		l, _ = p.sayer(name, s)
	}
	return &l
}

// sayable returns what a level of that name may say by a key.
func (l LevelName) sayable(key string) (*sayable, error) {
	var keys []string
	for i := range sayables {
		s := &sayables[i]
		switch here := slices.Contains(s.kinds, l.Kind); {
		case s.key == key && here:
			return s, nil
		case s.key == key:
			return nil, fmt.Errorf("setting %q: found %s, want %s", key, l, choice(forms(s.kinds)))
		case here:
			keys = append(keys, s.key)
		}
	}
	if near := nearest.Word(key, keys); near != "" {
		return nil, fmt.Errorf("setting %q is unknown; did you mean %q?", key, near)
	}
	return nil, fmt.Errorf("setting %q is unknown: %s may say %s", key, l, choice(keys))
}

// Say has a level say a setting, in place of what it said before; text is that of the document, lists are written with commas. The level is made if it is not
// there. What [Policy.Validate] looks at, as whether a mirror target is known, is not looked at. Nothing is changed on errors.
func (p *Policy) Say(name LevelName, key, text string) error {
	s, err := name.sayable(key)
	if err != nil {
		return err
	}
	if text == "" {
		return fmt.Errorf("setting %q: found nothing, want %s", key, s.form)
	}
	scratch := blank()
	if err := s.say(&scratch, text); err != nil {
		var near string
		if word := nearest.Word(text, s.values); word != "" {
			near = fmt.Sprintf("; did you mean %q?", word)
		}
		return fmt.Errorf("setting %q: %w%s", key, err, near)
	}
	return s.say(p.made(name, s), text)
}

// Unsay has a level say a setting no more, and reports whether it did. A level that says nothing else and has no rules is gone then, and a mirror target
// that leads nowhere.
func (p *Policy) Unsay(name LevelName, key string) (said bool, err error) {
	s, err := name.sayable(key)
	if err != nil {
		return false, err
	}
	l, ok := p.sayer(name, s)
	if !ok || s.text(&l) == "" {
		return false, nil
	}
	if err := s.say(&l, ""); err != nil {
		return false, err
	}
	empty := func(n *Named) bool { return n.Name == name.Name && n.empty() }
	switch name.Kind {
	case flow.KindPool:
		p.Pools = slices.DeleteFunc(p.Pools, func(x Pool) bool { return empty(&x.Named) && x.FailMode == "" && len(x.MirrorVLANs) == 0 })
	case flow.KindNetwork:
		p.Networks = slices.DeleteFunc(p.Networks, func(x Named) bool { return empty(&x) })
	case flow.KindVM:
		p.VMs = slices.DeleteFunc(p.VMs, func(x Named) bool { return empty(&x) })
	case flow.KindVIF:
		p.VIFs = slices.DeleteFunc(p.VIFs, func(x VIF) bool { return x.Name == name.Name && x.Settings.empty() && len(x.Rules) == 0 })
	case KindMirrorTarget:
		p.MirrorTargets = slices.DeleteFunc(p.MirrorTargets, func(x MirrorTarget) bool { return x.String() == "" })
	default: // the global level is always there
	}
	return true, nil
}

// empty reports whether the level says nothing and has no rules.
func (l *Level) empty() bool { return l.Settings.empty() && len(l.Mandatory)+len(l.Default) == 0 }

// Setting describes a setting that levels may say.
type Setting struct {
	Key     string      `json:"key"`
	Levels  []string    `json:"levels"`           // as they are named: global, pool:NAME, and so on
	Form    string      `json:"form"`             // what values look like
	Values  []string    `json:"values,omitempty"` // all of them, if there are few
	Default string      `json:"default"`          // what holds if no level says it; "": nothing
	Doc     string      `json:"doc"`
	Kinds   []flow.Kind `json:"-"` // of Levels
}

// KnownSettings lists all settings that there are, in the order of the document.
func KnownSettings() []Setting {
	docs := map[string]string{}
	for _, k := range strictyaml.Describe(&Policy{}) {
		docs[k.Path] = k.Doc
	}
	list := make([]Setting, len(sayables))
	unsaid := blank()
	*unsaid.settings = builtIn
	for i, s := range sayables {
		list[i] = Setting{s.key, forms(s.kinds), s.form, s.values, s.text(&unsaid), docs[s.path], s.kinds}
		if s.path == "" {
			list[i].Doc = targetDoc
		}
	}
	return list
}

// targetDoc says what the way of a mirror target is, which is several keys in the document.
const targetDoc = "Where copies of traffic go that are sent to the mirror target: one of gre ADDRESS, erspan ADDRESS key SESSION, port NAME and vlan VLAN; gre may have a key, too."
