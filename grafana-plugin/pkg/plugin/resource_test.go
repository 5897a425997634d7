package plugin_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/grafana-plugin/pkg/macro"
	"github.com/weirhq/weir/query"
	"github.com/weirhq/weir/store/storetest"
)

// day is a day of which nothing is stored.
var day = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func matches(pattern, s string) bool { return regexp.MustCompile("(?s)" + pattern).MatchString(s) }

func TestSchema(t *testing.T) {
	type word struct{ Name, Doc string }
	var s struct {
		Fields []struct {
			Name, Type, Doc   string
			Operators, Words  []string
			Groupable, Rollup bool
		}
		Units, Directions, Traffic, Tables, Macros, EventKinds, Severities, ExporterFigures, EntityKinds []word
		Limits                                                                                           []struct{ Key string }
	}
	newInstance(t, map[string]any{"url": "not even a URL"}, nil).call(t, "GET", "schema", "", http.StatusOK, &s)
	if len(s.Fields) != len(query.Fields) || len(s.Units) != len(query.Units) || len(s.EventKinds) != len(event.Kinds) || len(s.Macros) != len(macro.Macros) {
		t.Fatalf("%d fields, %d units, %d kinds of events, %d macros", len(s.Fields), len(s.Units), len(s.EventKinds), len(s.Macros))
	}
	rollup := map[string]bool{}
	for _, f := range s.Fields {
		rollup[f.Name] = f.Rollup
		if f.Type == "" || f.Doc == "" || len(f.Operators) == 0 {
			t.Errorf("field %+v lacks something", f)
		}
	}
	for name, want := range map[string]bool{"vm": true, "group": true, "service": true, "src_addr": false, "port": false, "vif": false} {
		if rollup[name] != want {
			t.Errorf("%s is in sums: %v, want %v", name, rollup[name], want)
		}
	}
	for _, list := range [][]word{s.Units, s.Directions, s.Traffic, s.Tables, s.Macros, s.EventKinds, s.Severities, s.ExporterFigures} {
		for _, w := range list {
			if w.Name == "" || !strings.HasSuffix(w.Doc, ".") {
				t.Errorf("%+v lacks a sentence", w)
			}
		}
	}
	has := func(name string) bool {
		return slices.ContainsFunc(s.Tables, func(w word) bool { return w.Name == name })
	}
	for _, name := range []string{"flows", "flows_1m", "flows_1h", "network_events", "exporter_stats", "rule_hits_1m", "entity_now"} {
		if !has(name) {
			t.Errorf("table %s is missing: %v", name, s.Tables)
		}
	}
	if has("flows_1m_rows") || len(s.EntityKinds) == 0 || len(s.Limits) == 0 {
		t.Errorf("tables %v, entity kinds %v, limits %v", s.Tables, s.EntityKinds, s.Limits)
	}
	// What the words of package query are is told for each of them: its planner takes them, and no other.
	for _, d := range s.Directions {
		if _, err := query.Build(query.Request{Kind: query.Top, From: day, To: day.AddDate(0, 0, 1), Direction: query.Direction(d.Name)}, query.Tables, day); err != nil {
			t.Error(err)
		}
	}
	for _, d := range s.Traffic {
		if _, err := query.Build(query.Request{Kind: query.Top, From: day, To: day.AddDate(0, 0, 1), Traffic: query.Traffic(d.Name)}, query.Tables, day); err != nil {
			t.Error(err)
		}
	}
}

func TestResourcesOfTheStore(t *testing.T) {
	database, s := seeded(t)
	t.Run("values", func(t *testing.T) { valuesWanted(t, s, database) })
	t.Run("values of every field", func(t *testing.T) { valuesOfEveryField(t, of(t, s, database, s.Users.ReadOnly, nil)) })
	t.Run("preview", func(t *testing.T) { preview(t, of(t, s, database, s.Users.ReadOnly, nil)) })
	t.Run("exporters", func(t *testing.T) { exporters(t, of(t, s, database, s.Users.ReadOnly, nil)) })
}

func valuesWanted(t *testing.T, s *storetest.Server, database string) {
	for _, u := range []string{"reader", "writer"} {
		user := s.Users.ReadOnly
		if u == "writer" {
			user = s.Users.Writer
		}
		d := of(t, s, database, user, nil)
		get := func(field, prefix string, limit int) (list []string) {
			t.Helper()
			var answer struct{ Values []struct{ Value string } }
			q := url.Values{"field": {field}, "prefix": {prefix}}
			if limit > 0 {
				q.Set("limit", fmt.Sprint(limit))
			}
			d.call(t, "GET", "values?"+q.Encode(), "", http.StatusOK, &answer)
			for _, v := range answer.Values {
				list = append(list, v.Value)
			}
			return list
		}
		for _, test := range []struct {
			field, prefix string
			limit         int
			want          string
		}{
			{"vm", "", 0, "db-01 web-01 web-02"},
			{"src_vm", "WEB", 0, "web-01 web-02"},
			{"vm", "", 2, "db-01 web-01"},
			{"vm", "100%", 0, ""},
			{"network", "", 0, ""},
			{"protocol", "tc", 0, "tcp"},
			{"service", "http", 3, "http https http-alt"},
			{"counted", "", 0, "true false"},
			{"verdict", "den", 0, "denied"},
			{"flags", "s", 0, "syn"},
			{"src_addr", "10.0.0.", 0, "10.0.0.3 10.0.0.2 10.0.0.1"},
			{"dst_addr", "2001", 0, "2001:db8::1"},
			{"exporter", "192.0.2", 0, "192.0.2.1 192.0.2.2"},
			{"vlan_in", "", 0, "0"},
			{"bytes", "", 0, ""},
		} {
			got := strings.Join(get(test.field, test.prefix, test.limit), " ")
			// A look-up in flows takes three seconds at most, which a busy machine may need for less than all of them.
			for deadline := time.Now().Add(time.Minute); got != test.want && time.Now().Before(deadline); {
				got = strings.Join(get(test.field, test.prefix, test.limit), " ")
			}
			if got != test.want {
				t.Errorf("%s: %s that begin with %q: %q, want %q", u, test.field, test.prefix, got, test.want)
			}
		}
		for _, bad := range []string{"values", "values?field=nonsense", "values?field=vm&limit=0", "values?field=vm&limit=1001", "values?field=vm&limit=x", "values?field=vm&prefix=" + strings.Repeat("x", 257)} {
			var p struct{ Message, Part string }
			if d.call(t, "GET", bad, "", http.StatusBadRequest, &p); p.Message == "" || p.Part == "" {
				t.Errorf("%s: %+v, want what is wrong", bad, p)
			}
		}
	}
}

// Every field has values, or none, but no error.
func valuesOfEveryField(t *testing.T, d *instance) {
	for _, f := range query.Fields {
		var answer struct{ Values []struct{ Value string } }
		d.call(t, "GET", "values?field="+f.Name, "", http.StatusOK, &answer)
		for _, v := range answer.Values {
			if _, err := query.Parse(f.Name + " = " + quoted(v.Value)); err != nil {
				t.Errorf("%s gives the value %q, which its filter does not take: %v", f.Name, v.Value, err)
			}
		}
	}
}

func quoted(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }

type checked struct {
	OK            bool
	Part, Message string
	Position      int
}

func TestCheck(t *testing.T) {
	d := newInstance(t, nil, nil)
	for _, test := range []struct {
		body string
		want checked
	}{
		{`{"filter":""}`, checked{OK: true}},
		{`{"filter":"vm in (any)"}`, checked{OK: true}},
		{`{"filter":"vm = x and"}`, checked{Part: "filter", Position: 11}},
		{`{"sql":"SELECT 1"}`, checked{OK: true}},
		{`{"sql":"SELECT $__timeInterval(time_received) FROM flows"}`, checked{OK: true}},
		{`{"sql":"SELECT $__nonsense"}`, checked{Part: "sql.text", Position: 8}},
		{`{"sql":"DROP TABLE flows"}`, checked{}},
		{`{"query":{"queryType":"flows","flows":{"by":["vm"]}}}`, checked{OK: true}},
		{`{"query":{"queryType":"flows","flows":{"by":["nonsense"]}}}`, checked{Part: "by"}},
		{`{"query":{"queryType":"sql","sql":{"text":"SELECT * FROM url('http://h')"}}}`, checked{}},
	} {
		var got checked
		d.call(t, "POST", "check", test.body, http.StatusOK, &got)
		if got.OK != test.want.OK || got.OK != (got.Message == "") || test.want.Part != "" && got.Part != test.want.Part || test.want.Position != 0 && got.Position != test.want.Position {
			t.Errorf("check %s: %+v, want %+v", test.body, got, test.want)
		}
	}
	var p struct{ Message string }
	d.call(t, "POST", "check", `{}`, http.StatusBadRequest, &p)
	d.call(t, "POST", "check", `{`, http.StatusBadRequest, &p)
	d.call(t, "POST", "check", `{"filter":"`+strings.Repeat("x", 1<<20)+`"}`, http.StatusBadRequest, &p)
	d.call(t, "POST", "nothing", ``, http.StatusNotFound, &p)
	d.call(t, "GET", "check", ``, http.StatusNotFound, &p)
	if p.Message == "" {
		t.Error("no resource: nothing is said")
	}
}

func preview(t *testing.T, d *instance) {
	var preview struct {
		SQL    string
		Params []struct{ Name string }
	}
	d.call(t, "POST", "preview", `{"query":{"queryType":"flows","flows":{"filter":"port = 443"}},"from":1767225600000,"to":1767229200000}`, http.StatusOK, &preview)
	if !strings.HasPrefix(preview.SQL, "SELECT") || len(preview.Params) == 0 {
		t.Errorf("preview: %+v", preview)
	}
	d.call(t, "POST", "preview", `{"query":{"queryType":"sql","sql":{"text":"SELECT $__fromTime"}},"from":1767225600000,"to":1767229200000}`, http.StatusOK, &preview)
	if preview.SQL != "SELECT toDateTime(1767225600)" {
		t.Errorf("preview of SQL: %q", preview.SQL)
	}
	var p struct{ Message string }
	d.call(t, "POST", "preview", `{"query":{"queryType":"flows"},"from":2,"to":1}`, http.StatusBadRequest, &p)
	d.call(t, "POST", "preview", `{}`, http.StatusBadRequest, &p)
}

func exporters(t *testing.T, d *instance) {
	var list struct {
		Exporters []struct {
			Name   string
			Active bool
		}
	}
	d.call(t, "GET", "exporters", "", http.StatusOK, &list)
	if len(list.Exporters) != 2 || list.Exporters[0].Name != "192.0.2.1" || !list.Exporters[0].Active || list.Exporters[1].Active {
		t.Errorf("exporters: %+v, want two, of which the first is active", list)
	}
}
