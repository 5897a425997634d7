package client_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/ovs/ovsdb"
)

// profiles returns what a file says; it is refused if the words of refusal are in the error.
func profiles(t *testing.T, text, refusal string) *client.Profiles {
	t.Helper()
	file := filepath.Join(t.TempDir(), "profiles.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := client.ReadProfiles(file)
	if refusal == "" && err != nil || refusal != "" && (err == nil || !strings.Contains(err.Error(), refusal)) {
		t.Fatalf("profiles %q: %v, want %q", text, err, refusal)
	}
	return p
}

func TestProfilesAreStrict(t *testing.T) {
	f := func(refusal, text string) {
		t.Helper()
		profiles(t, text, refusal)
	}
	f("", "")
	f("", "use: a\nprofiles: {a: {server: \"https://weir.example:8080\"}}")
	f("", "profiles: {a: {server: \"http://127.0.0.1:8080\"}}")
	f(`no profile "b": expected one of a`, "use: b\nprofiles: {a: {server: \"https://weir.example\"}}")
	f("without TLS", "profiles: {a: {server: \"http://weir.example:8080\"}}")
	f("expected HOST:PORT", "profiles: {a: {server: \"https://weir.example/x\"}}")
	f("expected HOST:PORT", "profiles: {a: {server: \"https://me:secret@weir.example\"}}")
	f("want one of them", "profiles: {a: {server: \"https://weir.example\", ca_file: x, fingerprint: \""+strings.Repeat("AB", 32)+"\"}}")
	f("small letters", "profiles: {\"a:1\": {server: \"https://weir.example\"}}")
	f("token", "profiles: {a: {server: \"https://weir.example\", token: weir_x_y}}") // a secret has no place there
}

func TestProfilesFile(t *testing.T) {
	f := func(want string, env map[string]string) {
		t.Helper()
		got, err := client.ProfilesFile(func(name string) string { return env[name] })
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ProfilesFile of %v = %q, %v; want %q", env, got, err, want)
		}
	}
	f("/c/weir/profiles.yaml", map[string]string{"XDG_CONFIG_HOME": "/c", "HOME": "/h"})
	f("/h/.config/weir/profiles.yaml", map[string]string{"XDG_CONFIG_HOME": "relative", "HOME": "/h"})
	f("", nil)
}

// What is written is read again; secrets are in files of their own that nobody else can read, and go with the profile.
func TestSetAndRemove(t *testing.T) {
	p := profiles(t, "", "")
	x := client.Profile{Server: "https://weir.example:8080", User: "vera", Expires: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)}
	if err := p.Set("prod", x, "weir_id_secret", client.Trust{Authority: []byte("PEM")}); err != nil {
		t.Fatal(err)
	}
	again, err := client.ReadProfiles(p.File())
	if err != nil || again.Use != "prod" || again.Profiles["prod"].User != "vera" || !again.Profiles["prod"].Expires.Equal(x.Expires) {
		t.Fatalf("read again: %+v, %v", again, err)
	}
	token := filepath.Join(filepath.Dir(p.File()), "prod.token")
	if info, err := os.Stat(token); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	// Another trust takes the place of the former.
	pin := ovsdb.Fingerprint(strings.TrimSuffix(strings.Repeat("AB:", 32), ":"))
	if err := again.Set("prod", again.Profiles["prod"], "weir_id_other", client.Trust{Fingerprint: pin}); err != nil {
		t.Fatal(err)
	}
	if got := again.Profiles["prod"]; got.CAFile != "" || got.Fingerprint != pin {
		t.Errorf("after another trust: %+v", got)
	}
	if err := again.Remove("prod"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(token); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the token of a profile that was removed: %v", err)
	}
	if err := again.Remove("prod"); !errors.Is(err, client.ErrNoProfile) {
		t.Errorf("removing it twice: %v", err)
	}
}

func remote(t *testing.T, server string, trust client.Trust, token string) *client.API {
	t.Helper()
	a, err := client.Remote(server, trust, token, "1.0")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// serve answers every request with status and text, but for the document, which says version 2.0.
func serve(t *testing.T, status int, contentType, text string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/openapi.json" {
			_, _ = io.WriteString(w, `{"info": {"version": "2.0"}}`)
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Location", "https://elsewhere.example/")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s
}

// A refusal is told in whole sentences, with what to do, and is of a kind.
func TestProblems(t *testing.T) {
	const problem = "application/problem+json"
	for _, test := range []struct {
		name, contentType, text string
		status                  int
		kind                    error
		want                    []string
	}{
		{
			"fields", problem, `{"detail": "validation failed", "errors": [{"location": "body.role", "message": "expected a role"}, {"location": "body", "message": "and more"}]}`, 422, nil,
			[]string{"validation failed\n  role: expected a role\n  and more\n", `it is Weir "2.0", and this command is of "1.0"`},
		},
		{"said already", problem, `{"detail": "user: no such role", "errors": [{"location": "body.role", "message": "no such role"}]}`, 403, client.ErrRefused, []string{"user: no such role"}},
		{"unknown", problem, `{"detail": "want a session"}`, 401, client.ErrRefused, []string{"want a session\nyou are not logged in at 127.0.0.1:", "weir login 127.0.0.1:"}},
		{"conflict", problem, `{"detail": "somebody was faster"}`, 412, client.ErrConflict, []string{"somebody was faster"}},
		{"not there", problem, `{"detail": "find host \"x\": not found"}`, 404, client.ErrNotFound, []string{`find host "x"`}},
		{"no such request", "text/plain", "404 page not found", 404, nil, []string{"knows no request GET /api/v1/x: it is Weir \"2.0\""}},
		{"redirection", "text/html", "moved", 302, nil, []string{`it redirects to "https://elsewhere.example/"`}},
		{"not of Weir", "text/html", "<h1>proxy</h1>", 502, nil, []string{"502 Bad Gateway: <h1>proxy</h1>"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := remote(t, serve(t, test.status, test.contentType, test.text).URL, client.Trust{}, "").Get(t.Context(), "/api/v1/x?y=z", nil)
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q in it", err, want)
				}
			}
			for _, kind := range []error{client.ErrRefused, client.ErrConflict, client.ErrNotFound} {
				if errors.Is(err, kind) != errors.Is(test.kind, kind) {
					t.Errorf("errors.Is(%v, %v) is %v", err, kind, errors.Is(err, kind))
				}
			}
			if test.name == "said already" && strings.Count(err.Error(), "no such role") != 1 {
				t.Errorf("%v", err)
			}
		})
	}
}

// The certificate of a server is believed by its authority, by its own fingerprint, or by nothing.
func TestTrust(t *testing.T) {
	var secrets atomic.Int32
	s := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			secrets.Add(1)
		}
	}))
	t.Cleanup(s.Close)
	own := ovsdb.FingerprintOf(s.Certificate())
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}) // it has signed itself
	for name, trust := range map[string]client.Trust{"authority": {Authority: authority}, "fingerprint": {Fingerprint: own}} {
		if err := remote(t, s.URL, trust, "weir_a_b").Get(t.Context(), "/api/v1/x", nil); err != nil {
			t.Errorf("believed by %s: %v", name, err)
		}
	}
	believed := secrets.Load()
	other := ovsdb.Fingerprint(strings.TrimSuffix(strings.Repeat("AB:", 32), ":"))
	for name, trust := range map[string]client.Trust{"system": {}, "another fingerprint": {Fingerprint: other}} {
		err := remote(t, s.URL, trust, "weir_a_b").Get(t.Context(), "/api/v1/x", nil)
		unknown, ok := errors.AsType[*client.CertificateError](err)
		if !ok || !unknown.Unknown() || !strings.Contains(err.Error(), string(own)) {
			t.Errorf("believed by %s: %v", name, err)
			continue
		}
		if trust, err := unknown.Presented(own); err != nil || trust.Fingerprint != own {
			t.Errorf("Presented = %+v, %v", trust, err)
		}
		if _, err := unknown.Presented(other); err == nil {
			t.Error("a fingerprint that nobody presents is believed")
		}
	}
	if all := secrets.Load(); all != believed || believed != 2 {
		t.Errorf("%d tokens were sent to a server that is not believed, %d to one that is", all-believed, believed)
	}
	_, port, _ := strings.Cut(s.Listener.Addr().String(), ":")
	err := remote(t, "https://localhost:"+port, client.Trust{Authority: authority}, "").Get(t.Context(), "/api/v1/x", nil)
	if unknown, ok := errors.AsType[*client.CertificateError](err); !ok || unknown.Unknown() || !strings.Contains(err.Error(), `not for the name "localhost"`) {
		t.Errorf("by a name that the certificate lacks: %v", err)
	}
}

func TestSchemesMixedUp(t *testing.T) {
	plain, encrypted := serve(t, 200, "", "{}"), httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(encrypted.Close)
	f := func(server, want string) {
		t.Helper()
		if err := remote(t, server, client.Trust{}, "").Get(t.Context(), "/api/v1/x", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ask %s: %v, want %q", server, err, want)
		}
	}
	f(plain.Listener.Addr().String(), "does not speak TLS")
	f("http://"+encrypted.Listener.Addr().String(), "speaks TLS, and was asked without\nwrite https://")
}

// Entity tags, bodies and who asks go with a request; what is asked of one that never answers ends.
func TestSend(t *testing.T) {
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
			return
		}
		w.Header().Set("ETag", `"2"`)
		body := map[string]any{}
		_ = json.NewDecoder(r.Body).Decode(&body)
		_ = json.NewEncoder(w).Encode(map[string]any{"method": r.Method, "match": r.Header.Get("If-Match"), "who": r.Header.Get("Authorization"), "agent": r.Header.Get("User-Agent"), "body": body})
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(hang) })
	var got struct {
		Method, Match, Who, Agent string
		Body                      map[string]string
	}
	a := remote(t, s.URL, client.Trust{}, "weir_a_b")
	answer, err := a.Send(t.Context(), client.Request{Method: http.MethodPut, Path: "/x", Body: map[string]string{"a": "b"}, IfMatch: `"1"`, Into: &got})
	if err != nil || answer.ETag != `"2"` || got.Method != http.MethodPut || got.Match != `"1"` || got.Who != "Bearer weir_a_b" || got.Agent != "weir/1.0" || got.Body["a"] != "b" {
		t.Errorf("%+v %+v %v", answer, got, err)
	}
	if _, err := a.Send(t.Context(), client.Request{Path: "/hang", Timeout: 20 * time.Millisecond}); err == nil || !strings.Contains(err.Error(), "no answer in 20ms") {
		t.Errorf("of one that never answers: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Get(ctx, "/hang", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("by who does not wait: %v", err)
	}
}

func TestOpen(t *testing.T) {
	p := profiles(t, "use: a\nprofiles: {a: {server: \"https://a.example:1\"}, b: {server: \"https://b.example:1\", token_file: none}}", "")
	f := func(want string, o client.Options) {
		t.Helper()
		o.Profiles = p
		a, err := client.Open(o)
		if err != nil || a.Name() != want {
			t.Errorf("Open(%+v): %v, %v; want %s", o, a, err, want)
		}
	}
	f("a.example:1", client.Options{})
	f("a.example:1", client.Options{Server: "a"})
	f("c.example:1", client.Options{Server: "c.example:1"})
	f("c.example", client.Options{Server: "https://C.example/"})
	for server, want := range map[string]string{"c": `no profile "c": expected one of a, b; a server is written HOST:PORT`, "http://c.example:1": "without TLS", "b": "read token"} {
		if _, err := client.Open(client.Options{Server: server, Profiles: p}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open %q: %v, want %q", server, err, want)
		}
	}
	if _, err := client.Open(client.Options{Data: t.TempDir(), Profiles: p}); !errors.Is(err, instance.ErrNotRunning) {
		t.Errorf("Open of a directory beside a profile in use: %v", err)
	}
}

func TestTokenID(t *testing.T) {
	for token, want := range map[string]string{"weir_abc_def_g": "abc", "weir_abc": "", "other_abc_def": "", "": ""} {
		if got := client.TokenID(token); got != want {
			t.Errorf("TokenID(%q) = %q, want %q", token, got, want)
		}
	}
}
