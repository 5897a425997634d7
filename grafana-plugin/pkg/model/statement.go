package model

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/query"
)

// params collects the parameters of a statement, by names of their own; those of a filter are p1, p2, ….
type params []query.Param

// bind returns the SQL of a parameter.
func (p *params) bind(name, typ, value string) string {
	if !slices.ContainsFunc(*p, func(x query.Param) bool { return x.Name == name }) {
		*p = append(*p, query.Param{Name: name, Type: typ, Value: value})
	}
	return "{" + name + ":" + typ + "}"
}

// each returns the SQL of parameters, one for each value, with commas between.
func (p *params) each(name, typ string, values []string) string {
	var list []string
	for i, v := range values {
		list = append(list, p.bind(name+strconv.Itoa(i+1), typ, v))
	}
	return strings.Join(list, ", ")
}

// milli returns the SQL of a DateTime64(3).
func (p *params) milli(name string, t time.Time) string {
	return "fromUnixTimestamp64Milli(" + p.bind(name, "Int64", strconv.FormatInt(t.UnixMilli(), 10)) + ")"
}

// second returns the SQL of a DateTime.
func (p *params) second(name string, t time.Time) string {
	return "fromUnixTimestamp(" + p.bind(name, "Int64", strconv.FormatInt(t.Unix(), 10)) + ")"
}

// like returns the SQL of a pattern for ILIKE from one with * and ?.
func (p *params) like(name, pattern string) string {
	return p.bind(name, "String", strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`, "*", "%", "?", "_").Replace(pattern))
}

// selectFrom writes a query.
func selectFrom(columns []string, from string, clauses ...string) string {
	return strings.Join(append([]string{"SELECT\n  " + strings.Join(columns, ",\n  ") + "\nFROM " + from}, clauses...), "\n")
}

// sub writes a subquery.
func sub(sql string) string { return "(\n  " + strings.ReplaceAll(sql, "\n", "\n  ") + "\n)" }

// where writes conditions; there is at least one.
func where(conditions ...string) string {
	return "WHERE " + strings.Join(slices.DeleteFunc(conditions, func(c string) bool { return c == "" || c == "true" }), "\n  AND ")
}

// limit writes a LIMIT; numbers of the program stand in the text, as those of the planner do.
func limit(n int) string { return "LIMIT " + strconv.Itoa(n) }

// bucket returns the SQL of the start of the step that holds a time, of which sql is ms since 1970.
func bucket(sql string, step time.Duration) string {
	ms := strconv.FormatInt(step.Milliseconds(), 10)
	return "toDateTime(intDiv(" + sql + ", " + ms + ") * " + strconv.FormatInt(int64(step/time.Second), 10) + ", 'UTC')"
}

func (p params) statement(sql string) query.Statement { return query.Statement{SQL: sql, Params: p} }
