package model

import (
	"fmt"
	"time"

	"github.com/weirhq/weir/query"
)

// longRange is where half an hour that reads low is little of a figure, and to sum single records by the time of receipt is much.
const longRange = 6 * time.Hour

// plan plans sums of flows, through [query.Build].
//
// An alert rule that does not say which time counts is answered by the time of receipt: sums by the time in which packets passed read low
// in their newest minutes, until the flows that are under way have been exported, which would be a drop that never was. Figures of a long range are not.
func (f *Flows) plan(env *Env) (*Plan, error) {
	r := query.Request{
		Kind: query.Top, By: f.By, Filter: f.Filter, From: env.From, To: env.To,
		Units: f.Units, Direction: f.Direction, Split: f.Split, Limit: f.Limit, Bottom: f.Bottom, Other: f.Other, Total: f.Total,
		Traffic: f.Traffic, Seen: f.Seen, Observations: f.Observations, Basis: f.Basis,
	}
	if f.Seen && f.Format != Table {
		return nil, reject("seen", "use format table", "only rows of a table tell when they were seen")
	}
	if len(r.Units) == 0 {
		r.Units = []query.Unit{query.BPS}
	}
	if r.Basis == query.AnyBasis && env.Alert && (f.Format == Timeseries || env.To.Sub(env.From) < longRange) {
		r.Basis = query.Received
	}
	var notes []string
	var err error
	if r.Limit, notes, err = limited(f.Limit, 10, f.most(env)); err != nil {
		return nil, err
	}
	p := &Plan{MaxRows: r.Limit + 2, Shape: Shape{Format: f.Format, Whole: len(f.By) == 0}}
	var answer *query.Plan
	if f.Format == Timeseries {
		answer, err = f.series(env, r, p)
	} else {
		if r.From, r.To = env.minutes(); rates(r.Units) {
			r.From, r.To = env.complete(flowsDelay)
		}
		answer, err = query.Build(r, env.Tables, env.Now)
	}
	if err != nil {
		return nil, err
	}
	p.Statement, p.Names = answer.Statement, answer.Names
	p.Notes = append(append(p.Notes, notes...), answer.Notes...)
	for _, c := range answer.Columns {
		p.Shape.Columns = append(p.Shape.Columns, columnOf(c))
	}
	return p, nil
}

// most returns how many groups may be asked for.
func (f *Flows) most(env *Env) int {
	if f.Format == Table {
		return env.Limits.Rows
	}
	most := env.Limits.Series / max(len(f.Units), 1)
	if f.Split {
		most /= 3
	}
	return max(most-2, 1) // there are others and the total
}

// series plans a series, of the steps that fit; where only a coarser table has rows, of its.
func (f *Flows) series(env *Env, r query.Request, p *Plan) (*query.Plan, error) {
	s, err := env.steps(f.Step, time.Second, flowsDelay)
	if err != nil {
		return nil, err
	}
	r.Kind = query.Series
	build := func() (*query.Plan, error) {
		r.From, r.To, r.Step = s.from, s.to, query.Duration(s.step)
		return query.Build(r, env.Tables, env.Now)
	}
	answer, err := build()
	if err != nil {
		return nil, err
	}
	if step := time.Duration(answer.Step); step != s.step { // the end has to be of whole steps of that, too
		notes := answer.Notes
		s.align(env, step, flowsDelay)
		if answer, err = build(); err != nil {
			return nil, err
		}
		answer.Notes = notes
	}
	p.Notes = s.notes
	p.Shape.From, p.Shape.To, p.Shape.Step = s.from, s.to, s.step
	p.MaxRows = (r.Limit + 2) * (int(s.to.Sub(s.from)/s.step) + 1)
	return answer, nil
}

// limited returns how many are given: of asked, 0 being normal, at most most.
func limited(asked, normal, most int) (limit int, notes []string, err error) {
	switch {
	case asked < 0:
		return 0, nil, reject("limit", "expected 1 or more", "found %d", asked)
	case asked == 0:
		return min(normal, most), nil, nil
	case asked > most:
		return most, []string{fmt.Sprintf("limit is %d instead of %d: the data source allows no more", most, asked)}, nil
	default:
		return asked, nil, nil
	}
}

// rates reports whether one of the units is by second.
func rates(units []query.Unit) bool {
	for _, u := range units {
		if u == query.BPS || u == query.PPS || u == query.FPS {
			return true
		}
	}
	return false
}

// units are Grafana's ids of ours.
var units = map[query.Unit]string{
	query.Bytes: "decbytes", query.Bits: "decbits", query.Packets: "short", query.Flows: "short",
	query.BPS: "bps", query.PPS: "pps", query.FPS: "short",
}

// columnOf describes a column of the planner.
func columnOf(c query.Column) Column {
	column := Column{Name: c.Name, Role: RoleText, Unit: units[c.Unit]}
	if f, ok := query.FieldByName(c.Field); ok && c.Role == query.RoleKey {
		column.Field = f
		if f.Type == query.Span {
			column.Unit = "ms"
		}
	}
	switch c.Role {
	case query.RoleRow:
		column.Role = RoleRow
	case query.RoleTime:
		column.Role = RoleTime
	case query.RoleKey:
		column.Role = RoleKey
	case query.RoleName:
		column.Role = RoleName
	case query.RoleValue:
		column.Role, column.Zero = RoleValue, true
	case query.RoleShare:
		column.Role, column.Unit = RoleValue, "percentunit"
	}
	return column
}
