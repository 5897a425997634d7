package client

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/weirhq/weir/ovs/ovsdb"
)

// Session is a person who is logged in by a password, for as long as it takes to make a token.
type Session struct {
	User    string `json:"user"`
	Role    string `json:"role"`
	OneTime bool   `json:"one_time"` // the password has to be changed before anything else is done
	CSRF    string `json:"csrf"`

	api    *API
	cookie string
}

// Login begins a session. A wrong password is a *Problem that is ErrRefused.
func (a *API) Login(ctx context.Context, user, password string) (*Session, error) {
	s := &Session{api: &API{}}
	*s.api = *a
	s.api.token = ""
	answer, err := s.api.Send(ctx, Request{
		Method: http.MethodPost, Path: "/api/v1/session", Body: map[string]string{"user": user, "password": password}, Into: s, Timeout: readTimeout,
	})
	if err != nil {
		if p, ok := errors.AsType[*Problem](err); ok {
			p.Hint = "" // it is not to log in
		}
		return nil, fmt.Errorf("log in at %s as %q: %w", a.name, user, err)
	}
	for _, c := range (&http.Response{Header: answer.Header}).Cookies() {
		s.cookie = c.Name + "=" + c.Value
	}
	return s, nil
}

func (s *Session) send(ctx context.Context, method, path string, body, into any) error {
	_, err := s.api.Send(ctx, Request{
		Method: method, Path: path, Body: body, Into: into, Timeout: readTimeout, Header: http.Header{"Cookie": {s.cookie}, "X-Csrf-Token": {s.CSRF}},
	})
	return err
}

// ChangePassword replaces the password of who is logged in.
func (s *Session) ChangePassword(ctx context.Context, former, password string) error {
	if err := s.send(ctx, http.MethodPut, "/api/v1/session/password", map[string]string{"former": former, "password": password}, nil); err != nil {
		return fmt.Errorf("change password: %w", err)
	}
	s.OneTime = false
	return nil
}

// Token makes a token of who is logged in.
func (s *Session) Token(ctx context.Context, name string, scopes []string, expires time.Time) (secret string, err error) {
	var made struct {
		Secret string `json:"secret"`
	}
	if err := s.send(ctx, http.MethodPost, "/api/v1/tokens", map[string]any{"name": name, "scopes": scopes, "expires": expires.UTC()}, &made); err != nil {
		return "", fmt.Errorf("make token: %w", err)
	}
	return made.Secret, nil
}

// End logs out.
func (s *Session) End(ctx context.Context) error {
	return s.send(ctx, http.MethodDelete, "/api/v1/session", nil, nil)
}

// Session says who a is to its server.
func (a *API) Session(ctx context.Context) (*Session, error) {
	s := &Session{}
	err := a.Get(ctx, "/api/v1/session", s)
	return s, err
}

// With returns the same API asked with another token.
func (a *API) With(token string) *API {
	b := *a
	b.token, b.expires = token, time.Time{}
	return &b
}

// Known returns nil if the server answers and is believed; nothing that is secret is sent. Else it is a *CertificateError, or says why there is no answer.
func (a *API) Known(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readTimeout, fmt.Errorf("no answer in %s", readTimeout))
	defer cancel()
	r := Request{Path: "/healthz"}
	req, err := a.With("").request(ctx, r)
	if err != nil {
		return err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return a.unreached(cause(ctx, err))
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusServiceUnavailable { // 503: flows are not stored
		return nil
	}
	return a.refusal(ctx, resp, r)
}

// TokenID is the id of a token, which is no secret; "" if it is none of Weir's.
func TokenID(token string) string {
	rest, ok := strings.CutPrefix(token, "weir_")
	id, _, whole := strings.Cut(rest, "_")
	if !ok || !whole {
		return ""
	}
	return id
}

// Revoke removes the token that a presents.
func (a *API) Revoke(ctx context.Context) error {
	id := TokenID(a.token)
	if id == "" {
		return errors.New("remove token: found none")
	}
	_, err := a.Send(ctx, Request{Method: http.MethodDelete, Path: "/api/v1/tokens/" + url.PathEscape(id), Timeout: readTimeout})
	return err
}

// Presented returns what is believed of a server from then on that presents a chain of certificates, one of which has the fingerprint: that of its
// authority, else the server's own alone. It is an error if none has.
func (e *CertificateError) Presented(fingerprint ovsdb.Fingerprint) (Trust, error) {
	for i, c := range e.Chain {
		switch {
		case ovsdb.FingerprintOf(c) != fingerprint:
		case i == 0:
			return Trust{Fingerprint: fingerprint}, nil
		case c.IsCA:
			return Trust{Authority: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})}, nil
		}
	}
	c, what := e.Best()
	return Trust{}, fmt.Errorf("%s presents no certificate with the fingerprint %s; that of its %s is %s", e.Server, fingerprint, what, ovsdb.FingerprintOf(c))
}
