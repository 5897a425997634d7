package ovsdb_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/pki"
)

// authority makes one, with the dependencies of a Weir that has it.
func authority(t *testing.T) (*pki.Authority, ovsdb.Deps) {
	t.Helper()
	a, err := pki.Init(filepath.Join(t.TempDir(), "pki"), pki.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a, ovsdb.Deps{
		Identity:  func() ([]tls.Certificate, error) { return a.Identities(time.Now()) },
		Authority: a.Pool,
	}
}

// secure gives a server a certificate for name, signed by a, and returns it.
func secure(t *testing.T, server *ovsdbtest.Server, a *pki.Authority, name string, algorithm pki.Algorithm) *x509.Certificate {
	t.Helper()
	pair, err := a.Issue(pki.Request{Name: name, Algorithm: algorithm}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), name)
	if err := a.WriteHost(dir, pair); err != nil {
		t.Fatal(err)
	}
	server.VSCtl("--no-wait", "set-ssl", filepath.Join(dir, name+"-privkey.pem"), filepath.Join(dir, name+"-cert.pem"), filepath.Join(dir, "weir-ca.pem"))
	return pair.Certificate
}

func TestTLSByAuthority(t *testing.T) {
	server := ovsdbtest.Start(t, nil)
	a, deps := authority(t)
	other, otherDeps := authority(t)
	certificate := secure(t, server, a, "hv1", "")
	to := target(t, "ssl:127.0.0.1:"+server.Listen("pssl:0:127.0.0.1"))

	s := run(t, ovsdb.Config{Target: to, TLS: ovsdb.TLS{Name: "hv1"}}, deps)
	await(t, s, ovsdb.StateConnected)
	if st := s.Status(); !strings.HasPrefix(st.TLS, "TLS 1.3 ") || st.Cert.Fingerprint != ovsdb.FingerprintOf(certificate) || !st.Cert.NotAfter.Equal(certificate.NotAfter) {
		t.Errorf("status %+v", st)
	}

	refused := func(what string, settings ovsdb.TLS, d ovsdb.Deps, want string) {
		t.Helper()
		s := run(t, ovsdb.Config{Target: to, TLS: settings}, d)
		says(t, s, what, func(st ovsdb.Status) bool {
			return st.State == ovsdb.StateRefused && strings.Contains(st.Error, want) && st.Cert.Fingerprint == ovsdb.FingerprintOf(certificate)
		})
		if s.Rows() != nil {
			t.Errorf("%s: rows are there", what)
		}
	}
	refused("another host's name", ovsdb.TLS{Name: "hv2"}, deps, `is not for "hv2"`)
	refused("another authority", ovsdb.TLS{Name: "hv1"}, otherDeps, "signed by unknown authority")
	refused("another authority that is given", ovsdb.TLS{Name: "hv1", Authority: string(other.PEM())}, deps, "signed by unknown authority")
	refused("another pin", ovsdb.TLS{Name: "hv1", Pin: ovsdb.FingerprintOf(other.Certificate())}, deps, "was confirmed")
	refused("no authority", ovsdb.TLS{Name: "hv1"}, ovsdb.Deps{Identity: deps.Identity}, "there is no authority")

	given := run(t, ovsdb.Config{Target: to, TLS: ovsdb.TLS{Authority: string(a.PEM())}}, ovsdb.Deps{Identity: deps.Identity})
	await(t, given, ovsdb.StateConnected)

	// The host does not believe Weir.
	for what, d := range map[string]ovsdb.Deps{
		"no certificate":                     {Authority: deps.Authority},
		"a certificate of another authority": {Authority: deps.Authority, Identity: otherDeps.Identity},
	} {
		s := run(t, ovsdb.Config{Target: to}, d)
		says(t, s, what, func(st ovsdb.Status) bool {
			return st.State == ovsdb.StateBackoff && strings.Contains(st.Error, "the host does not believe Weir's certificate")
		})
	}
}

func TestTLSByPin(t *testing.T) {
	server := ovsdbtest.Start(t, nil)
	a, deps := authority(t)
	deps.Authority = nil
	first := secure(t, server, a, "hv1", "")
	to := target(t, "ssl:127.0.0.1:"+server.Listen("pssl:0:127.0.0.1"))

	s := run(t, ovsdb.Config{Target: to, TLS: ovsdb.TLS{Trust: ovsdb.TrustPin}}, deps)
	await(t, s, ovsdb.StateConfirm)
	seen := s.Status().Cert
	if seen.Fingerprint != ovsdb.FingerprintOf(first) || !strings.Contains(seen.Subject, "CN=hv1") || s.Rows() != nil {
		t.Fatalf("certificate %+v", seen)
	}
	pinned := run(t, ovsdb.Config{Target: to, TLS: ovsdb.TLS{Trust: ovsdb.TrustPin, Pin: seen.Fingerprint}}, deps)
	await(t, pinned, ovsdb.StateConnected)

	secure(t, server, a, "hv1", "") // a new one, of the same name and authority
	to = target(t, "ssl:127.0.0.1:"+server.Listen("pssl:0:127.0.0.2"))
	to.Host = "127.0.0.2"
	changed := run(t, ovsdb.Config{Target: to, TLS: ovsdb.TLS{Trust: ovsdb.TrustPin, Pin: seen.Fingerprint}}, deps)
	await(t, changed, ovsdb.StateRefused)
	if st := changed.Status(); !strings.Contains(st.Error, string(seen.Fingerprint)) || st.Cert.Fingerprint == seen.Fingerprint || changed.Rows() != nil {
		t.Errorf("status %+v", st)
	}
}

// Until a person has confirmed the certificate, and if it is not believed, the other side gets nothing: not even Weir's certificate.
func TestNothingIsSentBeforeTheCertificateIsBelieved(t *testing.T) {
	a, deps := authority(t)
	pair, err := a.Issue(pki.Request{Name: "hv1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{pair.Certificate.Raw}, PrivateKey: pair.Key}}, ClientAuth: tls.RequireAnyClientCert,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for what, settings := range map[string]ovsdb.TLS{
		"not confirmed": {Trust: ovsdb.TrustPin},
		"another name":  {Name: "hv2"},
	} {
		t.Run(what, func(t *testing.T) {
			run(t, ovsdb.Config{Target: target(t, "ssl:127.0.0.1:"+port), TLS: settings}, deps)
			nc, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			tc := nc.(*tls.Conn)
			if err := tc.Handshake(); err == nil || len(tc.ConnectionState().PeerCertificates) > 0 {
				t.Errorf("handshake: error %v, certificates %d", err, len(tc.ConnectionState().PeerCertificates))
			}
			if b, err := io.ReadAll(tc); err == nil || len(b) > 0 {
				t.Errorf("read %q, error %v", b, err)
			}
		})
	}
}

func TestLegacyTLS(t *testing.T) {
	server := ovsdbtest.Start(t, nil, "--ssl-protocols=TLSv1.2", "--ssl-ciphers=AES128-GCM-SHA256")
	a, deps := authority(t)
	secure(t, server, a, "old", pki.RSA)
	to := target(t, "ssl:127.0.0.1:"+server.Listen("pssl:0:127.0.0.1"))
	s := run(t, ovsdb.Config{Target: to}, deps)
	says(t, s, "want what is needed", func(st ovsdb.Status) bool { return strings.Contains(st.Error, "an old host needs legacy TLS") })
	s = run(t, ovsdb.Config{Target: to, TLS: ovsdb.TLS{Legacy: true}}, deps)
	await(t, s, ovsdb.StateConnected)
	if st := s.Status(); st.TLS != "TLS 1.2 TLS_RSA_WITH_AES_128_GCM_SHA256" {
		t.Errorf("TLS %q", st.TLS)
	}
}

func TestTLSValidate(t *testing.T) {
	for _, bad := range []ovsdb.TLS{{Trust: "blind"}, {Authority: "none"}, {Authority: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))}} {
		if err := bad.Validate(); err == nil {
			t.Errorf("%+v is valid", bad)
		}
	}
	if _, err := ovsdb.New(ovsdb.Config{Limits: quick(), TLS: ovsdb.TLS{Trust: "blind"}}, ovsdb.Deps{}); err == nil {
		t.Error("a session was made with settings that are not valid")
	}
}

func TestFingerprint(t *testing.T) {
	a, _ := authority(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, a.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	want := ovsdb.FingerprintOf(a.Certificate())
	plain := strings.ReplaceAll(string(want), ":", "")
	for _, text := range []string{string(want), plain, strings.ToLower(plain), "sha256 Fingerprint=" + string(want) + "\n"} {
		if got, err := ovsdb.ParseFingerprint(text); err != nil || got != want {
			t.Errorf("ParseFingerprint(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", "AB", plain[:62], plain + "00", strings.Replace(plain, plain[:1], "x", 1)} {
		if got, err := ovsdb.ParseFingerprint(text); err == nil {
			t.Errorf("ParseFingerprint(%q) = %q", text, got)
		}
	}
}
