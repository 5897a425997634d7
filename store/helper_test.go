package store_test

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/sql"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/storetest"
)

var update = flag.Bool("update", false, "write generated files instead of comparing with them")

var discard = slog.New(slog.DiscardHandler)

// config is the way to the store srv as its writer.
func config(srv *storetest.Server, database string) store.Config {
	cfg := store.DefaultConfig()
	cfg.Addr, cfg.Database = srv.Addr, database
	cfg.User, cfg.Password = srv.Users.Writer.Name, srv.Users.Writer.Password
	return cfg
}

// open is a client of a new, empty database in the store that the tests share.
func open(t testing.TB) *store.Client {
	t.Helper()
	database, srv := storetest.Database(t)
	return openConfig(t, config(srv, database))
}

func openConfig(t testing.TB, cfg store.Config) *store.Client {
	t.Helper()
	c, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// migrated is a client of a new database with the schema.
func migrated(t testing.TB) *store.Client {
	t.Helper()
	c := open(t)
	migrate(t, c)
	return c
}

func migrate(t testing.TB, c *store.Client) {
	t.Helper()
	migrations, err := store.LoadMigrations(sql.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply(t.Context(), c, migrations, discard); err != nil {
		t.Fatal(err)
	}
}

// scan runs a query that returns one row and reads it into dest.
func scan(t testing.TB, c *store.Client, query string, dest ...any) {
	t.Helper()
	if err := c.Conn().QueryRow(t.Context(), query).Scan(dest...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// column runs a query that returns one column of text and reads it.
func column(t testing.TB, c *store.Client, query string) []string {
	t.Helper()
	rows, err := c.Conn().Query(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var values []string
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		values = append(values, v)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return values
}

// patience is how long tests wait for what takes a second on an idle machine.
const patience = 2 * time.Minute

// eventually waits until done returns true.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited %s in vain: %s", patience, what)
		case <-tick.C:
		}
	}
}

// golden compares got with the file, or writes it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not current: run `go test ./store -run %s -update` and read the difference\n%s", file, t.Name(), got)
	}
}

func idText(id flow.ID) string { return strconv.FormatUint(uint64(id), 10) }
