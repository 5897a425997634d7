package macro_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/grafana-plugin/pkg/macro"
	"github.com/weirhq/weir/query"
)

// env is an hour in steps of a minute, as in the examples.
var env = macro.Env{From: time.Unix(1767225600, 0), To: time.Unix(1767229200, 0), Interval: time.Minute}

// Each macro becomes what its example says.
func TestExamples(t *testing.T) {
	args := map[string]string{
		"": "", "(column)": "(time_received)", "(date column, time column)": "(day, at)", "(column, step)": "(time_received, 5m)",
	}
	for _, m := range macro.Macros {
		a, ok := args[m.Args]
		if !ok {
			t.Fatalf("%s: say here what to call it with: %s", m.Name, m.Args)
		}
		if m.Name == "$__dateFilter" {
			a = "(day)"
		}
		got, err := macro.Expand("SELECT "+m.Name+a, env)
		if want := "SELECT " + m.Example; err != nil || got != want {
			t.Errorf("%s%s becomes %q, %v; want %q", m.Name, a, got, err, want)
		}
		if m.Doc == "" || !strings.HasPrefix(m.Name, "$__") {
			t.Errorf("%+v is not described", m)
		}
	}
}

func TestExpand(t *testing.T) {
	const from, to = "toDateTime(1767225600)", "toDateTime(1767229200)"
	for _, test := range []struct{ text, want string }{
		{"SELECT 1", "SELECT 1"},
		{" SELECT 1 ; -- done\n;", "SELECT 1"},
		{"SELECT '$__fromTime', \"$__fromTime\", `$__fromTime`", "SELECT '$__fromTime', \"$__fromTime\", `$__fromTime`"},
		{"SELECT 'it''s \\' $__fromTime', $__fromTime", "SELECT 'it''s \\' $__fromTime', " + from},
		{"SELECT $$ $__fromTime ; $$, $x$ ' $x$, $__toTime", "SELECT $$ $__fromTime ; $$, $x$ ' $x$, " + to},
		{"SELECT 1 -- $__fromTime ; '\n, 2 /* ; $__x ' */ # it's\n", "SELECT 1 -- $__fromTime ; '\n, 2 /* ; $__x ' */ # it's"},
		{"$__timeFrom(t)AND 1", "t >= " + from + "AND 1"},
		{"$__timeFrom (t)", "t >= " + from},
		{"$__fromTime() < $__toTime ( 1 )", from + " < " + to + " ( 1 )"},
		{"($__timeFilter(coalesce(a, [1, 2][1], {'x': 1}['x'])))", "((coalesce(a, [1, 2][1], {'x': 1}['x']) >= " + from + " AND coalesce(a, [1, 2][1], {'x': 1}['x']) <= " + to + "))"},
		{"$__timeFilter(if(x = ')', $__fromTime, t))", "(if(x = ')', " + from + ", t) >= " + from + " AND if(x = ')', " + from + ", t) <= " + to + ")"},
		{"$__timeGroup($__timeInterval(t), '1h')", "toStartOfInterval(toDateTime(toStartOfInterval(toDateTime(t), INTERVAL 60 second)), INTERVAL 3600 second)"},
		{"$__interval_ms_", ""}, // no macro
		{"a$__fromTime", "a" + from},
		{"$1 $", "$1 $"},
		{"'ä' $__interval_s", "'ä' 60"},
	} {
		got, err := macro.Expand(test.text, env)
		if test.want == "" {
			if err == nil {
				t.Errorf("%q becomes %q", test.text, got)
			}
			continue
		}
		if err != nil || got != test.want {
			t.Errorf("%q becomes %q, %v; want %q", test.text, got, err, test.want)
		}
	}
	short := env
	short.Interval = 10 * time.Millisecond
	if got, err := macro.Expand("$__interval_s $__interval_ms", short); err != nil || got != "1 10" {
		t.Errorf("a short step: %q %v", got, err)
	}
}

func TestMistakes(t *testing.T) {
	for _, test := range []struct {
		text, want string
		pos        int
	}{
		{"SELECT $__timeFiltre(t)", "did you mean $__timeFilter?", 8},
		{"SELECT $__timeFilter", "want (column)", 8},
		{"$__timeFilter()", "has 0 arguments", 1},
		{"$__timeFilter(a, b)", "has 2 arguments", 1},
		{"$__dateTimeFilter(a, )", "want (date column, time column)", 1},
		{"$__fromTime(a)", "want no arguments", 1},
		{"SELECT $__timeFilter(t", "do not end", 8},
		{"SELECT $__timeFilter([t)", "found ), want ]", 24},
		{"SELECT 'x", "does not end", 8},
		{"SELECT /* x", "does not end", 8},
		{"SELECT $$ x", "does not end", 8},
		{"SELECT 1; DROP TABLE flows", "second statement", 11},
		{"$__timeGroup(t, soon)", "want one as 30s", 1},
		{"$__timeGroup(t, 99999999999999999999s)", "want one as 30s", 1},
		{strings.Repeat("$__timeFilter(", 20) + "t" + strings.Repeat(")", 20), "nested deeper than 16", 16*14 + 1},
		{strings.Repeat("$__timeFilter(", 14) + strings.Repeat("t", 1000) + strings.Repeat(")", 14), "longer than", 0},
		{strings.Repeat(" ", 70_000), "of at most", 0},
	} {
		got, err := macro.Expand(test.text, env)
		var mistake *query.Error
		if !errors.As(err, &mistake) || !strings.Contains(err.Error(), test.want) || test.pos != 0 && mistake.Pos != test.pos {
			t.Errorf("%.60q becomes %.60q, %v; want %q at %d", test.text, got, err, test.want, test.pos)
		}
	}
}

// A statement without macros comes out as it is, but for what surrounds it; of others what is put in is bounded.
func FuzzExpand(f *testing.F) {
	for _, m := range macro.Macros {
		f.Add("SELECT " + m.Name + "(a, 'b;', \"c\")")
	}
	f.Add("SELECT $$a$$, 'b' -- c\n/* d */ # e\n;;")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := macro.Expand(text, env)
		if err != nil {
			var mistake *query.Error
			if !errors.As(err, &mistake) || mistake.Pos < 0 || mistake.Pos > len(text)+1 {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if len(got) > 512<<10 {
			t.Fatalf("%q becomes %d bytes", text, len(got))
		}
		if !strings.Contains(text, "$__") && !strings.Contains(text, ";") && got != strings.TrimSpace(text) {
			t.Fatalf("%q becomes %q", text, got)
		}
		if again, err := macro.Expand(got, env); err != nil || again != got {
			t.Fatalf("%q becomes %q, and that %q, %v", text, got, again, err)
		}
	})
}
