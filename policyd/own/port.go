package own

import (
	"maps"
	"slices"
	"strings"

	"github.com/weirhq/weir/ovs/ovsdb"
)

// Bridges have mirrors and ports of Weir's beside those of others. Of Weir's nothing is saved but that they are Weir's.

// Mirrors returns the rows of table Mirror of a bridge that a Weir made, and those of others, by name.
func Mirrors(r *ovsdb.Rows, b *ovsdb.Bridge) (ours, others []*ovsdb.Mirror) {
	for _, id := range slices.Sorted(slices.Values(b.Mirrors)) {
		m := r.Mirrors[id]
		if m == nil {
			continue
		}
		if _, marked := m.ExternalIDs[ownerKey]; marked {
			ours = append(ours, m)
		} else {
			others = append(others, m)
		}
	}
	byName := func(a, b *ovsdb.Mirror) int { return strings.Compare(a.Name, b.Name) }
	slices.SortStableFunc(ours, byName)
	slices.SortStableFunc(others, byName)
	return ours, others
}

// Ports returns the ports of a bridge that a Weir made, and those of others, by name.
func Ports(r *ovsdb.Rows, b *ovsdb.Bridge) (ours, others []*ovsdb.Port) {
	for _, id := range b.Ports {
		p := r.Ports[id]
		if p == nil {
			continue
		}
		if _, marked := p.ExternalIDs[ownerKey]; marked {
			ours = append(ours, p)
		} else {
			others = append(others, p)
		}
	}
	byName := func(a, b *ovsdb.Port) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(ours, byName)
	slices.SortFunc(others, byName)
	return ours, others
}

// AddPort gives b a new port of Weir's with one interface of the same name.
func (t *Transaction) AddPort(b *ovsdb.Bridge, name string, port, iface ovsdb.Values) {
	mark := map[string]string{ownerKey: t.instance}
	after := Describe(iface)
	iface = maps.Clone(iface)
	iface["name"], iface["external_ids"] = name, mark
	port = maps.Clone(port)
	if port == nil {
		port = ovsdb.Values{}
	}
	port["name"], port["external_ids"], port["interfaces"] = name, mark, t.insert("Interface", iface)
	t.expect(row{"Bridge", b.UUID}, ovsdb.Values{"name": b.Name})
	t.ops = append(t.ops, ovsdb.Mutate("Bridge", ovsdb.Is(b.UUID), ovsdb.Mutation{Column: "ports", Mutator: "insert", Value: t.insert("Port", port)}))
	t.changes = append(t.changes, Change{"Bridge", b.Name, "ports", "", name + ": " + after})
}

// RemovePort takes a port of Weir's off b.
func (t *Transaction) RemovePort(b *ovsdb.Bridge, p *ovsdb.Port) {
	t.expect(row{"Port", p.UUID}, ovsdb.Values{"name": p.Name, "external_ids": p.ExternalIDs})
	t.ops = append(t.ops, ovsdb.Mutate("Bridge", ovsdb.Is(b.UUID), ovsdb.Mutation{Column: "ports", Mutator: "delete", Value: p.UUID}))
	t.changes = append(t.changes, Change{"Bridge", b.Name, "ports", p.Name + ", made by Weir", ""})
}

// WritePort gives columns of a port of Weir's and of its interface; nil of either: none.
func (t *Transaction) WritePort(p *ovsdb.Port, port, iface ovsdb.Values) {
	t.expect(row{"Port", p.UUID}, ovsdb.Values{"name": p.Name, "interfaces": p.Interfaces})
	if port != nil {
		t.write("Port", p.UUID, port, nil, false)
	}
	if iface != nil && len(p.Interfaces) == 1 {
		t.write("Interface", p.Interfaces[0], iface, nil, false)
	}
}

// AddMirror gives b a new mirror of Weir's.
func (t *Transaction) AddMirror(b *ovsdb.Bridge, columns ovsdb.Values) {
	after := Describe(columns)
	columns = maps.Clone(columns)
	columns["external_ids"] = map[string]string{ownerKey: t.instance}
	t.expect(row{"Bridge", b.UUID}, ovsdb.Values{"mirrors": b.Mirrors})
	t.ops = append(t.ops, ovsdb.Mutate("Bridge", ovsdb.Is(b.UUID), ovsdb.Mutation{Column: "mirrors", Mutator: "insert", Value: t.insert("Mirror", columns)}))
	t.changes = append(t.changes, Change{"Bridge", b.Name, "mirrors", "", after})
}

// RemoveMirror takes a mirror of Weir's off b.
func (t *Transaction) RemoveMirror(b *ovsdb.Bridge, m *ovsdb.Mirror) {
	t.expect(row{"Bridge", b.UUID}, ovsdb.Values{"mirrors": b.Mirrors})
	t.ops = append(t.ops, ovsdb.Mutate("Bridge", ovsdb.Is(b.UUID), ovsdb.Mutation{Column: "mirrors", Mutator: "delete", Value: m.UUID}))
	t.changes = append(t.changes, Change{"Bridge", b.Name, "mirrors", m.Name + ", made by Weir", ""})
}

// WriteMirror gives columns of a mirror of Weir's.
func (t *Transaction) WriteMirror(b *ovsdb.Bridge, m *ovsdb.Mirror, columns ovsdb.Values) {
	t.expect(row{"Bridge", b.UUID}, ovsdb.Values{"mirrors": b.Mirrors})
	t.write("Mirror", m.UUID, columns, nil, false)
}

// releasePorts removes mirrors and ports of Weir's from b.
func (t *Transaction) releasePorts(b *ovsdb.Bridge) {
	mirrors, _ := Mirrors(t.rows, b)
	for _, m := range mirrors {
		t.RemoveMirror(b, m)
	}
	ports, _ := Ports(t.rows, b)
	for _, p := range ports {
		t.RemovePort(b, p)
	}
}
