package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/weirhq/weir/flow"
)

// Policy is a policy as it was applied.
type Policy struct {
	Revision  uint64
	Text      string // YAML
	AppliedAt time.Time
	AppliedBy string
	Reason    string
}

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
		return errors.Join(i.readForce(ctx, tx), i.readRules(ctx, tx), i.readInstances(ctx, tx, s.now()), i.readBypasses(ctx, tx))
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
		p, err := scanPolicy(row, &host, &bound)
		if err != nil {
			return err
		}
		var names []Bound
		if err := json.Unmarshal([]byte(bound), &names); err != nil {
			return fmt.Errorf("names of revision %d: %w", p.Revision, err)
		}
		i.Policies[p.Revision], i.Bound[p.Revision] = p, names
		if host == "" {
			i.Revision = p.Revision
		} else {
			i.Only[host] = p.Revision
		}
		return nil
	}, "SELECT "+policyColumns+", host, bound FROM policy_in_force JOIN policies USING (revision)")
}

const policyColumns = "revision, policy, applied_at, applied_by, reason"

func scanPolicy(row scanner, more ...any) (Policy, error) {
	var p Policy
	var revision int64
	var at string
	if err := row.Scan(append([]any{&revision, &p.Text, &at, &p.AppliedBy, &p.Reason}, more...)...); err != nil {
		return p, err
	}
	p.Revision = uint64(revision)
	var err error
	p.AppliedAt, err = time.Parse(time.RFC3339Nano, at)
	return p, err
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

// Application is a policy to be put in force.
type Application struct {
	Policy             // its revision and time are given by Apply
	Only      []string // UUIDs of the hosts at which it is put in force; none: at all, and no host has one of its own any more
	Bound     []Bound
	Rules     []Placed   // of the policy; their instances are those of Instances, or are in force
	Instances []Instance // new ones; Since is given by Apply
	Next      uint32     // number that the next instance gets: above all that were given

	// Ends says of an instance that no revision in force has any more whether connections that it let in are ended.
	Ends func(n Instance) bool
}

// ErrRaced says that somebody else changed the policy in between.
var ErrRaced = errors.New("the policy was changed by somebody else meanwhile: try again")

// Apply puts a policy in force and returns its revision, in one transaction. Instances that no revision in force has any more
// end. ErrRaced: numbers of new instances were given to others.
func (s *State) Apply(ctx context.Context, a Application) (Policy, error) {
	p := a.Policy
	err := s.update(ctx, func(tx *sql.Tx) (err error) {
		if p, err = s.insertPolicy(ctx, tx, p, a.Bound); err != nil {
			return err
		}
		if err := s.placeRules(ctx, tx, p, &a); err != nil {
			return err
		}
		if len(a.Only) == 0 {
			if _, err := tx.ExecContext(ctx, "DELETE FROM policy_in_force"); err != nil {
				return err
			}
			a.Only = []string{""}
		}
		for _, host := range a.Only {
			const q = "INSERT INTO policy_in_force (host, revision) VALUES (?, ?) ON CONFLICT (host) DO UPDATE SET revision = excluded.revision"
			if _, err := tx.ExecContext(ctx, q, host, int64(p.Revision)); err != nil {
				return err
			}
		}
		return s.endInstances(ctx, tx, &a)
	})
	if err != nil {
		return Policy{}, fmt.Errorf("put policy in force: %w", err)
	}
	s.changed()
	return p, nil
}

func (s *State) insertPolicy(ctx context.Context, tx *sql.Tx, p Policy, bound []Bound) (Policy, error) {
	var newest int64
	if err := tx.QueryRowContext(ctx, "SELECT ifnull(max(revision), 0) FROM policies").Scan(&newest); err != nil {
		return p, err
	}
	p.Revision, p.AppliedAt = uint64(newest)+1, s.now().UTC()
	names, err := json.Marshal(bound)
	if err != nil {
		return p, err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO policies ("+policyColumns+", bound) VALUES (?, ?, ?, ?, ?, ?)",
		int64(p.Revision), p.Text, formatTime(p.AppliedAt), p.AppliedBy, p.Reason, string(names))
	return p, err
}

// placeRules writes new instances and the places of the rules.
func (s *State) placeRules(ctx context.Context, tx *sql.Tx, p Policy, a *Application) error {
	insert, err := tx.PrepareContext(ctx, "INSERT INTO rule_instances (instance, rule, action, digest, tier, scope, text, since, ends) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)")
	if err != nil {
		return err
	}
	defer insert.Close()
	next, err := nextInstance(ctx, tx)
	if err != nil {
		return err
	}
	for _, n := range a.Instances {
		if n.Instance < next {
			return ErrRaced
		}
		if n.Instance >= a.Next {
			panic("BUG: an instance is not below the next one")
		}
		if _, err := insert.ExecContext(ctx, n.Instance, n.Rule, n.Action, n.Digest, n.Tier, int64(n.Scope), n.Text, formatTime(p.AppliedAt)); err != nil {
			return err
		}
	}
	if err := setNextInstance(ctx, tx, max(next, a.Next)); err != nil {
		return err
	}
	place, err := tx.PrepareContext(ctx, "INSERT INTO policy_rules (revision, tier, scope, rule, instance, rank) VALUES (?, ?, ?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer place.Close()
	for _, r := range a.Rules {
		if _, err := place.ExecContext(ctx, int64(p.Revision), r.Tier, int64(r.Scope), r.Rule, r.Instance, r.Rank); err != nil {
			return fmt.Errorf("rule %q: %w", r.Rule, err)
		}
	}
	return nil
}

// endInstances ends what no revision in force has any more, and forgets the places of rules of other revisions.
func (s *State) endInstances(ctx context.Context, tx *sql.Tx, a *Application) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM policy_rules WHERE revision NOT IN (SELECT revision FROM policy_in_force)"); err != nil {
		return err
	}
	var ended []Instance
	err := each(ctx, tx, func(row scanner) error {
		n, err := scanInstance(row)
		ended = append(ended, n)
		return err
	}, "SELECT "+instanceColumns+" FROM rule_instances WHERE until IS NULL AND instance NOT IN (SELECT instance FROM policy_rules)")
	if err != nil {
		return err
	}
	now := formatTime(s.now())
	for _, n := range ended {
		ends := a.Ends != nil && a.Ends(n)
		if _, err := tx.ExecContext(ctx, "UPDATE rule_instances SET until = ?, ends = ? WHERE instance = ?", now, ends, n.Instance); err != nil {
			return err
		}
	}
	return nil
}

func nextInstance(ctx context.Context, tx *sql.Tx) (uint32, error) {
	var next sql.NullInt64
	err := tx.QueryRowContext(ctx, "SELECT next FROM counters WHERE name = 'instance'").Scan(&next)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return uint32(next.Int64), err
}

func setNextInstance(ctx context.Context, tx *sql.Tx, next uint32) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO counters (name, next) VALUES ('instance', ?) ON CONFLICT (name) DO UPDATE SET next = excluded.next", next)
	return err
}

// SkipInstances says that instances up to one were given, by a state that was lost: they will not be given again.
func (s *State) SkipInstances(ctx context.Context, upTo uint32) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		next, err := nextInstance(ctx, tx)
		if err != nil || upTo < next {
			return err
		}
		return setNextInstance(ctx, tx, upTo+1)
	})
	if err != nil {
		return fmt.Errorf("skip rule instances: %w", err)
	}
	return nil
}

// Policies returns the policies that were applied, the newest first, at most limit, without their text.
func (s *State) Policies(ctx context.Context, limit int) ([]Policy, error) {
	list := []Policy{}
	rows, err := s.db.QueryContext(ctx, "SELECT revision, '', applied_at, applied_by, reason FROM policies ORDER BY revision DESC LIMIT ?", limit)
	if err != nil {
		return nil, fmt.Errorf("list policies: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		p, err := scanPolicy(rows)
		if err != nil {
			return nil, fmt.Errorf("list policies: %w", err)
		}
		list = append(list, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list policies: %w", err)
	}
	return list, nil
}

// Policy returns the policy of a revision. ErrNotFound: there is none.
func (s *State) Policy(ctx context.Context, revision uint64) (Policy, error) {
	p, err := scanPolicy(s.db.QueryRowContext(ctx, "SELECT "+policyColumns+" FROM policies WHERE revision = ?", int64(revision)))
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Policy{}, fmt.Errorf("find policy of revision %d: %w", revision, err)
	}
	return p, nil
}

// SetBypass switches policy off as b says, or replaces why that is so.
func (s *State) SetBypass(ctx context.Context, b Bypass) (Bypass, error) {
	b.Since = s.now().UTC()
	_, err := s.db.ExecContext(ctx, `INSERT INTO bypasses (kind, target, name, since, set_by, reason) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (kind, target) DO UPDATE SET name = excluded.name, since = excluded.since, set_by = excluded.set_by, reason = excluded.reason`,
		string(b.Kind), b.Target, b.Name, formatTime(b.Since), b.By, b.Reason)
	if err != nil {
		return b, fmt.Errorf("bypass %s %q: %w", b.Kind, b.Name, err)
	}
	s.changed()
	return b, nil
}

// EndBypass switches policy on again. ErrNotFound: it was not switched off there.
func (s *State) EndBypass(ctx context.Context, kind BypassKind, target string) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, "DELETE FROM bypasses WHERE kind = ? AND target = ?", string(kind), target)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n > 0 {
			return err
		}
		return ErrNotFound
	})
	if err != nil {
		return fmt.Errorf("end bypass of %s %q: %w", kind, target, err)
	}
	s.changed()
	return nil
}
