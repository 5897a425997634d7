package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/weirhq/weir/backup"
	"github.com/weirhq/weir/internal/apptest"
)

// entries are the names in a directory but the one of the lock.
func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Name() != "run" {
			names = append(names, e.Name())
		}
	}
	return names
}

// A backup of an instance that runs and receives flows is an instance of its moment: policy, users, authority, estate, flows, and sums that
// add up to them. What is damaged, or not into an empty directory, changes nothing; what is interrupted leaves an empty instance or a whole one.
func TestBackup(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up four times")
	}
	dir := t.TempDir()
	data, file := filepath.Join(dir, "data"), filepath.Join(dir, "x"+backupEnding)
	a := apptest.Start(t, data, append([]string{"--demo", "--demo-rate", "2000"}, anyPorts...)...)
	must := func(a *apptest.App, args ...string) string {
		t.Helper()
		out, err := a.Run(args...)
		if err != nil {
			t.Fatalf("%s: %v", args, err)
		}
		return out
	}
	write(t, dir, "policy.yaml", []byte("global:\n  default:\n    - {action: deny, protocol: tcp, remote_ports: \"23\", id: no-telnet}\n"))
	var vera struct{ Password string }
	if err := json.Unmarshal([]byte(must(a, "user", "add", "vera", "--role", "operator", "--json")), &vera); err != nil || vera.Password == "" {
		t.Fatalf("no password for vera: %v", err)
	}
	must(a, "policy", "apply", filepath.Join(dir, "policy.yaml"))
	must(a, "ca", "init")
	apptest.Eventually(t, soon, "flows and the rule are stored", func() error {
		if n := a.MustSQL("SELECT (SELECT count() FROM flows) > 20000, (SELECT count() FROM rule_instances WHERE position(text, '23') > 0 AND instance > 255) > 0"); n != "1\t1" {
			return errors.New(n)
		}
		return nil
	})
	for _, args := range [][]string{{file}, {"--without-flows", filepath.Join(dir, "small"+backupEnding)}, {dir}} {
		must(a, append([]string{"backup"}, args...)...)
	}
	if out, err := a.Run("backup", file); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("a second backup to the same file: %v %s", err, out)
	}
	if named, err := filepath.Glob(filepath.Join(dir, "weir-*"+backupEnding)); err != nil || len(named) != 1 {
		t.Errorf("backups in the directory: %q, %v; want one that is named by Weir", named, err)
	}
	if clones := a.MustSQL("SELECT count() FROM system.tables WHERE startsWith(name, 'weir_backup_')"); clones != "0" {
		t.Errorf("%s clones are left", clones)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the backup: %v, %v; want 0600", info.Mode(), err)
	}
	policy, users := must(a, "policy", "export"), must(a, "user", "list", "--json")
	instances := a.MustSQL("SELECT max(instance) FROM rule_instances")
	entities := a.MustSQL("SELECT count(), sum(cityHash64(id, key, name, valid_from)) FROM entities FINAL WHERE kind != 'rule'")
	ca, err := os.ReadFile(filepath.Join(data, "ca", "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	a.Stop()

	manifest := checkedBackup(t, file)
	small := checkedBackup(t, filepath.Join(dir, "small"+backupEnding))
	for _, table := range small.Tables {
		if strings.HasPrefix(table.Name, "flows") {
			t.Errorf("--without-flows has table %q", table.Name)
		}
	}
	restored := filepath.Join(dir, "restored")
	refusesDamaged(t, file, restored)
	if out, err := apptest.Command(t, "restore", "--data", data, file); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("restore into an instance: %v %s", err, out)
	}

	// Killed in the midst: nothing is there. Killed at the very end: weir up finishes it.
	killRestore(t, file, restored)
	if out, err := apptest.Command(t, "restore", "--data", restored, file); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	last := filepath.Join(restored, ".restored")
	if err := os.Mkdir(last, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"state.db", "store", "ca"} {
		if err := os.Rename(filepath.Join(restored, name), filepath.Join(last, name)); err != nil {
			t.Fatal(err)
		}
	}

	b := apptest.Start(t, restored, anyPorts...)
	for _, want := range manifest.Tables {
		if want.Name != "flows" {
			continue
		}
		sums := "SELECT (SELECT count() FROM flows), (SELECT sum(flows) FROM flows_rx_1m), (SELECT sum(flows) FROM flows_1m), (SELECT sum(bytes) FROM flows_rx_1m) = (SELECT sum(bytes) FROM flows_1m)"
		if got := b.MustSQL(sums); got != fmt.Sprintf("%d\t%[1]d\t%[1]d\t1", want.Rows) || want.Rows < 20000 {
			t.Errorf("flows and sums are %q, want %d of each", got, want.Rows)
		}
	}
	if got := must(b, "policy", "export"); got != policy {
		t.Errorf("policy is\n%s\nwant\n%s", got, policy)
	}
	if got := must(b, "user", "list", "--json"); got != users {
		t.Errorf("users are %s, want %s", got, users)
	}
	if got := b.MustSQL("SELECT count(), sum(cityHash64(id, key, name, valid_from)) FROM entities FINAL WHERE kind != 'rule' AND valid_from <= fromUnixTimestamp64Milli(" +
		strconv.FormatInt(manifest.Moment.UnixMilli(), 10) + ")"); got != entities {
		t.Errorf("entities are %q, want %q", got, entities)
	}
	if got, err := os.ReadFile(filepath.Join(restored, "ca", "ca.key")); err != nil || !bytes.Equal(got, ca) {
		t.Errorf("the key of the authority is another: %v", err)
	}
	if names := b.MustSQL("SELECT countIf(src_vm_name = 'web-01') > 0 FROM flows"); names != "1" {
		t.Error("flows have lost their names")
	}
	canLogIn(t, b, "vera", vera.Password)

	// Numbers of rules go on above those that were given.
	write(t, dir, "policy.yaml", []byte("global:\n  default:\n    - {action: deny, protocol: tcp, remote_ports: \"21\", id: no-ftp}\n"))
	must(b, "policy", "apply", filepath.Join(dir, "policy.yaml"))
	apptest.Eventually(t, soon, "the new rule is stored with a number of its own", func() error {
		out, err := b.SQL("SELECT countIf(instance > " + instances + "), countIf(position(text, '21') > 0 AND instance > 255) FROM rule_instances WHERE position(text, '21') > 0 AND instance > 255 OR instance > " + instances)
		if err == nil && out != "1\t1" {
			err = errors.New(out)
		}
		return err
	})
	b.Stop()

	// An instance that does not run is backed up, too, and without its flows it is as well a whole one.
	if out, err := apptest.Command(t, "backup", "--data", restored, filepath.Join(dir, "again"+backupEnding)); err != nil {
		t.Errorf("backup of an instance that does not run: %v %s", err, out)
	}
	if out, err := apptest.Command(t, "restore", "--data", filepath.Join(dir, "bare"), filepath.Join(dir, "small"+backupEnding)); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	c := apptest.Start(t, filepath.Join(dir, "bare"), anyPorts...)
	if got := must(c, "policy", "export"); got != policy || c.MustSQL("SELECT count() FROM flows") != "0" {
		t.Errorf("an instance without flows has the policy\n%s", got)
	}
}

// What the configuration names in the data directory is backed up, and nothing of elsewhere.
func TestBackedUpFiles(t *testing.T) {
	data := t.TempDir()
	write(t, data, "weir.yaml", []byte(`
estate:
  file: names.yaml
  xapi:
    - {name: lab, addresses: [192.0.2.1], user: weir, password_file: xapi.password, ca_file: /etc/ssl/pool.pem}
store: {reader: {user: reads, password_file: ../reader.password}}
api: {tls: {cert_file: tls/cert.pem, key_file: tls/key.pem}}
`))
	e, err := prepare(data, "", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	const want = "ca learned.json hosts sources weir.yaml estate.yaml store/users.json names.yaml tls/cert.pem tls/key.pem xapi.password"
	if got := strings.Join(backedUpFiles(e, backup.Options{WithoutFlows: true}), " "); got != want {
		t.Errorf("files without flows: %s; want %s", got, want)
	}
	if got := strings.Join(backedUpFiles(e, backup.Options{}), " "); got != want+" fold.json" {
		t.Errorf("files: %s; want %s", got, want+" fold.json")
	}
}

// checkedBackup is the manifest of a backup, which is whole.
func checkedBackup(t *testing.T, file string) *backup.Manifest {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := backup.Check(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// refusesDamaged sees to it that a backup that was changed, or cut, is refused, and that nothing is written.
func refusesDamaged(t *testing.T, file, to string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(b)
	changed[len(b)/2] ^= 1
	for name, bad := range map[string][]byte{"changed": changed, "cut": b[:len(b)*2/3]} {
		name += backupEnding
		write(t, filepath.Dir(file), name, bad)
		out, err := apptest.Command(t, "restore", "--data", to, filepath.Join(filepath.Dir(file), name))
		if err == nil || !strings.Contains(err.Error(), "check backup") || len(entries(t, to)) > 0 {
			t.Errorf("restore of a backup that was %s: %v %s, and %q is there", name, err, out, entries(t, to))
		}
	}
}

// killRestore begins a restore and kills it as soon as it has begun to write.
func killRestore(t *testing.T, file, to string) {
	t.Helper()
	cmd := exec.Command(apptest.Binary(t), "restore", "--data", to, file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	apptest.Eventually(t, soon, "the store of the restore has files", func() error {
		_, err := os.Stat(filepath.Join(to, ".restoring", "store", "users.json"))
		return err
	})
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	_ = cmd.Wait()
	if got := entries(t, to); len(got) != 1 || got[0] != ".restoring" {
		t.Fatalf("after a kill %q is there, want .restoring only", got)
	}
}

// canLogIn sees to it that a user's password is known.
func canLogIn(t *testing.T, a *apptest.App, user, password string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"user": user, "password": password})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post("http://"+a.API+"/api/v1/session", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(text), `"operator"`) {
		t.Errorf("login of %s: %s %s, %v", user, resp.Status, text, err)
	}
}
