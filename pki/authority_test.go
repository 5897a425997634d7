package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/pki"
)

var now = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func newAuthority(t *testing.T, algorithm pki.Algorithm) (*pki.Authority, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	a, err := pki.Init(dir, algorithm, now)
	if err != nil {
		t.Fatal(err)
	}
	return a, dir
}

func issue(t *testing.T, a *pki.Authority, r pki.Request, at time.Time) pki.Pair {
	t.Helper()
	p, err := a.Issue(r, at)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// believed says whether the pool believes a certificate at a time, on either side of a connection.
func believed(c *x509.Certificate, pool *x509.CertPool, at time.Time, name string) error {
	var errs []error
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := c.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: at, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func TestIssue(t *testing.T) {
	for _, algorithm := range []pki.Algorithm{pki.ECDSA, pki.RSA} {
		t.Run(string(algorithm), func(t *testing.T) {
			a, _ := newAuthority(t, algorithm)
			p := issue(t, a, pki.Request{Name: "xcp-1.example.net", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, now)
			for _, name := range []string{"xcp-1.example.net", "192.0.2.1"} {
				if err := believed(p.Certificate, a.Pool(), now, name); err != nil {
					t.Errorf("for %s: %v", name, err)
				}
			}
			if err := believed(p.Certificate, a.Pool(), now, "xcp-2.example.net"); err == nil {
				t.Error("it is good for another name")
			}
			if err := believed(p.Certificate, a.Pool(), now.Add(pki.HostLife+time.Second), ""); err == nil {
				t.Error("it is good for ever")
			}
			other, _ := newAuthority(t, algorithm)
			if err := believed(p.Certificate, other.Pool(), now, ""); err == nil {
				t.Error("another authority's pool believes it")
			}
			if a.Algorithm() != algorithm || p.Certificate.PublicKeyAlgorithm != a.Certificate().PublicKeyAlgorithm {
				t.Errorf("a key of %s of an authority of %s", p.Certificate.PublicKeyAlgorithm, a.Algorithm())
			}
			if p.Certificate.IsCA {
				t.Error("a host can sign certificates")
			}
		})
	}
	a, _ := newAuthority(t, pki.ECDSA)
	for _, bad := range []pki.Request{{}, {Name: ".."}, {Name: "a/b"}, {Name: "-a"}, {Name: "Weir"}, {Name: "a\n"}, {Name: strings.Repeat("a", 64)}, {Name: "a", Life: -time.Hour}, {Name: "a", Algorithm: "dsa"}} {
		if _, err := a.Issue(bad, now); err == nil {
			t.Errorf("%+v was issued", bad)
		}
	}
	// It ends with the authority at the latest.
	late := now.Add(pki.AuthorityLife - time.Hour)
	if p := issue(t, a, pki.Request{Name: "a"}, late); p.Certificate.NotAfter.After(a.Certificate().NotAfter) {
		t.Error("a certificate outlives its authority")
	}
	if _, err := a.Issue(pki.Request{Name: "a"}, now.Add(pki.AuthorityLife+time.Hour)); err == nil || !strings.Contains(err.Error(), "weir ca renew") {
		t.Errorf("an authority that has ended: %v", err)
	}
}

func TestFiles(t *testing.T) {
	a, dir := newAuthority(t, pki.ECDSA)
	if _, err := pki.Init(dir, pki.ECDSA, now); err == nil {
		t.Error("an authority was overwritten")
	}
	p := issue(t, a, pki.Request{Name: "hv2"}, now)
	issue(t, a, pki.Request{Name: "hv1"}, now)
	newest := issue(t, a, pki.Request{Name: "hv1", Algorithm: pki.RSA}, now)
	if _, err := a.Identities(now); err != nil {
		t.Fatal(err)
	}
	host := filepath.Join(t.TempDir(), "host")
	if err := a.WriteHost(host, p); err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, root := range []string{dir, host} {
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if mode := info.Mode().Perm(); d.IsDir() && mode != 0o700 || !d.IsDir() && mode != 0o600 {
				t.Errorf("%s has mode %#o", path, mode)
			}
			if !d.IsDir() {
				files++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files != 2+4+2+3 { // nothing is left over either
		t.Errorf("%d files", files)
	}

	again, err := pki.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !again.Certificate().Equal(a.Certificate()) || believed(issue(t, again, pki.Request{Name: "hv3"}, now).Certificate, a.Pool(), now, "hv3") != nil {
		t.Error("what was opened again is another authority")
	}
	list, err := again.Issued()
	if err != nil || len(list) != 3 || !list[0].Equal(newest.Certificate) || list[1].Subject.CommonName != "hv2" {
		t.Errorf("issued %v, %v", list, err)
	}

	if _, err := pki.Open(t.TempDir()); !errors.Is(err, pki.ErrNone) {
		t.Errorf("an empty directory: %v", err)
	}
	key := filepath.Join(dir, "ca.key")
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Open(dir); err == nil || !strings.Contains(err.Error(), "others may read") {
		t.Errorf("a key that others may read: %v", err)
	}
	_, otherDir := newAuthority(t, pki.ECDSA)
	text, err := os.ReadFile(filepath.Join(otherDir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(key), os.WriteFile(key, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Open(dir); err == nil || !strings.Contains(err.Error(), "is not the key of") {
		t.Errorf("another key: %v", err)
	}
}

func TestIdentities(t *testing.T) {
	a, dir := newAuthority(t, pki.ECDSA)
	get := func(a *pki.Authority, at time.Time) []tls.Certificate {
		t.Helper()
		list, err := a.Identities(at)
		if err != nil || len(list) != 2 {
			t.Fatalf("identities %v, %v", list, err)
		}
		return list
	}
	first := get(a, now)
	if first[0].Leaf.PublicKeyAlgorithm != x509.ECDSA || first[1].Leaf.PublicKeyAlgorithm != x509.RSA {
		t.Errorf("keys of %v and %v", first[0].Leaf.PublicKeyAlgorithm, first[1].Leaf.PublicKeyAlgorithm)
	}
	for _, c := range first {
		if err := believed(c.Leaf, a.Pool(), now, "weir"); err != nil {
			t.Error(err)
		}
	}
	same := func(x, y []tls.Certificate) bool { return x[0].Leaf.Equal(y[0].Leaf) && x[1].Leaf.Equal(y[1].Leaf) }
	again, err := pki.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !same(first, get(a, now.Add(200*24*time.Hour))) || !same(first, get(again, now)) {
		t.Error("they were made anew early")
	}
	later := now.Add(250 * 24 * time.Hour)
	renewed := get(a, later)
	if same(first, renewed) || believed(renewed[0].Leaf, a.Pool(), later.Add(300*24*time.Hour), "weir") != nil {
		t.Error("they were not renewed")
	}
}

// After a renewal, old and new certificates of the authority believe what it signed before and after.
func TestRenew(t *testing.T) {
	a, dir := newAuthority(t, pki.ECDSA)
	old := a.Pool()
	before := issue(t, a, pki.Request{Name: "hv1"}, now)
	later := now.Add(365 * 24 * time.Hour)
	if err := a.Renew(later); err != nil {
		t.Fatal(err)
	}
	again, err := pki.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !again.Certificate().Equal(a.Certificate()) || !again.Certificate().NotAfter.After(now.Add(pki.AuthorityLife)) {
		t.Error("the new certificate is not there")
	}
	after := issue(t, a, pki.Request{Name: "hv2"}, later)
	for _, pool := range []*x509.CertPool{old, again.Pool()} {
		for _, p := range []pki.Pair{before, after} {
			if err := believed(p.Certificate, pool, later, ""); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestEnsure(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	a, err := pki.Ensure(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	b, err := pki.Ensure(dir, now)
	if err != nil || !b.Certificate().Equal(a.Certificate()) {
		t.Errorf("a second time: %v", err)
	}
}

// Several that begin at once, or after one that was killed half-way, have one authority.
func TestEnsureAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	const count = 8
	var wg sync.WaitGroup
	certificates := make([]*x509.Certificate, count)
	for i := range count {
		wg.Go(func() {
			a, err := pki.Ensure(dir, now)
			if err == nil {
				_, err = a.Identities(now)
			}
			if err != nil {
				t.Error(err)
				return
			}
			p, err := a.Issue(pki.Request{Name: "hv1"}, now)
			if err != nil {
				t.Error(err)
				return
			}
			certificates[i] = p.Certificate
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	a, err := pki.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range certificates {
		if err := believed(c, a.Pool(), now, "hv1"); err != nil {
			t.Error(err)
		}
	}
	if _, err := a.Identities(now); err != nil {
		t.Error(err)
	}

	if err := os.Remove(filepath.Join(dir, "ca.pem")); err != nil { // as if killed before it was there
		t.Fatal(err)
	}
	again, err := pki.Ensure(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := believed(certificates[0], again.Pool(), now, "hv1"); err != nil {
		t.Error(err)
	}
}

// OpenSSL, which is what switches use, reads and believes what is made.
func TestOpenSSLBelievesIt(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip(err)
	}
	for _, algorithm := range []pki.Algorithm{pki.ECDSA, pki.RSA} {
		a, err := pki.Init(filepath.Join(t.TempDir(), "pki"), algorithm, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		p, err := a.Issue(pki.Request{Name: "hv1"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := a.WriteHost(dir, p); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "weir-ca.pem", "hv1-cert.pem"},
			{"verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "weir-ca.pem", "hv1-cert.pem"},
			{"pkey", "-check", "-noout", "-in", "hv1-privkey.pem"},
		} {
			cmd := exec.Command("openssl", args...)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: openssl %s: %v: %s", algorithm, strings.Join(args, " "), err, out)
			}
		}
	}
}

// The certificate of the API is for its names, for servers only, and made anew when it is for others, is old, or of another authority.
func TestServer(t *testing.T) {
	a, dir := newAuthority(t, pki.ECDSA)
	addresses := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	server := func(a *pki.Authority, at time.Time, names ...string) *x509.Certificate {
		t.Helper()
		c, err := a.Server(names, addresses, at)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf
	}
	first := server(a, now, "weir.example", "localhost")
	for _, name := range []string{"weir.example", "localhost", "192.0.2.1", "2001:db8::1"} {
		if _, err := first.Verify(x509.VerifyOptions{Roots: a.Pool(), DNSName: name, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := first.Verify(x509.VerifyOptions{Roots: a.Pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
		t.Error("a client can present it")
	}
	if first.VerifyHostname("weir") == nil {
		t.Error("it is for the name by which collectors know Weir")
	}
	again, err := pki.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if second := server(again, now.Add(time.Hour), "weir.example", "localhost"); !second.Equal(first) {
		t.Error("after a start it is another one")
	}
	if other := server(again, now.Add(time.Hour), "weir.example"); other.Equal(first) || other.VerifyHostname("localhost") == nil {
		t.Error("for other names it is the same")
	}
	if late := server(a, first.NotAfter.Add(-time.Hour), "weir.example", "localhost"); late.Equal(first) {
		t.Error("an old one is not made anew")
	}
}
