package account

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/state"
)

// Store keeps users, tokens and sessions, as *state.State does.
type Store interface {
	Users(ctx context.Context) ([]state.User, error)
	User(ctx context.Context, name string) (state.User, error)
	UpdateUser(ctx context.Context, by audit.Act, name string, keep []byte, change func(u *state.User, others []state.User) error) (before, after state.User, err error)
	RemoveUser(ctx context.Context, by audit.Act, name string, check func(u state.User, others []state.User) error) error
	LoggedIn(ctx context.Context, by audit.Act, x state.Session, replaced []byte, password string) error
	Session(ctx context.Context, hash []byte) (state.Session, error)
	Sessions(ctx context.Context, user string) ([]state.Session, error)
	SessionUsed(ctx context.Context, hash []byte, at, expires time.Time) error
	RemoveSession(ctx context.Context, by audit.Act, user, id string) error
	AddToken(ctx context.Context, by audit.Act, t state.Token, limit int) error
	Token(ctx context.Context, id string) (state.Token, error)
	Tokens(ctx context.Context, user string) ([]state.Token, error)
	TokenUsed(ctx context.Context, id string, at time.Time) error
	RemoveToken(ctx context.Context, by audit.Act, id string) error
}

// Deps are what Accounts use and do not own.
type Deps struct {
	Log   *slog.Logger
	Store Store
	Now   func() time.Time // nil: time.Now

	PasswordChanged func(user string) // his former password is none any more; nil: nobody is told
}

// Accounts are the users of Weir. Methods may be called from any goroutine.
type Accounts struct {
	deps     Deps
	throttle throttle
	hashing  *semaphore.Weighted // argon2id takes 64 MiB each time
	nobody   string              // hash of a password that nobody has
}

const (
	sessionIdle = 12 * time.Hour      // after the last request
	sessionLife = 14 * 24 * time.Hour // after the login
	noteEvery   = time.Minute         // uses are noted that often: it is a write to the disk

	maxTokens    = 100 // of a user
	maxTokenLife = 366 * 24 * time.Hour
	maxUsers     = 10_000
	atOnce       = 2 // passwords that are tried at the same time
)

// Errors that callers tell apart.
var (
	ErrDenied  = errors.New("user, password, token or session is not right, or no more")
	ErrBusy    = errors.New("too many passwords are being tried: try again in a moment")
	ErrExpired = fmt.Errorf("it has expired: %w", ErrDenied)
)

// MistakeError says what is wrong with what was asked.
type MistakeError struct{ Field, Reason string }

func (e *MistakeError) Error() string { return e.Field + ": " + e.Reason }

// New wires accounts. It starts nothing.
func New(d Deps) (*Accounts, error) {
	if d.Log == nil || d.Store == nil {
		return nil, errors.New("make accounts: a dependency is missing: want Log and Store")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	return &Accounts{
		deps: d, throttle: throttle{keys: map[string]*attempts{}}, hashing: semaphore.NewWeighted(atOnce), nobody: hashPassword(random(16), current),
	}, nil
}

// FirstUser is the name of the user that First makes.
const FirstUser = "admin"

// First makes a superuser with a password for one time, if there is no user at all. tell is told it before, so that it is never lost; its
// error is returned.
func (a *Accounts) First(ctx context.Context, tell func(name, password string) error) error {
	users, err := a.deps.Store.Users(ctx)
	if err != nil || len(users) > 0 {
		return err
	}
	password := oneTimePassword()
	if err := tell(FirstUser, password); err != nil {
		return fmt.Errorf("make first user: %w", err)
	}
	hash := hashPassword(password, current)
	_, _, err = a.deps.Store.UpdateUser(ctx, audit.Actor{User: audit.Weir, Source: "start", Reason: "there was no user"}.Does(audit.UserSet), FirstUser, nil, func(u *state.User, _ []state.User) error {
		u.Role, u.Password, u.OneTime, u.Comment = string(Superuser), hash, true, "made at the first start"
		return nil
	})
	return err
}

// Attempt is somebody who wants to log in.
type Attempt struct {
	By audit.Actor // who asks, whose user is not known yet

	User, Password string
	Agent          string // what the browser says it is
	Cookie         string // that he has already: that session ends; "" is none
}

// Login is who has logged in.
type Login struct {
	Identity
	Cookie  string // a new one, always
	Expires time.Time
}

// Login checks a password and makes a session. ErrDenied, ErrBusy and *ThrottledError are the asker's.
func (a *Accounts) Login(ctx context.Context, t Attempt) (Login, error) {
	u, rehashed, err := a.check(ctx, t.User, t.Password, t.By.Source)
	if err != nil {
		return Login{}, err
	}
	now := a.deps.Now().UTC()
	l := Login{
		Identity: Identity{User: u.Name, Role: Role(u.Role), Via: audit.ViaSession, Session: random(10), CSRF: random(20), OneTime: u.OneTime},
		Cookie:   random(32), Expires: now.Add(sessionIdle),
	}
	x := state.Session{
		Hash: digest(l.Cookie), ID: l.Session, User: u.Name, CSRF: l.CSRF, Source: t.By.Source, Agent: strings.ToValidUTF8(t.Agent[:min(len(t.Agent), 200)], ""),
		Created: now, Expires: l.Expires, Used: now,
	}
	var old []byte
	if t.Cookie != "" {
		old = digest(t.Cookie)
	}
	by := t.By
	by.User, by.Role, by.Via = u.Name, u.Role, audit.ViaSession
	if err := a.deps.Store.LoggedIn(ctx, by.Does(audit.SessionBegin), x, old, rehashed); err != nil {
		if errors.Is(err, state.ErrNotFound) { // removed or disabled meanwhile
			err = ErrDenied
		}
		return Login{}, err
	}
	return l, nil
}

// check tells whether a password is a user's. rehashed is it as it is written now, if it is written otherwise.
func (a *Accounts) check(ctx context.Context, user, password, source string) (u state.User, rehashed string, err error) {
	if len(user) > maxName || len(password) > maxPassword {
		return u, "", ErrDenied
	}
	if err := a.throttle.begin(user, source, a.deps.Now()); err != nil {
		return u, "", err
	}
	u, err = a.deps.Store.User(ctx, user)
	hash := u.Password
	switch {
	case errors.Is(err, state.ErrNotFound) || err == nil && hash == "":
		hash = a.nobody // it takes as long
	case err != nil:
		return u, "", err
	}
	if err := a.hash(ctx); err != nil {
		return u, "", err
	}
	defer a.hashing.Release(1)
	ok, stale := checkPassword(password, hash)
	if !ok || u.Name == "" || u.Disabled {
		return u, "", ErrDenied
	}
	a.throttle.right(user, source)
	if stale {
		rehashed = hashPassword(password, current)
	}
	return u, rehashed, nil
}

// hash waits until a password may be hashed, not for long.
func (a *Accounts) hash(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if a.hashing.Acquire(ctx, 1) != nil {
		return ErrBusy
	}
	return nil
}

// BySession says who presents a cookie. ErrDenied: nobody.
func (a *Accounts) BySession(ctx context.Context, cookie string) (Identity, error) {
	x, err := a.deps.Store.Session(ctx, digest(cookie))
	if err != nil {
		return Identity{}, denied(err)
	}
	now := a.deps.Now().UTC()
	if !now.Before(x.Expires) {
		return Identity{}, fmt.Errorf("session: %w", ErrExpired)
	}
	u, err := a.user(ctx, x.User)
	if err != nil {
		return Identity{}, err
	}
	if now.Sub(x.Used) >= noteEvery {
		expires := now.Add(sessionIdle)
		if end := x.Created.Add(sessionLife); expires.After(end) {
			expires = end
		}
		if err := a.deps.Store.SessionUsed(ctx, x.Hash, now, expires); err != nil {
			a.deps.Log.Warn("use of session not noted", "err", err) // it expires earlier
		}
	}
	return Identity{User: u.Name, Role: Role(u.Role), Via: audit.ViaSession, Session: x.ID, CSRF: x.CSRF, OneTime: u.OneTime}, nil
}

// denied is ErrDenied for what is not there.
func denied(err error) error {
	if errors.Is(err, state.ErrNotFound) {
		return ErrDenied
	}
	return err
}

// user returns a user who may do something at all.
func (a *Accounts) user(ctx context.Context, name string) (state.User, error) {
	u, err := a.deps.Store.User(ctx, name)
	if err != nil {
		return u, denied(err)
	}
	if u.Disabled {
		return u, ErrDenied
	}
	return u, nil
}

// tokenPrefix begins every token, so that people and scanners see what it is.
const tokenPrefix = "weir_"

// ByToken says who presents a token. ErrDenied: nobody.
func (a *Accounts) ByToken(ctx context.Context, token string) (Identity, error) {
	id, _, ok := strings.Cut(strings.TrimPrefix(token, tokenPrefix), "_")
	if !ok || !strings.HasPrefix(token, tokenPrefix) {
		return Identity{}, ErrDenied
	}
	t, err := a.deps.Store.Token(ctx, id)
	if err != nil {
		return Identity{}, denied(err)
	}
	if subtle.ConstantTimeCompare(digest(token), t.Hash) != 1 {
		return Identity{}, ErrDenied
	}
	now := a.deps.Now().UTC()
	if !now.Before(t.Expires) {
		return Identity{}, fmt.Errorf("token %q: %w", t.Name, ErrExpired)
	}
	u, err := a.user(ctx, t.User)
	if err != nil {
		return Identity{}, err
	}
	if now.Sub(t.Used) >= noteEvery {
		if err := a.deps.Store.TokenUsed(ctx, t.ID, now); err != nil {
			a.deps.Log.Warn("use of token not noted", "err", err)
		}
	}
	i := Identity{User: u.Name, Role: Role(u.Role), Via: audit.ViaToken, Token: t.ID}
	for _, s := range t.Scopes {
		i.Scopes = append(i.Scopes, Scope(s))
	}
	return i, nil
}

// Logout ends the session of who asks.
func (a *Accounts) Logout(ctx context.Context, by audit.Actor, i Identity) error {
	return a.deps.Store.RemoveSession(ctx, by.Does(audit.SessionEnd), i.User, i.Session)
}

// Sessions returns the sessions of a user that have not expired, the newest first.
func (a *Accounts) Sessions(ctx context.Context, user string) ([]state.Session, error) {
	list, err := a.deps.Store.Sessions(ctx, user)
	now := a.deps.Now()
	return slices.DeleteFunc(list, func(x state.Session) bool { return !now.Before(x.Expires) }), err
}

// EndSession ends a session of a user.
func (a *Accounts) EndSession(ctx context.Context, by audit.Actor, user, id string) error {
	return a.deps.Store.RemoveSession(ctx, by.Does(audit.SessionEnd), user, id)
}

// Users returns all users, by name.
func (a *Accounts) Users(ctx context.Context) ([]state.User, error) { return a.deps.Store.Users(ctx) }

// User returns the user of a name.
func (a *Accounts) User(ctx context.Context, name string) (state.User, error) {
	return a.deps.Store.User(ctx, name)
}

// Wanted is what a user is to be.
type Wanted struct {
	Role     Role
	Disabled bool
	Comment  string
}

const maxName = 64

// validName says why a name cannot be that of a user, or nil.
func validName(name string) error {
	ok := len(name) > 0 && len(name) <= maxName
	for i, c := range []byte(name) {
		alphanumeric := '0' <= c && c <= '9' || 'a' <= c && c <= 'z'
		ok = ok && (alphanumeric || i > 0 && (c == '.' || c == '-' || c == '_' || c == '@'))
	}
	if name == audit.Weir {
		return &MistakeError{"name", fmt.Sprintf("found %q, which is Weir itself: want another one", name)}
	}
	if !ok {
		return &MistakeError{"name", fmt.Sprintf("found %q, want up to %d small letters, digits, dots, hyphens, underscores and @, the first a letter or digit", name, maxName)}
	}
	return nil
}

// lastSuperuser says no if u would not be a superuser who can log in any more and nobody else is one.
func lastSuperuser(u state.User, others []state.User) error {
	able := func(u state.User) bool { return Role(u.Role) == Superuser && !u.Disabled && u.Password != "" }
	if able(u) || slices.ContainsFunc(others, able) {
		return nil
	}
	return &MistakeError{"role", fmt.Sprintf("user %q is the last superuser who can log in: make another one first", u.Name)}
}

// SetUser makes a user what is wanted of him, or makes him: then he cannot log in until he has a password.
func (a *Accounts) SetUser(ctx context.Context, by audit.Actor, name string, w Wanted) (before, after state.User, err error) {
	if err := validName(name); err != nil {
		return before, after, err
	}
	if !w.Role.Known() {
		return before, after, &MistakeError{"role", fmt.Sprintf("found %q, want one of %v", w.Role, Roles)}
	}
	return a.deps.Store.UpdateUser(ctx, by.Does(audit.UserSet), name, nil, func(u *state.User, others []state.User) error {
		if u.Version == 0 && len(others) >= maxUsers {
			return state.ErrFull
		}
		able := lastSuperuser(*u, others) == nil
		u.Role, u.Disabled, u.Comment = string(w.Role), w.Disabled, w.Comment
		if !able { // there was none before: it does not get worse
			return nil
		}
		return lastSuperuser(*u, others)
	})
}

// RemoveUser removes a user with his tokens and sessions.
func (a *Accounts) RemoveUser(ctx context.Context, by audit.Actor, name string) error {
	return a.deps.Store.RemoveUser(ctx, by.Does(audit.UserRemove), name, func(u state.User, others []state.User) error {
		able := lastSuperuser(u, others) == nil
		u.Disabled = true
		if !able {
			return nil
		}
		return lastSuperuser(u, others)
	})
}

// ChangePassword gives who asks another password, if he knows the one he has. All his sessions end, except the one of the cookie.
func (a *Accounts) ChangePassword(ctx context.Context, by audit.Actor, former, password, cookie string) error {
	user := by.User
	if err := validPassword(user, password); err != nil {
		return err
	}
	if former == password {
		return &MistakeError{"password", "it is the one that he has: want another one"}
	}
	u, _, err := a.check(ctx, user, former, by.Source)
	if err != nil {
		return err
	}
	return a.setPassword(ctx, by, user, password, false, digest(cookie), u.Password)
}

// SetPassword gives a user a password that he has to change at his first login; if it is "", a random one. It returns it. All his sessions end.
func (a *Accounts) SetPassword(ctx context.Context, by audit.Actor, user, password string) (string, error) {
	if password == "" {
		password = oneTimePassword()
	} else if err := validPassword(user, password); err != nil {
		return "", err
	}
	return password, a.setPassword(ctx, by, user, password, true, nil, "")
}

// setPassword gives a user a password, if the one that he has is still former, unless that is "".
func (a *Accounts) setPassword(ctx context.Context, by audit.Actor, user, password string, oneTime bool, keep []byte, former string) error {
	if err := a.hash(ctx); err != nil {
		return err
	}
	hash := hashPassword(password, current)
	a.hashing.Release(1)
	_, _, err := a.deps.Store.UpdateUser(ctx, by.Does(audit.UserPassword), user, keep, func(u *state.User, _ []state.User) error {
		if u.Version == 0 {
			return fmt.Errorf("find user %q: %w", user, state.ErrNotFound)
		}
		if former != "" && u.Password != former { // changed meanwhile
			return ErrDenied
		}
		u.Password, u.OneTime = hash, oneTime
		return nil
	})
	if err == nil && a.deps.PasswordChanged != nil {
		a.deps.PasswordChanged(user)
	}
	return err
}

// AddToken makes a token for a user, and returns it with what is to be presented, which nobody can be told again. Who asks with a token himself
// gets none that may do more, or for longer.
func (a *Accounts) AddToken(ctx context.Context, by audit.Actor, i Identity, user, name string, scopes []Scope, expires time.Time) (state.Token, string, error) {
	now := a.deps.Now().UTC()
	t := state.Token{ID: random(10), User: user, Name: name, Created: now, Expires: expires.UTC().Truncate(time.Second)}
	switch {
	case validName(name) != nil:
		return t, "", validName(name)
	case len(scopes) == 0:
		return t, "", &MistakeError{"scopes", fmt.Sprintf("found none, want some of %s", join(Scopes))}
	case !t.Expires.After(now):
		return t, "", &MistakeError{"expires", fmt.Sprintf("found %s, which is over: want a time to come", t.Expires.Format(time.RFC3339))}
	case t.Expires.After(now.Add(maxTokenLife)):
		return t, "", &MistakeError{"expires", fmt.Sprintf("found %s, want at most 366 days from now", t.Expires.Format(time.RFC3339))}
	}
	if i.Via == audit.ViaToken {
		own, err := a.deps.Store.Token(ctx, i.Token)
		if err != nil {
			return t, "", denied(err)
		}
		if t.Expires.After(own.Expires) {
			return t, "", &DeniedError{fmt.Sprintf("a token makes none that lives longer than itself: want at most %s", own.Expires.Format(time.RFC3339))}
		}
	}
	for _, s := range scopes {
		if !slices.Contains(Scopes, s) {
			return t, "", &MistakeError{"scopes", fmt.Sprintf("found %q, want one of %s", s, join(Scopes))}
		}
		if !i.Holds(s) {
			return t, "", &DeniedError{fmt.Sprintf("a token makes none that may do more than itself: it is for %s, asked was %s", join(i.Scopes), s)}
		}
		if !slices.Contains(t.Scopes, string(s)) {
			t.Scopes = append(t.Scopes, string(s))
		}
	}
	slices.Sort(t.Scopes)
	secret := tokenPrefix + t.ID + "_" + random(32)
	t.Hash = digest(secret)
	if err := a.deps.Store.AddToken(ctx, by.Does(audit.TokenAdd), t, maxTokens); err != nil {
		return t, "", err
	}
	return t, secret, nil
}

// Tokens returns the tokens of a user, or with "" of all, by user and name; those that have expired are among them.
func (a *Accounts) Tokens(ctx context.Context, user string) ([]state.Token, error) {
	return a.deps.Store.Tokens(ctx, user)
}

// Token returns a token.
func (a *Accounts) Token(ctx context.Context, id string) (state.Token, error) {
	return a.deps.Store.Token(ctx, id)
}

// RemoveToken removes a token: what presents it is refused from now on.
func (a *Accounts) RemoveToken(ctx context.Context, by audit.Actor, id string) error {
	return a.deps.Store.RemoveToken(ctx, by.Does(audit.TokenRemove), id)
}
