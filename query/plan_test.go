package query_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/chance"
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
	if len(p.Parts) > 1 {
		for _, x := range p.Parts {
			fmt.Fprintf(&s, "-- part %s from %s to %s\n", x.Table, x.From.Format(time.RFC3339), x.To.Format(time.RFC3339))
		}
	}
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

// Whatever the range, its parts follow each other without a gap, hold whole buckets of their tables, and are together the
// range to the minute, as far as minutes are kept.
func TestPartsMakeTheRange(t *testing.T) {
	r := rand.New(rand.NewPCG(chance.Seed(t), 5))
	tables := map[string]query.Table{}
	for _, table := range query.Tables {
		tables[table.Name] = table
	}
	several := 0
	for range 20_000 {
		q := query.Request{Kind: query.Top, By: []string{"src_vm"}, To: now.Add(-time.Duration(r.Int64N(int64(150 * 24 * time.Hour))))}
		length := time.Duration(r.Int64N(int64(time.Minute) << r.IntN(17)))
		q.From = q.To.Add(-time.Second - length)
		if r.IntN(3) == 0 {
			q.Kind, q.Step = query.Series, query.Duration([]time.Duration{time.Minute, 5 * time.Minute, time.Hour, 24 * time.Hour}[r.IntN(4)])
		}
		p, err := query.Build(q, query.Tables, now)
		if err != nil {
			continue // too many steps
		}
		at := p.From
		for i, x := range p.Parts {
			if i > 0 && p.Parts[i-1].Table == x.Table || !x.From.Equal(at) || !x.From.Before(x.To) {
				t.Fatalf("%+v: parts %v", q, p.Parts)
			}
			at = x.To
			if whole := tables[x.Table].Resolution; whole != 0 && (x.From.Truncate(whole) != x.From.UTC() || x.To.Truncate(whole) != x.To.UTC()) {
				t.Fatalf("%+v: part %v is not of whole buckets", q, x)
			}
		}
		if !at.Equal(p.To) || p.From.After(q.From) || p.To.Before(q.To) {
			t.Fatalf("%+v: parts %v, of %v to %v", q, p.Parts, p.From, p.To)
		}
		kept := q.From.After(now.Add(-80 * 24 * time.Hour))
		if kept && (p.To.Sub(q.To) >= time.Minute || q.Kind == query.Top && q.From.Sub(p.From) >= time.Minute) {
			t.Fatalf("%+v: widened to %v to %v", q, p.From, p.To)
		}
		if len(p.Parts) > 1 {
			several++
		}
	}
	if several < 1000 {
		t.Errorf("%d plans have several parts", several)
	}
}

func TestCondition(t *testing.T) {
	columns := map[string]string{"host": "host", "src_vm": "vm", "dst_vm": "vm", "observation_domain": "d"}
	f := func(filter, want string) {
		t.Helper()
		got := ""
		w, err := query.Condition(filter, columns, "events")
		if err != nil {
			got = err.Error()
		} else {
			got = w.SQL
			for _, p := range w.Params {
				got = strings.ReplaceAll(got, "{"+p.Name+":"+p.Type+"}", "<"+p.Value+">")
			}
			got += fmt.Sprint(" ", len(w.Names))
		}
		if got != want {
			t.Errorf("Condition(%q):\n got %s\nwant %s", filter, got, want)
		}
	}
	f(``, `true 0`)
	f(`vm in (any)`, `true 0`)
	f(`domain in (1, 2) and not domain = 3`, `(d IN (<1>, <2>) AND NOT (d = <3>)) 0`)
	f(`domain = 1 or vm = #7`, `(d = <1> OR (vm = <7> OR vm = <7>)) 0`)
	f(`host = "x'; DROP"`, `host IN (SELECT id FROM entity_now WHERE kind = 'host' AND (name = <x'; DROP> OR key = <x'; DROP>)) 1`)
	f(`port in (any)`, `filter: events have no port: they have vm, src_vm, dst_vm, host, observation_domain`)
	f(`host =`, `filter: found the end at 7: expected a value of host, as web-01, "a name", a UUID, #id or none`)
}
