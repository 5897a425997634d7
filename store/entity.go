package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weirhq/weir/flow"
)

// Entity is something that flows refer to by its ID. It has the fields of estate.Entity.
type Entity struct {
	Kind       flow.Kind
	ID         flow.ID
	Key        string  // canonical key of which ID is made
	Name       string  // for people
	Parent     flow.ID // to which it belongs; 0 is none
	Pool       flow.ID // in which it is; 0 is none
	Attributes map[string]string
	SameAs     flow.ID // entity that this is another id of; 0: it is none
	Source     string  // who told of it, as "file,host"
}

func (e *Entity) equal(o *Entity) bool {
	return e.Kind == o.Kind && e.Key == o.Key && e.Name == o.Name && e.Parent == o.Parent && e.Pool == o.Pool &&
		e.SameAs == o.SameAs && e.Source == o.Source && maps.Equal(e.Attributes, o.Attributes)
}

// RecordedEntity is the last that table entities has of an entity.
type RecordedEntity struct {
	Entity
	Removed bool
	From    time.Time // from when on it has been so
	First   time.Time // when there was the first word of it
}

// EntityChanges says what Publish wrote.
type EntityChanges struct {
	Changed int // entities that are new, other than before, or back
	Removed int // entities that are no longer there
}

// Entities writes the estate to table entities. All that it has are one estate's, but for rules, which are not touched. Its
// methods are not for concurrent use, and there is one writer at a time.
type Entities struct {
	client *Client
	rules  bool                       // of rules, else of all others
	known  map[flow.ID]RecordedEntity // nil until the table was read, and after a failure
	stale  bool                       // the dictionaries may lack something that is stored
}

// NewEntities returns a writer that has read nothing yet.
func NewEntities(c *Client) *Entities { return &Entities{client: c} }

// Recorded returns the last that the table has of each entity, of those that are removed, too; those of which there was word
// first come first.
func (e *Entities) Recorded(ctx context.Context) ([]RecordedEntity, error) {
	if err := e.read(ctx); err != nil {
		return nil, fmt.Errorf("read entities: %w", err)
	}
	return slices.SortedFunc(maps.Values(e.known), func(a, b RecordedEntity) int {
		return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.ID, b.ID))
	}), nil
}

// Publish makes the table say that these entities exist, all of them and no others, from at on: it writes what differs from the
// last that the table says, and has the dictionaries read it. A row is always put after the last one of its entity.
//
// It is idempotent: after a failure, whatever came of it, the same call completes it.
func (e *Entities) Publish(ctx context.Context, entities []Entity, at time.Time) (EntityChanges, error) {
	changes, err := e.publish(ctx, entities, at)
	if err != nil {
		return EntityChanges{}, fmt.Errorf("publish entities: %w", err)
	}
	return changes, nil
}

func (e *Entities) publish(ctx context.Context, entities []Entity, at time.Time) (EntityChanges, error) {
	var changes EntityChanges
	if err := e.read(ctx); err != nil {
		return changes, err
	}
	var rows []RecordedEntity
	add := func(entity Entity, removed bool) {
		old := e.known[entity.ID]
		row := RecordedEntity{entity, removed, after(at, old.From), old.First}
		if row.First.IsZero() {
			row.First = row.From
		}
		rows = append(rows, row)
	}
	there := make(map[flow.ID]struct{}, len(entities))
	for _, entity := range entities {
		there[entity.ID] = struct{}{}
		if old, ok := e.known[entity.ID]; !ok || old.Removed || !old.equal(&entity) {
			add(entity, false)
		}
	}
	changes.Changed = len(rows)
	for id, old := range e.known {
		if _, ok := there[id]; !ok && !old.Removed {
			add(old.Entity, true)
		}
	}
	changes.Removed = len(rows) - changes.Changed
	if len(rows) > 0 {
		e.stale = true
		if err := e.client.insertEntities(ctx, rows); err != nil {
			e.known = nil // some may be there
			return changes, err
		}
		for _, r := range rows {
			e.known[r.ID] = r
		}
	}
	if e.stale {
		if err := e.client.reload(ctx, "entity_now", "entity_then"); err != nil {
			return changes, err
		}
		e.stale = false
	}
	return changes, nil
}

// after is at, or the next moment that the column can tell from old.
func after(at, old time.Time) time.Time {
	if at = at.UTC().Truncate(time.Millisecond); at.After(old) {
		return at
	}
	return old.Add(time.Millisecond)
}

// read reads the table if that is to be done.
func (e *Entities) read(ctx context.Context) error {
	if e.known != nil {
		return nil
	}
	which := "kind != 'rule'"
	if e.rules {
		which = "kind = 'rule'"
	}
	rows, err := e.client.conn.Query(ctx, `SELECT id, kind, key, name, parent, pool, attributes, same_as, source, removed, valid_from, first
		FROM (SELECT * FROM entities FINAL WHERE `+which+` ORDER BY id, valid_from DESC LIMIT 1 BY id) AS last
		INNER JOIN (SELECT id, min(valid_from) AS first FROM entities GROUP BY id) AS began USING id`)
	if err != nil {
		return classify(ctx, err)
	}
	defer rows.Close()
	known := map[flow.ID]RecordedEntity{}
	for rows.Next() {
		var r RecordedEntity
		var kind string
		var id, parent, pool, sameAs uint64
		if err := rows.Scan(&id, &kind, &r.Key, &r.Name, &parent, &pool, &r.Attributes, &sameAs, &r.Source, &r.Removed, &r.From, &r.First); err != nil {
			return err
		}
		r.ID, r.Kind, r.Parent, r.Pool, r.SameAs = flow.ID(id), flow.Kind(kind), flow.ID(parent), flow.ID(pool), flow.ID(sameAs)
		known[r.ID] = r
	}
	if err := rows.Err(); err != nil {
		return classify(ctx, err)
	}
	e.known, e.stale = known, true // an earlier writer may have got no further than the table
	return nil
}

func (c *Client) insertEntities(ctx context.Context, rows []RecordedEntity) error {
	batch, err := c.conn.PrepareBatch(ctx, "INSERT INTO entities (id, valid_from, kind, key, name, parent, pool, attributes, same_as, removed, source)")
	if err != nil {
		return classify(ctx, err)
	}
	defer func() { _ = batch.Close() }()
	for _, r := range rows {
		attributes := r.Attributes
		if attributes == nil {
			attributes = map[string]string{}
		}
		if err := batch.Append(uint64(r.ID), r.From, string(r.Kind), r.Key, r.Name, uint64(r.Parent), uint64(r.Pool), attributes, uint64(r.SameAs), r.Removed, r.Source); err != nil {
			return fmt.Errorf("%s %q: %w", r.Kind, r.Key, err)
		}
	}
	return classify(ctx, batch.Send())
}

// EntitiesAt returns the entities that there were at a time, by kind and name. Of an entity of which there was no word yet then,
// nothing is known.
func (c *Client) EntitiesAt(ctx context.Context, at time.Time) ([]Entity, error) {
	rows, err := c.conn.Query(ctx, `SELECT id, kind, key, name, parent, pool, attributes, same_as, source
		FROM (SELECT * FROM entities FINAL WHERE valid_from <= ? ORDER BY id, valid_from DESC LIMIT 1 BY id)
		WHERE NOT removed AND kind != 'rule' ORDER BY kind, name, id`, at.UTC())
	if err != nil {
		return nil, fmt.Errorf("read entities of %s: %w", at.Format(time.RFC3339), classify(ctx, err))
	}
	defer rows.Close()
	var list []Entity
	for rows.Next() {
		var e Entity
		var kind string
		var id, parent, pool, sameAs uint64
		if err := rows.Scan(&id, &kind, &e.Key, &e.Name, &parent, &pool, &e.Attributes, &sameAs, &e.Source); err != nil {
			return nil, fmt.Errorf("read entities of %s: %w", at.Format(time.RFC3339), err)
		}
		e.ID, e.Kind, e.Parent, e.Pool, e.SameAs = flow.ID(id), flow.Kind(kind), flow.ID(parent), flow.ID(pool), flow.ID(sameAs)
		list = append(list, e)
	}
	return list, classify(ctx, rows.Err())
}

// reload has dictionaries read their tables. Other servers of a cluster do so within the LIFETIME in the schema.
func (c *Client) reload(ctx context.Context, dictionaries ...string) error {
	for _, name := range dictionaries {
		if err := c.Exec(ctx, "SYSTEM RELOAD DICTIONARY "+name); err != nil {
			return fmt.Errorf("reload dictionary %q: %w", name, err)
		}
	}
	return nil
}
