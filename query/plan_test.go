package query_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/query"
)

var update = flag.Bool("update", false, "write the golden files")

// now is the time of the golden plans.
var now = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

// golden renders what a plan does, as SQL that a reader can run.
func golden(p *query.Plan) string {
	var s strings.Builder
	s.WriteString(p.SQL + "\n\n")
	for _, x := range p.Params {
		fmt.Fprintf(&s, "-- {%s:%s} = %q\n", x.Name, x.Type, x.Value)
	}
	fmt.Fprintf(&s, "-- reads %s (%s) from %s to %s", p.Table, p.Basis, p.From.Format(time.RFC3339), p.To.Format(time.RFC3339))
	if p.Step != 0 {
		fmt.Fprintf(&s, " by %s", time.Duration(p.Step))
	}
	s.WriteString("\n")
	for _, c := range p.Columns {
		line := strings.Join(strings.Fields(fmt.Sprintf("-- column %s %s %s %s %s", c.Name, c.Role, c.Type, c.Unit, c.Field)), " ")
		s.WriteString(line + "\n")
	}
	for _, n := range p.Names {
		fmt.Fprintf(&s, "-- name %s %v %q at %d\n", n.Field, n.Kinds, n.Text, n.Pos)
	}
	for _, n := range p.Notes {
		s.WriteString("-- note " + n + "\n")
	}
	return s.String()
}

// requests returns the golden requests in a directory, by file name without its ending.
func requests(t *testing.T, dir string) map[string]query.Request {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no requests in testdata/%s: %v", dir, err)
	}
	all := map[string]query.Request{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var r query.Request
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".json")] = r
	}
	return all
}

func TestGoldenPlans(t *testing.T) {
	for dir, tables := range map[string][]query.Table{"plans": query.Tables[:1], "rollups": query.Tables} {
		for name, r := range requests(t, dir) {
			t.Run(dir+"/"+name, func(t *testing.T) {
				p, err := query.Build(r, tables, now)
				got := ""
				if err != nil {
					got = "error: " + err.Error() + "\n"
				} else {
					got = golden(p)
				}
				file := filepath.Join("testdata", dir, name+".golden.sql")
				if *update {
					if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatalf("%v (write it with -update)", err)
				}
				if diff := cmp.Diff(string(want), got); diff != "" {
					t.Errorf("plan of %s.json differs (-want +got):\n%s", name, diff)
				}
			})
		}
	}
}
