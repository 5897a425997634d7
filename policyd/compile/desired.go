package compile

import (
	"iter"

	"github.com/weirhq/weir/ovs/openflow"
)

// Desired is what a bridge is to hold. It is immutable, and shares with the one before what did not change.
type Desired struct {
	// Groups by id, from GroupFirst to GroupLast.
	Groups map[uint32]openflow.Group

	// Meters by id, from MeterFirst to MeterLast.
	Meters map[uint32]openflow.MeterSpec

	// Warnings say what the flows do not do that somebody may expect; for people.
	Warnings []string

	units map[maker]*flows
	len   int
}

// flows are those of one unit.
type flows struct{ list []openflow.Flow }

// Of returns a Desired of given flows, no two of which have one key, and groups: for what is not compiled of a policy.
func Of(list []openflow.Flow, groups ...openflow.Group) *Desired {
	d := &Desired{Groups: map[uint32]openflow.Group{}, units: map[maker]*flows{given{}: {list}}, len: len(list)}
	for _, g := range groups {
		d.Groups[g.ID] = g
	}
	return d
}

// given is flows that were not compiled.
type given struct{}

func (given) count(*settings) int { return 0 }
func (given) flows(*emitter)      {}

// Each yields the flows in no order: no two have one key.
func (d *Desired) Each() iter.Seq[openflow.Flow] {
	return func(yield func(openflow.Flow) bool) {
		for _, u := range d.units {
			for _, f := range u.list {
				if !yield(f) {
					return
				}
			}
		}
	}
}

// Len is how many flows there are.
func (d *Desired) Len() int { return d.len }

// Change is what leads from one Desired to another.
type Change struct {
	Delete []openflow.FlowKey // flows that are no more
	Add    []openflow.Flow    // flows that are new or different: they replace those with their keys

	DeleteGroups []uint32
	SetGroups    []openflow.Group // new or different

	DeleteMeters []uint32
	SetMeters    []openflow.MeterSpec // new or different
}

// Empty reports whether there is nothing to do.
func (c *Change) Empty() bool {
	return len(c.Delete)+len(c.Add)+len(c.DeleteGroups)+len(c.SetGroups)+len(c.DeleteMeters)+len(c.SetMeters) == 0
}

// Diff returns what leads from one Desired to another, in no order; from may be nil. It costs what differs, as far as to was
// compiled by the Compiler that compiled from.
func Diff(from, to *Desired) *Change {
	if from == nil {
		from = &Desired{}
	}
	old, c := map[openflow.FlowKey]openflow.Flow{}, &Change{}
	for key, u := range from.units {
		if to.units[key] != u {
			for _, f := range u.list {
				old[f.Key()] = f
			}
		}
	}
	for key, u := range to.units {
		if from.units[key] == u {
			continue
		}
		for _, f := range u.list {
			if old[f.Key()] != f {
				c.Add = append(c.Add, f)
			}
			delete(old, f.Key())
		}
	}
	for key := range old {
		c.Delete = append(c.Delete, key)
	}
	for id, g := range to.Groups {
		if from.Groups[id] != g {
			c.SetGroups = append(c.SetGroups, g)
		}
	}
	for id := range from.Groups {
		if _, ok := to.Groups[id]; !ok {
			c.DeleteGroups = append(c.DeleteGroups, id)
		}
	}
	for id, m := range to.Meters {
		if from.Meters[id] != m {
			c.SetMeters = append(c.SetMeters, m)
		}
	}
	for id := range from.Meters {
		if _, ok := to.Meters[id]; !ok {
			c.DeleteMeters = append(c.DeleteMeters, id)
		}
	}
	return c
}
