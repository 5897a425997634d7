package own

import (
	"maps"
	"slices"

	"github.com/weirhq/weir/ovs/ovsdb"
)

// Bridges have two kinds of rows beside those of Columns: controllers, of which a bridge has a set, and collector sets of what its flows
// sample, which refer to a bridge. Rows of others stay beside Weir's; of Weir's nothing is saved but that they are Weir's.

// Controllers returns the rows of a bridge that a Weir made, and those of others, by UUID.
func Controllers(r *ovsdb.Rows, b *ovsdb.Bridge) (ours, others []*ovsdb.Controller) {
	for _, id := range slices.Sorted(slices.Values(b.Controllers)) {
		c := r.Controllers[id]
		if c == nil {
			continue
		}
		if _, marked := c.ExternalIDs[ownerKey]; marked {
			ours = append(ours, c)
		} else {
			others = append(others, c)
		}
	}
	return ours, others
}

// SampleSets returns the collector sets that a Weir made, of bridges that are no more too, and those of others, by UUID.
func SampleSets(r *ovsdb.Rows) (ours, others []*ovsdb.SampleSet) {
	for _, id := range slices.Sorted(maps.Keys(r.SampleSets)) {
		s := r.SampleSets[id]
		if _, marked := s.ExternalIDs[ownerKey]; marked {
			ours = append(ours, s)
		} else {
			others = append(others, s)
		}
	}
	return ours, others
}

// AddController gives b a new controller of Weir's, beside those that it has.
func (t *Transaction) AddController(b *ovsdb.Bridge, columns ovsdb.Values) {
	after := Describe(columns)
	columns = maps.Clone(columns)
	columns["external_ids"] = map[string]string{ownerKey: t.instance}
	name := t.insert("Controller", columns)
	t.expect(row{"Bridge", b.UUID}, ovsdb.Values{"controller": b.Controllers})
	t.ops = append(t.ops, ovsdb.Mutate("Bridge", ovsdb.Is(b.UUID), ovsdb.Mutation{Column: "controller", Mutator: "insert", Value: name}))
	t.changes = append(t.changes, Change{"Bridge", b.Name, "controller", "", after})
}

// RemoveController takes a controller of Weir's off b.
func (t *Transaction) RemoveController(b *ovsdb.Bridge, c *ovsdb.Controller) {
	t.expect(row{"Bridge", b.UUID}, ovsdb.Values{"controller": b.Controllers})
	t.ops = append(t.ops, ovsdb.Mutate("Bridge", ovsdb.Is(b.UUID), ovsdb.Mutation{Column: "controller", Mutator: "delete", Value: c.UUID}))
	t.changes = append(t.changes, Change{"Bridge", b.Name, "controller", "row " + string(c.UUID) + ", made by Weir: target=" + c.Target, ""})
}

// WriteController gives columns of a controller of Weir's, whose connection lasts.
func (t *Transaction) WriteController(b *ovsdb.Bridge, c *ovsdb.Controller, columns ovsdb.Values) {
	t.expect(row{"Bridge", b.UUID}, ovsdb.Values{"controller": b.Controllers})
	t.write("Controller", c.UUID, columns, nil, false)
}

// AddSampleSet makes a collector set of b, and the row of table IPFIX that it refers to. ids are keys of external_ids of the set.
func (t *Transaction) AddSampleSet(b *ovsdb.Bridge, id uint32, ids map[string]string, ipfix ovsdb.Values) {
	after := Describe(ipfix)
	mark := map[string]string{ownerKey: t.instance}
	ipfix = maps.Clone(ipfix)
	ipfix["external_ids"] = mark
	set := ovsdb.Values{"id": int64(id), "bridge": b.UUID, "ipfix": t.insert("IPFIX", ipfix), "external_ids": merged(mark, ids)}
	t.expect(row{"Bridge", b.UUID}, ovsdb.Values{"name": b.Name})
	t.insert("Flow_Sample_Collector_Set", set)
	t.changes = append(t.changes, Change{"Flow_Sample_Collector_Set", b.Name, "*", "", after})
}

// RemoveSampleSet removes a collector set of Weir's; the host drops its row of table IPFIX.
func (t *Transaction) RemoveSampleSet(s *ovsdb.SampleSet) {
	t.expectSet(s)
	t.ops = append(t.ops, ovsdb.Delete("Flow_Sample_Collector_Set", ovsdb.Is(s.UUID)))
	t.changes = append(t.changes, Change{"Flow_Sample_Collector_Set", t.bridgeOf(s), "*", "row " + string(s.UUID) + ", made by Weir", ""})
}

// WriteSampleSet gives columns of the row of table IPFIX of a collector set of Weir's. If await, Awaited of that row tells when
// ovs-vswitchd has seen it.
func (t *Transaction) WriteSampleSet(s *ovsdb.SampleSet, ipfix ovsdb.Values, await bool) {
	t.expectSet(s)
	t.write("IPFIX", s.IPFIX, ipfix, nil, await)
}

// MarkSampleSet makes external_ids of a collector set of Weir's its mark and ids.
func (t *Transaction) MarkSampleSet(s *ovsdb.SampleSet, ids map[string]string) {
	t.expectSet(s)
	t.write("Flow_Sample_Collector_Set", s.UUID, nil, ids, false)
}

func (t *Transaction) expectSet(s *ovsdb.SampleSet) {
	t.expect(row{"Flow_Sample_Collector_Set", s.UUID}, ovsdb.Values{"id": s.ID, "bridge": s.Bridge, "ipfix": s.IPFIX})
}

func (t *Transaction) bridgeOf(s *ovsdb.SampleSet) string {
	if b := t.rows.Bridges[s.Bridge]; b != nil {
		return b.Name
	}
	return string(s.Bridge)
}
