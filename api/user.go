package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weirhq/weir/api/account"
	"github.com/weirhq/weir/policyd/state"
)

// UserWanted is what a user is to be.
type UserWanted struct {
	Role     account.Role `json:"role" enum:"superuser,operator,viewer"`
	Disabled bool         `json:"disabled,omitempty" doc:"Whatever he presents is refused."`
	Comment  string       `json:"comment,omitempty" maxLength:"1000"`
}

// User is somebody who may use Weir.
type User struct {
	Name string `json:"name"`
	UserWanted
	OneTime  bool      `json:"one_time" doc:"His password is for one time, and was not changed yet."`
	Password bool      `json:"password" doc:"He has a password."`
	Created  time.Time `json:"created"`
	Seen     time.Time `json:"seen,omitzero" doc:"Last login."`
}

func userOf(u state.User) User {
	return User{u.Name, UserWanted{account.Role(u.Role), u.Disabled, u.Comment}, u.OneTime, u.Password != "", u.Created, u.Seen}
}

// userState is what of a user can be changed: his entity tag is of it.
type userState struct {
	Name    string `json:"name"`
	Version uint64 `json:"version"`
	UserWanted
}

func userStateOf(u state.User) any {
	if u.Version == 0 {
		return nil
	}
	return userState{u.Name, u.Version, userOf(u).UserWanted}
}

// UserPath names a user.
type UserPath struct {
	User string `path:"user" maxLength:"64" doc:"Name of the user."`
}

type setUserInput struct {
	UserPath
	Match
	Body UserWanted
}

type removeUserInput struct {
	UserPath
	Match
}

type resetInput struct {
	UserPath
	Body struct {
		Password string `json:"password,omitempty" maxLength:"1024" doc:"Empty: a random one."`
	} `required:"false"`
}

type resetBody struct {
	Password string `json:"password" doc:"For one time: it has to be changed at the next login. It is told nowhere else."`
}

type usersBody struct {
	Users []User `json:"users" doc:"By name."`
	Page
}

// userState reads a user for entity tag and record.
func (s *Server) userState(ctx context.Context, name string) (any, error) {
	u, err := s.deps.Accounts.User(ctx, name)
	if errors.Is(err, state.ErrNotFound) {
		return nil, errNone
	}
	return userStateOf(u), err
}

// userRoutes are users, their tokens and sessions.
func (s *Server) userRoutes(api huma.API) {
	a := s.deps.Accounts
	read(api, huma.Operation{
		OperationID: "list-users", Method: http.MethodGet, Path: "/api/v1/users", Tags: []string{"accounts"}, Summary: "Users",
	}, func(ctx context.Context, q *PageQuery) (*body[usersBody], error) {
		list, err := a.Users(ctx)
		if err != nil {
			return nil, s.accountRefusal(err)
		}
		page, next, err := paginate(list, q, func(u state.User) string { return u.Name })
		answer := usersBody{Users: make([]User, len(page)), Page: next}
		for i, u := range page {
			answer.Users[i] = userOf(u)
		}
		return &body[usersBody]{answer}, err
	})
	read(api, huma.Operation{
		OperationID: "get-user", Method: http.MethodGet, Path: "/api/v1/users/{user}", Tags: []string{"accounts"}, Summary: "One user",
	}, func(ctx context.Context, p *UserPath) (*taggedBody[User], error) {
		u, err := a.User(ctx, p.User)
		if err != nil {
			return nil, s.accountRefusal(err)
		}
		return &taggedBody[User]{Tag{entityTag(userStateOf(u))}, userOf(u)}, nil
	})
	change(s, api, huma.Operation{
		OperationID: "set-user", Method: http.MethodPut, Path: "/api/v1/users/{user}", Tags: []string{"accounts"},
		Summary: "Make a user, or change his role", Errors: []int{http.StatusConflict, http.StatusPreconditionFailed},
		Description: "Who is new cannot log in before he has a password. Who gets another role, or is disabled, is logged out.",
	}, func(_ context.Context, in *setUserInput) (subject, error) {
		return subject{object: in.User, read: func(ctx context.Context) (any, error) { return s.userState(ctx, in.User) }}, nil
	}, func(ctx context.Context, in *setUserInput) (*taggedBody[User], error) {
		_, after, err := a.SetUser(ctx, who(ctx), in.User, account.Wanted{Role: in.Body.Role, Disabled: in.Body.Disabled, Comment: in.Body.Comment})
		if err != nil {
			return nil, s.accountRefusal(err)
		}
		return &taggedBody[User]{Body: userOf(after)}, nil
	})
	change(s, api, huma.Operation{
		OperationID: "remove-user", Method: http.MethodDelete, Path: "/api/v1/users/{user}", Tags: []string{"accounts"},
		Summary: "Remove a user, with his tokens", DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound, http.StatusPreconditionFailed},
	}, func(_ context.Context, in *removeUserInput) (subject, error) {
		return subject{object: in.User, read: func(ctx context.Context) (any, error) { return s.userState(ctx, in.User) }}, nil
	}, func(ctx context.Context, in *removeUserInput) (*struct{}, error) {
		return nil, s.accountRefusal(a.RemoveUser(ctx, who(ctx), in.User))
	})
	change(s, api, huma.Operation{
		OperationID: "reset-password", Method: http.MethodPost, Path: "/api/v1/users/{user}/password", Tags: []string{"accounts"},
		Summary: "Give a user a password for one time", MaxBodyBytes: 8 << 10, Errors: []int{http.StatusNotFound, http.StatusTooManyRequests},
		Description: "All his sessions end; tokens stay. Who has lost the last superuser's asks over the admin socket, on the machine.",
	}, func(_ context.Context, in *resetInput) (subject, error) {
		return subject{object: in.User}, nil
	}, func(ctx context.Context, in *resetInput) (*body[resetBody], error) {
		password, err := a.SetPassword(ctx, who(ctx), in.User, in.Body.Password)
		if err != nil {
			return nil, s.accountRefusal(err)
		}
		return &body[resetBody]{resetBody{password}}, nil
	})
	s.tokenRoutes(api)
	s.userSessionRoutes(api)
}

// mine says no to who asks about somebody else, unless he is a superuser.
func mine(ctx context.Context, user string) error {
	if i := asks(ctx); i.User != user && !i.Role.Includes(account.Superuser) {
		return huma.Error403Forbidden(fmt.Sprintf("found role %s, want %s for what is of somebody else", i.Role, account.Superuser))
	}
	return nil
}

// Token is a token, without what is presented.
type Token struct {
	ID      string          `json:"id" doc:"Its first part."`
	User    string          `json:"user" doc:"Whose it is: it can do no more than he may."`
	Name    string          `json:"name"`
	Scopes  []account.Scope `json:"scopes"`
	Created time.Time       `json:"created"`
	Expires time.Time       `json:"expires"`
	Expired bool            `json:"expired,omitempty"`
	Used    time.Time       `json:"used,omitzero" doc:"Last time, within a minute."`
}

func tokenOf(t state.Token) Token {
	x := Token{t.ID, t.User, t.Name, []account.Scope{}, t.Created, t.Expires, !time.Now().Before(t.Expires), t.Used}
	for _, s := range t.Scopes {
		x.Scopes = append(x.Scopes, account.Scope(s))
	}
	return x
}

type newToken struct {
	Token
	Secret string `json:"secret" doc:"What is presented, as Authorization: Bearer. It is told nowhere else."`
}

type tokensBody struct {
	Tokens []Token `json:"tokens" doc:"By user and name."`
	Page
}

type addTokenInput struct {
	Body struct {
		User    string          `json:"user,omitempty" maxLength:"64" doc:"Whose it is; empty: yours."`
		Name    string          `json:"name" minLength:"1" maxLength:"64" doc:"For people; small letters, digits, dots, hyphens, underscores."`
		Scopes  []account.Scope `json:"scopes" minItems:"1" maxItems:"32" doc:"What it may be used for: an area, or all, and :read or :write, which includes reading."`
		Expires time.Time       `json:"expires" doc:"At most 366 days from now."`
	}
}

type tokenPath struct {
	ID string `path:"id" maxLength:"64" doc:"Id of the token."`
}

// token returns a token that who asks may see.
func (s *Server) token(ctx context.Context, id string) (state.Token, error) {
	t, err := s.deps.Accounts.Token(ctx, id)
	if err != nil {
		return t, s.accountRefusal(err)
	}
	if mine(ctx, t.User) != nil { // of others' it is not said whether they are there
		return t, huma.Error404NotFound(fmt.Sprintf("find token %q: %v", id, state.ErrNotFound))
	}
	return t, nil
}

func (s *Server) tokenRoutes(api huma.API) {
	a := s.deps.Accounts
	read(api, huma.Operation{
		OperationID: "list-tokens", Method: http.MethodGet, Path: "/api/v1/tokens", Tags: []string{"accounts"},
		Summary: "Your tokens; all of them, for a superuser",
	}, func(ctx context.Context, q *struct {
		PageQuery
		User string `query:"user" maxLength:"64" doc:"Of this user."`
	},
	) (*body[tokensBody], error) {
		user := q.User
		if i := asks(ctx); !i.Role.Includes(account.Superuser) {
			if user = cmp.Or(user, i.User); user != i.User {
				return nil, mine(ctx, user)
			}
		}
		list, err := a.Tokens(ctx, user)
		if err != nil {
			return nil, s.accountRefusal(err)
		}
		page, next, err := paginate(list, &q.PageQuery, func(t state.Token) string { return t.User + "/" + t.Name })
		answer := tokensBody{Tokens: make([]Token, len(page)), Page: next}
		for i, t := range page {
			answer.Tokens[i] = tokenOf(t)
		}
		return &body[tokensBody]{answer}, err
	})
	read(api, huma.Operation{
		OperationID: "get-token", Method: http.MethodGet, Path: "/api/v1/tokens/{id}", Tags: []string{"accounts"}, Summary: "One token",
	}, func(ctx context.Context, p *tokenPath) (*body[Token], error) {
		t, err := s.token(ctx, p.ID)
		return &body[Token]{tokenOf(t)}, err
	})
	change(s, api, huma.Operation{
		OperationID: "add-token", Method: http.MethodPost, Path: "/api/v1/tokens", Tags: []string{"accounts"},
		Summary: "Make a token", DefaultStatus: http.StatusCreated, Errors: []int{http.StatusNotFound, http.StatusConflict},
	}, func(ctx context.Context, in *addTokenInput) (subject, error) {
		in.Body.User = cmp.Or(in.Body.User, who(ctx).User)
		return subject{object: in.Body.User + "/" + in.Body.Name}, mine(ctx, in.Body.User)
	}, func(ctx context.Context, in *addTokenInput) (*body[newToken], error) {
		b := &in.Body
		t, secret, err := a.AddToken(ctx, who(ctx), asks(ctx), b.User, b.Name, b.Scopes, b.Expires)
		if err != nil {
			return nil, s.accountRefusal(err)
		}
		return &body[newToken]{newToken{tokenOf(t), secret}}, nil
	})
	change(s, api, huma.Operation{
		OperationID: "remove-token", Method: http.MethodDelete, Path: "/api/v1/tokens/{id}", Tags: []string{"accounts"},
		Summary: "Remove a token", DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, p *tokenPath) (subject, error) {
		t, err := s.token(ctx, p.ID)
		if err != nil {
			return subject{object: p.ID}, err
		}
		return subject{object: t.User + "/" + t.Name}, nil
	}, func(ctx context.Context, p *tokenPath) (*struct{}, error) {
		return nil, s.accountRefusal(a.RemoveToken(ctx, who(ctx), p.ID))
	})
}

// UserSession is a session of a user.
type UserSession struct {
	ID      string    `json:"id"`
	Own     bool      `json:"own,omitempty" doc:"It is the one that asks."`
	Source  string    `json:"source" doc:"Address of the login."`
	Agent   string    `json:"agent,omitempty" doc:"What the browser says it is."`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used" doc:"Last time, within a minute."`
	Expires time.Time `json:"expires" doc:"Unless it is used."`
}

type userSessionsBody struct {
	Sessions []UserSession `json:"sessions" doc:"The newest first."`
}

type sessionPath struct {
	UserPath
	ID string `path:"id" maxLength:"64" doc:"Id of the session."`
}

func (s *Server) userSessionRoutes(api huma.API) {
	a := s.deps.Accounts
	read(api, huma.Operation{
		OperationID: "list-sessions", Method: http.MethodGet, Path: "/api/v1/users/{user}/sessions", Tags: []string{"accounts"}, Summary: "Sessions of a user",
	}, func(ctx context.Context, p *UserPath) (*body[userSessionsBody], error) {
		if err := mine(ctx, p.User); err != nil {
			return nil, err
		}
		list, err := a.Sessions(ctx, p.User)
		if err != nil {
			return nil, s.accountRefusal(err)
		}
		answer := userSessionsBody{Sessions: []UserSession{}}
		own := asks(ctx).Session
		for _, x := range list {
			answer.Sessions = append(answer.Sessions, UserSession{x.ID, x.ID == own, x.Source, x.Agent, x.Created, x.Used, x.Expires})
		}
		return &body[userSessionsBody]{answer}, nil
	})
	change(s, api, huma.Operation{
		OperationID: "end-session", Method: http.MethodDelete, Path: "/api/v1/users/{user}/sessions/{id}", Tags: []string{"accounts"},
		Summary: "End a session of a user", DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, p *sessionPath) (subject, error) {
		return subject{object: p.User}, mine(ctx, p.User)
	}, func(ctx context.Context, p *sessionPath) (*struct{}, error) {
		return nil, s.accountRefusal(a.EndSession(ctx, who(ctx), p.User, p.ID))
	})
}

// PageQuery are the parameters of a list that is told in pages.
type PageQuery struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"At most so many."`
	Cursor string `query:"cursor" maxLength:"700" doc:"Go on after the page whose next it was."`
}

// WholeQuery are the parameters of a list that is told as a whole unless pages are asked for.
type WholeQuery struct {
	Limit  int    `query:"limit" minimum:"0" maximum:"1000" doc:"At most so many; 0 is all."`
	Cursor string `query:"cursor" maxLength:"700" doc:"Go on after the page whose next it was."`
}

// Page says how a list goes on.
type Page struct {
	Next string `json:"next,omitempty" doc:"Cursor of the next page; absent: this is the last."`
}

// paginate returns the page of a list that is asked for. Key is unique; a page goes on after the key of the last one's end, also if that is no more.
func paginate[T any](list []T, q *PageQuery, key func(T) string) ([]T, Page, error) {
	after, err := decodeCursor(q.Cursor)
	if err != nil {
		return nil, Page{}, wrong("cursor", err)
	}
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	if q.Cursor != "" {
		i, found := slices.BinarySearchFunc(list, after, func(v T, after string) int { return strings.Compare(key(v), after) })
		if found {
			i++
		}
		list = list[i:]
	}
	if q.Limit == 0 || len(list) <= q.Limit {
		return list, Page{}, nil
	}
	list = list[:q.Limit]
	return list, Page{encodeCursor(key(list[len(list)-1]))}, nil
}
