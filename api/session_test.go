package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/api/account"
)

// login logs in a user with his password.
func login(r *rig, user string) *session {
	r.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	s := &session{r: r, client: &http.Client{Jar: jar}}
	s.login(user, passwordOf(user))
	return s
}

func (s *session) login(user, password string) api.Session {
	s.r.t.Helper()
	got := s.r.ask(asking{method: "POST", path: "/api/v1/session", body: map[string]string{"user": user, "password": password}, client: s.client})
	var who api.Session
	if err := json.Unmarshal([]byte(got.body), &who); got.status != http.StatusOK || err != nil {
		s.r.t.Fatalf("login: %d %s", got.status, got.body)
	}
	s.csrf = who.CSRF
	return who
}

func (s *session) cookie() string {
	u, err := url.Parse("http://" + s.r.addr)
	if err != nil {
		s.r.t.Fatal(err)
	}
	list := s.client.Jar.Cookies(u)
	if len(list) != 1 {
		return ""
	}
	return list[0].Value
}

// clock is one that tests set.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ns.Store(time.Now().UnixNano())
	return c
}

func (c *clock) now() time.Time       { return time.Unix(0, c.ns.Load()) }
func (c *clock) pass(d time.Duration) { c.ns.Add(int64(d)) }
func body(v map[string]any) []byte    { text, _ := json.Marshal(v); return text }
func comment(text string) map[string]any {
	return map[string]any{"role": "viewer", "comment": text}
}

// A session cannot be had, kept or used by others.
func TestSessions(t *testing.T) {
	c := newClock()
	r := newRig(t, unauthenticated(), c.now, nil)
	r.hasPassword("sue")

	t.Run("the cookie is for this server alone, and no script sees it", func(t *testing.T) {
		got := r.ask(asking{method: "POST", path: "/api/v1/session", body: map[string]string{"user": "sue", "password": passwordOf("sue")}})
		cookie := got.header.Get("Set-Cookie")
		for _, want := range []string{"weir_session=", "HttpOnly", "SameSite=Strict", "Path=/"} {
			if !strings.Contains(cookie, want) {
				t.Errorf("cookie %q lacks %s", cookie, want)
			}
		}
		if strings.Contains(cookie, "Domain") || strings.Contains(got.body, strings.Split(strings.TrimPrefix(cookie, "weir_session="), ";")[0]) {
			t.Errorf("the cookie %q is for others, too, or in %s", cookie, got.body)
		}
	})
	t.Run("a login has another cookie than before, and ends what that was", func(t *testing.T) {
		const planted = "plantedplantedplantedplanted"
		got := r.ask(asking{
			method: "POST", path: "/api/v1/session", body: map[string]string{"user": "sue", "password": passwordOf("sue")}, header: map[string]string{"Cookie": "weir_session=" + planted},
		})
		if got.status != http.StatusOK || strings.Contains(got.header.Get("Set-Cookie"), planted) {
			t.Fatalf("a cookie that somebody planted is that of the session: %d %s", got.status, got.header.Get("Set-Cookie"))
		}
		if got := r.ask(asking{method: "GET", path: "/api/v1/session", header: map[string]string{"Cookie": "weir_session=" + planted}}); got.status != http.StatusUnauthorized {
			t.Errorf("the planted cookie: %d", got.status)
		}
		s := login(r, "sue")
		before := s.cookie()
		s.login("sue", passwordOf("sue"))
		if after := s.cookie(); after == before || after == "" {
			t.Errorf("the second login has the cookie of the first")
		}
		if got := r.ask(asking{method: "GET", path: "/api/v1/session", header: map[string]string{"Cookie": "weir_session=" + before}}); got.status != http.StatusUnauthorized {
			t.Errorf("the session before a login: %d, want it ended", got.status)
		}
	})
	t.Run("nothing is changed without the token of the session", func(t *testing.T) {
		s, other := login(r, "sue"), login(r, "sue")
		wrong := "x" + s.csrf[1:]
		if wrong == s.csrf {
			wrong = "y" + s.csrf[1:]
		}
		before := r.everything()
		for name, csrf := range map[string]string{"none": "", "of another session": other.csrf, "wrong": wrong} {
			q := asking{method: "PUT", path: "/api/v1/users/vera", body: comment("forged"), client: s.client, header: map[string]string{}}
			if csrf != "" {
				q.header["X-CSRF-Token"] = csrf
			}
			if got := r.ask(q); got.status != http.StatusForbidden || !strings.Contains(got.body, "csrf") {
				t.Errorf("CSRF token %s: %d %s", name, got.status, got.body)
			}
		}
		// A page of another origin, as browsers say it.
		for _, header := range []map[string]string{{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}} {
			if got := s.ask(asking{method: "PUT", path: "/api/v1/users/vera", body: comment("forged"), header: header}); got.status != http.StatusForbidden {
				t.Errorf("%v: %d %s", header, got.status, got.body)
			}
		}
		if after := r.everything(); after != before {
			t.Error("something was changed")
		}
		if got := s.ask(asking{method: "PUT", path: "/api/v1/users/vera", body: comment("meant"), header: map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "http://" + r.addr}}); got.status != http.StatusOK {
			t.Errorf("of the own origin: %d %s", got.status, got.body)
		}
		// A form cannot say that it is JSON.
		if got := s.ask(asking{method: "PUT", path: "/api/v1/users/vera", body: body(comment("form")), header: map[string]string{"Content-Type": "text/plain"}}); got.status < 400 || got.status >= 500 {
			t.Errorf("as text/plain: %d %s", got.status, got.body)
		}
	})
	t.Run("who logs out is out", func(t *testing.T) {
		s := login(r, "sue")
		cookie := s.cookie()
		if got := s.ask(asking{method: "DELETE", path: "/api/v1/session"}); got.status != http.StatusNoContent {
			t.Fatalf("logout: %d %s", got.status, got.body)
		}
		if got := r.ask(asking{method: "GET", path: "/api/v1/session", header: map[string]string{"Cookie": "weir_session=" + cookie}}); got.status != http.StatusUnauthorized {
			t.Errorf("after logout: %d", got.status)
		}
	})
	t.Run("a session that is not used ends, and none is for ever", func(t *testing.T) {
		s := login(r, "sue")
		alive := func() bool { return s.ask(asking{method: "GET", path: "/api/v1/session"}).status == http.StatusOK }
		for range 27 { // of 11 hours
			c.pass(11 * time.Hour)
			if !alive() {
				t.Fatal("a session in use ended")
			}
		}
		for range 4 {
			c.pass(11 * time.Hour)
			alive()
		}
		if alive() {
			t.Error("a session in use does not end after two weeks")
		}
		s = login(r, "sue")
		c.pass(12*time.Hour + time.Second)
		if alive() {
			t.Error("a session that is not used does not end")
		}
	})
	t.Run("another password ends the other sessions", func(t *testing.T) {
		s, other := login(r, "sue"), login(r, "sue")
		if got := s.ask(asking{method: "PUT", path: "/api/v1/session/password", body: map[string]string{"former": passwordOf("sue"), "password": "another-0123456789"}}); got.status != http.StatusNoContent {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if got := s.ask(asking{method: "GET", path: "/api/v1/session"}); got.status != http.StatusOK {
			t.Errorf("the session that did it: %d", got.status)
		}
		if got := other.ask(asking{method: "GET", path: "/api/v1/session"}); got.status != http.StatusUnauthorized {
			t.Errorf("another session: %d", got.status)
		}
		r.hasPassword("sue")
	})
	t.Run("who is disabled, or has another role, is logged out", func(t *testing.T) {
		r.hasPassword("vera")
		for _, w := range []account.Wanted{{Role: account.Viewer, Disabled: true}, {Role: account.Operator}} {
			if _, _, err := r.accounts.SetUser(t.Context(), maker, "vera", account.Wanted{Role: account.Viewer}); err != nil {
				t.Fatal(err)
			}
			s := login(r, "vera")
			if _, _, err := r.accounts.SetUser(t.Context(), maker, "vera", w); err != nil {
				t.Fatal(err)
			}
			if got := s.ask(asking{method: "GET", path: "/api/v1/session"}); got.status != http.StatusUnauthorized {
				t.Errorf("%+v: %d", w, got.status)
			}
		}
	})
	t.Run("a password for one time is for nothing else", func(t *testing.T) {
		first, err := r.accounts.SetPassword(t.Context(), maker, "olaf", "")
		if err != nil {
			t.Fatal(err)
		}
		s := login0(r)
		if who := s.login("olaf", first); !who.OneTime {
			t.Errorf("%+v", who)
		}
		if got := s.ask(asking{method: "GET", path: "/api/v1/status"}); got.status != http.StatusForbidden {
			t.Errorf("before it is changed: %d", got.status)
		}
		for _, bad := range []string{"short", "olaf-0123456789", "aaaaaaaaaaaaaaaa", first} {
			if got := s.ask(asking{method: "PUT", path: "/api/v1/session/password", body: map[string]string{"former": first, "password": bad}}); got.status != http.StatusUnprocessableEntity {
				t.Errorf("password %q: %d", bad, got.status)
			}
		}
		if got := s.ask(asking{method: "PUT", path: "/api/v1/session/password", body: map[string]string{"former": first, "password": passwordOf("olaf")}}); got.status != http.StatusNoContent {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if got := s.ask(asking{method: "GET", path: "/api/v1/status"}); got.status != http.StatusOK {
			t.Errorf("after it was changed: %d", got.status)
		}
	})
}

func login0(r *rig) *session {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return &session{r: r, client: &http.Client{Jar: jar}}
}

// Who guesses waits, and locks nobody else out; what he tried is written down.
func TestGuessing(t *testing.T) {
	c := newClock()
	r := newRig(t, unauthenticated(), c.now, nil)
	r.hasPassword("sue")
	guess := func(user, password string) answer {
		return r.ask(asking{method: "POST", path: "/api/v1/session", body: map[string]string{"user": user, "password": password}})
	}
	for _, user := range []string{"sue", "nobody-of-that-name"} {
		var refused, throttled int
		for range 8 {
			switch got := guess(user, "wrong"); got.status {
			case http.StatusUnauthorized:
				refused++
			case http.StatusTooManyRequests:
				throttled++
				if got.header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			default:
				t.Errorf("%d %s", got.status, got.body)
			}
		}
		if refused != 5 || throttled != 3 {
			t.Errorf("%s: %d refused, %d throttled, want 5 and 3", user, refused, throttled)
		}
	}
	if got := guess("sue", passwordOf("sue")); got.status != http.StatusTooManyRequests {
		t.Errorf("the right password, too early: %d", got.status)
	}
	c.pass(3 * time.Second)
	if got := guess("sue", passwordOf("sue")); got.status != http.StatusOK {
		t.Errorf("the right password, after the wait: %d %s", got.status, got.body)
	}
	got := r.ask(asking{method: "GET", path: "/api/v1/admin-events?operation=session.begin&outcome=refused", token: r.tokens["sue"]})
	var told struct{ Events []api.AdminEvent }
	if err := json.Unmarshal([]byte(got.body), &told); err != nil || len(told.Events) != 10 {
		t.Errorf("%d attempts are written down (%v), want 10: %s", len(told.Events), err, got.body)
	}
	for _, e := range told.Events {
		if e.Source != "127.0.0.1" || e.Object == "" || strings.Contains(got.body, "wrong") {
			t.Errorf("%+v", e)
		}
	}
}

// A token does what it is for, as long as it is good, and no more than its user.
func TestTokens(t *testing.T) {
	c := newClock()
	r := newRig(t, unauthenticated(), c.now, nil)
	make := func(by string, v map[string]any) (answer, string) {
		t.Helper()
		got := r.ask(asking{method: "POST", path: "/api/v1/tokens", body: v, token: by})
		var made struct{ ID, Secret string }
		if got.status == http.StatusCreated {
			if err := json.Unmarshal([]byte(got.body), &made); err != nil {
				t.Fatal(err)
			}
		}
		return got, made.Secret
	}
	in := func(d time.Duration) string { return c.now().Add(d).UTC().Format(time.RFC3339) }
	status := func(token, path string) int { return r.ask(asking{method: "GET", path: path, token: token}).status }

	_, ci := make(r.tokens["olaf"], map[string]any{"name": "ci", "scopes": []string{"flows:read", "policy:write"}, "expires": in(time.Hour)})
	for path, want := range map[string]int{"/api/v1/flows": 200, "/api/v1/policy/status": 200, "/api/v1/hosts": 403, "/api/v1/users": 403} {
		if got := status(ci, path); got != want {
			t.Errorf("GET %s by a token for flows and policy: %d, want %d", path, got, want)
		}
	}
	// What it makes is not more than itself, and does not live longer.
	for why, v := range map[string]map[string]any{
		"more":   {"name": "x", "scopes": []string{"all:write"}, "expires": in(time.Minute)},
		"longer": {"name": "x", "scopes": []string{"accounts:read"}, "expires": in(2 * time.Hour)},
	} {
		_, own := make(r.tokens["olaf"], map[string]any{"name": "own-" + why, "scopes": []string{"accounts:write"}, "expires": in(time.Hour)})
		if got, _ := make(own, v); got.status != http.StatusForbidden {
			t.Errorf("a token that can do %s: %d %s", why, got.status, got.body)
		}
	}
	if got, _ := make(r.tokens["olaf"], map[string]any{"user": "sue", "name": "x", "scopes": []string{"all:write"}, "expires": in(time.Minute)}); got.status != http.StatusForbidden {
		t.Errorf("a token of a superuser made by an operator: %d", got.status)
	}
	if got := r.ask(asking{method: "GET", path: "/api/v1/tokens", token: r.tokens["sue"]}); strings.Contains(got.body, ci) || strings.Contains(r.everything(), ci) {
		t.Error("a token can be read again")
	}
	for _, bad := range []string{ci[:len(ci)-1] + "x", ci + "x", ci[:20], "weir_", "weir__", "x", strings.ToUpper(ci)} {
		if got := status(bad, "/api/v1/flows"); got != http.StatusUnauthorized {
			t.Errorf("token %q: %d", bad, got)
		}
	}
	c.pass(time.Hour)
	if got := status(ci, "/api/v1/flows"); got != http.StatusUnauthorized {
		t.Errorf("a token that has expired: %d", got)
	}
	_, gone := make(r.tokens["olaf"], map[string]any{"name": "gone", "scopes": []string{"flows:read"}, "expires": in(time.Hour)})
	id := strings.Split(gone, "_")[1]
	if got := r.ask(asking{method: "DELETE", path: "/api/v1/tokens/" + id, token: r.tokens["vera"]}); got.status != http.StatusNotFound {
		t.Errorf("removed by another user: %d", got.status)
	}
	// A stream does not outlive its token.
	_, streaming := make(r.tokens["olaf"], map[string]any{"name": "stream", "scopes": []string{"events:read"}, "expires": in(time.Hour)})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.addr+"/api/v1/events/stream", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+streaming)
	stream, err := http.DefaultClient.Do(req)
	if err != nil || stream.StatusCode != http.StatusOK {
		t.Fatal(stream, err)
	}
	defer stream.Body.Close()
	if err := r.accounts.RemoveToken(t.Context(), maker, strings.Split(streaming, "_")[1]); err != nil {
		t.Fatal(err)
	}
	ended := time.AfterFunc(time.Minute, func() { stream.Body.Close() })
	if text, err := io.ReadAll(stream.Body); err != nil || !ended.Stop() {
		t.Errorf("the stream of a token that was removed goes on: %v, %q", err, text)
	}
	if got := r.ask(asking{method: "DELETE", path: "/api/v1/tokens/" + id, token: r.tokens["olaf"]}); got.status != http.StatusNoContent || status(gone, "/api/v1/flows") != http.StatusUnauthorized {
		t.Errorf("removed: %d, and it is good still, or not", got.status)
	}
}

// Without the last superuser nobody could go on.
func TestLastSuperuser(t *testing.T) {
	r := newRig(t, unauthenticated(), nil, nil)
	r.hasPassword("sue")
	s := r.tokens["sue"]
	for name, q := range map[string]asking{
		"another role": {method: "PUT", path: "/api/v1/users/sue", body: map[string]any{"role": "operator"}, token: s},
		"disabled":     {method: "PUT", path: "/api/v1/users/sue", body: map[string]any{"role": "superuser", "disabled": true}, token: s},
		"removed":      {method: "DELETE", path: "/api/v1/users/sue", token: s},
	} {
		if got := r.ask(q); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, "last superuser") {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	// Over the socket a lost password is replaced.
	got := r.ask(asking{method: "POST", path: "/api/v1/users/sue/password", socket: true, body: map[string]any{}})
	var made struct{ Password string }
	if err := json.Unmarshal([]byte(got.body), &made); err != nil || got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if who := login0(r).login("sue", made.Password); !who.OneTime || who.Role != account.Superuser {
		t.Errorf("%+v", who)
	}
}

// Two that have read the same cannot both change it.
// Who has a policy already is not sent it again, until there is another.
func TestKnownPolicy(t *testing.T) {
	r := newRig(t, unauthenticated(), nil, nil)
	get := func(path, known string) answer {
		a := r.ask(asking{method: "GET", path: path, token: r.tokens["sue"], header: map[string]string{"If-None-Match": known}})
		if known != "" && a.status == http.StatusNotModified && a.body != "" {
			t.Errorf("%s: 304 with a body: %s", path, a.body)
		}
		return a
	}
	apply := func(text string) {
		if a := r.ask(asking{method: "POST", path: "/api/v1/policy/apply", token: r.tokens["sue"], body: map[string]any{"policy": text}}); a.status != http.StatusOK {
			t.Fatalf("apply: %d %s", a.status, a.body)
		}
	}
	apply("global: {mandatory: [{action: deny}]}")
	first := get("/api/v1/policy", "").header.Get("ETag")
	if first == "" {
		t.Fatal("a policy has no tag")
	}
	for _, known := range []string{first, "W/" + first, `"x", ` + first, "*"} {
		if a := get("/api/v1/policy", known); a.status != http.StatusNotModified || a.header.Get("ETag") != first {
			t.Errorf("who knows %s is answered %d, tag %s", known, a.status, a.header.Get("ETag"))
		}
	}
	for _, known := range []string{`"x"`, strings.Trim(first, `"`), "", ","} {
		if a := get("/api/v1/policy", known); a.status != http.StatusOK || a.body == "" {
			t.Errorf("who knows %q is answered %d", known, a.status)
		}
	}
	apply("global: {mandatory: [{action: allow}]}")
	if a := get("/api/v1/policy", first); a.status != http.StatusOK || !strings.Contains(a.body, "allow") || a.header.Get("ETag") == first {
		t.Errorf("who knows the former: %d %s", a.status, a.body)
	}
	if a := get("/api/v1/policy/revisions/1", first); a.status != http.StatusNotModified {
		t.Errorf("a revision that is known: %d", a.status)
	}
}

func TestEntityTags(t *testing.T) {
	r := newRig(t, unauthenticated(), nil, nil)
	s := r.tokens["sue"]
	tag := r.ask(asking{method: "GET", path: "/api/v1/users/vera", token: s}).header.Get("ETag")
	put := func(comment string, header map[string]string) answer {
		return r.ask(asking{method: "PUT", path: "/api/v1/users/vera", body: map[string]any{"role": "viewer", "comment": comment}, token: s, header: header})
	}
	first := put("first", map[string]string{"If-Match": tag})
	if first.status != http.StatusOK || first.header.Get("ETag") == tag || first.header.Get("ETag") == "" {
		t.Fatalf("%d %q after %q", first.status, first.header.Get("ETag"), tag)
	}
	if got := put("second", map[string]string{"If-Match": tag}); got.status != http.StatusPreconditionFailed {
		t.Errorf("with the former tag: %d %s", got.status, got.body)
	}
	if got := put("second", map[string]string{"If-Match": `"x", ` + first.header.Get("ETag")}); got.status != http.StatusOK {
		t.Errorf("with the tag of the answer: %d %s", got.status, got.body)
	}
	if got := put("third", map[string]string{"If-None-Match": "*"}); got.status != http.StatusPreconditionFailed {
		t.Errorf("only if it is not there: %d", got.status)
	}
	// The same again changes nothing.
	before := put("same", nil)
	if after := put("same", nil); after.header.Get("ETag") != before.header.Get("ETag") {
		t.Error("the same request twice has changed something")
	}
	// Of many at once that have read the same, one is done.
	tag = r.ask(asking{method: "GET", path: "/api/v1/users/vera", token: s}).header.Get("ETag")
	const n = 8
	done := make(chan int, n)
	for i := range n {
		go func() { done <- put(string(rune('a'+i)), map[string]string{"If-Match": tag}).status }()
	}
	count := map[int]int{}
	for range n {
		count[<-done]++
	}
	if count[http.StatusOK] != 1 || count[http.StatusPreconditionFailed] != n-1 {
		t.Errorf("%v, want one done and the others refused", count)
	}
}
