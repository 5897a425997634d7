package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weirhq/weir/api/account"
)

// Session says who is logged in.
type Session struct {
	User    string          `json:"user" doc:"Empty: nobody, who may look since he is on this machine."`
	Role    account.Role    `json:"role" enum:"superuser,operator,viewer"`
	Via     string          `json:"via" doc:"session, token, socket or nobody."`
	OneTime bool            `json:"one_time" doc:"The password is for one time: it has to be changed before anything else is done."`
	CSRF    string          `json:"csrf,omitempty" doc:"Of a session: requests that change something send it as X-Csrf-Token."`
	Scopes  []account.Scope `json:"scopes,omitempty" doc:"What the token may be used for."`
	Expires time.Time       `json:"expires,omitzero" doc:"Of a new session, unless it is used."`
}

func sessionOf(i *account.Identity) Session {
	return Session{User: i.User, Role: i.Role, Via: string(i.Via), OneTime: i.OneTime, CSRF: i.CSRF, Scopes: i.Scopes}
}

// cookie is an answer with a cookie.
type cookieBody struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
	Body      Session
}

// newCookie is the cookie of a session. It has no end of its own: the server's counts.
func newCookie(secure bool, value string) http.Cookie {
	return http.Cookie{Name: cookieName(secure), Value: value, Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode}
}

type loginInput struct {
	UserAgent string `header:"User-Agent"`
	Body      struct {
		User     string `json:"user" minLength:"1" maxLength:"64"`
		Password string `json:"password" minLength:"1" maxLength:"1024"`
	}
}

type passwordInput struct {
	Body struct {
		Former   string `json:"former" maxLength:"1024" doc:"The password that you have."`
		Password string `json:"password" minLength:"1" maxLength:"1024" doc:"At least 12 characters, without the user's name."`
	}
}

// sessionRoutes are for who logs in.
func (s *Server) sessionRoutes(api huma.API) {
	a := s.deps.Accounts
	change(s, api, huma.Operation{
		OperationID: "login", Method: http.MethodPost, Path: "/api/v1/session", Tags: []string{"accounts"},
		Summary: "Log in with a password", MaxBodyBytes: 8 << 10, Errors: []int{http.StatusUnauthorized, http.StatusTooManyRequests},
		Description: "Answers with a new cookie, always, and ends the session of the cookie that was sent. Programs use tokens instead.",
	}, func(_ context.Context, in *loginInput) (subject, error) {
		return subject{object: in.Body.User}, nil
	}, func(ctx context.Context, in *loginInput) (*cookieBody, error) {
		e := entryOf(ctx)
		l, err := a.Login(ctx, account.Attempt{By: e.actor, User: in.Body.User, Password: in.Body.Password, Agent: in.UserAgent, Cookie: e.cookie})
		if err != nil {
			return nil, s.accountRefusal(err)
		}
		answer := sessionOf(&l.Identity)
		answer.Expires = l.Expires
		return &cookieBody{newCookie(e.secure, l.Cookie), answer}, nil
	})
	read(api, huma.Operation{
		OperationID: "get-session", Method: http.MethodGet, Path: "/api/v1/session", Tags: []string{"accounts"}, Summary: "Who you are",
	}, func(ctx context.Context, _ *struct{}) (*body[Session], error) {
		i := asks(ctx)
		return &body[Session]{sessionOf(&i)}, nil
	})
	change(s, api, huma.Operation{
		OperationID: "logout", Method: http.MethodDelete, Path: "/api/v1/session", Tags: []string{"accounts"},
		Summary: "Log out", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, _ *struct{}) (subject, error) {
		return subject{object: who(ctx).User}, nil
	}, func(ctx context.Context, _ *struct{}) (*struct {
		SetCookie http.Cookie `header:"Set-Cookie"`
	}, error,
	) {
		e := entryOf(ctx)
		if e.identity.Session == "" {
			return nil, huma.Error409Conflict("this is no session: a token is removed by DELETE /api/v1/tokens/ID")
		}
		if err := a.Logout(ctx, e.actor, e.identity); err != nil {
			return nil, s.accountRefusal(err)
		}
		gone := newCookie(e.secure, "")
		gone.MaxAge = -1
		return &struct {
			SetCookie http.Cookie `header:"Set-Cookie"`
		}{gone}, nil
	})
	change(s, api, huma.Operation{
		OperationID: "change-password", Method: http.MethodPut, Path: "/api/v1/session/password", Tags: []string{"accounts"},
		Summary: "Change your own password", DefaultStatus: http.StatusNoContent, MaxBodyBytes: 8 << 10, Errors: []int{http.StatusTooManyRequests},
		Description: "All other sessions of yours end; tokens stay.",
	}, func(ctx context.Context, _ *passwordInput) (subject, error) {
		return subject{object: who(ctx).User}, nil
	}, func(ctx context.Context, in *passwordInput) (*struct{}, error) {
		e := entryOf(ctx)
		if e.identity.Session == "" {
			return nil, huma.Error409Conflict("this is no session: log in to change your password")
		}
		err := a.ChangePassword(ctx, e.actor, in.Body.Former, in.Body.Password, e.cookie)
		return nil, s.accountRefusal(err)
	})
}
