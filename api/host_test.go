package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/export"
	"github.com/weirhq/weir/policyd/state"
)

// hosts is a policyd that notes what it is asked, and answers as the name of the host says.
type hosts struct {
	mu    sync.Mutex
	asked []string // guarded by mu
}

func (h *hosts) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, fmt.Sprintf(format, args...))
}

func (h *hosts) answer(name string) error {
	switch name {
	case "wrong":
		return &policyd.MistakeError{Reason: "that is wrong"}
	case "none":
		return fmt.Errorf("find host: %w", state.ErrNotFound)
	case "twice":
		return fmt.Errorf("add host: %w", state.ErrExists)
	case "broken":
		return errors.New("disk full")
	}
	return nil
}

func (h *hosts) Hosts() ([]policyd.HostStatus, []policyd.Waiting) {
	return []policyd.HostStatus{{Name: "xcp1", Pool: "lab", State: ovsdb.StateConnected, VIFs: 3}, {Name: "xcp2", State: ovsdb.StateRefused, Error: "another certificate"}},
		[]policyd.Waiting{{Host: "xcp3", Reason: "nobody has confirmed it"}}
}

func (h *hosts) Host(name string) (policyd.HostStatus, error) {
	return policyd.HostStatus{Name: name}, h.answer(name)
}

func (h *hosts) Pools(context.Context) ([]state.Pool, error) {
	return []state.Pool{{Name: "berlin", Export: export.Override{Protocol: export.Off}}}, nil
}

func (h *hosts) Add(_ context.Context, by audit.Actor, r policyd.AddRequest) (state.Host, error) {
	h.note("add %s %s %s %s by %s", r.Name, r.Target, r.TLS.Pin, r.Export.Protocol, by.User)
	return state.Host{Name: r.Name, UUID: "u"}, h.answer(r.Name)
}

func (h *hosts) Confirm(_ context.Context, by audit.Actor, what, fingerprint string) (string, ovsdb.Fingerprint, error) {
	h.note("confirm %s %s by %s", what, fingerprint, by.User)
	return what, "AB", h.answer(what)
}

func (h *hosts) Remove(_ context.Context, by audit.Actor, name string, force bool) error {
	h.note("remove %s %v by %s", name, force, by.User)
	return h.answer(name)
}

func (h *hosts) SetExport(_ context.Context, by audit.Actor, name string, o export.Override) error {
	h.note("export %s %s by %s", name, o.Protocol, by.User)
	return h.answer(name)
}

func (h *hosts) SetPoolExport(_ context.Context, by audit.Actor, pool string, o export.Override) error {
	h.note("pool %s %s by %s", pool, o.Protocol, by.User)
	return h.answer(pool)
}

func (h *hosts) PlanDetach(_ context.Context, name string) (export.Plan, error) {
	return export.Plan{}, h.answer(name)
}

func (h *hosts) Detach(ctx context.Context, by audit.Actor, name string) error {
	h.note("detach %s by %s", name, by.User)
	if name == "away" {
		<-ctx.Done()
		return errors.New("it goes on: not connected")
	}
	return h.answer(name)
}

func (h *hosts) Test(_ context.Context, r policyd.TestRequest) ([]policyd.Step, error) {
	h.note("test %s%s", r.Host, r.Target)
	return []policyd.Step{{Name: "connect", Outcome: ovsdb.Failed}}, h.answer(r.Host)
}

// adminServer serves hosts on both ways; do asks over the socket.
func adminServer(t *testing.T) (r *running, h *hosts, do func(method, path, body string) answer) {
	t.Helper()
	dir, err := os.MkdirTemp("", "admin") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "admin.sock")
	if err := os.WriteFile(path, nil, 0o644); err != nil { // as a run that was killed leaves one
		t.Fatal(err)
	}
	l, err := api.ListenAdmin(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket: %v %v, want 0600", info.Mode(), err)
	}
	h = &hosts{}
	snapshot, _ := estateOf(t)
	r = serve(t, api.Deps{Admin: l, Refusals: openState(t), Hosts: h, Policy: &policies{hosts: h}, Events: newEvents(), Estate: staticEstate(snapshot)})
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	t.Cleanup(client.CloseIdleConnections)
	return r, h, func(method, path, body string) answer {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://weir"+path, bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer{resp.StatusCode, resp.Header, string(text)}
	}
}

// changes are the calls that change something, for a host of that name.
func changes(name string) []struct{ method, path, body string } {
	return []struct{ method, path, body string }{
		{"POST", "/api/v1/hosts", fmt.Sprintf(`{"name": %q, "target": "ssl:192.0.2.1", "tls": {"pin": "ab"}, "export": {"protocol": "off"}}`, name)},
		{"POST", "/api/v1/hosts/confirm", fmt.Sprintf(`{"what": %q, "fingerprint": "cd"}`, name)},
		{"POST", "/api/v1/hosts/test", fmt.Sprintf(`{"host": %q}`, name)},
		{"DELETE", "/api/v1/hosts/" + name + "?force=true", ""},
		{"PUT", "/api/v1/hosts/" + name + "/export", `{"protocol": "ipfix"}`},
		{"PUT", "/api/v1/pools/" + name + "/export", `{"protocol": "netflow"}`},
		{"POST", "/api/v1/hosts/" + name + "/detach", ""},
	}
}

// Calls that change something work over the socket, with who asks, and nowhere else.
func TestAdminSocket(t *testing.T) {
	r, h, do := adminServer(t)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes("xcp1") {
		if a := do(c.method, c.path, c.body); a.status/100 != 2 {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.body)
		}
	}
	by := " by " + me.Username
	want := []string{
		"add xcp1 ssl:192.0.2.1:6640 ab off" + by, "confirm xcp1 cd" + by, "test xcp1", "remove xcp1 true" + by,
		"export xcp1 ipfix" + by, "pool xcp1 netflow" + by, "detach xcp1" + by,
	}
	if !slices.Equal(h.asked, want) {
		t.Errorf("asked %q, want %q", h.asked, want)
	}
	for name, want := range map[string]int{"wrong": 422, "none": 404, "twice": 409, "broken": 503} {
		for _, c := range changes(name) {
			if a := do(c.method, c.path, c.body); a.status != want || !json.Valid([]byte(a.body)) {
				t.Errorf("%s %s: %d %s, want %d", c.method, c.path, a.status, a.body, want)
			}
		}
	}
	if a := do("POST", "/api/v1/hosts/away/detach?wait=0", ""); a.status != http.StatusAccepted || !strings.Contains(a.body, "it goes on") {
		t.Errorf("detach of a host that is away: %d %s", a.status, a.body)
	}
	for _, body := range []string{`{}`, `{"name": "x", "target": "ftp:y"}`, `{"name": "x", "knid": 1}`, `{"name": "x", "export": {"protocol": "smoke"}}`, `[`} {
		if a := do("POST", "/api/v1/hosts", body); a.status != http.StatusUnprocessableEntity && a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	before := len(h.asked)
	for _, c := range changes("xcp1") {
		if a := r.do(c.method, c.path, ""); a.status != http.StatusMethodNotAllowed && a.status != http.StatusNotFound {
			t.Errorf("over TCP: %s %s: %d %s", c.method, c.path, a.status, a.body)
		}
	}
	if len(h.asked) != before {
		t.Errorf("over TCP something was asked: %q", h.asked[before:])
	}
	for _, path := range []string{"/api/v1/hosts", "/api/v1/hosts/xcp1", "/api/v1/hosts/xcp1/detach", "/api/v1/status"} {
		over, tcp := do("GET", path, ""), r.get(path)
		if over.status != http.StatusOK || tcp.status != http.StatusOK {
			t.Errorf("GET %s: %d over the socket, %d over TCP", path, over.status, tcp.status)
		}
	}
}

// The two documents describe what each way offers.
func TestOpenAPIOfAdmin(t *testing.T) {
	r, _, do := adminServer(t)
	type operation struct {
		Change string `json:"x-weir-change"`
	}
	paths := func(text string) map[string]map[string]*operation {
		t.Helper()
		var doc struct {
			Paths map[string]map[string]*operation
		}
		if err := json.Unmarshal([]byte(text), &doc); err != nil {
			t.Fatal(err)
		}
		return doc.Paths
	}
	for path, methods := range paths(r.get("/api/v1/openapi.json").body) {
		for method, op := range methods {
			if op.Change != "" {
				t.Errorf("over TCP: %s %s", method, path)
			}
		}
	}
	if all := paths(do("GET", "/api/v1/openapi.json", "").body); all["/api/v1/hosts"]["post"] == nil || all["/api/v1/hosts/{name}"]["delete"] == nil || all["/api/v1/flows"]["get"] == nil {
		t.Errorf("the document of the socket lacks calls: %v", all)
	}
}

func TestListHosts(t *testing.T) {
	r, _, _ := adminServer(t)
	var list api.Hosts
	if a := r.get("/api/v1/hosts"); a.status != http.StatusOK || json.Unmarshal([]byte(a.body), &list) != nil {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if len(list.Hosts) != 2 || list.Hosts[0].VIFs != 3 || len(list.Waiting) != 1 || len(list.Pools) != 1 || list.Pools[0].Export.Protocol != export.Off {
		t.Errorf("%+v", list)
	}
	for query, want := range map[string][]string{
		"pool=lab": {"xcp1"}, "pool=none": nil, "state=refused": {"xcp2"}, "search=XCP1": {"xcp1"}, "search=192.0.2.": nil,
	} {
		list = api.Hosts{}
		r.json("/api/v1/hosts?"+query, &list)
		var names []string
		for _, h := range list.Hosts {
			names = append(names, h.Name)
		}
		if !slices.Equal(names, want) || list.Total != len(want) {
			t.Errorf("%s: %q of %d, want %q", query, names, list.Total, want)
		}
	}
	for _, path := range []string{"/api/v1/hosts?state=eaten", "/api/v1/hosts?limit=-1", "/api/v1/exporters?exporter=xcp1"} {
		if a := r.get(path); a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	var first, second api.Hosts
	r.json("/api/v1/hosts?limit=1", &first)
	r.json("/api/v1/hosts?limit=1&cursor="+first.Next, &second)
	if len(first.Hosts) != 1 || len(second.Hosts) != 1 || first.Hosts[0].Name != "xcp1" || second.Hosts[0].Name != "xcp2" || second.Next != "" || second.Total != 2 {
		t.Errorf("in pages of one: %+v, %+v", first, second)
	}
	if a := r.get("/api/v1/hosts/none"); a.status != http.StatusNotFound {
		t.Errorf("%d %s", a.status, a.body)
	}
	var s api.Status
	if err := json.Unmarshal([]byte(r.get("/api/v1/status").body), &s); err != nil {
		t.Fatal(err)
	}
	if s.Hosts.Hosts != 2 || s.Hosts.Connected != 1 || s.Hosts.Waiting != 1 || len(s.Alarms) != 2 || !strings.Contains(s.Alarms[0], "host xcp2 is refused: another certificate") {
		t.Errorf("%+v %q", s.Hosts, s.Alarms)
	}
	if page := r.get("/").body; !strings.Contains(page, "2 managed, 1 connected, 1 wait to be confirmed") || !strings.Contains(page, "xcp2 is refused") {
		t.Errorf("the page does not tell of hosts:\n%s", page)
	}
}

func TestSocketPath(t *testing.T) {
	if _, err := api.ListenAdmin(filepath.Join(t.TempDir(), strings.Repeat("x", 120))); err == nil || !strings.Contains(err.Error(), "shorter data directory") {
		t.Errorf("a path that is too long: %v", err)
	}
}
