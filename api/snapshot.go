package api

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/audit"
)

// SnapshotService is policyd's snapshots of its state, as far as the API offers them.
type SnapshotService interface {
	Snapshots(ctx context.Context) ([]policyd.Snapshot, error)
	TakeSnapshot(ctx context.Context, by audit.Actor) (policyd.Snapshot, error)
	OpenSnapshot(ctx context.Context, name string) (io.ReadSeekCloser, policyd.Snapshot, error)
	RemoveSnapshot(ctx context.Context, by audit.Actor, name string) error
}

type snapshotsBody struct {
	Snapshots []policyd.Snapshot `json:"snapshots" doc:"The newest first."`
}

type snapshotPath struct {
	Name string `path:"name" maxLength:"128" doc:"Name of the snapshot."`
}

type takeInput struct {
	Body struct {
		Reason string `json:"reason,omitempty" maxLength:"1000" doc:"Why."`
	} `required:"false"`
}

// snapshotRoutes are copies of what policyd knows. They hold digests of passwords, and are for superusers.
func (s *Server) snapshotRoutes(api huma.API) {
	p := s.deps.Policy
	read(api, huma.Operation{
		OperationID: "list-snapshots", Method: http.MethodGet, Path: "/api/v1/snapshots", Tags: []string{"snapshots"}, Summary: "Copies of all that people told Weir",
	}, func(ctx context.Context, _ *struct{}) (*body[snapshotsBody], error) {
		return answer(s, func() (snapshotsBody, error) {
			list, err := p.Snapshots(ctx)
			return snapshotsBody{list}, err
		})
	})
	read(api, huma.Operation{
		OperationID: "download-snapshot", Method: http.MethodGet, Path: "/api/v1/snapshots/{name}", Tags: []string{"snapshots"},
		Summary: "One of them, as a file, which weir state restore takes", Errors: []int{http.StatusNotFound},
		Responses: map[string]*huma.Response{"200": {
			Description: "A SQLite database.", Content: map[string]*huma.MediaType{"application/vnd.sqlite3": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
		}},
	}, func(ctx context.Context, q *snapshotPath) (*huma.StreamResponse, error) {
		f, x, err := p.OpenSnapshot(ctx, q.Name)
		if err != nil {
			return nil, s.refusal(err)
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			defer f.Close()
			r, w := humago.Unwrap(c)
			w.Header().Set("Content-Type", "application/vnd.sqlite3")
			w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", x.Name))
			http.ServeContent(w, r, "", x.TakenAt, f)
		}}, nil
	})
}

func (s *Server) snapshotAdminRoutes(api huma.API) {
	p := s.deps.Policy
	change(s, api, huma.Operation{
		OperationID: "take-snapshot", Method: http.MethodPost, Path: "/api/v1/snapshots", Tags: []string{"snapshots"},
		Summary: "Make a copy of all that people told Weir", DefaultStatus: http.StatusCreated,
	}, func(_ context.Context, q *takeInput) (subject, error) {
		return subject{reason: q.Body.Reason}, nil
	}, func(ctx context.Context, _ *takeInput) (*body[policyd.Snapshot], error) {
		return answer(s, func() (policyd.Snapshot, error) { return p.TakeSnapshot(ctx, who(ctx)) })
	})
	change(s, api, huma.Operation{
		OperationID: "remove-snapshot", Method: http.MethodDelete, Path: "/api/v1/snapshots/{name}", Tags: []string{"snapshots"},
		Summary: "Remove a copy", DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound},
	}, func(_ context.Context, q *snapshotPath) (subject, error) {
		return subject{object: q.Name}, nil
	}, func(ctx context.Context, q *snapshotPath) (*struct{}, error) {
		return nil, s.refusal(p.RemoveSnapshot(ctx, who(ctx), q.Name))
	})
}
