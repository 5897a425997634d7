package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/store/storetest"
)

// composeGrants are the rights of a user of ClickHouse in the files for Compose.
func composeGrants(t *testing.T, user string) []string {
	t.Helper()
	var file struct {
		Users struct {
			List []struct {
				XMLName xml.Name
				Grants  []string `xml:"grants>query"`
			} `xml:",any"`
		} `xml:"users"`
	}
	b, err := os.ReadFile("../../deploy/compose/clickhouse/users.xml")
	if err == nil {
		err = xml.Unmarshal(b, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range file.Users.List {
		if u.XMLName.Local == user && len(u.Grants) > 0 {
			return u.Grants
		}
	}
	t.Fatalf("user %q has no rights", user)
	return nil
}

var systemTable = regexp.MustCompile(`(?:FROM|JOIN)\s+(system\.\w+)`)

// With the rights that the documentation gives Weir's user at a ClickHouse server, and no others, everything that Weir does there works: tables,
// flows, sums, names, retention, backup, restore. The engine is that of the embedded store, whose account gets these rights.
func TestServerRights(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up twice")
	}
	rights := composeGrants(t, "weir")
	page, err := os.ReadFile("../../docs/howto/split-over-machines.md")
	if err != nil {
		t.Fatal(err)
	}
	var args, statements []string
	for _, g := range rights {
		statements = append(statements, g+" TO weir;")
		args = append(args, "-grant", g)
		if of, ok := strings.CutSuffix(g, "weir.*"); ok {
			args = append(args, "-grant", of+"copy.*")
		}
	}
	if block := "```sql\n" + strings.Join(statements, "\n") + "\n```\n"; !strings.Contains(string(page), block) {
		t.Errorf("docs/howto/split-over-machines.md does not have the rights of deploy/compose/clickhouse/users.xml:\n%s", block)
	}

	// Of the tables of the system, which this engine lets everybody read: those that the program asks for.
	var asked []string
	for _, part := range []string{"backup", "query", "store", "store/fold", "event", "policyd", "cmd/weir"} {
		sources, err := filepath.Glob(filepath.Join("../..", part, "*.go"))
		if err != nil || len(sources) == 0 {
			t.Fatalf("sources of %s: %q, %v", part, sources, err)
		}
		for _, file := range sources {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(file, "_test.go") {
				for _, m := range systemTable.FindAllStringSubmatch(string(b), -1) {
					asked = append(asked, "GRANT SELECT ON "+m[1])
				}
			}
		}
	}
	slices.Sort(asked)
	given := slices.DeleteFunc(slices.Clone(rights), func(g string) bool { return !strings.Contains(g, " system.") })
	if asked = slices.Compact(asked); !slices.Equal(asked, given) {
		t.Errorf("Weir needs %q, its user has %q", asked, given)
	}

	dir := t.TempDir()
	files := filepath.Join(dir, "store")
	before := storetest.Open(t, files)
	for _, s := range []string{"CREATE DATABASE weir", "CREATE DATABASE copy", "CREATE TABLE default.secret (x UInt8) ENGINE = MergeTree ORDER BY x"} {
		before.Exec(t, s)
	}
	before.Stop(t)
	server := storetest.Open(t, files, args...)
	for _, s := range []string{"SELECT * FROM default.secret", "CREATE DATABASE x", "DROP DATABASE copy"} {
		url := server.URL(server.Users.Writer)
		resp, err := http.Post(url.String(), "text/plain", strings.NewReader(s))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !strings.Contains(string(b), "ACCESS_DENIED") {
			t.Errorf("%s is allowed: %s %v", s, b, err)
		}
	}

	write(t, dir, "password", []byte(server.Users.Writer.Password))
	configuration := func(data, database string) {
		writeFile(t, filepath.Join(data, "weir.yaml"), fmt.Sprintf(`
store:
  mode: server
  server: {addr: %q, database: %q, user: %q, password_file: %q}
  fold: {every: 2s, settle: 100ms}
  retention: {age: {flows: 40d}, max_size: 100GiB, interval: 1s}
`, server.Addr, database, server.Users.Writer.Name, filepath.Join(dir, "password")))
	}
	data := filepath.Join(dir, "data")
	configuration(data, "weir")
	works := func(a *apptest.App, least int) {
		t.Helper()
		apptest.Eventually(t, soon, "flows are stored and folded, have names, and processes say how they do", func() error {
			got, err := a.SQL(fmt.Sprintf(`SELECT (SELECT countIf(src_vm_name = 'web-01') > 0 AND count() > %d FROM flows), (SELECT count() > 0 FROM rollup_folds),
				(SELECT count() > 0 FROM server_stats), (SELECT sum(flows) > 0 FROM flows_1m)`, least))
			if err == nil && got != "1\t1\t1\t1" {
				err = errors.New(got)
			}
			return err
		})
		if _, err := a.Run("flows", "top", "--by", "src_vm", "--last", "1h"); err != nil {
			t.Error(err)
		}
		for _, want := range []string{"ACCESS_DENIED", "Not enough privileges"} {
			if strings.Contains(a.Output(), want) {
				t.Errorf("Weir is refused something:\n%s", a.Output())
			}
		}
	}
	a := apptest.Start(t, data, append([]string{"--demo", "--demo-rate", "500"}, anyPorts...)...)
	works(a, 1000)
	a.Stop()
	file := filepath.Join(dir, "x"+backupEnding) // of what nothing is added to, or folded, meanwhile
	if _, err := apptest.Command(t, "backup", "--data", data, file); err != nil {
		t.Fatal(err)
	}

	server.Exec(t, "CREATE TABLE copy.weir_restoring (x UInt8) ENGINE = MergeTree ORDER BY x") // as a restore that was interrupted leaves it
	restored := filepath.Join(dir, "restored")
	configuration(restored, "copy")
	if _, err := apptest.Command(t, "restore", "--data", restored, file); err != nil {
		t.Fatal(err)
	}
	works(apptest.Start(t, restored, anyPorts...), 1000)
}
