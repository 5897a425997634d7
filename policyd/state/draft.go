package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/weirhq/weir/policyd/audit"
)

// Draft is a policy that somebody works on.
type Draft struct {
	Owner     string // user
	Name      string // unique among those of the owner
	Base      uint64 // newest revision when it was begun, or brought up to date; 0: there was none
	Version   uint64 // ascends with each change of the draft, also when one is undone
	Undo      int    // edits that can be undone
	Redo      int    // edits that were undone, and can be done again
	What      string // was done last, for people
	CreatedAt time.Time
	ChangedAt time.Time
	Text      string // YAML; "" in lists
}

// Step is an edit of a draft.
type Step struct {
	Step int // ascends
	At   time.Time
	What string // was done, for people
	Now  bool   // the draft stands here; steps above were undone
}

// Limits of drafts.
const (
	MaxDrafts     = 50       // of a user
	MaxDraftSteps = 100      // of a draft: the oldest are forgotten
	MaxDraftBytes = 64 << 20 // of the texts of a draft's steps, as they are kept: the oldest are forgotten
)

// Errors of drafts that callers tell apart.
var (
	ErrStale   = errors.New("the draft was changed meanwhile: read it again")
	ErrTooMany = fmt.Errorf("a user has at most %d drafts: drop one", MaxDrafts)
	ErrNoStep  = errors.New("there is nothing to undo or do again")
)

const draftColumns = `owner, name, base, version, created_at, changed_at,
	(SELECT count(*) FROM draft_steps s WHERE s.owner = d.owner AND s.name = d.name AND s.step < d.step),
	(SELECT count(*) FROM draft_steps s WHERE s.owner = d.owner AND s.name = d.name AND s.step > d.step),
	(SELECT what FROM draft_steps s WHERE s.owner = d.owner AND s.name = d.name AND s.step = d.step)`

func scanDraft(row scanner, more ...any) (Draft, error) {
	var d Draft
	var base, version int64
	var created, changed string
	if err := row.Scan(append([]any{&d.Owner, &d.Name, &base, &version, &created, &changed, &d.Undo, &d.Redo, &d.What}, more...)...); err != nil {
		return d, err
	}
	d.Base, d.Version = uint64(base), uint64(version)
	var err1, err2 error
	d.CreatedAt, err1 = time.Parse(time.RFC3339Nano, created)
	d.ChangedAt, err2 = time.Parse(time.RFC3339Nano, changed)
	return d, errors.Join(err1, err2)
}

// Drafts returns the drafts of a user, of all if owner is empty, by owner and name, without their text.
func (s *State) Drafts(ctx context.Context, owner string) ([]Draft, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT "+draftColumns+" FROM drafts d WHERE ?1 = '' OR owner = ?1 ORDER BY owner, name", owner)
	if err != nil {
		return nil, fmt.Errorf("list drafts: %w", err)
	}
	defer rows.Close()
	list := []Draft{}
	for rows.Next() {
		d, err := scanDraft(rows)
		if err != nil {
			return nil, fmt.Errorf("list drafts: %w", err)
		}
		list = append(list, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list drafts: %w", err)
	}
	return list, nil
}

func readDraft(ctx context.Context, q querier, owner, name string) (Draft, error) {
	var packed bool
	var text []byte
	d, err := scanDraft(q.QueryRowContext(ctx, "SELECT "+draftColumns+`, packed, text FROM drafts d JOIN draft_steps USING (owner, name, step)
		JOIN documents ON documents.id = document WHERE owner = ? AND name = ?`, owner, name), &packed, &text)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return d, err
	}
	d.Text, err = unpack(packed, text)
	return d, err
}

// Draft returns a draft with its text. ErrNotFound: there is none.
func (s *State) Draft(ctx context.Context, owner, name string) (Draft, error) {
	d, err := readDraft(ctx, s.db, owner, name)
	if err != nil {
		return Draft{}, fmt.Errorf("find draft %q of %s: %w", name, owner, err)
	}
	return d, nil
}

// DraftSteps returns the edits of a draft that are kept, the newest first. ErrNotFound: there is no such draft.
func (s *State) DraftSteps(ctx context.Context, owner, name string) ([]Step, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT s.step, s.at, s.what, s.step = d.step FROM drafts d JOIN draft_steps s USING (owner, name)
		WHERE owner = ? AND name = ? ORDER BY s.step DESC`, owner, name)
	if err != nil {
		return nil, fmt.Errorf("list steps of draft %q: %w", name, err)
	}
	defer rows.Close()
	var list []Step
	for rows.Next() {
		var st Step
		var at string
		err := rows.Scan(&st.Step, &at, &st.What, &st.Now)
		if err == nil {
			st.At, err = time.Parse(time.RFC3339Nano, at)
		}
		if err != nil {
			return nil, fmt.Errorf("list steps of draft %q: %w", name, err)
		}
		list = append(list, st)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list steps of draft %q: %w", name, err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("find draft %q of %s: %w", name, owner, ErrNotFound)
	}
	return list, nil
}

// draftTold is what the audit says of a draft.
type draftTold struct {
	Version uint64 `json:"version"`
	Base    uint64 `json:"base"`
	Bytes   int    `json:"bytes"`
	What    string `json:"what"`
}

func (d *Draft) told() any { return draftTold{d.Version, d.Base, len(d.Text), d.What} }

func (d *Draft) object() string { return d.Owner + "/" + d.Name }

// AddDraft begins a draft with owner, name, base, text and what was done. ErrExists: there is one of that name. ErrTooMany: the user has enough.
func (s *State) AddDraft(ctx context.Context, by audit.Act, d Draft) (Draft, error) {
	err := s.update(ctx, func(tx *sql.Tx) error {
		var same, all int
		err := tx.QueryRowContext(ctx, "SELECT ifnull(sum(name = ?2), 0), count(*) FROM drafts WHERE owner = ?1", d.Owner, d.Name).Scan(&same, &all)
		switch {
		case err != nil:
			return err
		case same > 0:
			return ErrExists
		case all >= MaxDrafts:
			return ErrTooMany
		}
		now := formatTime(s.now())
		// A version is of one content for ever, also of a draft that is dropped and begun anew.
		version, err := take(ctx, tx, "draft_version", 1)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO drafts (owner, name, base, version, step, created_at, changed_at) VALUES (?, ?, ?, ?, 1, ?, ?)",
			d.Owner, d.Name, int64(d.Base), int64(version), now, now); err != nil {
			return err
		}
		if err := addStep(ctx, tx, &d, 1, now); err != nil {
			return err
		}
		if d, err = readDraft(ctx, tx, d.Owner, d.Name); err != nil {
			return err
		}
		return s.Record(ctx, tx, by, d.object(), nil, d.told())
	})
	if err != nil {
		return Draft{}, fmt.Errorf("begin draft %q: %w", d.Name, err)
	}
	return d, nil
}

func addStep(ctx context.Context, tx *sql.Tx, d *Draft, step int, at string) error {
	document, err := putDocument(ctx, tx, d.Text)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO draft_steps (owner, name, step, document, at, what) VALUES (?, ?, ?, ?, ?, ?)", d.Owner, d.Name, step, document, at, d.What)
	return err
}

// DraftChange is what becomes of a draft.
type DraftChange struct {
	Owner, Name string
	Version     uint64 // that the asker knows; 0: whatever it is
	Text, What  string // the new text, and what was done
	Base        uint64 // revision that it takes into account from now on; 0: as before
}

// EditDraft changes a draft. What was undone before cannot be done again then. ErrNotFound: there is none. ErrStale: it has another version. A text that is
// as before, with no new base, changes nothing.
func (s *State) EditDraft(ctx context.Context, by audit.Act, c DraftChange) (Draft, error) {
	return s.changeDraft(ctx, by, c.Owner, c.Name, c.Version, func(tx *sql.Tx, d *Draft, step int) (int, error) {
		if c.Text == d.Text && (c.Base == 0 || c.Base == d.Base) {
			return step, nil
		}
		if c.Base != 0 {
			d.Base = c.Base
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM draft_steps WHERE owner = ? AND name = ? AND step > ?", c.Owner, c.Name, step); err != nil {
			return 0, err
		}
		d.Text, d.What = c.Text, c.What
		step++
		if err := addStep(ctx, tx, d, step, formatTime(s.now())); err != nil {
			return 0, err
		}
		return step, forgetSteps(ctx, tx, d, step)
	})
}

// forgetSteps forgets the oldest steps of a draft beyond the limits.
func forgetSteps(ctx context.Context, tx *sql.Tx, d *Draft, step int) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM draft_steps WHERE owner = ?1 AND name = ?2 AND step < ?3 AND step IN (
		SELECT step FROM (SELECT step, row_number() OVER newest AS n, sum(length(text)) OVER newest AS bytes FROM draft_steps JOIN documents ON documents.id = document
			WHERE owner = ?1 AND name = ?2 WINDOW newest AS (ORDER BY step DESC))
		WHERE n > ?4 OR bytes > ?5)`, d.Owner, d.Name, step, MaxDraftSteps, MaxDraftBytes)
	return err
}

// MoveDraft undoes the last n edits of a draft, or, if n is negative, does so many again that were undone. ErrNotFound: there is no such draft. ErrStale: it has
// another version. ErrNoStep: there are not so many.
func (s *State) MoveDraft(ctx context.Context, by audit.Act, owner, name string, version uint64, n int) (Draft, error) {
	return s.changeDraft(ctx, by, owner, name, version, func(tx *sql.Tx, d *Draft, step int) (int, error) {
		if n > d.Undo || -n > d.Redo {
			return 0, ErrNoStep
		}
		// Steps are without gaps: only the oldest are forgotten.
		return step - n, nil
	})
}

func (s *State) changeDraft(ctx context.Context, by audit.Act, owner, name string, version uint64, f func(tx *sql.Tx, d *Draft, step int) (int, error)) (Draft, error) {
	var d Draft
	err := s.update(ctx, func(tx *sql.Tx) (err error) {
		if d, err = readDraft(ctx, tx, owner, name); err != nil {
			return err
		}
		if version != 0 && version != d.Version {
			return ErrStale
		}
		var step int
		if err := tx.QueryRowContext(ctx, "SELECT step FROM drafts WHERE owner = ? AND name = ?", owner, name).Scan(&step); err != nil {
			return err
		}
		before, base := d.told(), d.Base
		next, err := f(tx, &d, step)
		if err != nil || next == step && base == d.Base {
			return err
		}
		number, err := take(ctx, tx, "draft_version", 1)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE drafts SET base = ?, version = ?, step = ?, changed_at = ? WHERE owner = ? AND name = ?",
			int64(d.Base), int64(number), next, formatTime(s.now()), owner, name); err != nil {
			return err
		}
		if err := sweepDocuments(ctx, tx); err != nil {
			return err
		}
		if d, err = readDraft(ctx, tx, owner, name); err != nil {
			return err
		}
		return s.Record(ctx, tx, by, d.object(), before, d.told())
	})
	if err != nil {
		return Draft{}, fmt.Errorf("change draft %q of %s: %w", name, owner, err)
	}
	return d, nil
}

// DropDraft forgets a draft. ErrNotFound: there is none.
func (s *State) DropDraft(ctx context.Context, by audit.Act, owner, name string) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		d, err := readDraft(ctx, tx, owner, name)
		if err != nil {
			return err
		}
		if err := dropDraft(ctx, tx, owner, name); err != nil {
			return err
		}
		return s.Record(ctx, tx, by, d.object(), d.told(), nil)
	})
	if err != nil {
		return fmt.Errorf("drop draft %q of %s: %w", name, owner, err)
	}
	return nil
}

func dropDraft(ctx context.Context, tx *sql.Tx, owner, name string) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM drafts WHERE owner = ? AND name = ?", owner, name); err != nil {
		return err
	}
	return sweepDocuments(ctx, tx)
}
