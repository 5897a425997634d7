package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/api/account"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/xapi"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/export"
	"github.com/weirhq/weir/policyd/state"
	"github.com/weirhq/weir/query"
	"github.com/weirhq/weir/store"
)

// auditTable is table admin_events of the store, in memory.
type auditTable struct {
	mu   sync.Mutex
	list []store.AdminEvent // guarded by mu: by id
}

func (a *auditTable) Write(_ context.Context, list []audit.Entry) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range list {
		a.list = append(a.list, api.StoredEvent(&list[i]))
	}
	return nil
}

func (a *auditTable) Events(_ context.Context, q store.AdminQuery) ([]store.AdminEvent, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []store.AdminEvent
	for _, e := range slices.Backward(a.list) {
		if q.Matches(&e) && (q.Limit == 0 || len(found) < q.Limit) {
			found = append(found, e)
		}
	}
	return found, nil
}

// rig is an API over a real policyd with a real state: everything but hosts, and the store.
type rig struct {
	*running
	state    *state.State
	policyd  *policyd.Service
	accounts *account.Accounts
	admins   *api.AdminEvents
	socket   *http.Client
	tokens   map[string]string // by user, for everything that he may
	made     int               // tokens, each of which has a name of its own
}

type silent struct{}

func (silent) Emit(event.Event) {}

// Users of a rig.
var roles = map[string]account.Role{"sue": account.Superuser, "olaf": account.Operator, "vera": account.Viewer}

func passwordOf(user string) string {
	return map[string]string{"sue": "grey-0123456789", "olaf": "green-0123456789", "vera": "blue-0123456789"}[user]
}

// hashes are those of the passwords: to make one takes a while.
var hashes = map[string]string{
	"sue":  "$argon2id$v=19$m=65536,t=3,p=4$g1nC7Y532YwD1DBRbmS7pA$LK2B9yNw+nCC7LVXQ74RFCrHEV3jjl0HRUvMwMZ1l2s",
	"olaf": "$argon2id$v=19$m=65536,t=3,p=4$abuodWtkHtxx2ultL6tXhA$mhrAFKDbLyaMril1PbDDbWkdjnM3p63A0XhClHYaj/g",
	"vera": "$argon2id$v=19$m=65536,t=3,p=4$S00oL075hcZ4lkNR4YGVDw$JyHrUw29DRi741pmUZ1tfut7onIkBVM9Cp9Zk30vGHo",
}

// newRig makes one. now is its clock for accounts; nil is the clock.
func newRig(t *testing.T, cfg api.Config, now func() time.Time, change func(*api.Deps)) *rig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	dir, err := os.MkdirTemp("", "rig") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	st, err := state.Open(t.Context(), filepath.Join(dir, "state.db"), state.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	holder := estate.NewHolder()
	assembler := estate.NewAssembler(estate.AssemblerDeps{Log: log, Estate: holder})
	table := &auditTable{}
	hosts := policyd.Default()
	hosts.Export.Protocol = export.Off
	service, err := policyd.New(hosts, policyd.Deps{
		Log: log, State: st, Assembler: assembler, Estate: holder, Events: silent{}, Policy: policyd.DefaultPolicy(), Audit: table, SnapshotDir: filepath.Join(dir, "snapshots"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("policyd: %v", err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	accounts, err := account.New(account.Deps{Log: log, Store: st, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "admin.sock")
	l, err := api.ListenAdmin(path)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, _ := estateOf(t)
	d := api.Deps{
		Log: log, Admin: l, Hosts: service, Policy: service, Events: newEvents(event.Event{ID: 5, Time: noon, Kind: event.HostLost}), Estate: staticEstate(snapshot),
		EstateOf: pastEstate{}, Accounts: accounts, Refusals: st, Admins: &api.AdminEvents{Stored: table.Events, Waiting: st.AuditEntries},
		Flows: func(_ context.Context, q query.Request) (api.FlowsAnswer, error) {
			plan, err := query.Build(q, query.Tables, time.Now())
			if err != nil {
				return api.FlowsAnswer{}, err
			}
			return api.FlowsAnswer{Columns: plan.Columns, Rows: json.RawMessage("[]"), Table: plan.Table}, nil
		},
		Hits: func(_ context.Context, q query.HitsRequest) ([]query.RuleHits, error) {
			_, err := query.Hits(q, time.Now())
			return []query.RuleHits{}, err
		},
	}
	if change != nil {
		change(&d)
	}
	r := &rig{running: serveAs(t, cfg, d), state: st, policyd: service, accounts: accounts, admins: d.Admins, tokens: map[string]string{}}
	r.socket = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	t.Cleanup(r.socket.CloseIdleConnections)
	for user, role := range roles {
		r.addUser(user, role)
	}
	return r
}

// maker makes what a test begins with.
var maker = audit.Actor{User: "maker", Source: "test"}

// addUser makes a user, with his password and his token.
func (r *rig) addUser(user string, role account.Role) {
	r.t.Helper()
	if _, _, err := r.accounts.SetUser(r.t.Context(), maker, user, account.Wanted{Role: role}); err != nil {
		r.t.Fatal(err)
	}
	r.tokens[user] = r.token(user, "all:write")
}

// token makes a token.
func (r *rig) token(user string, scopes ...account.Scope) string {
	r.t.Helper()
	r.made++
	_, secret, err := r.accounts.AddToken(r.t.Context(), maker, account.Identity{}, user, fmt.Sprint("t", r.made), scopes, time.Now().Add(24*time.Hour))
	if err != nil {
		r.t.Fatal(err)
	}
	return secret
}

// hasPassword gives a user his password, which he has not to change.
func (r *rig) hasPassword(user string) {
	r.t.Helper()
	_, _, err := r.state.UpdateUser(r.t.Context(), maker.Does(audit.UserPassword), user, nil, func(u *state.User, _ []state.User) error {
		u.Password, u.OneTime = hashes[user], false
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// asking is a request.
type asking struct {
	method, path string
	body         any // nil: none; []byte: as it is; else as JSON
	token        string
	header       map[string]string
	socket       bool
	client       *http.Client // nil: one without cookies
}

// ask asks, and returns the answer. It is safe for concurrent use.
func (r *rig) ask(q asking) answer {
	r.t.Helper()
	got, err := r.tryAsk(r.t.Context(), q)
	if err != nil {
		r.t.Errorf("%s %s: %v", q.method, q.path, err)
	}
	return got
}

var plain = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (r *rig) tryAsk(ctx context.Context, q asking) (answer, error) {
	var text []byte
	switch b := q.body.(type) {
	case nil:
	case []byte:
		text = b
	default:
		var err error
		if text, err = json.Marshal(b); err != nil {
			return answer{}, err
		}
	}
	base, client := "http://"+r.addr, q.client
	if client == nil {
		client = plain
	}
	if q.socket {
		base, client = "http://weir", r.socket
	}
	req, err := http.NewRequestWithContext(ctx, q.method, base+q.path, bytes.NewReader(text))
	if err != nil {
		return answer{}, err
	}
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if q.token != "" {
		req.Header.Set("Authorization", "Bearer "+q.token)
	}
	for name, value := range q.header {
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(got)}, err
}

// told returns what was told of a request, by its id, once it is settled.
func (r *rig) told(request string) []store.AdminEvent {
	r.t.Helper()
	// What is told is in the state when the answer is there; from there it goes on to the table.
	var found []store.AdminEvent
	waiting, err := r.admins.Waiting(r.t.Context(), 100_000)
	if err != nil {
		r.t.Fatal(err)
	}
	stored, err := r.admins.Stored(r.t.Context(), store.AdminQuery{})
	if err != nil {
		r.t.Fatal(err)
	}
	ids := map[uint64]bool{}
	for _, e := range stored {
		if e.Request == request {
			found = append(found, e)
			ids[e.ID] = true
		}
	}
	for i := range waiting {
		if e := api.StoredEvent(&waiting[i]); e.Request == request && !ids[e.ID] {
			found = append(found, e)
		}
	}
	return found
}

// everything is all that can be changed, as text: what differs was changed.
func (r *rig) everything() string {
	r.t.Helper()
	ctx := r.t.Context()
	var out bytes.Buffer
	write := func(v any, err error) {
		r.t.Helper()
		if err == nil {
			err = json.NewEncoder(&out).Encode(v)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	users, err := r.state.Users(ctx)
	for i := range users {
		users[i].Seen = time.Time{} // of logins, which sessions tell of
	}
	write(users, err)
	tokens, err := r.state.Tokens(ctx, "")
	for i := range tokens {
		tokens[i].Used = time.Time{}
	}
	write(tokens, err)
	sessions, err := r.state.Sessions(ctx, "")
	for i := range sessions {
		sessions[i].Used, sessions[i].Expires = time.Time{}, time.Time{}
	}
	write(sessions, err)
	write(r.state.Hosts(ctx))
	write(r.state.Pools(ctx))
	write(r.state.Revisions(ctx, 0, 1000))
	write(r.state.Drafts(ctx, ""))
	intent, err := r.state.Intent(ctx)
	write([]any{intent.Revision, intent.Only, intent.Bypasses, intent.Pending}, err)
	return out.String()
}

// pastEstate has nothing.
type pastEstate struct{}

func (pastEstate) Explain(string) estate.Explanation { return estate.Explanation{} }

func (pastEstate) Sources() []estate.SourceStatus { return nil }

func (pastEstate) Reports() []api.SourceReport {
	return []api.SourceReport{{SourceStatus: estate.SourceStatus{Name: "xapi:lab", Title: "xapi:lab"}, XAPI: &xapi.Status{Name: "lab", State: xapi.StateConnected, Since: time.Now()}}}
}

func (pastEstate) At(context.Context, time.Time) ([]estate.Entity, error) { return nil, nil }

// unauthenticated is a configuration in which everybody has to say who he is.
func unauthenticated() api.Config {
	cfg := api.Default()
	cfg.Listen, cfg.LocalReads = "127.0.0.1:0", false
	return cfg
}
