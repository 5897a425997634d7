package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/ovs/ovsdb"
)

// Options say whose API is asked.
type Options struct {
	Server   string    // a profile, HOST:PORT or URL; "": see Data
	Data     string    // data directory of an instance on this machine; "": the profile in use, else the instance that is found
	Profiles *Profiles // never nil
	Version  string    // of the program that asks
}

// API is an API that can be asked. Safe for concurrent use.
type API struct {
	base    string // scheme://host:port
	name    string // by which a person knows it
	http    *http.Client
	token   string
	expires time.Time // of the token; zero: not known
	login   string    // what to do to be known, as weir login NAME
	version string
	local   *instance.Instance // nil: elsewhere
	socket  bool
}

// Times that asking may take.
const (
	dialTimeout   = 10 * time.Second
	readTimeout   = 30 * time.Second
	changeTimeout = 7 * time.Minute // longer than the server gives anything
)

// maxAnswer bounds an answer that is decoded, bytes.
const maxAnswer = 512 << 20

// ErrCollector is of an instance that changes nothing, and is asked to.
var ErrCollector = errors.New("is a collector alone: ask at policyd")

// Open finds the API that o says: that of Server, else of the instance in Data, else of the profile in use, else of the instance that is found on this
// machine. Nothing is asked yet. errors.Is(err, instance.ErrNotRunning) tells that there is none here.
func Open(o Options) (*API, error) {
	switch {
	case o.Server != "":
		return o.remote(o.Server)
	case o.Data == "" && o.Profiles.Use != "":
		return o.remote(o.Profiles.Use)
	}
	in, err := instance.Find(o.Data)
	if err != nil {
		return nil, err
	}
	return Local(in, o.Version), nil
}

// Local asks an instance on this machine: by its socket, where whoever may is known; else, as of a collector alone or by another user of the machine,
// over loopback, where api.local_reads lets everybody look.
func Local(in instance.Instance, version string) *API {
	a := &API{base: "http://" + in.API, name: fmt.Sprintf("the instance in %q", in.Data), version: version, local: &in}
	t := transport()
	t.Proxy, t.DisableKeepAlives = nil, true
	switch {
	case in.Admin != "" && unix.Access(in.Admin, unix.W_OK) == nil:
		a.base, a.socket = "http://weir", true
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", in.Admin)
		}
	case in.TLS: // over loopback, to the address in a file that only its owner could write; no token is sent
		a.base = "https://" + in.API
		t.TLSClientConfig.InsecureSkipVerify = true
	}
	a.http = httpClient(t)
	a.login = "run it as the user of Weir, or weir login " + in.API
	return a
}

func (o *Options) remote(server string) (*API, error) {
	name, p, err := o.Profiles.Find(server)
	if err != nil {
		if CheckName(server) == nil {
			return nil, fmt.Errorf("%w; a server is written HOST:PORT", err)
		}
		return Remote(server, Trust{}, "", o.Version)
	}
	token, err := o.Profiles.token(p)
	if err != nil {
		return nil, fmt.Errorf("profile %q: %w", name, err)
	}
	trust, err := o.Profiles.Trust(p)
	if err != nil {
		return nil, fmt.Errorf("profile %q: %w", name, err)
	}
	a, err := Remote(p.Server, trust, token, o.Version)
	if err != nil {
		return nil, fmt.Errorf("profile %q: %w", name, err)
	}
	a.login, a.expires = "weir login "+name, p.Expires
	return a, nil
}

// Trust says by what a server is believed. The zero value: by the authorities of the system.
type Trust struct {
	Authority   []byte            // PEM; these authorities instead of the system's
	Fingerprint ovsdb.Fingerprint // of the one certificate of the server that is believed, whatever its name
}

// Remote asks a server elsewhere, HOST:PORT or a URL. token may be "".
func Remote(server string, trust Trust, token, version string) (*API, error) {
	base, err := parseServer(server)
	if err != nil {
		return nil, err
	}
	_, host, _ := strings.Cut(base, "://")
	t := transport()
	if t.TLSClientConfig, err = trusting(trust); err != nil {
		return nil, fmt.Errorf("ask %s: %w", host, err)
	}
	return &API{base: base, name: host, http: httpClient(t), token: token, login: "weir login " + host, version: version}, nil
}

// Server is the server that is asked, as a profile has it.
func (a *API) Server() string { return a.base }

func transport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		MaxIdleConns:        2,
		IdleConnTimeout:     10 * time.Second,
	}
}

// httpClient follows no redirection: a token is for the server that was named.
func httpClient(t *http.Transport) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// trusting is the TLS of a client that believes one certificate, some authorities, or those of the system.
func trusting(trust Trust) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	switch {
	case trust.Fingerprint != "":
		c.InsecureSkipVerify = true // VerifyConnection does it: the one certificate is believed, whatever name it has
		c.VerifyConnection = func(s tls.ConnectionState) error {
			if got := ovsdb.FingerprintOf(s.PeerCertificates[0]); got != trust.Fingerprint {
				return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: fmt.Errorf("%w, %s", errOther, trust.Fingerprint)}
			}
			return nil
		}
	case len(trust.Authority) > 0:
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(trust.Authority) {
			return nil, errors.New("read authority: found no certificate (PEM)")
		}
	}
	return c, nil
}

// parseServer returns a server as scheme://host:port: of HOST:PORT, by TLS, or a URL without a path. Without TLS only this machine itself is asked.
func parseServer(text string) (string, error) {
	raw := text
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	const want = "expected HOST:PORT or https://HOST:PORT"
	switch {
	case err != nil:
		return "", fmt.Errorf("server %q: %s", text, want)
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.User != nil, u.RawQuery != "", u.Fragment != "", u.Path != "" && u.Path != "/":
		return "", fmt.Errorf("server %q: %s", text, want)
	case u.Port() == "" && raw != text: // a word
		return "", fmt.Errorf("server %q: found no port: %s", text, want)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return "", fmt.Errorf("server %q: without TLS passwords and tokens can be read on the way: want https", text)
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// Name is by what a person knows the API.
func (a *API) Name() string { return a.name }

// Instance returns the instance on this machine that is asked; false: it is elsewhere.
func (a *API) Instance() (instance.Instance, bool) {
	if a.local == nil {
		return instance.Instance{}, false
	}
	return *a.local, true
}

// Request is something that an API is asked.
type Request struct {
	Method      string        // "": GET
	Path        string        // from /api/v1 on, with its query
	Body        any           // sent as JSON, or, of type []byte, as it is; nil: none
	Into        any           // the answer is decoded into it; nil: it is not read
	ContentType string        // of Body; "": application/json
	IfMatch     string        // entity tag that it must still have; "": whatever it has
	IfNoneMatch string        // *: make it only if it is not there
	EventID     string        // Last-Event-ID of a stream
	Timeout     time.Duration // longest wait for the whole answer; 0: 30 s for looking, for changes as long as the server takes
	Header      http.Header   // besides
}

// Answer is what came with an answer.
type Answer struct {
	Status int    // one of success
	ETag   string // for Request.IfMatch
	Header http.Header
}

// Get asks for path, and decodes the answer into into.
func (a *API) Get(ctx context.Context, path string, into any) error {
	_, err := a.Send(ctx, Request{Path: path, Into: into})
	return err
}

// Change has something changed, or asks with a body. The answer is decoded into into unless that is nil.
func (a *API) Change(ctx context.Context, method, path string, body, into any) error {
	_, err := a.Send(ctx, Request{Method: method, Path: path, Body: body, Into: into})
	return err
}

// Send asks. What is refused is a *Problem.
func (a *API) Send(ctx context.Context, r Request) (Answer, error) {
	timeout := r.Timeout
	switch {
	case timeout > 0:
	case r.Method == "" || r.Method == http.MethodGet:
		timeout = readTimeout
	default:
		timeout = changeTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer in %s", timeout))
	defer cancel()
	resp, err := a.Stream(ctx, r)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	answer := Answer{resp.StatusCode, resp.Header.Get("ETag"), resp.Header}
	if r.Into != nil && resp.StatusCode != http.StatusNoContent {
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(r.Into); err != nil {
			return answer, fmt.Errorf("ask %s for %s: %w%s", a.name, path(r.Path), cause(ctx, err), a.versions(ctx))
		}
	}
	return answer, nil
}

// Stream asks for an answer that the caller reads and closes. Its status is one of success; what is refused is a *Problem. Only ctx ends it.
func (a *API) Stream(ctx context.Context, r Request) (*http.Response, error) {
	if a.local != nil && !a.socket && a.local.Admin == "" && r.Method != "" && r.Method != http.MethodGet {
		return nil, fmt.Errorf("ask for %s: %s %w", path(r.Path), a.name, ErrCollector)
	}
	req, err := a.request(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", a.name, path(r.Path), err)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, a.unreached(cause(ctx, err))
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, a.refusal(ctx, resp, r)
	}
	return resp, nil
}

func (a *API) request(ctx context.Context, r Request) (*http.Request, error) {
	var body io.Reader = http.NoBody
	if r.Body != nil {
		text, ok := r.Body.([]byte)
		if !ok {
			var err error
			if text, err = json.Marshal(r.Body); err != nil {
				return nil, err
			}
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, a.base+r.Path, body)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, r.Header)
	contentType := ""
	if r.Body != nil {
		contentType = "application/json"
		if r.ContentType != "" {
			contentType = r.ContentType
		}
	}
	authorization := ""
	if a.token != "" {
		authorization = "Bearer " + a.token
	}
	for name, value := range map[string]string{
		"Content-Type": contentType, "If-Match": r.IfMatch, "If-None-Match": r.IfNoneMatch, "Last-Event-ID": r.EventID, "Authorization": authorization,
		"User-Agent": "weir/" + a.version,
	} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	return req, nil
}

// path is the path of a request without its query.
func path(p string) string {
	before, _, _ := strings.Cut(p, "?")
	return before
}

// cause is why a context ended, where err is of that.
func cause(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// readFull is io.ReadFull where a shorter text is none of an error.
func readFull(r io.Reader, b []byte) (int, error) {
	n, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}
