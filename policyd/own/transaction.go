package own

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/ovs/ovsdb"
)

// Transaction is changes at a host that happen together or not at all. It is for one goroutine.
type Transaction struct {
	rows     *ovsdb.Rows
	instance string

	verify  map[row]ovsdb.Values
	keys    map[row]*keys
	ops     []ovsdb.Operation
	again   map[ovsdb.UUID]ovsdb.Named // rows of others that are made again, by the UUID that they had
	named   int
	changes []Change
}

// row is one of a table.
type row struct {
	table string
	id    ovsdb.UUID
}

// keys are what changes in external_ids of a row.
type keys struct {
	set    map[string]string
	remove []string
}

// Change is one column that a transaction changes, for people.
type Change struct {
	Table  string `json:"table"`
	Row    string `json:"row"` // its name, or "." of the only one
	Column string `json:"column"`
	Before string `json:"before"` // empty: nothing
	After  string `json:"after"`  // empty: nothing
}

// Begin returns a transaction without changes of an instance of Weir at a host as it was observed. An *OwnedError: another one
// has the host.
func Begin(r *ovsdb.Rows, instance string) (*Transaction, error) {
	if err := Check(r, instance); err != nil {
		return nil, err
	}
	return &Transaction{
		rows: r, instance: instance, verify: map[row]ovsdb.Values{}, keys: map[row]*keys{}, again: map[ovsdb.UUID]ovsdb.Named{},
	}, nil
}

// Put makes c of b refer to a new row of Weir's with the given columns. What c held before is was; its row must be among
// those that Select has read. Where Weir already holds c, was is what Was returned.
func (t *Transaction) Put(c *Column, b *ovsdb.Bridge, columns ovsdb.Values, was *Saved) error {
	columns = maps.Clone(columns)
	columns["external_ids"] = map[string]string{ownerKey: t.instance}
	after := Describe(columns)
	return t.hold(c, b, t.insert(c.Table, columns), after, mark{Was: was})
}

// Empty empties c of b, although something else was there, and says so on the host.
func (t *Transaction) Empty(c *Column, b *ovsdb.Bridge, was *Saved) error {
	return t.hold(c, b, nil, "", mark{Was: was, Empty: true})
}

// Write gives columns of the row of Weir's to which c of b refers. If await, Awaited tells when ovs-vswitchd has seen it.
func (t *Transaction) Write(c *Column, b *ovsdb.Bridge, columns ovsdb.Values, await bool) {
	t.expect(row{"Bridge", b.UUID}, ovsdb.Values{c.Name: c.Ref(b)})
	t.write(c.Table, c.Ref(b), columns, nil, await)
}

// write gives columns of a row of Weir's, and makes external_ids its mark and ids.
func (t *Transaction) write(table string, id ovsdb.UUID, columns ovsdb.Values, ids map[string]string, await bool) {
	ids = merged(map[string]string{ownerKey: t.instance}, ids)
	if columns = maps.Clone(columns); columns == nil {
		columns = ovsdb.Values{}
	}
	t.changes = append(t.changes, Change{table, string(id), "*", "", Describe(columns)})
	if await {
		ids[awaitKey] = strconv.FormatInt(t.apply(), 10)
	}
	columns["external_ids"] = ids
	t.ops = append(t.ops, ovsdb.Update(table, ovsdb.Is(id), columns))
}

// hold gives c of b a value and saves what it held before.
func (t *Transaction) hold(c *Column, b *ovsdb.Bridge, value any, after string, m mark) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("save column %s of bridge %q: %w", c.Name, b.Name, err)
	}
	if m.Was != nil && m.Was.UUID == c.Ref(b) { // it is saved now: as it is, or not at all
		t.expect(row{c.Table, m.Was.UUID}, m.Was.Row)
	}
	t.set(c, b, value, after)
	t.key("Bridge", b.UUID, b.Name, b.ExternalIDs, c.key(), string(text))
	return nil
}

// Restore gives c of b what it held before Weir set it.
func (t *Transaction) Restore(c *Column, b *ovsdb.Bridge) error {
	was, err := c.Was(b)
	if err != nil {
		return err
	}
	var value any
	after := ""
	if was != nil {
		after = Describe(was.Row)
		if _, is := c.find(t.rows, was.UUID); is { // another bridge refers to it, still
			value = was.UUID
		} else if name, made := t.again[was.UUID]; made {
			value = name
		} else {
			name := t.insert(c.Table, was.Row)
			t.again[was.UUID] = name
			value = name
		}
	}
	t.set(c, b, value, after)
	t.Forget(c, b)
	return nil
}

// Forget leaves c of b as it is, which is what others want, and does not keep what it was before.
func (t *Transaction) Forget(c *Column, b *ovsdb.Bridge) {
	t.expect(row{"Bridge", b.UUID}, ovsdb.Values{c.Name: c.Ref(b)})
	t.unkey("Bridge", b.UUID, b.Name, b.ExternalIDs, c.key())
}

// set gives c of b a value, if it still has the one that was observed.
func (t *Transaction) set(c *Column, b *ovsdb.Bridge, value any, after string) {
	t.expect(row{"Bridge", b.UUID}, ovsdb.Values{c.Name: c.Ref(b)})
	t.ops = append(t.ops, ovsdb.Update("Bridge", ovsdb.Is(b.UUID), ovsdb.Values{c.Name: value}))
	before := ""
	if ref := c.Ref(b); ref != "" {
		before = "row " + string(ref) + map[bool]string{true: ", made by Weir", false: ", not Weir's"}[c.State(t.rows, b) == Ours]
	}
	t.changes = append(t.changes, Change{"Bridge", b.Name, c.Name, before, after})
}

// insert makes a row and returns its name.
func (t *Transaction) insert(table string, columns ovsdb.Values) ovsdb.Named {
	t.named++
	name := fmt.Sprint("weir", t.named)
	t.ops = append(t.ops, ovsdb.Insert(table, name, columns))
	return ovsdb.Named(name)
}

// Await makes the switch say when it has done what this transaction says, for Applied.
func (t *Transaction) Await() { t.apply() }

// Applied says whether the switch has done all that it was asked to say so of.
func Applied(r *ovsdb.Rows) bool { return r.Root.CurCfg >= r.Root.NextCfg }

// apply asks ovs-vswitchd to say when it has done what this transaction says, as ovs-vsctl does, and returns what cur_cfg is
// then.
func (t *Transaction) apply() int64 {
	root := &t.rows.Root
	at := row{"Open_vSwitch", root.UUID}
	if _, asked := t.verify[at]["next_cfg"]; !asked {
		t.expect(at, ovsdb.Values{"next_cfg": root.NextCfg})
		t.ops = append(t.ops, ovsdb.Update("Open_vSwitch", ovsdb.Is(root.UUID), ovsdb.Values{"next_cfg": root.NextCfg + 1}))
	}
	return root.NextCfg + 1
}

// expect makes the transaction change nothing unless columns of a row have those values.
func (t *Transaction) expect(r row, columns ovsdb.Values) {
	if t.verify[r] == nil {
		t.verify[r] = ovsdb.Values{}
	}
	maps.Copy(t.verify[r], columns)
}

func (t *Transaction) keysOf(r row) *keys {
	if t.keys[r] == nil {
		t.keys[r] = &keys{set: map[string]string{}}
	}
	return t.keys[r]
}

// key sets a key in external_ids of a row, of which ids are those observed.
func (t *Transaction) key(table string, id ovsdb.UUID, name string, ids map[string]string, key, value string) {
	before, is := ids[key]
	if is && before == value {
		return
	}
	k := t.keysOf(row{table, id})
	k.set[key] = value
	if is { // inserting leaves the value of a key that is there
		k.remove = append(k.remove, key)
	}
	t.changes = append(t.changes, Change{table, name, "external_ids:" + key, before, value})
}

// unkey removes a key from external_ids of a row, of which ids are those observed.
func (t *Transaction) unkey(table string, id ovsdb.UUID, name string, ids map[string]string, key string) {
	before, is := ids[key]
	if !is {
		return
	}
	k := t.keysOf(row{table, id})
	if _, set := k.set[key]; set {
		panic("BUG: key " + key + " is set and removed in one transaction")
	}
	if slices.Contains(k.remove, key) {
		return
	}
	k.remove = append(k.remove, key)
	t.changes = append(t.changes, Change{table, name, "external_ids:" + key, before, ""})
}

// Claim marks the host as that of the instance, until Disclaim. It is part of every transaction that leaves something
// of Weir's at the host.
func (t *Transaction) Claim() {
	root := &t.rows.Root
	t.key("Open_vSwitch", root.UUID, ".", root.ExternalIDs, ownerKey, t.instance)
}

// Disclaim removes that mark.
func (t *Transaction) Disclaim() {
	root := &t.rows.Root
	t.unkey("Open_vSwitch", root.UUID, ".", root.ExternalIDs, ownerKey)
}

// Release undoes everything that a Weir has changed at the host, whatever it was.
func (t *Transaction) Release() error {
	// Of bridges that are no more, too: the host drops them when nothing refers to them.
	bridges := slices.SortedFunc(maps.Values(t.rows.Bridges), byName)
	for _, n := range numbersOf(t.rows) {
		if err := t.Add(n); err != nil {
			return err
		}
	}
	sets, _ := SampleSets(t.rows)
	for _, s := range sets {
		t.RemoveSampleSet(s)
	}
	for _, b := range bridges {
		controllers, _ := Controllers(t.rows, b)
		for _, c := range controllers {
			t.RemoveController(b, c)
		}
		t.releasePorts(b)
		for _, s := range Settings {
			if err := t.Unset(s, b); err != nil {
				return err
			}
		}
		for _, c := range Columns {
			switch held := c.Held(b); c.State(t.rows, b) {
			case Ours, Emptied:
				if err := t.Restore(c, b); err != nil {
					return err
				}
			case Empty, Foreign:
				if held {
					t.Forget(c, b)
				}
			}
		}
		t.unkeyAll("Bridge", b.UUID, b.Name, b.ExternalIDs)
	}
	for _, id := range slices.Sorted(maps.Keys(t.rows.Ports)) {
		p := t.rows.Ports[id]
		t.Unshape(p)
		if p.ExternalIDs[ownerKey] == "" { // Weir's own goes as a whole
			t.unkeyAll("Port", id, p.Name, p.ExternalIDs)
		}
	}
	t.RemoveQoS(nil)
	for _, id := range slices.Sorted(maps.Keys(t.rows.Interfaces)) {
		i := t.rows.Interfaces[id]
		if err := t.Unpolice(i); err != nil {
			return err
		}
		if i.ExternalIDs[ownerKey] == "" {
			t.unkeyAll("Interface", id, i.Name, i.ExternalIDs)
		}
	}
	t.unkeyAll("Open_vSwitch", t.rows.Root.UUID, ".", t.rows.Root.ExternalIDs)
	return nil
}

// unkeyAll removes all keys that are Weir's.
func (t *Transaction) unkeyAll(table string, id ovsdb.UUID, name string, ids map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(ids)) {
		if strings.HasPrefix(key, prefix) {
			t.unkey(table, id, name, ids, key)
		}
	}
}

// Changes lists what it changes; none: there is nothing to do.
func (t *Transaction) Changes() []Change { return t.changes }

// Operations returns what to send, nil if there is nothing to do.
func (t *Transaction) Operations() []ovsdb.Operation {
	if len(t.changes) == 0 {
		return nil
	}
	// Whose host it is must not have changed either.
	t.expect(row{"Open_vSwitch", t.rows.Root.UUID}, ovsdb.Values{"external_ids": t.rows.Root.ExternalIDs})
	var list []ovsdb.Operation
	inOrder := func(a, b row) int { return strings.Compare(a.table+string(a.id), b.table+string(b.id)) }
	for _, r := range slices.SortedFunc(maps.Keys(t.verify), inOrder) {
		list = append(list, ovsdb.Verify(r.table, r.id, t.verify[r]))
	}
	list = append(list, t.ops...)
	for _, r := range slices.SortedFunc(maps.Keys(t.keys), inOrder) {
		var m []ovsdb.Mutation
		if k := t.keys[r]; len(k.remove) > 0 {
			m = append(m, ovsdb.Mutation{Column: "external_ids", Mutator: "delete", Value: k.remove})
		}
		if k := t.keys[r]; len(k.set) > 0 {
			m = append(m, ovsdb.Mutation{Column: "external_ids", Mutator: "insert", Value: k.set})
		}
		list = append(list, ovsdb.Mutate(r.table, ovsdb.Is(r.id), m...))
	}
	return append(list, ovsdb.Comment("weir: instance "+t.instance))
}

// Bridges returns the bridges of a host by name. Rows of bridges that are no more, which something still refers to, are not among them.
func Bridges(r *ovsdb.Rows) []*ovsdb.Bridge {
	var list []*ovsdb.Bridge
	for _, id := range r.Root.Bridges {
		if b := r.Bridges[id]; b != nil {
			list = append(list, b)
		}
	}
	slices.SortFunc(list, byName)
	return list
}

func byName(a, b *ovsdb.Bridge) int { return strings.Compare(a.Name, b.Name) }

// Describe returns a row in one line, without what is empty.
func Describe(columns ovsdb.Values) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(columns)) {
		v := columns[name]
		if m, is := v.(map[string]string); is {
			for _, k := range slices.Sorted(maps.Keys(m)) {
				list = append(list, fmt.Sprintf("%s:%s=%s", name, k, m[k]))
			}
			continue
		}
		switch x := v.(type) {
		case nil:
			continue
		case []any:
			if len(x) == 0 {
				continue
			}
			texts := make([]string, len(x))
			for i := range x {
				texts[i] = fmt.Sprint(x[i])
			}
			v = strings.Join(texts, ",")
		case []string:
			v = strings.Join(x, ",")
		case *int64:
			if x == nil {
				continue
			}
			v = *x
		}
		list = append(list, fmt.Sprintf("%s=%v", name, v))
	}
	return strings.Join(list, " ")
}
