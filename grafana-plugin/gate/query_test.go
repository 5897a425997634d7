package gate_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/weirhq/weir/grafana-plugin/pkg/dashboard"
	"github.com/weirhq/weir/grafana-plugin/pkg/model"
)

// fixtures are the queries that the tests of both sides of the plugin read, by name.
func fixtures(t *testing.T) map[string]json.RawMessage {
	t.Helper()
	names, err := filepath.Glob("../testdata/queries/*.json")
	must(t, err)
	if len(names) == 0 {
		t.Fatal("no fixtures in ../testdata/queries")
	}
	all := map[string]json.RawMessage{}
	for _, name := range names {
		content, err := os.ReadFile(name)
		must(t, err)
		all[strings.TrimSuffix(filepath.Base(name), ".json")] = content
	}
	return all
}

// frameTypes are those of the answers in each format.
var frameTypes = map[model.Format][]data.FrameType{
	model.Timeseries:  {data.FrameTypeTimeSeriesMulti, data.FrameTypeTimeSeriesWide},
	model.Number:      {data.FrameTypeNumericMulti, data.FrameTypeNumericWide},
	model.Table:       {data.FrameTypeTable},
	model.Logs:        {data.FrameTypeLogLines},
	model.Annotations: {data.FrameTypeTable},
}

// checkFrames checks what holds for every answer in a format.
func checkFrames(t *testing.T, frames data.Frames, types []data.FrameType) {
	t.Helper()
	rows := 0
	for i, f := range frames {
		if f.Meta == nil {
			t.Errorf("frame %q has no meta", f.Name)
			continue
		}
		if !slices.Contains(types, f.Meta.Type) {
			t.Errorf("frame %q has type %q, want one of %q", f.Name, f.Meta.Type, types)
		}
		// Version 0.1 of a type is the one that Grafana's contract describes; of lines of logs there is but 0.0.
		if want := (data.FrameTypeVersion{0, 1}); f.Meta.TypeVersion != want && f.Meta.Type != data.FrameTypeLogLines {
			t.Errorf("frame %q has version %v of its type, want %v", f.Name, f.Meta.TypeVersion, want)
		}
		if i == 0 && !strings.Contains(f.Meta.ExecutedQueryString, "SELECT") {
			t.Errorf("the first frame does not say which statement ran: %q", f.Meta.ExecutedQueryString)
		}
		n, err := f.RowLen()
		if err != nil {
			t.Errorf("frame %q: %v", f.Name, err)
		}
		rows += n
		if f.Meta.Type == data.FrameTypeTimeSeriesMulti || f.Meta.Type == data.FrameTypeTimeSeriesWide {
			checkSorted(t, f)
		}
	}
	if rows == 0 {
		t.Errorf("no rows in %d frames", len(frames))
	}
}

func checkSorted(t *testing.T, f *data.Frame) {
	t.Helper()
	if len(f.Fields) == 0 || !f.Fields[0].Type().Time() {
		t.Errorf("series %q does not begin with a time", f.Name)
		return
	}
	var last time.Time
	for i := range f.Fields[0].Len() {
		at, ok := f.Fields[0].ConcreteAt(i)
		if !ok || i > 0 && !at.(time.Time).After(last) {
			t.Errorf("series %q: time %d is %v, after %v", f.Name, i, at, last)
			return
		}
		last = at.(time.Time)
	}
}

// Every query of every type and format is answered with the frames of its golden file: asked by a person, and alike by an alert rule.
func TestQueries(t *testing.T) {
	s := seededStore(t).source(t)
	asked := map[string]bool{}
	for name, query := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			q, err := model.Parse(query)
			must(t, err)
			asked[fmt.Sprint(q.Type, q.Format())] = true
			answer := s.one(t, string(query))
			if answer.Error != nil {
				t.Fatalf("%v (%d, %s)", answer.Error, answer.Status, answer.ErrorSource)
			}
			checkFrames(t, answer.Frames, frameTypes[q.Format()])
			if q.Type == model.TypeSQL {
				sortFrames(answer.Frames)
			}
			golden(t, filepath.Join("frames", name+".txt"), describe(answer))
			// An alert rule gets the same in the same frames, without notices; of flows, it gets what is complete as soon as it is received.
			alert := s.as("").one(t, string(query))
			if alert.Error != nil {
				t.Fatalf("without a user: %v (%d, %s)", alert.Error, alert.Status, alert.ErrorSource)
			}
			checkFrames(t, alert.Frames, frameTypes[q.Format()])
			if q.Type == model.TypeSQL {
				sortFrames(alert.Frames)
			}
			if q.Type != model.TypeFlows && rowsOf(alert) != rowsOf(answer) {
				t.Errorf("without a user the answer is\n%s", describe(alert))
			}
		})
	}
	for kind, formats := range model.Formats {
		for _, format := range formats {
			if !asked[fmt.Sprint(kind, format)] {
				t.Errorf("no fixture asks for %s as %s", kind, format)
			}
		}
	}
	files, err := filepath.Glob("testdata/frames/*.txt")
	must(t, err)
	for _, file := range files {
		if _, ok := fixtures(t)[strings.TrimSuffix(filepath.Base(file), ".txt")]; !ok {
			t.Errorf("%s: there is no such query", file)
		}
	}
}

// sortFrames puts series of SQL in the order of their names: they come in the order in which rows name them first, which ClickHouse
// chooses where the statement does not.
func sortFrames(frames data.Frames) {
	slices.SortStableFunc(frames, func(a, b *data.Frame) int { return strings.Compare(a.Name, b.Name) })
}

// rowsOf describes an answer without its notices.
func rowsOf(answer backend.DataResponse) string {
	return noticeLine.ReplaceAllString(describe(answer), "")
}

var noticeLine = regexp.MustCompile(`(?m)^  (info|warning|error): .*\n`)

// Several queries of a panel are answered each by itself: the mistake of one is not that of the others.
func TestQueriesOfAPanel(t *testing.T) {
	s := seededStore(t).source(t)
	all := fixtures(t)
	answers, err := s.ask(t.Context(),
		target{refID: "A", model: all["flows_table"]},
		target{refID: "B", model: json.RawMessage(`{"refId":"B","version":1,"queryType":"flows","flows":{"filter":"vm = "}}`)},
		target{refID: "C", model: json.RawMessage(`{"refId":"C","hide":true,"version":1,"queryType":"flows","flows":{}}`)},
		target{refID: "D", model: json.RawMessage(`{"refId":"D"}`)},
	)
	must(t, err)
	if a := answers["A"]; a.Error != nil || len(a.Frames) == 0 {
		t.Errorf("A: %v, %d frames", a.Error, len(a.Frames))
	}
	if b := answers["B"]; b.Error == nil || b.Status != http.StatusBadRequest || b.ErrorSource != backend.ErrorSourceDownstream || !strings.Contains(b.Error.Error(), "filter") {
		t.Errorf("B: %v (%d, %s), want a mistake in the filter", b.Error, b.Status, b.ErrorSource)
	}
	if d := answers["D"]; d.Error != nil || len(d.Frames) == 0 {
		t.Errorf("D, a panel without the editor's fields: %v, %d frames", d.Error, len(d.Frames))
	}
}

// Every query of every dashboard that is shipped is answered, with data, in frames of the type that its panel is for.
func TestDashboards(t *testing.T) {
	s := seededStore(t).source(t).as("Viewer")
	boards, err := dashboard.Read("../../deploy/grafana/dashboards")
	must(t, err)
	if len(boards) == 0 {
		t.Fatal("no dashboards")
	}
	for _, board := range boards {
		targets, err := board.Targets(nil)
		must(t, err)
		for _, q := range targets {
			t.Run(q.String(), func(t *testing.T) {
				if q.Field != "" { // what a variable can be is looked up
					if found := s.values(t, "values?field="+q.Field); len(found) == 0 {
						t.Errorf("field %s has no values", q.Field)
					}
					return
				}
				answer := s.one(t, string(q.Query))
				if answer.Error != nil {
					t.Fatalf("%v (%d, %s)\n%s", answer.Error, answer.Status, answer.ErrorSource, q.Query)
				}
				if strings.Contains(describe(answer), "the store has no table admin_events") {
					return // it comes with a later version of weir
				}
				checkFrames(t, answer.Frames, q.Frames)
				if t.Failed() {
					t.Logf("%s\n%s", q.Query, describe(answer))
				}
			})
		}
	}
}

// Who may run SQL is decided by the settings, in the backend.
func TestRolesOfSQL(t *testing.T) {
	s := seededStore(t).source(t)
	// For each least role, the roles that may; "" is a request without a user.
	matrix := map[string]map[string]bool{
		"none":   {"Viewer": false, "Editor": false, "Admin": false},
		"Admin":  {"Viewer": false, "Editor": false, "Admin": true},
		"Editor": {"Viewer": false, "Editor": true, "Admin": true},
		"Viewer": {"Viewer": true, "Editor": true, "Admin": true},
		"":       {"Viewer": false, "Editor": true, "Admin": true}, // not set
	}
	const statement = `{"version":1,"queryType":"sql","sql":{"format":"table","text":"SELECT 1 AS one"}}`
	check := func(s source, about string, may bool) {
		t.Helper()
		answer := s.one(t, statement)
		if may != (answer.Error == nil) {
			t.Errorf("%s: %v, may is %v", about, answer.Error, may)
		}
		if !may && answer.Error != nil && (answer.Status != http.StatusForbidden || answer.ErrorSource != backend.ErrorSourceDownstream || len(answer.Frames) != 0) {
			t.Errorf("%s: refused by %d, %s with %d frames: %v", about, answer.Status, answer.ErrorSource, len(answer.Frames), answer.Error)
		}
	}
	for least, roles := range matrix {
		settings := map[string]any{"sqlRole": least}
		if least == "" {
			settings["sqlRole"] = nil
		}
		for role, may := range roles {
			check(s.with(settings).as(role), fmt.Sprintf("sqlRole %q, role %q", least, role), may)
		}
		for _, unknown := range []string{"None", "admin", "Root", " Admin"} {
			check(s.with(settings).as(unknown), fmt.Sprintf("sqlRole %q, role %q", least, unknown), false)
		}
		check(s.with(settings).as(""), fmt.Sprintf("sqlRole %q, no user", least), true)
		for _, without := range []bool{true, false} {
			settings["sqlWithoutUser"] = without
			check(s.with(settings).as(""), fmt.Sprintf("sqlRole %q, no user, sqlWithoutUser %v", least, without), without)
		}
		delete(settings, "sqlWithoutUser")
	}
	// All else is anybody's who sees the dashboard.
	if answer := s.with(map[string]any{"sqlRole": "none"}).as("Viewer").one(t, `{"queryType":"flows"}`); answer.Error != nil {
		t.Errorf("flows for a viewer: %v", answer.Error)
	}
}

// Answers are cut at the caps, and say so; what would read or last too long is refused.
func TestCaps(t *testing.T) {
	s := seededStore(t).source(t)
	statement := func(format, text string) string {
		b, err := json.Marshal(map[string]any{"version": 1, "queryType": "sql", "sql": map[string]string{"format": format, "text": text}})
		must(t, err)
		return string(b)
	}
	notices := func(answer backend.DataResponse) (all string) {
		for _, f := range answer.Frames {
			for _, n := range f.Meta.Notices {
				all += n.Text + "\n"
			}
		}
		return all
	}
	rows := func(answer backend.DataResponse) (n int) {
		for _, f := range answer.Frames {
			n += f.Rows()
		}
		return n
	}
	t.Run("rows", func(t *testing.T) {
		answer := s.with(map[string]any{"maxRows": 50}).one(t, statement("table", "SELECT number FROM numbers(1000)"))
		if answer.Error != nil || rows(answer) != 50 || !strings.Contains(notices(answer), "50") {
			t.Errorf("%v, %d rows, notices %q; want 50 rows and a notice of that", answer.Error, rows(answer), notices(answer))
		}
		answer = s.one(t, statement("table", "SELECT number FROM numbers(100000)"))
		if answer.Error != nil || rows(answer) != 10_000 || notices(answer) == "" {
			t.Errorf("%v, %d rows, notices %q; want 10000 rows and a notice of that", answer.Error, rows(answer), notices(answer))
		}
		answer = s.one(t, statement("table", "SELECT number FROM numbers(1000)"))
		if answer.Error != nil || rows(answer) != 1000 || notices(answer) != "" {
			t.Errorf("%v, %d rows, notices %q; want all 1000 rows and no notice", answer.Error, rows(answer), notices(answer))
		}
	})
	t.Run("bytes", func(t *testing.T) {
		answer := s.with(map[string]any{"maxBytes": 100_000}).one(t, statement("table", "SELECT repeat('x', 10000) AS x FROM numbers(1000)"))
		if answer.Error != nil || rows(answer) == 0 || rows(answer) > 20 || notices(answer) == "" {
			t.Errorf("%v, %d rows, notices %q; want a few rows and a notice", answer.Error, rows(answer), notices(answer))
		}
	})
	t.Run("read", func(t *testing.T) {
		answer := s.with(map[string]any{"maxReadBytes": 1 << 20}).one(t, statement("number", "SELECT sum(number) AS n FROM numbers(100000000)"))
		if answer.Error == nil || answer.ErrorSource != backend.ErrorSourceDownstream || answer.Status != http.StatusBadRequest {
			t.Errorf("%v (%d, %s), want a refusal", answer.Error, answer.Status, answer.ErrorSource)
		}
	})
	t.Run("time", func(t *testing.T) {
		answer := s.with(map[string]any{"maxSeconds": 1}).one(t, statement("number", "SELECT count() AS n FROM numbers(1000000000000) WHERE sipHash64(number) = 1"))
		if answer.Error == nil || answer.ErrorSource != backend.ErrorSourceDownstream || answer.Status != http.StatusGatewayTimeout {
			t.Errorf("%v (%d, %s), want that it takes too long", answer.Error, answer.Status, answer.ErrorSource)
		}
	})
	t.Run("series", func(t *testing.T) {
		answer := s.one(t, statement("timeseries", "SELECT toDateTime($__fromTime) AS time, toString(number) AS series, number AS v FROM numbers(500)"))
		if answer.Error != nil || len(answer.Frames) != 100 && len(answer.Frames) != 1 || notices(answer) == "" {
			t.Errorf("%v, %d frames, notices %q; want 100 series and a notice", answer.Error, len(answer.Frames), notices(answer))
		}
	})
}
