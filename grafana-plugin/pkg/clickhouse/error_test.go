package clickhouse_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
	"github.com/weirhq/weir/query"
	"github.com/weirhq/weir/store/storetest"
)

const secret = "s3cr3t-pa55word"

// Each class is provoked by what makes it.
func TestClassesOfErrors(t *testing.T) {
	_, s := storetest.Database(t)
	good := map[string]any{"url": "http://" + s.Addr, "username": s.Users.ReadOnly.Name}
	with := func(more map[string]any) map[string]any {
		settings := maps.Clone(good)
		maps.Copy(settings, more)
		return settings
	}
	closed := listen(t, nil)
	closed.Close()
	silent := listen(t, nil) // the kernel takes connections, and nobody answers
	hangsUp := listen(t, func(c net.Conn) { c.Close() })
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/forbidden":
			http.Error(w, "no", http.StatusForbidden)
		case "/gateway":
			http.Error(w, "<html>Bad Gateway</html>", http.StatusBadGateway)
		default:
			_, _ = io.WriteString(w, "<html>It works!</html>")
		}
	}))
	t.Cleanup(other.Close)

	ca := newAuthority(t)
	today := ca.issue(t, time.Now().Add(time.Hour), "127.0.0.1")
	expired := ca.issue(t, time.Now().Add(-time.Minute), "127.0.0.1")
	elsewhere := ca.issue(t, time.Now().Add(time.Hour), "192.0.2.9")
	tlsURL := secured(t, s, today, nil)
	secure := map[string]any{"url": tlsURL}
	trust := map[string]string{"tlsCACert": ca.pem}

	for _, test := range []struct {
		name     string
		settings map[string]any
		secrets  map[string]string
		class    clickhouse.Class
		says     string
	}{
		{"wrong password", good, nil, clickhouse.ClassAuth, "password"},
		{"unknown user", with(map[string]any{"username": "nobody"}), nil, clickhouse.ClassAuth, "nobody"},
		{"forbidden by a proxy", with(map[string]any{"url": other.URL + "/forbidden"}), nil, clickhouse.ClassAuth, "403"},
		{"closed port", with(map[string]any{"url": "http://" + closed.Addr().String()}), nil, clickhouse.ClassNetwork, "refused"},
		{"closed port, native", with(map[string]any{"url": "clickhouse://" + closed.Addr().String()}), nil, clickhouse.ClassNetwork, "refused"},
		{"unknown host", with(map[string]any{"url": "http://no-such-host.invalid"}), nil, clickhouse.ClassNetwork, "no-such-host.invalid"},
		{"hangs up", with(map[string]any{"url": "http://" + hangsUp.Addr().String()}), nil, clickhouse.ClassNetwork, "closed"},
		{"native protocol at the HTTP port", with(map[string]any{"url": "clickhouse://" + s.Addr, "timeout": "200ms"}), nil, clickhouse.ClassTimeout, "scheme"},
		{"nobody answers", with(map[string]any{"url": "http://" + silent.Addr().String(), "timeout": "200ms"}), nil, clickhouse.ClassTimeout, "in time"},
		{"nobody answers, native", with(map[string]any{"url": "clickhouse://" + silent.Addr().String(), "timeout": "200ms"}), nil, clickhouse.ClassTimeout, "in time"},
		{"packets are dropped", with(map[string]any{"url": "http://" + blackHole(t), "timeout": "200ms"}), nil, clickhouse.ClassTimeout, "firewall"},
		{"TLS to a plain port", with(map[string]any{"url": "https://" + s.Addr}), nil, clickhouse.ClassTLS, "no TLS"},
		{"TLS to a plain port, native", with(map[string]any{"url": "clickhouses://" + s.Addr}), nil, clickhouse.ClassTLS, "no TLS"},
		{"plain to a TLS port", with(map[string]any{"url": strings.Replace(tlsURL, "https", "http", 1)}), nil, clickhouse.ClassTLS, "https"},
		{"unknown authority", with(secure), nil, clickhouse.ClassTLS, "authority"},
		{"another authority", with(secure), map[string]string{"tlsCACert": newAuthority(t).pem}, clickhouse.ClassTLS, "authority"},
		{"another name", with(map[string]any{"url": secured(t, s, elsewhere, nil)}), trust, clickhouse.ClassTLS, "192.0.2.9"},
		{"expired", with(map[string]any{"url": secured(t, s, expired, nil)}), trust, clickhouse.ClassTLS, "expired"},
		{"client certificate wanted", with(map[string]any{"url": secured(t, s, today, ca)}), trust, clickhouse.ClassTLS, "client certificate"},
		{"unknown database", with(map[string]any{"database": "no_such_database"}), map[string]string{"password": s.Users.ReadOnly.Password}, clickhouse.ClassConfig, "no_such_database"},
		{"bad gateway", with(map[string]any{"url": other.URL + "/gateway"}), nil, clickhouse.ClassServer, "502"},
		{"another server", with(map[string]any{"url": other.URL}), nil, clickhouse.ClassServer, "not understood"},
	} {
		t.Run(test.name, func(t *testing.T) {
			secrets := map[string]string{"password": secret}
			maps.Copy(secrets, test.secrets)
			_, err := ask(t, open(t, test.settings, secrets), "SELECT 1")
			e, ok := errors.AsType[*clickhouse.Error](err)
			if !ok || e.Class != test.class || e.Hint == "" && e.Class != clickhouse.ClassTimeout || !strings.Contains(e.Error(), test.says) {
				t.Fatalf("class %q, hint %q: %v; want class %s, a hint and %q\n%#v", classOf(err), e.Hint, err, test.class, test.says, e.Unwrap())
			}
			for inner := err; inner != nil; inner = errors.Unwrap(inner) {
				if strings.Contains(inner.Error(), secret) || strings.Contains(inner.Error(), s.Users.ReadOnly.Password) {
					t.Errorf("the password is told: %v", inner)
				}
			}
		})
	}

	// And none where nothing is wrong.
	key := map[string]string{"tlsCACert": ca.pem, "password": s.Users.ReadOnly.Password}
	if _, err := ask(t, open(t, with(secure), key), "SELECT 1"); err != nil {
		t.Errorf("TLS: %v", err)
	}
	if _, err := ask(t, open(t, with(map[string]any{"url": tlsURL, "tlsSkipVerify": true}), map[string]string{"password": s.Users.ReadOnly.Password}), "SELECT 1"); err != nil {
		t.Errorf("TLS, unchecked: %v", err)
	}
	if _, err := ask(t, open(t, with(map[string]any{"url": secured(t, s, elsewhere, nil), "tlsServerName": "192.0.2.9"}), key), "SELECT 1"); err != nil {
		t.Errorf("TLS by another name: %v", err)
	}
	me := ca.issue(t, time.Now().Add(time.Hour), "127.0.0.1")
	key["tlsClientCert"], key["tlsClientKey"] = pemOf(t, me)
	if _, err := ask(t, open(t, with(map[string]any{"url": secured(t, s, today, ca)}), key), "SELECT 1"); err != nil {
		t.Errorf("TLS with a client certificate: %v", err)
	}
}

// What is wrong with a statement is told in a line, without what only ClickHouse's developers read.
func TestErrorsOfStatements(t *testing.T) {
	_, s := storetest.Database(t)
	c := of(t, s, s.Users.ReadOnly, nil)
	for sql, want := range map[string]struct {
		class clickhouse.Class
		says  string
	}{
		"SELECT":                         {clickhouse.ClassQuery, "Syntax error"},
		"SELECT no_such_function(1)":     {clickhouse.ClassQuery, "no_such_function"},
		"SELECT 1 + 'a'":                 {clickhouse.ClassQuery, "type"},
		"SELECT toUInt8('a')":            {clickhouse.ClassQuery, "parse"},
		"SELECT {p:String}":              {clickhouse.ClassQuery, "p"},
		"SELECT no_such_column":          {clickhouse.ClassSchema, "no_such_column"},
		"SELECT 1 FROM no_such_table":    {clickhouse.ClassSchema, "no_such_table"},
		"SELECT throwIf(1, 'own words')": {clickhouse.ClassServer, "own words"},
	} {
		e := fails(t, c, sql, want.class)
		if !strings.Contains(e.Msg, want.says) || strings.ContainsAny(e.Msg, "\n\x00") || strings.Contains(e.Msg, "(version") || strings.Contains(e.Msg, "DB::Exception") || len(e.Msg) > 1100 {
			t.Errorf("%s: %q, want a clean line with %q", sql, e.Msg, want.says)
		}
	}
}

// An error that comes when part of the answer was already sent is none the less one.
func TestErrorsInTheMiddle(t *testing.T) {
	_, s := storetest.Database(t)
	rows, err := of(t, s, s.Users.ReadOnly, nil).Query(t.Context(), clickhouse.Ask{Statement: query.Statement{
		SQL: "SELECT number, repeat('x', 1000) AS x, throwIf(number = 9000, 'later words') FROM numbers(9500)", Settings: map[string]string{"max_block_size": "100"},
	}})
	if classOf(err) != clickhouse.ClassServer || !strings.Contains(err.Error(), "later words") {
		t.Errorf("%+v, %v, want the error", rows, err)
	}
}

// blackHole is an address of which packets get no answer: its queue of connections is full, and nobody takes one from it.
func blackHole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(name.(*syscall.SockaddrInet4).Port))
	for range 100 {
		c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("a queue of connections that is never full")
	return ""
}

func listen(t *testing.T, serve func(net.Conn)) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if serve != nil {
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				serve(c)
			}
		}()
	}
	return l
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "test authority"}}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

func (a *authority) issue(t *testing.T, until time.Time, ip string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: ip}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.ParseIP(ip)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func pemOf(t *testing.T, c tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// secured is the URL of something that speaks TLS in front of the store; clients is the authority of the certificates that it wants, if any.
func secured(t *testing.T, s *storetest.Server, cert tls.Certificate, clients *authority) string {
	t.Helper()
	front := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.Addr}))
	front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	front.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	if clients != nil {
		front.TLS.ClientAuth, front.TLS.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		front.TLS.ClientCAs.AddCert(clients.cert)
	}
	front.StartTLS()
	t.Cleanup(front.Close)
	return front.URL
}
