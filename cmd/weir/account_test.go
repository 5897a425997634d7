package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/internal/apptest"
)

// The first user of a built program: from the password that is printed to a change that the store tells of, by TLS.
func TestFirstUser(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up")
	}
	data := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, data, "weir.yaml", []byte("api: {tls: {mode: \"on\"}}\n"))
	a := apptest.Start(t, data, anyPorts...)
	file := filepath.Join(data, "first-password")
	text, err := os.ReadFile(file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	password := strings.TrimSpace(string(text))
	if err != nil || password == "" || strings.Count(a.Output(), password) != 1 {
		t.Fatalf("%q, %v; want it printed once:\n%s", password, err, a.Output())
	}
	pem, err := os.ReadFile(filepath.Join(data, "ca", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	t.Cleanup(client.CloseIdleConnections)
	csrf := ""
	do := func(method, path string, body, into any) int {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+a.Instance.API+"/api/v1/"+path, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Csrf-Token", csrf)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err == nil && into != nil {
			err = json.Unmarshal(got, into)
		}
		if err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, got)
		}
		return resp.StatusCode
	}
	var who api.Session
	if status := do("POST", "session", map[string]string{"user": "admin", "password": password}, &who); status != http.StatusOK || !who.OneTime {
		t.Fatalf("login: %d %+v", status, who)
	}
	csrf = who.CSRF
	const better = "another password of mine"
	if status := do("PUT", "session/password", map[string]string{"former": password, "password": better}, nil); status != http.StatusNoContent {
		t.Fatalf("change of the password: %d", status)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file with the first password: %v, want it gone", err)
	}
	if status := do("PUT", "users/vera", map[string]string{"role": "viewer"}, nil); status != http.StatusOK {
		t.Fatalf("make a user: %d", status)
	}
	apptest.Eventually(t, soon, "the store tells who made the user", func() error {
		out, err := a.SQL("SELECT actor, via, source, object FROM admin_events WHERE operation = 'user.set' AND outcome = 'done' AND actor != 'weir'")
		if err == nil && out != "admin\tsession\t127.0.0.1\tvera" {
			err = errors.New(out)
		}
		return err
	})
	// The commands on the machine need no user.
	if out, err := a.Run("hosts", "list"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The names in a certificate are those by which the machine can be reached.
func TestAPINames(t *testing.T) {
	interfaces := func() ([]net.Addr, error) {
		return []net.Addr{
			&net.IPNet{IP: net.IPv4(192, 0, 2, 7), Mask: net.CIDRMask(24, 32)}, &net.IPNet{IP: net.ParseIP("fe80::1"), Mask: net.CIDRMask(64, 128)},
			&net.IPNet{IP: net.IPv4(127, 0, 0, 1), Mask: net.CIDRMask(8, 32)},
		}, nil
	}
	c := api.Default()
	c.Names = []string{"Weir.example", "198.51.100.4"}
	names, addresses := apiNames(&c, &net.TCPAddr{IP: net.IPv6unspecified, Port: 1}, "Box", interfaces)
	if want := []string{"box", "localhost", "weir.example"}; !slices.Equal(names, want) {
		t.Errorf("names %q, want %q", names, want)
	}
	want := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("198.51.100.4"), netip.IPv6Loopback()}
	if !slices.Equal(addresses, want) {
		t.Errorf("addresses %v, want %v", addresses, want)
	}
}
