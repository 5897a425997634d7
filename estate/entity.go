package estate

import (
	"maps"
	"slices"

	"github.com/weirhq/weir/flow"
)

// Entity is something that exists, as it is published: a row of the table entities.
type Entity struct {
	Kind       flow.Kind
	ID         flow.ID
	Key        string  // canonical key of which ID is made
	Name       string  // for people; of a VIF "vm/device"
	Parent     flow.ID // bridge: host; VIF: VM; host, network, VM: pool; 0 is none
	Pool       flow.ID // in which it is; 0 if not known
	Attributes map[string]string
	SameAs     flow.ID // entity that this is another id of, found out later; 0: it is none
	Source     string  // kinds of sources that tell of it, as "file,host"; empty: not told
}

// Equal reports whether a and b say the same.
func (a *Entity) Equal(b *Entity) bool {
	return a.Kind == b.Kind && a.ID == b.ID && a.Key == b.Key && a.Name == b.Name && a.Parent == b.Parent &&
		a.Pool == b.Pool && a.SameAs == b.SameAs && a.Source == b.Source && maps.Equal(a.Attributes, b.Attributes)
}

// Entities returns everything in the estate: pools, hosts, bridges, networks, VMs each followed by its VIFs, address
// groups, VM groups, each in the order of the model; then other ids of some of them. The list belongs to the snapshot.
func (s *Snapshot) Entities() []Entity { return s.entities }

// Entity returns the entity that has id.
func (s *Snapshot) Entity(id flow.ID) (Entity, bool) {
	e := s.byEntityID(id)
	if e == nil {
		return Entity{}, false
	}
	return *e, true
}

// byEntityID returns the entity that has id, or nil.
func (s *Snapshot) byEntityID(id flow.ID) *Entity {
	i := s.byID.get(uint64(id))
	if i == 0 {
		return nil
	}
	return &s.entities[i-1]
}

// Find returns the entity that goes by a key, or has it for another name.
func (s *Snapshot) Find(kind flow.Kind, key string) (Entity, bool) {
	e, ok := s.Entity(flow.NewID(kind, key))
	if ok && e.SameAs != 0 {
		return s.Entity(e.SameAs)
	}
	return e, ok
}

// Diff returns the entities of s that are new or differ from those of previous, and those that s does not have any
// more, each in the order of their snapshot. A nil previous has none.
func (s *Snapshot) Diff(previous *Snapshot) (changed, gone []Entity) {
	if previous == nil {
		return slices.Clone(s.entities), nil
	}
	for i := range s.entities {
		e := &s.entities[i]
		if old := previous.byEntityID(e.ID); old == nil || !e.Equal(old) {
			changed = append(changed, *e)
		}
	}
	for i := range previous.entities {
		if s.byEntityID(previous.entities[i].ID) == nil {
			gone = append(gone, previous.entities[i])
		}
	}
	return changed, gone
}

// Count returns how many entities of a kind there are, each once.
func (s *Snapshot) Count(kind flow.Kind) int {
	n := 0
	for i := range s.entities {
		if s.entities[i].Kind == kind && s.entities[i].SameAs == 0 {
			n++
		}
	}
	return n
}
