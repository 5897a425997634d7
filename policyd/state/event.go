package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/weirhq/weir/event"
)

// ReserveEventIDs returns the first of n ids that have never been returned before and never will be. All are above floor, and
// above those of earlier calls.
func (s *State) ReserveEventIDs(ctx context.Context, n int, floor uint64) (first uint64, err error) {
	err = s.update(ctx, func(tx *sql.Tx) error {
		var next int64
		err := tx.QueryRowContext(ctx, "SELECT next FROM counters WHERE name = 'event'").Scan(&next)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		first = max(uint64(next), floor+1, 1)
		_, err = tx.ExecContext(ctx, "INSERT INTO counters (name, next) VALUES ('event', ?) ON CONFLICT (name) DO UPDATE SET next = excluded.next", int64(first)+int64(n))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("reserve event ids: %w", err)
	}
	return first, nil
}

// KeepEvents keeps events, which have ids, until DropEvents.
func (s *State) KeepEvents(ctx context.Context, events []event.Event) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		insert, err := tx.PrepareContext(ctx, "INSERT OR REPLACE INTO waiting_events (id, event) VALUES (?, ?)")
		if err != nil {
			return err
		}
		defer insert.Close()
		for i := range events {
			text, err := json.Marshal(&events[i])
			if err != nil {
				return err
			}
			if _, err := insert.ExecContext(ctx, int64(events[i].ID), string(text)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep events: %w", err)
	}
	return nil
}

// KeptEvents returns the events that are kept, by id.
func (s *State) KeptEvents(ctx context.Context) ([]event.Event, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id, event FROM waiting_events ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("read kept events: %w", err)
	}
	defer rows.Close()
	var list []event.Event
	for rows.Next() {
		var id int64
		var text string
		var e event.Event
		err := rows.Scan(&id, &text)
		if err == nil {
			err = json.Unmarshal([]byte(text), &e)
		}
		if err != nil {
			return nil, fmt.Errorf("read kept event %d: %w", id, err)
		}
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read kept events: %w", err)
	}
	return list, nil
}

// DropEvents drops the kept events up to an id, that included.
func (s *State) DropEvents(ctx context.Context, upTo uint64) error {
	if _, err := s.db.ExecContext(ctx, "DELETE FROM waiting_events WHERE id <= ?", int64(upTo)); err != nil {
		return fmt.Errorf("drop kept events: %w", err)
	}
	return nil
}

// Position returns the id of the last event that went to name; known is false if none was ever noted.
func (s *State) Position(ctx context.Context, name string) (event uint64, known bool, err error) {
	var id int64
	err = s.db.QueryRowContext(ctx, "SELECT event FROM positions WHERE name = ?", name).Scan(&id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("read position of %q: %w", name, err)
	}
	return uint64(id), true, nil
}

// SetPosition notes the last event that went to name.
func (s *State) SetPosition(ctx context.Context, name string, id uint64) error {
	const q = "INSERT INTO positions (name, event) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET event = excluded.event"
	if _, err := s.db.ExecContext(ctx, q, name, int64(id)); err != nil {
		return fmt.Errorf("note position of %q: %w", name, err)
	}
	return nil
}
