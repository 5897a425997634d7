package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/query"
)

// FlowsQuery are the parameters of a question about flows. See docs/reference/filter.md for the filter language.
type FlowsQuery struct {
	Kind      string    `query:"kind" enum:"top,list,series" default:"top" doc:"Largest groups, single records (newest first), or the groups over time."`
	By        []string  `query:"by" maxItems:"100" doc:"Fields to group by, at most 8; for a list, the columns. Comma separated." example:"src_vm"`
	Filter    string    `query:"filter" maxLength:"4096" doc:"Filter, as in: src_vm = web-01 and port = 443"`
	From      time.Time `query:"from" doc:"Start, RFC 3339; default 15 minutes before to."`
	To        time.Time `query:"to" doc:"End, RFC 3339; default now."`
	Unit      string    `query:"unit" enum:"bytes,bits,packets,flows,bps,pps,fps" default:"bytes" doc:"What is summed."`
	Traffic   string    `query:"traffic" enum:"seen,delivered,denied" default:"seen" doc:"Which packets are summed: what was sent, what no rule stopped, or what was stopped."`
	Direction string    `query:"direction" enum:"both,in,out" default:"both" doc:"Narrows fields that mean either end."`
	Limit     int       `query:"limit" minimum:"0" maximum:"10000" doc:"Groups or rows; 0 is the default of 10, for lists 100."`
	Other     bool      `query:"other" doc:"Adds a row for all other groups together."`
	Total     bool      `query:"total" doc:"Adds a row for the total."`
}

// request returns the planner's form of q.
func (q *FlowsQuery) request(now time.Time) query.Request {
	if q.To.IsZero() {
		q.To = now
	}
	if q.From.IsZero() {
		q.From = q.To.Add(-15 * time.Minute)
	}
	return query.Request{
		Kind: query.Kind(q.Kind), By: q.By, Filter: q.Filter, From: q.From, To: q.To, Units: []query.Unit{query.Unit(q.Unit)},
		Traffic: query.Traffic(q.Traffic), Direction: query.Direction(q.Direction), Limit: q.Limit, Other: q.Other, Total: q.Total,
	}
}

// FlowsAnswer is the answer to a question about flows.
type FlowsAnswer struct {
	Columns []query.Column  `json:"columns" doc:"What the rows hold, in order."`
	Rows    json.RawMessage `json:"rows" doc:"Array of objects, a property a column."`
	Table   string          `json:"table" doc:"Table that was read."`
	Notes   []string        `json:"notes,omitempty" doc:"What to know about the figures."`
}

type body[T any] struct{ Body T }

type exportersBody struct {
	Ledger    Ledger               `json:"ledger" doc:"What all of them sent, from socket to store."`
	Exporters []collector.Exporter `json:"exporters" doc:"By address, protocol and observation domain."`
	Total     int                  `json:"total" doc:"Observation domains that were asked for, on all pages."`
	Page
}

type exportersQuery struct {
	WholeQuery
	Exporter netip.Addr `query:"exporter" doc:"Only those of this exporter."`
	Live     bool       `query:"live" doc:"Only those that sent something within three active timeouts."`
}

func (s *Server) routes(api huma.API) {
	if s.deps.Events != nil {
		s.eventRoutes(api)
	}
	if s.deps.Hosts != nil {
		s.hostRoutes(api)
	}
	if s.deps.Policy != nil {
		s.policyRoutes(api)
	}
	if s.deps.EstateOf != nil {
		s.estateRoutes(api)
	}
	read(api, huma.Operation{
		OperationID: "get-status", Method: http.MethodGet, Path: "/api/v1/status", Tags: []string{"status"},
		Summary: "How the instance does, from socket to store",
	}, func(context.Context, *struct{}) (*body[Status], error) {
		return &body[Status]{s.status()}, nil
	})
	read(api, huma.Operation{
		OperationID: "list-exporters", Method: http.MethodGet, Path: "/api/v1/exporters", Tags: []string{"status"},
		Summary: "Every observation domain of every exporter, with its templates, sampling and counters",
	}, func(_ context.Context, q *exportersQuery) (*body[exportersBody], error) {
		status := s.status()
		list := slices.DeleteFunc(slices.Clone(status.Exporters), func(e collector.Exporter) bool {
			return q.Exporter.IsValid() && e.Exporter.Unmap() != q.Exporter.Unmap() || q.Live && !e.Live
		})
		page, next, err := paginate(list, (*PageQuery)(&q.WholeQuery), func(e collector.Exporter) string {
			return fmt.Sprintf("%x %02x %08x", e.Exporter.As16(), e.Protocol, e.Domain)
		})
		if err != nil {
			return nil, err
		}
		return &body[exportersBody]{exportersBody{status.Ledger, page, len(list), next}}, nil
	})
	read(api, huma.Operation{
		OperationID: "query-flows", Method: http.MethodGet, Path: "/api/v1/flows", Tags: []string{"flows"},
		Summary: "Ask about flows",
	}, func(ctx context.Context, q *FlowsQuery) (*body[FlowsAnswer], error) {
		answer, err := s.deps.Flows(ctx, q.request(time.Now()))
		if err != nil {
			return nil, s.queryRefusal(ctx, err, "query.")
		}
		return &body[FlowsAnswer]{answer}, nil
	})
	read(api, huma.Operation{
		OperationID: "ask-flows", Method: http.MethodPost, Path: "/api/v1/flows", Tags: []string{"flows"},
		Summary: "Ask about flows, with all that a question can say; nothing is changed", MaxBodyBytes: 64 << 10,
	}, func(ctx context.Context, q *struct{ Body FlowsRequest }) (*body[FlowsAnswer], error) {
		answer, err := s.deps.Flows(ctx, q.Body.request(time.Now()))
		if err != nil {
			return nil, s.queryRefusal(ctx, err, "body.")
		}
		return &body[FlowsAnswer]{answer}, nil
	})
	if s.deps.Hits == nil {
		return
	}
	read(api, huma.Operation{
		OperationID: "list-rule-hits", Method: http.MethodGet, Path: "/api/v1/policy/hits", Tags: []string{"policy"},
		Summary: "How often rules were met, and which were not",
	}, func(ctx context.Context, q *HitsQuery) (*body[hitsBody], error) {
		list, err := s.deps.Hits(ctx, q.request(time.Now()))
		if err != nil {
			return nil, s.queryRefusal(ctx, err, "query.")
		}
		return &body[hitsBody]{hitsBody{list}}, nil
	})
}

// FlowsRequest is a question about flows, with all that it can say. See docs/reference/filter.md for the filter language.
type FlowsRequest struct {
	Kind         string    `json:"kind,omitempty" enum:"top,list,series" default:"top" doc:"Largest groups, single records (newest first), or the groups over time."`
	By           []string  `json:"by,omitempty" maxItems:"100" doc:"Fields to group by, at most 8; for a list, the columns."`
	Filter       string    `json:"filter,omitempty" maxLength:"16384" doc:"Filter, as in: src_vm = web-01 and port = 443"`
	From         time.Time `json:"from,omitzero" doc:"Start; default 15 minutes before to."`
	To           time.Time `json:"to,omitzero" doc:"End; default now."`
	Units        []string  `json:"units,omitempty" maxItems:"4" enum:"bytes,bits,packets,flows,bps,pps,fps" doc:"What is summed; the first one ranks; default bytes."`
	Traffic      string    `json:"traffic,omitempty" enum:"seen,delivered,denied" default:"seen" doc:"Which packets are summed."`
	Direction    string    `json:"direction,omitempty" enum:"both,in,out" default:"both" doc:"Narrows fields that mean either end."`
	Split        bool      `json:"split,omitempty" doc:"Also what is in and what is out."`
	Limit        int       `json:"limit,omitempty" minimum:"0" maximum:"10000" doc:"Groups or rows; 0 is the default of 10, for lists 100."`
	Bottom       bool      `json:"bottom,omitempty" doc:"The smallest groups instead of the largest."`
	Other        bool      `json:"other,omitempty" doc:"A row for all other groups together."`
	Total        bool      `json:"total,omitempty" doc:"A row for the total, and each row's share of it."`
	StepSeconds  int       `json:"step_seconds,omitempty" minimum:"0" maximum:"31622400" doc:"Step of a series; 0: about 300 steps."`
	Seen         bool      `json:"seen,omitempty" doc:"Of a top, when each group was seen first and last in the range, as finely as the table tells."`
	Observations bool      `json:"observations,omitempty" doc:"Every observation, also those that totals do not count."`
	Basis        string    `json:"basis,omitempty" enum:"received,lived" doc:"For tops and series: by when flows were received, or when they lived; default is what the table allows."`
}

// AskFlows is what a client asks to have r answered.
func AskFlows(r query.Request) FlowsRequest {
	q := FlowsRequest{
		Kind: string(r.Kind), By: r.By, Filter: r.Filter, From: r.From.UTC(), To: r.To.UTC(), Traffic: string(r.Traffic), Direction: string(r.Direction), Split: r.Split,
		Limit: r.Limit, Bottom: r.Bottom, Other: r.Other, Total: r.Total, StepSeconds: int(time.Duration(r.Step) / time.Second), Seen: r.Seen, Observations: r.Observations, Basis: string(r.Basis),
	}
	for _, u := range r.Units {
		q.Units = append(q.Units, string(u))
	}
	return q
}

// request returns the planner's form of q.
func (q *FlowsRequest) request(now time.Time) query.Request {
	if q.To.IsZero() {
		q.To = now
	}
	if q.From.IsZero() {
		q.From = q.To.Add(-15 * time.Minute)
	}
	r := query.Request{
		Kind: query.Kind(q.Kind), By: q.By, Filter: q.Filter, From: q.From, To: q.To, Traffic: query.Traffic(q.Traffic), Direction: query.Direction(q.Direction),
		Split: q.Split, Limit: q.Limit, Bottom: q.Bottom, Other: q.Other, Total: q.Total, Step: query.Duration(time.Duration(q.StepSeconds) * time.Second),
		Seen: q.Seen, Observations: q.Observations, Basis: query.Basis(q.Basis),
	}
	for _, u := range q.Units {
		r.Units = append(r.Units, query.Unit(u))
	}
	return r
}

// HitsQuery are the parameters of a question about rules.
type HitsQuery struct {
	From   time.Time `query:"from" doc:"Start, RFC 3339; default an hour before to."`
	To     time.Time `query:"to" doc:"End, RFC 3339; default now."`
	Rule   string    `query:"rule" maxLength:"256" doc:"Only this rule."`
	Unused bool      `query:"unused" doc:"Only rules in force that were not met."`
	System bool      `query:"system" doc:"Built-in rules, too, as far as they were met."`
	Limit  int       `query:"limit" minimum:"1" maximum:"100000" default:"1000" doc:"At most so many versions of rules."`
}

func (q *HitsQuery) request(now time.Time) query.HitsRequest {
	if q.To.IsZero() {
		q.To = now
	}
	if q.From.IsZero() {
		q.From = q.To.Add(-time.Hour)
	}
	return query.HitsRequest{From: q.From, To: q.To, Rule: q.Rule, Unused: q.Unused, System: q.System, Limit: q.Limit}
}

type hitsBody struct {
	Rules []query.RuleHits `json:"rules"`
}

// queryRefusal is the answer to a question that was not answered.
func (s *Server) queryRefusal(ctx context.Context, err error, where string) error {
	var mistake *query.Error
	switch {
	case errors.As(err, &mistake):
		return huma.Error422UnprocessableEntity(mistake.Error(), detail(mistake, where))
	case ctx.Err() != nil: // who asked is gone
		return huma.Error503ServiceUnavailable("cancelled")
	}
	s.deps.Log.Warn("question not answered", "err", err)
	return huma.Error503ServiceUnavailable(err.Error())
}

// detail says which parameter of a question is wrong.
func detail(e *query.Error, where string) *huma.ErrorDetail {
	parameter := e.Part
	if parameter == "units" && where == "query." {
		parameter = "unit" // the API takes one
	}
	return &huma.ErrorDetail{Location: where + parameter, Message: strings.TrimPrefix(e.Error(), e.Part+": ")}
}

// health answers 200 when flows that come in are stored, else 503 and why.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	if err := s.deps.Ready(ctx); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(err.Error() + "\n")) // the client may be gone: nothing is lost
		return
	}
	_, _ = w.Write([]byte("ok\n")) // as above
}
