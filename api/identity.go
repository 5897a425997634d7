package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weirhq/weir/api/account"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/state"
)

// Refusals keeps what was asked for and not done, as *state.State does.
type Refusals interface {
	RecordRefusal(ctx context.Context, by audit.Act, object string, outcome audit.Outcome, why string) error
}

// entry is what is known of a request.
type entry struct {
	identity account.Identity
	refused  error       // why the credentials that were presented are none; one of the store, or ErrDenied
	actor    audit.Actor // who asks, for what is written down
	cookie   string      // that was presented
	csrf     string      // the header
	secure   bool        // it came by TLS

	// again finds out anew who presents what was presented, for what has no end; nil: that does not change.
	again func(ctx context.Context) (account.Identity, error)

	// Of what is not done.
	object string
	why    string
}

type entryKey struct{}

// entryOf returns what is known of the request of a context.
func entryOf(ctx context.Context) *entry {
	e, ok := ctx.Value(entryKey{}).(*entry)
	if !ok {
		panic("BUG: a request without identity")
	}
	return e
}

// asks is the user who asks.
func asks(ctx context.Context) account.Identity { return entryOf(ctx).identity }

// who is who asks, for what is written down.
func who(ctx context.Context) audit.Actor { return entryOf(ctx).actor }

// Names of headers and cookies. A browser takes a cookie with the prefix __Host- only by TLS, from the host itself, for all of it.
const (
	requestHeader = "X-Request-Id"
	csrfHeader    = "X-Csrf-Token"
	plainCookie   = "weir_session"
	secureCookie  = "__Host-weir_session"
)

func cookieName(secure bool) string {
	if secure {
		return secureCookie
	}
	return plainCookie
}

// newEntry returns an entry, with an id that the answer tells.
func newEntry(w http.ResponseWriter, r *http.Request) *entry {
	var id [8]byte
	_, _ = rand.Read(id[:]) // it never fails
	e := &entry{secure: r.TLS != nil, csrf: r.Header.Get(csrfHeader)}
	e.actor.Request = hex.EncodeToString(id[:])
	w.Header().Set(requestHeader, e.actor.Request)
	return e
}

// is notes who asks.
func (e *entry) is(i account.Identity, source string) {
	e.identity = i
	e.actor.User, e.actor.Role, e.actor.Via, e.actor.Token, e.actor.Source = i.User, string(i.Role), i.Via, i.Token, source
}

// identified finds out who asks over TCP.
func (s *Server) identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := newEntry(w, r)
		i, err := s.identity(r, e)
		e.refused = err
		e.is(i, sourceOf(r))
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), entryKey{}, e)))
	})
}

// sourceOf is the address that asks.
func sourceOf(r *http.Request) string {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return a.Addr().Unmap().String()
}

// identity says who asks by what a request presents. Nobody has no role.
func (s *Server) identity(r *http.Request, e *entry) (account.Identity, error) {
	nobody := account.Identity{Via: audit.ViaNobody}
	if s.deps.Accounts == nil { // on loopback, reads only
		nobody.Role = account.Viewer
		return nobody, nil
	}
	if c, err := r.Cookie(cookieName(e.secure)); err == nil {
		e.cookie = c.Value
	}
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return nobody, &account.DeniedError{Reason: fmt.Sprintf("authorization %.20q: want Bearer and a token", scheme)}
		}
		e.again = func(ctx context.Context) (account.Identity, error) {
			return known(s.deps.Accounts.ByToken(ctx, strings.TrimSpace(token)))
		}
		return e.again(r.Context())
	}
	if e.cookie != "" {
		e.again = func(ctx context.Context) (account.Identity, error) {
			return known(s.deps.Accounts.BySession(ctx, e.cookie))
		}
		return e.again(r.Context())
	}
	if s.trusts(r) {
		nobody.Role = account.Viewer
	}
	return nobody, nil
}

// known is the answer of accounts, where who is not known is nobody.
func known(i account.Identity, err error) (account.Identity, error) {
	if err != nil {
		i = account.Identity{Via: audit.ViaNobody}
	}
	return i, err
}

// trusts tells whether who asks may look without saying who he is: on this machine, not by way of a proxy that speaks for others.
func (s *Server) trusts(r *http.Request) bool {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	forwarded := r.Header.Get("Forwarded") + r.Header.Get("X-Forwarded-For") + r.Header.Get("X-Real-Ip") + r.Header.Get("Via")
	return s.config.LocalReads && err == nil && remote.Addr().Unmap().IsLoopback() && loopbackListener(s.deps.Listener) && loopback(hostOf(r)) && forwarded == ""
}

func loopbackListener(l net.Listener) bool {
	a, err := netip.ParseAddrPort(l.Addr().String())
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// hostOf is the host that a request names, without its port.
func hostOf(r *http.Request) string {
	if h, _, err := net.SplitHostPort(r.Host); err == nil {
		return h
	}
	return r.Host
}

// local says of who asks over the admin socket that he is the superuser of the machine, whatever he presents.
func local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		e := newEntry(w, r)
		e.is(account.Identity{User: peerOf(r.Context()), Role: account.Superuser, Via: audit.ViaSocket}, "socket")
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), entryKey{}, e)))
	})
}

// allowed says why who asks may not do something, or nil. The error is that of an answer.
func (s *Server) allowed(e *entry, p account.Permission) error {
	if e.refused != nil {
		var denied *account.DeniedError
		switch {
		case p.Least == "": // who logs in may have an old cookie
		case errors.As(e.refused, &denied), errors.Is(e.refused, account.ErrDenied):
			return huma.Error401Unauthorized(e.refused.Error())
		default:
			s.deps.Log.Error("who asks not found out", "err", e.refused)
			return huma.Error503ServiceUnavailable(e.refused.Error())
		}
	}
	i := &e.identity
	if i.Via == audit.ViaSession && p.Change != "" && p.Least != "" && subtle.ConstantTimeCompare([]byte(e.csrf), []byte(i.CSRF)) != 1 {
		return huma.Error403Forbidden("found no "+csrfHeader+", or not that of the session: want csrf of GET /api/v1/session",
			&huma.ErrorDetail{Location: "header." + csrfHeader, Message: "want csrf of the session"})
	}
	if i.Via == audit.ViaNobody && p.Least != "" && (p.Change != "" || !i.Role.Includes(p.Least) || p.Area == account.AreaAccounts) {
		return huma.Error401Unauthorized("want a session, or a token as Authorization: Bearer")
	}
	if err := i.May(p); err != nil {
		return huma.Error403Forbidden(err.Error())
	}
	return nil
}

// authorize lets an operation be done by who may, and writes down what was asked to be changed and is not.
func (s *Server) authorize(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(c huma.Context, next func(huma.Context)) {
		op := c.Operation()
		p, ok := operations[op.OperationID]
		if !ok { // the document itself, and its schemas
			next(c)
			return
		}
		e := entryOf(c.Context())
		if err := s.allowed(e, p); err != nil {
			var status huma.StatusError
			if !errors.As(err, &status) {
				panic("BUG: a refusal without status")
			}
			if status.GetStatus() == http.StatusUnauthorized {
				c.SetHeader("WWW-Authenticate", `Bearer realm="weir"`)
			}
			e.why = err.Error()
			s.write(api, c, status)
			s.deps.Log.Info("request refused", "operation", op.OperationID, "by", e.actor.User, "source", e.actor.Source, "request", e.actor.Request, "err", err)
		} else {
			next(c)
		}
		if p.Change != "" && c.Status() >= http.StatusBadRequest {
			s.notDone(c, e, p)
		}
	}
}

// notDone writes down what was asked to be changed and is not. Of who is not known it is that he could not log in.
func (s *Server) notDone(c huma.Context, e *entry, p account.Permission) {
	status := c.Status()
	if e.identity.Via == audit.ViaNobody && (p.Least != "" || status == http.StatusTooManyRequests) || s.deps.Refusals == nil {
		return
	}
	outcome := audit.Refused
	if status >= http.StatusInternalServerError {
		outcome = audit.Failed
	}
	why := cmp.Or(e.why, http.StatusText(status))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), 10*time.Second)
	defer cancel()
	if err := s.deps.Refusals.RecordRefusal(ctx, e.actor.Does(p.Change), e.object, outcome, why); err != nil {
		s.deps.Log.Error("what was not done is not written down", "operation", string(p.Change), "by", e.actor.User, "why", why, "err", err)
	}
}

// still tells whether who asked may go on with an operation that has no end. While that cannot be found out, he may.
func (e *entry) still(ctx context.Context, p account.Permission) bool {
	if e.again == nil {
		return true
	}
	i, err := e.again(ctx)
	if err != nil {
		return !errors.Is(err, account.ErrDenied)
	}
	return i.May(p) == nil
}

// write writes a refusal as an answer.
func (s *Server) write(api huma.API, c huma.Context, refusal huma.StatusError) {
	detail := refusal.Error()
	var errs []error
	if model, ok := errors.AsType[*huma.ErrorModel](refusal); ok {
		detail = model.Detail
		for _, d := range model.Errors {
			errs = append(errs, d)
		}
	}
	if err := huma.WriteErr(api, c, refusal.GetStatus(), detail, errs...); err != nil {
		s.deps.Log.Debug("refusal not written", "err", err) // the client is gone
	}
}

// accountRefusal is the answer to what accounts did not do; nil to what they did.
func (s *Server) accountRefusal(err error) error {
	var mistake *account.MistakeError
	var throttled *account.ThrottledError
	var denied *account.DeniedError
	var status huma.StatusError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &status):
		return err
	case errors.As(err, &mistake):
		return huma.Error422UnprocessableEntity(mistake.Error(), &huma.ErrorDetail{Location: "body." + mistake.Field, Message: mistake.Reason})
	case errors.As(err, &throttled):
		return huma.ErrorWithHeaders(huma.Error429TooManyRequests(err.Error()), http.Header{"Retry-After": {fmt.Sprint(int(throttled.Wait.Seconds()) + 1)}})
	case errors.As(err, &denied):
		return huma.Error403Forbidden(err.Error())
	case errors.Is(err, account.ErrDenied):
		return huma.Error401Unauthorized(err.Error())
	case errors.Is(err, account.ErrBusy):
		return huma.ErrorWithHeaders(huma.Error429TooManyRequests(err.Error()), http.Header{"Retry-After": {"1"}})
	case errors.Is(err, state.ErrFull):
		return huma.Error409Conflict(err.Error())
	default:
		return s.refusal(err)
	}
}
