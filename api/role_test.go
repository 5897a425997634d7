package api_test

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/api/account"
)

var update = flag.Bool("update", false, "write testdata/*.golden, docs/reference/openapi.json, docs/reference/api.md and ui/src/api.ts")

// Who may do what, cell by cell: testdata/roles.golden is what is wanted. A request that may be made is wrong in itself, so that nothing is changed by it, and what
// it is answered says that it was looked at.
func TestRoles(t *testing.T) {
	r := newRig(t, unauthenticated(), nil, nil)
	d := documentOf(r)
	r.addUser("dora", account.Superuser)
	if _, _, err := r.accounts.SetUser(t.Context(), maker, "dora", account.Wanted{Role: account.Superuser, Disabled: true}); err != nil {
		t.Fatal(err)
	}
	r.hasPassword("sue")
	sue := login(r, "sue")
	if _, err := r.accounts.SetPassword(t.Context(), maker, "vera", passwordOf("vera")); err != nil {
		t.Fatal(err)
	}
	oneTime := login(r, "vera")
	locals := newRig(t, api.Config{Listen: "127.0.0.1:0", LocalReads: true}, nil, nil)

	columns := []struct {
		name string
		ask  func(asking) answer
	}{
		{"nobody", r.ask},
		{"local", locals.ask},
		{"viewer", func(q asking) answer { q.token = r.tokens["vera"]; return r.ask(q) }},
		{"operator", func(q asking) answer { q.token = r.tokens["olaf"]; return r.ask(q) }},
		{"superuser", func(q asking) answer { q.token = r.tokens["sue"]; return r.ask(q) }},
		{"session", func(q asking) answer { return sue.ask(q) }},
		{"no-csrf", func(q asking) answer { q.client = sue.client; return r.ask(q) }},
		{"one-time", func(q asking) answer { return oneTime.ask(q) }},
		{"disabled", func(q asking) answer { q.token = r.tokens["dora"]; return r.ask(q) }},
		{"socket", func(q asking) answer { q.socket = true; return r.ask(q) }},
	}
	for _, s := range account.Scopes {
		token := r.token("sue", s)
		columns = append(columns, struct {
			name string
			ask  func(asking) answer
		}{string(s), func(q asking) answer { q.token = token; return r.ask(q) }})
	}
	var out strings.Builder
	fmt.Fprintf(&out, "# Written by go test ./api -run '^TestRoles$' -update. yes: it is looked at; 401: who are you; 403: you may not.\n%-20s", "operation")
	for _, c := range columns {
		fmt.Fprintf(&out, " %-14s", c.name)
	}
	before := r.everything()
	for _, op := range d.operations {
		fmt.Fprintf(&out, "\n%-20s", op.ID)
		q := asking{method: op.method, path: op.path}
		for _, p := range op.Parameters {
			if p.In == "path" {
				q.path = strings.ReplaceAll(q.path, "{"+p.Name+"}", map[string]string{"kind": "vm_group", "revision": "99"}[p.Name]+map[bool]string{true: "", false: "none"}[p.Name == "kind" || p.Name == "revision"])
			}
		}
		if op.method != http.MethodGet {
			q.path += "?no_such_parameter=1"
		}
		for _, c := range columns {
			if op.ID == "stream-events" {
				q.path = strings.TrimSuffix(q.path, "?after=x") + "?after=x" // it has no end
			}
			got := c.ask(q)
			cell := "yes"
			switch {
			case got.status == http.StatusUnauthorized || got.status == http.StatusForbidden:
				cell = fmt.Sprint(got.status)
				checkProblem(t, op.ID+" by "+c.name, got)
			case got.status >= 500:
				t.Errorf("%s by %s: %d %s", op.ID, c.name, got.status, got.body)
			}
			fmt.Fprintf(&out, " %-14s", cell)
		}
	}
	if after := r.everything(); after != before {
		t.Errorf("something was changed:\n%s\n%s", before, after)
	}
	text := ""
	for line := range strings.Lines(out.String() + "\n") {
		text += strings.TrimRight(line, " \n") + "\n"
	}
	golden := filepath.Join("testdata", "roles.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != text {
		t.Errorf("%s is otherwise (%v); go test -update writes it:\n%s", golden, err, text)
	}
}

// session is somebody who is logged in.
type session struct {
	r      *rig
	client *http.Client
	csrf   string
}

// ask asks in the session.
func (s *session) ask(q asking) answer {
	header := map[string]string{"X-CSRF-Token": s.csrf}
	maps.Copy(header, q.header)
	q.client, q.header = s.client, header
	return s.r.ask(q)
}
