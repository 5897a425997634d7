package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/policyd/audit"
)

// Kind is what made a revision.
type Kind string

// The values of Kind.
const (
	KindApply    Kind = "apply"
	KindRestore  Kind = "restore"  // an older revision was brought back
	KindRollback Kind = "rollback" // a revision that was not confirmed was undone
)

// Policy is a revision: a policy as it was applied.
type Policy struct {
	Revision  uint64
	Text      string // YAML; "" in lists
	AppliedAt time.Time
	AppliedBy string
	Source    string // from where
	Reason    string
	Kind      Kind
	Of        uint64   // of a restore: the revision that was brought back; of a rollback: the one that was undone
	Replaces  uint64   // that was in force there before; 0: none
	Hosts     []string // names of the hosts at which it was put in force; none: at all
	Rules     int      // in it
	Counts    Counts   // how it differs from that which it replaces

	Deadline    time.Time // until when it was to be confirmed; zero: it was not to be
	ConfirmedAt time.Time // zero: it was not
	ConfirmedBy string

	InForce bool // somewhere, now; in lists only
}

// Counts are how many rules, groups and settings two policies differ in.
type Counts struct {
	Added   int `json:"added,omitempty"`
	Removed int `json:"removed,omitempty"`
	Changed int `json:"changed,omitempty"`
	Moved   int `json:"moved,omitempty"`
	Groups  int `json:"groups,omitempty" doc:"Added, removed or changed."`

	Settings int `json:"settings,omitempty" doc:"Added, removed or changed."`
}

// Pending is a revision that is undone at its deadline unless somebody confirms it.
type Pending struct {
	Revision uint64
	Deadline time.Time
	Back     map[string]uint64 // revisions in force before, by UUID of the host, "" is all others
}

const policyColumns = `revision, applied_at, applied_by, source, reason, kind, origin, replaces, hosts, rules, counts, ifnull(deadline, ''), ifnull(confirmed_at, ''), confirmed_by`

func scanPolicy(row scanner, more ...any) (Policy, error) {
	var p Policy
	var revision, of, replaces int64
	var at, hosts, counts, deadline, confirmed string
	err := row.Scan(append([]any{&revision, &at, &p.AppliedBy, &p.Source, &p.Reason, &p.Kind, &of, &replaces, &hosts, &p.Rules, &counts, &deadline, &confirmed, &p.ConfirmedBy}, more...)...)
	if err != nil {
		return p, err
	}
	p.Revision, p.Of, p.Replaces = uint64(revision), uint64(of), uint64(replaces)
	errs := []error{json.Unmarshal([]byte(hosts), &p.Hosts), json.Unmarshal([]byte(counts), &p.Counts)}
	for text, to := range map[string]*time.Time{at: &p.AppliedAt, deadline: &p.Deadline, confirmed: &p.ConfirmedAt} {
		if text != "" {
			*to, err = time.Parse(time.RFC3339Nano, text)
			errs = append(errs, err)
		}
	}
	if len(p.Hosts) == 0 {
		p.Hosts = nil
	}
	return p, errors.Join(errs...)
}

// head returns the newest revision that was made, 0 if none was.
func head(ctx context.Context, q querier) (uint64, error) {
	var newest int64
	err := q.QueryRowContext(ctx, "SELECT ifnull(max(revision), 0) FROM policies").Scan(&newest)
	return uint64(newest), err
}

func readPending(ctx context.Context, q querier) (*Pending, error) {
	var p Pending
	var revision int64
	var deadline, back string
	err := q.QueryRowContext(ctx, "SELECT revision, deadline, back FROM policy_pending").Scan(&revision, &deadline, &back)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err == nil {
		p.Revision = uint64(revision)
		p.Deadline, err = time.Parse(time.RFC3339Nano, deadline)
	}
	if err == nil {
		err = json.Unmarshal([]byte(back), &p.Back)
	}
	if err != nil {
		return nil, fmt.Errorf("read what waits to be confirmed: %w", err)
	}
	return &p, nil
}

// Application is a policy to be put in force.
type Application struct {
	Policy             // its revision and time are given by Apply, and who, from where and why by its act
	Only      []string // UUIDs of the hosts at which it is put in force; none: at all, and no host has one of its own any more
	Bound     []Bound
	Placed    []Placed   // of the policy; their instances are those of Instances, or are in force
	Instances []Instance // new ones; Since is given by Apply
	Next      uint32     // number that the next instance gets: above all that were given

	// Base is the newest revision that the asker knows of: if there is another one, nothing is changed. Nil: it is not looked at.
	Base *uint64

	// Draft is one of which this is the text: applied at all hosts, it is dropped; else it is brought up to date. Its version must be this one. Nil: none.
	Draft *DraftKey

	// Ends says of an instance that no revision in force has any more whether connections that it let in are ended.
	Ends func(n Instance) bool
}

// DraftKey names a version of a draft.
type DraftKey struct {
	Owner, Name string
	Version     uint64
}

// ErrRaced says that somebody else changed the policy in between.
var ErrRaced = errors.New("the policy was changed by somebody else meanwhile: try again")

// NewerError says that there are revisions that the asker did not know of.
type NewerError struct {
	Base uint64   // that the asker knew
	Made []Policy // since then, the newest first, without their text; at most 20
}

func (e *NewerError) Error() string {
	if len(e.Made) == 0 {
		return fmt.Sprintf("there is no revision %d", e.Base)
	}
	p := &e.Made[0]
	why := ""
	if p.Reason != "" {
		why = ": " + p.Reason
	}
	return fmt.Sprintf("the policy was changed since revision %d: revision %d is by %s, of %s%s", e.Base, p.Revision, p.AppliedBy, p.AppliedAt.UTC().Format(time.DateTime), why)
}

// PendingError says that a revision waits to be confirmed, or that the one that was meant does not.
type PendingError struct {
	Revision uint64 // that waits; 0: none does
	Deadline time.Time
	Asked    uint64 // that was meant; 0: none was named
}

func (e *PendingError) Error() string {
	switch {
	case e.Revision == 0 && e.Asked == 0:
		return "no revision waits to be confirmed"
	case e.Revision == 0:
		return fmt.Sprintf("revision %d does not wait to be confirmed", e.Asked)
	case e.Asked != 0:
		return fmt.Sprintf("revision %d waits to be confirmed, not %d", e.Revision, e.Asked)
	}
	return fmt.Sprintf("revision %d waits to be confirmed until %s: confirm it or roll it back first", e.Revision, e.Deadline.UTC().Format(time.DateTime))
}

// Apply puts a policy in force and returns its revision, in one transaction. Instances that no revision in force has any more
// end. If it has a deadline, [State.RollBack] is to be called then, unless [State.Confirm] was. A *NewerError: there is another revision than Base. A
// *PendingError: one waits to be confirmed. ErrRaced: numbers of new instances were given to others. ErrStale: the draft has another version.
func (s *State) Apply(ctx context.Context, by audit.Act, a Application) (Policy, error) {
	p := a.Policy
	err := s.update(ctx, func(tx *sql.Tx) (err error) {
		pending, err := readPending(ctx, tx)
		if err != nil {
			return err
		}
		if pending != nil {
			return &PendingError{Revision: pending.Revision, Deadline: pending.Deadline}
		}
		if err := checkBase(ctx, tx, a.Base); err != nil {
			return err
		}
		before, err := inForce(ctx, tx)
		if err != nil {
			return err
		}
		p.AppliedBy, p.Source, p.Reason = by.User, by.Source, by.Reason
		if p, err = s.insertPolicy(ctx, tx, p, a.Bound); err != nil {
			return err
		}
		if err := s.placeRules(ctx, tx, p, &a); err != nil {
			return err
		}
		after := map[string]uint64{"": p.Revision}
		if len(a.Only) > 0 {
			after = maps.Clone(before)
			for _, host := range a.Only {
				after[host] = p.Revision
			}
		}
		if err := setInForce(ctx, tx, after); err != nil {
			return err
		}
		if !p.Deadline.IsZero() {
			back, err := json.Marshal(before)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO policy_pending (revision, deadline, back) VALUES (?, ?, ?)", int64(p.Revision), formatTime(p.Deadline), string(back)); err != nil {
				return err
			}
		}
		if err := s.endInstances(ctx, tx, a.Ends); err != nil {
			return err
		}
		if err := a.draft(ctx, tx, p.Revision); err != nil {
			return err
		}
		return s.Record(ctx, tx, by, "policy", toldForce(before), toldRevision(&p))
	})
	if err != nil {
		return Policy{}, fmt.Errorf("put policy in force: %w", err)
	}
	s.changed()
	return p, nil
}

// checkBase says whether base, unless it is nil, is the newest revision.
func checkBase(ctx context.Context, tx *sql.Tx, base *uint64) error {
	if base == nil {
		return nil
	}
	newest, err := head(ctx, tx)
	if err != nil || newest == *base {
		return err
	}
	newer := &NewerError{Base: *base}
	err = each(ctx, tx, func(row scanner) error {
		p, err := scanPolicy(row)
		newer.Made = append(newer.Made, p)
		return err
	}, "SELECT "+policyColumns+" FROM policies WHERE revision > ? ORDER BY revision DESC LIMIT 20", int64(*base))
	if err != nil {
		return err
	}
	return newer
}

// CheckBase returns a *NewerError if base is not the newest revision.
func (s *State) CheckBase(ctx context.Context, base uint64) error {
	return s.update(ctx, func(tx *sql.Tx) error { return checkBase(ctx, tx, &base) })
}

// inForce returns the revisions in force by UUID of the host, "" is all others.
func inForce(ctx context.Context, tx *sql.Tx) (map[string]uint64, error) {
	force := map[string]uint64{}
	err := each(ctx, tx, func(row scanner) error {
		var host string
		var revision int64
		err := row.Scan(&host, &revision)
		force[host] = uint64(revision)
		return err
	}, "SELECT host, revision FROM policy_in_force")
	return force, err
}

func setInForce(ctx context.Context, tx *sql.Tx, force map[string]uint64) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM policy_in_force"); err != nil {
		return err
	}
	for host, revision := range force {
		if _, err := tx.ExecContext(ctx, "INSERT INTO policy_in_force (host, revision) VALUES (?, ?)", host, int64(revision)); err != nil {
			return err
		}
	}
	return nil
}

// toldForce is what the audit says of the revisions in force.
func toldForce(force map[string]uint64) any {
	if len(force) == 0 {
		return nil
	}
	only := maps.Clone(force)
	delete(only, "")
	return struct {
		Revision uint64            `json:"revision,omitempty"`
		Only     map[string]uint64 `json:"only,omitempty"` // by UUID of the host
	}{force[""], only}
}

// toldRevision is what the audit says of a revision.
func toldRevision(p *Policy) any {
	return struct {
		Revision uint64    `json:"revision"`
		Kind     Kind      `json:"kind"`
		Of       uint64    `json:"of,omitempty"`
		Replaces uint64    `json:"replaces,omitempty"`
		Hosts    []string  `json:"hosts,omitempty"`
		Rules    int       `json:"rules"`
		Counts   Counts    `json:"counts,omitzero"`
		Deadline time.Time `json:"deadline,omitzero"`
	}{p.Revision, p.Kind, p.Of, p.Replaces, p.Hosts, p.Rules, p.Counts, p.Deadline}
}

// draft drops the draft that was applied, or brings it up to date.
func (a *Application) draft(ctx context.Context, tx *sql.Tx, revision uint64) error {
	if a.Draft == nil {
		return nil
	}
	k := a.Draft
	d, err := readDraft(ctx, tx, k.Owner, k.Name)
	switch {
	case err != nil:
		return fmt.Errorf("find draft %q of %s: %w", k.Name, k.Owner, err)
	case d.Version != k.Version:
		return ErrStale
	case len(a.Only) == 0:
		return dropDraft(ctx, tx, k.Owner, k.Name)
	}
	version, err := take(ctx, tx, "draft_version", 1)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE drafts SET base = ?, version = ? WHERE owner = ? AND name = ?", int64(revision), int64(version), k.Owner, k.Name)
	return err
}

func (s *State) insertPolicy(ctx context.Context, tx *sql.Tx, p Policy, bound []Bound) (Policy, error) {
	document, err := putDocument(ctx, tx, p.Text)
	if err != nil {
		return p, err
	}
	names, err := json.Marshal(bound)
	if err != nil {
		return p, err
	}
	return s.insertRevision(ctx, tx, p, document, string(names))
}

// insertRevision inserts a revision of a document that is there, and gives it its number and its time.
func (s *State) insertRevision(ctx context.Context, tx *sql.Tx, p Policy, document int64, bound string) (Policy, error) {
	var err error
	if p.Revision, err = take(ctx, tx, "revision", 1); err != nil {
		return p, err
	}
	p.AppliedAt = s.now().UTC()
	if p.Kind == "" {
		p.Kind = KindApply
	}
	hosts, err := json.Marshal(append([]string{}, p.Hosts...))
	if err != nil {
		return p, err
	}
	counts, err := json.Marshal(p.Counts)
	if err != nil {
		return p, err
	}
	var deadline any
	if !p.Deadline.IsZero() {
		p.Deadline = p.Deadline.UTC()
		deadline = formatTime(p.Deadline)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO policies (revision, applied_at, applied_by, source, reason, kind, origin, replaces, hosts, rules, counts, deadline, document, bound)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, int64(p.Revision), formatTime(p.AppliedAt), p.AppliedBy, p.Source, p.Reason, string(p.Kind), int64(p.Of), int64(p.Replaces),
		string(hosts), p.Rules, string(counts), deadline, document, bound)
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
	return placeAll(ctx, tx, p.Revision, a.Placed)
}

// placeAll writes the places of rules, many a statement: so it takes a third of the time.
func placeAll(ctx context.Context, tx *sql.Tx, revision uint64, list []Placed) error {
	const many, columns = 200, 6
	insert := func(n int) string {
		return "INSERT INTO policy_rules (revision, tier, scope, rule, instance, rank) VALUES (?, ?, ?, ?, ?, ?)" + strings.Repeat(", (?, ?, ?, ?, ?, ?)", n-1)
	}
	whole, err := tx.PrepareContext(ctx, insert(many))
	if err != nil {
		return err
	}
	defer whole.Close()
	args := make([]any, 0, many*columns)
	for len(list) > 0 {
		chunk := list[:min(many, len(list))]
		list, args = list[len(chunk):], args[:0]
		for _, r := range chunk {
			args = append(args, int64(revision), r.Tier, int64(r.Scope), r.Rule, r.Instance, r.Rank)
		}
		if len(chunk) == many {
			_, err = whole.ExecContext(ctx, args...)
		} else {
			_, err = tx.ExecContext(ctx, insert(len(chunk)), args...)
		}
		if err != nil {
			return fmt.Errorf("rules from %q on: %w", chunk[0].Rule, err)
		}
	}
	return nil
}

// endInstances ends what no revision in force has any more, and forgets the places of rules of revisions that are neither in force, nor would be again if
// what waits to be confirmed were undone.
func (s *State) endInstances(ctx context.Context, tx *sql.Tx, ends func(Instance) bool) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM policy_rules WHERE revision NOT IN (SELECT revision FROM policy_in_force)
		AND revision NOT IN (SELECT value FROM policy_pending, json_each(back))`); err != nil {
		return err
	}
	const live = "SELECT instance FROM policy_rules WHERE revision IN (SELECT revision FROM policy_in_force)"
	var ended []Instance
	err := each(ctx, tx, func(row scanner) error {
		n, err := scanInstance(row)
		ended = append(ended, n)
		return err
	}, "SELECT "+instanceColumns+" FROM rule_instances WHERE until IS NULL AND instance NOT IN ("+live+")")
	if err != nil {
		return err
	}
	now := formatTime(s.now())
	for _, n := range ended {
		if _, err := tx.ExecContext(ctx, "UPDATE rule_instances SET until = ?, ends = ? WHERE instance = ?", now, ends != nil && ends(n), n.Instance); err != nil {
			return err
		}
	}
	return nil
}

// Confirm says that the revision that waits to be confirmed stays. revision is the one that is meant. A *PendingError: it does not wait.
func (s *State) Confirm(ctx context.Context, by audit.Act, revision uint64) (Policy, error) {
	var p Policy
	err := s.update(ctx, func(tx *sql.Tx) error {
		if _, err := pendingIs(ctx, tx, revision); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM policy_pending"); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE policies SET confirmed_at = ?, confirmed_by = ? WHERE revision = ?", formatTime(s.now()), by.User, int64(revision)); err != nil {
			return err
		}
		if err := s.endInstances(ctx, tx, nil); err != nil { // none ends: what was in force stays
			return err
		}
		var err error
		if p, err = readRevision(ctx, tx, revision); err != nil {
			return err
		}
		return s.Record(ctx, tx, by, "policy", map[string]any{"revision": revision, "deadline": p.Deadline}, map[string]any{"revision": revision, "confirmed_at": p.ConfirmedAt})
	})
	if err != nil {
		return Policy{}, fmt.Errorf("confirm revision %d: %w", revision, err)
	}
	s.changed()
	return p, nil
}

func pendingIs(ctx context.Context, tx *sql.Tx, revision uint64) (*Pending, error) {
	p, err := readPending(ctx, tx)
	switch {
	case err != nil:
		return nil, err
	case p == nil:
		return nil, &PendingError{Asked: revision}
	case p.Revision != revision:
		return nil, &PendingError{Revision: p.Revision, Deadline: p.Deadline, Asked: revision}
	}
	return p, nil
}

// RollBack undoes the revision that waits to be confirmed: everywhere what was in force before is in force again, with the same numbers, as revisions of their
// own, which are returned, the last made last. It depends on nothing but the state, so that it cannot be refused. Hosts that were removed meanwhile are left
// out. revision is the one that is meant. A *PendingError: it does not wait.
func (s *State) RollBack(ctx context.Context, by audit.Act, revision uint64) ([]Policy, error) {
	var made []Policy
	err := s.update(ctx, func(tx *sql.Tx) error {
		pending, err := pendingIs(ctx, tx, revision)
		if err != nil {
			return err
		}
		before, err := inForce(ctx, tx)
		if err != nil {
			return err
		}
		names := map[string]string{"": ""}
		if err := each(ctx, tx, func(row scanner) error {
			var uuid, name string
			err := row.Scan(&uuid, &name)
			names[uuid] = name
			return err
		}, "SELECT uuid, name FROM hosts"); err != nil {
			return err
		}
		r := rollback{s: s, tx: tx, by: by, undone: revision, names: names}
		after := map[string]uint64{}
		again := map[uint64][]string{} // hosts, by the revision that is brought back
		for host, old := range pending.Back {
			if _, ok := names[host]; !ok {
				continue
			}
			after[host] = old
			if before[host] != old {
				again[old] = append(again[old], host)
			}
		}
		for _, old := range slices.Sorted(maps.Keys(again)) {
			p, err := r.bringBack(ctx, old, again[old])
			if err != nil {
				return err
			}
			for _, host := range again[old] {
				after[host] = p.Revision
			}
			made = append(made, p)
		}
		if len(made) == 0 { // there is less in force than with what is undone
			p, err := r.withdraw(ctx, after, before)
			if err != nil {
				return err
			}
			made = append(made, p)
		}
		if err := setInForce(ctx, tx, after); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM policy_pending"); err != nil {
			return err
		}
		const back = `UPDATE rule_instances SET until = NULL, ends = 0 WHERE until IS NOT NULL AND instance IN
			(SELECT instance FROM policy_rules WHERE revision IN (SELECT revision FROM policy_in_force))`
		if _, err := tx.ExecContext(ctx, back); err != nil {
			return err
		}
		if err := s.endInstances(ctx, tx, func(n Instance) bool { return n.Action == "allow" }); err != nil {
			return err
		}
		return s.Record(ctx, tx, by, "policy", toldForce(before), toldRevision(&made[len(made)-1]))
	})
	if err != nil {
		return nil, fmt.Errorf("roll back revision %d: %w", revision, err)
	}
	s.changed()
	return made, nil
}

type rollback struct {
	s      *State
	tx     *sql.Tx
	by     audit.Act
	undone uint64
	names  map[string]string // of hosts by UUID, "" is all others
}

// revision returns what the new revisions have in common. hosts are UUIDs, "" is all others.
func (r *rollback) revision(hosts []string) Policy {
	p := Policy{AppliedBy: r.by.User, Source: r.by.Source, Reason: r.by.Reason, Kind: KindRollback, Of: r.undone, Replaces: r.undone}
	if !slices.Contains(hosts, "") {
		for _, host := range hosts {
			p.Hosts = append(p.Hosts, r.names[host])
		}
		slices.Sort(p.Hosts)
	}
	return p
}

// bringBack makes a revision of an old one, with the same numbers of rules.
func (r *rollback) bringBack(ctx context.Context, old uint64, hosts []string) (Policy, error) {
	p := r.revision(hosts)
	was, document, bound, err := readRaw(ctx, r.tx, old)
	if err != nil {
		return p, err
	}
	p.Rules, p.Text = was.Rules, was.Text
	if p, err = r.s.insertRevision(ctx, r.tx, p, document, bound); err != nil {
		return p, err
	}
	_, err = r.tx.ExecContext(ctx, "INSERT INTO policy_rules (revision, tier, scope, rule, instance, rank) SELECT ?, tier, scope, rule, instance, rank FROM policy_rules WHERE revision = ?",
		int64(p.Revision), int64(old))
	return p, err
}

// withdraw makes a revision that says that hosts have no policy of their own any more, or that none is in force at all.
func (r *rollback) withdraw(ctx context.Context, after, before map[string]uint64) (Policy, error) {
	var hosts []string
	for host := range before {
		if _, ok := after[host]; !ok {
			hosts = append(hosts, host)
		}
	}
	p := r.revision(hosts)
	rest, ok := after[""]
	if !ok {
		return r.s.insertPolicy(ctx, r.tx, p, nil)
	}
	was, document, bound, err := readRaw(ctx, r.tx, rest)
	if err != nil {
		return p, err
	}
	p.Rules, p.Text = was.Rules, was.Text
	return r.s.insertRevision(ctx, r.tx, p, document, bound)
}

// readRaw returns a revision with its text, and which document it has, and its names as they are kept.
func readRaw(ctx context.Context, q querier, revision uint64) (p Policy, document int64, bound string, err error) {
	var packed bool
	var text []byte
	p, err = scanPolicy(q.QueryRowContext(ctx, "SELECT "+policyColumns+", document, bound, packed, text FROM policies JOIN documents ON documents.id = document WHERE revision = ?", int64(revision)),
		&document, &bound, &packed, &text)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err == nil {
		p.Text, err = unpack(packed, text)
	}
	if err != nil {
		err = fmt.Errorf("find policy of revision %d: %w", revision, err)
	}
	return p, document, bound, err
}

func readRevision(ctx context.Context, q querier, revision uint64) (Policy, error) {
	p, _, _, err := readRaw(ctx, q, revision)
	return p, err
}

// Revision returns a revision with its text, and what its names meant. ErrNotFound: there is none, or none any more.
func (s *State) Revision(ctx context.Context, revision uint64) (Policy, []Bound, error) {
	p, _, text, err := readRaw(ctx, s.db, revision)
	if err != nil {
		return Policy{}, nil, err
	}
	var bound []Bound
	if err := json.Unmarshal([]byte(text), &bound); err != nil {
		return Policy{}, nil, fmt.Errorf("names of revision %d: %w", revision, err)
	}
	return p, bound, nil
}

// Revisions returns the revisions below before, 0: all, the newest first, at most limit, without their text.
func (s *State) Revisions(ctx context.Context, before uint64, limit int) ([]Policy, error) {
	list := []Policy{}
	rows, err := s.db.QueryContext(ctx, "SELECT "+policyColumns+`, EXISTS (SELECT 1 FROM policy_in_force f WHERE f.revision = policies.revision) FROM policies
		WHERE ?1 = 0 OR revision < ?1 ORDER BY revision DESC LIMIT ?2`, int64(before), limit)
	if err != nil {
		return nil, fmt.Errorf("list revisions: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var inForce bool
		p, err := scanPolicy(rows, &inForce)
		if err != nil {
			return nil, fmt.Errorf("list revisions: %w", err)
		}
		p.InForce = inForce
		list = append(list, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list revisions: %w", err)
	}
	return list, nil
}

// Prune forgets all but the newest keep revisions. Those in force stay, those that they replaced, those that would be in force again if what waits to be confirmed
// were undone, the last that was confirmed, and those that drafts are based on. It returns which it forgot.
func (s *State) Prune(ctx context.Context, by audit.Act, keep int) ([]uint64, error) {
	var gone []uint64
	err := s.update(ctx, func(tx *sql.Tx) error {
		const old = `DELETE FROM policies WHERE revision NOT IN (SELECT revision FROM policies ORDER BY revision DESC LIMIT ?)
			AND revision NOT IN (SELECT revision FROM policy_in_force)
			AND revision NOT IN (SELECT replaces FROM policies WHERE revision IN (SELECT revision FROM policy_in_force))
			AND revision NOT IN (SELECT value FROM policy_pending, json_each(back))
			AND revision NOT IN (SELECT revision FROM policy_pending)
			AND revision NOT IN (SELECT ifnull(max(revision), 0) FROM policies WHERE confirmed_at IS NOT NULL)
			AND revision NOT IN (SELECT base FROM drafts)
			RETURNING revision`
		if err := each(ctx, tx, func(row scanner) error {
			var revision int64
			err := row.Scan(&revision)
			gone = append(gone, uint64(revision))
			return err
		}, old, keep); err != nil {
			return err
		}
		if len(gone) == 0 {
			return nil
		}
		slices.Sort(gone)
		if err := sweepDocuments(ctx, tx); err != nil {
			return err
		}
		return s.Record(ctx, tx, by, "policy", map[string]any{"revisions": gone}, nil)
	})
	if err != nil {
		return nil, fmt.Errorf("prune revisions: %w", err)
	}
	return gone, nil
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
