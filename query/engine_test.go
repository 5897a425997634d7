package query_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirhq/weir/query"
	"github.com/weirhq/weir/sql"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/storetest"
)

// engine is a migrated store, with the writer's way in and, for everything that is planned here, the reader's.
type engine struct {
	writer *store.Client
	reader driver.Conn
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	srv := storetest.ClickHouse(t)
	open := func(user, password string) *store.Client {
		cfg := store.DefaultConfig()
		cfg.Addr, cfg.User, cfg.Password = "http://"+srv.Addr, user, password
		c, err := store.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	e := &engine{writer: open(srv.Users.Writer.Name, srv.Users.Writer.Password)}
	e.reader = open(srv.Users.ReadOnly.Name, srv.Users.ReadOnly.Password).Conn()
	migrations, err := store.LoadMigrations(sql.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply(t.Context(), e.writer, migrations, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return e
}

// describe returns the columns of a statement's answer.
func (e *engine) describe(t *testing.T, s query.Statement) (names, types []string) {
	t.Helper()
	s.SQL = "DESCRIBE TABLE (\n" + s.SQL + "\n)"
	for _, row := range e.query(t, s) {
		names, types = append(names, row[0].(string)), append(types, row[1].(string))
	}
	return names, types
}

// query runs a statement as the reader and returns its rows.
func (e *engine) query(t *testing.T, s query.Statement) (rows [][]any) {
	t.Helper()
	settings := clickhouse.Settings{}
	for k, v := range s.Settings {
		settings[k] = v
	}
	var args []any
	for _, p := range s.Params {
		args = append(args, clickhouse.Named(p.Name, p.Value))
	}
	r, err := e.reader.Query(clickhouse.Context(context.Background(), clickhouse.WithSettings(settings)), s.SQL, args...)
	if err != nil {
		t.Fatalf("%v\n%s\n%v", err, s.SQL, s.Params)
	}
	defer r.Close()
	for r.Next() {
		into := make([]any, len(r.Columns()))
		for i, c := range r.ColumnTypes() {
			into[i] = reflect.New(c.ScanType()).Interface()
		}
		if err := r.Scan(into...); err != nil {
			t.Fatalf("%v\n%s", err, s.SQL)
		}
		row := make([]any, len(into))
		for i := range into {
			row[i] = reflect.ValueOf(into[i]).Elem().Interface()
		}
		rows = append(rows, row)
	}
	if err := r.Err(); err != nil {
		t.Fatalf("%v\n%s\n%v", err, s.SQL, s.Params)
	}
	return rows
}

// Every golden plan runs as the read-only user on the migrated schema, and its answer has the columns that it tells.
func TestGoldenPlansRun(t *testing.T) {
	e := newEngine(t)
	for dir, tables := range map[string][]query.Table{"plans": query.Tables[:1], "rollups": query.Tables} {
		for name, r := range requests(t, dir) {
			t.Run(dir+"/"+name, func(t *testing.T) {
				p, err := query.Build(r, tables, now)
				if err != nil {
					t.Skipf("no plan: %v", err) // its golden says so
				}
				e.query(t, p.Statement)
				names, types := e.describe(t, p.Statement)
				for i, c := range p.Columns {
					if i >= len(names) || names[i] != c.Name || !sameType(types[i], c.Type) {
						t.Fatalf("column %d is %v, want %s %s\n%v", i, at(names, types, i), c.Name, c.Type, types)
					}
				}
				if len(names) != len(p.Columns) {
					t.Errorf("answer has %d columns, plan tells %d", len(names), len(p.Columns))
				}
			})
		}
	}
}

// The tables of the planner have the columns that it thinks, and keep rows for as long.
func TestTablesAreAsTheSchemaSays(t *testing.T) {
	e := newEngine(t)
	for _, table := range query.Tables {
		names, _ := e.describe(t, query.Statement{SQL: "SELECT * FROM " + table.Name})
		has := func(column string) {
			if !slices.Contains(names, column) {
				t.Errorf("%s has no column %q, only %q", table.Name, column, names)
			}
		}
		has(table.Time)
		if table.Resolution == 0 {
			continue // TestGoldenPlansRun and TestTwin ask its columns
		}
		for _, c := range table.Columns {
			has(c)
		}
		for _, c := range []string{table.Bytes, table.Packets, table.Flows, table.Counted} {
			has(c)
		}
		ddl := e.query(t, query.Statement{SQL: "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = '" + table.Name + "_rows'"})[0][0].(string)
		days := int(table.History / (24 * time.Hour))
		keeps := fmt.Sprintf("TTL slot + toIntervalDay(%d)", days)
		if days%365 == 0 {
			keeps = fmt.Sprintf("TTL slot + toIntervalYear(%d)", days/365)
		}
		if !strings.Contains(ddl, keeps) {
			t.Errorf("%s: the planner thinks that it keeps %s (%q); the schema says\n%s", table.Name, table.History, keeps, ddl)
		}
	}
}

// sameType compares types as ClickHouse prints them; an enumeration of a test table may have fewer words.
func sameType(got, want string) bool {
	return got == want || strings.HasPrefix(got, "Enum8(") && strings.HasPrefix(want, "Enum8(")
}

func at(names, types []string, i int) string {
	if i >= len(names) {
		return "absent"
	}
	return fmt.Sprint(names[i], " ", types[i])
}

// Names are checked and corrected by what the store knows; presence is told of an empty and of a filled table.
func TestNamesAndPresence(t *testing.T) {
	e := newEngine(t)
	count := func(s query.Statement) uint64 { return e.query(t, s)[0][0].(uint64) }
	if n := count(query.Newest(query.Tables)); n != 0 {
		t.Errorf("records of an empty table = %d, want 0", n)
	}
	from := time.Now().Add(-2 * time.Hour).Truncate(time.Hour).UTC()
	w := &twin{entities: estateOf()}
	w.rows = randomBatch(rand.New(rand.NewPCG(1, 1)), 100, from, time.Hour, w.entities)
	e.insert(t, w)
	row := e.query(t, query.Newest(query.Tables))[0]
	if want := w.rows.TimeReceived[99]; row[0].(uint64) != 100 || row[1].(time.Time).UnixMilli() != want {
		t.Errorf("newest = %v, want 100 records and %d ms", row, want)
	}
	if n := count(query.Records(from, from.Add(30*time.Minute), query.Tables)); n != 50 {
		t.Errorf("records of the first half = %d, want 50", n)
	}

	check := func(filter, want string) {
		t.Helper()
		p, err := query.Build(query.Request{Kind: query.Top, From: from, To: from.Add(time.Hour), Filter: filter}, query.Tables, from)
		if err != nil {
			t.Fatal(err)
		}
		var known []query.KnownEntity
		for _, r := range e.query(t, query.KnownNames(p.Names)) {
			known = append(known, query.KnownEntity{Kind: r[0].(string), Name: r[1].(string), Key: r[2].(string)})
		}
		got := ""
		for _, n := range query.Missing(p.Names, known) {
			var similar []string
			for _, r := range e.query(t, query.SimilarNames(n)) {
				similar = append(similar, r[0].(string))
			}
			got += n.Unknown(similar).Error() + "\n"
		}
		if strings.TrimSuffix(got, "\n") != want {
			t.Errorf("filter %s:\n got %s\nwant %s", filter, got, want)
		}
	}
	check(`vm = web-01 and dst_vm = "a b" and network in (db, "50%_x")`, "")
	check(`vm = vm/1 or group = 0F3C7E7E-0000-4000-8000-00000000000A`, "")
	check(`vm = web-1`, `filter: unknown vm "web-1" at 6: did you mean web-01 or web-02?`)
	check(`vm = db and group in (db, databases)`, `filter: unknown group "databases" at 27`)
	check(`src_vm != "it's \\ odd"`, `filter: unknown vm "it's \\ odd" at 11`)
}
