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
	p := &Plan{Names: w.Names, Notes: notes, MaxRows: rows, Limit: rows, Shape: Shape{Format: e.Format}}
	b := params(slices.Clone(w.Params))
	begin, end := env.From, env.To
	var s *steps
	if e.Format == Timeseries {
		if s, err = env.steps("", 10*time.Second, flowsDelay); err != nil {
			return nil, err
		}
		begin, end = s.from, s.to
		p.Shape.From, p.Shape.To, p.Shape.Step = s.from, s.to, s.step
		p.Limit, p.MaxRows = 0, rows*(int(end.Sub(begin)/s.step)+1)
	}
	span := []string{"time >= " + b.milli("from", begin), "time < " + b.milli("to", end)}
	conditions := []string{w.SQL}
	if len(kinds) > 0 {
		conditions = append(conditions, "what IN ("+b.each("kind", "String", kinds)+")")
	}
	if e.Severity != "" && e.Severity != "any" {
		i := slices.Index(Severities(), e.Severity)
		if i < 0 {
			return nil, reject("severity", oneOf(e.Severity, Severities()), "found %q", e.Severity)
		}
		conditions = append(conditions, "level <= "+severities[i].number)
	}
	if e.Text != "" {
		if len(e.Text) > 1000 {
			return nil, reject("text", "at most 1000 are read", "it is %d bytes long", len(e.Text))
		}
		text := b.bind("text", "String", e.Text)
		conditions = append(conditions, "(positionCaseInsensitiveUTF8(text, "+text+") > 0 OR positionCaseInsensitiveUTF8(subject, "+text+") > 0)")
	}
	var tables []string
	if source != Admin || !env.AdminEvents {
		if source == Admin {
			span = append(span, "false")
		}
		tables = append(tables, selectFrom(networkEvents, "network_events FINAL", where(span...)))
	}
	if source != Network && env.AdminEvents {
		tables = append(tables, selectFrom(adminEvents, "admin_events FINAL", where(span...)))
	}
	matching := ""
	if conditions = slices.DeleteFunc(conditions, func(c string) bool { return c == "true" }); len(conditions) > 0 {
		matching = where(conditions...)
	}
	var sql string
	if e.Format == Timeseries || e.Format == Number {
		sql = e.counts(&b, p, s, tables, matching, kinds)
	} else {
		sql = e.list(p, tables, matching, rows)
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

// networkEvents and adminEvents are the columns that events of both tables have. What people changed is told with who and why.
var (
	networkEvents = []string{
		"time", "id", "toString(kind) AS what", "toString(severity) AS word", "CAST(severity, 'Int8') AS level",
		"pool", "host", "bridge", "network", "vm", "vif", "subject", "text", "CAST(attributes, 'Map(String, String)') AS facts",
	}
	adminEvents = []string{
		"time", "id", "toString(operation) AS what",
		"['notice', 'warning', 'error'][CAST(outcome, 'Int8')] AS word", "[5, 4, 3][CAST(outcome, 'Int8')] AS level",
		"toUInt64(0) AS pool", "toUInt64(0) AS host", "toUInt64(0) AS bridge", "toUInt64(0) AS network", "toUInt64(0) AS vm", "toUInt64(0) AS vif",
		"object AS subject",
		"concat(toString(outcome), if(actor = '', '', concat(', by ', toString(actor))), if(reason = '', '', concat(': ', reason)), if(admin_events.text = '', '', concat(': ', admin_events.text))) AS text",
		"map('actor', toString(actor), 'role', toString(role), 'via', toString(via), 'source', source, 'request', request, 'reason', reason, 'outcome', toString(outcome)) AS facts",
	}
)

// from writes the rows of the tables that match, with the columns.
func from(tables []string, columns []string, matching string, clauses ...string) string {
	var parts []string
	for _, t := range tables {
		all := clauses
		if matching != "" {
			all = append([]string{matching}, clauses...)
		}
		parts = append(parts, selectFrom(columns, sub(t), all...))
	}
	return strings.Join(parts, "\nUNION ALL\n")
}

// list writes the query for single events, newest first. Names are looked up for the rows of the answer only.
func (e *Events) list(p *Plan, tables []string, matching string, rows int) string {
	read := from(tables, []string{"*"}, matching, "ORDER BY time DESC, id DESC", limit(rows))
	if len(tables) > 1 { // of each the newest
		var parts []string
		for _, t := range tables {
			parts = append(parts, "SELECT * FROM "+sub(from([]string{t}, []string{"*"}, matching, "ORDER BY time DESC, id DESC", limit(rows))))
		}
		read = strings.Join(parts, "\nUNION ALL\n")
	}
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
		add("concat(subject, if(subject = '', '', ': '), replaceAll(what, '_', ' '))", Column{Name: "title", Role: RoleTitle})
		add("text", Column{Name: "text", Role: RoleBody})
		add("arrayFilter(x -> x != '', [what, word, "+name("host")+", "+name("vm")+"])", Column{Name: "tags", Role: RoleTags})
		add(id, Column{Name: "id", Role: RoleID})
	case Logs:
		var names []string
		for _, a := range abouts {
			names = append(names, "'"+a+"', "+name(a))
		}
		add("time", Column{Name: "timestamp", Role: RoleTime})
		add("concat(subject, if(subject = '', '', ': '), text)", Column{Name: "body", Role: RoleBody})
		add("word", Column{Name: "severity", Role: RoleLevel})
		add(id, Column{Name: "id", Role: RoleID})
		add("mapFilter((k, v) -> v != '', mapConcat(facts, map('kind', what, "+strings.Join(names, ", ")+")))",
			Column{Name: "labels", Role: RoleLabels})
	default:
		add("time", Column{Name: "time", Role: RoleTime})
		add("word", Column{Name: "severity", Role: RoleText})
		add("what", Column{Name: "kind", Role: RoleText})
		add("subject", Column{Name: "subject", Role: RoleText})
		add("text", Column{Name: "text", Role: RoleText})
		for _, a := range abouts {
			add(name(a), Column{Name: a + "_name", Role: RoleText})
		}
		add(id, Column{Name: "id", Role: RoleText})
	}
	return selectFrom(columns, sub(read), "ORDER BY time DESC, id DESC", limit(rows))
}

// counts writes the query for how many events of each kind there were. Kinds that are asked for by name are there even if there were none,
// so that an alert rule has a 0 to look at.
func (e *Events) counts(b *params, p *Plan, s *steps, tables []string, matching string, kinds []string) string {
	var columns []string
	t := ""
	if s != nil {
		t = "t, "
		columns = append(columns, bucket("toUnixTimestamp64Milli(time)", s.step)+" AS t")
		p.Shape.Columns = append(p.Shape.Columns, Column{Name: "time", Role: RoleTime})
	}
	p.Shape.Columns = append(p.Shape.Columns, Column{Name: "kind", Role: RoleKey}, Column{Name: "events", Role: RoleValue, Unit: "short", Zero: true})
	rows := from(tables, append(columns, "what AS kind", "1 AS n"), matching)
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
