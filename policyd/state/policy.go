package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/audit"
)

// Placed is a rule of a revision: where it stands, and its number.
type Placed struct {
	Tier     uint8
	Scope    flow.ID
	Rule     string
	Instance uint32
	Rank     uint16
}

// Bound is what a name in a policy means.
type Bound struct {
	Kind flow.Kind `json:"kind"`
	Name string    `json:"name"`
	ID   flow.ID   `json:"id"`
}

// Instance is a number that one rule with one action and one text has for ever.
type Instance struct {
	Instance uint32
	Rule     string
	Action   string
	Digest   string
	Tier     uint8
	Scope    flow.ID
	Text     string // for people
	Since    time.Time
	Until    time.Time // zero: it is in force
	Ends     bool      // it allowed, and its rule allows no more: for Remembered, connections that it let in are ended
}

// Remembered is how long after its end an instance is still spoken of: flows that it decided come in late, and connections that it let
// in may be there.
const Remembered = time.Hour

// BypassKind is what policy is switched off for.
type BypassKind string

// The values of BypassKind.
const (
	BypassEstate BypassKind = "estate"
	BypassPool   BypassKind = "pool"
	BypassHost   BypassKind = "host"
	BypassVIF    BypassKind = "vif"
)

// Bypass says that policy is switched off.
type Bypass struct {
	Kind   BypassKind
	Target string // name of the pool, UUID of the host, id of the VIF in decimal digits; "" is the estate
	Name   string // for people
	Since  time.Time
	By     string
	Reason string
}

// Intent is all that is asked of hosts by policy, as of one moment.
type Intent struct {
	Revision uint64              // in force at all hosts that are not in Only; 0: none was applied yet
	Only     map[string]uint64   // revisions of single hosts, by UUID
	Policies map[uint64]Policy   // those in force
	Rules    map[uint64][]Placed // theirs
	Bound    map[uint64][]Bound  // theirs
	Live     []Instance          // in force, or remembered; ascending
	Next     uint32              // number that the next instance gets; 0: none was given yet
	Bypasses []Bypass            // by kind and target

	Quarantines []Quarantine // by name

	Pending *Pending // the revision that waits to be confirmed; nil: none does
	Head    uint64   // newest revision that was made; 0: none was
}

// RevisionOf returns the revision that is in force at the host of a UUID; 0 is none.
func (i *Intent) RevisionOf(host string) uint64 {
	if r, ok := i.Only[host]; ok {
		return r
	}
	return i.Revision
}

// Intent returns what is asked, as of now.
func (s *State) Intent(ctx context.Context) (*Intent, error) {
	i := &Intent{Only: map[string]uint64{}, Policies: map[uint64]Policy{}, Rules: map[uint64][]Placed{}, Bound: map[uint64][]Bound{}}
	err := s.update(ctx, func(tx *sql.Tx) error {
		var err1, err2 error
		i.Pending, err1 = readPending(ctx, tx)
		i.Head, err2 = head(ctx, tx)
		return errors.Join(i.readForce(ctx, tx), i.readRules(ctx, tx), i.readInstances(ctx, tx, s.now()), i.readBypasses(ctx, tx), i.readQuarantines(ctx, tx), err1, err2)
	})
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	return i, nil
}

// each calls scan for each row of a query.
func each(ctx context.Context, tx *sql.Tx, scan func(scanner) error, query string, args ...any) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (i *Intent) readForce(ctx context.Context, tx *sql.Tx) error {
	return each(ctx, tx, func(row scanner) error {
		var host, bound string
		var packed bool
		var text []byte
		p, err := scanPolicy(row, &host, &bound, &packed, &text)
		if err != nil {
			return err
		}
		if host == "" {
			i.Revision = p.Revision
		} else {
			i.Only[host] = p.Revision
		}
		if _, ok := i.Policies[p.Revision]; ok {
			return nil
		}
		if p.Text, err = unpack(packed, text); err != nil {
			return fmt.Errorf("text of revision %d: %w", p.Revision, err)
		}
		var names []Bound
		if err := json.Unmarshal([]byte(bound), &names); err != nil {
			return fmt.Errorf("names of revision %d: %w", p.Revision, err)
		}
		i.Policies[p.Revision], i.Bound[p.Revision] = p, names
		return nil
	}, "SELECT "+policyColumns+", host, bound, packed, text FROM policy_in_force JOIN policies USING (revision) JOIN documents ON documents.id = document")
}

func (i *Intent) readRules(ctx context.Context, tx *sql.Tx) error {
	return each(ctx, tx, func(row scanner) error {
		var p Placed
		var revision, scope int64
		if err := row.Scan(&revision, &p.Tier, &scope, &p.Rule, &p.Instance, &p.Rank); err != nil {
			return err
		}
		p.Scope = flow.ID(scope)
		i.Rules[uint64(revision)] = append(i.Rules[uint64(revision)], p)
		return nil
	}, "SELECT revision, tier, scope, rule, instance, rank FROM policy_rules WHERE revision IN (SELECT revision FROM policy_in_force) ORDER BY revision, tier, scope, rank")
}

func (i *Intent) readInstances(ctx context.Context, tx *sql.Tx, now time.Time) error {
	var next sql.NullInt64
	if err := tx.QueryRowContext(ctx, "SELECT next FROM counters WHERE name = 'instance'").Scan(&next); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	i.Next = uint32(next.Int64)
	// Times are compared as text, which is right to the second.
	return each(ctx, tx, func(row scanner) error {
		n, err := scanInstance(row)
		if err == nil && (n.Until.IsZero() || now.Sub(n.Until) < Remembered) {
			i.Live = append(i.Live, n)
		}
		return err
	}, "SELECT "+instanceColumns+" FROM rule_instances WHERE until IS NULL OR until > ? ORDER BY instance", formatTime(now.Add(-Remembered-time.Minute)))
}

const instanceColumns = "instance, rule, action, digest, tier, scope, text, since, ifnull(until, ''), ends"

func scanInstance(row scanner) (Instance, error) {
	var n Instance
	var since, until string
	var scope int64
	if err := row.Scan(&n.Instance, &n.Rule, &n.Action, &n.Digest, &n.Tier, &scope, &n.Text, &since, &until, &n.Ends); err != nil {
		return n, err
	}
	n.Scope = flow.ID(scope)
	var err1, err2 error
	n.Since, err1 = time.Parse(time.RFC3339Nano, since)
	if until != "" {
		n.Until, err2 = time.Parse(time.RFC3339Nano, until)
	}
	return n, errors.Join(err1, err2)
}

func (i *Intent) readBypasses(ctx context.Context, tx *sql.Tx) error {
	return each(ctx, tx, func(row scanner) error {
		var b Bypass
		var since string
		err := row.Scan(&b.Kind, &b.Target, &b.Name, &since, &b.By, &b.Reason)
		if err == nil {
			b.Since, err = time.Parse(time.RFC3339Nano, since)
		}
		i.Bypasses = append(i.Bypasses, b)
		return err
	}, "SELECT kind, target, name, since, set_by, reason FROM bypasses ORDER BY kind, target")
}

// SetBypass switches policy off as b says, or replaces why that is so.
func (s *State) SetBypass(ctx context.Context, by audit.Act, b Bypass) (Bypass, error) {
	b.Since = s.now().UTC()
	b.By, b.Reason = by.User, by.Reason
	err := s.update(ctx, func(tx *sql.Tx) error {
		before, err := toldBypass(ctx, tx, b.Kind, b.Target)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO bypasses (kind, target, name, since, set_by, reason) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (kind, target) DO UPDATE SET name = excluded.name, since = excluded.since, set_by = excluded.set_by, reason = excluded.reason`,
			string(b.Kind), b.Target, b.Name, formatTime(b.Since), b.By, b.Reason)
		if err != nil {
			return err
		}
		after, err := toldBypass(ctx, tx, b.Kind, b.Target)
		if err != nil {
			return err
		}
		return s.Record(ctx, tx, by, b.object(), before, after)
	})
	if err != nil {
		return b, fmt.Errorf("bypass %s %q: %w", b.Kind, b.Name, err)
	}
	s.changed()
	return b, nil
}

// object is what the audit calls where policy is off.
func (b *Bypass) object() string {
	if b.Kind == BypassEstate {
		return string(b.Kind)
	}
	return string(b.Kind) + ":" + b.Name
}

// imposed is what the audit says of a bypass or a quarantine.
type imposed struct {
	Name   string `json:"name"`
	Since  string `json:"since"`
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
}

// toldBypass returns what the audit says of a bypass, nil if there is none.
func toldBypass(ctx context.Context, tx *sql.Tx, kind BypassKind, target string) (any, error) {
	return readImposed(tx.QueryRowContext(ctx, "SELECT name, since, set_by, reason FROM bypasses WHERE kind = ? AND target = ?", string(kind), target))
}

// readImposed returns an imposed of a row, nil if there is none.
func readImposed(row *sql.Row) (any, error) {
	var t imposed
	err := row.Scan(&t.Name, &t.Since, &t.By, &t.Reason)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return t, nil
}

// EndBypass switches policy on again. ErrNotFound: it was not switched off there.
func (s *State) EndBypass(ctx context.Context, by audit.Act, kind BypassKind, target string) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		b := Bypass{Kind: kind, Target: target}
		before, err := toldBypass(ctx, tx, kind, target)
		if err != nil {
			return err
		}
		if before == nil {
			return ErrNotFound
		}
		b.Name = before.(imposed).Name
		if _, err := tx.ExecContext(ctx, "DELETE FROM bypasses WHERE kind = ? AND target = ?", string(kind), target); err != nil {
			return err
		}
		return s.Record(ctx, tx, by, b.object(), before, nil)
	})
	if err != nil {
		return fmt.Errorf("end bypass of %s %q: %w", kind, target, err)
	}
	s.changed()
	return nil
}
