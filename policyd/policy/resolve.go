package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

// Kept is what is remembered of a rule that was in force, for as long as anybody may ask.
type Kept struct {
	Scope    Scope
	Rule     string // its id
	Digest   string // of what it means: action, match and scope; a comment is no part of it
	Instance uint32
	Rank     uint16
}

// Request is what Resolve needs.
type Request struct {
	Policy *Policy // valid, and every rule has an id: see Policy.Identify
	Names  *Names  // of the estate as it is now
	Now    time.Time

	// Former are rules as they were in force before. One that means the same keeps its instance; in the order of their ranks
	// as many as possible keep theirs.
	Former []Kept

	// Bound is what names meant when the policy was applied: they still mean that, whatever has the name now. If somebody is
	// applying the policy now, they mean what they mean in Names; only a name that nothing has any more means what it meant.
	Bound   []Bound
	Applied bool

	// Last is what is in force, to share with; nil: nothing. If all is the same, Draft.Set returns it.
	Last *Set
}

// Draft is a policy that is resolved, but for the numbers of new rule instances.
type Draft struct {
	New      int      // how many instances are to be given
	Warnings []string // what should be known, each with its key path

	set  *Set
	list []*Entry // in the order of their tiers, the default first
	last *Set
}

// Resolve resolves a policy against an estate. It refuses, with an *estate.Problems that names everything, names that are unknown
// or of several things, and groups that exceed MaxPrefixes.
func Resolve(req Request) (*Draft, error) {
	r := &resolver{
		Request: req, bound: map[boundKey]flow.ID{}, used: map[boundKey]flow.ID{}, former: map[string][]Kept{},
		addressGroups: map[string]*AddressGroup{}, vmGroups: map[string]*VMGroup{},
		draft: &Draft{set: &Set{Lists: map[Scope][]*Entry{}, Groups: map[flow.ID]*Group{}}},
	}
	for _, b := range req.Bound {
		r.bound[boundKey{b.Kind, b.Name}] = b.ID
	}
	for _, k := range req.Former {
		r.former[k.Rule] = append(r.former[k.Rule], k)
	}
	r.groups()
	r.settings()
	r.rules()
	if len(r.problems.List) > 0 {
		return nil, fmt.Errorf("resolve policy: %w", &r.problems)
	}
	r.number()
	return r.draft, nil
}

// MaxPrefixes is how many prefixes all groups that rules name may have, groups in groups counted again.
const MaxPrefixes = 1 << 18

type boundKey struct {
	kind flow.Kind
	name string
}

type resolver struct {
	Request
	bound, used map[boundKey]flow.ID
	former      map[string][]Kept // by rule
	problems    estate.Problems
	draft       *Draft

	addressGroups map[string]*AddressGroup // the policy's
	vmGroups      map[string]*VMGroup
	prefixes      int
}

var errUnknown = errors.New("unknown")

func (r *resolver) refuse(path, format string, args ...any) {
	const most = 100
	if len(r.problems.List) == most {
		r.problems.More++
		return
	}
	r.problems.List = append(r.problems.List, estate.Problem{Path: path, Text: fmt.Sprintf(format, args...)})
}

func (r *resolver) warn(format string, args ...any) {
	const most = 100
	if len(r.draft.Warnings) < most {
		r.draft.Warnings = append(r.draft.Warnings, fmt.Sprintf(format, args...))
	}
}

// id returns what a name means; 0 if that was refused.
func (r *resolver) id(kind flow.Kind, path, name string) flow.ID {
	k := boundKey{kind, name}
	if id, ok := r.used[k]; ok {
		return id
	}
	id := r.lookUp(kind, path, name)
	r.used[k] = id
	return id
}

func (r *resolver) lookUp(kind flow.Kind, path, name string) flow.ID {
	d := r.Names.kinds[kind]
	before, known := r.bound[boundKey{kind, name}]
	if other, ok := r.Names.alias[before]; ok {
		before = other
	}
	_, exists := d.full[before]
	if known && exists && !r.Applied {
		return before
	}
	id, err := d.find(name)
	switch {
	case known && !r.Applied && err == nil:
		r.warn("%s: the %s that was named %q is gone, and another one has the name: apply the policy again, if that one is meant", path, d.noun, name)
		return before
	case err == nil:
		return id
	case known && (errors.Is(err, errUnknown) || !r.Applied):
		r.warn("%s: no %s %q is known at present: what is said of it waits for the one that had the name", path, d.noun, name)
		return before
	case !errors.Is(err, errUnknown):
		r.refuse(path, "%v", err)
	default:
		r.refuse(path, "%q is no %s%s", name, d.noun, r.meant(kind, name))
	}
	return 0
}

// meant returns a suggestion; only for the first problems, since it compares with all names.
func (r *resolver) meant(kind flow.Kind, name string) string {
	const suggestions = 10
	if len(r.problems.List) >= suggestions {
		return ""
	}
	var own []string
	if kind == flow.KindAddressGroup {
		own = slices.Sorted(maps.Keys(r.addressGroups))
	}
	if kind == flow.KindVMGroup {
		own = slices.Sorted(maps.Keys(r.vmGroups))
	}
	return r.Names.kinds[kind].near(name, own)
}

// groups makes the policy's groups known and resolves what they hold.
func (r *resolver) groups() {
	taken := func(kind flow.Kind, path, name string) {
		if r.Applied && len(r.Names.kinds[kind].by[name]) > 0 {
			r.refuse(path, "the estate has %s %q, too: rules could mean either, give it another name", article(r.Names.kinds[kind].noun), name)
		}
	}
	for i := range r.Policy.AddressGroups {
		g := &r.Policy.AddressGroups[i]
		taken(flow.KindAddressGroup, item("address_groups", i)+".name", g.Name)
		r.addressGroups[g.Name] = g
	}
	for i := range r.Policy.VMGroups {
		g := &r.Policy.VMGroups[i]
		taken(flow.KindVMGroup, item("vm_groups", i)+".name", g.Name)
		r.vmGroups[g.Name] = g
	}
	for i := range r.Policy.AddressGroups {
		for j, m := range r.Policy.AddressGroups[i].Members {
			if name, ok := strings.CutPrefix(m, addressGroupWord); ok && r.addressGroups[name] == nil {
				r.id(flow.KindAddressGroup, item(item("address_groups", i)+".members", j), name)
			}
		}
	}
	for i := range r.Policy.VMGroups {
		g, at := &r.Policy.VMGroups[i], item("vm_groups", i)
		for j, name := range g.VMs {
			r.id(flow.KindVM, item(at+".vms", j), name)
		}
		for j, name := range g.Groups {
			if r.vmGroups[name] == nil {
				r.id(flow.KindVMGroup, item(at+".groups", j), name)
			}
		}
		for j := range g.Select {
			if s := &g.Select[j]; s.Pool != "" {
				r.id(flow.KindPool, item(at+".select", j)+".pool", s.Pool)
			}
			if s := &g.Select[j]; s.Network != "" {
				r.id(flow.KindNetwork, item(at+".select", j)+".network", s.Network)
			}
		}
	}
}

func article(noun string) string {
	if strings.HasPrefix(noun, "a") {
		return "an " + noun
	}
	return "a " + noun
}

// group returns the id of the group that a rule names, and puts it into the set; 0 if it has none or was refused.
func (r *resolver) group(path string, remote *Remote) flow.ID {
	switch {
	case remote.AddressGroup != "":
		g := &Group{Kind: flow.KindAddressGroup, Name: remote.AddressGroup}
		if r.addressGroups[g.Name] == nil {
			g.ID = r.id(g.Kind, path, g.Name)
			g.Estate = []flow.ID{g.ID}
		} else {
			g.ID = flow.NewID(g.Kind, g.Name)
		}
		if _, ok := r.draft.set.Groups[g.ID]; !ok && g.ID != 0 {
			r.fillAddresses(path, g)
			r.draft.set.Groups[g.ID] = g
		}
		return g.ID
	case remote.VMGroup != "":
		g := &Group{Kind: flow.KindVMGroup, Name: remote.VMGroup}
		if r.vmGroups[g.Name] == nil {
			g.ID = r.id(g.Kind, path, g.Name)
			g.Estate = []flow.ID{g.ID}
		} else {
			g.ID = flow.NewID(g.Kind, g.Name)
		}
		if _, ok := r.draft.set.Groups[g.ID]; !ok && g.ID != 0 {
			r.fillVMs(g)
			r.draft.set.Groups[g.ID] = g
		}
		return g.ID
	}
	return 0
}

// fillAddresses finds what is in a group of the policy and in those that it holds.
func (r *resolver) fillAddresses(path string, g *Group) {
	seen := map[string]bool{}
	var all []netip.Prefix
	var add func(name string)
	add = func(name string) {
		own := r.addressGroups[name]
		if own == nil || seen[name] || r.prefixes > MaxPrefixes {
			return
		}
		seen[name] = true
		for _, m := range own.Members {
			inner, isGroup := strings.CutPrefix(m, addressGroupWord)
			if !isGroup {
				list, _ := estate.ParseMember(m) // valid
				all = append(all, list...)
				r.prefixes += len(list)
			} else if r.addressGroups[inner] == nil {
				g.Estate = append(g.Estate, r.used[boundKey{flow.KindAddressGroup, inner}])
			} else {
				add(inner)
			}
		}
	}
	add(g.Name)
	if r.prefixes > MaxPrefixes {
		r.refuse(path, "with group %q, rules name groups of more than %d prefixes in all: write ranges as prefixes, or leave groups out of groups", g.Name, MaxPrefixes)
		return
	}
	g.Prefixes, g.Estate = disjoint(all), unique(g.Estate)
}

// fillVMs finds what is in a VM group of the policy and in those that it holds.
func (r *resolver) fillVMs(g *Group) {
	seen := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		own := r.vmGroups[name]
		if own == nil || seen[name] {
			return
		}
		seen[name] = true
		for _, vm := range own.VMs {
			g.VMs = append(g.VMs, r.used[boundKey{flow.KindVM, vm}])
		}
		for _, s := range own.Select {
			resolved := Selector{Selector: s}
			if s.Pool != "" {
				resolved.Pool = r.used[boundKey{flow.KindPool, s.Pool}]
			}
			if s.Network != "" {
				resolved.Network = r.used[boundKey{flow.KindNetwork, s.Network}]
			}
			g.Select = append(g.Select, resolved)
		}
		for _, inner := range own.Groups {
			if r.vmGroups[inner] == nil {
				g.Estate = append(g.Estate, r.used[boundKey{flow.KindVMGroup, inner}])
			} else {
				add(inner)
			}
		}
	}
	add(g.Name)
	g.VMs, g.Estate = unique(g.VMs), unique(g.Estate)
}

func unique(ids []flow.ID) []flow.ID {
	slices.Sort(ids)
	return slices.Compact(ids)
}

// disjoint returns the fewest prefixes that hold the same addresses, ascending. It disorders list.
func disjoint(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var out []netip.Prefix
	for _, p := range list {
		if n := len(out); n > 0 && out[n-1].Overlaps(p) { // then it is wider: it came first
			continue
		}
		out = append(out, p)
		for len(out) > 1 { // two halves are one
			a, b := out[len(out)-2], out[len(out)-1]
			if a.Bits() != b.Bits() || a.Bits() == 0 {
				break
			}
			both := netip.PrefixFrom(a.Addr(), a.Bits()-1)
			if !both.Contains(b.Addr()) {
				break
			}
			out = append(out[:len(out)-2], both)
		}
	}
	return out
}

// rules resolves the rules in force.
func (r *resolver) rules() {
	set := r.draft.set
	set.Default = &Entry{
		Rule: Rule{ID: DefaultRule, Action: cmp.Or(r.Policy.Default, Allow), Direction: Either}, ID: flow.NewID(flow.KindRule, DefaultRule),
	}
	seen := map[Scope]string{}
	ids := map[flow.ID]string{set.Default.ID: DefaultRule}
	for _, l := range r.Policy.lists() {
		scope := Scope{Tier: l.tier}
		if l.kind != "" {
			if scope.Of = r.id(l.kind, l.at, l.of); scope.Of == 0 {
				for i := range l.rules { // what else is wrong is to be said, too
					r.group(item(l.path, i)+".remote", &l.rules[i].Remote)
				}
				continue
			}
			if first, ok := seen[scope]; ok {
				if l.tier != PoolDefault && l.tier != NetworkDefault && l.tier != VMDefault {
					r.refuse(l.at, "%q is the same %s as %s: write rules and settings there", l.of, r.Names.kinds[l.kind].noun, first)
				}
				continue
			}
			seen[scope] = fmt.Sprintf("%q, at %s", l.of, strings.TrimSuffix(l.at, ".name"))
		}
		for i := range l.rules {
			rule := &l.rules[i]
			path := item(l.path, i)
			if rule.ID == "" {
				r.refuse(path, "has no id")
				continue
			}
			group := r.group(path+".remote", &rule.Remote)
			if rule.Disabled || !rule.Expires.IsZero() && !r.Now.Before(rule.Expires) {
				continue
			}
			if e := rule.Expires; !e.IsZero() && (set.Expires.IsZero() || e.Before(set.Expires)) {
				set.Expires = e
			}
			entry := &Entry{Rule: *rule, Scope: scope, Group: group, ID: flow.NewID(flow.KindRule, rule.ID)}
			entry.Rule.Direction = cmp.Or(rule.Direction, Either)
			entry.Rule.RemotePorts, entry.Rule.LocalPorts = rule.RemotePorts.merged(), rule.LocalPorts.merged()
			if other, ok := ids[entry.ID]; ok {
				r.refuse(path+".id", "%q has the number of %q in flows: give it another id", rule.ID, other)
			}
			ids[entry.ID] = rule.ID
			set.Lists[scope] = append(set.Lists[scope], entry)
		}
	}
	for k, id := range r.used {
		set.Bound = append(set.Bound, Bound{k.kind, k.name, id})
	}
	slices.SortFunc(set.Bound, func(a, b Bound) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Name, b.Name))
	})
}

// settings resolves the settings of levels. Names that are those of two levels are refused where rules are.
func (r *resolver) settings() {
	set := r.draft.set
	set.Settings, set.Pools, set.FailMode = map[LevelID]*Said{}, map[flow.ID]*PoolSettings{}, r.Policy.FailMode
	set.MirrorTargets = make(map[string]MirrorTarget, len(r.Policy.MirrorTargets))
	for _, t := range r.Policy.MirrorTargets {
		set.MirrorTargets[t.Name] = t
	}
	for _, text := range r.Policy.Warnings() {
		r.warn("%s", text)
	}
	for _, l := range r.Policy.levels() {
		id := LevelID{Kind: l.kind}
		if l.kind != "" {
			if id.Of = r.id(l.kind, l.at, l.of); id.Of == 0 {
				continue
			}
		}
		if _, ok := set.Settings[id]; !ok && !l.settings.empty() {
			set.Settings[id] = &Said{l.of, *l.settings}
		}
		if l.kind == flow.KindPool && (*l.failMode != "" || len(*l.vlans) > 0) {
			set.Pools[id.Of] = &PoolSettings{*l.failMode, slices.Clone(*l.vlans)}
		}
	}
}

// Digest returns a digest of what the rule means, in hexadecimal digits.
func (e *Entry) Digest() string {
	h := sha256.New()
	h.Write([]byte(strconv.Itoa(int(e.Scope.Tier)) + " " + strconv.FormatUint(uint64(e.Scope.Of), 10) + " " + e.Rule.meaning(e.Group)))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// number gives entries the instances and ranks that they had.
func (r *resolver) number() {
	d := r.draft
	d.list = append(d.list, d.set.Default)
	scopes := make([]Scope, 0, len(d.set.Lists))
	for s := range d.set.Lists {
		scopes = append(scopes, s)
	}
	slices.SortFunc(scopes, func(a, b Scope) int { return cmp.Or(cmp.Compare(a.Tier, b.Tier), cmp.Compare(a.Of, b.Of)) })
	for _, s := range scopes {
		list := d.set.Lists[s]
		former := make([]uint16, len(list))
		for i, e := range list {
			for _, k := range r.former[e.Rule.ID] {
				if k.Scope == s {
					former[i] = k.Rank
				}
			}
		}
		for i, rank := range Ranks(former) {
			list[i].Rank = rank
		}
		d.list = append(d.list, list...)
	}
	for _, e := range d.list {
		if former := r.former[e.Rule.ID]; len(former) > 0 {
			digest := e.Digest()
			for _, k := range former {
				if k.Digest == digest {
					e.Instance = max(e.Instance, k.Instance)
				}
			}
		}
		if e.Instance == 0 {
			d.New++
		}
	}
	d.last = r.Last
}

// Set returns the policy as it is to be in force. New instances are numbered from first on, d.New of them. It is called once. What
// is the same as in Request.Last is at the same address, and if all is, it is that set.
func (d *Draft) Set(first uint32) *Set {
	for _, e := range d.list {
		if e.Instance == 0 {
			e.Instance = first
			first++
		}
	}
	if d.last != nil {
		d.set = d.set.sharing(d.last)
	}
	return d.set
}

// sharing returns s with what is the same in last; last if all is.
func (s *Set) sharing(last *Set) *Set {
	same := slices.Equal(s.Bound, last.Bound) && s.Expires.Equal(last.Expires) && len(s.Lists) == len(last.Lists) && len(s.Groups) == len(last.Groups)
	entries := make(map[string]*Entry, len(s.Lists))
	for _, list := range last.Lists {
		for _, e := range list {
			entries[e.Rule.ID] = e
		}
	}
	entries[DefaultRule] = last.Default
	share := func(e *Entry) *Entry {
		if old := entries[e.Rule.ID]; old != nil && old.Equal(e) {
			return old
		}
		return e
	}
	s.Default = share(s.Default)
	same = same && s.Default == last.Default
	for scope, list := range s.Lists {
		for i, e := range list {
			list[i] = share(e)
		}
		if old := last.Lists[scope]; slices.Equal(list, old) {
			s.Lists[scope] = old
		} else {
			same = false
		}
	}
	for id, g := range s.Groups {
		if old := last.Groups[id]; old != nil && old.equal(g) {
			s.Groups[id] = old
		} else {
			same = false
		}
	}
	if same && s.sameSettings(last) {
		return last
	}
	return s
}

// sameSettings reports whether all settings are the same.
func (s *Set) sameSettings(o *Set) bool {
	return s.FailMode == o.FailMode && maps.Equal(s.MirrorTargets, o.MirrorTargets) && maps.EqualFunc(s.Settings, o.Settings, func(a, b *Said) bool { return a.Name == b.Name && a.equal(&b.Settings) }) &&
		maps.EqualFunc(s.Pools, o.Pools, func(p, q *PoolSettings) bool {
			return p.FailMode == q.FailMode && slices.Equal(p.MirrorVLANs, q.MirrorVLANs)
		})
}

func (g *Group) equal(o *Group) bool {
	return g.ID == o.ID && g.Kind == o.Kind && g.Name == o.Name && slices.Equal(g.Prefixes, o.Prefixes) && slices.Equal(g.VMs, o.VMs) &&
		slices.Equal(g.Estate, o.Estate) && slices.EqualFunc(g.Select, o.Select, func(s, t Selector) bool {
		return s.Pool == t.Pool && s.Network == t.Network && sameSelector(&s.Selector, &t.Selector)
	})
}

// Equal reports whether two entries are the same, comments included.
func (e *Entry) Equal(o *Entry) bool {
	return e.Scope == o.Scope && e.ID == o.ID && e.Group == o.Group && e.Instance == o.Instance && e.Rank == o.Rank && e.Rule.Equal(&o.Rule)
}

// Equal reports whether two rules are written the same.
func (r *Rule) Equal(o *Rule) bool {
	return r.ID == o.ID && r.Action == o.Action && r.Direction == o.Direction && r.Protocol == o.Protocol && r.Remote == o.Remote &&
		slices.Equal(r.RemotePorts, o.RemotePorts) && slices.Equal(r.LocalPorts, o.LocalPorts) && r.Disabled == o.Disabled &&
		r.Expires.Equal(o.Expires) && r.Comment == o.Comment
}

// Entries returns all entries in the order of their tiers, the default last.
func (s *Set) Entries() []*Entry {
	var all []*Entry
	for _, list := range s.Lists {
		all = append(all, list...)
	}
	slices.SortFunc(all, func(a, b *Entry) int {
		return cmp.Or(cmp.Compare(a.Scope.Tier, b.Scope.Tier), cmp.Compare(a.Scope.Of, b.Scope.Of), cmp.Compare(a.Rank, b.Rank))
	})
	return append(all, s.Default)
}

// Kept returns what is to be remembered of the set.
func (s *Set) Kept() []Kept {
	entries := s.Entries()
	kept := make([]Kept, len(entries))
	for i, e := range entries {
		kept[i] = Kept{e.Scope, e.Rule.ID, e.Digest(), e.Instance, e.Rank}
	}
	return kept
}
