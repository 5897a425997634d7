package model

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/query"
)

// plan plans how often rules were met: tables through [query.Hits].
func (h *Hits) plan(env *Env) (*Plan, error) {
	rule := h.Rule
	if rule == "any" { // All of a variable
		rule = ""
	}
	normal, most := 1000, env.Limits.Rows
	if h.Format != Table {
		normal, most = 10, env.Limits.Series
	}
	rows, notes, err := limited(h.Limit, normal, most)
	if err != nil {
		return nil, err
	}
	p := &Plan{Notes: notes, MaxRows: rows, Shape: Shape{Format: h.Format}}
	if h.Format == Table {
		answer, err := query.Hits(query.HitsRequest{From: env.From, To: env.To, Rule: rule, Unused: h.Unused, System: h.System, Limit: rows}, env.Now)
		if err != nil {
			return nil, err
		}
		p.Statement, p.Names, p.Limit = answer.Statement, answer.Names, rows
		for _, c := range query.HitsColumns {
			column := Column{Name: c.Name, Role: RoleText, Unit: units[c.Unit]}
			if c.Role == query.RoleValue {
				column.Role = RoleValue
			}
			switch {
			case c.Role == query.RoleTime:
				column.Role = RoleTime
			case c.Name == "instance" || c.Name == "rule_id":
				column.Role = RoleID
			}
			p.Shape.Columns = append(p.Shape.Columns, column)
		}
		return p, nil
	}
	if h.Unused {
		return nil, reject("unused", "use format table", "rules that are not met have no figures")
	}
	unit := h.Unit
	if unit == "" {
		unit = query.PPS
	}
	if !slices.Contains([]query.Unit{query.Packets, query.Bytes, query.PPS, query.BPS}, unit) {
		return nil, reject("unit", oneOf(string(unit), []query.Unit{query.Packets, query.Bytes, query.PPS, query.BPS}), "found %q", unit)
	}
	if rule != "" && !h.System { // built-in rules are no entities
		p.Names = []query.Name{{Field: "rule", Kinds: []flow.Kind{flow.KindRule}, Text: rule, Pos: 1}}
	}
	return h.figures(env, p, rule, unit, rows)
}

// figures plans the hits of rules over time, or over the range.
func (h *Hits) figures(env *Env, p *Plan, rule string, unit query.Unit, rows int) (*Plan, error) {
	from, to := floor(env.From, time.Minute), env.To
	per := env.To.Sub(env.From)
	var s *steps
	if h.Format == Timeseries {
		var err error
		if s, err = env.steps(h.Step, time.Minute, hitsDelay); err != nil {
			return nil, err
		}
		p.Notes = append(p.Notes, s.notes...)
		p.Shape.From, p.Shape.To, p.Shape.Step = s.from, s.to, s.step
		p.MaxRows = rows * (int(s.to.Sub(s.from)/s.step) + 1)
		from, to, per = s.from, s.to, s.step
	} else if rates([]query.Unit{unit}) {
		from, to = env.complete(hitsDelay)
		from = floor(from, time.Minute)
		if end := floor(to, time.Minute); from.Before(end) {
			to = end
		}
		per = to.Sub(from)
	}
	var b params
	figure := map[query.Unit]string{query.Packets: "sum(packets)", query.Bytes: "sum(bytes)", query.PPS: "sum(packets)", query.BPS: "sum(bytes) * 8"}[unit]
	if rates([]query.Unit{unit}) {
		figure += " / " + strconv.FormatFloat(per.Seconds(), 'f', -1, 64)
	}
	conditions := []string{"minute >= " + b.second("from", from), "minute < " + b.second("to", to)}
	if !h.System {
		conditions = append(conditions, "rule_instance > "+strconv.Itoa(int(flow.MaxSystemInstance)))
	}
	const of = "dictGetOrDefault('rule_instance', 'rule', toUInt64(rule_instance), '')"
	if rule != "" {
		conditions = append(conditions, of+" = "+b.bind("rule", "String", rule))
	}
	columns, keys := []string{of + " AS rule"}, "rule"
	value := Column{Name: string(unit), Role: RoleValue, Unit: units[unit], Zero: true}
	p.Shape.Columns = []Column{{Name: "rule", Role: RoleKey}, value}
	if s != nil {
		columns = append(columns, bucket("toInt64(toUnixTimestamp(minute)) * 1000", s.step)+" AS t")
		keys = "t, rule"
		p.Shape.Columns = append([]Column{{Name: "time", Role: RoleTime}}, p.Shape.Columns...)
	}
	rowsOf := selectFrom(append(columns, "packets", "bytes"), "rule_hits_1m FINAL", where(conditions...))
	if rule != "" { // that it was not met is 0, which an alert rule can look at
		zero := []string{b.bind("rule", "String", rule) + " AS rule"}
		if s != nil {
			zero = append(zero, "toDateTime("+b.second("from", from)+", 'UTC') AS t")
		}
		rowsOf += "\nUNION ALL\nSELECT\n  " + strings.Join(append(zero, "toUInt64(0) AS packets", "toUInt64(0) AS bytes"), ",\n  ")
	}
	sum := figure + " AS `" + string(unit) + "`"
	if s == nil {
		p.Statement = b.statement(selectFrom([]string{"rule", sum}, sub(rowsOf), "GROUP BY rule", "ORDER BY `"+string(unit)+"` DESC, rule", limit(rows)))
		return p, nil
	}
	grouped := selectFrom([]string{"t AS time", "rule", sum}, sub(rowsOf), "GROUP BY "+keys)
	best := selectFrom([]string{"rule"}, "hits", "GROUP BY rule", "ORDER BY sum(`"+string(unit)+"`) DESC, rule", limit(rows))
	p.Statement = b.statement("WITH hits AS " + sub(grouped) + "\n" + selectFrom([]string{"*"}, "hits", "WHERE rule IN "+sub(best), "ORDER BY time, rule", limit(p.MaxRows)))
	return p, nil
}
