package model

import (
	"slices"

	"github.com/weirhq/weir/query"
)

// recordFields are what the line of a record in a log tells.
var recordFields = []string{
	"network", "src_vm", "src_addr", "src_port", "dst_vm", "dst_addr", "dst_port", "protocol", "bytes", "packets",
	"sampling_rate", "duration", "verdict", "counted", "exporter",
}

// plan plans a list of single records, through [query.Build].
func (r *Records) plan(env *Env) (*Plan, error) {
	normal := 100
	by := r.Columns
	if r.Format == Logs {
		normal = 1000
		by = slices.Clone(recordFields)
		for _, name := range r.Columns {
			f, ok := query.FieldByName(name)
			if !ok || !slices.Contains(by, f.Name) {
				by = append(by, name)
			}
		}
	}
	limit, notes, err := limited(r.Limit, normal, env.Limits.Rows)
	if err != nil {
		return nil, err
	}
	answer, err := query.Build(query.Request{Kind: query.List, By: by, Filter: r.Filter, From: env.From, To: env.To, Limit: limit}, env.Tables, env.Now)
	if err != nil {
		if e, ok := err.(*query.Error); ok && e.Part == "by" { //nolint:errorlint // it is not wrapped: Build says so
			renamed := *e
			renamed.Part = "columns"
			return nil, &renamed
		}
		return nil, err
	}
	p := &Plan{Statement: answer.Statement, Names: answer.Names, Notes: append(notes, answer.Notes...), MaxRows: limit, Limit: limit, Shape: Shape{Format: r.Format}}
	for _, c := range answer.Columns {
		column := columnOf(c)
		column.Zero = false
		p.Shape.Columns = append(p.Shape.Columns, column)
	}
	return p, nil
}
