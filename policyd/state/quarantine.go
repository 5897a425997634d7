package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/audit"
)

// Quarantine says that a VIF is to send and receive nothing.
type Quarantine struct {
	VIF    flow.ID
	Name   string // for people
	Since  time.Time
	By     string
	Reason string
}

func (i *Intent) readQuarantines(ctx context.Context, tx *sql.Tx) error {
	return each(ctx, tx, func(row scanner) error {
		var q Quarantine
		var vif, since string
		if err := row.Scan(&vif, &q.Name, &since, &q.By, &q.Reason); err != nil {
			return err
		}
		id, err1 := strconv.ParseUint(vif, 10, 64)
		at, err2 := time.Parse(time.RFC3339Nano, since)
		q.VIF, q.Since = flow.ID(id), at
		i.Quarantines = append(i.Quarantines, q)
		return errors.Join(err1, err2)
	}, "SELECT vif, name, since, set_by, reason FROM quarantines ORDER BY name, vif")
}

// SetQuarantine quarantines a VIF, or replaces why that is so.
func (s *State) SetQuarantine(ctx context.Context, by audit.Act, vif flow.ID, name string) (Quarantine, error) {
	q := Quarantine{vif, name, s.now().UTC(), by.User, by.Reason}
	key := strconv.FormatUint(uint64(vif), 10)
	err := s.update(ctx, func(tx *sql.Tx) error {
		before, err := toldQuarantine(ctx, tx, key)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO quarantines (vif, name, since, set_by, reason) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (vif) DO UPDATE SET name = excluded.name, since = excluded.since, set_by = excluded.set_by, reason = excluded.reason`,
			key, q.Name, formatTime(q.Since), q.By, q.Reason)
		if err != nil {
			return err
		}
		after, err := toldQuarantine(ctx, tx, key)
		if err != nil {
			return err
		}
		return s.Record(ctx, tx, by, name, before, after)
	})
	if err != nil {
		return q, fmt.Errorf("quarantine VIF %q: %w", name, err)
	}
	s.changed()
	return q, nil
}

// EndQuarantine releases a VIF. ErrNotFound: it was not quarantined.
func (s *State) EndQuarantine(ctx context.Context, by audit.Act, vif flow.ID) error {
	key := strconv.FormatUint(uint64(vif), 10)
	err := s.update(ctx, func(tx *sql.Tx) error {
		before, err := toldQuarantine(ctx, tx, key)
		if err != nil {
			return err
		}
		if before == nil {
			return ErrNotFound
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM quarantines WHERE vif = ?", key); err != nil {
			return err
		}
		return s.Record(ctx, tx, by, before.(imposed).Name, before, nil)
	})
	if err != nil {
		return fmt.Errorf("release VIF %s: %w", key, err)
	}
	s.changed()
	return nil
}

// toldQuarantine returns what the audit says of a quarantine, nil if there is none.
func toldQuarantine(ctx context.Context, tx *sql.Tx, vif string) (any, error) {
	return readImposed(tx.QueryRowContext(ctx, "SELECT name, since, set_by, reason FROM quarantines WHERE vif = ?", vif))
}
