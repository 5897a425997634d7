package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/apptest"
)

// remoteRun is a built program with TLS, and people who ask it from homes of their own.
type remoteRun struct {
	t      *testing.T
	a      *apptest.App
	server string // HOST:PORT
	pin    string // fingerprint of its authority
}

// home makes a new home: whoever works there has no profile yet.
func (r *remoteRun) home() string {
	r.t.Helper()
	dir := r.t.TempDir()
	r.t.Setenv("XDG_CONFIG_HOME", dir)
	return filepath.Join(dir, "weir")
}

// here runs a command on the machine itself.
func (r *remoteRun) here(args ...string) string {
	r.t.Helper()
	return good(r.t, append(args, "--data", r.a.Data)...)
}

// add makes a user, and returns his password for one time.
func (r *remoteRun) add(user, role string) string {
	r.t.Helper()
	return parse[passwordJSON](r.t, r.here("user", "add", user, "--role", role, "--json")).Password
}

// login logs a new user in, who changes his password to better.
func (r *remoteRun) login(user, onetime, better string, args ...string) {
	r.t.Helper()
	args = append([]string{"login", r.server, "--fingerprint", r.pin, "--user", user, "--json"}, args...)
	if got := weirIn(r.t, onetime+"\n"+better+"\n", args...); got.code != exitOK {
		r.t.Fatalf("login of %s: %+v", user, got)
	}
}

// Commands of people elsewhere, who are known by a password for one time, then by a token of a profile, against a program with TLS of its own authority.
func TestRemote(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up")
	}
	data := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, data, "weir.yaml", []byte("api: {tls: {mode: \"on\"}}\n"))
	r := &remoteRun{t: t, a: apptest.Start(t, data, append([]string{"--demo"}, anyPorts...)...)}
	t.Chdir(t.TempDir()) // no instance is found by itself
	r.server = r.a.Instance.API
	for _, c := range parse[[]struct{ Of, Fingerprint string }](t, r.here("ca", "show", "--json")) {
		if c.Of == "authority" {
			r.pin = c.Fingerprint
		}
	}
	if r.pin == "" {
		t.Fatal("weir ca show tells no authority")
	}
	for _, test := range []struct {
		name string
		run  func(*remoteRun)
	}{
		{"trust", testRemoteTrust},
		{"listings", testRemoteListings},
		{"roles", testRemoteRoles},
		{"users", testRemoteUsers},
		{"tokens", testRemoteTokens},
		{"completion", testRemoteCompletion},
	} {
		t.Run(test.name, func(t *testing.T) {
			one := *r
			one.t = t
			test.run(&one)
		})
	}
}

func testRemoteTrust(r *remoteRun) {
	t, dir, onetime := r.t, r.home(), r.add("tom", "operator")
	login := func(stdin string, args ...string) result {
		return weirIn(t, stdin, append([]string{"login", r.server, "--user", "tom"}, args...)...)
	}
	// Nobody who is not believed hears the password.
	if got := login(onetime + "\n"); got.code != exitFailed || !strings.Contains(got.err, "not believed") || !strings.Contains(got.err, r.pin) {
		t.Errorf("login at a server that is not known: %+v", got)
	}
	other := strings.Repeat("AB:", 31) + "AB"
	if got := login(onetime+"\n", "--fingerprint", other); got.code != exitFailed || !strings.Contains(got.err, r.pin) {
		t.Errorf("login with another fingerprint: %+v", got)
	}
	if got := login("not the password\n", "--fingerprint", r.pin); got.code != exitRefused {
		t.Errorf("login with a wrong password: %+v", got)
	}
	fails(t, exitFailed, "speaks TLS, and was asked without", "status", "--server", "http://"+r.server)
	fails(t, exitFailed, "not believed", "status", "--server", r.server)
	fails(t, exitNotFound, `no profile "nobody"`, "status", "--server", "nobody")
	fails(t, exitUsage, "works on the machine itself only", "sql", "SELECT 1", "--server", r.server)
	fails(t, exitUsage, "works on the machine itself only", "store", "--server", r.server)
	fails(t, exitUsage, "expected one of them", "status", "--server", r.server, "--data", r.a.Data)

	// A weak password changes nothing; the password for one time stays one.
	if got := login(onetime+"\nshort\n", "--fingerprint", r.pin); got.code != exitFailed || !strings.Contains(got.err, "12") {
		t.Errorf("login with a weak new password: %+v", got)
	}
	const better = "correct horse battery"
	r.login("tom", onetime, better, "--name", "prod")
	secret, err := os.ReadFile(filepath.Join(dir, "prod.token"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"prod.token", "profiles.yaml"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if info, statErr := os.Stat(filepath.Join(dir, name)); err != nil || statErr != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, err, statErr)
		}
		if name == "profiles.yaml" && (strings.Contains(string(text), strings.TrimSpace(string(secret))) || strings.Contains(string(text), better)) {
			t.Errorf("a secret is in %s:\n%s", name, text)
		}
	}
	// The profile in use, its name, its server and the environment all mean the same.
	for _, args := range [][]string{{}, {"--server", "prod"}, {"--server", r.server}, {"--server", "https://" + r.server}} {
		if who := parse[struct{ User, Via string }](t, good(t, append([]string{"user", "show", "--json"}, args...)...)); who.User != "tom" || who.Via != "token" {
			t.Errorf("weir user show %q: %+v", args, who)
		}
	}
	good(t, "profile", "use", "--none")
	fails(t, exitFailed, "no running weir found", "user", "show")
	t.Setenv("WEIR_SERVER", "prod")
	good(t, "user", "show")
	t.Setenv("WEIR_SERVER", "")

	// A token that others can read is not used.
	if err := os.Chmod(filepath.Join(dir, "prod.token"), 0o644); err != nil {
		t.Fatal(err)
	}
	fails(t, exitFailed, "want 0600", "status", "--server", "prod")
	if err := os.Chmod(filepath.Join(dir, "prod.token"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Logging in anew asks for neither server nor user, and ends the former token.
	if got := weirIn(t, better+"\n", "login", "prod"); got.code != exitOK {
		t.Fatalf("%+v", got)
	}
	if tokens := parse[[]struct{ Name string }](t, good(t, "token", "list", "--json", "--server", "prod")); len(tokens) != 1 {
		t.Errorf("tokens after a second login: %+v, want that of the second alone", tokens)
	}
	good(t, "logout", "prod")
	if tokens := parse[[]struct{ Name string }](t, r.here("token", "list", "--user", "tom", "--json")); len(tokens) != 0 {
		t.Errorf("tokens after logging out: %+v", tokens)
	}
	if _, err := os.Stat(filepath.Join(dir, "prod.token")); err == nil {
		t.Error("the token is still there after logging out")
	}
	// On loopback who is not known may look, and no more.
	good(t, "status", "--server", "prod")
	fails(t, exitRefused, "you are not logged in at "+r.server+": weir login prod", "bypass", "on", "estate", "--server", "prod")
	good(t, "profile", "remove", "prod")
	if list := parse[[]any](t, good(t, "profile", "list", "--json")); len(list) != 0 {
		t.Errorf("profiles after removing the only one: %v", list)
	}
}

// Every listing answers elsewhere what parses, as it does on the machine.
func testRemoteListings(r *remoteRun) {
	t := r.t
	r.home()
	r.login("lena", r.add("lena", "superuser"), "correct horse battery", "--name", "prod")
	apptest.Eventually(t, soon, "flows are stored", func() error {
		out, err := r.a.SQL("SELECT countIf(src_vm_name = 'db-01') > 0 FROM flows")
		if err == nil && out != "1" {
			err = errors.New(out)
		}
		return err
	})
	for _, args := range [][]string{
		{"status"},
		{"hosts", "list"},
		{"bypass", "list"},
		{"policy", "status"},
		{"policy", "history"},
		{"policy", "hits"},
		{"policy", "draft", "list"},
		{"group", "list"},
		{"events"},
		{"estate", "tree"},
		{"estate", "search", "web"},
		{"estate", "explain", "web-01"},
		{"exporters"},
		{"flows", "top"},
		{"flows", "list"},
		{"flows", "top", "--by", "vm,service", "--split", "--unit", "bps"},
		{"user", "list"},
		{"user", "show"},
		{"user", "show", "lena"},
		{"token", "list"},
		{"audit", "list"},
		{"role", "list"},
		{"profile", "list"},
		{"profile", "show"},
	} {
		if got := weir(t, append(args, "--json")...); got.code != exitOK || !json.Valid([]byte(got.stdout)) {
			t.Errorf("weir %s --json: %+v", strings.Join(args, " "), got)
		}
		if got := weir(t, args...); got.code != exitOK || strings.TrimSpace(got.stdout) == "" {
			t.Errorf("weir %s: %+v", strings.Join(args, " "), got)
		}
	}
	// The same question has the same answer here and elsewhere: over a span that is past.
	for _, question := range [][]string{
		{"flows", "top", "--by", "src_vm"},
		{"flows", "top", "--by", "src_vm,protocol", "--unit", "packets,flows"},
		{"flows", "list"},
		{"flows", "list", "--columns", "src_mac,src_groups,dst_vm,tcp_flags,bytes"},
		{"flows", "top", "--filter", "vm = web-01", "--by", "dst_vm", "--split"},
	} {
		args := append(question, "--from", "now-1h", "--to", "now-20s", "--limit", "5")
		args[slices.Index(args, "--from")+1], args[slices.Index(args, "--to")+1] = r.span()
		for _, args := range [][]string{args, append(slices.Clone(args), "--json")} {
			far, near := weir(t, args...), weir(t, append(slices.Clone(args), "--data", r.a.Data)...)
			if far.code != exitOK || far != near {
				t.Errorf("weir %s:\n%+v\non the machine:\n%+v", strings.Join(args, " "), far, near)
			}
		}
	}
	fails(t, exitUsage, "db-01", "flows", "top", "--filter", "src_vm = db-001")
	fails(t, exitUsage, `unknown rule "nobody"`, "policy", "hits", "nobody")
	fails(t, exitNotFound, "nobody", "hosts", "show", "nobody")
	if out := good(t, "flows", "top", "--filter", "port = 1", "--last", "1m"); !strings.Contains(out, "nothing matches") && !strings.Contains(out, "no flows") {
		t.Errorf("an empty answer says nothing: %q", out)
	}
}

// span is a span of time in which there are flows, and that is over.
func (r *remoteRun) span() (from, to string) {
	r.t.Helper()
	apptest.Eventually(r.t, soon, "flows of a span that is over", func() error {
		out, err := r.a.SQL("SELECT formatDateTime(min(time_received), '%FT%TZ', 'UTC') || '/' || formatDateTime(max(time_received) - 5, '%FT%TZ', 'UTC') FROM flows")
		if err != nil {
			return err
		}
		var ok bool
		if from, to, ok = strings.Cut(out, "/"); !ok || from >= to {
			return fmt.Errorf("found %q", out)
		}
		return nil
	})
	return from, to
}

// Who may not is told so by the exit code, and nothing is changed.
func testRemoteRoles(r *remoteRun) {
	t := r.t
	r.home()
	r.login("vera", r.add("vera", "viewer"), "correct horse battery")
	for _, args := range [][]string{
		{"user", "list"},
		{"user", "add", "eve"},
		{"user", "role", "vera", "superuser"},
		{"user", "remove", "admin", "--yes"},
		{"user", "password", "admin"},
		{"hosts", "add", "x", "tcp:127.0.0.1:1"},
		{"hosts", "remove", "x"},
		{"bypass", "on", "estate"},
		{"token", "list", "--user", "admin"},
		{"token", "create", "x", "--user", "admin", "--scope", "all:write"},
	} {
		if got := weir(t, args...); got.code != exitRefused || !strings.Contains(got.err, "found role viewer") {
			t.Errorf("weir %s: %+v", strings.Join(args, " "), got)
		}
	}
	good(t, "hosts", "list")
	good(t, "token", "create", "mine", "--scope", "status:read", "--json")

	// A role is taken away at once.
	r.here("user", "role", "vera", "operator")
	good(t, "bypass", "on", "estate", "--wait", "0s", "--reason", "a test")
	r.here("user", "disable", "vera")
	fails(t, exitRefused, "weir login", "status")
	r.here("user", "enable", "vera")
	good(t, "bypass", "off", "estate", "--wait", "0s")
	events := parse[[]struct{ Actor, Operation, Reason, Outcome string }](t, r.here("audit", "list", "--actor", "vera", "--json"))
	told := map[string]bool{}
	for _, e := range events {
		told[e.Operation+" "+e.Outcome] = true
	}
	for _, want := range []string{"user.set refused", "host.add refused", "policy.bypass refused", "policy.bypass done", "token.add done", "session.begin done"} {
		if !told[want] {
			t.Errorf("weir audit list does not tell of vera: %s; it tells %v", want, told)
		}
	}
	if out := r.here("audit", "list", "--operation", "user.set", "--object", "vera", "--changes"); !strings.Contains(out, "role: viewer → operator") {
		t.Errorf("weir audit list --changes:\n%s", out)
	}
}

func testRemoteUsers(r *remoteRun) {
	t := r.t
	r.home()
	r.add("ute", "viewer")
	if got := weir(t, "user", "add", "ute", "--data", r.a.Data); got.code != exitConflict || !strings.Contains(got.err, `add user "ute": it is there already`) {
		t.Errorf("a user who is there already: %+v", got)
	}
	fails(t, exitNotFound, "nobody", "user", "role", "nobody", "viewer", "--data", r.a.Data)
	fails(t, exitUsage, "expected one of viewer, operator, superuser", "user", "role", "ute", "king", "--data", r.a.Data)
	fails(t, exitUsage, "found no USER", "user", "password", "--data", r.a.Data)

	// A new password from the machine, then one's own.
	onetime := parse[passwordJSON](t, r.here("user", "password", "ute", "--json")).Password
	r.login("ute", onetime, "correct horse battery")
	if got := weirIn(t, "correct horse battery\nanother horse battery\n", "user", "password"); got.code != exitOK {
		t.Errorf("%+v", got)
	}
	if got := weirIn(t, "correct horse battery\nwhatever it may be\n", "user", "password"); got.code != exitRefused {
		t.Errorf("with the former password: %+v", got)
	}
	r.here("user", "add", "robot", "--no-password")
	states := map[string]bool{}
	for _, u := range parse[[]struct {
		Name     string
		Password bool `json:"password"`
	}](t, r.here("user", "list", "--json")) {
		states[u.Name] = u.Password
	}
	if states["robot"] || !states["ute"] {
		t.Errorf("who has a password: %v", states)
	}
	r.here("user", "remove", "ute")
	fails(t, exitRefused, "weir login", "status")
	fails(t, exitNotFound, "ute", "user", "show", "ute", "--data", r.a.Data)
}

func testRemoteTokens(r *remoteRun) {
	t, dir := r.t, r.home()
	r.here("user", "add", "prometheus", "--no-password")
	file := filepath.Join(t.TempDir(), "token")
	r.here("token", "create", "metrics", "--user", "prometheus", "--scope", "status:read", "-o", file)
	secret, err := os.ReadFile(file)
	if info, statErr := os.Stat(file); err != nil || statErr != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", err, statErr)
	}
	if got := weirIn(t, string(secret), "login", r.server, "--fingerprint", r.pin, "--with-token", "--name", "metrics"); got.code != exitOK {
		t.Fatalf("%+v", got)
	}
	good(t, "status")
	fails(t, exitRefused, "the token is for status:read, want hosts:read", "hosts", "list")
	fails(t, exitNotFound, `no token "nothing"`, "token", "revoke", "nothing", "--data", r.a.Data)
	r.here("token", "revoke", "metrics")
	fails(t, exitRefused, "your token for "+r.server+" is none any more: weir login metrics", "status")

	// A token that ended is told from one that was taken away.
	r.login("ted", r.add("ted", "viewer"), "correct horse battery", "--name", "brief", "--expires", "5s", "--use")
	apptest.Eventually(t, soon, "the token ends", func() error {
		if got := weir(t, "status"); got.code != exitRefused || !strings.Contains(got.err, "ended on") {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
	// Nobody but a person changes profiles: one that is broken is named with its line.
	write(t, dir, "profiles.yaml", []byte("use: brief\nprofiles:\n  brief:\n    servr: x\n"))
	fails(t, exitFailed, "servr", "status")
}

func testRemoteCompletion(r *remoteRun) {
	t := r.t
	r.home()
	r.login("cleo", r.add("cleo", "superuser"), "correct horse battery", "--name", "prod")
	f := func(want string, args ...string) {
		t.Helper()
		out, err := apptest.Command(t, append([]string{"__complete"}, args...)...)
		if err != nil || !slices.Contains(strings.Split(out, "\n"), want) {
			t.Errorf("completion of %q lacks %q: %v\n%s", args, want, err, out)
		}
	}
	f("admin", "user", "role", "")
	f("operator", "user", "role", "admin", "")
	f("prod", "login", "p")
	f("prod", "status", "--server", "")
	f("web-01", "policy", "effective", "web")
	f("network:", "policy", "effective", "net")
	f("status:read,flows:read", "token", "create", "x", "--scope", "status:read,flows:r")
	f("estate", "bypass", "on", "")
	f("host_lost", "events", "--kind", "host_l")
	f("fish", "completion", "f")
	// A server that is not there has no words, and keeps nobody waiting for longer than it may.
	if out, err := apptest.Command(t, "__complete", "--server", "127.0.0.1:1", "hosts", "show", ""); err != nil || strings.Contains(out, "prod") {
		t.Errorf("%v\n%s", err, out)
	}
}
