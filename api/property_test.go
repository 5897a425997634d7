package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/api/account"
	"github.com/weirhq/weir/internal/chance"
)

const aPolicy = "address_groups:\n- name: office\n  members: [192.0.2.0/24]\nglobal:\n  mandatory:\n  - {id: no-ssh, action: deny, protocol: tcp, local_ports: 22, remote: address-group:office}\n"

// step is a request that is answered as wanted.
type step struct {
	op   string
	want int
	ask  asking
}

// story is every operation, each done once at least, in an order in which it can be done, by sue.
func story(r *rig) []step {
	s := r.tokens["sue"]
	get := func(op, path string) step {
		return step{op, http.StatusOK, asking{method: "GET", path: "/api/v1/" + path, token: s}}
	}
	do := func(op, method, path string, want int, body any) step {
		return step{op, want, asking{method: method, path: "/api/v1/" + path, body: body, token: s}}
	}
	type o = map[string]any
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	return []step{
		get("get-status", "status"), get("list-exporters", "exporters"), get("get-estate", "estate"), get("explain-estate", "estate/explain?what=web-01"), get("list-sources", "estate/sources"),
		get("list-entities", "estate/vm?limit=1"), get("get-entity", "estate/vm/web-01"), get("query-flows", "flows?by=src_vm"), get("list-rule-hits", "policy/hits?unused=true"),
		do("ask-flows", "POST", "flows", 200, o{"by": []string{"dst_vm"}, "units": []string{"bps", "flows"}, "kind": "series", "step_seconds": 60}),
		get("list-events", "events"), get("list-admin-events", "admin-events?limit=2"),

		do("add-host", "POST", "hosts", 201, o{"name": "hv1", "target": "unix:/nonexistent/db.sock", "pool": "berlin"}),
		get("list-hosts", "hosts"), get("get-host", "hosts/hv1"), get("get-pool", "pools/berlin"),
		do("test-host", "POST", "hosts/test", 200, o{"target": "unix:/nonexistent/db.sock"}),
		do("confirm-certificate", "POST", "hosts/confirm", 422, o{"what": "hv1"}), // it has none
		do("set-host-export", "PUT", "hosts/hv1/export", 204, o{"protocol": "off"}),
		do("set-pool-export", "PUT", "pools/berlin/export", 204, o{"protocol": "ipfix"}),
		do("set-host-mode", "PUT", "hosts/hv1/mode", 204, o{"mode": "observe"}),
		do("set-pool-policy", "PUT", "pools/berlin/policy", 204, o{"mode": "observe", "sampling": "new"}),
		get("plan-host-mode", "hosts/hv1/mode?mode=observe"),
		{"plan-detach", 409, get("", "hosts/hv1/detach").ask}, // it is not connected

		do("check-policy", "POST", "policy/check", 200, o{"policy": aPolicy}),
		do("plan-policy", "POST", "policy/plan", 200, o{"policy": aPolicy}),
		do("apply-policy", "POST", "policy/apply", 200, o{"policy": aPolicy, "reason": "the first"}),
		get("get-policy", "policy"), get("list-policies", "policy/revisions?limit=1"), get("get-revision", "policy/revisions/1"), get("export-policy", "policy/export"),
		do("begin-draft", "POST", "policy/drafts", 201, o{"name": "d1"}), get("get-draft", "policy/drafts/d1"), get("list-drafts", "policy/drafts?owner=sue"),
		do("edit-draft", "PUT", "policy/drafts/d1", 200, o{"policy": aPolicy + "default: deny\n"}),
		do("set-group", "PUT", "policy/drafts/d1/groups/vm_group/web", 200, o{"vms": []string{"web-01"}}), get("list-groups", "policy/groups?draft=d1"),
		do("undo-draft", "POST", "policy/drafts/d1/undo", 200, o{}), do("redo-draft", "POST", "policy/drafts/d1/redo", 200, o{"edits": 1}),
		get("list-draft-edits", "policy/drafts/d1/edits"), get("compare-policies", "policy/compare?from=1&to=draft:d1"),
		do("remove-group", "DELETE", "policy/drafts/d1/groups/vm_group/web", 200, nil),
		do("plan-draft", "POST", "policy/drafts/d1/plan", 200, o{}),
		do("apply-draft", "POST", "policy/drafts/d1/apply", 200, o{"confirm_within": "10m", "reason": "tried"}), get("get-policy-status", "policy/status"),
		do("roll-back-policy", "POST", "policy/rollback", 200, o{"revision": 2}),
		do("import-policy", "POST", "policy/import", 200, o{"name": "d2", "policy": aPolicy + "default: deny\n"}),
		do("apply-draft", "POST", "policy/drafts/d2/apply", 200, o{"confirm_within": "10m", "base": 3}),
		do("confirm-policy", "POST", "policy/confirm", 200, o{"revision": 4}),
		do("restore-policy", "POST", "policy/restore", 200, o{"revision": 1, "reason": "it was better"}),
		do("begin-draft", "POST", "policy/drafts", 201, o{"name": "d3"}), do("drop-draft", "DELETE", "policy/drafts/d3", 204, nil),
		do("bypass-policy", "POST", "policy/bypass", 200, o{"target": "host:hv1", "reason": "fire"}), get("list-bypasses", "policy/bypass"),
		do("end-bypass", "DELETE", "policy/bypass?target=host:hv1", 200, nil),
		do("quarantine-vif", "POST", "policy/quarantine", 404, o{"vif": "web-01/0", "reason": "scans"}), get("list-quarantines", "policy/quarantine"),
		do("release-vif", "DELETE", "policy/quarantine?vif=web-01/0", 404, nil),
		{"get-effective-rules", 404, get("", "policy/effective?vif=web-01%2F0").ask}, // none is plugged
		{"list-vif-settings", 200, get("", "policy/effective/settings?of=estate&limit=3").ask},

		do("take-snapshot", "POST", "snapshots", 201, o{"reason": "before the exam"}), get("list-snapshots", "snapshots"),
		{"download-snapshot", 404, get("", "snapshots/none").ask},
		do("remove-snapshot", "DELETE", "snapshots/none", 404, nil),

		do("set-user", "PUT", "users/newton", 200, o{"role": "viewer"}), get("get-user", "users/newton"), get("list-users", "users?limit=2"),
		do("reset-password", "POST", "users/newton/password", 200, o{"password": "apple-0123456789"}),
		do("login", "POST", "session", 200, o{"user": "newton", "password": "apple-0123456789"}), get("list-sessions", "users/newton/sessions"),
		do("end-session", "DELETE", "users/newton/sessions/none", 404, nil), get("get-session", "session"),
		do("change-password", "PUT", "session/password", 409, o{"former": "x", "password": "pear-0123456789"}), // it is a token that asks; see TestSessions
		do("logout", "DELETE", "session", 409, nil),
		do("add-token", "POST", "tokens", 201, o{"name": "ci", "scopes": []string{"flows:read"}, "expires": in(time.Hour)}), get("list-tokens", "tokens?user=sue"),
		{"get-token", 404, get("", "tokens/none").ask},
		do("remove-token", "DELETE", "tokens/none", 404, nil),
		do("remove-user", "DELETE", "users/newton", 204, nil),
		do("detach-host", "POST", "hosts/hv1/detach?wait=0", 202, nil), do("remove-host", "DELETE", "hosts/hv1?force=true", 204, nil),
	}
}

// Everything that there is to do is done as it should, and what was changed, or refused, is told with who asked, and by which request.
func TestEveryOperation(t *testing.T) {
	r := newRig(t, unauthenticated(), nil, nil)
	d := documentOf(r)
	byID := map[string]*operation{}
	for _, op := range d.operations {
		byID[op.ID] = op
	}
	done := map[string]bool{"stream-events": true} // it has no end: see TestStream
	for _, s := range story(r) {
		op := byID[s.op]
		if op == nil {
			t.Fatalf("operation %s is not in the document", s.op)
		}
		done[s.op] = true
		before := r.everything()
		got := r.ask(s.ask)
		changed := r.everything() != before
		what := s.op + ": " + s.ask.method + " " + s.ask.path
		if got.status != s.want {
			t.Errorf("%s: %d %s, want %d", what, got.status, got.body, s.want)
		}
		if got.status >= 400 {
			checkProblem(t, what, got)
		} else if op.Responses[fmt.Sprint(got.status)] == nil && got.status != http.StatusAccepted {
			t.Errorf("%s: the document does not know %d", what, got.status)
		}
		if strings.Contains(strings.Replace(got.body, `"started":"0001-01-01T00:00:00Z"`, "", 1), `"0001-01-01T00:00:00Z"`) {
			t.Errorf("%s: a time that is not known is told, instead of left out: %s", what, got.body)
		}
		r.checkTold(op, what, got, changed, "sue")
	}
	for id := range byID {
		if !done[id] {
			t.Errorf("operation %s is not tried here", id)
		}
	}
}

// checkTold wants what an answer has changed, or refused, to be told, and nothing else.
func (r *rig) checkTold(op *operation, what string, got answer, changed bool, user string) {
	r.t.Helper()
	told := r.told(got.header.Get("X-Request-Id"))
	done := 0
	for _, e := range told {
		if e.Outcome == "done" {
			done++
		}
		if e.Actor != user && op.ID != "login" || e.Source == "" || e.Outcome == "refused" && (e.Operation != op.Change || e.Text == "") {
			r.t.Errorf("%s: told is %+v", what, e)
		}
	}
	switch {
	case op.Change == "":
		if changed || len(told) > 0 {
			r.t.Errorf("%s: it changes nothing; something was changed: %v, told: %v", what, changed, told)
		}
	case got.status >= 400:
		if changed || done > 0 || len(told) != 1 {
			r.t.Errorf("%s: %d; something was changed: %v, told: %v, want the refusal", what, got.status, changed, told)
		}
	case changed && done == 0:
		r.t.Errorf("%s: something was changed, and not told: %v", what, told)
	}
}

func newGenerator(d *document, seed uint64) *generator {
	return &generator{document: d, rnd: rand.New(rand.NewPCG(seed, 1)), known: map[string][]any{
		"user": {"newton", "gauss"}, "name": {"hv1", "hv2", "berlin", "d1"}, "draft": {"d1", "d2", "none"}, "owner": {"sue", "olaf"},
		"role": {"viewer", "operator"}, "revision": {1, 2, 3}, "version": {1, 2}, "base": {1, 2}, "entity": {"web-01", "berlin"}, "group": {"office", "web"},
		"from": {"2026-11-24T10:00:00Z"}, "pool": {"berlin", "paris"}, "by": {"src_vm", "dst_port"}, "filter": {"port = 443"}, "kind": {"vm", "vm_group", "top"},
		"cursor": {"", "eA"}, "only": {"hv1"}, "host": {"hv1"}, "what": {"hv1", "web-01"}, "id": {"none"}, "reason": {"why not"},
	}, always: map[string][]any{
		"target": {"unix:/nonexistent/db.sock", "estate", "pool:berlin", "host:hv1", "vif:web-01/0"}, "wait": {0}, "confirm_within": {"10m"}, "protocol": {"off", "ipfix", "auto"},
		"policy":  {aPolicy, "default: deny\n", "default: allow\nglobal: {mandatory: [{action: allow}]}\n", "x", ""},
		"expires": {time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, "scopes": {"flows:read", "all:write"}, "sampling": {"new", "full", ""},
	}}
}

// What the document forbids is refused with the place that is wrong, whoever asks, and changes nothing.
func TestWrongRequests(t *testing.T) {
	r := newRig(t, unauthenticated(), nil, nil)
	g := newGenerator(documentOf(r), 1)
	before := r.everything()
	asked := 0
	for _, op := range g.operations {
		for _, w := range g.wrong(op) {
			w.token = r.tokens["sue"]
			got := r.ask(w.asking)
			asked++
			what := fmt.Sprintf("%s: %s: %s", op.ID, w.where, w.why)
			if got.status < 400 || got.status >= 500 || got.status == http.StatusForbidden || got.status == http.StatusUnauthorized {
				t.Errorf("%s: %d %.300s\n%s %.300s", what, got.status, got.body, w.path, fmt.Sprint(w.body))
				continue
			}
			p := checkProblem(t, what, got)
			named := got.status != http.StatusUnprocessableEntity
			for _, e := range p.Errors {
				named = named || strings.HasPrefix(strings.ToLower(e.Location), strings.ToLower(w.where)) && e.Message != ""
			}
			if !named {
				t.Errorf("%s: the place is not named: %.400s", what, got.body)
			}
		}
		if after := r.everything(); after != before {
			t.Fatalf("%s: what is wrong has changed something:\n%s\n%s", op.ID, before, after)
		}
	}
	t.Logf("%d wrong requests", asked)
}

// Requests as the document allows, at random: none fails, and nothing is changed that is not told.
func TestRandomRequests(t *testing.T) {
	r := newRig(t, unauthenticated(), nil, nil)
	d := documentOf(r)
	seed := chance.Seed(t)
	g := newGenerator(d, seed)
	for _, s := range story(r)[:40] { // so that there is something
		r.ask(s.ask)
	}
	statuses := map[int]int{}
	for range 250 {
		op := d.operations[g.rnd.IntN(len(d.operations))]
		if op.ID == "stream-events" || strings.Contains(op.ID, "password") || op.ID == "login" { // the last take their time
			continue
		}
		user := slices.Sorted(maps.Keys(roles))[g.rnd.IntN(len(roles))]
		if !roles[user].Includes(account.Role(op.Role)) {
			user = "sue"
		}
		q := g.request(op)
		q.token = r.tokens[user]
		before := r.everything()
		got := r.ask(q)
		text, _ := json.Marshal(q.body)
		what := fmt.Sprintf("%s by %s: %s %s %v %.500s", op.ID, user, q.method, q.path, q.header, text)
		statuses[got.status]++
		switch {
		case got.status >= 500 || got.status == http.StatusUnauthorized:
			t.Errorf("%s: %d %s", what, got.status, got.body)
		case got.status >= 400:
			checkProblem(t, what, got)
		}
		r.checkTold(op, what, got, r.everything() != before, user)
	}
	t.Logf("answers: %v", statuses)
	if statuses[200] < 50 {
		t.Errorf("%v: hardly anything was done", statuses)
	}
}

// Many at once: none fails, and of what was told to be done, the asker heard that it was, and the other way round.
func TestConcurrentRequests(t *testing.T) {
	r := newRig(t, unauthenticated(), nil, nil)
	d := documentOf(r)
	for _, s := range story(r)[:40] {
		r.ask(s.ask)
	}
	var mu sync.Mutex
	done := map[string]string{} // operation by id of the request
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			g := newGenerator(d, uint64(worker))
			for range 30 {
				op := d.operations[g.rnd.IntN(len(d.operations))]
				if op.ID == "stream-events" || strings.Contains(op.ID, "password") || op.ID == "login" || op.ID == "remove-user" || op.ID == "set-user" {
					continue
				}
				q := g.request(op)
				q.token = r.tokens["sue"]
				got := r.ask(q)
				if got.status >= 500 {
					t.Errorf("%s: %s %s %v: %d %s", op.ID, q.method, q.path, q.body, got.status, got.body)
				}
				if op.Change != "" && got.status < 300 {
					mu.Lock()
					done[got.header.Get("X-Request-Id")] = op.ID
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	for _, op := range []string{"add-token", "begin-draft"} { // which always change something
		for request, id := range done {
			if id == op && len(r.told(request)) == 0 {
				t.Errorf("%s was done and is not told", op)
			}
		}
	}
	stored, err := r.admins.Waiting(context.Background(), 100_000)
	if err != nil {
		t.Fatal(err)
	}
	for i := range stored {
		if e := &stored[i]; e.Outcome == "done" && e.Source == "127.0.0.1" && done[e.Request] == "" && e.Request != "" {
			t.Errorf("told to be done, and the asker did not hear that: %+v", e)
		}
	}
}
