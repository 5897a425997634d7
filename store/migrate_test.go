package store_test

import (
	"io/fs"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/sql"
	"github.com/weirhq/weir/store"
)

func load(t testing.TB, files fs.FS) []store.Migration {
	t.Helper()
	m, err := store.LoadMigrations(files)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// files makes migrations of name, text, name, text, …
func files(nameText ...string) fs.FS {
	m := fstest.MapFS{}
	for i := 0; i < len(nameText); i += 2 {
		m[nameText[i]] = &fstest.MapFile{Data: []byte(nameText[i+1])}
	}
	return m
}

func TestLoadMigrations(t *testing.T) {
	got := load(t, files("0001_create_a.sql", "-- x\nSELECT 1; SELECT 2", "0002_drop_b.sql", "SELECT 3"))
	want := []store.Migration{
		{1, "0001_create_a.sql", "", []string{"SELECT 1", "SELECT 2"}},
		{2, "0002_drop_b.sql", "", []string{"SELECT 3"}},
	}
	for i := range got {
		if len(got[i].Checksum) != 64 {
			t.Errorf("checksum of %q is %q, want 64 hexadecimal digits", got[i].Name, got[i].Checksum)
		}
		got[i].Checksum, want[i].Checksum = "", ""
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("LoadMigrations: -want +got\n%s", diff)
	}
}

func TestLoadMigrationsRefuses(t *testing.T) {
	f := func(want string, nameText ...string) {
		t.Helper()
		_, err := store.LoadMigrations(files(nameText...))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("LoadMigrations(%q): %v, want an error with %q", nameText, err, want)
		}
	}
	f(`"1_a.sql": want a name of the form`, "1_a.sql", "SELECT 1")
	f(`"notes.txt": want a name of the form`, "notes.txt", "SELECT 1")
	f(`"0002_a.sql": number 2, expected 1`, "0002_a.sql", "SELECT 1")
	f(`"0001_b.sql": number 1, expected 2`, "0001_a.sql", "SELECT 1", "0001_b.sql", "SELECT 1")
	f(`"0001_a.sql": no statement`, "0001_a.sql", "-- nothing;")
	f(`"0001_a.sql": line 2: quote '`, "0001_a.sql", "SELECT 1;\nSELECT '")
}

// Every migration says why, what it costs and how to undo it, and what it runs can be run again.
func TestMigrationFiles(t *testing.T) {
	header := regexp.MustCompile(`(?s)^-- Why: .*\n-- Cost: .*\n-- Undo: `)
	again := regexp.MustCompile(`^(CREATE [A-Z ]*IF NOT EXISTS|CREATE OR REPLACE|DROP [A-Z ]*IF EXISTS|ALTER TABLE)`)
	err := fs.WalkDir(sql.Migrations(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(sql.Migrations(), path)
		if !header.Match(text) {
			t.Errorf("%s: does not begin with a comment of the form Why:, Cost:, Undo:", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range load(t, sql.Migrations()) {
		for _, s := range m.Statements {
			if !again.MatchString(s) {
				t.Errorf("%s: statement cannot be repeated: %.60s", m.Name, s)
			}
		}
	}
}

func TestPlanAndApply(t *testing.T) {
	c := open(t)
	one := load(t, files("0001_a.sql", "CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = Memory;"))
	two := load(t, files(
		"0001_a.sql", "CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = Memory;",
		"0002_b.sql", "CREATE TABLE IF NOT EXISTS b (x UInt8) ENGINE = Memory; CREATE TABLE IF NOT EXISTS c (x UInt8) ENGINE = Memory"))

	plan, err := store.Plan(t.Context(), c, one)
	if err != nil || len(plan.Applied) != 0 || len(plan.Pending) != 1 {
		t.Fatalf("Plan of an empty database = %+v, %v; want one pending", plan, err)
	}
	if got := column(t, c, "SELECT name FROM system.tables WHERE database = currentDatabase()"); len(got) != 0 {
		t.Errorf("Plan made tables %q, want none", got)
	}
	for _, want := range []struct {
		migrations []store.Migration
		run        []string
	}{{one, []string{"0001_a.sql"}}, {one, nil}, {two, []string{"0002_b.sql"}}, {two, nil}} {
		ran, err := store.Apply(t.Context(), c, want.migrations, discard)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range ran {
			names = append(names, m.Name)
		}
		if diff := cmp.Diff(want.run, names); diff != "" {
			t.Errorf("Apply: -want +got\n%s", diff)
		}
	}
	plan, err = store.Plan(t.Context(), c, two)
	if err != nil || len(plan.Applied) != 2 || len(plan.Pending) != 0 {
		t.Fatalf("Plan at the end = %+v, %v; want two applied, none pending", plan, err)
	}
	for i, a := range plan.Applied {
		m := two[i]
		if a.Version != m.Version || a.Name != m.Name || a.Checksum != m.Checksum || time.Since(a.AppliedAt).Abs() > patience {
			t.Errorf("remembered %+v of %+v", a, m)
		}
	}
	if got, want := column(t, c, "SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name"), []string{"a", "b", "c", "weir_migrations"}; !cmp.Equal(got, want) {
		t.Errorf("tables = %q, want %q", got, want)
	}
}

func TestPlanRefusesAChangedFile(t *testing.T) {
	c := open(t)
	if _, err := store.Apply(t.Context(), c, load(t, files("0001_a.sql", "SELECT 1", "0002_b.sql", "SELECT 2")), discard); err != nil {
		t.Fatal(err)
	}
	changed := load(t, files("0001_a.sql", "SELECT 1", "0002_b.sql", "SELECT 3", "0003_c.sql", "SELECT 4"))
	ran, err := store.Apply(t.Context(), c, changed, discard)
	if err == nil || !strings.Contains(err.Error(), `file "0002_b.sql" was changed after it was applied`) || len(ran) != 0 {
		t.Errorf("Apply of a changed file = %v, %v; want an error that names 0002_b.sql", ran, err)
	}
}

func TestPlanRefusesANewerDatabase(t *testing.T) {
	c := open(t)
	newer := load(t, files("0001_a.sql", "SELECT 1", "0002_b.sql", "SELECT 2"))
	if _, err := store.Apply(t.Context(), c, newer, discard); err != nil {
		t.Fatal(err)
	}
	_, err := store.Plan(t.Context(), c, newer[:1])
	if err == nil || !strings.Contains(err.Error(), `has migration "0002_b.sql", this weir knows up to 1`) {
		t.Errorf("Plan with an older set: %v, want an error that names 0002_b.sql", err)
	}
}

// A file that fails half-way is not remembered, those before it are; once it is right all of it runs.
func TestApplyAfterAFailure(t *testing.T) {
	c := open(t)
	first := "CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = Memory"
	second := "CREATE TABLE IF NOT EXISTS b (x UInt8) ENGINE = Memory;\n"
	ran, err := store.Apply(t.Context(), c, load(t, files("0001_a.sql", first, "0002_b.sql", second+"CREATE TABLE oops (x NoSuchType) ENGINE = Memory")), discard)
	if err == nil || !strings.Contains(err.Error(), `apply migration "0002_b.sql": statement 2 of 2 (CREATE TABLE oops`) || len(ran) != 1 {
		t.Fatalf("Apply = %v, %v; want 0001 done and an error at statement 2 of 0002", ran, err)
	}
	right := load(t, files("0001_a.sql", first, "0002_b.sql", second+"CREATE TABLE IF NOT EXISTS c (x UInt8) ENGINE = Memory"))
	ran, err = store.Apply(t.Context(), c, right, discard)
	if err != nil || len(ran) != 1 || ran[0].Version != 2 {
		t.Fatalf("Apply of the right file = %v, %v; want 0002 done", ran, err)
	}
}

func TestApplyByManyAtOnce(t *testing.T) {
	c := open(t)
	migrations := load(t, sql.Migrations())
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { _, errs[i] = store.Apply(t.Context(), c, migrations, discard) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	plan, err := store.Plan(t.Context(), c, migrations)
	if err != nil || len(plan.Pending) != 0 || len(plan.Applied) != len(migrations) {
		t.Errorf("Plan afterwards = %d applied, %d pending, %v; want %d, 0", len(plan.Applied), len(plan.Pending), err, len(migrations))
	}
}

// schema.sql is what the migrations make, and makes the same itself.
func TestSchema(t *testing.T) {
	c := migrated(t)
	got, err := store.Schema(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../sql/schema.sql", got)
	if *update {
		return
	}
	fresh := open(t)
	statements, err := store.SplitStatements(sql.Schema())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if err := fresh.Exec(t.Context(), s); err != nil {
			t.Fatalf("%.60s: %v", s, err)
		}
	}
	again, err := store.Schema(t.Context(), fresh)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("schema.sql makes another schema: -migrations +schema.sql\n%s", diff)
	}
}

// The stored columns of flows are flow.Fields: the same names, types and order, and comments that hold its words.
func TestFlowsHasTheFieldsOfFlow(t *testing.T) {
	c := migrated(t)
	rows, err := c.Conn().Query(t.Context(), "SELECT name, type, comment FROM system.columns WHERE database = currentDatabase() AND table = 'flows' AND default_kind != 'ALIAS' ORDER BY position")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	type col struct{ Name, Type, Comment string }
	var got, want []col
	for rows.Next() {
		var c col
		if err := rows.Scan(&c.Name, &c.Type, &c.Comment); err != nil {
			t.Fatal(err)
		}
		got = append(got, c)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, f := range flow.Fields {
		want = append(want, col{f.Name, f.Type, store.Comment(f)})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("columns of flows: -flow.Fields +schema\n%s", diff)
	}
}

// A stored kind of entity is the one of flow.Kinds.
func TestEntityKinds(t *testing.T) {
	c := migrated(t)
	for i, kind := range flow.Kinds {
		var got int8
		scan(t, c, "SELECT toInt8(CAST('"+string(kind)+"' AS "+kindType(t, c)+"))", &got)
		if int(got) != i+1 {
			t.Errorf("entities.kind has %s = %d, want %d", kind, got, i+1)
		}
	}
}

func kindType(t *testing.T, c *store.Client) string {
	t.Helper()
	return column(t, c, "SELECT type FROM system.columns WHERE database = currentDatabase() AND table = 'entities' AND name = 'kind'")[0]
}

// What people see in SQL is explained where they see it.
func TestEveryColumnHasAComment(t *testing.T) {
	c := migrated(t)
	bare := column(t, c, `SELECT table || '.' || name FROM system.columns WHERE database = currentDatabase() AND comment = ''
		AND table NOT IN (SELECT name FROM system.tables WHERE database = currentDatabase() AND engine IN ('View', 'Dictionary'))`)
	if len(bare) > 0 {
		t.Errorf("columns without a comment: %q", bare)
	}
}
