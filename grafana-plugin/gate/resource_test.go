package gate_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/query"
)

// values calls a resource of values and returns them.
func (s source) values(t *testing.T, url string) (found []string) {
	t.Helper()
	status, body := s.call(t, http.MethodGet, url, nil)
	var answer struct {
		Values []struct {
			Value string `json:"value"`
		} `json:"values"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d %s (%v)", url, status, body, err)
	}
	for _, v := range answer.Values {
		found = append(found, v.Value)
	}
	return found
}

// The editor has no list of its own: fields, units, kinds of events and macros are the backend's.
func TestSchema(t *testing.T) {
	status, body := seededStore(t).source(t).call(t, http.MethodGet, "schema", nil)
	type named struct {
		Name string `json:"name"`
	}
	var schema struct {
		Fields     []named           `json:"fields"`
		Units      []json.RawMessage `json:"units"`
		EventKinds []json.RawMessage `json:"eventKinds"`
		Macros     []named           `json:"macros"`
		Tables     []named           `json:"tables"`
	}
	if err := json.Unmarshal(body, &schema); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s (%v)", status, body, err)
	}
	var fields []string
	for _, f := range schema.Fields {
		fields = append(fields, f.Name)
	}
	for _, f := range query.Fields {
		if !slices.Contains(fields, f.Name) {
			t.Errorf("field %s is missing; there are %q", f.Name, fields)
		}
	}
	if len(schema.Units) != len(query.Units) || len(schema.EventKinds) != len(event.Kinds) {
		t.Errorf("%d units and %d kinds of events, want %d and %d", len(schema.Units), len(schema.EventKinds), len(query.Units), len(event.Kinds))
	}
	for _, table := range []string{"flows", "flows_1m", "network_events", "exporter_stats"} {
		if !slices.Contains(schema.Tables, named{table}) {
			t.Errorf("table %s is missing; there are %v", table, schema.Tables)
		}
	}
	for _, macro := range []string{"timeFilter", "timeInterval", "fromTime", "toTime"} {
		if !slices.ContainsFunc(schema.Macros, func(m named) bool { return strings.TrimPrefix(m.Name, "$__") == macro }) {
			t.Errorf("macro %s is missing; there are %v", macro, schema.Macros)
		}
	}
}

// Values are those that exist, that begin as asked, and never more than asked for.
func TestValues(t *testing.T) {
	s := seededStore(t).source(t)
	f := func(url string, want ...string) {
		t.Helper()
		got := s.values(t, url)
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: %q, want %q among them", url, got, w)
			}
		}
	}
	f("values?field=vm&prefix=web", "web-01", "web-02")
	f("values?field=src_vm&prefix=WEB-0", "web-01")
	f("values?field=host", s.seedHosts(t)...)
	f("values?field=network", "front", "back")
	f("values?field=protocol", "tcp", "udp")
	f("values?field=service&prefix=ht", "http", "https")
	f("values?field=verdict", "allowed", "denied")
	f("values?field=exporter", "127.0.0.11")
	if got := s.values(t, "values?field=vm&prefix=web&limit=1"); len(got) != 1 {
		t.Errorf("limit 1: %q", got)
	}
	if got := s.values(t, "values?field=vm&prefix=no-such-vm"); len(got) != 0 {
		t.Errorf("no VM begins so, and yet: %q", got)
	}
	for _, url := range []string{"values?field=no_such_field", "values", "values?field=vm&limit=-1", "values?field=vm&limit=x"} {
		if status, body := s.call(t, http.MethodGet, url, nil); status != http.StatusBadRequest || !json.Valid(body) {
			t.Errorf("%s: %d %s, want 400 and JSON", url, status, body)
		}
	}
}

func (s source) seedHosts(t *testing.T) (names []string) {
	t.Helper()
	for _, h := range seededStore(t).estate.Hosts {
		names = append(names, h.Name)
	}
	return names
}

// A filter and SQL are checked with the place of a mistake, and SQL that would run is shown.
func TestCheckAndPreview(t *testing.T) {
	s := seededStore(t).source(t)
	post := func(url, body string) (status int, answer map[string]any) {
		t.Helper()
		status, got := s.call(t, http.MethodPost, url, []byte(body))
		if err := json.Unmarshal(got, &answer); err != nil {
			t.Fatalf("%s %s: %d %s", url, body, status, got)
		}
		return status, answer
	}
	if status, a := post("check", `{"filter":"vm = web-01 and dst_port in (80, 443)"}`); status != http.StatusOK || a["ok"] != true {
		t.Errorf("a filter that is right: %d %v", status, a)
	}
	if status, a := post("check", `{"filter":"protocol = tcp and vmm = web-01"}`); status != http.StatusOK || a["ok"] == true || a["position"] != 20.0 || a["message"] == "" || !strings.Contains(a["hint"].(string), "vm") {
		t.Errorf("a filter with a mistake: %d %v", status, a)
	}
	if status, a := post("check", `{"sql":"SELECT count() FROM flows WHERE $__timeFilter(time_received)"}`); status != http.StatusOK || a["ok"] != true {
		t.Errorf("SQL that is right: %d %v", status, a)
	}
	if status, a := post("check", `{"sql":"SELECT $__nonsense(1)"}`); status != http.StatusOK || a["ok"] == true {
		t.Errorf("SQL with an unknown macro: %d %v", status, a)
	}
	if status, a := post("preview", `{"query":{"version":1,"queryType":"flows","flows":{"by":["vm"],"filter":"protocol = tcp"}}}`); status != http.StatusOK || !strings.Contains(a["sql"].(string), "SELECT") {
		t.Errorf("preview: %d %v", status, a)
	}
	if status, a := post("preview", `{"query":{"version":1,"queryType":"flows","flows":{"filter":"vm ="}}}`); status != http.StatusBadRequest || a["message"] == "" {
		t.Errorf("preview of a mistake: %d %v", status, a)
	}
	for _, url := range []string{"check", "preview"} {
		if status, _ := s.call(t, http.MethodPost, url, []byte(`{`)); status != http.StatusBadRequest {
			t.Errorf("%s without JSON: %d", url, status)
		}
		if status, _ := s.call(t, http.MethodGet, url, nil); status != http.StatusMethodNotAllowed && status != http.StatusNotFound {
			t.Errorf("GET %s: %d", url, status)
		}
	}
	if status, _ := s.call(t, http.MethodGet, "no/such/resource", nil); status != http.StatusNotFound {
		t.Errorf("a resource that is none: %d", status)
	}
}

// Exporters are those whose counters are in the store.
func TestExporters(t *testing.T) {
	status, body := seededStore(t).source(t).call(t, http.MethodGet, "exporters", nil)
	if status != http.StatusOK || !json.Valid(body) {
		t.Fatalf("%d %s", status, body)
	}
	for _, addr := range []string{"127.0.0.11", "127.0.0.12", "127.0.0.13", "192.0.2.1"} {
		if !strings.Contains(string(body), `"`+addr+`"`) {
			t.Errorf("%s is missing: %s", addr, body)
		}
	}
}
