package plugin_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"
)

// Each query of a request has an answer or an error of its own, and each error says whose mistake it is.
func TestQueries(t *testing.T) {
	database, s := seeded(t)
	d := of(t, s, database, s.Users.ReadOnly, nil)
	answers := d.ask(t.Context(), t, nil,
		`{}`,
		`{"queryType":"flows","flows":{"format":"table","by":["vm"],"filter":"vm = \"web-01\" and port = 443","units":["bytes"]}}`,
		`{"queryType":"records","records":{"filter":"protocol = tcp"}}`,
		`{"queryType":"events","events":{"source":"all"}}`,
		`{"queryType":"exporters"}`, `{"queryType":"hits"}`, `{"queryType":"inventory"}`,
		sqlTarget(t, "SELECT count() AS n FROM flows WHERE $__timeFilter(time_received)"),
		`{"queryType":"flows","flows":{"filter":"vm = \"web-1\""}}`,
		`{"queryType":"flows","flows":{"filter":"protocol = nonsense"}}`,
		`{"queryType":"flows","flows":{"nonsense":1}}`,
		sqlTarget(t, "SELECT no_such_column FROM flows"),
		sqlTarget(t, "SELECT 1 FROM no_such_table"),
		sqlTarget(t, "SELECT 1; SELECT 2"),
	)
	for ref := 'A'; ref <= 'H'; ref++ {
		a := answers[string(ref)]
		if a.Error != nil || len(a.Frames) == 0 || a.Frames[0].Meta == nil || a.Frames[0].Meta.Type == "" && ref != 'D' {
			t.Errorf("%c: %v, %d frames", ref, a.Error, len(a.Frames))
		}
	}
	if f := answers["B"].Frames[0]; f.Rows() != 2 || f.Meta.Type != data.FrameTypeTable || !strings.Contains(f.Meta.ExecutedQueryString, "web-01") {
		t.Errorf("flows of web-01 by VM: %d rows of type %s, want two VMs\n%s", f.Rows(), f.Meta.Type, f.Meta.ExecutedQueryString)
	}
	for ref, wants := range map[string]string{
		"I": `unknown vm "web-1".*web-01`, "J": "filter", "K": "nonsense", "L": "no_such_column", "M": "no_such_table", "N": "second statement",
	} {
		a := answers[ref]
		if a.Error == nil || a.Status != http.StatusBadRequest || a.ErrorSource != backend.ErrorSourceDownstream || !matches(wants, a.Error.Error()) {
			t.Errorf("%s: %d %s %v, want 400, downstream, %q", ref, a.Status, a.ErrorSource, a.Error, wants)
		}
	}
}

// What stands behind the data source is not to blame on the plugin, nor on who asks.
func TestErrorsOfTheServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := l.Addr().String()
	defer l.Close()
	for _, test := range []struct {
		name     string
		settings map[string]any
		status   int
	}{
		{"refused", map[string]any{"url": "http://127.0.0.1:1"}, http.StatusBadGateway},
		{"silent", map[string]any{"url": "http://" + silent, "timeout": "100ms", "maxSeconds": 1}, http.StatusGatewayTimeout},
		{"settings", map[string]any{"url": "gopher://here"}, http.StatusBadRequest},
	} {
		a := newInstance(t, test.settings, map[string]string{"password": "s3cr3t-w0rd"}).one(t, `{}`)
		if a.Error == nil || int(a.Status) != test.status || a.ErrorSource != backend.ErrorSourceDownstream || strings.Contains(a.Error.Error(), "s3cr3t") {
			t.Errorf("%s: %d %s %v, want %d of downstream", test.name, a.Status, a.ErrorSource, a.Error, test.status)
		}
	}
	database, s, _ := migrated(t, 1)
	if a := of(t, s, database, s.Users.ReadOnly, nil).one(t, `{"queryType":"exporters"}`); a.Error == nil || a.Status != http.StatusBadGateway || !strings.Contains(a.Error.Error(), "migrated") {
		t.Errorf("a table that the schema lacks: %d %v, want 502 and what to do", a.Status, a.Error)
	}
}

// A role is looked at where SQL is asked for, and nowhere else.
func TestRoles(t *testing.T) {
	database, s, _ := migrated(t, 0)
	d := of(t, s, database, s.Users.ReadOnly, map[string]any{"sqlWithoutUser": false})
	may := func(about string, headers map[string]string, status int) {
		t.Helper()
		a := d.ask(t.Context(), t, headers, sqlTarget(t, "SELECT 1 AS one"), `{"queryType":"inventory"}`)
		if a["A"].Error != nil && int(a["A"].Status) != status || a["A"].Error == nil && status != http.StatusOK || a["B"].Error != nil {
			t.Errorf("%s: SQL %d %v, want %d; what is no SQL: %v", about, a["A"].Status, a["A"].Error, status, a["B"].Error)
		}
	}
	may("editor", nil, http.StatusOK)
	may("editor's alert rule", map[string]string{"FromAlert": "true"}, http.StatusForbidden)
	d.user.Role = "Viewer"
	may("viewer", nil, http.StatusForbidden)
	d.user = nil
	may("nobody", nil, http.StatusForbidden)
	if a := of(t, s, database, s.Users.ReadOnly, map[string]any{"sqlRole": "editor"}).one(t, `{}`); a.Error == nil || !strings.Contains(a.Error.Error(), "sqlRole") {
		t.Errorf("a role that is none: %v, want it refused with all else", a.Error)
	}
}

type health struct {
	Class            string
	Hint             string
	Schema           int
	Exporters        int
	SendingExporters int
	MayWrite         bool
}

func (i *instance) health(t *testing.T) (*backend.CheckHealthResult, health) {
	t.Helper()
	r, err := i.CheckHealth(t.Context(), &backend.CheckHealthRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var h health
	if err := json.Unmarshal(r.JSONDetails, &h); err != nil {
		t.Fatal(err)
	}
	return r, h
}

func TestHealth(t *testing.T) {
	database, s := seeded(t)
	r, h := of(t, s, database, s.Users.ReadOnly, nil).health(t)
	if r.Status != backend.HealthStatusOk || !matches(`^ClickHouse \d+\.\S+, schema \d+, newest flow \w+ ago, in the last hour 1 of 2 exporters sent$`, r.Message) || h.MayWrite || h.Exporters != 2 || h.SendingExporters != 1 {
		t.Errorf("reader: %v %q %+v", r.Status, r.Message, h)
	}
	r, h = of(t, s, database, s.Users.Writer, nil).health(t)
	if r.Status != backend.HealthStatusOk || !strings.Contains(r.Message, "may write") || !h.MayWrite {
		t.Errorf("writer: %v %q %+v", r.Status, r.Message, h)
	}
	wants := func(name string, i *instance, class, message string) {
		t.Helper()
		r, h := i.health(t)
		if r.Status != backend.HealthStatusError || h.Class != class || h.Hint == "" || !matches(message, r.Message) {
			t.Errorf("%s: %v %q %+v, want class %s, a hint, and %q", name, r.Status, r.Message, h, class, message)
		}
	}
	older, _, _ := migrated(t, 3)
	wants("older", of(t, s, older, s.Users.ReadOnly, nil), "schema", "schema 3 .* older")
	fresh, _, _ := migrated(t, 0)
	d := of(t, s, fresh, s.Users.ReadOnly, nil)
	if r, _ := d.health(t); r.Status != backend.HealthStatusOk || !strings.Contains(r.Message, "no flow yet") {
		t.Errorf("nothing stored: %v %q", r.Status, r.Message)
	}
	s.Exec(t, "INSERT INTO "+fresh+".weir_migrations (version, name, checksum) VALUES (9999, '9999_later.sql', 'x')")
	wants("newer", d, "schema", "schema 9999 .* newer")
	s.Exec(t, "DROP TABLE "+fresh+".weir_migrations SYNC")
	wants("no migrations", d, "schema", "no tables of Weir")
	wants("settings", newInstance(t, map[string]any{"maxRows": "many", "url": "http://u:p4ss@h:1", "sqlRole": "root"}, nil), "config", "url: .*maxRows: .*sqlRole: ")
	if r, _ := newInstance(t, map[string]any{"url": "http://u:p4ss@h:1"}, nil).health(t); strings.Contains(fmt.Sprint(r), "p4ss") {
		t.Errorf("a password is told: %v", r)
	}
}
