package policyd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/state"
)

// Draft is a policy that somebody works on. Nothing of it is in force.
type Draft struct {
	Owner     string    `json:"owner" doc:"User whose draft it is: nobody else changes it."`
	Name      string    `json:"name" doc:"Unique among those of the owner."`
	Base      uint64    `json:"base" doc:"Newest revision when it was begun, or brought up to date; 0: there was none."`
	Version   uint64    `json:"version" doc:"Ascends with each change of the draft, also when one is undone."`
	Undo      int       `json:"undo" doc:"Edits that can be undone."`
	Redo      int       `json:"redo" doc:"Edits that were undone, and can be done again."`
	What      string    `json:"what" doc:"What was done last."`
	CreatedAt time.Time `json:"created_at"`
	ChangedAt time.Time `json:"changed_at"`
}

// DraftText is a draft with its text.
type DraftText struct {
	Draft
	Policy string `json:"policy" doc:"YAML, as Weir writes it; every rule has an id."`
}

// DraftStep is an edit of a draft.
type DraftStep struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
	Now  bool      `json:"now,omitempty" doc:"The draft stands here; what is above was undone."`
}

func draftOf(d state.Draft) Draft {
	return Draft{d.Owner, d.Name, d.Base, d.Version, d.Undo, d.Redo, d.What, d.CreatedAt, d.ChangedAt}
}

// DraftRequest says what a new draft begins with.
type DraftRequest struct {
	Name     string `json:"name" minLength:"1" maxLength:"64" doc:"Letters, digits and any of . _ -, unique among the user's drafts."`
	Policy   string `json:"policy,omitempty" maxLength:"8388608" doc:"YAML; absent: the text of a revision."`
	Revision uint64 `json:"revision,omitempty" doc:"Whose text it begins with, if no policy is given; absent: that which is in force at all hosts, or nothing if none is."`
}

// DraftEdit is a draft as it is to be.
type DraftEdit struct {
	Policy  string `json:"policy" maxLength:"8388608" doc:"YAML; rules without an id get one."`
	Version uint64 `json:"version,omitempty" doc:"Of the draft that was edited: if it was changed meanwhile, this is refused. Absent: it is not looked at."`
	What    string `json:"what,omitempty" maxLength:"200" doc:"What was done, for the list of edits; absent: it is said by what differs."`
	Base    uint64 `json:"base,omitempty" doc:"Newest revision that this text takes into account; absent: as before."`
}

// ImportRequest is a policy that is to become a draft.
type ImportRequest struct {
	Name    string `json:"name" minLength:"1" maxLength:"64" doc:"Of the draft, which is made, or, if the user has it, gets this text."`
	Policy  string `json:"policy" maxLength:"8388608" doc:"YAML."`
	Version uint64 `json:"version,omitempty" doc:"Of the draft, if there is one; absent: it is not looked at."`
}

// checkDraft reads the text of a draft, gives its rules ids, and returns it as it is kept. What is wrong is a *MistakeError that names everything.
func checkDraft(text string, former *policy.Policy) (*policy.Policy, string, error) {
	p, err := policy.Parse("policy", []byte(text))
	if err != nil {
		return nil, "", mistakes(text, err)
	}
	p.Identify(former, newRuleID)
	out, err := p.Encode()
	if err != nil {
		return nil, "", mistake("%v", err)
	}
	return p, string(out), nil
}

func validDraft(name string) error {
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool {
		return r != '.' && r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return mistake("name of draft %q: want 1 to 64 letters, digits and any of . _ -", name)
	}
	return nil
}

// Drafts returns the drafts of a user, of all if owner is empty, by owner and name.
func (s *Service) Drafts(ctx context.Context, owner string) ([]Draft, error) {
	list, err := s.deps.State.Drafts(ctx, owner)
	out := make([]Draft, len(list))
	for i, d := range list {
		out[i] = draftOf(d)
	}
	return out, err
}

// Draft returns a draft with its text. An error for which errors.Is(err, state.ErrNotFound): there is none.
func (s *Service) Draft(ctx context.Context, owner, name string) (DraftText, error) {
	d, err := s.deps.State.Draft(ctx, owner, name)
	return DraftText{draftOf(d), d.Text}, err
}

// DraftSteps returns the edits of a draft that are kept, the newest first.
func (s *Service) DraftSteps(ctx context.Context, owner, name string) ([]DraftStep, error) {
	list, err := s.deps.State.DraftSteps(ctx, owner, name)
	out := make([]DraftStep, len(list))
	for i, x := range list {
		out[i] = DraftStep{x.At, x.What, x.Now}
	}
	return out, err
}

// BeginDraft begins a draft of the actor's. A *MistakeError: the name or the text is wrong. Errors for which errors.Is: state.ErrExists, the user has one of that
// name; state.ErrTooMany; state.ErrNotFound, there is no such revision.
func (s *Service) BeginDraft(ctx context.Context, by audit.Actor, r DraftRequest) (DraftText, error) {
	if err := validDraft(r.Name); err != nil {
		return DraftText{}, err
	}
	from, err := s.text(ctx, Version{Revision: r.Revision})
	if err != nil {
		return DraftText{}, err
	}
	what := "begun with " + from.version.String()
	var text string
	if r.Policy != "" {
		if _, text, err = checkDraft(r.Policy, from.policy); err != nil {
			return DraftText{}, err
		}
		what = "begun with a text"
	} else {
		encoded, err := from.policy.Encode()
		if err != nil {
			return DraftText{}, err
		}
		text = string(encoded)
	}
	head, err := s.Head(ctx)
	if err != nil {
		return DraftText{}, err
	}
	d, err := s.deps.State.AddDraft(ctx, by.Does(audit.DraftBegin), state.Draft{Owner: by.User, Name: r.Name, Base: head, Text: text, What: what})
	return DraftText{draftOf(d), d.Text}, err
}

// EditDraft replaces the text of a draft of the actor's; what was undone cannot be done again then. A *MistakeError names everything that is wrong with the text:
// nothing is changed then. state.ErrStale: the draft has another version.
func (s *Service) EditDraft(ctx context.Context, by audit.Actor, name string, e DraftEdit) (DraftText, error) {
	before, err := s.text(ctx, Version{Owner: by.User, Draft: name})
	if err != nil {
		return DraftText{}, err
	}
	after, text, err := checkDraft(e.Policy, before.policy)
	if err != nil {
		return DraftText{}, err
	}
	d, err := s.deps.State.EditDraft(ctx, by.Does(audit.DraftEdit), state.DraftChange{
		Owner: by.User, Name: name, Version: e.Version, Text: text, Base: e.Base, What: cmp.Or(e.What, inShort(policy.Compare(before.policy, after))),
	})
	return DraftText{draftOf(d), d.Text}, err
}

// inShort says in a few words how policies differ.
func inShort(d *policy.Difference) string {
	c := countsOf(d)
	var words []string
	rules := func(n int, what string) {
		switch {
		case n == 0:
		case len(words) > 0:
			words = append(words, fmt.Sprintf("%d %s", n, what))
		case n == 1:
			words = append(words, "1 rule "+what)
		default:
			words = append(words, fmt.Sprintf("%d rules %s", n, what))
		}
	}
	rules(c.Added, "added")
	rules(c.Changed, "changed")
	rules(c.Moved, "moved")
	rules(c.Removed, "removed")
	if c.Groups == 1 {
		words = append(words, "1 group changed")
	} else if c.Groups > 0 {
		words = append(words, fmt.Sprintf("%d groups changed", c.Groups))
	}
	if c.Settings == 1 {
		words = append(words, "1 setting changed")
	} else if c.Settings > 0 {
		words = append(words, fmt.Sprintf("%d settings changed", c.Settings))
	}
	if d.Default != nil {
		words = append(words, "default "+d.Default.After)
	}
	if len(words) == 0 {
		return "written otherwise"
	}
	return strings.Join(words, ", ")
}

func countsOf(d *policy.Difference) state.Counts {
	c := state.Counts{Groups: len(d.Groups), Settings: len(d.Settings)}
	for i := range d.Rules {
		switch d.Rules[i].Change {
		case policy.Added:
			c.Added++
		case policy.Removed:
			c.Removed++
		case policy.Changed:
			c.Changed++
		case policy.Moved:
			c.Moved++
		}
	}
	return c
}

// UndoDraft undoes the last n edits of a draft of the actor's; n is at least 1. version, if not 0, must be that of the draft: else state.ErrStale.
// state.ErrNoStep: there are not so many.
func (s *Service) UndoDraft(ctx context.Context, by audit.Actor, name string, version uint64, n int) (DraftText, error) {
	return s.moveDraft(ctx, by.Does(audit.DraftUndo), name, version, n, 1)
}

// RedoDraft does the last n edits of a draft of the actor's again that were undone; as UndoDraft.
func (s *Service) RedoDraft(ctx context.Context, by audit.Actor, name string, version uint64, n int) (DraftText, error) {
	return s.moveDraft(ctx, by.Does(audit.DraftRedo), name, version, n, -1)
}

func (s *Service) moveDraft(ctx context.Context, by audit.Act, name string, version uint64, n, way int) (DraftText, error) {
	if n < 1 || n > state.MaxDraftSteps {
		return DraftText{}, mistake("%d edits: want 1 to %d", n, state.MaxDraftSteps)
	}
	d, err := s.deps.State.MoveDraft(ctx, by, by.User, name, version, way*n)
	return DraftText{draftOf(d), d.Text}, err
}

// DropDraft forgets a draft of the actor's.
func (s *Service) DropDraft(ctx context.Context, by audit.Actor, name string) error {
	return s.deps.State.DropDraft(ctx, by.Does(audit.DraftDrop), by.User, name)
}

// PlanDraft says what applying a draft would change; see PlanPolicy.
func (s *Service) PlanDraft(ctx context.Context, owner, name string, only []string) (PolicyPlan, error) {
	d, err := s.deps.State.Draft(ctx, owner, name)
	if err != nil {
		return PolicyPlan{}, err
	}
	return s.PlanPolicy(ctx, PlanRequest{Policy: d.Text, Only: only})
}

// ApplyDraft puts a draft of the actor's in force; see ApplyPolicy. Unless r.Base says otherwise, the base is that of the draft. Applied at all hosts, the draft is
// dropped; with only, it stays, and is based on the new revision.
func (s *Service) ApplyDraft(ctx context.Context, by audit.Actor, name string, only []string, r ApplyOptions) (Applied, error) {
	d, err := s.deps.State.Draft(ctx, by.User, name)
	if err != nil {
		return Applied{}, err
	}
	if r.Base == nil {
		r.Base = &d.Base
	}
	return s.apply(ctx, by.Does(audit.PolicyApply), application{
		ApplyRequest: ApplyRequest{PlanRequest{Policy: d.Text, Only: only}, r}, draft: &state.DraftKey{Owner: d.Owner, Name: d.Name, Version: d.Version},
	})
}

// ImportPolicy makes a policy a draft of the actor's. It is checked as for being applied: a *MistakeError names everything that is wrong, and nothing is changed.
func (s *Service) ImportPolicy(ctx context.Context, by audit.Actor, r ImportRequest) (DraftText, error) {
	if err := validDraft(r.Name); err != nil {
		return DraftText{}, err
	}
	if _, err := s.CheckPolicy(ctx, r.Policy); err != nil {
		return DraftText{}, err
	}
	d, err := s.EditDraft(ctx, by, r.Name, DraftEdit{Policy: r.Policy, Version: r.Version, What: "imported"})
	if errors.Is(err, state.ErrNotFound) && r.Version == 0 {
		return s.BeginDraft(ctx, by, DraftRequest{Name: r.Name, Policy: r.Policy})
	}
	return d, err
}
