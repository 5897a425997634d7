package query

import (
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/nearest"
)

// Bounds of a filter: far above what people write, far below what would hurt.
const (
	maxLength = 16 << 10 // bytes of text
	maxDepth  = 32       // nested parentheses and nots
	maxValues = 1000     // values in all
)

// Parse reads a filter. An empty one is nil: everything. The error is an [*Error].
func Parse(text string) (Expr, error) {
	tokens, err := lex(text)
	if err != nil {
		return nil, err
	}
	p := parser{tokens: tokens}
	if p.peek().kind == tokenEnd {
		return nil, nil
	}
	e, err := p.expr(orPower, 0)
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != tokenEnd {
		return nil, wrong(t.pos, t.found(), "expected and, or, or the end")
	}
	return e, nil
}

// Binding powers: "a or b and not c" is "a or (b and (not c))".
const (
	orPower = iota + 1
	andPower
	notPower
)

// parser is a Pratt parser: expr reads what binds at least as tightly as power.
type parser struct {
	tokens []token
	next   int
	values int
}

func (p *parser) peek() token { return p.tokens[p.next] }

func (p *parser) take() token {
	t := p.tokens[p.next]
	if t.kind != tokenEnd {
		p.next++
	}
	return t
}

// accept takes the next token if it is that keyword.
func (p *parser) accept(keyword string) bool {
	if p.peek().keyword(keyword) {
		p.next++
		return true
	}
	return false
}

func (p *parser) expr(power, depth int) (Expr, error) {
	left, err := p.prefix(depth)
	if err != nil {
		return nil, err
	}
	for {
		switch {
		case power <= andPower && p.peek().keyword("and"):
			left, err = p.chain(left, "and", notPower, depth, and)
		case power <= orPower && p.peek().keyword("or"):
			left, err = p.chain(left, "or", andPower, depth, or)
		default:
			return left, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// chain reads "first keyword term keyword term …" and joins the terms.
func (p *parser) chain(first Expr, keyword string, power, depth int, join func([]Expr) Expr) (Expr, error) {
	terms := []Expr{first}
	for p.accept(keyword) {
		t, err := p.expr(power, depth)
		if err != nil {
			return nil, err
		}
		terms = append(terms, t)
	}
	return join(terms), nil
}

// prefix reads a negation, a parenthesis or a comparison.
func (p *parser) prefix(depth int) (Expr, error) {
	t := p.take()
	if depth > maxDepth {
		return nil, wrong(t.pos, "nested too deeply", "at most "+strconv.Itoa(maxDepth)+" levels are read")
	}
	switch {
	case t.keyword("not"):
		x, err := p.expr(notPower, depth+1)
		if err != nil {
			return nil, err
		}
		return &Not{x}, nil
	case t.kind == tokenOpen:
		x, err := p.expr(orPower, depth+1)
		if err != nil {
			return nil, err
		}
		if c := p.take(); c.kind != tokenClose {
			return nil, wrong(c.pos, c.found(), `expected and, or, or ")"`)
		}
		return x, nil
	case t.kind == tokenWord && !slices.ContainsFunc(keywords, t.keyword):
		return p.compare(t)
	default:
		return nil, wrong(t.pos, t.found(), `expected a field, as vm, addr or dst_port, or not, or "("`)
	}
}

// compare reads what follows the name of a field.
func (p *parser) compare(name token) (Expr, error) {
	f, ok := FieldByName(name.text)
	if !ok {
		hint := "the fields are listed in the reference of the filter language"
		if n := nearest.Word(name.text, fieldNames()); n != "" {
			hint = "did you mean " + n + "?"
		}
		return nil, wrong(name.pos, "unknown field "+strconv.Quote(name.text), hint)
	}
	op, at, err := p.op(f)
	if err != nil {
		return nil, err
	}
	c := &Compare{Field: f, Op: op}
	if op != In && op != NotIn {
		if p.peek().kind == tokenOpen {
			return nil, wrong(p.peek().pos, `found "("`, "a list goes with in, as "+f.Name+" in (…)")
		}
		return c, p.value(c)
	}
	if p.peek().kind != tokenOpen {
		return c, p.value(c)
	}
	p.take()
	for {
		if err := p.value(c); err != nil {
			return nil, err
		}
		t := p.take()
		if t.kind == tokenClose {
			return c, nil
		}
		if t.kind != tokenComma {
			return nil, wrong(t.pos, t.found(), `expected "," or ")" in the list of in at `+strconv.Itoa(at))
		}
	}
}

// op reads the operator of a comparison of f.
func (p *parser) op(f *Field) (Op, int, error) {
	t := p.take()
	op := Op(0)
	switch {
	case t.kind == tokenOp:
		for o, text := range opTexts {
			if text == t.text {
				op = o
			}
		}
	case t.keyword("in"):
		op = In
	case t.keyword("like"):
		op = Like
	case t.keyword("has"):
		op = Has
	case t.keyword("not"):
		switch {
		case p.accept("in"):
			op = NotIn
		case p.accept("like"):
			op = NotLike
		case p.accept("has"):
			op = NotHas
		}
	}
	allowed := f.Ops()
	if op == 0 || !slices.Contains(allowed, op) {
		list := make([]string, len(allowed))
		for i, o := range allowed {
			list[i] = o.String()
		}
		msg := t.found()
		if op != 0 {
			msg = "found " + strconv.Quote(op.String())
		}
		return 0, 0, wrong(t.pos, msg, f.Name+" takes "+strings.Join(list, ", "))
	}
	return op, t.pos, nil
}

// value reads one value into c.
func (p *parser) value(c *Compare) error {
	t := p.take()
	if t.kind != tokenWord && t.kind != tokenString || t.kind == tokenWord && slices.ContainsFunc(keywords, t.keyword) {
		return wrong(t.pos, t.found(), "expected a value of "+c.Field.Name+", as "+c.Field.Type.Example())
	}
	if p.values++; p.values > maxValues {
		return wrong(t.pos, "more than "+strconv.Itoa(maxValues)+" values", "use a prefix, a pattern or a group")
	}
	v, hint := parseValue(c.Field, c.Op, t)
	if hint != "" {
		return wrong(t.pos, t.found(), hint)
	}
	c.Values, c.Pos = append(c.Values, v), append(c.Pos, t.pos)
	return nil
}
