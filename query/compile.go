package query

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Param is a parameter of a statement: {Name:Type} in its text, param_Name in ClickHouse's HTTP interface. Value is
// plain text; what sends it escapes backslashes and control characters as ClickHouse asks (clickhouse.Named does).
type Param struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value string `json:"value"`
}

// params collects the parameters of a statement. Equal values share one.
type params struct {
	list  []Param
	bound int // how many of them are p1, p2, …
}

// bind returns the SQL of a parameter with that value.
func (p *params) bind(typ, value string) string {
	i := slices.IndexFunc(p.list, func(x Param) bool { return x.Type == typ && x.Value == value })
	if i < 0 {
		i = len(p.list)
		p.bound++
		p.list = append(p.list, Param{"p" + strconv.Itoa(p.bound), typ, value})
	}
	return "{" + p.list[i].Name + ":" + typ + "}"
}

// named returns the SQL of a parameter that has a name of its own.
func (p *params) named(name, typ, value string) string {
	if !slices.ContainsFunc(p.list, func(x Param) bool { return x.Name == name }) {
		p.list = append(p.list, Param{name, typ, value})
	}
	return "{" + name + ":" + typ + "}"
}

// compiler turns filters into SQL for a table.
type compiler struct {
	table     *Table
	folded    string // field that the table has folded and that is asked so
	direction Direction
	params    *params
}

// condition returns the SQL of e, fit to stand between ANDs.
func (c *compiler) condition(e Expr) string {
	switch e := e.(type) {
	case *And:
		return c.join(e.Terms, " AND ")
	case *Or:
		return "(" + c.join(e.Terms, " OR ") + ")"
	case *Not:
		return "NOT (" + c.condition(e.X) + ")"
	case *Compare:
		return c.compare(e)
	default:
		panic("BUG: filter with an unknown kind of expression")
	}
}

func (c *compiler) join(terms []Expr, with string) string {
	parts := make([]string, len(terms))
	for i, t := range terms {
		parts[i] = c.condition(t)
		if _, isAnd := t.(*And); isAnd {
			parts[i] = "(" + parts[i] + ")"
		}
	}
	return strings.Join(parts, with)
}

// compare returns the SQL of a comparison. A field of two columns is in a relation if either column is; so it is not
// in it only if neither is.
func (c *compiler) compare(e *Compare) string {
	op, negated := e.Op.negated()
	if e.Any() {
		return strconv.FormatBool(!negated)
	}
	var either []string
	if f, ok := c.table.Folded[e.Field.Name]; ok && e.Field.Name == c.folded {
		either = append(either, c.entity(f.Value, e.Field, op, e.Values))
	} else {
		for _, column := range e.Field.columnsFor(c.direction) {
			either = append(either, c.column(column, e.Field, op, e.Values))
		}
	}
	sql := strings.Join(either, " OR ")
	switch {
	case negated:
		return "NOT (" + sql + ")"
	case len(either) > 1:
		return "(" + sql + ")"
	default:
		return sql
	}
}

// column returns the SQL of a comparison of one logical column.
func (c *compiler) column(column string, f *Field, op Op, values []Value) string {
	sql := c.table.Columns[column]
	switch f.Type {
	case Entity:
		return c.entity(sql, f, op, values)
	case Group:
		return c.group(sql, f, op, values)
	case Address:
		return c.address(sql, values)
	case Enum:
		// An enumeration is compared by its number: a parameter of the Enum8 type would repeat its words.
		return c.number("CAST("+sql+", 'Int8')", "Int8", op, values)
	case Bool:
		if values[0].Low == 0 {
			return "NOT " + sql
		}
		return sql
	case Flags:
		if op == Has {
			p := c.params.bind("UInt16", strconv.FormatUint(values[0].Low, 10))
			return "bitAnd(" + sql + ", " + p + ") = " + p
		}
		return c.number(sql, columnType(column), op, values)
	default:
		return c.number(sql, columnType(column), op, values)
	}
}

// number returns the SQL of a comparison of a number.
func (c *compiler) number(sql, typ string, op Op, values []Value) string {
	bind := func(n uint64) string { return c.params.bind(typ, strconv.FormatUint(n, 10)) }
	if op.ordered() {
		return sql + " " + op.String() + " " + bind(values[0].Low)
	}
	var single, terms []string
	for _, v := range values {
		if v.Low == v.High {
			single = append(single, bind(v.Low))
		} else {
			terms = append(terms, sql+" BETWEEN "+bind(v.Low)+" AND "+bind(v.High))
		}
	}
	return oneOf(sql, single, terms)
}

func (c *compiler) address(sql string, values []Value) string {
	bind := func(a netip.Addr) string { return c.params.bind("IPv6", netip.AddrFrom16(a.As16()).String()) }
	var single, terms []string
	for _, v := range values {
		if v.From == v.To {
			single = append(single, bind(v.From))
		} else {
			terms = append(terms, sql+" BETWEEN "+bind(v.From)+" AND "+bind(v.To))
		}
	}
	return oneOf(sql, single, terms)
}

// oneOf returns the SQL of: sql is one of the single values, or a term holds.
func oneOf(sql string, single, terms []string) string {
	switch len(single) {
	case 0:
	case 1:
		terms = append([]string{sql + " = " + single[0]}, terms...)
	default:
		terms = append([]string{sql + " IN (" + strings.Join(single, ", ") + ")"}, terms...)
	}
	if len(terms) == 1 {
		return terms[0]
	}
	return "(" + strings.Join(terms, " OR ") + ")"
}

// entity returns the SQL of a comparison of a column with one id. Names become a set of ids, looked up once a query.
func (c *compiler) entity(sql string, f *Field, op Op, values []Value) string {
	single, names := c.ids("id", f, op, values)
	var terms []string
	if names != "" {
		terms = append(terms, sql+" IN ("+names+")")
	}
	return oneOf(sql, single, terms)
}

// group returns the SQL of a comparison of a column with a list of ids: it holds if one of the list is meant.
func (c *compiler) group(sql string, f *Field, op Op, values []Value) string {
	single, names := c.ids("groupUniqArray(id)", f, op, values)
	var terms []string
	for _, id := range single {
		if id == noID {
			terms = append(terms, "empty("+sql+")")
		} else {
			terms = append(terms, "has("+sql+", "+id+")")
		}
	}
	if names != "" {
		terms = append(terms, "hasAny("+sql+", ("+names+"))")
	}
	return oneOf(sql, nil, terms)
}

const noID = "0"

// ids returns the ids among the values, bound, and the query for those of the names and patterns, "" if there is none.
func (c *compiler) ids(column string, f *Field, op Op, values []Value) (single []string, names string) {
	if op == Like {
		return nil, idsLike(c.params, column, f.Kinds, values[0].Text)
	}
	var exact []string
	for _, v := range values {
		switch v.Kind {
		case NoEntity:
			single = append(single, noID)
		case ByID:
			single = append(single, c.params.bind("UInt64", strconv.FormatUint(v.Low, 10)))
		default:
			exact = append(exact, v.Text)
		}
	}
	if len(exact) > 0 {
		names = idsNamed(c.params, column, f.Kinds, exact)
	}
	return single, names
}

// Where is the condition that a filter is over the rows of a table.
type Where struct {
	SQL    string  // fit to stand between ANDs; "true" of an empty filter
	Params []Param // p1, p2, …
	Names  []Name  // that should be checked before: see [KnownNames]
}

// Condition returns the condition of a filter for a table of something else than flows. columns is the SQL of the logical columns that
// it has, by the names of those of flows; what names its rows, for errors. An error is an [*Error].
func Condition(filter string, columns map[string]string, what string) (*Where, error) {
	e, err := Parse(filter)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return &Where{SQL: "true"}, nil
	}
	has := func(f *Field) bool {
		return !slices.ContainsFunc(f.columns, func(column string) bool { return columns[column] == "" })
	}
	lacking := ""
	walk(e, func(c *Compare) {
		if !has(c.Field) {
			lacking = c.Field.Name
		}
	})
	if lacking != "" {
		var names []string
		for i := range Fields {
			if has(&Fields[i]) {
				names = append(names, Fields[i].Name)
			}
		}
		return nil, &Error{Part: "filter", Msg: what + " have no " + lacking, Hint: "they have " + strings.Join(names, ", ")}
	}
	c := compiler{table: &Table{Columns: columns}, direction: Both, params: &params{}}
	sql := c.condition(e)
	if _, isAnd := e.(*And); isAnd {
		sql = "(" + sql + ")"
	}
	return &Where{SQL: sql, Params: c.params.list, Names: namesIn(e)}, nil
}
