package model_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/grafana-plugin/pkg/model"
	"github.com/weirhq/weir/query"
)

const targets = "../../testdata/queries"

// fixtures returns the targets that both sides of the plugin read, by name.
func fixtures(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(targets, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no targets in %s: %v", targets, err)
	}
	all := map[string][]byte{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".json")] = b
	}
	return all
}

// Every target of the fixtures is read, and there is one of every type in every format.
func TestParseFixtures(t *testing.T) {
	missing := map[string]bool{}
	for _, typ := range model.Types {
		for _, f := range model.Formats[typ] {
			missing[string(typ)+" "+string(f)] = true
		}
	}
	for name, b := range fixtures(t) {
		q, err := model.Parse(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if q.RefID == "" {
			t.Errorf("%s: no refId", name)
		}
		delete(missing, string(q.Type)+" "+string(q.Format()))
	}
	for what := range missing {
		t.Errorf("no fixture is %s", what)
	}
}

func TestParseDefaults(t *testing.T) {
	f := func(text string, want *model.Query) {
		t.Helper()
		got, err := model.Parse([]byte(text))
		if err != nil {
			t.Errorf("Parse(%s): %v", text, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Parse(%s): (-want +got)\n%s", text, diff)
		}
	}
	flows := &model.Query{Type: model.TypeFlows, Flows: &model.Flows{Format: model.Timeseries}}
	f(`{}`, flows)
	f(`{"queryType": "", "version": null}`, flows)
	f(`{"queryType": "flows", "flows": null}`, flows)
	f(`{"datasource": {"uid": "x"}, "intervalMs": 1000, "maxDataPoints": 7, "key": "k", "sql": {"nonsense": 1}}`, flows)
	f(`{"refId": "B", "hide": true, "queryType": "sql", "sql": {"text": "SELECT 1"}}`,
		&model.Query{RefID: "B", Hide: true, Type: model.TypeSQL, SQL: &model.SQL{Format: model.Table, Text: "SELECT 1"}})
	f(`{"queryType": "exporters", "exporters": {"by": []}}`,
		&model.Query{Type: model.TypeExporters, Exporters: &model.Exporters{Format: model.Timeseries, By: &[]string{}}})
}

func TestParseErrors(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		q, err := model.Parse([]byte(text))
		if err == nil {
			t.Errorf("Parse(%s) = %+v, want the error %s", text, q, want)
			return
		}
		if err.Error() != want {
			t.Errorf("Parse(%s):\n got %s\nwant %s", text, err, want)
		}
		if _, ok := errors.AsType[*query.Error](err); !ok {
			t.Errorf("Parse(%s): error is a %T, want a *query.Error", text, err)
		}
	}
	f(``, `query: unexpected end of JSON input`)
	f(`[]`, `query: found a JSON array: expected an object`)
	f(`{"version": 2}`, `version: found 2, want 1: a newer version of the plugin wrote it: install that`)
	f(`{"version": 0}`, `version: found 0, want 1: edit and save it anew`)
	f(`{"queryType": "flow"}`, `queryType: found "flow": did you mean flows? expected one of flows, records, events, exporters, hits, inventory, statistics, sql`)
	f(`{"flows": {"format": "logs"}}`, `format: found "logs": expected one of timeseries, table, number`)
	f(`{"flows": {"filters": "x"}}`, `flows: unknown property "filters": did you mean filter? expected one of format, by, filter, units, direction, split, limit, bottom, other, total, step, traffic, seen, observations, basis`)
	f(`{"flows": {"limit": "10"}}`, `limit: found a JSON string: expected a whole number`)
	f(`{"flows": {"limit": 1.5}}`, `limit: found a JSON number 1.5: expected a whole number`)
	f(`{"flows": {"by": "vm"}}`, `by: found a JSON string: expected a list of texts`)
	f(`{"flows": []}`, `flows: found a JSON array: expected an object`)
	f(`{"queryType": "hits", "hits": {"rule": 1}}`, `rule: found a JSON number: expected text`)
	f(`{"a": "`+strings.Repeat("x", 600<<10)+`"}`, `query: it is 614409 bytes long: at most 524288 are read`)
}

// What is read is written so that it is read alike.
func FuzzParse(f *testing.F) {
	for _, b := range fixtures(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := model.Parse(b)
		if err != nil {
			mistake(t, err)
			return
		}
		part := map[model.Type]any{
			model.TypeFlows: q.Flows, model.TypeRecords: q.Records, model.TypeEvents: q.Events, model.TypeExporters: q.Exporters,
			model.TypeHits: q.Hits, model.TypeInventory: q.Inventory, model.TypeStatistics: q.Statistics, model.TypeSQL: q.SQL,
		}[q.Type]
		text, err := json.Marshal(map[string]any{"refId": q.RefID, "hide": q.Hide, "version": model.Version, "queryType": q.Type, string(q.Type): part})
		if err != nil {
			t.Fatal(err)
		}
		again, err := model.Parse(text)
		if err != nil {
			t.Fatalf("Parse(%s), which was made of %q: %v", text, b, err)
		}
		second, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		if first, _ := json.Marshal(q); string(first) != string(second) {
			t.Errorf("%s became %s", first, second)
		}
	})
}

// mistake checks that an error is one of the user's.
func mistake(t *testing.T, err error) {
	t.Helper()
	if _, ok := errors.AsType[*query.Error](err); !ok {
		t.Fatalf("error is a %T, want a *query.Error: %v", err, err)
	}
}
