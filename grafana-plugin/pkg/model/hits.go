package model

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/query"
)

// hitKeys are what hits over time can be grouped by, with the SQL of it.
var hitKeys = []struct{ name, sql string }{
	{"rule", ofInstance("rule")},
	{"tier", ofInstance("tier")},
	{"verdict", ofInstance("verdict")},
	{"scope", "if(" + scopeOf + " = 0, 'all', dictGetOrDefault('entity_now', 'name', " + scopeOf + ", ''))"},
	{"host", "dictGetOrDefault('entity_now', 'name', host, '')"},
}

const scopeOf = "dictGetOrDefault('rule_instance', 'scope', toUInt64(rule_instance), toUInt64(0))"

// ofInstance returns the SQL of what is known of the rule of a row.
func ofInstance(attribute string) string {
	return "dictGetOrDefault('rule_instance', '" + attribute + "', toUInt64(rule_instance), '')"
}

// HitKeys lists what hits over time can be grouped by.
func HitKeys() (names []string) {
	for _, k := range hitKeys {
		names = append(names, k.name)
	}
	return names
}

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
		if h.By != "" || h.Verdict != "" {
			return nil, reject("by", "use format timeseries or number", "a table has a row for each version of a rule")
		}
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
	key := slices.IndexFunc(hitKeys, func(k struct{ name, sql string }) bool { return k.name == cmp.Or(h.By, "rule") })
	if key < 0 {
		return nil, reject("by", oneOf(h.By, HitKeys()), "found %q", h.By)
	}
	if h.Verdict != "" && !slices.Contains(verdicts(), h.Verdict) {
		return nil, reject("verdict", oneOf(h.Verdict, verdicts()), "found %q", h.Verdict)
	}
	return h.figures(env, p, hitKeys[key].name, hitKeys[key].sql, rule, unit, rows)
}

// verdicts lists those that rules have.
func verdicts() (words []string) {
	for v := flow.VerdictUnknown + 1; v <= flow.VerdictUnknownPort; v++ {
		words = append(words, v.String())
	}
	return words
}

// figures plans the hits of rules over time, or over the range, by a key, of which keySQL is that of a row.
func (h *Hits) figures(env *Env, p *Plan, key, keySQL, rule string, unit query.Unit, rows int) (*Plan, error) {
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
	if rule != "" {
		conditions = append(conditions, ofInstance("rule")+" = "+b.bind("rule", "String", rule))
	}
	if h.Verdict != "" {
		conditions = append(conditions, ofInstance("verdict")+" = "+b.bind("verdict", "String", h.Verdict))
	}
	columns, keys := []string{keySQL + " AS of"}, "of"
	value := Column{Name: string(unit), Role: RoleValue, Unit: units[unit], Zero: true}
	p.Shape.Columns = []Column{{Name: key, Role: RoleKey}, value}
	if s != nil {
		columns = append(columns, bucket("toInt64(toUnixTimestamp(minute)) * 1000", s.step)+" AS t")
		keys = "t, of"
		p.Shape.Columns = append([]Column{{Name: "time", Role: RoleTime}}, p.Shape.Columns...)
	}
	rowsOf := selectFrom(append(columns, "packets", "bytes"), "rule_hits_1m FINAL", where(conditions...))
	if rule != "" && key == "rule" { // that it was not met is 0, which an alert rule can look at
		zero := []string{b.bind("rule", "String", rule) + " AS of"}
		if s != nil {
			zero = append(zero, "toDateTime("+b.second("from", from)+", 'UTC') AS t")
		}
		rowsOf += "\nUNION ALL\nSELECT\n  " + strings.Join(append(zero, "toUInt64(0) AS packets", "toUInt64(0) AS bytes"), ",\n  ")
	}
	sum := figure + " AS `" + string(unit) + "`"
	named := "of AS `" + key + "`"
	if s == nil {
		grouped := selectFrom([]string{"of", sum}, sub(rowsOf), "GROUP BY of", "ORDER BY `"+string(unit)+"` DESC, of", limit(rows))
		p.Statement = b.statement(selectFrom([]string{named, "`" + string(unit) + "`"}, sub(grouped), "ORDER BY `"+string(unit)+"` DESC, of"))
		return p, nil
	}
	grouped := selectFrom([]string{"t", "of", sum}, sub(rowsOf), "GROUP BY "+keys)
	best := selectFrom([]string{"of"}, "hits", "GROUP BY of", "ORDER BY sum(`"+string(unit)+"`) DESC, of", limit(rows))
	p.Statement = b.statement("WITH hits AS " + sub(grouped) + "\n" +
		selectFrom([]string{"t AS time", named, "`" + string(unit) + "`"}, "hits", "WHERE of IN "+sub(best), "ORDER BY t, of", limit(p.MaxRows)))
	return p, nil
}
