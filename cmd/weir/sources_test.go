package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/estate"
)

// Which half of a pool is missing is said, in either direction; a pool of which no host was added is not half.
func TestHalves(t *testing.T) {
	told := func(name, database string) estate.SourceHost {
		return estate.SourceHost{Name: name, UUID: "uuid-of-" + name, Pool: "lab", Told: true, Database: database}
	}
	for _, c := range []struct {
		what  string
		hosts []estate.SourceHost
		want  []string // in one sentence each
	}{
		{"all", []estate.SourceHost{told("a", "host:a"), told("b", "host:b")}, nil},
		{"none", []estate.SourceHost{told("a", ""), told("b", "")}, nil},
		{"half", []estate.SourceHost{told("a", "host:a"), told("b", ""), told("c", "")}, []string{"half a pool: Weir has no session with b (--uuid uuid-of-b), c (--uuid uuid-of-c),"}},
		{"more", []estate.SourceHost{told("a", "host:a"), {Name: "z", Database: "host:z"}}, []string{"the pool does not have: z;"}},
		{"another UUID", []estate.SourceHost{told("a", ""), {Name: "a", UUID: "other", Database: "host:a"}}, []string{"with another UUID than the pool has, and are taken for others: weir hosts remove NAME, and add it again with --uuid, a (--uuid uuid-of-a)"}},
	} {
		got := halves(c.hosts)
		if len(got) != len(c.want) || len(got) > 0 && !strings.Contains(got[0], c.want[0]) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

// weir check-config says what is wrong with pools and their files, all at once.
func TestCheckConfigOfSources(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	check := func() string {
		t.Helper()
		var out, errs strings.Builder
		if code := run(t.Context(), []string{"check-config", "--data", dir}, nil, &out, &errs); (code == exitOK) != (errs.Len() == 0) {
			t.Errorf("exit code %d, %s", code, errs.String())
		}
		return errs.String()
	}
	write("open", "x\n", 0o644)
	write("empty", "\n", 0o600)
	write("weir.yaml", `estate:
  xapi:
    - {name: a, addresses: [192.0.2.1], password_file: none}
    - {name: b, addresses: ["http://192.0.2.2"], password_file: open}
    - {name: a, addresses: [192.0.2.3], password_file: empty}
`, 0o600)
	got := check()
	for _, want := range []string{`estate.xapi[1].addresses[0]: found "http://192.0.2.2": the password would be sent unencrypted; want https`, `estate.xapi[2].name: found "a" a second time`} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in:\n%s", want, got)
		}
	}
	write("weir.yaml", `estate:
  xapi:
    - {name: a, addresses: [192.0.2.1], password_file: none, ca_file: open}
    - {name: b, addresses: [192.0.2.2], password_file: open}
    - {name: c, addresses: [192.0.2.3], password_file: empty}
`, 0o600)
	got = check()
	for _, want := range []string{"no such file", "no certificate in PEM form", "chmod 600", "empty first line"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in:\n%s", want, got)
		}
	}
	write("secret", "x\n", 0o600)
	write("weir.yaml", "estate: {xapi: [{name: a, addresses: [192.0.2.1], password_file: secret}]}\n", 0o600)
	if got := check(); got != "" {
		t.Error(got)
	}
	write("weir.yaml", `estate:
  xapi:
    - {name: a, addresses: [192.0.2.1], password_file: secret, write: {fail_mode: open}}
`, 0o600)
	if got, want := check(), `estate.xapi[0].write.fail_mode: found "open", want secure, standalone`; !strings.Contains(got, want) {
		t.Errorf("%q is not in:\n%s", want, got)
	}
	write("weir.yaml", `estate:
  libvirt:
    - {name: a, uri: "qemu+tls://kvm1.example/system", ca_file: open}
    - {name: b, uri: "qemu+tls://kvm2.example/system", ca_file: none, cert_file: absent, key_file: open}
`, 0o600)
	got = check()
	for _, want := range []string{`check estate.libvirt "a": read ca_file`, "no certificate in PEM form", `check estate.libvirt "b": read ca_file`, "absent: no such file", "key_file", "chmod 600"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in:\n%s", want, got)
		}
	}
}
