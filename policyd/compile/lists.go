package compile

import (
	"net/netip"
	"slices"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/policy"
)

// list is the rules of a scope, with the addresses of their remotes. Lists are immutable, and the same as long as both are.
type list struct {
	given  []*policy.Entry // as the policy has it
	rules  []listed
	groups bool // some of the remotes are groups
}

// listed is a rule of a list.
type listed struct {
	*policy.Entry
	remote *addresses // of the group that is its remote; nil: none is
}

// group is the addresses of a group, and what they were made of.
type group struct {
	prefixes []netip.Prefix
	addrs    []netip.Addr
	addresses
}

// known is what was compiled last.
type known struct {
	lists    map[policy.Scope]*list
	groups   map[flow.ID]*group
	fallback *policy.Entry // the final default
}

// rules plans the rules of the VIFs of a bridge. What is equal to what was compiled before is taken from there, so that it is the
// same and units are equal.
type rules struct {
	*plan
	in     *Input
	before known
	now    known
}

// of plans the rules of a bridge.
func (r *rules) of(b *bridge) {
	r.all(everyVIF, 0, policy.Scope{Tier: policy.GlobalMandatory}, policy.Scope{Tier: policy.GlobalDefault})
	r.all(everyVIF, 0, policy.Scope{Tier: policy.PoolMandatory, Of: r.in.Pool}, policy.Scope{Tier: policy.PoolDefault, Of: r.in.Pool})
	networks := map[flow.ID]uint32{}
	for i := range b.vifs {
		v := &b.vifs[i]
		port := v.ports[0]
		r.add(own{port})
		if v.bypassed {
			r.add(bypassed{port})
		}
		networks[v.rules.Network] = v.net
		for _, scope := range []policy.Scope{
			{Tier: policy.VMMandatory, Of: v.rules.VM}, {Tier: policy.VIFRules, Of: v.rules.ID}, {Tier: policy.VMDefault, Of: v.rules.VM},
		} {
			if l := r.list(scope); l != nil {
				r.add(vifRules{l, uint32(port)})
				r.add(tells{l})
			}
		}
	}
	for id, n := range networks {
		r.all(ofNetwork, n, policy.Scope{Tier: policy.NetworkMandatory, Of: id}, policy.Scope{Tier: policy.NetworkDefault, Of: id})
	}
	if r.now.fallback = r.in.Policy.Default; r.before.fallback != nil && equal(r.before.fallback, r.now.fallback) {
		r.now.fallback = r.before.fallback
	}
	r.rule(everyVIF, 0, listed{r.now.fallback, nil})
}

// all plans rules that several VIFs have, each by itself.
func (r *rules) all(of subject, value uint32, scopes ...policy.Scope) {
	for _, scope := range scopes {
		if l := r.list(scope); l != nil {
			for _, e := range l.rules {
				r.rule(of, value, e)
			}
		}
	}
}

func (r *rules) rule(of subject, value uint32, e listed) {
	r.add(rule{e.Entry, e.remote, of, value})
	for _, t := range tellsOf(e.Entry) {
		r.add(t)
	}
}

// list returns the list of a scope; nil if it is empty.
func (r *rules) list(scope policy.Scope) *list {
	given := r.in.Policy.Lists[scope]
	if len(given) == 0 || scope.Of == 0 && scope.Tier != policy.GlobalMandatory && scope.Tier != policy.GlobalDefault {
		return nil
	}
	l := r.now.lists[scope]
	if l == nil {
		if l = r.before.lists[scope]; l == nil || !r.current(l, given) {
			l = r.newList(given, l)
		}
		r.now.lists[scope] = l
	}
	return l
}

// current reports whether a list is what is given.
func (r *rules) current(l *list, given []*policy.Entry) bool {
	if len(l.given) != len(given) {
		return false
	}
	if &l.given[0] == &given[0] && !l.groups {
		return true
	}
	for i, e := range given {
		if known := l.rules[i]; known.Entry != e && !equal(known.Entry, e) || r.remote(e) != known.remote {
			return false
		}
	}
	return true
}

// newList returns the list of what is given, with entries of the former one, if there was one, where they are equal.
func (r *rules) newList(given []*policy.Entry, former *list) *list {
	known := map[uint32]*policy.Entry{}
	if former != nil {
		for _, e := range former.rules {
			known[e.Instance] = e.Entry
		}
	}
	l := &list{given: given, rules: make([]listed, len(given))}
	for i, e := range given {
		if old := known[e.Instance]; old != nil && (old == e || equal(old, e)) {
			e = old
		}
		l.rules[i] = listed{e, r.remote(e)}
		l.groups = l.groups || l.rules[i].remote != nil
	}
	return l
}

// equal reports whether flows of two entries are the same.
func equal(a, b *policy.Entry) bool {
	r, s := &a.Rule, &b.Rule
	return a.Instance == b.Instance && a.Rank == b.Rank && a.Scope == b.Scope && a.Group == b.Group && r.ID == s.ID && r.Action == s.Action &&
		r.Direction == s.Direction && r.Protocol == s.Protocol && r.Remote == s.Remote && slices.Equal(r.RemotePorts, s.RemotePorts) &&
		slices.Equal(r.LocalPorts, s.LocalPorts)
}

// remote returns the addresses of the group that is a rule's remote; nil if none is.
func (r *rules) remote(e *policy.Entry) *addresses {
	if e.Rule.Remote.AddressGroup == "" && e.Rule.Remote.VMGroup == "" {
		return nil
	}
	if g := r.now.groups[e.Group]; g != nil {
		return &g.addresses
	}
	g := r.before.groups[e.Group]
	prefixes, addrs := r.in.Estate.AddressGroups[e.Group], r.in.Estate.VMGroups[e.Group]
	if g == nil || !same(g.prefixes, prefixes) || !same(g.addrs, addrs) {
		g = &group{prefixes: prefixes, addrs: addrs}
		for _, x := range prefixes {
			g.add(x)
		}
		for _, a := range addrs {
			g.add(netip.PrefixFrom(a, a.BitLen()))
		}
	}
	r.now.groups[e.Group] = g
	return &g.addresses
}

// same is slices.Equal, at once for what is at the same address.
func same[T comparable](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}
