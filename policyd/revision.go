package policyd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/state"
)

// Duration is a time.Duration that is text in JSON: "10m".
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("found %q, want a duration, e.g. 10m", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes what time.Duration.String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Bounds of ApplyOptions.ConfirmWithin.
const (
	MinConfirm = 10 * time.Second
	MaxConfirm = 24 * time.Hour
)

// Pending is a revision that is undone at its deadline unless somebody confirms it.
type Pending struct {
	Revision  uint64    `json:"revision"`
	ConfirmBy time.Time `json:"confirm_by" doc:"By the clock of Weir's machine."`
}

// RestoreRequest says which revision is to be put in force again.
type RestoreRequest struct {
	Revision uint64   `json:"revision" minimum:"1" doc:"One of the history."`
	Only     []string `json:"only,omitempty" maxItems:"1000" doc:"Names or UUIDs of the hosts at which it is put in force; none: all."`
	ApplyOptions
}

// Version names a policy that is kept: a revision, a draft, or, if both are absent, what is in force at all hosts.
type Version struct {
	Revision uint64 `json:"revision,omitempty"`
	Owner    string `json:"owner,omitempty" doc:"Of the draft."`
	Draft    string `json:"draft,omitempty" doc:"Name of the draft."`
}

// String says for people which one it is.
func (v Version) String() string {
	switch {
	case v.Draft != "":
		return fmt.Sprintf("draft %s of %s", v.Draft, v.Owner)
	case v.Revision != 0:
		return fmt.Sprintf("revision %d", v.Revision)
	}
	return "what is in force"
}

// Comparison is how one policy differs from another.
type Comparison struct {
	From Version `json:"from"`
	To   Version `json:"to"`
	policy.Difference

	SettingVIFs    int                    `json:"setting_vifs" doc:"How many VIFs of the estate as it is now have other values of settings by the one than by the other."`
	SettingChanges []policy.SettingChange `json:"setting_changes" doc:"What they are."`
	SettingUnknown string                 `json:"setting_unknown,omitempty" doc:"Why that is not known: a name that nothing has, or that several things have."`
}

// versionText is a policy that is kept, read.
type versionText struct {
	version Version // with its revision, of what is in force
	policy  *policy.Policy
	bound   []state.Bound // what its names meant, of a revision
}

// text returns the policy of a version; one that is nothing yet if v is what is in force, and nothing is.
func (s *Service) text(ctx context.Context, v Version) (versionText, error) {
	t := versionText{version: v}
	var yaml string
	switch {
	case v.Draft != "":
		d, err := s.deps.State.Draft(ctx, v.Owner, v.Draft)
		if err != nil {
			return t, err
		}
		yaml = d.Text
	default:
		if v.Revision == 0 {
			i, err := s.deps.State.Intent(ctx)
			if err != nil {
				return t, err
			}
			t.version.Revision = i.Revision
		}
		if t.version.Revision != 0 {
			p, bound, err := s.deps.State.Revision(ctx, t.version.Revision)
			if err != nil {
				return t, err
			}
			yaml, t.bound = p.Text, bound
		}
	}
	var err error
	if t.policy, err = policy.Parse(t.version.String(), []byte(yaml)); err != nil {
		return t, fmt.Errorf("read %s: %w", t.version, err)
	}
	return t, nil
}

// Compare says how one policy differs from another, rule by rule and group by group. An error for which errors.Is(err, state.ErrNotFound): there is none such.
func (s *Service) Compare(ctx context.Context, from, to Version) (Comparison, error) {
	a, err := s.text(ctx, from)
	if err != nil {
		return Comparison{}, err
	}
	b, err := s.text(ctx, to)
	if err != nil {
		return Comparison{}, err
	}
	c := Comparison{From: a.version, To: b.version, Difference: *policy.Compare(a.policy, b.policy), SettingChanges: []policy.SettingChange{}}
	if len(c.Settings) == 0 {
		return c, nil
	}
	changes, n, err := s.settingChanges(&a, &b)
	if c.SettingChanges, c.SettingVIFs = append(c.SettingChanges, changes...), n; err != nil {
		c.SettingUnknown = err.Error()
	}
	return c, nil
}

// settingChanges says which settings the VIFs of the estate as it is now have otherwise by b than by a.
func (s *Service) settingChanges(a, b *versionText) ([]policy.SettingChange, int, error) {
	g := s.governor
	g.mu.Lock()
	g.see()
	names, bare := g.world.names, g.world.bare
	g.mu.Unlock()
	var sets [2]*policy.Set
	for i, t := range []*versionText{a, b} {
		var err error
		if sets[i], err = policy.ResolveSettings(t.policy, names, boundOf(t.bound)); err != nil {
			return nil, 0, fmt.Errorf("settings of %s: %w", t.version, err)
		}
	}
	changes, n := policy.SettingChanges(sets[1], func(yield func(*policy.Interface, *policy.Set) bool) {
		for _, v := range policy.EstateOf(bare, nil, nil).VIFs {
			if !yield(v, sets[0]) {
				return
			}
		}
	})
	return changes, n, nil
}

// Policy returns a revision with its text; revision 0 is the one in force at all hosts.
func (s *Service) Policy(ctx context.Context, revision uint64) (PolicyText, error) {
	if revision == 0 {
		i, err := s.deps.State.Intent(ctx)
		if err != nil {
			return PolicyText{}, err
		}
		if revision = i.Revision; revision == 0 {
			return PolicyText{}, fmt.Errorf("find policy: %w: none was applied yet, or at single hosts only: weir policy status", state.ErrNotFound)
		}
	}
	p, _, err := s.deps.State.Revision(ctx, revision)
	if err != nil {
		return PolicyText{}, err
	}
	return PolicyText{revisionOf(p), p.Text}, nil
}

// Revisions returns the revisions below before, 0: all, the newest first, at most limit.
func (s *Service) Revisions(ctx context.Context, before uint64, limit int) ([]Revision, error) {
	list, err := s.deps.State.Revisions(ctx, before, limit)
	out := make([]Revision, len(list))
	for i, p := range list {
		out[i] = revisionOf(p)
	}
	return out, err
}

// Head returns the newest revision that was made, 0 if none was: what Base of a change is compared with.
func (s *Service) Head(ctx context.Context) (uint64, error) {
	list, err := s.deps.State.Revisions(ctx, 0, 1)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return list[0].Revision, nil
}

// RestorePolicy puts an older revision in force again, as a new one. Names mean what they mean now; those that nothing has any more, what they meant
// then. Errors are those of ApplyPolicy, and state.ErrNotFound: there is no such revision, or none any more.
func (s *Service) RestorePolicy(ctx context.Context, by audit.Actor, r RestoreRequest) (Applied, error) {
	p, bound, err := s.deps.State.Revision(ctx, r.Revision)
	if err != nil {
		return Applied{}, err
	}
	return s.apply(ctx, by.Does(audit.PolicyRestore), application{
		ApplyRequest: ApplyRequest{PlanRequest{Policy: p.Text, Only: r.Only}, r.ApplyOptions}, kind: state.KindRestore, of: p.Revision, bound: bound,
	})
}

// PendingPolicy returns the revision that waits to be confirmed; nil: none does.
func (s *Service) PendingPolicy(ctx context.Context) (*Pending, error) {
	i, err := s.deps.State.Intent(ctx)
	if err != nil {
		return nil, err
	}
	return pendingOf(i), nil
}

func pendingOf(i *state.Intent) *Pending {
	if i.Pending == nil {
		return nil
	}
	return &Pending{i.Pending.Revision, i.Pending.Deadline}
}

// ConfirmPolicy says that the revision that waits to be confirmed stays. revision is the one that is meant. A *state.PendingError: it does not wait.
func (s *Service) ConfirmPolicy(ctx context.Context, by audit.Actor, revision uint64) (Revision, error) {
	s.governor.applying.Lock()
	defer s.governor.applying.Unlock()
	p, err := s.deps.State.Confirm(ctx, by.Does(audit.PolicyConfirm), revision)
	if err != nil {
		return Revision{}, err
	}
	s.log.Info("policy confirmed", "revision", revision, "by", by.User)
	s.prune(ctx)
	return revisionOf(p), nil
}

// RollBackPolicy undoes the revision that waits to be confirmed, before its deadline: what was in force before is in force again, as revisions of their own,
// which are returned. Hosts that are not reached get it when they are. revision is the one that is meant. A *state.PendingError: it does not wait.
func (s *Service) RollBackPolicy(ctx context.Context, by audit.Actor, revision uint64) ([]Revision, error) {
	g := s.governor
	g.applying.Lock()
	defer g.applying.Unlock()
	made, err := s.deps.State.RollBack(ctx, by.Does(audit.PolicyRollback), revision)
	if err != nil {
		return nil, err
	}
	out := make([]Revision, len(made))
	numbers := make([]string, len(made))
	for i, p := range made {
		out[i], numbers[i] = revisionOf(p), fmt.Sprint(p.Revision)
	}
	s.log.Warn("policy rolled back", "undone", revision, "revision", strings.Join(numbers, ", "), "by", by.User, "reason", by.Reason)
	for _, p := range made {
		s.tellApplied(p)
	}
	s.putInForce(ctx)
	s.prune(ctx)
	return out, nil
}

// rollBackLate undoes the revision that waits to be confirmed at its deadline, also one that passed while Weir did not run, until ctx is done.
func (s *Service) rollBackLate(ctx context.Context) error {
	changed, stop := s.deps.State.Subscribe()
	defer stop()
	for {
		wait := maxPause // the clock may be set
		switch i, err := s.deps.State.Intent(ctx); {
		case err != nil:
			if ctx.Err() == nil {
				s.log.Error("it is not known whether a policy waits to be confirmed, tried again", "err", err)
			}
			wait = retryState
		case i.Pending == nil:
		case time.Now().Before(i.Pending.Deadline):
			wait = min(wait, time.Until(i.Pending.Deadline))
		default:
			by := audit.Actor{User: audit.Weir, Source: "deadline", Reason: fmt.Sprintf("revision %d was not confirmed", i.Pending.Revision)}
			var decided *state.PendingError // by somebody else, just now
			if _, err := s.RollBackPolicy(ctx, by, i.Pending.Revision); err != nil && !errors.As(err, &decided) && ctx.Err() == nil {
				s.log.Error("policy that was not confirmed is not rolled back, tried again", "revision", i.Pending.Revision, "err", err)
				wait = retryState
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

// prune forgets old revisions; what fails is tried again after the next change.
func (s *Service) prune(ctx context.Context) {
	by := audit.Actor{User: audit.Weir, Source: "policy.keep_revisions"}
	gone, err := s.deps.State.Prune(ctx, by.Does(audit.PolicyPrune), s.deps.Policy.KeepRevisions)
	if err != nil && ctx.Err() == nil {
		s.log.Warn("old revisions are not pruned", "err", err)
	}
	if len(gone) > 0 {
		s.log.Info("old revisions pruned", "revisions", len(gone))
	}
}

// tellAudit hands what is told of changes to the sink until ctx is done. Without one it is logged.
func (s *Service) tellAudit(ctx context.Context) error {
	const most = 1000
	news, stop := s.deps.State.SubscribeAudit()
	defer stop()
	for {
		list, err := s.deps.State.AuditEntries(ctx, most)
		if err == nil && len(list) > 0 {
			if err = s.writeAudit(ctx, list); err == nil {
				err = s.deps.State.DropAudit(ctx, list[len(list)-1].ID)
			}
		}
		var again <-chan time.Time
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.log.Warn("changes are not told yet, tried again", "err", err)
			again = time.After(retryState)
		case len(list) == most:
			continue
		}
		select {
		case <-news:
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Service) writeAudit(ctx context.Context, list []audit.Entry) error {
	if s.deps.Audit != nil {
		return s.deps.Audit.Write(ctx, list)
	}
	for i := range list {
		e := &list[i]
		s.log.Info("change", "id", e.ID, "operation", string(e.Operation), "object", e.Object, "by", e.User, "source", e.Source, "reason", e.Reason,
			"before", json.RawMessage(e.Before), "after", json.RawMessage(e.After))
	}
	return nil
}
