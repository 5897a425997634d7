package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/weirhq/weir/ovs/ovsdb"
)

// Problem is what was refused, or went wrong at the server: RFC 9457 with the fields at fault.
type Problem struct {
	Status int    // of HTTP
	Detail string // whole sentences
	Fields []Field
	Hint   string // what to do about it; "" is not known
}

// Field is a part of a request that is at fault.
type Field struct {
	Location string          `json:"location"` // as body.role
	Message  string          `json:"message"`
	Value    json.RawMessage `json:"value"` // what was found there, or more of what is wrong with it; nil: nothing is said
}

func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Detail)
	for _, f := range p.Fields {
		if f.Message == "" || strings.Contains(p.Detail, f.Message) {
			continue
		}
		b.WriteString("\n  ")
		if where := strings.TrimPrefix(f.Location, "body."); where != "" && where != "body" {
			b.WriteString(where + ": ")
		}
		b.WriteString(f.Message)
	}
	if p.Hint != "" {
		b.WriteString("\n" + p.Hint)
	}
	return b.String()
}

// Is tells whether p is of a kind: ErrRefused, ErrConflict or ErrNotFound.
func (p *Problem) Is(kind error) bool {
	switch p.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		return kind == ErrRefused
	case http.StatusConflict, http.StatusPreconditionFailed:
		return kind == ErrConflict
	case http.StatusNotFound:
		return kind == ErrNotFound
	}
	return false
}

// Kinds of problems.
var (
	ErrRefused  = errors.New("who asks is not known, or may not")
	ErrConflict = errors.New("it is not, or not any more, as it would have to be for that")
	ErrNotFound = errors.New("it is not there")
)

// maxProblem bounds what is read of a refusal, bytes.
const maxProblem = 1 << 20

// refusal is what an answer says that is no success.
func (a *API) refusal(ctx context.Context, resp *http.Response, r Request) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err != nil {
		return fmt.Errorf("ask %s for %s: %s: %w", a.name, path(r.Path), resp.Status, err)
	}
	var found struct {
		Detail string  `json:"detail"`
		Errors []Field `json:"errors"`
	}
	p := &Problem{Status: resp.StatusCode}
	if json.Unmarshal(text, &found) == nil && found.Detail != "" {
		p.Detail, p.Fields = found.Detail, found.Errors
	} else {
		p.Detail = fmt.Sprintf("ask %s for %s: %s: %s", a.name, path(r.Path), resp.Status, strings.TrimSpace(string(text[:min(len(text), 2000)])))
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		p.Hint = a.unknown()
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		p.Hint = fmt.Sprintf("it redirects to %q: name that as --server if you trust it", resp.Header.Get("Location"))
	case resp.StatusCode == http.StatusBadRequest && strings.Contains(string(text), "HTTP request to an HTTPS server"):
		p.Detail, p.Hint = fmt.Sprintf("%s speaks TLS, and was asked without", a.name), "write https://"+strings.TrimPrefix(a.base, "http://")
	case resp.StatusCode == http.StatusMisdirectedRequest:
		p.Hint = "the server is to be reached by another name: api.names of its configuration"
	case (resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusMethodNotAllowed) && found.Detail == "":
		p.Status = http.StatusNotImplemented // no such request, which is another thing than no such object
		p.Detail = fmt.Sprintf("%s knows no request %s %s%s", a.name, firstOf(r.Method, http.MethodGet), path(r.Path), a.versions(ctx))
	case resp.StatusCode == http.StatusUnprocessableEntity || resp.StatusCode == http.StatusBadRequest:
		p.Hint = strings.TrimPrefix(a.versions(ctx), ": ")
	}
	return p
}

// unknown says what to do for who is not known.
func (a *API) unknown() string {
	switch {
	case a.local != nil:
		return a.login
	case a.token == "":
		return fmt.Sprintf("you are not logged in at %s: %s", a.name, a.login)
	case !a.expires.IsZero() && time.Now().After(a.expires):
		return fmt.Sprintf("your token for %s ended on %s: %s", a.name, a.expires.Local().Format(time.DateTime), a.login)
	default:
		return fmt.Sprintf("your token for %s is none any more: %s", a.name, a.login)
	}
}

// versions says which versions server and program have, unless they have the same or it is not known; it begins with a colon.
func (a *API) versions(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+"/api/v1/openapi.json", http.NoBody)
	if err != nil {
		return ""
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var document struct {
		Info struct {
			Version string `json:"version"`
		} `json:"info"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&document)
	if theirs := document.Info.Version; err == nil && resp.StatusCode == http.StatusOK && theirs != "" && theirs != a.version {
		return fmt.Sprintf(": it is Weir %.64q, and this command is of %q: use one of the same version", theirs, a.version)
	}
	return ""
}

// CertificateError is of a server whose certificate is not believed.
type CertificateError struct {
	Server string              // HOST:PORT
	Chain  []*x509.Certificate // what it presents, its own first; never empty
	Err    error
}

func (e *CertificateError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s presents a certificate that is not believed: %v\n", e.Server, e.Err)
	c, what := e.Best()
	fmt.Fprintf(&b, "  %-12s %s\n  %-12s %s\n  %-12s %s to %s\n  %-12s %s\n", "certificate", e.Chain[0].Subject, what, c.Subject,
		"valid", e.Chain[0].NotBefore.Format(time.DateOnly), e.Chain[0].NotAfter.Format(time.DateOnly), "fingerprint", ovsdb.FingerprintOf(c))
	if name, ok := errors.AsType[x509.HostnameError](e.Err); ok {
		fmt.Fprintf(&b, "it is not for the name %q: use one that it is for, or have it added to api.names at the server", name.Host)
		return b.String()
	}
	if !e.Unknown() {
		b.WriteString("the certificate has to be put right at the server (api.tls)")
		return b.String()
	}
	fmt.Fprintf(&b, "compare the fingerprint, which is of the %s, with weir ca show at the server; then: weir login %s --fingerprint %s", what, e.Server, ovsdb.FingerprintOf(c))
	return b.String()
}

func (e *CertificateError) Unwrap() error { return e.Err }

// Unknown tells whether a person could say that the certificate is right.
func (e *CertificateError) Unknown() bool {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](e.Err)
	return unknown || errors.Is(e.Err, errOther)
}

// errOther is of a certificate that is not the one that was confirmed.
var errOther = errors.New("it is another one than was confirmed")

// Best is the certificate that is best believed from then on, and what it is: that of the authority, if the server presents it and it has signed the
// server's, since that one stays; else the server's own.
func (e *CertificateError) Best() (c *x509.Certificate, what string) {
	for _, c := range e.Chain[1:] {
		if c.IsCA && e.Chain[0].CheckSignatureFrom(c) == nil {
			return c, "authority"
		}
	}
	return e.Chain[0], "server"
}

// unreached says why there was no answer.
func (a *API) unreached(err error) error {
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	if asked, ok := errors.AsType[*url.Error](err); ok {
		err = asked.Err // without the URL, which is long and known
	}
	switch {
	case errors.As(err, &verification) && len(verification.UnverifiedCertificates) > 0:
		return &CertificateError{strings.TrimPrefix(a.base, "https://"), verification.UnverifiedCertificates, verification.Err}
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("ask %s: it does not speak TLS: %w", a.name, err)
	default:
		return fmt.Errorf("ask %s: %w", a.name, err)
	}
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
