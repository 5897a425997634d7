package gate_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
)

// tap is an HTTP server between the plugin and the store that writes down which statements pass.
type tap struct {
	mu         sync.Mutex
	statements []string // guarded by mu
}

func (s *seed) tapped(t *testing.T) (*tap, source) {
	t.Helper()
	w := &tap{}
	server := s.frontend(t, func(store http.Handler) *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Errorf("read what the plugin sends: %v", err)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			w.mu.Lock()
			w.statements = append(w.statements, r.URL.Query().Get("query")+string(body))
			w.mu.Unlock()
			store.ServeHTTP(rw, r)
		}))
	})
	return w, s.source(t).with(map[string]any{"url": server.URL})
}

// taken returns the statements since it was last called.
func (w *tap) taken() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.statements
	w.statements = nil
	return taken
}

// mark is in every hostile text, and nowhere else.
const mark = "zq9x"

// hostile are texts that end a string, a name, a comment, a call, a parameter or a macro, or that are none.
var hostile = []string{
	`zq9x'; DROP TABLE flows; --`,
	`zq9x" OR 1 = 1 OR "" = "`,
	`zq9x') UNION ALL SELECT name FROM system.users -- `,
	"zq9x` FROM system.tables; -- ",
	`zq9x\'; INSERT INTO flows SELECT * FROM flows; --`,
	`zq9x {p1:UInt64} {zq9x:Identifier}`,
	`$__timeFilter(zq9x) $__zq9x /* zq9x`,
	"zq9x\x00\n; SYSTEM SHUTDOWN",
	`vm = "zq9x'; DROP TABLE flows; --"`,
}

// eachText calls f for each text in a JSON value, with its place and what sets it; afterwards it is as before.
func eachText(v any, path string, f func(path string, set func(text string))) {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			if old, ok := v[key].(string); ok {
				f(path+"."+key, func(text string) { v[key] = text })
				v[key] = old
				continue
			}
			eachText(v[key], path+"."+key, f)
		}
	case []any:
		for i := range v {
			if old, ok := v[i].(string); ok {
				f(fmt.Sprintf("%s[%d]", path, i), func(text string) { v[i] = text })
				v[i] = old
				continue
			}
			eachText(v[i], fmt.Sprintf("%s[%d]", path, i), f)
		}
	}
}

// tables is how many rows each table of the store has, and a hash of what is in them.
func (s *seed) tables(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	names := s.Exec(t, "SELECT name FROM system.tables WHERE database = '"+s.database+"' AND engine LIKE '%MergeTree' ORDER BY name")
	for name := range strings.FieldsSeq(names) {
		fmt.Fprintf(&b, "%s %s", name, s.Exec(t, "SELECT count(), sum(cityHash64(*)) FROM "+s.database+"."+name))
	}
	b.WriteString(s.Exec(t, "SELECT count() FROM system.databases"))
	return b.String()
}

// Whatever is written into a text of a query, only the statements that the plugin made reach the store, with the text in none of them.
func TestInjection(t *testing.T) {
	s := seededStore(t)
	w, source := s.tapped(t)
	before := s.tables(t)
	source.one(t, `{}`)
	if len(w.taken()) == 0 {
		t.Fatal("no statement passes the tap: the test sees nothing")
	}
	selects := regexp.MustCompile(`(?is)^\s*(/\*.*?\*/\s*)?(SELECT|WITH|EXISTS TABLE)\s`)
	asked := 0
	for name, fixture := range fixtures(t) {
		var model map[string]any
		must(t, json.Unmarshal(fixture, &model))
		if model["queryType"] == "sql" {
			continue // TestHostileStatements
		}
		eachText(model, name, func(path string, set func(string)) {
			var targets []target // of one request: some of them run at the same time
			for i, text := range hostile {
				set(text)
				b, err := json.Marshal(model)
				must(t, err)
				targets = append(targets, target{refID: strconv.Itoa(i), model: b})
			}
			answers, err := source.ask(t.Context(), targets...)
			if err != nil {
				t.Fatalf("%s: %v\n%s", path, err, &said)
			}
			asked += len(answers)
			for i, text := range hostile {
				if a := answers[strconv.Itoa(i)]; a.Error != nil && a.ErrorSource != backend.ErrorSourceDownstream {
					t.Errorf("%s = %q: the plugin takes the mistake for its own: %v (%d, %s)", path, text, a.Error, a.Status, a.ErrorSource)
				}
			}
		})
		for _, statement := range w.taken() {
			if strings.Contains(statement, mark) {
				t.Errorf("%s: text of the query is in a statement:\n%s", name, statement)
			}
			if !selects.MatchString(statement) {
				t.Errorf("%s: a statement that is no question:\n%s", name, statement)
			}
		}
	}
	if asked < 500 {
		t.Errorf("only %d hostile queries were asked", asked)
	}
	if after := s.tables(t); after != before {
		t.Errorf("tables were\n%s\nand are\n%s", before, after)
	}
}

// Nor by what the editor asks for.
func TestInjectionByResources(t *testing.T) {
	s := seededStore(t)
	w, source := s.tapped(t)
	before := s.tables(t)
	for _, text := range hostile {
		b, err := json.Marshal(text)
		must(t, err)
		escaped := strings.NewReplacer("%", "%25", "&", "%26", "#", "%23", " ", "%20", "\x00", "%00", "\n", "%0A", "+", "%2B", ";", "%3B").Replace(text)
		for _, field := range []string{"vm", "host", "protocol", "service", "group", "rule", "exporter", "src_addr"} {
			source.call(t, "GET", "values?field="+field+"&prefix="+escaped+"&limit=10", nil)
		}
		source.call(t, "GET", "values?field="+escaped, nil)
		source.call(t, "POST", "check", []byte(`{"filter":`+string(b)+`}`))
		source.call(t, "POST", "preview", []byte(`{"query":{"version":1,"queryType":"flows","flows":{"filter":`+string(b)+`}}}`))
	}
	statements := w.taken()
	if len(statements) == 0 {
		t.Error("no statement passed")
	}
	for _, statement := range statements {
		if strings.Contains(statement, mark) {
			t.Errorf("text of a request is in a statement:\n%s", statement)
		}
	}
	if after := s.tables(t); after != before {
		t.Errorf("tables were\n%s\nand are\n%s", before, after)
	}
}

// SQL of a user's own only reads, and only what is Weir's.
func TestHostileStatements(t *testing.T) {
	s := seededStore(t)
	canary := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the store asked elsewhere: %s", r.URL)
	}))
	defer canary.Close()
	statements := []string{
		"DROP TABLE flows",
		"INSERT INTO flows SELECT * FROM flows",
		"ALTER TABLE flows DELETE WHERE 1",
		"TRUNCATE TABLE flows",
		"CREATE TABLE x (a UInt8) ENGINE = Memory",
		"SELECT 1; DROP TABLE flows",
		"SELECT 1 /* ; */ ; /* ; */ DROP TABLE flows",
		"SET readonly = 0",
		"SELECT 1 SETTINGS readonly = 0",
		"SELECT * FROM flows SETTINGS max_execution_time = 0",
		"SYSTEM SHUTDOWN",
		"KILL QUERY WHERE 1",
		"SELECT * FROM system.users",
		"SELECT * FROM `system`.`users`",
		"SELECT * FROM file('/etc/passwd', LineAsString)",
		"SELECT * FROM url('" + canary.URL + "', LineAsString, 'x String')",
		"SELECT * FROM remote('" + strings.TrimPrefix(canary.URL, "http://") + "', system.one)",
		"SELECT * FROM executable('id', 'TabSeparated', 'x String')",
		"SELECT 1 INTO OUTFILE '/tmp/weir-gate-outfile'",
		"SELECT 1 FORMAT Null",
		"EXPLAIN SELECT 1",
		"SHOW TABLES",
		"ATTACH TABLE x",
		"WITH x AS (SELECT 1) INSERT INTO flows SELECT * FROM flows",
		"(SELECT 1); (SELECT 2)",
		"SELECT $__timeFilter(1); DROP TABLE flows",
	}
	before := s.tables(t)
	for _, who := range []source{s.source(t), s.sourceAs(t, s.Users.Writer)} {
		for _, statement := range statements {
			text, err := json.Marshal(statement)
			must(t, err)
			answer := who.one(t, `{"version":1,"queryType":"sql","sql":{"format":"table","text":`+string(text)+`}}`)
			if answer.Error == nil {
				t.Errorf("as %v, %s: answered\n%s", who.json["username"], statement, describe(answer))
			} else if answer.ErrorSource != backend.ErrorSourceDownstream {
				t.Errorf("as %v, %s: the plugin takes the mistake for its own: %v (%d, %s)", who.json["username"], statement, answer.Error, answer.Status, answer.ErrorSource)
			}
		}
	}
	if after := s.tables(t); after != before {
		t.Errorf("tables were\n%s\nand are\n%s", before, after)
	}
}
