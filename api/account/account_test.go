package account_test

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/api/account"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/state"
)

var by = audit.Actor{User: "test", Source: "test"}

func newAccounts(t *testing.T) (*account.Accounts, *state.State) {
	t.Helper()
	st, err := state.Open(t.Context(), filepath.Join(t.TempDir(), "state.db"), state.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	a, err := account.New(account.Deps{Log: slog.New(slog.DiscardHandler), Store: st})
	if err != nil {
		t.Fatal(err)
	}
	return a, st
}

func TestPasswords(t *testing.T) {
	const password = "correct horse battery staple"
	a, b := account.HashPassword(password), account.HashPassword(password)
	if a == b || !strings.HasPrefix(a, "$argon2id$v=19$m=65536,t=3,p=4$") || strings.Contains(a, "horse") {
		t.Errorf("%s and %s", a, b)
	}
	if ok, stale := account.CheckPassword(password, a); !ok || stale {
		t.Errorf("the right one: %v, stale %v", ok, stale)
	}
	if ok, stale := account.CheckPassword(password, account.CheapPassword(password)); !ok || !stale {
		t.Errorf("of another cost: %v, stale %v", ok, stale)
	}
	for _, hash := range []string{
		a[:len(a)-1] + "!", "", "$", "x", "$argon2i$v=19$m=64,t=1,p=1$AAAA$AAAA", "$argon2id$v=18$m=64,t=1,p=1$AAAA$AAAA",
		"$argon2id$v=19$m=4294967295,t=1,p=1$AAAA$AAAA", "$argon2id$v=19$m=64,t=0,p=1$AAAA$AAAA", "$argon2id$v=19$m=64,t=1,p=0$AAAA$AAAA", "$argon2id$v=19$m=64,t=1,p=1$AAAA$",
	} {
		if ok, _ := account.CheckPassword("", hash); ok {
			t.Errorf("%q is the hash of no password", hash)
		}
		if ok, _ := account.CheckPassword(password, hash); ok {
			t.Errorf("%q is the hash of the password", hash)
		}
	}
	if ok, _ := account.CheckPassword(password+"x", a); ok {
		t.Error("a wrong one is right")
	}
}

// The first user is made once, his password is told before he is there, and a hash of another cost is made anew at a login.
func TestFirst(t *testing.T) {
	a, st := newAccounts(t)
	var name, password string
	tell := func(n, p string) error {
		if users, err := st.Users(t.Context()); err != nil || len(users) > 0 {
			t.Errorf("he is there before his password is told: %v, %v", users, err)
		}
		name, password = n, p
		return nil
	}
	if err := a.First(t.Context(), tell); err != nil || name != account.FirstUser {
		t.Fatalf("%q, %v", name, err)
	}
	if err := a.First(t.Context(), func(string, string) error { t.Error("made again"); return nil }); err != nil {
		t.Fatal(err)
	}
	l, err := a.Login(t.Context(), account.Attempt{By: by, User: name, Password: password})
	if err != nil || !l.OneTime || l.Role != account.Superuser {
		t.Fatalf("%+v, %v", l, err)
	}
	if _, _, err := st.UpdateUser(t.Context(), by.Does(audit.UserPassword), name, nil, func(u *state.User, _ []state.User) error {
		u.Password = account.CheapPassword("another password")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Login(t.Context(), account.Attempt{By: by, User: name, Password: "another password"}); err != nil {
		t.Fatal(err)
	}
	if u, err := st.User(t.Context(), name); err != nil || !strings.Contains(u.Password, "m=65536") {
		t.Errorf("the hash is still %q, %v", u.Password, err)
	}
}

func TestNames(t *testing.T) {
	a, _ := newAccounts(t)
	for _, name := range []string{"vera", "v", "vera.m@example.org", "0-x_1", strings.Repeat("a", 64)} {
		if _, _, err := a.SetUser(t.Context(), by, name, account.Wanted{Role: account.Viewer}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "Vera", "-x", "a b", "a/b", "ä", "weir", strings.Repeat("a", 65), "a\n"} {
		if _, _, err := a.SetUser(t.Context(), by, name, account.Wanted{Role: account.Viewer}); err == nil {
			t.Errorf("%q is the name of a user", name)
		}
	}
	if _, _, err := a.SetUser(t.Context(), by, "x", account.Wanted{Role: "root"}); err == nil {
		t.Error("there is a role root")
	}
	if account.Role("root").Includes(account.Viewer) || account.Superuser.Includes("root") {
		t.Error("a role that is not known includes, or is included")
	}
}

// Whoever removes a user removes what was his.
func TestRemove(t *testing.T) {
	a, st := newAccounts(t)
	if _, _, err := a.SetUser(t.Context(), by, "vera", account.Wanted{Role: account.Viewer}); err != nil {
		t.Fatal(err)
	}
	_, secret, err := a.AddToken(t.Context(), by, account.Identity{}, "vera", "ci", []account.Scope{"all:read"}, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if i, err := a.ByToken(t.Context(), secret); err != nil || i.User != "vera" {
		t.Fatalf("%+v, %v", i, err)
	}
	if err := a.RemoveUser(t.Context(), by, "vera"); err != nil {
		t.Fatal(err)
	}
	if i, err := a.ByToken(t.Context(), secret); err == nil || i.Role != "" {
		t.Errorf("his token is good: %+v", i)
	}
	if tokens, err := st.Tokens(t.Context(), ""); err != nil || len(tokens) > 0 {
		t.Errorf("%v, %v", tokens, err)
	}
	told, err := st.AuditEntries(t.Context(), 100)
	if err != nil || len(told) != 3 || told[2].Operation != audit.UserRemove || told[2].After != nil || told[2].Before == nil {
		t.Errorf("told is %+v, %v", told, err)
	}
	for _, e := range told {
		if text := string(e.Before) + string(e.After); strings.Contains(text, "argon2") || strings.Contains(text, strings.Split(secret, "_")[2]) {
			t.Errorf("a secret is told: %s", text)
		}
	}
}
