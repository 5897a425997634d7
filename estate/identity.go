package estate

import (
	"cmp"
	"maps"
	"slices"

	"github.com/weirhq/weir/flow"
)

// Identity is a key under which flows were stored, or may have been.
type Identity struct {
	Kind   flow.Kind
	Key    string
	SameAs string // key of the entity; empty: Key is
}

// identities remembers under which key each entity was seen first: that stays its key, whatever is found out later. An
// entity that is told of without a uuid at first keeps the id made of its name when its uuid becomes known.
type identities struct {
	known map[identity]canonical
	n     uint64
}

type identity struct {
	kind flow.Kind
	key  string
}

type canonical struct {
	key   string
	since uint64 // ascends in the order in which keys were seen first
}

func newIdentities() *identities { return &identities{known: map[identity]canonical{}} }

// recall notes an identity from before; those noted first are the older ones.
func (ids *identities) recall(i Identity) {
	of := i.Key
	if i.SameAs != "" {
		of = i.SameAs
	}
	ids.note(i.Kind, i.Key, of)
}

func (ids *identities) note(kind flow.Kind, key, of string) {
	k := identity{kind, key}
	if _, ok := ids.known[k]; !ok {
		ids.n++
		ids.known[k] = canonical{of, ids.n}
	}
}

// right is what an entity has to a key.
type right uint8

const (
	rightFull  right = iota // no other goes by it
	rightFirst              // others would go by it, too, but are less believed
	rightNone
)

// choose returns the key of an entity that may go by any of these keys, the best one first: the one under which it was
// seen first. The first certain of the candidates are its uuids, the last one is for the case that it has a right to none of
// the others. A key that is none of the candidates, but that of which one was found to be another name, counts too. sameAs
// are the candidates under which flows may know the entity besides: its uuids, and those that were seen before.
func (ids *identities) choose(kind flow.Kind, certain int, candidates []string, to func(key string) right) (key string, sameAs []string) {
	last := candidates[len(candidates)-1]
	candidates = candidates[:len(candidates)-1]
	first := ^uint64(0)
	consider := func(c string) {
		if known, ok := ids.known[identity{kind, c}]; ok && known.since < first {
			first, key = known.since, c
		}
	}
	best := ""
	for _, c := range candidates {
		if to(c) != rightFull {
			continue
		}
		if best == "" {
			best = c
		}
		if of := ids.known[identity{kind, c}].key; of != c && of != "" && !slices.Contains(candidates, of) && to(of) == rightFull {
			consider(of)
		} else {
			consider(c)
		}
	}
	if key == "" {
		key = best
	}
	for _, c := range candidates {
		if key == "" && to(c) == rightFirst {
			key = c
		}
	}
	if key == "" {
		key = last
	}
	ids.bind(kind, key, key)
	for i, c := range candidates {
		if c == key || slices.Contains(candidates[:i], c) || to(c) != rightFull {
			continue
		}
		if _, seen := ids.known[identity{kind, c}]; seen || i < certain {
			sameAs = append(sameAs, c)
			ids.bind(kind, c, key)
		}
	}
	return key, sameAs
}

// bind makes key a name of an entity, which may be its own.
func (ids *identities) bind(kind flow.Kind, key, of string) {
	ids.note(kind, key, of)
	k := identity{kind, key}
	known := ids.known[k]
	known.key = of
	ids.known[k] = known
}

// list returns all identities, those that were noted first come first.
func (ids *identities) list() []Identity {
	keys := slices.SortedFunc(maps.Keys(ids.known), func(a, b identity) int { return cmp.Compare(ids.known[a].since, ids.known[b].since) })
	list := make([]Identity, len(keys))
	for i, k := range keys {
		list[i] = Identity{Kind: k.kind, Key: k.key}
		if of := ids.known[k].key; of != k.key {
			list[i].SameAs = of
		}
	}
	return list
}
