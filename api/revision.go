package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/audit"
)

// RevisionService is policyd's history of policies, as far as the API offers it.
type RevisionService interface {
	Policy(ctx context.Context, revision uint64) (policyd.PolicyText, error)
	Revisions(ctx context.Context, before uint64, limit int) ([]policyd.Revision, error)
	Compare(ctx context.Context, from, to policyd.Version) (policyd.Comparison, error)
	RestorePolicy(ctx context.Context, by audit.Actor, r policyd.RestoreRequest) (policyd.Applied, error)
	ConfirmPolicy(ctx context.Context, by audit.Actor, revision uint64) (policyd.Revision, error)
	RollBackPolicy(ctx context.Context, by audit.Actor, revision uint64) ([]policyd.Revision, error)
}

type revisionPath struct {
	Known
	Revision uint64 `path:"revision" minimum:"1" doc:"Number of the revision."`
}

type revisionsQuery struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"20" doc:"At most so many."`
	Cursor string `query:"cursor" maxLength:"64" doc:"Go on after the page whose next it was."`
}

type revisions struct {
	Revisions []policyd.Revision `json:"revisions" doc:"The newest first."`
	Page
}

type compareQuery struct {
	From string `query:"from" maxLength:"256" doc:"Number of a revision, draft:NAME of yours, or draft:USER/NAME; absent: what is in force at all hosts."`
	To   string `query:"to" maxLength:"256" doc:"In the same form."`
}

// version returns what a text means as a policy that is kept; own is whose drafts are meant where no user is named.
func version(text, own string) (policyd.Version, error) {
	if text == "" {
		return policyd.Version{}, nil
	}
	if name, ok := strings.CutPrefix(text, "draft:"); ok {
		v := policyd.Version{Owner: own, Draft: name}
		if owner, name, ok := strings.Cut(name, "/"); ok {
			v.Owner, v.Draft = owner, name
		}
		if v.Draft != "" {
			return v, nil
		}
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n == 0 {
		return policyd.Version{}, fmt.Errorf("found %q, want the number of a revision, draft:NAME or draft:USER/NAME", text)
	}
	return policyd.Version{Revision: n}, nil
}

type exportQuery struct {
	Revision uint64 `query:"revision" maximum:"9223372036854775807" doc:"Its number; 0: that which is in force at all hosts."`
}

// yamlFile is an answer that is a file.
type yamlFile struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition" doc:"Name of the file."`
	Body        []byte
}

type pendingInput struct {
	Body struct {
		Revision uint64 `json:"revision" minimum:"1" doc:"That waits to be confirmed, as you know it: see pending of the status."`
		Reason   string `json:"reason,omitempty" maxLength:"1000" doc:"Why."`
	}
}

type rolledBack struct {
	Revisions []policyd.Revision `json:"revisions" doc:"That were made to undo it."`
}

// revisionRoutes are the history of policies: what may be read of it.
func (s *Server) revisionRoutes(api huma.API) {
	p := s.deps.Policy
	read(api, huma.Operation{
		OperationID: "list-policies", Method: http.MethodGet, Path: "/api/v1/policy/revisions", Tags: []string{"policy"},
		Summary: "Policies that were applied, the newest first",
	}, func(ctx context.Context, q *revisionsQuery) (*body[revisions], error) {
		before, err := before(q.Cursor)
		if err != nil {
			return nil, err
		}
		list, err := p.Revisions(ctx, before, q.Limit+1)
		if err != nil {
			return nil, s.refusal(err)
		}
		answer := revisions{Revisions: list}
		if len(list) > q.Limit {
			answer.Revisions = list[:q.Limit]
			answer.Next = encodeCursor(fmt.Sprint(list[q.Limit-1].Revision))
		}
		return &body[revisions]{answer}, nil
	})
	read(api, huma.Operation{
		OperationID: "get-revision", Method: http.MethodGet, Path: "/api/v1/policy/revisions/{revision}", Tags: []string{"policy"},
		Summary: "One of them, with its text", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, q *revisionPath) (*taggedBody[policyd.PolicyText], error) {
		return s.policyText(ctx, q.Revision)
	})
	read(api, huma.Operation{
		OperationID: "compare-policies", Method: http.MethodGet, Path: "/api/v1/policy/compare", Tags: []string{"policy"},
		Summary: "How one policy differs from another, rule by rule", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, q *compareQuery) (*body[policyd.Comparison], error) {
		own := asks(ctx).User
		from, err := version(q.From, own)
		if err != nil {
			return nil, wrong("from", err)
		}
		to, err := version(q.To, own)
		if err != nil {
			return nil, wrong("to", err)
		}
		return answer(s, func() (policyd.Comparison, error) { return p.Compare(ctx, from, to) })
	})
	read(api, huma.Operation{
		OperationID: "export-policy", Method: http.MethodGet, Path: "/api/v1/policy/export", Tags: []string{"policy"},
		Summary: "A policy as a YAML file, which import-policy takes", Errors: []int{http.StatusNotFound},
		Responses: map[string]*huma.Response{"200": {
			Description: "YAML.", Content: map[string]*huma.MediaType{"application/yaml": {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}, func(ctx context.Context, q *exportQuery) (*yamlFile, error) {
		t, err := p.Policy(ctx, q.Revision)
		if err != nil {
			return nil, s.refusal(err)
		}
		return &yamlFile{"application/yaml", fmt.Sprintf(`attachment; filename="policy-%d.yaml"`, t.Revision.Revision), []byte(t.Policy)}, nil
	})
}

// revisionAdminRoutes are what changes which policy is in force.
func (s *Server) revisionAdminRoutes(api huma.API) {
	p := s.deps.Policy
	change(s, api, huma.Operation{
		OperationID: "restore-policy", Method: http.MethodPost, Path: "/api/v1/policy/restore", Tags: []string{"policy"},
		Summary: "Put an older revision in force again, as a new one", Errors: []int{http.StatusNotFound, http.StatusConflict},
	}, func(_ context.Context, q *struct{ Body policyd.RestoreRequest }) (subject, error) {
		return subject{object: fmt.Sprint(q.Body.Revision), reason: q.Body.Reason}, nil
	}, func(ctx context.Context, q *struct{ Body policyd.RestoreRequest }) (*body[policyd.Applied], error) {
		return answer(s, func() (policyd.Applied, error) { return p.RestorePolicy(ctx, who(ctx), q.Body) })
	})
	about := func(_ context.Context, q *pendingInput) (subject, error) {
		return subject{object: fmt.Sprint(q.Body.Revision), reason: q.Body.Reason}, nil
	}
	change(s, api, huma.Operation{
		OperationID: "confirm-policy", Method: http.MethodPost, Path: "/api/v1/policy/confirm", Tags: []string{"policy"},
		Summary: "Keep the revision that waits to be confirmed", Errors: []int{http.StatusConflict},
	}, about, func(ctx context.Context, q *pendingInput) (*body[policyd.Revision], error) {
		return answer(s, func() (policyd.Revision, error) { return p.ConfirmPolicy(ctx, who(ctx), q.Body.Revision) })
	})
	change(s, api, huma.Operation{
		OperationID: "roll-back-policy", Method: http.MethodPost, Path: "/api/v1/policy/rollback", Tags: []string{"policy"},
		Summary: "Undo the revision that waits to be confirmed", Errors: []int{http.StatusConflict},
	}, about, func(ctx context.Context, q *pendingInput) (*body[rolledBack], error) {
		return answer(s, func() (rolledBack, error) {
			list, err := p.RollBackPolicy(ctx, who(ctx), q.Body.Revision)
			return rolledBack{list}, err
		})
	})
}
