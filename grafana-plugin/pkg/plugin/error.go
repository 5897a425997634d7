package plugin

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/grafana/grafana-plugin-sdk-go/backend"

	"github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
	"github.com/weirhq/weir/grafana-plugin/pkg/model"
	"github.com/weirhq/weir/query"
)

// problem is an error as resources answer it.
type problem struct {
	Status   int              `json:"status"`
	Class    clickhouse.Class `json:"class,omitempty"`
	Part     string           `json:"part,omitempty"`
	Position int              `json:"position,omitempty"` // in bytes from 1; 0 is none
	Message  string           `json:"message"`
	Hint     string           `json:"hint,omitempty"`

	source backend.ErrorSource
}

// statusCancelled is what proxies say of requests whose client is gone.
const statusCancelled = 499

// sort says whose mistake an error is, and what to do about it.
func sort(err error) problem {
	if mistake, ok := errors.AsType[*query.Error](err); ok {
		return problem{http.StatusBadRequest, clickhouse.ClassQuery, mistake.Part, mistake.Pos, mistake.Msg, mistake.Hint, backend.ErrorSourceDownstream}
	}
	if f, ok := errors.AsType[*forbidden](err); ok {
		return problem{Status: http.StatusForbidden, Message: f.msg, Hint: f.hint, source: backend.ErrorSourceDownstream}
	}
	e, ok := errors.AsType[*clickhouse.Error](err)
	if !ok {
		return problem{Status: http.StatusInternalServerError, Message: err.Error(), source: backend.ErrorSourcePlugin}
	}
	status := http.StatusBadGateway
	switch e.Class {
	case clickhouse.ClassQuery, clickhouse.ClassLimit, clickhouse.ClassConfig:
		status = http.StatusBadRequest
	case clickhouse.ClassTimeout:
		status = http.StatusGatewayTimeout
	case clickhouse.ClassCancelled:
		status = statusCancelled
	default:
	}
	return problem{Status: status, Class: e.Class, Message: e.Msg, Hint: e.Hint, source: backend.ErrorSourceDownstream}
}

// respond makes the answer to a query of an error.
func respond(err error) backend.DataResponse {
	p := sort(err)
	return backend.DataResponse{Error: err, Status: backend.Status(p.Status), ErrorSource: p.source}
}

// ofPlan says whose mistake it is that ClickHouse does not understand a statement: one that we made is ours, or of another schema.
func ofPlan(p *model.Plan, err error) error {
	e, ok := errors.AsType[*clickhouse.Error](err)
	switch {
	case !ok:
		return err
	case p.Raw && e.Class == clickhouse.ClassSchema:
		own := *e
		own.Class = clickhouse.ClassQuery
		return &own
	case !p.Raw && e.Class == clickhouse.ClassQuery:
		return fmt.Errorf("a mistake of the plugin: ClickHouse refuses its statement: %w", errors.New(e.Msg))
	}
	return err
}

func quote(s string) string { return fmt.Sprintf("%.60q", s) }
