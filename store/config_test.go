package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/store"
)

func TestConfigRefuses(t *testing.T) {
	f := func(want string, change func(*store.Config)) {
		t.Helper()
		cfg := store.DefaultConfig()
		change(&cfg)
		if _, err := store.Open(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open: %v, want an error with %q", err, want)
		}
	}
	f(`addr: found "localhost", want a host and a port`, func(c *store.Config) { c.Addr = "localhost" })
	f(`addr: found scheme "tcp"`, func(c *store.Config) { c.Addr = "tcp://localhost:9000" })
	f(`addr: holds a user or password`, func(c *store.Config) { c.Addr = "http://u:p@localhost:8123" })
	f(`addr: found "http://[::1", want host:port`, func(c *store.Config) { c.Addr = "http://[::1" })
	f(`database: found "a b"`, func(c *store.Config) { c.Database = "a b" })
	f(`user: is empty`, func(c *store.Config) { c.User = "" })
	f(`compression: found "br"`, func(c *store.Config) { c.Compression = "br" })
	f(`timeout: found 0s`, func(c *store.Config) { c.Timeout = 0 })
	f(`cert_file and key_file go together`, func(c *store.Config) { c.TLS.CertFile = "x" })
	f(`dictionary_collection: found "1"`, func(c *store.Config) { c.DictionaryCollection = "1" })
	f(`no/such/file`, func(c *store.Config) { c.PasswordFile = "/no/such/file" })
	f(`no/such/ca`, func(c *store.Config) { c.Addr, c.TLS.CAFile = "https://localhost:8443", "/no/such/ca" })

	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f(`no certificate in PEM form`, func(c *store.Config) { c.Addr, c.TLS.CAFile = "https://localhost:8443", empty })
}

// Errors and their text never show the password.
func TestPasswordStaysSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := store.DefaultConfig()
	cfg.Addr, cfg.PasswordFile = "127.0.0.1:1", file
	c := openConfig(t, cfg)
	_, insert := c.InsertNative(t.Context(), "flows", []byte("x"), "")
	for _, err := range []error{insert, c.Exec(t.Context(), "SELECT 1"), c.Ping(t.Context())} {
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error of a store that is not there: %v, want one without the password", err)
		}
	}
}
