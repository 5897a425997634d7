package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/weirhq/weir/policyd/audit"
)

// Update runs f in a transaction that writes: all that f does to the database is done, or nothing. It is for packages beside this one that keep
// tables of their own here, whose migrations are among those of this package. f calls [State.Record] of what somebody asked for.
func (s *State) Update(ctx context.Context, f func(tx *sql.Tx) error) error { return s.update(ctx, f) }

// Record keeps, in the transaction of a change, what is to be told of it; before and after are marshalled as JSON, nil is nothing. AuditEntries returns it
// once the transaction is done.
func (s *State) Record(ctx context.Context, tx *sql.Tx, by audit.Act, object string, before, after any) error {
	if by.Operation == "" {
		panic("BUG: a change without an operation")
	}
	e := audit.Entry{Act: by, Object: object, Outcome: audit.Done}
	var err error
	if e.Before, err = told(before); err != nil {
		return err
	}
	if e.After, err = told(after); err != nil {
		return err
	}
	return s.keep(ctx, tx, e)
}

// keep keeps an entry until DropAudit, on disk and in the transaction of what it is about: a change that cannot be kept is not made. There is no bound, since
// nothing of what was done may be lost: while nobody takes them, entries grow with what people change, and each by no more than its two values
// (audit.MaxValue).
func (s *State) keep(ctx context.Context, tx *sql.Tx, e audit.Entry) error {
	id, err := take(ctx, tx, "audit", 1)
	if err != nil {
		return err
	}
	e.ID, e.At = id, s.now().UTC()
	text, err := json.Marshal(&e)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO waiting_audit (id, entry) VALUES (?, ?)", int64(id), string(text)); err != nil {
		return fmt.Errorf("record %s of %q: %w", e.Operation, e.Object, err)
	}
	s.recorded.Store(true)
	return nil
}

// RecordRefusal keeps that something was asked for, and not done, and why. While maxRefusals entries wait to be told it keeps nothing and says so: who asks
// for what he may not cannot fill the disk.
func (s *State) RecordRefusal(ctx context.Context, by audit.Act, object string, outcome audit.Outcome, why string) error {
	const most = 1000 // bytes
	e := audit.Entry{Act: by, Object: object[:min(len(object), most)], Outcome: outcome, Text: why[:min(len(why), most)]}
	return s.update(ctx, func(tx *sql.Tx) error {
		var waiting int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM waiting_audit").Scan(&waiting); err != nil {
			return err
		}
		if waiting >= maxRefusals {
			return fmt.Errorf("record what was not done: %d entries wait to be told, no more than %d may: is the store away?", waiting, maxRefusals)
		}
		return s.keep(ctx, tx, e)
	})
}

const maxRefusals = 10_000

// told returns v as JSON; of what is too long, its length.
func told(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	text, err := json.Marshal(v)
	if err == nil && len(text) > audit.MaxValue {
		text, err = json.Marshal(map[string]int{"omitted_bytes": len(text)})
	}
	return text, err
}

// take returns the first of n numbers of a counter, which are never returned again; the first of all is 1.
func take(ctx context.Context, tx *sql.Tx, counter string, n int) (uint64, error) {
	var next int64
	err := tx.QueryRowContext(ctx, "INSERT INTO counters (name, next) VALUES (?1, 1 + ?2) ON CONFLICT (name) DO UPDATE SET next = next + ?2 RETURNING next", counter, n).Scan(&next)
	return uint64(next) - uint64(n), err
}

// AuditEntries returns the oldest entries that DropAudit has not dropped, at most limit, by id.
func (s *State) AuditEntries(ctx context.Context, limit int) ([]audit.Entry, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id, entry FROM waiting_audit ORDER BY id LIMIT ?", limit)
	if err != nil {
		return nil, fmt.Errorf("read audit: %w", err)
	}
	defer rows.Close()
	var list []audit.Entry
	for rows.Next() {
		var id int64
		var text string
		var e audit.Entry
		err := rows.Scan(&id, &text)
		if err == nil {
			err = json.Unmarshal([]byte(text), &e)
		}
		if err != nil {
			return nil, fmt.Errorf("read audit entry %d: %w", id, err)
		}
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read audit: %w", err)
	}
	return list, nil
}

// DropAudit drops the entries up to an id, that included: somebody else has them.
func (s *State) DropAudit(ctx context.Context, upTo uint64) error {
	if _, err := s.db.ExecContext(ctx, "DELETE FROM waiting_audit WHERE id <= ?", int64(upTo)); err != nil {
		return fmt.Errorf("drop audit: %w", err)
	}
	return nil
}

// SubscribeAudit returns a channel that gets an element when there are new entries; see Subscribe.
func (s *State) SubscribeAudit() (news <-chan struct{}, cancel func()) { return s.audited.Subscribe() }
