package model

import (
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/flow"
)

// inventoryKinds are the words for what exists, with the kinds of entities that each is.
var inventoryKinds = []struct {
	word  string
	kinds []flow.Kind
	seen  []string // columns of sums of flows that tell whether it is active; none if they do not
}{
	{"pool", []flow.Kind{flow.KindPool}, []string{"pool"}},
	{"host", []flow.Kind{flow.KindHost}, []string{"host"}},
	{"bridge", []flow.Kind{flow.KindBridge}, nil},
	{"network", []flow.Kind{flow.KindNetwork}, []string{"network"}},
	{"vm", []flow.Kind{flow.KindVM}, []string{"src_vm", "dst_vm"}},
	{"vif", []flow.Kind{flow.KindVIF}, nil},
	{"group", []flow.Kind{flow.KindAddressGroup, flow.KindVMGroup}, []string{"group"}},
	{"address_group", []flow.Kind{flow.KindAddressGroup}, []string{"group"}},
	{"vm_group", []flow.Kind{flow.KindVMGroup}, []string{"group"}},
}

const kindExporter = "exporter"

// InventoryKinds lists the kinds of what exists.
func InventoryKinds() (words []string) {
	for _, k := range inventoryKinds {
		words = append(words, k.word)
	}
	return append(words, kindExporter)
}

// plan plans what exists now, and what of it was active in the range: was seen in flows, or, of an exporter, sent something.
func (v *Inventory) plan(env *Env) (*Plan, error) {
	kind := v.Kind
	if kind == "any" {
		kind = ""
	}
	if kind != "" && !slices.Contains(InventoryKinds(), kind) {
		return nil, reject("kind", oneOf(kind, InventoryKinds()), "found %q", kind)
	}
	if len(v.Match) > 1000 {
		return nil, reject("match", "at most 1000 are read", "it is %d bytes long", len(v.Match))
	}
	rows, notes, err := limited(v.Limit, 1000, env.Limits.Rows)
	if err != nil {
		return nil, err
	}
	p := &Plan{Notes: notes, MaxRows: rows, Limit: rows, Shape: Shape{Format: v.Format, Whole: true}}
	b := &params{}
	var sql string
	switch {
	case v.Format == Table && kind == kindExporter:
		sql = v.exporters(env, p, b, rows)
	case v.Format == Table:
		sql = v.list(env, p, b, kind, rows)
	default:
		sql = v.counts(env, p, b, kind)
		p.MaxRows = len(inventoryKinds) + 1
		p.Limit = 0
	}
	p.Statement = b.statement(sql)
	return p, nil
}

// matches writes the condition that a name matches the pattern.
func (v *Inventory) matches(b *params, name string) string {
	if v.Match == "" || v.Match == "any" {
		return ""
	}
	return name + " ILIKE " + b.like("match", v.Match)
}

// kindsOf returns the kinds of entities of a word, all if it is empty, and the columns of flows that know them.
func kindsOf(word string) (kinds, seen []string) {
	for _, k := range inventoryKinds {
		if word != k.word && (word != "" || k.word == "group") {
			continue
		}
		for _, x := range k.kinds {
			kinds = append(kinds, "'"+string(x)+"'")
		}
		for _, s := range k.seen {
			if !slices.Contains(seen, s) {
				seen = append(seen, s)
			}
		}
	}
	return kinds, seen
}

// active writes the query for the ids that flows of the range have in the columns; "" if there are none.
func active(env *Env, b *params, columns []string) string {
	table, unit := "flows_1m", time.Minute
	if env.To.Sub(env.From) >= 6*time.Hour {
		table, unit = "flows_1h", time.Hour
	}
	span := func(unit time.Duration, name string) string {
		return where("bucket >= "+b.second(name, floor(env.From, unit)), "bucket < "+b.second("to", env.To))
	}
	var parts, ids []string
	for _, c := range columns {
		if c != "group" {
			ids = append(ids, c)
		}
	}
	if len(ids) > 0 {
		parts = append(parts, selectFrom([]string{"arrayJoin([" + strings.Join(ids, ", ") + "]) AS id"}, table, span(unit, "from"), "GROUP BY id"))
	}
	if slices.Contains(columns, "group") {
		parts = append(parts, selectFrom([]string{"group AS id"}, "flows_group_1m", span(time.Minute, "from_group"), "GROUP BY id"))
	}
	return strings.Join(parts, "\nUNION ALL\n")
}

// list writes the query for entities by name.
func (v *Inventory) list(env *Env, p *Plan, b *params, kind string, rows int) string {
	kinds, seen := kindsOf(kind)
	is := "toBool(false)"
	if ids := active(env, b, seen); ids != "" {
		is = "toBool(id IN " + sub(ids) + ")"
	}
	entities := selectFrom([]string{"id", "toString(kind) AS kind", "name", "key", "parent", "pool", "valid_from", "toString(source) AS source", "toJSONString(mapSort(attributes)) AS attributes"},
		"entities_now", where("NOT removed", "kind IN ("+strings.Join(kinds, ", ")+")", v.matches(b, "name")), "ORDER BY name, kind, key", limit(rows))
	name := func(id string) string { return "dictGetOrDefault('entity_now', 'name', " + id + ", '')" }
	var columns []string
	add := func(sql string, c Column) {
		columns = append(columns, sql+" AS `"+c.Name+"`")
		p.Shape.Columns = append(p.Shape.Columns, c)
	}
	add("name", Column{Name: "name", Role: RoleText})
	add("kind", Column{Name: "kind", Role: RoleText})
	if len(seen) > 0 {
		add(is, Column{Name: "active", Role: RoleText})
	}
	add(name("parent"), Column{Name: "parent_name", Role: RoleText})
	add(name("pool"), Column{Name: "pool_name", Role: RoleText})
	add("valid_from", Column{Name: "since", Role: RoleText})
	add("source", Column{Name: "source", Role: RoleText})
	add("key", Column{Name: "key", Role: RoleText})
	add("attributes", Column{Name: "attributes", Role: RoleText})
	add("toString(id)", Column{Name: "id", Role: RoleText})
	return selectFrom(columns, sub(entities)+" AS e", "ORDER BY e.name, e.kind, e.key", limit(rows))
}

// exporters writes the query for exporters, of which is known who sent in the time that exporter_stats keeps.
func (v *Inventory) exporters(env *Env, p *Plan, b *params, rows int) string {
	in := "time > " + b.milli("from", env.From) + " AND time <= " + b.milli("to", env.To)
	const text = "replaceRegexpOne(toString(exporter), '^::ffff:([0-9]+\\\\.)', '\\\\1')"
	var columns []string
	add := func(sql, name, unit string, role Role) {
		columns = append(columns, sql+" AS `"+name+"`")
		p.Shape.Columns = append(p.Shape.Columns, Column{Name: name, Role: role, Unit: unit})
	}
	add(text, "name", "", RoleText)
	add("toBool(countIf("+in+") > 0)", "active", "", RoleText)
	add("arrayStringConcat(arrayMap(x -> toString(x), arraySort(groupUniqArray(version))), ', ')", "versions", "", RoleText)
	add("uniqExact(observation_domain)", "domains", "short", RoleValue)
	add("sumIf(flows, "+in+")", "flows", "short", RoleValue)
	add("min(time)", "first", "", RoleText)
	add("max(time)", "last", "", RoleText)
	clauses := []string{}
	if m := v.matches(b, text); m != "" {
		clauses = append(clauses, where(m))
	}
	return selectFrom(columns, "exporter_stats FINAL", append(clauses, "GROUP BY exporter", "ORDER BY last DESC, exporter", limit(rows))...)
}

// counts writes the query for how many there are of each kind, and how many were active; of what flows do not know only how many.
func (v *Inventory) counts(env *Env, p *Plan, b *params, kind string) string {
	activeColumn := Column{Name: "active", Role: RoleValue, Unit: "short"}
	totalColumn := Column{Name: "total", Role: RoleValue, Unit: "short"}
	p.Shape.Columns = []Column{activeColumn, totalColumn}
	var parts []string
	if kind != kindExporter {
		kinds, seen := kindsOf(kind)
		is := "NULL"
		if ids := active(env, b, seen); ids != "" {
			is = "toUInt64(countIf(n = 1 AND id IN " + sub(ids) + "))"
		}
		word := "toString(kind)"
		if kind != "" {
			word = "'" + kind + "'"
		} else { // flows of the tables of sums do not tell these
			is = "if(word IN ('bridge', 'vif'), NULL, " + is + ")"
		}
		// A kind of which there is none is told, too.
		list := "[" + strings.Join(kinds, ", ") + "]"
		entities := selectFrom([]string{"id", "toString(kind) AS kind", "1 AS n"}, "entities_now",
			where("NOT removed", "has("+list+", toString(kind))", v.matches(b, "name")))
		all := entities + "\nUNION ALL\nSELECT toUInt64(0) AS id, arrayJoin(" + list + ") AS kind, 0 AS n"
		counted := selectFrom([]string{word + " AS word", "CAST(" + is + ", 'Nullable(UInt64)') AS active", "toUInt64(sum(n)) AS total"}, sub(all), "GROUP BY word")
		parts = append(parts, counted)
	}
	if kind == "" || kind == kindExporter {
		in := "time > " + b.milli("since", env.From) + " AND time <= " + b.milli("until", env.To)
		exporters := "exporter_stats"
		if m := v.matches(b, "toString(exporter)"); m != "" {
			exporters += "\n" + where(m)
		}
		parts = append(parts, selectFrom([]string{
			"'exporter' AS word", "CAST(uniqExactIf(exporter, " + in + "), 'Nullable(UInt64)') AS active", "uniqExact(exporter) AS total",
		}, exporters))
	}
	columns := []string{"active", "total"}
	if kind == "" {
		columns = append([]string{"word AS kind"}, columns...)
		p.Shape.Columns = append([]Column{{Name: "kind", Role: RoleKey}}, p.Shape.Columns...)
	}
	return selectFrom(columns, sub(strings.Join(parts, "\nUNION ALL\n")), "ORDER BY word")
}
