package model

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirhq/weir/grafana-plugin/pkg/macro"
	"github.com/weirhq/weir/query"
)

// plan puts the range and the step into a statement of the user's own. Its columns, and so the frames, are as they come.
func (s *SQL) plan(env *Env) (*Plan, error) {
	switch {
	case strings.TrimSpace(s.Text) == "":
		return nil, reject("sql.text", "write a SELECT", "found no SQL")
	case len(s.Text) > maxSQL:
		return nil, reject("sql.text", fmt.Sprintf("at most %d are read", maxSQL), "it is %d bytes long", len(s.Text))
	}
	text, err := macro.Expand(s.Text, macro.Env{From: env.From, To: env.To, Interval: env.step(time.Second)})
	if err != nil {
		return nil, err
	}
	p := &Plan{Raw: true, MaxRows: env.Limits.Rows, Shape: Shape{Format: s.Format}}
	switch s.Format {
	case Timeseries:
		p.MaxRows = env.Limits.Series * env.Limits.Points
	case Number:
		p.MaxRows = env.Limits.Series
	default:
	}
	p.Statement = query.Statement{SQL: text}
	return p, nil
}
