package api_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/pki"
)

// ownCertificate is one of a new authority, for a name.
func ownCertificate(t *testing.T, name string) (*tls.Certificate, *x509.CertPool, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	a, err := pki.Ensure(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Server([]string{name}, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c, a.Pool(), dir
}

// By TLS the cookie is for TLS only, and who speaks plainly is told so.
func TestTLS(t *testing.T) {
	c, pool, _ := ownCertificate(t, "weir.example")
	cfg := unauthenticated()
	cfg.TLS.Mode = api.TLSOn
	r := newRig(t, cfg, nil, func(d *api.Deps) { d.Identity = func() (*tls.Certificate, error) { return c, nil } })
	r.hasPassword("sue")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	t.Cleanup(client.CloseIdleConnections)
	post := func(path, body string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+r.addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		return client.Do(req)
	}
	resp, err := post("/api/v1/session", `{"user": "sue", "password": "`+passwordOf("sue")+`"}`)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if cookie := resp.Header.Get("Set-Cookie"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(cookie, "__Host-weir_session=") || !strings.Contains(cookie, "; Secure") {
		t.Errorf("%d, cookie %q", resp.StatusCode, cookie)
	}
	if resp.TLS.Version != tls.VersionTLS13 || resp.ProtoMajor != 2 {
		t.Errorf("TLS %x, HTTP/%d", resp.TLS.Version, resp.ProtoMajor)
	}
	if got := r.ask(asking{method: "GET", path: "/healthz"}); got.status != http.StatusBadRequest {
		t.Errorf("without TLS: %d %s", got.status, got.body)
	}
	if conn, err := tls.Dial("tcp", r.addr, &tls.Config{MaxVersion: tls.VersionTLS11, RootCAs: pool}); err == nil { //nolint:gosec // that it is refused
		conn.Close()
		t.Error("TLS 1.1 is spoken")
	}
	// A stream by HTTP/2 begins, and ends with the server.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+r.addr+"/api/v1/events/stream?after=0", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token("vera", "events:read"))
	stream, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	text := make([]byte, 4096)
	for all := ""; !strings.Contains(all, "id: 5\n"); {
		n, err := stream.Body.Read(text)
		if all += string(text[:n]); err != nil {
			t.Fatalf("%d %v after %q", stream.StatusCode, err, all)
		}
	}
}

// A certificate in files is taken anew when they change, and the former stays while a new one is not whole.
func TestFilesOfCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "api.pem"), filepath.Join(dir, "api.key")
	put := func(from string, names ...string) {
		t.Helper()
		for _, name := range names {
			text, err := os.ReadFile(filepath.Join(from, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := api.Files(cert, key); err == nil || !strings.Contains(err.Error(), "api.tls") {
		t.Errorf("files that are not there: %v", err)
	}
	_, _, first := ownCertificate(t, "first.example")
	_, _, second := ownCertificate(t, "second.example")
	put(first, "api.pem", "api.key")
	get, err := api.Files(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	name := func() string {
		c, err := get()
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.DNSNames[0]
	}
	if got := name(); got != "first.example" {
		t.Fatal(got)
	}
	put(second, "api.pem") // and not yet its key
	eventually(t, "that was looked at", func() bool {
		return name() == "first.example" && os.Chtimes(cert, time.Time{}, time.Now().Add(time.Second)) == nil
	})
	put(second, "api.key")
	eventually(t, "the new one is taken", func() bool { return name() == "second.example" })
}
