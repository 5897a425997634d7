package backup

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/sql"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/storetest"
)

// database is a client of a new database with the tables of this version, and how it was opened.
func database(t *testing.T) (*store.Client, store.Config) {
	t.Helper()
	name, srv := storetest.Database(t)
	cfg := store.DefaultConfig()
	cfg.Addr, cfg.Database, cfg.User, cfg.Password = srv.Addr, name, srv.Users.Writer.Name, srv.Users.Writer.Password
	c, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	migrations, err := store.LoadMigrations(sql.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply(t.Context(), c, migrations, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return c, cfg
}

func exec(t *testing.T, c *store.Client, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if err := c.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func wants(t *testing.T, c *store.Client, what, want, query string) {
	t.Helper()
	if got, err := str(t.Context(), c, query); err != nil || got != want {
		t.Errorf("%s: %q, %v; want %q", what, got, err, want)
	}
}

// batchOf inserts a batch of ten flows that were received so many seconds ago, and the sums of it.
func batchOf(t *testing.T, c *store.Client, batch, age int, tables ...string) {
	t.Helper()
	for _, table := range tables {
		columns, values := "bucket, slot, folded, collector, batch, flows", fmt.Sprintf("toStartOfMinute(now('UTC') - %[1]d), toStartOfHour(now('UTC')), false, 1, %[2]d, 10 FROM numbers(1)", age, batch)
		if table == flowsTable {
			columns, values = "time_received, batch, bytes", fmt.Sprintf("now64(3, 'UTC') - %d, %d, number FROM numbers(10)", age, batch)
		}
		exec(t, c, "INSERT INTO "+table+" ("+columns+") SELECT "+values)
	}
}

const oldAge = 100 * 24 * 3600 // s; older than rows are kept by default

var withSums = append([]string{flowsTable}, sumTables...)

// target restores into a database that is a server's.
func target(t *testing.T, cfg store.Config) Target {
	t.Helper()
	migrations, err := store.LoadMigrations(sql.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	return Target{
		Data: t.TempDir(), Server: true, Migrations: len(migrations),
		Store: func(context.Context, string) (*store.Client, func() error, error) {
			c, err := store.Open(cfg)
			return c, func() error { return nil }, err
		},
	}
}

// A backup has what was stored at its moment: sums of batches whose flows came later are not in it. What is older than rows are kept by
// default is restored, too, and is there until a configuration says how long. A database that has rows is refused; one whose restore was
// interrupted is emptied first.
func TestServer(t *testing.T) {
	from, _ := database(t)
	exec(t, from, "ALTER TABLE flows REMOVE TTL")
	batchOf(t, from, 1, oldAge, flowsTable)
	batchOf(t, from, 2, 10, withSums...)
	batchOf(t, from, 3, 5, withSums...)
	batchOf(t, from, 4, 1, sumTables...) // its flows are on their way
	data := t.TempDir()
	if err := os.Mkdir(filepath.Join(data, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	name, err := nameOf(data)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, from,
		"INSERT INTO entities (id, kind, name, valid_from) SELECT 7, 'vm', 'web', now64(3)",
		"INSERT INTO entities (id, kind, name, valid_from) SELECT id, kind, name, valid_from FROM entities", // as after an insert that failed
		"CREATE TABLE "+ClonePrefix+name+"_flows AS flows")                                                  // of a backup that was interrupted
	if err := os.WriteFile(filepath.Join(data, "fold.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x")
	ctx, cancel := context.WithCancel(t.Context())
	interrupt := func(what string, _, _ uint64) {
		if strings.HasPrefix(what, "copying") {
			cancel()
		}
	}
	_, err = Write(ctx, file, Options{}, Deps{Client: from, Data: data, Watch: interrupt})
	if want := fmt.Sprintf("back up to %q: interrupted, nothing of it is left", file); err == nil || err.Error() != want {
		t.Errorf("an interrupted backup: %v, want %s", err, want)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) > 0 {
		t.Errorf("an interrupted backup leaves %v, %v", left, err)
	}
	wants(t, from, "clones that an interrupted backup leaves", "0", "SELECT toString(count()) FROM system.tables WHERE database = currentDatabase() AND startsWith(name, '"+ClonePrefix+"')")

	m, err := Write(t.Context(), file, Options{}, Deps{Client: from, Data: data, Files: []string{"fold.json", "nothing"}})
	if err != nil {
		t.Fatal(err)
	}
	if time.Since(m.Moment) > time.Hour || time.Since(m.Moment) < 0 {
		t.Errorf("moment %v, want a short while ago", m.Moment)
	}
	wants(t, from, "clones that are left", "0", "SELECT toString(count()) FROM system.tables WHERE database = currentDatabase() AND startsWith(name, '"+ClonePrefix+"')")

	to, cfg := database(t)
	exec(t, to, "INSERT INTO entities (id, kind, name, valid_from) SELECT 8, 'vm', 'db', now64(3)")
	x := target(t, cfg)
	if _, err := Restore(t.Context(), file, x); err == nil || !strings.Contains(err.Error(), `table "entities" of database`) || Unsettled(x.Data) {
		t.Errorf("restore into a database with rows: %v", err)
	}
	wants(t, to, "rows that were there", "1", "SELECT toString(count()) FROM entities")

	exec(t, to, "CREATE TABLE "+marker+" (x UInt8) ENGINE = MergeTree ORDER BY x")
	if err := Unfinished(t.Context(), to); err == nil || !strings.Contains(err.Error(), "run weir restore again") {
		t.Errorf("Unfinished of a restore that was interrupted: %v", err)
	}
	if _, err := Restore(t.Context(), file, x); err != nil {
		t.Fatal(err)
	}
	if err := Unfinished(t.Context(), to); err != nil {
		t.Errorf("Unfinished of a restore that is done: %v", err)
	}
	exec(t, to, "OPTIMIZE TABLE flows FINAL")
	wants(t, to, "flows, by batch", "[(1,10),(2,10),(3,10)]", "SELECT toString(groupArray((b, n))) FROM (SELECT batch AS b, count() AS n FROM flows GROUP BY b ORDER BY b)")
	for _, table := range sumTables {
		wants(t, to, "batches of "+table, "[2,3]", "SELECT toString(arraySort(groupUniqArray(batch))) FROM "+table)
	}
	wants(t, to, "entities", "[(7,'web')]", "SELECT toString(groupArray((id, name))) FROM entities FINAL")
	if b, err := os.ReadFile(filepath.Join(x.Data, "fold.json")); err != nil || string(b) != "{}" {
		t.Errorf("fold.json: %q, %v", b, err)
	}

	// Since a time only; a second file of the name is refused.
	if _, err := Write(t.Context(), file, Options{}, Deps{Client: from, Data: data}); err == nil {
		t.Error("a file that is there was written over")
	}
	m, err = Write(t.Context(), file+"2", Options{Since: time.Now().Add(-time.Hour)}, Deps{Client: from, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range m.Tables {
		if table.Name == flowsTable && table.Rows != 20 || table.Name == "entities" && table.Rows != 1 {
			t.Errorf("since an hour ago: %+v", table)
		}
	}
}

// Flows whose sums do not come are not backed up: sums would not add up to them for ever.
func TestCloneWaits(t *testing.T) {
	c, _ := database(t)
	batchOf(t, c, 1, 5, withSums...)
	batchOf(t, c, 2, 5, flowsTable, receivedTable)
	tables, err := findTables(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloneAll(t.Context(), c, "a", tables, time.Millisecond); err == nil || !strings.Contains(err.Error(), "do not agree") {
		t.Errorf("clones without the sums of a batch: %v", err)
	}
	batchOf(t, c, 2, 5, sumTables[1:]...)
	k, err := cloneAll(t.Context(), c, "a", tables, time.Minute)
	if err != nil {
		t.Error(err)
	}
	if err := k.drop(t.Context()); err != nil {
		t.Error(err)
	}
}

// What several Weirs have in one database is backed up from each: none takes the clones of another away, unless they are so old that nobody can
// be at work on them. A data directory keeps its name, and no other has it.
func TestClonesOfSeveral(t *testing.T) {
	c, _ := database(t)
	batchOf(t, c, 1, 5, withSums...)
	tables, err := findTables(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	k, err := cloneAll(t.Context(), c, "other", tables, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	there := func() string {
		t.Helper()
		n, err := str(t.Context(), c, "SELECT toString(groupArray(name)) FROM (SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, '"+ClonePrefix+"') ORDER BY name)")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := there()
	if !strings.Contains(before, "'"+k.name(flowsTable)+"'") {
		t.Fatalf("the clones are %s", before)
	}
	data, file := t.TempDir(), filepath.Join(t.TempDir(), "x")
	for i, want := range []uint64{10, 10} {
		m, err := Write(t.Context(), fmt.Sprint(file, i), Options{}, Deps{Client: c, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range m.Tables {
			if x.Name == flowsTable && x.Rows != want || strings.HasPrefix(x.Name, ClonePrefix) {
				t.Errorf("backup %d has table %+v", i, x)
			}
		}
		if now := there(); now != before {
			t.Errorf("after a backup there are the clones %s, before it %s", now, before)
		}
	}
	wants(t, c, "the clone of flows of the other", "10", "SELECT toString(count()) FROM "+k.name(flowsTable))

	names := map[string]bool{}
	for _, dir := range []string{data, data, t.TempDir()} {
		if err := os.MkdirAll(filepath.Join(dir, "run"), 0o700); err != nil {
			t.Fatal(err)
		}
		name, err := nameOf(dir)
		if err != nil {
			t.Fatal(err)
		}
		names[name] = true
	}
	if len(names) != 2 {
		t.Errorf("two data directories have the names %v", names)
	}

	stranger := &clones{client: c, prefix: ClonePrefix + "third_", stale: -time.Minute} // of which all there is is old
	if err := stranger.drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := there(); now != "[]" {
		t.Errorf("stale clones stay: %s", now)
	}
}
