package store

import (
	"context"
	"fmt"
	"maps"
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
		maps.Equal(e.Attributes, o.Attributes)
}

// recorded is the last that the table has of an entity.
type recorded struct {
	Entity
	removed bool
	from    time.Time
}

// EntityChanges says what PublishEntities wrote.
type EntityChanges struct {
	Changed int // entities that are new, other than before, or back
	Removed int // entities that source no longer has
}

// PublishEntities makes table entities say that source has these entities, all of them and no others, from at on: it
// writes what differs from the last that source said, and has the dictionaries read it. Entities of other sources stay.
// at is now, unless history is written; a row is always put after the last one of its entity.
//
// It is idempotent: after a failure, whatever came of it, the same call completes it. Calls for one source must not
// overlap.
func PublishEntities(ctx context.Context, c *Client, entities []Entity, source string, at time.Time) (EntityChanges, error) {
	changes, err := publishEntities(ctx, c, entities, source, at)
	if err != nil {
		return EntityChanges{}, fmt.Errorf("publish entities of %q: %w", source, err)
	}
	return changes, nil
}

func publishEntities(ctx context.Context, c *Client, entities []Entity, source string, at time.Time) (EntityChanges, error) {
	var changes EntityChanges
	known, err := c.recordedEntities(ctx, source)
	if err != nil {
		return changes, err
	}
	var rows []recorded
	for _, e := range entities {
		old, ok := known[e.ID]
		delete(known, e.ID)
		if ok && !old.removed && old.equal(&e) {
			continue
		}
		rows = append(rows, recorded{e, false, after(at, old.from)})
	}
	changes.Changed = len(rows)
	for _, old := range known {
		if !old.removed {
			rows = append(rows, recorded{old.Entity, true, after(at, old.from)})
		}
	}
	changes.Removed = len(rows) - changes.Changed
	if err := c.insertEntities(ctx, rows, source); err != nil {
		return changes, err
	}
	// Also when nothing was written: an earlier call may have got no further than that.
	return changes, c.reload(ctx, "entity_now", "entity_then")
}

// after is at, or the next moment that the column can tell from old.
func after(at, old time.Time) time.Time {
	if at = at.UTC().Truncate(time.Millisecond); at.After(old) {
		return at
	}
	return old.Add(time.Millisecond)
}

func (c *Client) recordedEntities(ctx context.Context, source string) (map[flow.ID]recorded, error) {
	rows, err := c.conn.Query(ctx, `SELECT id, kind, key, name, parent, pool, attributes, removed, valid_from
		FROM entities FINAL WHERE source = ? ORDER BY id, valid_from DESC LIMIT 1 BY id`, source)
	if err != nil {
		return nil, classify(ctx, err)
	}
	defer rows.Close()
	known := map[flow.ID]recorded{}
	for rows.Next() {
		var r recorded
		var kind string
		var id, parent, pool uint64
		if err := rows.Scan(&id, &kind, &r.Key, &r.Name, &parent, &pool, &r.Attributes, &r.removed, &r.from); err != nil {
			return nil, err
		}
		r.ID, r.Kind, r.Parent, r.Pool = flow.ID(id), flow.Kind(kind), flow.ID(parent), flow.ID(pool)
		known[r.ID] = r
	}
	return known, classify(ctx, rows.Err())
}

func (c *Client) insertEntities(ctx context.Context, rows []recorded, source string) error {
	if len(rows) == 0 {
		return nil
	}
	batch, err := c.conn.PrepareBatch(ctx, "INSERT INTO entities (id, valid_from, kind, key, name, parent, pool, attributes, removed, source)")
	if err != nil {
		return classify(ctx, err)
	}
	defer func() { _ = batch.Close() }()
	for _, r := range rows {
		attributes := r.Attributes
		if attributes == nil {
			attributes = map[string]string{}
		}
		if err := batch.Append(uint64(r.ID), r.from, string(r.Kind), r.Key, r.Name, uint64(r.Parent), uint64(r.Pool), attributes, r.removed, source); err != nil {
			return fmt.Errorf("%s %q: %w", r.Kind, r.Key, err)
		}
	}
	return classify(ctx, batch.Send())
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
