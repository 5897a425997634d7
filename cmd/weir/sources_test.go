package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/internal/apptest"
	lab "github.com/weirhq/weir/lab/xapi"
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

// What only a pool's management knows of VMs outlives Weir: it starts while the pool is away, and has their names and tags, which it says are stale; once the pool is back, what changed meanwhile counts.
func TestPoolIsRemembered(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up twice")
	}
	site := lab.NewSite(lab.Config{User: "weir", Password: "a password"}, "berlin")
	const ip = "127.0.3.7" // of its own, so that nobody takes the port while the pool is away
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	certificate, err := lab.NewCertificate(net.ParseIP(ip))
	if err != nil {
		t.Fatal(err)
	}
	coordinator := site.ServeOn(l, certificate)
	t.Cleanup(func() { coordinator.Close() })
	host := site.AddHost("xcp-1", coordinator.Address())
	network := site.AddNetwork("front", "xenbr0", 0, "")
	first, second := site.AddVM("web-01", host, "web"), site.AddVM("web-02", host, "web")
	site.AddVIF(first, network, "06:00:00:00:01:01", "192.0.2.101")
	site.AddVIF(second, network, "06:00:00:00:01:02", "192.0.2.102")
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	write(t, dir, "password", []byte("a password\n"))
	write(t, dir, "pool.pem", coordinator.PEM())
	writeFile(t, filepath.Join(data, "weir.yaml"), fmt.Sprintf("estate:\n  xapi:\n    - {name: lab, addresses: [%q], user: weir, password_file: %q, ca_file: %q}\n", address, filepath.Join(dir, "password"), filepath.Join(dir, "pool.pem")))
	named := func(a *apptest.App, want ...string) {
		t.Helper()
		apptest.Eventually(t, 2*soon, fmt.Sprintf("the VMs are %q", want), func() error {
			out, err := a.Run("estate", "search", "web-")
			if err != nil {
				return err
			}
			names := regexp.MustCompile(`web-\w+`).FindAllString(out, -1)
			slices.Sort(names)
			if names = slices.Compact(names); !slices.Equal(names, want) {
				return fmt.Errorf("%q in\n%s", names, out)
			}
			return nil
		})
	}
	a := apptest.Start(t, data, anyPorts...)
	named(a, "web-01", "web-02")
	a.Stop()
	if err := coordinator.Close(); err != nil {
		t.Fatal(err)
	}
	site.Set("VM", first, lab.Record{"name_label": "web-renamed"})

	b := apptest.Start(t, data, anyPorts...)
	named(b, "web-01", "web-02")
	if out, err := b.Run("estate", "explain", "web-01"); err != nil || !regexp.MustCompile(`(?m)^tags +web +xapi:lab .*stale`).MatchString(out) {
		t.Errorf("web-01 while the pool is away: %v\n%s", err, out)
	}
	again, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	back := site.ServeOn(again, certificate)
	t.Cleanup(func() { back.Close() })
	named(b, "web-02", "web-renamed")
}
