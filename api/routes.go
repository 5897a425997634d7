package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
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
	Exporters []collector.Exporter `json:"exporters"`
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
	huma.Register(api, huma.Operation{
		OperationID: "get-status", Method: http.MethodGet, Path: "/api/v1/status", Tags: []string{"status"},
		Summary: "How the instance does, from socket to store",
	}, func(context.Context, *struct{}) (*body[Status], error) {
		return &body[Status]{s.status()}, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "list-exporters", Method: http.MethodGet, Path: "/api/v1/exporters", Tags: []string{"status"},
		Summary: "Every observation domain of every exporter, with its templates, sampling and counters",
	}, func(context.Context, *struct{}) (*body[exportersBody], error) {
		status := s.status()
		return &body[exportersBody]{exportersBody{status.Ledger, status.Exporters}}, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "query-flows", Method: http.MethodGet, Path: "/api/v1/flows", Tags: []string{"flows"},
		Summary: "Ask about flows",
	}, func(ctx context.Context, q *FlowsQuery) (*body[FlowsAnswer], error) {
		answer, err := s.deps.Flows(ctx, q.request(time.Now()))
		var mistake *query.Error
		switch {
		case errors.As(err, &mistake):
			return nil, huma.Error422UnprocessableEntity(mistake.Error(), detail(mistake))
		case ctx.Err() != nil: // who asked is gone
			return nil, huma.Error503ServiceUnavailable("cancelled")
		case err != nil:
			s.deps.Log.Warn("flow query", "err", err)
			return nil, huma.Error503ServiceUnavailable(err.Error())
		}
		return &body[FlowsAnswer]{answer}, nil
	})
}

// detail says which parameter of a question is wrong.
func detail(e *query.Error) *huma.ErrorDetail {
	parameter := e.Part
	if parameter == "units" {
		parameter = "unit" // the API takes one
	}
	return &huma.ErrorDetail{Location: "query." + parameter, Message: strings.TrimPrefix(e.Error(), e.Part+": ")}
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
