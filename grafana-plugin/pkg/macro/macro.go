package macro

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/nearest"
	"github.com/weirhq/weir/query"
)

// Env is what macros stand for.
type Env struct {
	From, To time.Time     // range, both inclusive
	Interval time.Duration // step, at least a millisecond
}

// Macro describes a macro.
type Macro struct {
	Name    string `json:"name"`    // with $__
	Args    string `json:"args"`    // as "(column)"; empty: none
	Doc     string `json:"doc"`     // a sentence
	Example string `json:"example"` // what it becomes

	args   int // how many
	expand func(e *Env, args []string) (string, error)
}

// Bounds of a statement.
const (
	maxText  = 64 << 10  // bytes before
	maxSQL   = 256 << 10 // bytes after
	maxDepth = 16        // macros in arguments of macros
)

// raw describes the table of single records, whose figures macros stand for.
var raw = query.RawTable("flows", 0)

// Macros lists all macros.
var Macros = []Macro{
	{
		Name: "$__timeFilter", Args: "(column)", args: 1, Doc: "The range, for a column of type DateTime or DateTime64: seconds, both ends included.",
		Example: "(time_received >= toDateTime(1767225600) AND time_received <= toDateTime(1767229200))",
		expand:  func(e *Env, a []string) (string, error) { return between(a[0], seconds(e.From), seconds(e.To)), nil },
	},
	{
		Name: "$__timeFilter_ms", Args: "(column)", args: 1, Doc: "The range to the millisecond, for a column of type DateTime64.",
		Example: "(time_received >= fromUnixTimestamp64Milli(1767225600000) AND time_received <= fromUnixTimestamp64Milli(1767229200000))",
		expand:  func(e *Env, a []string) (string, error) { return between(a[0], millis(e.From), millis(e.To)), nil },
	},
	{
		Name: "$__dateFilter", Args: "(column)", args: 1, Doc: "The days (UTC) of the range, for a column of type Date.",
		Example: "(day >= toDate('2026-01-01') AND day <= toDate('2026-01-01'))",
		expand:  func(e *Env, a []string) (string, error) { return between(a[0], day(e.From), day(e.To)), nil },
	},
	{
		Name: "$__dateTimeFilter", Args: "(date column, time column)", args: 2, Doc: "The range for a table that has both: days, which its index may know, and seconds.",
		Example: "((day >= toDate('2026-01-01') AND day <= toDate('2026-01-01')) AND (at >= toDateTime(1767225600) AND at <= toDateTime(1767229200)))",
		expand: func(e *Env, a []string) (string, error) {
			return "(" + between(a[0], day(e.From), day(e.To)) + " AND " + between(a[1], seconds(e.From), seconds(e.To)) + ")", nil
		},
	},
	{
		Name: "$__timeFrom", Args: "(column)", args: 1, Doc: "From the begin of the range on.", Example: "time_received >= toDateTime(1767225600)",
		expand: func(e *Env, a []string) (string, error) { return a[0] + " >= " + seconds(e.From), nil },
	},
	{
		Name: "$__timeTo", Args: "(column)", args: 1, Doc: "Up to the end of the range.", Example: "time_received <= toDateTime(1767229200)",
		expand: func(e *Env, a []string) (string, error) { return a[0] + " <= " + seconds(e.To), nil },
	},
	{
		Name: "$__fromTime", Doc: "Begin of the range, a DateTime.", Example: "toDateTime(1767225600)",
		expand: func(e *Env, _ []string) (string, error) { return seconds(e.From), nil },
	},
	{
		Name: "$__toTime", Doc: "End of the range, a DateTime.", Example: "toDateTime(1767229200)",
		expand: func(e *Env, _ []string) (string, error) { return seconds(e.To), nil },
	},
	{
		Name: "$__fromTime_ms", Doc: "Begin of the range, a DateTime64(3).", Example: "fromUnixTimestamp64Milli(1767225600000)",
		expand: func(e *Env, _ []string) (string, error) { return millis(e.From), nil },
	},
	{
		Name: "$__toTime_ms", Doc: "End of the range, a DateTime64(3).", Example: "fromUnixTimestamp64Milli(1767229200000)",
		expand: func(e *Env, _ []string) (string, error) { return millis(e.To), nil },
	},
	{
		Name: "$__timeInterval", Args: "(column)", args: 1, Doc: "The step in which a time is: whole seconds, at least one.",
		Example: "toStartOfInterval(toDateTime(time_received), INTERVAL 60 second)",
		expand: func(e *Env, a []string) (string, error) {
			return fmt.Sprintf("toStartOfInterval(toDateTime(%s), INTERVAL %d second)", a[0], e.seconds()), nil
		},
	},
	{
		Name: "$__timeInterval_ms", Args: "(column)", args: 1, Doc: "The same in milliseconds.",
		Example: "toStartOfInterval(toDateTime64(time_received, 3), INTERVAL 60000 millisecond)",
		expand: func(e *Env, a []string) (string, error) {
			return fmt.Sprintf("toStartOfInterval(toDateTime64(%s, 3), INTERVAL %d millisecond)", a[0], e.millis()), nil
		},
	},
	{
		Name: "$__timeGroup", Args: "(column, step)", args: 2, Doc: "A step of one's own, as 30s, 5m, 1h or 1d.",
		Example: "toStartOfInterval(toDateTime(time_received), INTERVAL 300 second)",
		expand: func(_ *Env, a []string) (string, error) {
			step, err := stepOf(a[1])
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("toStartOfInterval(toDateTime(%s), INTERVAL %d second)", a[0], step), nil
		},
	},
	{
		Name: "$__interval_s", Doc: "Seconds of the step, at least one: what a sum is divided by to be a rate.", Example: "60",
		expand: func(e *Env, _ []string) (string, error) { return strconv.FormatInt(e.seconds(), 10), nil },
	},
	{
		Name: "$__interval_ms", Doc: "Milliseconds of the step.", Example: "60000",
		expand: func(e *Env, _ []string) (string, error) { return strconv.FormatInt(e.millis(), 10), nil },
	},
	{
		Name: "$__counted", Doc: "Which rows of table flows totals count: one of each packet, however many exporters saw it.", Example: "(" + raw.Counted + ")",
		expand: func(*Env, []string) (string, error) { return "(" + raw.Counted + ")", nil },
	},
	{
		Name: "$__bytes", Doc: "Bytes of a row of table flows, its sampling rate applied.", Example: "(" + raw.Bytes + ")",
		expand: func(*Env, []string) (string, error) { return "(" + raw.Bytes + ")", nil },
	},
	{
		Name: "$__packets", Doc: "Packets of a row of table flows, its sampling rate applied.", Example: "(" + raw.Packets + ")",
		expand: func(*Env, []string) (string, error) { return "(" + raw.Packets + ")", nil },
	},
}

func between(column, from, to string) string {
	return "(" + column + " >= " + from + " AND " + column + " <= " + to + ")"
}

func seconds(t time.Time) string { return fmt.Sprintf("toDateTime(%d)", max(t.Unix(), 0)) }

func millis(t time.Time) string { return fmt.Sprintf("fromUnixTimestamp64Milli(%d)", t.UnixMilli()) }

func day(t time.Time) string { return "toDate('" + t.UTC().Format(time.DateOnly) + "')" }

func (e *Env) seconds() int64 { return max(int64(e.Interval/time.Second), 1) }

func (e *Env) millis() int64 { return max(e.Interval.Milliseconds(), 1) }

// stepOf reads a step, which may be in quotes, as whole seconds.
func stepOf(text string) (int64, error) {
	text = strings.Trim(strings.TrimSpace(text), "'\"")
	wrong := fmt.Errorf("found step %.20q: want one as 30s, 5m, 1h or 1d", text)
	if text == "" {
		return 0, wrong
	}
	unit := map[byte]int64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400}[text[len(text)-1]]
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 20)
	if err != nil || unit == 0 || n == 0 {
		return 0, wrong
	}
	return int64(n) * unit, nil
}

// Expand returns a statement with its macros replaced, without a semicolon at its end. An error is a [*query.Error] that says where.
func Expand(text string, e Env) (string, error) {
	if len(text) > maxText {
		return "", mistake(0, "the statement has %d bytes, of at most %d", len(text), maxText)
	}
	tokens, err := lex(text)
	if err != nil {
		return "", err
	}
	if tokens, err = single(tokens, text); err != nil {
		return "", err
	}
	x := &expander{text: text, tokens: tokens, env: &e}
	var out strings.Builder
	if err := x.until(&out, len(tokens), 0); err != nil {
		return "", err
	}
	return strings.TrimSpace(out.String()), nil
}

// single returns the tokens of the only statement there is.
func single(tokens []token, text string) ([]token, error) {
	is := func(t token) bool { return t.kind == punctuation && text[t.from] == ';' }
	end := slices.IndexFunc(tokens, is)
	if end < 0 {
		return tokens, nil
	}
	for _, t := range tokens[end+1:] {
		if t.kind != space && !is(t) {
			return nil, mistake(t.from, "there is a second statement: want one")
		}
	}
	return tokens[:end], nil
}

// expander replaces the macros of a statement.
type expander struct {
	text   string
	tokens []token
	at     int // next token
	env    *Env
}

// until writes the tokens before end to out.
func (x *expander) until(out *strings.Builder, end, depth int) error {
	for x.at < end {
		t := x.tokens[x.at]
		x.at++
		if t.kind != name {
			out.WriteString(x.text[t.from:t.to])
		} else if err := x.macro(out, t, depth); err != nil {
			return err
		}
		if out.Len() > maxSQL {
			return mistake(t.from, "the statement becomes longer than %d bytes", maxSQL)
		}
	}
	return nil
}

// macro writes what the macro t stands for.
func (x *expander) macro(out *strings.Builder, t token, depth int) error {
	called := x.text[t.from:t.to]
	i := slices.IndexFunc(Macros, func(m Macro) bool { return m.Name == called })
	if i < 0 {
		names := make([]string, len(Macros))
		for i := range Macros {
			names[i] = Macros[i].Name
		}
		err := &query.Error{Part: "sql.text", Pos: t.from + 1, Msg: fmt.Sprintf("there is no macro %s", called), Hint: "the query help lists all"}
		if near := nearest.Word(called, names); near != "" {
			err.Hint = "did you mean " + near + "?"
		}
		return err
	}
	m := &Macros[i]
	if depth == maxDepth {
		return mistake(t.from, "macros are nested deeper than %d", maxDepth)
	}
	args, err := x.arguments(t, m, depth)
	if err != nil {
		return err
	}
	text, err := m.expand(x.env, args)
	if err != nil {
		return mistake(t.from, "%s: %v", m.Name, err)
	}
	out.WriteString(text)
	return nil
}

// arguments reads those of macro m at t, their own macros replaced.
func (x *expander) arguments(t token, m *Macro, depth int) ([]string, error) {
	wrong := func(n int) error {
		want := "no arguments"
		if m.args > 0 {
			want = m.Args
		}
		return mistake(t.from, "%s has %d arguments: want %s", m.Name, n, want)
	}
	open := x.at
	for m.args > 0 && open < len(x.tokens) && x.tokens[open].kind == space {
		open++
	}
	if open == len(x.tokens) || !x.is(open, '(') {
		if m.args > 0 {
			return nil, wrong(0)
		}
		return nil, nil
	}
	ends, err := x.commas(open, t)
	if err != nil {
		return nil, err
	}
	var args []string
	x.at = open + 1
	for _, end := range ends {
		var arg strings.Builder
		if err := x.until(&arg, end, depth+1); err != nil {
			return nil, err
		}
		args = append(args, strings.TrimSpace(arg.String()))
		x.at = end + 1
	}
	if len(args) == 1 && args[0] == "" {
		args = nil
	}
	if len(args) != m.args || slices.Contains(args, "") {
		return nil, wrong(len(args))
	}
	return args, nil
}

// commas returns where the arguments end that begin behind the bracket at open: at commas, and at the bracket that closes it.
func (x *expander) commas(open int, t token) ([]int, error) {
	var ends []int
	var stack []byte
	for i := open; i < len(x.tokens); i++ {
		if x.tokens[i].kind != punctuation {
			continue
		}
		switch c := x.text[x.tokens[i].from]; c {
		case '(', '[', '{':
			stack = append(stack, map[byte]byte{'(': ')', '[': ']', '{': '}'}[c])
		case ')', ']', '}':
			if stack[len(stack)-1] != c {
				return nil, mistake(x.tokens[i].from, "found %c, want %c", c, stack[len(stack)-1])
			}
			if stack = stack[:len(stack)-1]; len(stack) == 0 {
				return append(ends, i), nil
			}
		case ',':
			if len(stack) == 1 {
				ends = append(ends, i)
			}
		}
	}
	return nil, mistake(t.from, "the arguments of %s do not end", x.text[t.from:t.to])
}

func (x *expander) is(at int, c byte) bool {
	return x.tokens[at].kind == punctuation && x.text[x.tokens[at].from] == c
}
