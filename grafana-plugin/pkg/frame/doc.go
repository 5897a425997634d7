// Package frame makes Grafana's data frames of the answer to a planned query. It is pure.
//
//	timeseries  a frame for each series (timeseries-multi 0.1): time, value with its labels and unit, in the order of time. Where the plan says
//	            so, steps without rows are 0
//	number      a frame for each figure (numeric-multi 0.1)
//	table       one frame (table 0.1): keys by their names, words of the field instead of numbers, figures with their unit
//	logs        one frame (log-lines 0.0): timestamp, body, severity, id, labels
//	annotations one frame: time, title, text, tags, id
//
// There is never a long series, which alert rules refuse. No rows are a frame of the type without fields, or, of tables and logs, with fields
// that are empty. What was cut, and what a reader should know, is a notice of the first frame.
package frame

import (
	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
	"github.com/weirhq/weir/grafana-plugin/pkg/model"
)

// Build makes the frames of the rows that answer a plan. An error is a [*query.Error]: the statement was the user's own, and what it answers
// does not fit the format.
func Build(refID string, p *model.Plan, rows *clickhouse.Rows, limits model.Limits) (data.Frames, error) {
	b := &builder{plan: p, rows: rows, limits: limits}
	frames, err := b.build()
	if err != nil {
		return nil, err
	}
	for _, f := range frames {
		f.RefID = refID
	}
	return frames, nil
}
