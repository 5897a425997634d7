package query

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/flow"
)

// Statement is a query for ClickHouse. SQL has no FORMAT and no SETTINGS clause: the settings are sent beside it, since
// a read-only user may not set them in the text.
type Statement struct {
	SQL      string            `json:"sql"`
	Params   []Param           `json:"params,omitempty"`
	Settings map[string]string `json:"settings,omitempty"`
}

// maxTime is how long a statement may run. It is a cap against mistakes; a caller that gives up earlier cancels.
const maxTime = 60 * time.Second

func statement(sql string, p *params) Statement {
	return Statement{
		SQL:      sql,
		Params:   p.list,
		Settings: map[string]string{"max_execution_time": strconv.Itoa(int(maxTime / time.Second))},
	}
}

// Plan is how a request is answered.
type Plan struct {
	Statement
	Columns []Column `json:"columns"` // of the answer, in order

	Table string    `json:"table"`          // that is read, of Parts the coarsest
	Parts []Part    `json:"parts"`          // of the range, in order of time
	Basis Basis     `json:"basis"`          // what its times are
	From  time.Time `json:"from"`           // range that is read, which may be wider than asked
	To    time.Time `json:"to"`             // exclusive
	Step  Duration  `json:"step,omitempty"` // of a series

	Names []Name   `json:"names,omitempty"` // that should be checked before: see [KnownNames]
	Notes []string `json:"notes,omitempty"` // what a reader of the answer should know
}

// Part is what is read of one table. Where there are several, coarse buckets are read from one table and what is left at the
// edges of the range from finer ones.
type Part struct {
	Table string    `json:"table"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"` // exclusive
}

// Role is what a column of an answer is for.
type Role string

// The roles.
const (
	RoleRow   Role = "row"   // which row it is: top, other or total
	RoleTime  Role = "time"  // start of a step, or a time of a record
	RoleKey   Role = "key"   // a field of By
	RoleName  Role = "name"  // name of the entity in the key column before it, empty if none is known
	RoleValue Role = "value" // a figure, in Unit
	RoleShare Role = "share" // part of the total of the first unit, 0 to 1
)

// Column describes a column of an answer. Its name is stable: clients may keep it.
type Column struct {
	Name  string `json:"name"`
	Role  Role   `json:"role"`
	Type  string `json:"type"`            // of ClickHouse
	Unit  Unit   `json:"unit,omitempty"`  // of a value; of a field of a list if it has one
	Field string `json:"field,omitempty"` // of a key: the field, which knows how to write it
}

// Rows of an answer, in its column "row".
const (
	RowTop   = "top"
	RowOther = "other"
	RowTotal = "total"
)

// Build plans the answer to a request over the tables that exist ([Tables]); now is the time, which says what a table
// still has. An error is an [*Error].
func Build(r Request, tables []Table, now time.Time) (*Plan, error) {
	q, err := r.check()
	if err != nil {
		return nil, err
	}
	c, err := choose(q, tables, now)
	if err != nil {
		return nil, err
	}
	p := &planner{
		question: q,
		choice:   c,
		compiler: compiler{table: c.table, folded: c.folded, direction: q.Direction, params: &params{}},
	}
	var sql string
	var columns []Column
	switch q.Kind {
	case List:
		sql, columns = p.list()
	case Series:
		sql, columns = p.series()
	default:
		sql, columns = p.top()
	}
	var parts []Part
	for _, x := range c.pieces {
		parts = append(parts, Part{x.table.Name, x.from, x.to})
	}
	return &Plan{
		Statement: statement(sql, p.params),
		Columns:   columns,
		Table:     c.table.Name,
		Parts:     parts,
		Basis:     c.table.Basis,
		From:      c.from,
		To:        c.to,
		Step:      Duration(c.step),
		Names:     namesIn(q.filter),
		Notes:     p.notes(),
	}, nil
}

// planner writes the SQL of one question.
type planner struct {
	*question
	choice *choice
	compiler
}

// measure is a figure that is summed, and the letter that its columns in subqueries begin with.
type measure struct{ letter, sql string }

// measureOf returns the figure of a unit. Of what was delivered, rows that stopped packets have a negative one.
func (p *planner) measureOf(u Unit) measure {
	t := p.table
	var m measure
	switch u {
	case Bytes, Bits, BPS:
		m = measure{"b", t.Bytes}
	case Packets, PPS:
		m = measure{"p", t.Packets}
	default:
		m = measure{"f", t.Flows}
	}
	if p.Traffic == Delivered {
		m.sql = "if(" + t.Counted + ", toInt64(" + m.sql + "), -toInt64(" + m.sql + "))"
	}
	return m
}

// measures returns the figures that are needed, the one that ranks first.
func (p *planner) measures() []measure {
	var list []measure
	for _, u := range p.Units {
		if m := p.measureOf(u); !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list
}

// unitSQL returns the SQL of a figure in its unit, from that of the sum.
func (p *planner) unitSQL(u Unit, sum string) string {
	if p.Traffic == Delivered {
		sum = notNegative(sum)
	}
	seconds := p.choice.to.Sub(p.choice.from)
	if p.Kind == Series {
		seconds = p.choice.step
	}
	per := strconv.FormatFloat(seconds.Seconds(), 'f', -1, 64)
	switch u {
	case Bits:
		return sum + " * 8"
	case BPS:
		return sum + " * 8 / " + per
	case PPS, FPS:
		return sum + " / " + per
	default:
		return sum
	}
}

// notNegative returns the SQL of a sum of what was delivered. It is less than 0 where a record of what was stopped came into the range
// and the one of what was sent did not.
func notNegative(sum string) string { return "toUInt64(greatest(" + sum + ", 0))" }

func unitType(u Unit) string {
	if u == BPS || u == PPS || u == FPS {
		return "Float64"
	}
	return "UInt64"
}

// notes returns what a reader should know.
func (p *planner) notes() []string {
	notes := p.choice.notes
	if p.Kind == List {
		return notes
	}
	exporter, _ := FieldByName("exporter")
	for _, f := range p.by {
		if p.many(f) {
			notes = append(notes, "a flow is in the row of every "+f.Name+" that it has: rows add up to more than the total")
		}
		if slices.Contains([]string{"in_if", "out_if", "interface", "application"}, f.Name) && !slices.Contains(p.by, exporter) {
			notes = append(notes, "each exporter numbers "+f.Name+" for itself: group by exporter too")
		}
	}
	return notes
}

// --- rows -------------------------------------------------------------------------------------------------------

// from returns "FROM … WHERE …" of each piece of the range, for the rows that count.
func (p *planner) from() []string {
	bound := func(t *Table, name string, at time.Time) string {
		if t.Resolution != 0 {
			return "fromUnixTimestamp(" + p.params.named(name, "Int64", strconv.FormatInt(at.Unix(), 10)) + ")"
		}
		return "fromUnixTimestamp64Milli(" + p.params.named(name, "Int64", strconv.FormatInt(at.UnixMilli(), 10)) + ")"
	}
	var list []string
	name := "from"
	for i, x := range p.choice.pieces {
		next := "to"
		if i+1 < len(p.choice.pieces) {
			next = "at" + strconv.Itoa(i+1)
		}
		conditions := append([]string{
			x.table.Time + " >= " + bound(x.table, name, x.from),
			x.table.Time + " < " + bound(x.table, next, x.to),
		}, p.conditions()...)
		list = append(list, "FROM "+x.table.Name+"\nWHERE "+strings.Join(conditions, "\n  AND "))
		name = next
	}
	return list
}

// conditions returns those on the rows that count, beside that on their time.
func (p *planner) conditions() []string {
	t := p.table
	var conditions []string
	if c := p.trafficSQL(); c != "" {
		conditions = append(conditions, c)
	}
	if f, ok := t.Folded[p.folded]; ok {
		conditions = append(conditions, map[Direction]string{Both: f.Both, Inbound: f.In, Outbound: f.Out}[p.Direction])
	}
	switch f := p.filter.(type) {
	case nil:
	case *And:
		for _, term := range f.Terms {
			conditions = append(conditions, p.condition(term))
		}
	default:
		conditions = append(conditions, p.condition(f))
	}
	return conditions
}

// passed are the verdicts of packets that went on, and of which other observations exist; dropped those of packets that ended there.
var passed, dropped = func() (string, string) {
	passed := []string{"'" + flow.VerdictUnknown.String() + "'", "'" + flow.VerdictAllowed.String() + "'"}
	var dropped []string
	for v := flow.VerdictUnknown; v <= flow.VerdictUnknownPort; v++ {
		if v.Dropped() {
			dropped = append(dropped, "'"+v.String()+"'")
		}
	}
	return strings.Join(passed, ", "), strings.Join(dropped, ", ")
}()

// trafficSQL returns the condition on the rows that make the traffic: see the package comment.
func (p *planner) trafficSQL() string {
	t := p.table
	verdict, stage := t.Columns["verdict"], t.Columns["stage"]
	switch p.Traffic {
	case Delivered:
		return "if(" + t.Counted + ", " + verdict + " IN (" + passed + "), " + verdict + " IN (" + dropped + ") AND (" + stage + " != 'ingress' OR " + t.Columns["dst_vm"] + " != 0))"
	case Denied:
		return verdict + " IN (" + dropped + ")"
	default:
		return p.countedSQL()
	}
}

// countedSQL returns the condition that counts each packet once: see the package comment.
func (p *planner) countedSQL() string {
	t := p.table
	switch {
	case p.Kind == List, p.Observations, t.Counted == "", p.mentions("counted", "stage"):
		return ""
	case p.mentions("verdict", "rule", "rule_instance"):
		return "(" + t.Counted + " OR " + t.Columns["verdict"] + " NOT IN (" + passed + "))"
	default:
		return t.Counted
	}
}

// many reports whether a row can have several values of the field.
func (p *planner) many(f *Field) bool {
	return f.Name != p.folded && (f.Type == Group || len(f.columnsFor(p.Direction)) > 1)
}

// keySQL returns the SQL of the field's value in a row; for a field that has many, of the array of them, none twice
// and never empty: a row without a value has the value that means none.
func (p *planner) keySQL(f *Field) string {
	t := p.table
	if f.Name == p.folded {
		return t.Folded[f.Name].Value
	}
	columns := f.columnsFor(p.Direction)
	first := t.Columns[columns[0]]
	switch {
	case f.Type == Group && len(columns) == 1:
		return "if(empty(" + first + "), [toUInt64(0)], " + first + ")"
	case f.Type == Group:
		second := t.Columns[columns[1]]
		return "if(empty(" + first + ") AND empty(" + second + "), [toUInt64(0)], arrayDistinct(arrayConcat(" + first + ", " + second + ")))"
	case len(columns) == 1:
		return first
	default:
		second := t.Columns[columns[1]]
		none := "defaultValueOfArgumentType(" + first + ")"
		return "if(" + first + " = " + second + " OR " + second + " = " + none + ", [" + first + "], " +
			"if(" + first + " = " + none + ", [" + second + "], [" + first + ", " + second + "]))"
	}
}

// rows returns the query for the rows that count, with the columns
//
//	t            start of the step, for a series
//	k1, k2, …    the fields of By, one row for each of many values
//	b, p, f      the figures that are needed
//	s            the time of the row, if it is asked when groups were seen
//	is_first     whether the row is the first of those that one row was made into; only if a field has many values
//	is_in, is_out  for a split
func (p *planner) rows() string {
	var columns, first []string
	if p.Kind == Series {
		step := strconv.Itoa(int(p.choice.step / time.Second))
		columns = append(columns, "toDateTime(intDiv(toUnixTimestamp("+p.table.Time+"), "+step+") * "+step+", 'UTC') AS t")
	}
	splitBy := false
	for i, f := range p.by {
		n := strconv.Itoa(i + 1)
		sides := p.Split && f.ends
		splitBy = splitBy || sides
		if !p.many(f) {
			columns = append(columns, p.keySQL(f)+" AS k"+n)
			continue
		}
		columns = append(columns, p.joined(f, n, sides), "j"+n+".1 AS k"+n)
		first = append(first, "j"+n+".2")
		if sides {
			columns = append(columns, "j"+n+".3 AS is_in", "j"+n+".4 AS is_out")
		}
	}
	if len(first) > 0 {
		columns = append(columns, strings.Join(first, " AND ")+" AS is_first")
	}
	if f, ok := p.table.Folded[p.folded]; ok && p.Split {
		// What has no value at either end is of neither, as in single records.
		some := f.Value + " != 0 AND "
		columns = append(columns, some+f.In+" AS is_in", some+f.Out+" AS is_out")
	} else if p.Split && !splitBy {
		columns = append(columns, p.sideSQL(Inbound)+" AS is_in", p.sideSQL(Outbound)+" AS is_out")
	}
	for _, m := range p.measures() {
		columns = append(columns, m.sql+" AS "+m.letter)
	}
	if p.Seen {
		columns = append(columns, "toDateTime("+p.table.Time+", 'UTC') AS s")
	}
	var pieces []string
	for _, from := range p.from() {
		pieces = append(pieces, "SELECT\n  "+strings.Join(columns, ",\n  ")+"\n"+from)
	}
	return strings.Join(pieces, "\nUNION ALL\n")
}

// joined returns j<n>, the column that makes one row for each value of the field: a tuple of the value, whether it is the
// first, and, with sides, whether the destination and whether the source has it.
//
// n is in the names within, too: two fields can mean the same column (group and src_group of what goes out), and ClickHouse
// takes arrayJoins that read alike for one, which would pair each value with itself alone.
func (p *planner) joined(f *Field, n string, sides bool) string {
	alias, x, i := "j"+n, "x"+n, "i"+n
	tuple := x + ", " + i + " = 1"
	if sides {
		src, dst := p.table.Columns[f.columns[0]], p.table.Columns[f.columns[1]]
		is := func(column string) string {
			if f.Type == Group {
				return "has(" + column + ", " + x + ")"
			}
			return x + " = " + column
		}
		tuple += ", " + is(dst) + ", " + is(src)
	}
	return "arrayJoin(arrayMap((" + x + ", " + i + ") -> (" + tuple + "), " + p.keySQL(f) + " AS " + alias + "s, arrayEnumerate(" + alias + "s))) AS " + alias
}

// sideSQL returns the filter as it would be in that direction.
func (p *planner) sideSQL(d Direction) string {
	side := p.compiler
	side.direction = d
	return side.condition(p.filter)
}

// --- sums -------------------------------------------------------------------------------------------------------

// keys returns k1, k2, …: the columns of the fields of By.
func (p *planner) keys() []string {
	var keys []string
	for i := range p.by {
		keys = append(keys, "k"+strconv.Itoa(i+1))
	}
	return keys
}

// hasMany reports whether a row can be in several groups, so that their sum is not the total.
func (p *planner) hasMany() bool { return slices.ContainsFunc(p.by, p.many) }

// sums returns the columns that sum the rows: b_sum, of a split b_in and b_out; b_all, which counts each row once, if all is
// set; and s_first and s_last, if it is asked when groups were seen.
func (p *planner) sums(all bool) []string {
	var columns []string
	for _, m := range p.measures() {
		columns = append(columns, "sum("+m.letter+") AS "+m.letter+"_sum")
		if p.Split {
			columns = append(columns, "sumIf("+m.letter+", is_in) AS "+m.letter+"_in", "sumIf("+m.letter+", is_out) AS "+m.letter+"_out")
		}
		switch {
		case all && p.hasMany():
			columns = append(columns, "sumIf("+m.letter+", is_first) AS "+m.letter+"_all")
		case all:
			columns = append(columns, m.letter+"_sum AS "+m.letter+"_all")
		}
	}
	if p.Seen {
		columns = append(columns, "min(s) AS s_first", "max(s) AS s_last")
	}
	return columns
}

// figures returns the names of the sums of a measure.
func (p *planner) figures(m measure) []string {
	if p.Split {
		return []string{m.letter + "_sum", m.letter + "_in", m.letter + "_out"}
	}
	return []string{m.letter + "_sum"}
}

func (p *planner) order() string {
	if p.Bottom {
		return "ASC"
	}
	return "DESC"
}

// ranking returns the columns that rank the groups, ties by key.
func (p *planner) ranking() string {
	return strings.Join(append([]string{p.measures()[0].letter + "_sum " + p.order()}, p.keys()...), ", ")
}

// answer collects the columns of the last SELECT.
type answer struct {
	sql     []string
	columns []Column
}

func (a *answer) add(sql string, c Column) {
	a.sql = append(a.sql, sql+" AS `"+c.Name+"`")
	a.columns = append(a.columns, c)
}

// keys adds the fields of By, with the names of entities.
func (a *answer) keys(p *planner) {
	for i, f := range p.by {
		k := "k" + strconv.Itoa(i+1)
		a.add(k, Column{Name: f.Name, Role: RoleKey, Type: f.keyType(), Field: f.Name})
		if f.Type == Entity || f.Type == Group {
			a.add(nameSQL(k), Column{Name: f.Name + "_name", Role: RoleName, Type: "String", Field: f.Name})
		}
	}
}

// keyType returns the ClickHouse type of one value of the field.
func (f *Field) keyType() string {
	if f.Type == Group {
		return "UInt64"
	}
	return columnType(f.columns[0])
}

// values adds the figures, and when groups were seen if that is asked; sum gives the SQL of a figure by the name of its sum.
func (a *answer) values(p *planner, sum func(figure string) string) {
	for _, u := range p.Units {
		for _, figure := range p.figures(p.measureOf(u)) {
			name := string(u) + strings.TrimSuffix(figure[1:], "_sum")
			a.add(p.unitSQL(u, sum(figure)), Column{Name: name, Role: RoleValue, Type: unitType(u), Unit: u})
		}
	}
	if p.Seen {
		a.add("s_first", Column{Name: "first_seen", Role: RoleTime, Type: "DateTime('UTC')"})
		a.add("s_last", Column{Name: "last_seen", Role: RoleTime, Type: "DateTime('UTC')"})
	}
}

// --- the three shapes -------------------------------------------------------------------------------------------

// top writes the query for the largest groups.
//
// One pass over the rows gives the groups and, as a grouping set of its own, the total; the rest is done on the few
// rows that are left: what is not in the top is the total less the top, and names are looked up.
func (p *planner) top() (string, []Column) {
	limit := strconv.Itoa(p.Limit)
	a := &answer{}
	switch {
	case len(p.by) == 0:
		a.add("'"+RowTotal+"'", Column{Name: "row", Role: RoleRow, Type: "String"})
		a.values(p, func(figure string) string { return figure })
		return selectFrom(a.sql, selectFrom(p.sums(false), p.rows())) + "\nLIMIT 1", a.columns
	case !p.Other && !p.Total:
		a.add("'"+RowTop+"'", Column{Name: "row", Role: RoleRow, Type: "String"})
		a.keys(p)
		a.values(p, func(figure string) string { return figure })
		groups := selectFrom(append(p.keys(), p.sums(false)...), p.rows()) +
			"\nGROUP BY " + strings.Join(p.keys(), ", ") +
			"\nORDER BY " + p.ranking() +
			"\nLIMIT " + limit
		return selectFrom(a.sql, groups) + "\nORDER BY " + p.ranking() + "\nLIMIT " + limit, a.columns
	}
	first := p.measures()[0].letter
	groups := selectFrom(append(append([]string{"grouping(k1) AS is_total"}, p.keys()...), p.sums(true)...), p.rows()) +
		"\nGROUP BY GROUPING SETS ((" + strings.Join(p.keys(), ", ") + "), ())" +
		"\nORDER BY is_total DESC, " + p.ranking() +
		"\nLIMIT " + strconv.Itoa(p.Limit+1)
	windows := []string{"*"}
	for _, m := range p.measures() {
		for _, figure := range p.figures(m) {
			windows = append(windows, "sumIf("+figure+", is_total = 0) OVER () AS "+figure+"_top")
		}
	}
	windows = append(windows, "maxIf("+first+"_all, is_total = 1) OVER () AS total")

	// r is 0 for a group, 1 for the others, 2 for the total.
	kinds := "[2]"
	switch {
	case p.Other && p.Total:
		kinds = "[1, 2]"
	case p.Other:
		kinds = "[1]"
	}
	a.add("['"+RowTop+"', '"+RowOther+"', '"+RowTotal+"'][r + 1]", Column{Name: "row", Role: RoleRow, Type: "String"})
	a.keys(p)
	sum := func(figure string) string {
		whole := figure
		if letter, ok := strings.CutSuffix(figure, "_sum"); ok {
			whole = letter + "_all"
		}
		rest := figure + " - " + figure + "_top"
		if p.Traffic != Delivered {
			rest = "toUInt64(" + rest + ")"
		}
		return "multiIf(r = 2, " + whole + ", r = 1, " + rest + ", " + figure + ")"
	}
	a.values(p, sum)
	if p.Total {
		part, none := sum(first+"_sum"), "total = 0"
		if p.Traffic == Delivered {
			part, none = notNegative(part), "total <= 0"
		}
		a.add("if("+none+", 0, "+part+" / total)", Column{Name: "share", Role: RoleShare, Type: "Float64"})
	}
	return selectFrom(a.sql, selectFrom(windows, groups)) +
		"\nARRAY JOIN if(is_total = 1, " + kinds + ", [0]) AS r" +
		"\nWHERE r != 1 OR " + first + "_sum > " + first + "_sum_top" +
		"\nORDER BY r, " + p.ranking() +
		"\nLIMIT " + strconv.Itoa(p.Limit+2), a.columns
}

// series writes the query for the largest groups over time. It reads the rows twice, once to rank, so that memory is
// bounded by the answer and not by groups times steps.
func (p *planner) series() (string, []Column) {
	a := &answer{}
	a.add("t", Column{Name: "time", Role: RoleTime, Type: "DateTime('UTC')"})
	steps := int(p.choice.to.Sub(p.choice.from)/p.choice.step) + 1
	if len(p.by) == 0 {
		a.add("'"+RowTotal+"'", Column{Name: "row", Role: RoleRow, Type: "String"})
		a.values(p, func(figure string) string { return figure })
		sums := selectFrom(append([]string{"t"}, p.sums(false)...), p.rows()) + "\nGROUP BY t"
		return selectFrom(a.sql, sums) + "\nORDER BY t\nLIMIT " + strconv.Itoa(steps), a.columns
	}
	keys := strings.Join(p.keys(), ", ")
	best := "SELECT " + keys + "\nFROM (\n" + indent(p.rows()) + "\n)\nGROUP BY " + keys +
		"\nORDER BY sum(" + p.measures()[0].letter + ") " + p.order() + ", " + keys + "\nLIMIT " + strconv.Itoa(p.Limit)

	// Groups that are not among the best become one; they only matter for the other and the total.
	grouped := []string{"t", "(" + keys + ") IN (best) AS is_best"}
	names := []string{"is_best"}
	for _, k := range p.keys() {
		c := "c" + k[1:]
		grouped = append(grouped, "if(is_best, "+k+", defaultValueOfArgumentType("+k+")) AS "+c)
		names = append(names, c)
	}
	set := "t, " + strings.Join(names, ", ")
	columns := append(append([]string{"grouping(is_best) AS is_total"}, grouped...), p.sums(true)...)
	sums := selectFrom(columns, p.rows())
	if !p.Other && !p.Total {
		sums += "\nWHERE is_best"
	}
	sets := "(" + set + ")"
	if p.Total {
		sets += ", (t)"
	}
	sums += "\nGROUP BY GROUPING SETS (" + sets + ")"

	kind := "multiIf(is_total = 1, 2, is_best, 0, 1)"
	a.add("['"+RowTop+"', '"+RowOther+"', '"+RowTotal+"'][r + 1]", Column{Name: "row", Role: RoleRow, Type: "String"})
	a.keys(p)
	a.values(p, func(figure string) string {
		if letter, ok := strings.CutSuffix(figure, "_sum"); ok && p.Total {
			return "if(r = 2, " + letter + "_all, " + figure + ")"
		}
		return figure
	})
	named := []string{"*", kind + " AS r"}
	for _, k := range p.keys() {
		named = append(named, "c"+k[1:]+" AS "+k)
	}
	sql := "WITH best AS (\n" + indent(best) + "\n)\n" +
		selectFrom(a.sql, selectFrom(named, sums))
	if p.Total && !p.Other {
		sql += "\nWHERE r != 1"
	}
	return sql + "\nORDER BY t, r, " + p.ranking() + "\nLIMIT " + strconv.Itoa(steps*(p.Limit+2)), a.columns
}

// list writes the query for single records. Names are looked up for the rows of the answer only.
func (p *planner) list() (string, []Column) {
	t := p.table
	a := &answer{}
	var read []string
	column := func(name, typ string, role Role, field string, unit Unit) string {
		k := "k" + strconv.Itoa(len(read)+1)
		read = append(read, t.Columns[name]+" AS "+k)
		a.add(k, Column{Name: name, Role: role, Type: typ, Field: field, Unit: unit})
		return k
	}
	at := column(t.Time, columnType(t.Time), RoleTime, "", "")
	column("flow_start", columnType("flow_start"), RoleTime, "", "")
	shown := map[string]bool{}
	for _, f := range p.by {
		for _, name := range f.columnsFor(p.Direction) {
			if shown[name] {
				continue
			}
			shown[name] = true
			k := column(name, columnType(name), RoleKey, f.Name, map[string]Unit{"bytes": Bytes, "packets": Packets}[name])
			if f.Type == Entity {
				a.add(nameSQL(k), Column{Name: name + "_name", Role: RoleName, Type: "String", Field: f.Name})
			}
			if f.Type == Group {
				a.add("arrayMap(id -> "+nameSQL("id")+", "+k+")", Column{Name: name + "_names", Role: RoleName, Type: "Array(String)", Field: f.Name})
			}
		}
	}
	limit := strconv.Itoa(p.Limit)
	records := "SELECT\n  " + strings.Join(read, ",\n  ") +
		"\n" + p.from()[0] +
		"\nORDER BY " + t.Time + " DESC\nLIMIT " + limit
	return selectFrom(a.sql, records) + "\nORDER BY " + at + " DESC\nLIMIT " + limit, a.columns
}

// selectFrom returns a query of the columns over a subquery.
func selectFrom(columns []string, from string) string {
	return "SELECT\n  " + strings.Join(columns, ",\n  ") + "\nFROM (\n" + indent(from) + "\n)"
}

func indent(sql string) string { return "  " + strings.ReplaceAll(sql, "\n", "\n  ") }
