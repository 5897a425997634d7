package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/state"
)

// PolicyService is policyd's part of policy, as far as the API offers it. by is the user who asks.
type PolicyService interface {
	PolicyStatus(ctx context.Context) (policyd.PolicyStatus, error)
	PolicySummary() policyd.PolicySummary
	RevisionService
	DraftService
	SnapshotService
	CheckPolicy(ctx context.Context, text string) (policyd.PolicyCheck, error)
	PlanPolicy(ctx context.Context, r policyd.PlanRequest) (policyd.PolicyPlan, error)
	ApplyPolicy(ctx context.Context, by audit.Actor, r policyd.ApplyRequest) (policyd.Applied, error)
	Effective(ctx context.Context, vif string) (policyd.Effective, error)
	EffectiveSettings(ctx context.Context, r policyd.EffectiveRequest) (list []policyd.EffectiveVIF, more bool, err error)

	PlanMode(ctx context.Context, host string, mode state.Mode) (policyd.ModePlan, error)
	SetMode(ctx context.Context, by audit.Actor, host string, mode state.Mode) error
	SetPool(ctx context.Context, by audit.Actor, pool string, r policyd.PoolRequest) error
	Bypass(ctx context.Context, by audit.Actor, r policyd.BypassRequest) (policyd.BypassChange, error)
	EndBypass(ctx context.Context, by audit.Actor, target string) (policyd.BypassChange, error)
	Quarantine(ctx context.Context, by audit.Actor, r policyd.QuarantineRequest) (policyd.QuarantineChange, error)
	Release(ctx context.Context, by audit.Actor, vif string) (policyd.Concern, error)
}

// maxPolicy bounds the body of a request with a policy, bytes.
const maxPolicy = 80 << 20

// policyReadTimeout is how long such a body may take to come.
const policyReadTimeout = 2 * time.Minute

// modeInherit is the word for a host's having no mode of its own.
const modeInherit = "inherit"

// policyRoutes are what anybody may read.
func (s *Server) policyRoutes(api huma.API) {
	p := s.deps.Policy
	read(api, huma.Operation{
		OperationID: "get-policy-status", Method: http.MethodGet, Path: "/api/v1/policy/status", Tags: []string{"policy"},
		Summary: "Which policy is in force where, and where it is switched off",
	}, func(ctx context.Context, _ *struct{}) (*body[policyd.PolicyStatus], error) {
		return answer(s, func() (policyd.PolicyStatus, error) { return p.PolicyStatus(ctx) })
	})
	read(api, huma.Operation{
		OperationID: "get-policy", Method: http.MethodGet, Path: "/api/v1/policy", Tags: []string{"policy"},
		Summary: "A policy that was applied",
	}, func(ctx context.Context, q *struct {
		Known
		Revision uint64 `query:"revision" doc:"0: that which is in force at all hosts."`
	},
	) (*taggedBody[policyd.PolicyText], error) {
		return s.policyText(ctx, q.Revision)
	})
	s.revisionRoutes(api)
	s.snapshotRoutes(api)
	s.draftRoutes(api)
	read(api, huma.Operation{
		OperationID: "list-bypasses", Method: http.MethodGet, Path: "/api/v1/policy/bypass", Tags: []string{"policy"},
		Summary: "Where policy is switched off",
	}, func(ctx context.Context, _ *struct{}) (*body[bypassesBody], error) {
		return answer(s, func() (bypassesBody, error) {
			st, err := p.PolicyStatus(ctx)
			return bypassesBody{st.Bypasses}, err
		})
	})
	read(api, huma.Operation{
		OperationID: "list-quarantines", Method: http.MethodGet, Path: "/api/v1/policy/quarantine", Tags: []string{"policy"},
		Summary: "VIFs that send and receive nothing",
	}, func(ctx context.Context, _ *struct{}) (*body[quarantinesBody], error) {
		return answer(s, func() (quarantinesBody, error) {
			st, err := p.PolicyStatus(ctx)
			return quarantinesBody{st.Quarantined}, err
		})
	})
	read(api, huma.Operation{
		OperationID: "get-effective-rules", Method: http.MethodGet, Path: "/api/v1/policy/effective", Tags: []string{"policy"},
		Summary: "The rules that decide about a VIF, in their order",
	}, func(ctx context.Context, q *struct {
		VIF string `query:"vif" required:"true" maxLength:"512" doc:"VM/DEVICE, pool/VM/DEVICE, UUID, or the name of a VM that has one VIF."`
	},
	) (*body[policyd.Effective], error) {
		return answer(s, func() (policyd.Effective, error) { return p.Effective(ctx, q.VIF) })
	})
	read(api, huma.Operation{
		OperationID: "list-vif-settings", Method: http.MethodGet, Path: "/api/v1/policy/effective/settings", Tags: []string{"policy"},
		Summary: "What is asked of the ports of VIFs, who says it, and what is overridden", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, q *effectiveQuery) (*body[effectiveBody], error) {
		return s.effectiveSettings(ctx, q)
	})
	read(api, huma.Operation{
		OperationID: "plan-host-mode", Method: http.MethodGet, Path: "/api/v1/hosts/{name}/mode", Tags: []string{"hosts"},
		Summary: "What another mode would change at a host",
	}, func(ctx context.Context, q *struct {
		HostPath
		Mode string `query:"mode" required:"true" enum:"observe,enforce,inherit"`
	},
	) (*body[policyd.ModePlan], error) {
		return answer(s, func() (policyd.ModePlan, error) { return p.PlanMode(ctx, q.Name, modeOf(q.Mode)) })
	})
}

type effectiveQuery struct {
	Of        string `query:"of" required:"true" maxLength:"520" doc:"estate, or pool:, network:, vm: or vif: and its name, pool/name, or UUID."`
	Unguarded bool   `query:"unguarded" doc:"Only VIFs at which guards that are on are not enforced in full."`
	PageQuery
}

type effectiveBody struct {
	VIFs []policyd.EffectiveVIF `json:"vifs" doc:"By name."`
	Page
}

// effectiveSettings is the answer with a page of VIFs.
func (s *Server) effectiveSettings(ctx context.Context, q *effectiveQuery) (*body[effectiveBody], error) {
	after, err := decodeCursor(q.Cursor)
	if err != nil {
		return nil, wrong("cursor", err)
	}
	return answer(s, func() (effectiveBody, error) {
		list, more, err := s.deps.Policy.EffectiveSettings(ctx, policyd.EffectiveRequest{Of: q.Of, Unguarded: q.Unguarded, After: after, Limit: q.Limit})
		page := effectiveBody{VIFs: list}
		if more {
			page.Next = encodeCursor(list[len(list)-1].Key())
		}
		return page, err
	})
}

type bypassesBody struct {
	Bypasses []policyd.BypassStatus `json:"bypasses"`
}

type quarantinesBody struct {
	Quarantined []policyd.QuarantineStatus `json:"quarantined"`
}

// answer is what f returns, or the refusal that its error means.
func answer[T any](s *Server, f func() (T, error)) (*body[T], error) {
	v, err := f()
	if err != nil {
		return nil, s.refusal(err)
	}
	return &body[T]{v}, nil
}

// policyText is the answer with a revision and its text.
func (s *Server) policyText(ctx context.Context, revision uint64) (*taggedBody[policyd.PolicyText], error) {
	t, err := s.deps.Policy.Policy(ctx, revision)
	if err != nil {
		return nil, s.refusal(err)
	}
	return withTag(t), nil
}

// modeOf returns the mode of a word.
func modeOf(word string) state.Mode {
	if word == modeInherit {
		return state.ModeInherit
	}
	return state.Mode(word)
}

type applyInput struct{ Body policyd.ApplyRequest }

type hostModeInput struct {
	HostPath
	Match
	Body struct {
		Mode string `json:"mode" enum:"observe,enforce,inherit"`
	}
}

type poolPolicyInput struct {
	PoolPath
	Match
	Body policyd.PoolRequest
}

type bypassInput struct{ Body policyd.BypassRequest }

type endBypassInput struct {
	Target string `query:"target" required:"true" maxLength:"520" doc:"estate, or pool:, host: or vif: and its name."`
}

type quarantineInput struct{ Body policyd.QuarantineRequest }

type releaseInput struct {
	VIF string `query:"vif" required:"true" maxLength:"512" doc:"As of the request, or its id."`
}

// policyAdminRoutes are what changes something, or may take long.
func (s *Server) policyAdminRoutes(api huma.API) {
	p := s.deps.Policy
	s.revisionAdminRoutes(api)
	s.snapshotAdminRoutes(api)
	s.draftAdminRoutes(api)
	read(api, huma.Operation{
		OperationID: "check-policy", Method: http.MethodPost, Path: "/api/v1/policy/check", Tags: []string{"policy"},
		Summary: "Say what is wrong with a policy; nothing is changed", MaxBodyBytes: maxPolicy, BodyReadTimeout: policyReadTimeout,
	}, func(ctx context.Context, q *struct {
		Body struct {
			Policy string `json:"policy" maxLength:"67108864" doc:"YAML."`
		}
	},
	) (*body[policyd.PolicyCheck], error) {
		return answer(s, func() (policyd.PolicyCheck, error) { return p.CheckPolicy(ctx, q.Body.Policy) })
	})
	read(api, huma.Operation{
		OperationID: "plan-policy", Method: http.MethodPost, Path: "/api/v1/policy/plan", Tags: []string{"policy"},
		Summary: "Say what applying a policy would change; nothing is changed", MaxBodyBytes: maxPolicy, BodyReadTimeout: policyReadTimeout,
	}, func(ctx context.Context, q *struct{ Body policyd.PlanRequest }) (*body[policyd.PolicyPlan], error) {
		return answer(s, func() (policyd.PolicyPlan, error) { return p.PlanPolicy(ctx, q.Body) })
	})
	change(s, api, huma.Operation{
		OperationID: "apply-policy", Method: http.MethodPost, Path: "/api/v1/policy/apply", Tags: []string{"policy"},
		Summary: "Put a policy in force", MaxBodyBytes: maxPolicy, BodyReadTimeout: policyReadTimeout,
		Description: "Answers when it is kept; hosts get it at once, or when they are reached again: see the status.",
	}, func(_ context.Context, q *applyInput) (subject, error) {
		return subject{reason: q.Body.Reason}, nil
	}, func(ctx context.Context, q *applyInput) (*body[policyd.Applied], error) {
		return answer(s, func() (policyd.Applied, error) { return p.ApplyPolicy(ctx, who(ctx), q.Body) })
	})
	change(s, api, huma.Operation{
		OperationID: "set-host-mode", Method: http.MethodPut, Path: "/api/v1/hosts/{name}/mode", Tags: []string{"hosts"},
		Summary: "Say what Weir may do at a host", DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound, http.StatusPreconditionFailed},
	}, func(_ context.Context, q *hostModeInput) (subject, error) {
		return s.aboutHost(q.Name), nil
	}, func(ctx context.Context, q *hostModeInput) (*Tag, error) {
		return &Tag{}, s.refusal(p.SetMode(ctx, who(ctx), q.Name, modeOf(q.Body.Mode)))
	})
	change(s, api, huma.Operation{
		OperationID: "set-pool-policy", Method: http.MethodPut, Path: "/api/v1/pools/{name}/policy", Tags: []string{"hosts"},
		Summary:       "Say what Weir may do at the hosts of a pool, and which packets they tell of",
		DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound, http.StatusPreconditionFailed},
	}, func(_ context.Context, q *poolPolicyInput) (subject, error) {
		return s.aboutPool(q.Name), nil
	}, func(ctx context.Context, q *poolPolicyInput) (*Tag, error) {
		return &Tag{}, s.refusal(p.SetPool(ctx, who(ctx), q.Name, q.Body))
	})
	change(s, api, huma.Operation{
		OperationID: "bypass-policy", Method: http.MethodPost, Path: "/api/v1/policy/bypass", Tags: []string{"policy"},
		Summary: "Switch policy off, for a VIF, a host, a pool or all", Errors: []int{http.StatusNotFound},
	}, func(_ context.Context, q *bypassInput) (subject, error) {
		return subject{object: q.Body.Target, reason: q.Body.Reason}, nil
	}, func(ctx context.Context, q *bypassInput) (*body[policyd.BypassChange], error) {
		return answer(s, func() (policyd.BypassChange, error) { return p.Bypass(ctx, who(ctx), q.Body) })
	})
	change(s, api, huma.Operation{
		OperationID: "end-bypass", Method: http.MethodDelete, Path: "/api/v1/policy/bypass", Tags: []string{"policy"},
		Summary: "Switch policy on again where it is off", Errors: []int{http.StatusNotFound},
	}, func(_ context.Context, q *endBypassInput) (subject, error) {
		return subject{object: q.Target}, nil
	}, func(ctx context.Context, q *endBypassInput) (*body[policyd.BypassChange], error) {
		return answer(s, func() (policyd.BypassChange, error) { return p.EndBypass(ctx, who(ctx), q.Target) })
	})
	change(s, api, huma.Operation{
		OperationID: "quarantine-vif", Method: http.MethodPost, Path: "/api/v1/policy/quarantine", Tags: []string{"policy"},
		Summary: "Have a VIF send and receive nothing, until it is released", Errors: []int{http.StatusNotFound},
	}, func(_ context.Context, q *quarantineInput) (subject, error) {
		return subject{object: q.Body.VIF, reason: q.Body.Reason}, nil
	}, func(ctx context.Context, q *quarantineInput) (*body[policyd.QuarantineChange], error) {
		return answer(s, func() (policyd.QuarantineChange, error) { return p.Quarantine(ctx, who(ctx), q.Body) })
	})
	change(s, api, huma.Operation{
		OperationID: "release-vif", Method: http.MethodDelete, Path: "/api/v1/policy/quarantine", Tags: []string{"policy"},
		Summary: "Release a VIF that is quarantined", Errors: []int{http.StatusNotFound},
	}, func(_ context.Context, q *releaseInput) (subject, error) {
		return subject{object: q.VIF}, nil
	}, func(ctx context.Context, q *releaseInput) (*body[policyd.Concern], error) {
		return answer(s, func() (policyd.Concern, error) { return p.Release(ctx, who(ctx), q.VIF) })
	})
}
