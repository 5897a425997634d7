package dashboard_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/grafana-plugin/pkg/dashboard"
	"github.com/weirhq/weir/grafana-plugin/pkg/model"
	"github.com/weirhq/weir/query"
)

const directory = "../../../deploy/grafana/dashboards"

// values are what people would have chosen in variables that begin with nothing.
var values = map[string]string{"vm": "web-01", "network": "front", "host": "host1", "pool": "demo", "group": `a "b" \c`, "exporter": "192.0.2.1", "rule": "deny-telnet"}

func TestDashboards(t *testing.T) {
	all, err := dashboard.Read(directory)
	if err != nil {
		t.Fatal(err)
	}
	if err := dashboard.Check(all); err != nil {
		t.Error(err)
	}
	for _, uid := range []string{"weir-overview", "weir-flows", "weir-vm", "weir-network", "weir-host", "weir-group", "weir-policy", "weir-denies", "weir-guards", "weir-drift", "weir-events", "weir-collector", "weir-servers"} {
		found := false
		for _, d := range all {
			found = found || d.UID == uid
		}
		if !found {
			t.Errorf("there is no dashboard %q", uid)
		}
	}
}

// Variables are all put in, and what is then sent is of the form that the backend reads.
func TestTargets(t *testing.T) {
	all, err := dashboard.Read(directory)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[dashboard.Kind]int{}
	for _, d := range all {
		for _, target := range plan(t, d, values) {
			kinds[target.Kind]++
			sent := strings.ReplaceAll(string(target.Query), "${datasource}", "")
			if strings.Contains(sent, "$") {
				t.Errorf("%s is sent with a variable: %s", target, sent)
			}
		}
	}
	for _, k := range []dashboard.Kind{dashboard.OfPanel, dashboard.OfAnnotation, dashboard.OfVariable} {
		if kinds[k] == 0 {
			t.Errorf("no query of any %s", k)
		}
	}
}

// Whatever people choose of a variable's options, the backend has a plan.
func TestChoices(t *testing.T) {
	all, err := dashboard.Read(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		for _, v := range d.Templating.List {
			if v.Type != "custom" {
				continue
			}
			for _, o := range v.Options {
				chosen := maps.Clone(values)
				chosen[v.Name], _ = o.Value.(string)
				t.Run(d.UID+"/"+v.Name+"="+chosen[v.Name], func(t *testing.T) { plan(t, d, chosen) })
			}
		}
	}
}

// plan has the backend plan every query of a dashboard, and returns them.
func plan(t *testing.T, d *dashboard.Dashboard, values map[string]string) []dashboard.Target {
	t.Helper()
	targets, err := d.Targets(values)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, target := range targets {
		if target.Field != "" {
			if _, known := query.FieldByName(target.Field); !known && target.Field != model.FieldMachine || target.Kind != dashboard.OfVariable {
				t.Errorf("%s looks up %q", target, target.Field)
			}
			continue
		}
		q, err := model.Parse(target.Query)
		if err == nil {
			_, err = q.Plan(model.Env{From: now.Add(-time.Hour), To: now, Now: now, Interval: time.Minute, MaxPoints: 600})
		}
		if err != nil {
			t.Errorf("%s: %v", target, err)
		}
		if len(target.Frames) == 0 {
			t.Errorf("%s: no type of frames", target)
		}
	}
	return targets
}

func TestInterpolation(t *testing.T) {
	f := func(part string, values map[string]string, want string) {
		t.Helper()
		d, err := dashboard.Parse("x.json", fmt.Appendf(nil, `{"uid": "x", "panels": [{"targets": [{"refId": "A", "version": 1, "queryType": "flows", "flows": %s}]}],
			"templating": {"list": [{"name": "vm", "type": "query", "query": {"version": 1, "queryType": "flows", "flows": {"format": "table"}}, "allValue": "any", "current": {"value": "$__all"}},
				{"name": "unit", "type": "custom", "current": {"value": "bps"}}]}}`, part))
		if err != nil {
			t.Fatal(err)
		}
		targets, err := d.Targets(values)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Flows json.RawMessage `json:"flows"`
		}
		if err := json.Unmarshal(targets[0].Query, &got); err != nil {
			t.Fatal(err)
		}
		if string(got.Flows) != want {
			t.Errorf("%s with %v: %s, want %s", part, values, got.Flows, want)
		}
	}
	f(`{"format":"table","filter":"vm in ($vm)"}`, nil, `{"filter":"vm in (any)","format":"table"}`)
	f(`{"format":"table","filter":"vm in (${vm})"}`, map[string]string{"vm": `a"b\`}, `{"filter":"vm in (\"a\\\"b\\\\\")","format":"table"}`)
	f(`{"format":"table","filter":"${vm:raw}"}`, map[string]string{"vm": "port = 1"}, `{"filter":"port = 1","format":"table"}`)
	f(`{"format":"table","units":["${unit:raw}"]}`, nil, `{"format":"table","units":["bps"]}`)
	f(`{"format":"table","limit":"${vm:raw}","bottom":"${unit:raw}"}`, map[string]string{"vm": "20", "unit": "true"}, `{"bottom":true,"format":"table","limit":20}`)
	f(`{"format":"table","filter":"$else"}`, nil, `{"filter":"$else","format":"table"}`)
}

// Every rule refuses what it is about: one thing is changed in a dashboard that is right.
func TestCheck(t *testing.T) {
	const right = `{
		"uid": "a", "title": "A", "description": "d", "tags": ["weir"], "refresh": "1m", "schemaVersion": 42, "time": {"from": "now-1h", "to": "now"},
		"panels": [
			{"id": 1, "type": "row", "title": "R", "gridPos": {"x": 0, "y": 0, "w": 24, "h": 1}, "panels": [
				{"id": 2, "type": "stat", "title": "$vm", "description": "d", "gridPos": {"x": 0, "y": 1, "w": 12, "h": 4}, "datasource": SOURCE,
					"fieldConfig": {"defaults": {"unit": "bps", "links": [{"url": "/d/a?${datasource:queryparam}&var-vm=${__value.text:percentencode}&${__url_time_range}"}]}},
					"targets": [{"refId": "A", "version": 1, "queryType": "flows", "datasource": SOURCE, "flows": {"format": "number"}}]}]},
			{"id": 3, "type": "logs", "title": "L", "description": "d", "gridPos": {"x": 12, "y": 1, "w": 12, "h": 4}, "datasource": SOURCE,
				"targets": [{"refId": "A", "version": 1, "queryType": "events", "datasource": SOURCE, "events": {"format": "logs"}}]}],
		"templating": {"list": [
			{"name": "datasource", "type": "datasource", "label": "D", "query": "weir-datasource"},
			{"name": "vm", "type": "query", "label": "VM", "datasource": SOURCE, "query": {}},
			{"name": "unit", "type": "custom", "label": "U", "current": {"value": "bps"}, "options": [{"value": "bps"}]}]},
		"annotations": {"list": [{"name": "own", "builtIn": 1}, {"name": "E", "datasource": SOURCE,
			"target": {"refId": "E", "version": 1, "queryType": "events", "datasource": SOURCE, "events": {"format": "annotations"}}}]}}`
	check := func(old, replacement string) error {
		text := strings.Replace(right, old, replacement, 1)
		if text == right && old != "" {
			t.Fatalf("the dashboard has no %s", old)
		}
		d, err := dashboard.Parse("a.json", []byte(strings.ReplaceAll(text, "SOURCE", `{"type": "weir-datasource", "uid": "${datasource}"}`)))
		if err != nil {
			t.Fatal(err)
		}
		return dashboard.Check([]*dashboard.Dashboard{d})
	}
	if err := check("", ""); err != nil {
		t.Fatal(err)
	}
	f := func(old, replacement, want string) {
		t.Helper()
		if err := check(old, replacement); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s for %s: error %v, want one that tells %q", replacement, old, err, want)
		}
	}
	f(`"uid": "a"`, `"uid": "b"`, "want the name of the file")
	f(`"tags": ["weir"]`, `"tags": []`, "no tag weir")
	f(`"description": "d", "tags"`, `"tags"`, "no description")
	f(`"schemaVersion": 42`, `"schemaVersion": 41`, "schemaVersion 41")
	f(`"refresh": "1m"`, `"refresh": ""`, "never refreshed")
	f(`"id": 3`, `"id": 2`, "want an id of its own")
	f(`"title": "L"`, `"title": ""`, "no title")
	f(`"x": 12`, `"x": 11`, "overlaps panel 2")
	f(`"x": 12`, `"x": 13`, "not on the grid")
	f(`"unit": "bps"`, `"unit": ""`, "no unit")
	f(`"title": "L", "description": "d"`, `"title": "L"`, "no description")
	f(`"h": 4}, "datasource": SOURCE`, `"h": 4}, "datasource": {"type": "weir-datasource", "uid": "P1"}`, "data source is")
	f(`"queryType": "flows", "datasource": SOURCE`, `"queryType": "flows"`, "data source is <nil>")
	f(`"queryType": "flows"`, `"queryType": "exporters"`, "want version 1 and a part of that name")
	f(`"events": {"format": "annotations"}`, `"flows": {}`, "annotation")
	f(`"title": "$vm"`, `"title": "$vn"`, `there is no variable "vn"`)
	f(`{"format": "number"}`, `{"filter": "vm in (${vn:raw})"}`, `there is no variable "vn"`)
	f(`"name": "vm", "type": "query", "label": "VM", "datasource": SOURCE`, `"name": "vm", "type": "query", "label": "VM"`, "data source is <nil>")
	f(`"name": "unit"`, `"name": "vm"`, "not one of its own")
	f(`"label": "U"`, `"label": ""`, "no label")
	f(`"current": {"value": "bps"}`, `"current": {"value": "pps"}`, "none of its options")
	f(`"query": "weir-datasource"`, `"query": "prometheus"`, "a data source of type")
	f(`/d/a?`, `/d/b?`, `there is no dashboard "b"`)
	f(`var-vm=`, `var-vn=`, `has no variable "vn"`)
	f(`&${__url_time_range}`, ``, "does not hand on ${__url_time_range}")
	f(`${datasource:queryparam}&`, ``, "does not hand on ${datasource:queryparam}")
	f(`:percentencode`, ``, "is not encoded")
}

func TestTwins(t *testing.T) {
	text, err := os.ReadFile(directory + "/weir-overview.json")
	if err != nil {
		t.Fatal(err)
	}
	one, err := dashboard.Parse("weir-overview.json", text)
	if err != nil {
		t.Fatal(err)
	}
	if err := dashboard.Check([]*dashboard.Dashboard{one, one}); err == nil || !strings.Contains(err.Error(), "is that of weir-overview.json") {
		t.Errorf("the same uid twice: error %v", err)
	}
}
