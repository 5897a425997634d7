package gate_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/grafana/grafana-plugin-sdk-go/backend"

	"github.com/weirhq/weir/sql"
	"github.com/weirhq/weir/store"
)

// wantHealth asks for health, and compares status, class and, as regular expressions, message and hint.
func wantHealth(t *testing.T, s source, class, message string) {
	t.Helper()
	got, err := s.checkHealth(t.Context())
	must(t, err)
	var details struct {
		Class string `json:"class"`
		Hint  string `json:"hint"`
	}
	if len(got.JSONDetails) > 0 {
		must(t, json.Unmarshal(got.JSONDetails, &details))
	}
	status := backend.HealthStatusError
	if class == "" {
		status = backend.HealthStatusOk
	}
	if got.Status != status || details.Class != class || !regexp.MustCompile(message).MatchString(got.Message) {
		t.Errorf("health is %v %q, details %s; want %v, class %q and a message like %q", got.Status, got.Message, got.JSONDetails, status, class, message)
	}
	if class != "" && details.Hint == "" {
		t.Errorf("health of class %q says %q and no hint", class, got.Message)
	}
	for key, secret := range s.secure {
		if strings.Contains(got.Message+string(got.JSONDetails), secret) {
			t.Errorf("health tells the secret %s: %s %s", key, got.Message, got.JSONDetails)
		}
	}
}

// What is well is told: the versions, how old the newest flow is, how many exporters there are.
func TestHealthy(t *testing.T) {
	s := seededStore(t)
	wantHealth(t, s.source(t), "", `^ClickHouse \d+\.\d+\.\S+, schema \d+, newest flow \w+ ago, in the last hour 4 of 4 exporters sent$`)
	wantHealth(t, s.sourceAs(t, s.Users.Writer), "", `can write|may write`)
	wantHealth(t, s.source(t).with(map[string]any{"url": s.frontend(t, nil).URL + "/"}), "", `ClickHouse`)
}

// frontend is an HTTP server in front of the store.
func (s *seed) frontend(t *testing.T, serve func(handler http.Handler) *httptest.Server) *httptest.Server {
	t.Helper()
	if serve == nil {
		serve = httptest.NewServer
	}
	server := serve(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.Addr}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(server.Close)
	return server
}

// Every class of errors, provoked.
func TestHealthErrors(t *testing.T) {
	s := seededStore(t)
	ok := s.source(t)

	t.Run("auth", func(t *testing.T) {
		wantHealth(t, ok.secret("password", "not-the-password"), "auth", `(?i)password|authenti`)
		wantHealth(t, ok.with(map[string]any{"username": "nobody-of-that-name"}), "auth", `(?i)nobody|user|authenti`)
	})
	t.Run("network", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		must(t, l.Close())
		wantHealth(t, ok.with(map[string]any{"url": "http://" + l.Addr().String()}), "network", regexp.QuoteMeta(l.Addr().String()))
		wantHealth(t, ok.with(map[string]any{"url": "http://no-such-host.invalid:8123"}), "network", `no-such-host\.invalid`)
	})
	t.Run("timeout", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes the connection, and nobody answers
		must(t, err)
		defer l.Close()
		wantHealth(t, ok.with(map[string]any{"url": "http://" + l.Addr().String(), "timeout": "300ms", "maxSeconds": 1}), "timeout", ``)
		wantHealth(t, ok.with(map[string]any{"url": "clickhouse://" + l.Addr().String(), "timeout": "300ms", "maxSeconds": 1}), "timeout", ``)
	})
	t.Run("tls", func(t *testing.T) {
		wantHealth(t, ok.with(map[string]any{"url": "https://" + s.Addr}), "tls", ``)
		server := s.frontend(t, httptest.NewTLSServer)
		secure := ok.with(map[string]any{"url": server.URL})
		wantHealth(t, secure, "tls", `(?i)certificate`)
		ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
		wantHealth(t, secure.secret("tlsCACert", ca), "", `ClickHouse`)
		wantHealth(t, secure.with(map[string]any{"tlsSkipVerify": true}), "", `ClickHouse`)
		wantHealth(t, secure.with(map[string]any{"tlsServerName": "other.example.org"}).secret("tlsCACert", ca), "tls", `other\.example\.org`)
	})
	t.Run("config", func(t *testing.T) {
		wantHealth(t, ok.with(map[string]any{"url": "gopher://127.0.0.1"}), "config", `gopher`)
		wantHealth(t, ok.with(map[string]any{"url": "no url"}), "config", `url`)
		wantHealth(t, ok.with(map[string]any{"database": "no_such_database"}), "config", `no_such_database`)
		wantHealth(t, ok.with(map[string]any{"maxRows": -1}), "config", `maxRows`)
		wantHealth(t, ok.with(map[string]any{"url": "https://" + s.Addr}).secret("tlsCACert", "-----BEGIN NOTHING-----"), "config", `tlsCACert`)
	})
	t.Run("schema", func(t *testing.T) {
		database := func(name string) source {
			s.Exec(t, "CREATE DATABASE "+name)
			t.Cleanup(func() { s.Exec(t, "DROP DATABASE "+name+" SYNC") })
			return ok.with(map[string]any{"database": name})
		}
		wantHealth(t, database("gate_empty"), "schema", ``)

		older := database("gate_older")
		migrations, err := store.LoadMigrations(sql.Migrations())
		must(t, err)
		cfg := store.DefaultConfig()
		cfg.Addr, cfg.Database, cfg.User, cfg.Password = s.Addr, "gate_older", s.Users.Writer.Name, s.Users.Writer.Password
		client, err := store.Open(cfg)
		must(t, err)
		defer client.Close()
		_, err = store.Apply(context.Background(), client, migrations[:1], slog.New(slog.DiscardHandler))
		must(t, err)
		wantHealth(t, older, "schema", `(?i)older|version 1\b|schema 1\b`)

		newer := database("gate_newer")
		s.open(t, "gate_newer")
		s.Exec(t, "INSERT INTO gate_newer.weir_migrations (version, name, checksum) VALUES (9999, '9999_from_the_future.sql', 'x')")
		wantHealth(t, newer, "schema", `(?i)newer|9999`)
	})
	t.Run("server", func(t *testing.T) {
		broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>bad gateway</html>", http.StatusBadGateway)
		}))
		defer broken.Close()
		wantHealth(t, ok.with(map[string]any{"url": broken.URL}), "server", `502|(?i)bad gateway`)
	})
}
