package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirhq/weir/policyd/audit"
)

// User is somebody who may use Weir.
type User struct {
	Name     string // unique
	Role     string
	Password string // as package account writes it; "": nobody can log in by it
	OneTime  bool   // the password must be changed before anything else is done
	Disabled bool
	Comment  string
	Version  uint64 // ascends with each change of the above
	Created  time.Time
	Seen     time.Time // last login; zero: never
}

// Token is what a program presents instead of a user's password.
type Token struct {
	ID      string // unique
	User    string
	Name    string // unique among those of the user
	Hash    []byte // SHA-256 of the whole token
	Scopes  []string
	Created time.Time
	Expires time.Time
	Used    time.Time // as TokenUsed was told; zero: never
}

// Session is a login.
type Session struct {
	Hash    []byte // SHA-256 of the cookie, unique
	ID      string // unique
	User    string
	CSRF    string
	Source  string
	Agent   string
	Created time.Time
	Expires time.Time
	Used    time.Time // as SessionUsed was told
}

// told is what is told of a user: not his password, but whether he has one, and that it was changed.
func (u *User) told() any {
	if u.Version == 0 {
		return nil
	}
	return map[string]any{"role": u.Role, "disabled": u.Disabled, "comment": u.Comment, "version": u.Version, "has_password": u.Password != "", "one_time": u.OneTime}
}

// object is what a token is called in what is told.
func (t *Token) object() string { return t.User + "/" + t.Name }

// told is what is told of a token.
func (t *Token) told() any {
	return map[string]any{"id": t.ID, "scopes": t.Scopes, "expires": t.Expires}
}

// stamp is a time in a column; null is zero.
type stamp struct{ t *time.Time }

// Scan reads a column.
func (s stamp) Scan(v any) error {
	*s.t = time.Time{}
	if v == nil {
		return nil
	}
	text, ok := v.(string)
	if !ok {
		return fmt.Errorf("found a %T, want a time as text", v)
	}
	var err error
	*s.t, err = time.Parse(time.RFC3339Nano, text)
	return err
}

// stampOf is what a column holds of a time; nil for zero.
func stampOf(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return formatTime(t)
}

const userColumns = "name, role, password, one_time, disabled, comment, version, created_at, seen_at"

func scanUser(row scanner) (User, error) {
	var u User
	var version int64
	err := row.Scan(&u.Name, &u.Role, &u.Password, &u.OneTime, &u.Disabled, &u.Comment, &version, stamp{&u.Created}, stamp{&u.Seen})
	u.Version = uint64(version)
	return u, err
}

// all returns what scan makes of each row of a query.
func all[T any](ctx context.Context, tx *sql.Tx, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	list := []T{}
	err := each(ctx, tx, func(row scanner) error {
		v, err := scan(row)
		list = append(list, v)
		return err
	}, query, args...)
	return list, err
}

// read is all, in a transaction of its own.
func read[T any](ctx context.Context, s *State, what string, scan func(scanner) (T, error), query string, args ...any) (list []T, err error) {
	err = s.update(ctx, func(tx *sql.Tx) (err error) {
		list, err = all(ctx, tx, scan, query, args...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return list, nil
}

// only returns the one element of a list. ErrNotFound: it has none.
func only[T any](list []T, err error, what, name string) (T, error) {
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("find %s %q: %w", what, name, ErrNotFound)
	}
	if err != nil {
		var none T
		return none, err
	}
	return list[0], nil
}

// Users returns all users, by name.
func (s *State) Users(ctx context.Context) ([]User, error) {
	return read(ctx, s, "users", scanUser, "SELECT "+userColumns+" FROM users ORDER BY name")
}

// User returns the user of a name. ErrNotFound: there is none.
func (s *State) User(ctx context.Context, name string) (User, error) {
	list, err := read(ctx, s, "user", scanUser, "SELECT "+userColumns+" FROM users WHERE name = ?", name)
	return only(list, err, "user", name)
}

// UpdateUser has change make of a user what he is to be, and of one that is not there, whose Version is 0, a new one. others are all other
// users. An error of change is returned as it is, and nothing is changed. Who is disabled or has another password or role afterwards loses his
// sessions, except the one of the hash keep.
func (s *State) UpdateUser(ctx context.Context, by audit.Act, name string, keep []byte, change func(u *User, others []User) error) (before, after User, err error) {
	var refused error
	err = s.update(ctx, func(tx *sql.Tx) error {
		others, err := all(ctx, tx, scanUser, "SELECT "+userColumns+" FROM users ORDER BY name")
		if err != nil {
			return err
		}
		after = User{Name: name, Created: s.now().UTC()}
		if i := slices.IndexFunc(others, func(u User) bool { return u.Name == name }); i >= 0 {
			after = others[i]
			others = slices.Delete(others, i, i+1)
		}
		before = after
		if refused = change(&after, others); refused != nil {
			return refused
		}
		if after == before {
			return nil
		}
		after.Name, after.Version = name, before.Version+1
		_, err = tx.ExecContext(ctx, `INSERT INTO users (`+userColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET role = excluded.role, password = excluded.password, one_time = excluded.one_time, disabled = excluded.disabled,
			comment = excluded.comment, version = excluded.version, seen_at = excluded.seen_at`,
			after.Name, after.Role, after.Password, after.OneTime, after.Disabled, after.Comment, int64(after.Version), formatTime(after.Created), stampOf(after.Seen))
		if err == nil {
			err = s.Record(ctx, tx, by, name, before.told(), after.told())
		}
		if err != nil || after.Password == before.Password && after.Role == before.Role && !after.Disabled {
			return err
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM sessions WHERE user = ? AND hash IS NOT ?", name, keep)
		return err
	})
	switch {
	case refused != nil:
		return before, before, refused
	case err != nil:
		return before, before, fmt.Errorf("change user %q: %w", name, err)
	}
	return before, after, nil
}

// RemoveUser removes a user, his tokens and his sessions, unless check, which gets all others, says no; its error is returned as it is.
// ErrNotFound: there is none.
func (s *State) RemoveUser(ctx context.Context, by audit.Act, name string, check func(u User, others []User) error) error {
	var refused error
	err := s.update(ctx, func(tx *sql.Tx) error {
		others, err := all(ctx, tx, scanUser, "SELECT "+userColumns+" FROM users ORDER BY name")
		if err != nil {
			return err
		}
		i := slices.IndexFunc(others, func(u User) bool { return u.Name == name })
		if i < 0 {
			return ErrNotFound
		}
		u := others[i]
		if refused = check(u, slices.Delete(others, i, i+1)); refused != nil {
			return refused
		}
		if _, err = tx.ExecContext(ctx, "DELETE FROM users WHERE name = ?", name); err != nil {
			return err
		}
		return s.Record(ctx, tx, by, name, u.told(), nil)
	})
	if refused != nil {
		return refused
	}
	if err != nil {
		return fmt.Errorf("remove user %q: %w", name, err)
	}
	return nil
}

// LoggedIn notes that a user logged in: with another form of the same password, unless that is "", and with a session. Of the session with
// the hash replaced, if there is one, nothing is left. Sessions that have expired are removed.
func (s *State) LoggedIn(ctx context.Context, by audit.Act, x Session, replaced []byte, password string) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		now := formatTime(s.now())
		done, err := tx.ExecContext(ctx, "UPDATE users SET seen_at = ?1, password = iif(?2 = '', password, ?2) WHERE name = ?3 AND NOT disabled", now, password, x.User)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, ErrNotFound)
		}
		// Times in one form compare as text, which is right to the second.
		if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE hash IS ? OR expires_at < ?", replaced, now); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO sessions ("+sessionColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
			x.Hash, x.ID, x.User, x.CSRF, x.Source, x.Agent, formatTime(x.Created), formatTime(x.Expires), formatTime(x.Used))
		if err != nil {
			return err
		}
		return s.Record(ctx, tx, by, x.User, nil, map[string]string{"session": x.ID, "agent": x.Agent})
	})
	if err != nil {
		return fmt.Errorf("log in user %q: %w", x.User, err)
	}
	return nil
}

const sessionColumns = "hash, id, user, csrf, source, agent, created_at, expires_at, used_at"

func scanSession(row scanner) (Session, error) {
	var x Session
	err := row.Scan(&x.Hash, &x.ID, &x.User, &x.CSRF, &x.Source, &x.Agent, stamp{&x.Created}, stamp{&x.Expires}, stamp{&x.Used})
	return x, err
}

// Session returns the session of a hash, expired or not. ErrNotFound: there is none.
func (s *State) Session(ctx context.Context, hash []byte) (Session, error) {
	list, err := read(ctx, s, "session", scanSession, "SELECT "+sessionColumns+" FROM sessions WHERE hash = ?", hash)
	return only(list, err, "session", "")
}

// Sessions returns the sessions of a user, or with "" of all, the newest first, those that have expired among them.
func (s *State) Sessions(ctx context.Context, user string) ([]Session, error) {
	return read(ctx, s, "sessions", scanSession, "SELECT "+sessionColumns+" FROM sessions WHERE ?1 = '' OR user = ?1 ORDER BY created_at DESC, id", user)
}

// SessionUsed notes that a session was used, and until when it is good now.
func (s *State) SessionUsed(ctx context.Context, hash []byte, at, expires time.Time) error {
	if _, err := s.db.ExecContext(ctx, "UPDATE sessions SET used_at = ?, expires_at = ? WHERE hash = ?", formatTime(at), formatTime(expires), hash); err != nil {
		return fmt.Errorf("note use of session: %w", err)
	}
	return nil
}

// RemoveSession ends a session of a user, by its id. ErrNotFound: there is none.
func (s *State) RemoveSession(ctx context.Context, by audit.Act, user, id string) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE user = ? AND id = ?", user, id)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, ErrNotFound)
		}
		return s.Record(ctx, tx, by, user, map[string]string{"session": id}, nil)
	})
	if err != nil {
		return fmt.Errorf("end session %q: %w", id, err)
	}
	return nil
}

const tokenColumns = "id, user, name, hash, scopes, created_at, expires_at, used_at"

func scanToken(row scanner) (Token, error) {
	var t Token
	var scopes string
	if err := row.Scan(&t.ID, &t.User, &t.Name, &t.Hash, &scopes, stamp{&t.Created}, stamp{&t.Expires}, stamp{&t.Used}); err != nil {
		return t, err
	}
	return t, json.Unmarshal([]byte(scopes), &t.Scopes)
}

// AddToken adds a token, unless its user has limit of them. ErrExists: he has one of that name; ErrNotFound: there is no such user.
func (s *State) AddToken(ctx context.Context, by audit.Act, t Token, limit int) error {
	scopes, err := json.Marshal(t.Scopes)
	if err != nil {
		return fmt.Errorf("add token %q: %w", t.Name, err)
	}
	err = s.update(ctx, func(tx *sql.Tx) error {
		mine, err := all(ctx, tx, scanToken, "SELECT "+tokenColumns+" FROM tokens WHERE user = ?", t.User)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(mine, func(o Token) bool { return o.Name == t.Name }) {
			return ErrExists
		}
		if len(mine) >= limit {
			return ErrFull
		}
		users, err := all(ctx, tx, scanUser, "SELECT "+userColumns+" FROM users WHERE name = ?", t.User)
		if err != nil || len(users) == 0 {
			return errors.Join(err, ErrNotFound)
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO tokens ("+tokenColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
			t.ID, t.User, t.Name, t.Hash, string(scopes), formatTime(t.Created), formatTime(t.Expires))
		if err != nil {
			return err
		}
		return s.Record(ctx, tx, by, t.object(), nil, t.told())
	})
	if err != nil {
		return fmt.Errorf("add token %q of user %q: %w", t.Name, t.User, err)
	}
	return nil
}

// ErrFull says that there are as many as there may be.
var ErrFull = errors.New("there are as many as there may be: remove some first")

// Token returns the token of an id, expired or not. ErrNotFound: there is none.
func (s *State) Token(ctx context.Context, id string) (Token, error) {
	list, err := read(ctx, s, "token", scanToken, "SELECT "+tokenColumns+" FROM tokens WHERE id = ?", id)
	return only(list, err, "token", id)
}

// Tokens returns the tokens of a user, or with "" of all, by user and name, those that have expired among them.
func (s *State) Tokens(ctx context.Context, user string) ([]Token, error) {
	return read(ctx, s, "tokens", scanToken, "SELECT "+tokenColumns+" FROM tokens WHERE ?1 = '' OR user = ?1 ORDER BY user, name", user)
}

// TokenUsed notes that a token was used.
func (s *State) TokenUsed(ctx context.Context, id string, at time.Time) error {
	if _, err := s.db.ExecContext(ctx, "UPDATE tokens SET used_at = ? WHERE id = ?", formatTime(at), id); err != nil {
		return fmt.Errorf("note use of token %q: %w", id, err)
	}
	return nil
}

// RemoveToken removes a token. ErrNotFound: there is none.
func (s *State) RemoveToken(ctx context.Context, by audit.Act, id string) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		list, err := all(ctx, tx, scanToken, "SELECT "+tokenColumns+" FROM tokens WHERE id = ?", id)
		if err != nil || len(list) == 0 {
			return errors.Join(err, ErrNotFound)
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM tokens WHERE id = ?", id); err != nil {
			return err
		}
		return s.Record(ctx, tx, by, list[0].object(), list[0].told(), nil)
	})
	if err != nil {
		return fmt.Errorf("remove token %q: %w", id, err)
	}
	return nil
}
