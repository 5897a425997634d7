package own

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/weirhq/weir/ovs/ovsdb"
)

// Numbers is a column of a row of others that is a set of numbers, to which Weir adds some. What it added is in external_ids of that row,
// key weir-former-COLUMN, written in the same transaction.
type Numbers struct {
	column string
	row
	name        string // of the row
	externalIDs map[string]string
	now         []int64
	alone       bool // what Weir added to an empty set is taken out only if nothing else came: others know the set with it
}

// FloodVLANs are the VLANs in which a bridge learns no addresses.
func FloodVLANs(b *ovsdb.Bridge) Numbers {
	return Numbers{"flood_vlans", row{"Bridge", b.UUID}, b.Name, b.ExternalIDs, b.FloodVLANs, false}
}

// Trunks are the VLANs that a port is in that is in several; none: all.
func Trunks(p *ovsdb.Port) Numbers {
	return Numbers{"trunks", row{"Port", p.UUID}, p.Name, p.ExternalIDs, p.Trunks, true}
}

func (n *Numbers) key() string { return prefix + "former-" + n.column }

// added is the value of key weir-former-COLUMN, as JSON.
type added struct {
	Added []int64 `json:"added"`
}

// Held says whether Weir has added something, and has not taken it out.
func (n *Numbers) Held() bool {
	_, held := n.externalIDs[n.key()]
	return held
}

// Added returns what Weir added and is still there.
func (n *Numbers) Added() ([]int64, error) {
	text, held := n.externalIDs[n.key()]
	if !held {
		return nil, nil
	}
	var a added
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return nil, fmt.Errorf("read what Weir added to column %s of %s %q: external_ids:%s: %w: remove that key to give it up", n.column, n.table, n.name, n.key(), err)
	}
	slices.Sort(a.Added)
	if n.alone && !slices.Equal(slices.Compact(a.Added), slices.Sorted(slices.Values(n.now))) {
		return nil, nil
	}
	return slices.DeleteFunc(slices.Compact(a.Added), func(x int64) bool { return !slices.Contains(n.now, x) }), nil
}

// Add makes want what Weir has added to n: what others have there already stays theirs, and what Weir had added beyond it is taken out.
func (t *Transaction) Add(n Numbers, want ...int64) error {
	had, err := n.Added()
	if err != nil {
		return err
	}
	var keep, insert, remove []int64
	for _, x := range slices.Compact(slices.Sorted(slices.Values(want))) {
		switch {
		case slices.Contains(had, x):
			keep = append(keep, x)
		case !slices.Contains(n.now, x):
			insert = append(insert, x)
		}
	}
	for _, x := range had {
		if !slices.Contains(keep, x) {
			remove = append(remove, x)
		}
	}
	ours := slices.Sorted(slices.Values(slices.Concat(keep, insert)))
	if len(ours) == 0 && !n.Held() {
		return nil
	}
	t.expect(n.row, ovsdb.Values{n.column: n.now})
	if len(ours) == 0 {
		t.unkey(n.table, n.id, n.name, n.externalIDs, n.key())
	} else {
		text, err := json.Marshal(added{ours})
		if err != nil {
			return fmt.Errorf("save what was added to column %s of %s %q: %w", n.column, n.table, n.name, err)
		}
		t.key(n.table, n.id, n.name, n.externalIDs, n.key(), string(text))
	}
	var m []ovsdb.Mutation
	if len(remove) > 0 {
		m = append(m, ovsdb.Mutation{Column: n.column, Mutator: "delete", Value: remove})
	}
	if len(insert) > 0 {
		m = append(m, ovsdb.Mutation{Column: n.column, Mutator: "insert", Value: insert})
	}
	if len(m) > 0 {
		t.ops = append(t.ops, ovsdb.Mutate(n.table, ovsdb.Is(n.id), m...))
		after := slices.DeleteFunc(slices.Concat(n.now, insert), func(x int64) bool { return slices.Contains(remove, x) })
		t.changes = append(t.changes, Change{n.table, n.name, n.column, listed(n.now), listed(after)})
	}
	return nil
}

func listed(numbers []int64) string {
	if len(numbers) == 0 {
		return ""
	}
	return fmt.Sprint(slices.Sorted(slices.Values(numbers)))
}

// numbersOf returns all columns of the host to which Weir may have added something.
func numbersOf(r *ovsdb.Rows) []Numbers {
	var list []Numbers
	for _, id := range slices.Sorted(maps.Keys(r.Bridges)) {
		list = append(list, FloodVLANs(r.Bridges[id]))
	}
	for _, id := range slices.Sorted(maps.Keys(r.Ports)) {
		list = append(list, Trunks(r.Ports[id]))
	}
	return list
}
