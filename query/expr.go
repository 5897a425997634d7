package query

import (
	"slices"
	"strings"
)

// Expr is a parsed filter: [And], [Or], [Not] or [Compare]. String returns its canonical form, which parses to an equal
// expression.
type Expr interface {
	String() string
	write(s *strings.Builder)
}

// And holds where every term does. It has at least two terms, none of them an And.
type And struct{ Terms []Expr }

// Or holds where a term does. It has at least two terms, none of them an Or.
type Or struct{ Terms []Expr }

// Not holds where X does not.
type Not struct{ X Expr }

// Compare holds where the field is in that relation to the values. Values has one element unless Op is In or NotIn.
type Compare struct {
	Field  *Field
	Op     Op
	Values []Value
	Pos    []int // of each value in the text, in bytes from 1
}

// Any reports whether one of the values is the word any, so that the comparison says nothing of a row: it holds for every one
// if Op asks for what is like the values, for none if it asks for what is not.
func (e *Compare) Any() bool {
	return slices.ContainsFunc(e.Values, func(v Value) bool { return v.Kind == Anything })
}

// Op is a relation between a field and values.
type Op uint8

// The relations.
const (
	Eq Op = iota + 1
	Ne
	Lt
	Le
	Gt
	Ge
	In
	NotIn
	Like
	NotLike
	Has
	NotHas
)

var opTexts = map[Op]string{
	Eq: "=", Ne: "!=", Lt: "<", Le: "<=", Gt: ">", Ge: ">=", In: "in", NotIn: "not in", Like: "like", NotLike: "not like",
	Has: "has", NotHas: "not has",
}

// String returns the operator as it is written in a filter.
func (o Op) String() string { return opTexts[o] }

// negated returns the relation that o negates, or o itself and false.
func (o Op) negated() (Op, bool) {
	switch o {
	case Ne:
		return Eq, true
	case NotIn:
		return In, true
	case NotLike:
		return Like, true
	case NotHas:
		return Has, true
	default:
		return o, false
	}
}

// ordered reports whether o asks which of two is larger.
func (o Op) ordered() bool { return o >= Lt && o <= Ge }

func canonical(e Expr) string {
	var s strings.Builder
	e.write(&s)
	return s.String()
}

func (e *And) String() string     { return canonical(e) }
func (e *Or) String() string      { return canonical(e) }
func (e *Not) String() string     { return canonical(e) }
func (e *Compare) String() string { return canonical(e) }

func (e *And) write(s *strings.Builder) {
	for i, t := range e.Terms {
		if i > 0 {
			s.WriteString(" and ")
		}
		if _, isOr := t.(*Or); isOr {
			s.WriteString("(")
			t.write(s)
			s.WriteString(")")
		} else {
			t.write(s)
		}
	}
}

func (e *Or) write(s *strings.Builder) {
	for i, t := range e.Terms {
		if i > 0 {
			s.WriteString(" or ")
		}
		t.write(s)
	}
}

func (e *Not) write(s *strings.Builder) {
	s.WriteString("not (")
	e.X.write(s)
	s.WriteString(")")
}

func (e *Compare) write(s *strings.Builder) {
	s.WriteString(e.Field.Name)
	s.WriteString(" ")
	s.WriteString(e.Op.String())
	s.WriteString(" ")
	list := e.Op == In || e.Op == NotIn
	if list {
		s.WriteString("(")
	}
	for i, v := range e.Values {
		if i > 0 {
			s.WriteString(", ")
		}
		s.WriteString(v.text(e.Field))
	}
	if list {
		s.WriteString(")")
	}
}

// and returns the conjunction of the terms: one term is itself.
func and(terms []Expr) Expr {
	var flat []Expr
	for _, t := range terms {
		if a, ok := t.(*And); ok {
			flat = append(flat, a.Terms...)
		} else {
			flat = append(flat, t)
		}
	}
	if len(flat) == 1 {
		return flat[0]
	}
	return &And{flat}
}

// or returns the disjunction of the terms: one term is itself.
func or(terms []Expr) Expr {
	var flat []Expr
	for _, t := range terms {
		if o, ok := t.(*Or); ok {
			flat = append(flat, o.Terms...)
		} else {
			flat = append(flat, t)
		}
	}
	if len(flat) == 1 {
		return flat[0]
	}
	return &Or{flat}
}

// compares calls visit for every comparison in e that says something of a row; a nil e has none.
func compares(e Expr, visit func(*Compare)) {
	walk(e, func(c *Compare) {
		if !c.Any() {
			visit(c)
		}
	})
}

// walk calls visit for every comparison in e.
func walk(e Expr, visit func(*Compare)) {
	switch e := e.(type) {
	case *And:
		for _, t := range e.Terms {
			walk(t, visit)
		}
	case *Or:
		for _, t := range e.Terms {
			walk(t, visit)
		}
	case *Not:
		walk(e.X, visit)
	case *Compare:
		visit(e)
	}
}
