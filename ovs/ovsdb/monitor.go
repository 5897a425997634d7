package ovsdb

import (
	"context"
	"fmt"
)

// monitorID is how updates name the one monitor of a session.
const monitorID = "weir"

// monitor keeps a copy of the tables that a schema has. The goroutine that reads the connection owns it.
type monitor struct {
	tables  map[string]*table
	fields  map[string]map[string]field // of each table, by name
	maxKept int                         // bytes of memory, about

	rows  *Rows           // what is being built
	owned map[string]bool // tables whose rows were copied since the last snapshot
	dirty bool
	sizes map[string]map[UUID]int // memory of each row, about
	kept  int                     // their sum
}

// newMonitor returns an empty copy.
func newMonitor(s *Schema, maxKept int) *monitor {
	m := &monitor{
		tables: map[string]*table{}, fields: map[string]map[string]field{}, maxKept: maxKept,
		rows: &Rows{}, owned: map[string]bool{}, sizes: map[string]map[UUID]int{},
	}
	for i := range tables {
		t := &tables[i]
		t.own(m.rows) // those that the schema lacks are empty
		if !s.Has(t.name, "") {
			continue
		}
		m.tables[t.name] = t
		m.sizes[t.name] = map[UUID]int{}
		m.owned[t.name] = true
		m.fields[t.name] = map[string]field{}
		for _, f := range t.fields {
			if s.reads(t.name, f) {
				m.fields[t.name][f.name] = f
			}
		}
	}
	return m
}

// start asks for the tables' content and for every change of it from then on. It calls known, from the goroutine that reads, when the
// content is there and before any change of it.
func (m *monitor) start(ctx context.Context, c *conn, known func()) error {
	requests := map[string]any{}
	for name, fields := range m.fields {
		columns := make([]string, 0, len(fields))
		for column := range fields {
			columns = append(columns, column)
		}
		requests[name] = map[string]any{"columns": columns}
	}
	return c.ask(ctx, func(in *cursor) error {
		err := m.apply(in)
		if err == nil {
			known()
		}
		return err
	}, "monitor", database, monitorID, requests)
}

// update takes the parameters of an update notification (RFC 7047 §4.1.6).
func (m *monitor) update(in *cursor) error {
	i := 0
	return in.array(func() error {
		i++
		switch i {
		case 1:
			id, err := in.text()
			if err == nil && id != monitorID {
				err = fmt.Errorf("found monitor %.40q, expected %q", id, monitorID)
			}
			return err
		case 2:
			return m.apply(in)
		default:
			return in.errorf("found %d parameters, expected 2", i)
		}
	})
}

// apply takes <table-updates>.
func (m *monitor) apply(in *cursor) error {
	return in.object(func(name []byte) error {
		t := m.tables[string(name)]
		if t == nil {
			return in.errorf("found table %.40q, which nobody asked for", name)
		}
		return in.object(func(key []byte) error {
			id, err := parseUUID(key)
			if err != nil {
				return in.errorf("table %s: %w", t.name, err)
			}
			if err := m.applyRow(in, t, id); err != nil {
				return fmt.Errorf("table %s, row %s: %w", t.name, id, err)
			}
			return nil
		})
	})
}

// applyRow takes a <row-update>: "new" has all columns of the row as it is now; without it the row was deleted.
func (m *monitor) applyRow(in *cursor, t *table, id UUID) error {
	if !m.owned[t.name] {
		t.own(m.rows)
		m.owned[t.name] = true
	}
	m.dirty = true
	found := false
	err := in.object(func(key []byte) error {
		if string(key) != "new" || in.peek() == 'n' {
			return in.skip()
		}
		found = true
		before := in.kept
		err := t.put(m.rows, id, func(row any) error {
			return in.object(func(column []byte) error {
				f, known := m.fields[t.name][string(column)]
				if !known {
					return in.skip()
				}
				if err := f.read(in, row); err != nil {
					return fmt.Errorf("column %s: %w", f.name, err)
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
		return m.account(t.name, id, rowOverhead+in.kept-before)
	})
	if err == nil && !found {
		t.remove(m.rows, id)
		err = m.account(t.name, id, 0)
	}
	return err
}

// rowOverhead is about what a row takes beside its values: itself, its UUID, its places in maps.
const rowOverhead = 512

// account notes how much memory a row takes now; 0: it is gone.
func (m *monitor) account(table string, id UUID, size int) error {
	sizes := m.sizes[table]
	m.kept += size - sizes[id]
	if size == 0 {
		delete(sizes, id)
	} else {
		sizes[id] = size
	}
	if m.kept > m.maxKept {
		return fmt.Errorf("the host's database takes more than %d bytes of memory", m.maxKept)
	}
	return nil
}

// snapshot returns what the tables hold; nil if that is what it returned last. Rows that did not change are shared with earlier
// snapshots, and so are tables of which none did.
func (m *monitor) snapshot() *Rows {
	if !m.dirty {
		return nil
	}
	m.dirty = false
	clear(m.owned)
	rows := *m.rows
	return &rows
}
