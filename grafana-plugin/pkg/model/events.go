package model

import (
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/internal/nearest"
	"github.com/weirhq/weir/query"
)

// eventColumns are the columns of events that a filter can speak of. An event is about one VM, which is neither end of anything.
var eventColumns = map[string]string{
	"pool": "pool", "host": "host", "bridge": "bridge", "network": "network",
	"src_vm": "vm", "dst_vm": "vm", "src_vif": "vif", "dst_vif": "vif",
}

// severities are the words that a query may say, most urgent first, with the numbers that events have.
var severities = []struct{ word, number string }{{"error", "3"}, {"warning", "4"}, {"notice", "5"}, {"info", "6"}}

// Severities lists the words for the severity of events, most urgent first.
func Severities() (words []string) {
	for _, s := range severities {
		words = append(words, s.word)
	}
	return words
}

const maxKinds = 100

// plan plans what happened.
func (e *Events) plan(env *Env) (*Plan, error) {
	source := e.Source
	switch source {
	case "":
		source = Network
	case Network, Admin, All:
	default:
		return nil, reject("source", oneOf(string(source), []Source{Network, Admin, All}), "found %q", source)
	}
	most := env.Limits.Rows
	if e.Format == Timeseries || e.Format == Number {
		most = env.Limits.Series
	}
	rows, notes, err := limited(e.Limit, 1000, most)
	if err != nil {
		return nil, err
	}
	if e.Limit == 0 {
		rows = min(1000, most)
	}
	if source != Network && !env.AdminEvents {
		notes = append(notes, "the store has no table admin_events: what people changed is not told")
	}
	kinds, err := e.kinds(source)
	if err != nil {
		return nil, err
	}
	w, err := query.Condition(e.Filter, eventColumns, "events")
	if err != nil {
		return nil, err
	}
	p := &Plan{Names: w.Names, Notes: notes, MaxRows: rows, Shape: Shape{Format: e.Format}}
	b := params(slices.Clone(w.Params))
	from, to := env.From, env.To
	var s *steps
	if e.Format == Timeseries {
		if s, err = env.steps("", 10*time.Second, flowsDelay); err != nil {
			return nil, err
		}
		from, to = s.from, s.to
		p.Shape.From, p.Shape.To, p.Shape.Step = s.from, s.to, s.step
		p.MaxRows = rows * (int(to.Sub(from)/s.step) + 1)
	}
	conditions := []string{"time >= " + b.milli("from", from), "time < " + b.milli("to", to), w.SQL}
	if len(kinds) > 0 {
		conditions = append(conditions, "kind IN ("+b.each("kind", "String", kinds)+")")
	}
	if e.Severity != "" && e.Severity != "any" {
		i := slices.Index(Severities(), e.Severity)
		if i < 0 {
			return nil, reject("severity", oneOf(e.Severity, Severities()), "found %q", e.Severity)
		}
		conditions = append(conditions, "CAST(severity, 'Int8') <= "+severities[i].number)
	}
	if e.Text != "" {
		if len(e.Text) > 1000 {
			return nil, reject("text", "at most 1000 are read", "it is %d bytes long", len(e.Text))
		}
		text := b.bind("text", "String", e.Text)
		conditions = append(conditions, "(positionCaseInsensitiveUTF8(text, "+text+") > 0 OR positionCaseInsensitiveUTF8(subject, "+text+") > 0)")
	}
	var tables []string
	if source != Admin {
		tables = append(tables, "network_events")
	}
	if source != Network && env.AdminEvents {
		tables = append(tables, "admin_events")
	}
	if len(tables) == 0 {
		tables, conditions = []string{"network_events"}, []string{"false"}
	}
	var sql string
	if e.Format == Timeseries || e.Format == Number {
		sql = e.counts(&b, p, s, tables, conditions, kinds)
	} else {
		sql = e.list(p, tables, conditions, rows)
	}
	p.Statement = b.statement(sql)
	return p, nil
}

// kinds returns those that are asked for; none is all.
func (e *Events) kinds(source Source) ([]string, error) {
	if slices.Contains(e.Kinds, "any") {
		return nil, nil
	}
	if len(e.Kinds) > maxKinds {
		return nil, reject("kinds", "at most 100 are read", "found %d", len(e.Kinds))
	}
	var names []string
	for _, k := range event.Kinds {
		names = append(names, string(k.Kind))
	}
	var kinds []string
	for _, k := range e.Kinds {
		if k == "" || slices.Contains(kinds, k) {
			continue
		}
		// What people can do is listed by the API that they do it by.
		if source == Network && !event.Kind(k).Known() {
			hint := "the kinds are listed in docs/howto/watch-events.md"
			if n := nearest.Word(k, names); n != "" {
				hint = "did you mean " + n + "?"
			}
			return nil, reject("kinds", hint, "unknown kind %q", k)
		}
		kinds = append(kinds, k)
	}
	return kinds, nil
}

// union writes the rows of the tables, each with the columns.
func union(tables []string, columns []string, conditions []string, clauses ...string) string {
	var parts []string
	for _, t := range tables {
		parts = append(parts, selectFrom(columns, t+" FINAL", append([]string{where(slices.Clone(conditions)...)}, clauses...)...))
	}
	return strings.Join(parts, "\nUNION ALL\n")
}

// list writes the query for single events, newest first. Names are looked up for the rows of the answer only.
func (e *Events) list(p *Plan, tables, conditions []string, rows int) string {
	read := union(tables, []string{"time", "id", "kind", "severity", "pool", "host", "bridge", "network", "vm", "vif", "subject", "text", "attributes"},
		conditions, "ORDER BY time DESC, id DESC", limit(rows))
	name := func(column string) string {
		return "dictGetOrDefault('entity_then', 'name', " + column + ", time, '')"
	}
	var columns []string
	add := func(sql string, c Column) {
		columns = append(columns, sql+" AS `"+c.Name+"`")
		p.Shape.Columns = append(p.Shape.Columns, c)
	}
	const id = "concat(toString(toUnixTimestamp64Milli(time)), '-', toString(id))"
	abouts := []string{"pool", "host", "bridge", "network", "vm", "vif"}
	switch e.Format {
	case Annotations:
		add("time", Column{Name: "time", Role: RoleTime})
		add("concat(subject, if(subject = '', '', ': '), replaceAll(toString(kind), '_', ' '))", Column{Name: "title", Role: RoleTitle})
		add("text", Column{Name: "text", Role: RoleBody})
		add("arrayFilter(x -> x != '', [toString(kind), toString(severity), "+name("host")+", "+name("vm")+"])", Column{Name: "tags", Role: RoleTags})
		add(id, Column{Name: "id", Role: RoleID})
	case Logs:
		var names []string
		for _, a := range abouts {
			names = append(names, "'"+a+"', "+name(a))
		}
		add("time", Column{Name: "timestamp", Role: RoleTime})
		add("concat(subject, if(subject = '', '', ': '), text)", Column{Name: "body", Role: RoleBody})
		add("toString(severity)", Column{Name: "severity", Role: RoleLevel})
		add(id, Column{Name: "id", Role: RoleID})
		add("mapFilter((k, v) -> v != '', mapConcat(CAST(attributes, 'Map(String, String)'), map('kind', toString(kind), "+strings.Join(names, ", ")+")))",
			Column{Name: "labels", Role: RoleLabels})
	default:
		add("time", Column{Name: "time", Role: RoleTime})
		add("toString(severity)", Column{Name: "severity", Role: RoleText})
		add("toString(kind)", Column{Name: "kind", Role: RoleText})
		add("subject", Column{Name: "subject", Role: RoleText})
		add("text", Column{Name: "text", Role: RoleText})
		for _, a := range abouts {
			add(name(a), Column{Name: a + "_name", Role: RoleText})
			p.Shape.Columns[len(p.Shape.Columns)-1].Name = a + "_name"
		}
		add(id, Column{Name: "id", Role: RoleText})
	}
	return selectFrom(columns, sub(read), "ORDER BY time DESC, id DESC", limit(rows))
}

// counts writes the query for how many events of each kind there were. Kinds that are asked for by name are there even if there were none,
// so that an alert rule has a 0 to look at.
func (e *Events) counts(b *params, p *Plan, s *steps, tables, conditions, kinds []string) string {
	var columns []string
	t := ""
	if s != nil {
		t = "t, "
		columns = append(columns, bucket("toUnixTimestamp64Milli(time)", s.step)+" AS t")
		p.Shape.Columns = append(p.Shape.Columns, Column{Name: "time", Role: RoleTime})
	}
	p.Shape.Columns = append(p.Shape.Columns, Column{Name: "kind", Role: RoleKey}, Column{Name: "events", Role: RoleValue, Unit: "short", Zero: true})
	rows := union(tables, append(columns, "toString(kind) AS kind", "1 AS n"), conditions)
	if len(kinds) > 0 {
		zero := "0 AS n"
		named := "arrayJoin([" + b.each("kind", "String", kinds) + "]) AS kind"
		if s != nil {
			rows += "\nUNION ALL\nSELECT\n  " + strings.Join([]string{"toDateTime(" + b.second("from_s", s.from) + ", 'UTC') AS t", named, zero}, ",\n  ")
		} else {
			rows += "\nUNION ALL\nSELECT\n  " + named + ",\n  " + zero
		}
	}
	out := []string{"kind", "toUInt64(sum(n)) AS events"}
	order := "ORDER BY events DESC, kind"
	if s != nil {
		out, order = append([]string{"t AS time"}, out...), "ORDER BY t, kind"
	}
	return selectFrom(out, sub(rows), "GROUP BY "+t+"kind", order, limit(p.MaxRows))
}
