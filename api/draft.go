package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/state"
)

// DraftService is policyd's drafts of policies, as far as the API offers it. A draft is changed by its owner only.
type DraftService interface {
	Drafts(ctx context.Context, owner string) ([]policyd.Draft, error)
	Draft(ctx context.Context, owner, name string) (policyd.DraftText, error)
	DraftSteps(ctx context.Context, owner, name string) ([]policyd.DraftStep, error)
	BeginDraft(ctx context.Context, by audit.Actor, r policyd.DraftRequest) (policyd.DraftText, error)
	EditDraft(ctx context.Context, by audit.Actor, name string, e policyd.DraftEdit) (policyd.DraftText, error)
	UndoDraft(ctx context.Context, by audit.Actor, name string, version uint64, n int) (policyd.DraftText, error)
	RedoDraft(ctx context.Context, by audit.Actor, name string, version uint64, n int) (policyd.DraftText, error)
	DropDraft(ctx context.Context, by audit.Actor, name string) error
	PlanDraft(ctx context.Context, owner, name string, only []string) (policyd.PolicyPlan, error)
	ApplyDraft(ctx context.Context, by audit.Actor, name string, only []string, r policyd.ApplyOptions) (policyd.Applied, error)
	ImportPolicy(ctx context.Context, by audit.Actor, r policyd.ImportRequest) (policyd.DraftText, error)
}

const maxDraft = 12 << 20 // bytes of a body with a draft's text

// DraftPath names a draft of who asks.
type DraftPath struct {
	Draft string `path:"draft" maxLength:"64" doc:"Name of a draft of yours."`
}

// AnyDraft names a draft to be read, which may be somebody else's.
type AnyDraft struct {
	DraftPath
	Owner string `query:"owner" maxLength:"64" doc:"Whose it is; absent: yours."`
}

func (d *AnyDraft) owner(ctx context.Context) string { return cmp.Or(d.Owner, asks(ctx).User) }

type draftsQuery struct {
	PageQuery
	Owner string `query:"owner" maxLength:"64" doc:"Only drafts of this user."`
}

type draftsBody struct {
	Drafts []policyd.Draft `json:"drafts" doc:"By owner and name."`
	Page
}

type stepsBody struct {
	Edits []policyd.DraftStep `json:"edits" doc:"The newest first."`
}

type beginInput struct{ Body policyd.DraftRequest }

type editInput struct {
	DraftPath
	Match
	Body policyd.DraftEdit
}

type dropInput struct {
	DraftPath
	Match
}

type moveInput struct {
	DraftPath
	Match
	Body struct {
		Edits   int    `json:"edits,omitempty" minimum:"1" maximum:"1000" default:"1" doc:"How many."`
		Version uint64 `json:"version,omitempty" doc:"Of the draft, as you know it; absent: it is not looked at."`
	}
}

type draftPlanInput struct {
	AnyDraft
	Body struct {
		Only []string `json:"only,omitempty" maxItems:"1000" doc:"Names or UUIDs of the hosts at which it is put in force; none: all."`
	}
}

type draftApplyInput struct {
	DraftPath
	Body struct {
		Only []string `json:"only,omitempty" maxItems:"1000" doc:"Names or UUIDs of the hosts at which it is put in force; none: all."`
		policyd.ApplyOptions
	}
}

// tagOf is the entity tag of a draft: of its version.
type tagOf struct {
	Owner   string `json:"owner"`
	Name    string `json:"name"`
	Version uint64 `json:"version"`
}

func draftTag(d *policyd.Draft) any { return tagOf{d.Owner, d.Name, d.Version} }

func taggedDraft(d policyd.DraftText) *taggedBody[policyd.DraftText] {
	return &taggedBody[policyd.DraftText]{Tag{entityTag(draftTag(&d.Draft))}, d}
}

// aboutDraft is a subject that is a draft of who asks.
func (s *Server) aboutDraft(ctx context.Context, name string) subject {
	owner := asks(ctx).User
	return subject{object: owner + "/" + name, read: func(ctx context.Context) (any, error) {
		d, err := s.deps.Policy.Draft(ctx, owner, name)
		if errors.Is(err, state.ErrNotFound) {
			return nil, errNone
		}
		return draftTag(&d.Draft), err
	}}
}

// draftRoutes are what may be read of drafts.
func (s *Server) draftRoutes(api huma.API) {
	p := s.deps.Policy
	read(api, huma.Operation{
		OperationID: "list-drafts", Method: http.MethodGet, Path: "/api/v1/policy/drafts", Tags: []string{"drafts"}, Summary: "Drafts of policies, of all users",
	}, func(ctx context.Context, q *draftsQuery) (*body[draftsBody], error) {
		list, err := p.Drafts(ctx, q.Owner)
		if err != nil {
			return nil, s.refusal(err)
		}
		page, next, err := paginate(list, &q.PageQuery, func(d policyd.Draft) string { return d.Owner + "\x00" + d.Name })
		return &body[draftsBody]{draftsBody{page, next}}, err
	})
	read(api, huma.Operation{
		OperationID: "get-draft", Method: http.MethodGet, Path: "/api/v1/policy/drafts/{draft}", Tags: []string{"drafts"},
		Summary: "A draft, with its text", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, q *AnyDraft) (*taggedBody[policyd.DraftText], error) {
		d, err := p.Draft(ctx, q.owner(ctx), q.Draft)
		if err != nil {
			return nil, s.refusal(err)
		}
		return taggedDraft(d), nil
	})
	read(api, huma.Operation{
		OperationID: "list-draft-edits", Method: http.MethodGet, Path: "/api/v1/policy/drafts/{draft}/edits", Tags: []string{"drafts"},
		Summary: "What was done to a draft, and can be undone", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, q *AnyDraft) (*body[stepsBody], error) {
		return answer(s, func() (stepsBody, error) {
			list, err := p.DraftSteps(ctx, q.owner(ctx), q.Draft)
			return stepsBody{list}, err
		})
	})
	s.groupRoutes(api)
}

// draftAdminRoutes are what changes drafts, or puts one in force.
func (s *Server) draftAdminRoutes(api huma.API) {
	p := s.deps.Policy
	tagged := func(d policyd.DraftText, err error) (*taggedBody[policyd.DraftText], error) {
		if err != nil {
			return nil, s.refusal(err)
		}
		return taggedDraft(d), nil
	}
	change(s, api, huma.Operation{
		OperationID: "begin-draft", Method: http.MethodPost, Path: "/api/v1/policy/drafts", Tags: []string{"drafts"},
		Summary: "Begin a draft", DefaultStatus: http.StatusCreated, MaxBodyBytes: maxDraft, BodyReadTimeout: policyReadTimeout,
		Errors: []int{http.StatusNotFound, http.StatusConflict},
	}, func(ctx context.Context, q *beginInput) (subject, error) {
		return s.aboutDraft(ctx, q.Body.Name), nil
	}, func(ctx context.Context, q *beginInput) (*taggedBody[policyd.DraftText], error) {
		return tagged(p.BeginDraft(ctx, who(ctx), q.Body))
	})
	change(s, api, huma.Operation{
		OperationID: "edit-draft", Method: http.MethodPut, Path: "/api/v1/policy/drafts/{draft}", Tags: []string{"drafts"},
		Summary: "Replace the text of a draft", MaxBodyBytes: maxDraft, BodyReadTimeout: policyReadTimeout,
		Errors: []int{http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed},
	}, func(ctx context.Context, q *editInput) (subject, error) {
		return s.aboutDraft(ctx, q.Draft), nil
	}, func(ctx context.Context, q *editInput) (*taggedBody[policyd.DraftText], error) {
		return tagged(p.EditDraft(ctx, who(ctx), q.Draft, q.Body))
	})
	change(s, api, huma.Operation{
		OperationID: "drop-draft", Method: http.MethodDelete, Path: "/api/v1/policy/drafts/{draft}", Tags: []string{"drafts"},
		Summary: "Forget a draft", DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound, http.StatusPreconditionFailed},
	}, func(ctx context.Context, q *dropInput) (subject, error) {
		return s.aboutDraft(ctx, q.Draft), nil
	}, func(ctx context.Context, q *dropInput) (*struct{}, error) {
		return nil, s.refusal(p.DropDraft(ctx, who(ctx), q.Draft))
	})
	for _, move := range []struct {
		id, path, summary string
		do                func(ctx context.Context, by audit.Actor, name string, version uint64, n int) (policyd.DraftText, error)
	}{
		{"undo-draft", "undo", "Undo the last edits of a draft", p.UndoDraft},
		{"redo-draft", "redo", "Do edits of a draft again that were undone", p.RedoDraft},
	} {
		change(s, api, huma.Operation{
			OperationID: move.id, Method: http.MethodPost, Path: "/api/v1/policy/drafts/{draft}/" + move.path, Tags: []string{"drafts"},
			Summary: move.summary, Errors: []int{http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed},
		}, func(ctx context.Context, q *moveInput) (subject, error) {
			return s.aboutDraft(ctx, q.Draft), nil
		}, func(ctx context.Context, q *moveInput) (*taggedBody[policyd.DraftText], error) {
			return tagged(move.do(ctx, who(ctx), q.Draft, q.Body.Version, q.Body.Edits))
		})
	}
	read(api, huma.Operation{
		OperationID: "plan-draft", Method: http.MethodPost, Path: "/api/v1/policy/drafts/{draft}/plan", Tags: []string{"drafts"},
		Summary: "Say what applying a draft would change; nothing is changed", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, q *draftPlanInput) (*body[policyd.PolicyPlan], error) {
		return answer(s, func() (policyd.PolicyPlan, error) { return p.PlanDraft(ctx, q.owner(ctx), q.Draft, q.Body.Only) })
	})
	change(s, api, huma.Operation{
		OperationID: "apply-draft", Method: http.MethodPost, Path: "/api/v1/policy/drafts/{draft}/apply", Tags: []string{"drafts"},
		Summary: "Put a draft in force", Errors: []int{http.StatusNotFound, http.StatusConflict},
		Description: "Unless base says otherwise, it is refused if somebody applied a policy since the draft was begun.",
	}, func(ctx context.Context, q *draftApplyInput) (subject, error) {
		sub := s.aboutDraft(ctx, q.Draft)
		sub.reason = q.Body.Reason
		return sub, nil
	}, func(ctx context.Context, q *draftApplyInput) (*body[policyd.Applied], error) {
		return answer(s, func() (policyd.Applied, error) {
			return p.ApplyDraft(ctx, who(ctx), q.Draft, q.Body.Only, q.Body.ApplyOptions)
		})
	})
	change(s, api, huma.Operation{
		OperationID: "import-policy", Method: http.MethodPost, Path: "/api/v1/policy/import", Tags: []string{"drafts"},
		Summary: "Make a YAML file a draft", MaxBodyBytes: maxDraft, BodyReadTimeout: policyReadTimeout, Errors: []int{http.StatusConflict},
		Description: "It is checked as for being applied: what is wrong is all named, and nothing is changed.",
	}, func(ctx context.Context, q *struct{ Body policyd.ImportRequest }) (subject, error) {
		return s.aboutDraft(ctx, q.Body.Name), nil
	}, func(ctx context.Context, q *struct{ Body policyd.ImportRequest }) (*taggedBody[policyd.DraftText], error) {
		return tagged(p.ImportPolicy(ctx, who(ctx), q.Body))
	})
	s.groupAdminRoutes(api)
}

// Group is a group of a policy.
type Group struct {
	Kind    string            `json:"kind" enum:"address_group,vm_group"`
	Name    string            `json:"name"`
	Members []string          `json:"members,omitempty" doc:"Of an address group: addresses, prefixes, ranges (192.0.2.1-192.0.2.9), and other groups (address-group:NAME)."`
	VMs     []string          `json:"vms,omitempty" doc:"Of a VM group: VMs by name, pool/name or UUID."`
	Groups  []string          `json:"groups,omitempty" doc:"Of a VM group: other VM groups by name, whose VMs are in this one, too."`
	Select  []estate.Selector `json:"select,omitempty" doc:"Of a VM group: a VM that any of these selects is in it, too."`
}

// GroupWanted is what a group is to hold.
type GroupWanted struct {
	Members []string          `json:"members,omitempty" maxItems:"100000" doc:"Of an address group: addresses, prefixes, ranges, and other groups (address-group:NAME)."`
	VMs     []string          `json:"vms,omitempty" maxItems:"100000" doc:"Of a VM group: VMs by name, pool/name or UUID."`
	Groups  []string          `json:"groups,omitempty" maxItems:"10000" doc:"Of a VM group: other VM groups by name."`
	Select  []estate.Selector `json:"select,omitempty" maxItems:"1000" doc:"Of a VM group: a VM that any of these selects is in it."`
}

type groupsQuery struct {
	PageQuery
	Draft string `query:"draft" maxLength:"64" doc:"Of this draft; absent: of the policy that is in force at all hosts."`
	Owner string `query:"owner" maxLength:"64" doc:"Whose draft it is; absent: yours."`
}

type groupsBody struct {
	Groups []Group `json:"groups" doc:"By kind and name."`
	Page
}

// GroupPath names a group of a draft of who asks.
type GroupPath struct {
	DraftPath
	Kind  string `path:"kind" enum:"address_group,vm_group" doc:"Kind of group."`
	Group string `path:"group" minLength:"1" maxLength:"128" doc:"Name of the group."`
}

type setGroupInput struct {
	GroupPath
	Match
	Body GroupWanted
}

type removeGroupInput struct {
	GroupPath
	Match
}

const (
	kindAddressGroup = "address_group"
	kindVMGroup      = "vm_group"
)

// groupsOf returns the groups of a policy.
func groupsOf(text string) ([]Group, *policy.Policy, error) {
	p, err := policy.Parse("policy", []byte(text))
	if err != nil {
		return nil, nil, err
	}
	list := []Group{}
	for i := range p.AddressGroups {
		g := &p.AddressGroups[i]
		list = append(list, Group{Kind: kindAddressGroup, Name: g.Name, Members: g.Members})
	}
	for i := range p.VMGroups {
		g := &p.VMGroups[i]
		list = append(list, Group{Kind: kindVMGroup, Name: g.Name, VMs: g.VMs, Groups: g.Groups, Select: g.Select})
	}
	return list, p, nil
}

func (s *Server) groupRoutes(api huma.API) {
	p := s.deps.Policy
	read(api, huma.Operation{
		OperationID: "list-groups", Method: http.MethodGet, Path: "/api/v1/policy/groups", Tags: []string{"drafts"},
		Summary: "Groups of the policy, or of a draft", Errors: []int{http.StatusNotFound},
		Description: "What a group holds at present is in the estate: /api/v1/estate/vm_group.",
	}, func(ctx context.Context, q *groupsQuery) (*body[groupsBody], error) {
		var text string
		if q.Draft != "" {
			d, err := p.Draft(ctx, cmp.Or(q.Owner, asks(ctx).User), q.Draft)
			if err != nil {
				return nil, s.refusal(err)
			}
			text = d.Policy
		} else if t, err := p.Policy(ctx, 0); err == nil {
			text = t.Policy
		} else if !errors.Is(err, state.ErrNotFound) { // none was applied yet
			return nil, s.refusal(err)
		}
		list, _, err := groupsOf(text)
		if err != nil {
			return nil, s.refusal(err)
		}
		page, next, err := paginate(list, &q.PageQuery, func(g Group) string { return g.Kind + "\x00" + g.Name })
		return &body[groupsBody]{groupsBody{page, next}}, err
	})
}

func (s *Server) groupAdminRoutes(api huma.API) {
	change(s, api, huma.Operation{
		OperationID: "set-group", Method: http.MethodPut, Path: "/api/v1/policy/drafts/{draft}/groups/{kind}/{group}", Tags: []string{"drafts"},
		Summary: "Make a group in a draft, or change it", MaxBodyBytes: maxDraft, Errors: []int{http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed},
		Description: "The entity tag is that of the draft.",
	}, func(ctx context.Context, q *setGroupInput) (subject, error) {
		return s.aboutDraft(ctx, q.Draft), nil
	}, func(ctx context.Context, q *setGroupInput) (*taggedBody[policyd.DraftText], error) {
		return s.editGroups(ctx, q.Draft, "group "+q.Group+" set", func(p *policy.Policy) error { return setGroup(p, &q.GroupPath, &q.Body) })
	})
	change(s, api, huma.Operation{
		OperationID: "remove-group", Method: http.MethodDelete, Path: "/api/v1/policy/drafts/{draft}/groups/{kind}/{group}", Tags: []string{"drafts"},
		Summary: "Remove a group from a draft", Errors: []int{http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed},
		Description: "It is refused while rules or other groups of the draft name it.",
	}, func(ctx context.Context, q *removeGroupInput) (subject, error) {
		return s.aboutDraft(ctx, q.Draft), nil
	}, func(ctx context.Context, q *removeGroupInput) (*taggedBody[policyd.DraftText], error) {
		return s.editGroups(ctx, q.Draft, "group "+q.Group+" removed", func(p *policy.Policy) error { return removeGroup(p, &q.GroupPath) })
	})
}

// editGroups changes a draft of who asks.
func (s *Server) editGroups(ctx context.Context, draft, what string, edit func(*policy.Policy) error) (*taggedBody[policyd.DraftText], error) {
	d, err := s.deps.Policy.Draft(ctx, asks(ctx).User, draft)
	if err != nil {
		return nil, s.refusal(err)
	}
	_, p, err := groupsOf(d.Policy)
	if err != nil {
		return nil, s.refusal(err)
	}
	if err := edit(p); err != nil {
		return nil, s.refusal(err)
	}
	text, err := p.Encode()
	if err != nil {
		return nil, huma.Error422UnprocessableEntity(err.Error(), &huma.ErrorDetail{Location: "body", Message: err.Error()})
	}
	d, err = s.deps.Policy.EditDraft(ctx, who(ctx), draft, policyd.DraftEdit{Policy: string(text), Version: d.Version, What: what})
	if err != nil {
		return nil, s.refusal(err)
	}
	return taggedDraft(d), nil
}

func setGroup(p *policy.Policy, at *GroupPath, w *GroupWanted) error {
	if at.Kind == kindAddressGroup {
		if len(w.VMs)+len(w.Groups)+len(w.Select) > 0 {
			return &policyd.MistakeError{Reason: "an address group has members only: found vms, groups or select"}
		}
		g := policy.AddressGroup{Name: at.Group, Members: w.Members}
		if i := slices.IndexFunc(p.AddressGroups, func(o policy.AddressGroup) bool { return o.Name == at.Group }); i >= 0 {
			p.AddressGroups[i] = g
		} else {
			p.AddressGroups = append(p.AddressGroups, g)
		}
		return nil
	}
	if len(w.Members) > 0 {
		return &policyd.MistakeError{Reason: "a VM group has vms, groups and select: found members"}
	}
	g := policy.VMGroup{Name: at.Group, VMs: w.VMs, Groups: w.Groups, Select: w.Select}
	if i := slices.IndexFunc(p.VMGroups, func(o policy.VMGroup) bool { return o.Name == at.Group }); i >= 0 {
		p.VMGroups[i] = g
	} else {
		p.VMGroups = append(p.VMGroups, g)
	}
	return nil
}

// removeGroup removes a group that nothing of the policy names.
func removeGroup(p *policy.Policy, at *GroupPath) error {
	for r := range p.Rules() {
		if at.Kind == kindAddressGroup && r.Remote.AddressGroup == at.Group || at.Kind == kindVMGroup && r.Remote.VMGroup == at.Group {
			return &policyd.MistakeError{Reason: fmt.Sprintf("rule %q names group %q: change it first", r.ID, at.Group)}
		}
	}
	before := len(p.AddressGroups) + len(p.VMGroups)
	if at.Kind == kindAddressGroup {
		for _, g := range p.AddressGroups {
			if slices.Contains(g.Members, "address-group:"+at.Group) && g.Name != at.Group {
				return &policyd.MistakeError{Reason: fmt.Sprintf("group %q holds group %q: change it first", g.Name, at.Group)}
			}
		}
		p.AddressGroups = slices.DeleteFunc(p.AddressGroups, func(g policy.AddressGroup) bool { return g.Name == at.Group })
	} else {
		for _, g := range p.VMGroups {
			if slices.Contains(g.Groups, at.Group) && g.Name != at.Group {
				return &policyd.MistakeError{Reason: fmt.Sprintf("group %q holds group %q: change it first", g.Name, at.Group)}
			}
		}
		p.VMGroups = slices.DeleteFunc(p.VMGroups, func(g policy.VMGroup) bool { return g.Name == at.Group })
	}
	if len(p.AddressGroups)+len(p.VMGroups) == before {
		return fmt.Errorf("find group %q: %w", at.Group, state.ErrNotFound)
	}
	return nil
}
