package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/export"
	"github.com/weirhq/weir/policyd/state"
)

// HostService is policyd, as far as the API offers it. by is the user who asks.
type HostService interface {
	Hosts() ([]policyd.HostStatus, []policyd.Waiting)
	Host(nameOrUUID string) (policyd.HostStatus, error)
	Pools(ctx context.Context) ([]state.Pool, error)
	Add(ctx context.Context, by audit.Actor, r policyd.AddRequest) (state.Host, error)
	Confirm(ctx context.Context, by audit.Actor, what, fingerprint string) (host string, pin ovsdb.Fingerprint, err error)
	Remove(ctx context.Context, by audit.Actor, nameOrUUID string, force bool) error
	SetExport(ctx context.Context, by audit.Actor, nameOrUUID string, o export.Override) error
	SetPoolExport(ctx context.Context, by audit.Actor, pool string, o export.Override) error
	PlanDetach(ctx context.Context, nameOrUUID string) (export.Plan, error)
	Detach(ctx context.Context, by audit.Actor, nameOrUUID string) error
	Test(ctx context.Context, r policyd.TestRequest) ([]policyd.Step, error)
}

// Hosts are the hosts that Weir looks after.
type Hosts struct {
	Hosts   []policyd.HostStatus `json:"hosts" doc:"Hosts that were added, by name."`
	Total   int                  `json:"total" doc:"Hosts that were asked for, on all pages."`
	Waiting []policyd.Waiting    `json:"waiting" doc:"Hosts that dialled in and wait to be confirmed."`
	Pools   []HostPool           `json:"pools" doc:"Pools that hosts were added to."`
	Page
}

// HostsQuery are the parameters of a list of hosts.
type HostsQuery struct {
	WholeQuery
	Pool   string `query:"pool" maxLength:"256" doc:"Only hosts that were added to this pool."`
	State  string `query:"state" enum:"connected,connecting,waiting,backoff,confirm,refused,new,stopped" doc:"Only hosts whose session is in this state."`
	Search string `query:"search" maxLength:"255" doc:"Only hosts with this text in name, UUID or target, in any case."`
}

// wants tells whether a host is asked for.
func (q *HostsQuery) wants(h *policyd.HostStatus) bool {
	text := strings.ToLower(q.Search)
	return (q.Pool == "" || h.Pool == q.Pool) && (q.State == "" || string(h.State) == q.State) &&
		(strings.Contains(strings.ToLower(h.Name), text) || strings.Contains(strings.ToLower(h.UUID), text) || strings.Contains(strings.ToLower(h.Target), text))
}

// HostPool is a pool of hosts.
type HostPool struct {
	Name     string          `json:"name"`
	Export   export.Override `json:"export,omitzero" doc:"How its hosts export flows, over what is configured."`
	Mode     state.Mode      `json:"mode,omitempty" doc:"Of its hosts that have none of their own: observe or enforce."`
	Sampling string          `json:"sampling,omitempty" doc:"Which packets its hosts tell of by rule: full, new or off."`
}

func hostPool(p *state.Pool) HostPool { return HostPool{p.Name, p.Export, p.Mode, p.Sampling} }

// HostPath names a host.
type HostPath struct {
	Name string `path:"name" maxLength:"128" doc:"Name or UUID of the host."`
}

// hostRoutes are what anybody may read.
func (s *Server) hostRoutes(api huma.API) {
	read(api, huma.Operation{
		OperationID: "list-hosts", Method: http.MethodGet, Path: "/api/v1/hosts", Tags: []string{"hosts"},
		Summary: "Hosts, the sessions with them, and what waits to be confirmed",
	}, func(ctx context.Context, q *HostsQuery) (*body[Hosts], error) {
		var list Hosts
		list.Hosts, list.Waiting = s.deps.Hosts.Hosts()
		list.Hosts = slices.DeleteFunc(list.Hosts, func(h policyd.HostStatus) bool { return !q.wants(&h) })
		list.Total = len(list.Hosts)
		var err error
		list.Hosts, list.Page, err = paginate(list.Hosts, (*PageQuery)(&q.WholeQuery), func(h policyd.HostStatus) string { return h.Name + "\x00" + h.UUID })
		if err != nil {
			return nil, err
		}
		pools, err := s.deps.Hosts.Pools(ctx)
		if err != nil {
			return nil, s.refusal(err)
		}
		list.Pools = make([]HostPool, len(pools))
		for i := range pools {
			list.Pools[i] = hostPool(&pools[i])
		}
		return &body[Hosts]{list}, nil
	})
	read(api, huma.Operation{
		OperationID: "get-host", Method: http.MethodGet, Path: "/api/v1/hosts/{name}", Tags: []string{"hosts"},
		Summary: "One host", Description: "Its ETag is of what people said of it, not of how it does.", Errors: []int{http.StatusNotFound},
	}, func(_ context.Context, p *HostPath) (*taggedBody[policyd.HostStatus], error) {
		h, err := s.deps.Hosts.Host(p.Name)
		if err != nil {
			return nil, s.refusal(err)
		}
		return &taggedBody[policyd.HostStatus]{Tag{entityTag(settingsOf(&h))}, h}, nil
	})
	read(api, huma.Operation{
		OperationID: "get-pool", Method: http.MethodGet, Path: "/api/v1/pools/{name}", Tags: []string{"hosts"},
		Summary: "What was said of the hosts of a pool", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, p *PoolPath) (*taggedBody[HostPool], error) {
		v, err := s.poolSettings(ctx, p.Name)
		if errors.Is(err, errNone) {
			err = fmt.Errorf("find pool %q: %w", p.Name, state.ErrNotFound)
		}
		if err != nil {
			return nil, s.refusal(err)
		}
		return withTag(v.(HostPool)), nil
	})
	read(api, huma.Operation{
		OperationID: "plan-detach", Method: http.MethodGet, Path: "/api/v1/hosts/{name}/detach", Tags: []string{"hosts"},
		Summary: "What detaching a host would change at it",
	}, func(ctx context.Context, p *HostPath) (*body[export.Plan], error) {
		plan, err := s.deps.Hosts.PlanDetach(ctx, p.Name)
		if err != nil {
			return nil, s.refusal(err)
		}
		return &body[export.Plan]{plan}, nil
	})
}

type added struct {
	UUID string `json:"uuid"`
	Name string `json:"name"`
}

type confirmed struct {
	Name        string            `json:"name" doc:"Of the host."`
	Fingerprint ovsdb.Fingerprint `json:"fingerprint" doc:"That is believed from now on."`
}

// maxDetachWait bounds how long a request waits for a host to be detached.
const maxDetachWait = 5 * time.Minute

// hostSettings are what people said of a host: what of it can be changed.
type hostSettings struct {
	UUID    string              `json:"uuid"`
	Name    string              `json:"name"`
	Pool    string              `json:"pool,omitempty"`
	Target  string              `json:"target,omitempty"`
	Mode    string              `json:"mode"`
	Trust   policyd.TrustStatus `json:"trust"`
	Exports export.Override     `json:"export,omitzero"`
}

func settingsOf(h *policyd.HostStatus) any {
	mode := modeInherit
	if h.OwnMode {
		mode = string(h.Mode)
	}
	return hostSettings{h.UUID, h.Name, h.Pool, h.Target, mode, h.Trust, h.Export}
}

// hostSettings reads a host for entity tag and record.
func (s *Server) hostSettings(name string) func(context.Context) (any, error) {
	return func(context.Context) (any, error) {
		h, err := s.deps.Hosts.Host(name)
		if errors.Is(err, state.ErrNotFound) {
			return nil, errNone
		}
		return settingsOf(&h), err
	}
}

// aboutHost is a subject that is a host.
func (s *Server) aboutHost(name string) subject {
	return subject{object: name, read: s.hostSettings(name)}
}

// poolSettings reads what was said of a pool.
func (s *Server) poolSettings(ctx context.Context, name string) (any, error) {
	pools, err := s.deps.Hosts.Pools(ctx)
	if err != nil {
		return nil, err
	}
	for i := range pools {
		if pools[i].Name == name {
			return hostPool(&pools[i]), nil
		}
	}
	return nil, errNone
}

func (s *Server) aboutPool(name string) subject {
	return subject{object: name, read: func(ctx context.Context) (any, error) { return s.poolSettings(ctx, name) }}
}

type removeHostInput struct {
	HostPath
	Match
	Force bool `query:"force" doc:"Also if something of Weir's stays at it."`
}

type hostExportInput struct {
	HostPath
	Match
	Body export.Override
}

// PoolPath names a pool.
type PoolPath struct {
	Name string `path:"name" maxLength:"128" doc:"Name of the pool."`
}

type poolExportInput struct {
	PoolPath
	Match
	Body export.Override
}

type confirmInput struct {
	Body struct {
		What        string `json:"what" minLength:"1" maxLength:"200" doc:"Name of the host, or fingerprint of the certificate."`
		Fingerprint string `json:"fingerprint,omitempty" maxLength:"200" doc:"What the certificate has to be, if what is a name."`
	}
}

type detachInput struct {
	HostPath
	Wait int `query:"wait" minimum:"0" maximum:"300" default:"60" doc:"Longest wait, s."`
}

// adminRoutes are what changes something, or has Weir dial.
func (s *Server) adminRoutes(api huma.API) {
	change(s, api, huma.Operation{
		OperationID: "add-host", Method: http.MethodPost, Path: "/api/v1/hosts", Tags: []string{"hosts"},
		Summary: "Add a host", DefaultStatus: http.StatusCreated, MaxBodyBytes: 2 << 20, Errors: []int{http.StatusConflict},
	}, func(_ context.Context, p *struct{ Body policyd.AddRequest }) (subject, error) {
		return s.aboutHost(p.Body.Name), nil
	}, func(ctx context.Context, p *struct{ Body policyd.AddRequest }) (*body[added], error) {
		h, err := s.deps.Hosts.Add(ctx, who(ctx), p.Body)
		if err != nil {
			return nil, s.refusal(err)
		}
		return &body[added]{added{h.UUID, h.Name}}, nil
	})
	read(api, huma.Operation{
		OperationID: "test-host", Method: http.MethodPost, Path: "/api/v1/hosts/test", Tags: []string{"hosts"},
		Summary: "Try the way to a host, step by step; nothing is changed", MaxBodyBytes: 2 << 20, Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, p *struct{ Body policyd.TestRequest }) (*body[tested], error) {
		steps, err := s.deps.Hosts.Test(ctx, p.Body)
		if err != nil {
			return nil, s.refusal(err)
		}
		return &body[tested]{tested{steps}}, nil
	})
	change(s, api, huma.Operation{
		OperationID: "confirm-certificate", Method: http.MethodPost, Path: "/api/v1/hosts/confirm", Tags: []string{"hosts"},
		Summary: "Believe a certificate that waits to be confirmed", Errors: []int{http.StatusNotFound},
	}, func(_ context.Context, p *confirmInput) (subject, error) {
		return subject{object: p.Body.What}, nil
	}, func(ctx context.Context, p *confirmInput) (*body[confirmed], error) {
		name, pin, err := s.deps.Hosts.Confirm(ctx, who(ctx), p.Body.What, p.Body.Fingerprint)
		if err != nil {
			return nil, s.refusal(err)
		}
		return &body[confirmed]{confirmed{name, pin}}, nil
	})
	change(s, api, huma.Operation{
		OperationID: "remove-host", Method: http.MethodDelete, Path: "/api/v1/hosts/{name}", Tags: []string{"hosts"},
		Summary: "Forget a host", DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound, http.StatusPreconditionFailed},
	}, func(_ context.Context, p *removeHostInput) (subject, error) {
		return s.aboutHost(p.Name), nil
	}, func(ctx context.Context, p *removeHostInput) (*struct{}, error) {
		return nil, s.refusal(s.deps.Hosts.Remove(ctx, who(ctx), p.Name, p.Force))
	})
	change(s, api, huma.Operation{
		OperationID: "set-host-export", Method: http.MethodPut, Path: "/api/v1/hosts/{name}/export", Tags: []string{"hosts"},
		Summary: "Say how a host exports flows", DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound, http.StatusPreconditionFailed},
	}, func(_ context.Context, p *hostExportInput) (subject, error) {
		return s.aboutHost(p.Name), nil
	}, func(ctx context.Context, p *hostExportInput) (*Tag, error) {
		return &Tag{}, s.refusal(s.deps.Hosts.SetExport(ctx, who(ctx), p.Name, p.Body))
	})
	change(s, api, huma.Operation{
		OperationID: "set-pool-export", Method: http.MethodPut, Path: "/api/v1/pools/{name}/export", Tags: []string{"hosts"},
		Summary: "Say how the hosts of a pool export flows", DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound, http.StatusPreconditionFailed},
	}, func(_ context.Context, p *poolExportInput) (subject, error) {
		return s.aboutPool(p.Name), nil
	}, func(ctx context.Context, p *poolExportInput) (*Tag, error) {
		return &Tag{}, s.refusal(s.deps.Hosts.SetPoolExport(ctx, who(ctx), p.Name, p.Body))
	})
	change(s, api, huma.Operation{
		OperationID: "detach-host", Method: http.MethodPost, Path: "/api/v1/hosts/{name}/detach", Tags: []string{"hosts"},
		Summary:     "Take everything of Weir's off a host, and put back what was there before",
		Description: "Answers when that was verified. If it takes longer than wait, the answer is 202: it goes on, also after a restart of Weir.",
		Errors:      []int{http.StatusNotFound},
	}, func(_ context.Context, p *detachInput) (subject, error) {
		return s.aboutHost(p.Name), nil
	}, func(ctx context.Context, p *detachInput) (*detachAnswer, error) {
		waiting, cancel := context.WithTimeout(ctx, min(time.Duration(p.Wait)*time.Second, maxDetachWait))
		defer cancel()
		err := s.deps.Hosts.Detach(waiting, who(ctx), p.Name)
		if waiting.Err() != nil && err != nil {
			return &detachAnswer{Status: http.StatusAccepted, Body: detached{Waits: err.Error()}}, nil
		}
		if err != nil {
			return nil, s.refusal(err)
		}
		return &detachAnswer{Status: http.StatusOK, Body: detached{Done: true}}, nil
	})
}

type tested struct {
	Steps []policyd.Step `json:"steps"`
}

type detached struct {
	Done  bool   `json:"done"`
	Waits string `json:"waits,omitempty" doc:"Why it is not done yet."`
}

type detachAnswer struct {
	Status int
	Body   detached
}

// refusal is the answer to what policyd did not do; nil to what it did.
func (s *Server) refusal(err error) error {
	var mistake *policyd.MistakeError
	var newer *state.NewerError
	var pending *state.PendingError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mistake):
		details := make([]error, len(mistake.Problems))
		for i, p := range mistake.Problems {
			details[i] = &huma.ErrorDetail{Location: "body.policy", Message: p.String(), Value: p}
		}
		return huma.Error422UnprocessableEntity(mistake.Error(), details...)
	case errors.Is(err, state.ErrNotFound):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, state.ErrExists), errors.Is(err, state.ErrStale), errors.Is(err, state.ErrTooMany), errors.Is(err, state.ErrNoStep), errors.Is(err, state.ErrRaced),
		errors.Is(err, export.ErrNotSeen), errors.As(err, &newer), errors.As(err, &pending):
		return huma.Error409Conflict(err.Error())
	case errors.Is(err, context.Canceled):
		return huma.Error503ServiceUnavailable("cancelled")
	default:
		s.deps.Log.Warn("host request", "err", err)
		return huma.Error503ServiceUnavailable(err.Error())
	}
}
