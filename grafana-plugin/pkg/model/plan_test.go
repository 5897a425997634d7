package model_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/grafana-plugin/pkg/model"
	"github.com/weirhq/weir/query"
)

var update = flag.Bool("update", false, "write the golden files")

// env is that of the golden plans: the last six hours of a panel 800 points wide.
func env() model.Env {
	now := time.Date(2026, 11, 26, 10, 0, 7, 0, time.UTC)
	return model.Env{From: now.Add(-6 * time.Hour), To: now, Now: now, Interval: 20 * time.Second, MaxPoints: 800, AdminEvents: true}
}

// golden renders a plan as SQL that a reader can run.
func golden(p *model.Plan) string {
	var s strings.Builder
	s.WriteString(p.SQL + "\n\n")
	for _, x := range p.Params {
		fmt.Fprintf(&s, "-- {%s:%s} = %q\n", x.Name, x.Type, x.Value)
	}
	fmt.Fprintf(&s, "-- %s, at most %d rows", p.Shape.Format, p.MaxRows)
	if p.Shape.Step != 0 {
		fmt.Fprintf(&s, ", from %s to %s by %s", p.Shape.From.Format(time.RFC3339), p.Shape.To.Format(time.RFC3339), p.Shape.Step)
	}
	for text, is := range map[string]bool{", whole": p.Shape.Whole, ", raw": p.Raw} {
		if is {
			s.WriteString(text)
		}
	}
	s.WriteString("\n")
	for _, c := range p.Shape.Columns {
		field := ""
		if c.Field != nil {
			field = "of " + c.Field.Name
		}
		zero := ""
		if c.Zero {
			zero = "or 0"
		}
		s.WriteString(strings.Join(strings.Fields(fmt.Sprintf("-- column %s %s %s %s %s", c.Name, c.Role, c.Unit, field, zero)), " ") + "\n")
	}
	for _, n := range p.Names {
		fmt.Fprintf(&s, "-- name %s %v %q at %d\n", n.Field, n.Kinds, n.Text, n.Pos)
	}
	for _, n := range p.Notes {
		s.WriteString("-- note " + n + "\n")
	}
	return s.String()
}

func plan(t *testing.T, target string, e model.Env) (*model.Plan, error) {
	t.Helper()
	q, err := model.Parse([]byte(target))
	if err != nil {
		return nil, err
	}
	return q.Plan(e)
}

func TestGoldenPlans(t *testing.T) {
	for name, target := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			p, err := plan(t, string(target), env())
			if err != nil {
				t.Fatal(err)
			}
			got := golden(p)
			file := filepath.Join("testdata", "plans", name+".golden.sql")
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
				t.Errorf("plan of %s differs (-want +got):\n%s", name, diff)
			}
		})
	}
}

// Nothing that a target says is in the text of the statement, but raw SQL.
func TestValuesAreBound(t *testing.T) {
	const evil = `x'); DROP TABLE flows; --`
	quoted := `\"` + evil + `\"`
	f := func(target string) {
		t.Helper()
		p, err := plan(t, target, env())
		if err != nil {
			t.Errorf("%s: %v", target, err)
			return
		}
		if strings.Contains(p.SQL, "DROP") {
			t.Errorf("%s: the value is in the text:\n%s", target, p.SQL)
		}
		if !slicesContains(p.Params, evil) {
			t.Errorf("%s: the value is no parameter: %v", target, p.Params)
		}
	}
	f(`{"flows": {"filter": "vm = ` + quoted + `"}}`)
	f(`{"queryType": "records", "records": {"filter": "vm like ` + quoted + `"}}`)
	f(`{"queryType": "events", "events": {"filter": "host in (` + quoted + `)"}}`)
	f(`{"queryType": "events", "events": {"text": "` + evil + `"}}`)
	f(`{"queryType": "events", "events": {"source": "admin", "format": "number", "kinds": ["` + evil + `"]}}`)
	f(`{"queryType": "hits", "hits": {"rule": "` + evil + `"}}`)
	f(`{"queryType": "hits", "hits": {"format": "timeseries", "rule": "` + evil + `"}}`)
	f(`{"queryType": "inventory", "inventory": {"match": "` + evil + `"}}`)
	f(`{"queryType": "statistics", "statistics": {"machine": "` + evil + `"}}`)
	f(`{"queryType": "statistics", "statistics": {"format": "table", "service": "` + evil + `"}}`)
	f(`{"queryType": "inventory", "inventory": {"format": "table", "kind": "exporter", "match": "` + evil + `"}}`)
}

func slicesContains(params []query.Param, value string) bool {
	for _, p := range params {
		if p.Value == value {
			return true
		}
	}
	return false
}

// Words that become part of the text come from lists: what is not in them is refused.
func TestPlanErrors(t *testing.T) {
	f := func(target, want string) {
		t.Helper()
		p, err := plan(t, target, env())
		if err == nil {
			t.Errorf("%s: planned\n%s\nwant the error %s", target, p.SQL, want)
		} else if err.Error() != want {
			t.Errorf("%s:\n got %s\nwant %s", target, err, want)
		}
	}
	f(`{"flows": {"by": ["vms"]}}`, `by: unknown field "vms": did you mean vm?`)
	f(`{"flows": {"units": ["bsp"]}}`, `units: found "bsp": expected one of bytes, bits, packets, flows, bps, pps, fps`)
	f(`{"flows": {"step": "5x"}}`, `step: found "5x": expected whole seconds, as 30s, 5m, 1h or 1d`)
	f(`{"flows": {"step": "500ms"}}`, `step: found "500ms": expected whole seconds, as 30s, 5m, 1h or 1d`)
	f(`{"flows": {"limit": -1}}`, `limit: found -1: expected 1 or more`)
	f(`{"flows": {"filter": "vm ="}}`, `filter: found the end at 5: expected a value of vm, as web-01, "a name", a UUID, #id or none`)
	f(`{"queryType": "records", "records": {"columns": ["nonsense"]}}`, `columns: unknown field "nonsense": see the list of fields`)
	f(`{"queryType": "events", "events": {"kinds": ["host_los"]}}`, `kinds: unknown kind "host_los": did you mean host_lost?`)
	f(`{"queryType": "events", "events": {"severity": "worse"}}`, `severity: found "worse": expected one of error, warning, notice, info`)
	f(`{"queryType": "events", "events": {"source": "x"}}`, `source: found "x": expected one of network, admin, all`)
	f(`{"queryType": "events", "events": {"filter": "port = 1"}}`, `filter: events have no port: they have vm, src_vm, dst_vm, vif, src_vif, dst_vif, network, host, pool, bridge`)
	f(`{"queryType": "exporters", "exporters": {"what": ["flow"]}}`, `what: unknown measure "flow": did you mean flows? expected one of datagrams, bytes, flows, no_flow, option_records, templates, sealed, logged, stored, not_stored, unclear, received, lost, loss, out_of_order, duplicates, restarts, jumps, unchecked, held_sets, expired_sets, sampling_assumed, times_clamped, dropped, clock_skew, silence`)
	f(`{"queryType": "exporters", "exporters": {"what": ["silence"]}}`, `what: silence is of now, not of each step: use format number or table`)
	f(`{"queryType": "exporters", "exporters": {"by": ["reason"]}}`, `by: only what is dropped has a reason: ask what is dropped, and nothing else`)
	f(`{"queryType": "exporters", "exporters": {"by": ["time"]}}`, `by: found "time": expected one of exporter, observation_domain, version, reason`)
	f(`{"queryType": "hits", "hits": {"format": "number", "unit": "fps"}}`, `unit: found "fps": did you mean pps? expected one of packets, bytes, pps, bps`)
	f(`{"queryType": "hits", "hits": {"format": "number", "unused": true}}`, `unused: rules that are not met have no figures: use format table`)
	f(`{"queryType": "inventory", "inventory": {"kind": "vms"}}`, `kind: found "vms": did you mean vm? expected one of pool, host, bridge, network, vm, vif, group, address_group, vm_group, exporter`)
	f(`{"queryType": "statistics", "statistics": {"of": "hosts"}}`, `of: found "hosts": expected one of servers, network`)
	f(`{"queryType": "statistics", "statistics": {"of": "network", "what": ["cpu"]}}`, `what: unknown figure "cpu" of the network: expected one of pools, pools_active, hosts, hosts_active, hosts_managed, networks, networks_active, vms, vms_active, vifs, vifs_active`)
	f(`{"queryType": "statistics", "statistics": {"of": "network", "machine": "weir-1"}}`, `machine: the network is one, and counts nothing: leave it out`)
	f(`{"queryType": "statistics", "statistics": {"what": ["cpu", "cpu"]}}`, `what: found "cpu" twice`)
	f(`{"queryType": "statistics", "statistics": {"what": ["silence"]}}`, `what: silence is of now, not of each step: use format number or table`)
	f(`{"queryType": "statistics", "statistics": {"by": ["pid"]}}`, `by: found "pid": expected one of machine, service, version`)
	f(`{"queryType": "sql"}`, `sql.text: found no SQL: write a SELECT`)
	f(`{"queryType": "sql", "sql": {"text": "SELECT $__timefilter(x)"}}`, `sql.text: there is no macro $__timefilter at 8: did you mean $__timeFilter?`)
}
