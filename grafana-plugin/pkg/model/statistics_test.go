package model_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/grafana-plugin/pkg/model"
	"github.com/weirhq/weir/sql"
)

// columnsOf lists the columns of a table, as the schema has them.
func columnsOf(t *testing.T, table string) (names []string) {
	t.Helper()
	_, rest, ok := strings.Cut(sql.Schema(), "CREATE TABLE "+table+"\n(\n")
	body, _, ok2 := strings.Cut(rest, "\n)\n")
	if !ok || !ok2 {
		t.Fatalf("the schema has no table %s", table)
	}
	for _, m := range regexp.MustCompile("(?m)^ +`?(\\w+)`? ").FindAllStringSubmatch(body, -1) {
		names = append(names, m[1])
	}
	return names
}

// What the tables say can be asked for: a column that is added to one is a figure here, or what rows are of.
func TestStatisticsHaveEveryColumn(t *testing.T) {
	rowsAre := []string{"time", "interval_ms", "instance", "service", "machine", "pid", "version", "collector"}
	for table, figures := range map[string][]model.Statistic{"server_stats": model.ServerStatistics, "network_stats": model.NetworkStatistics} {
		of := "servers"
		if table == "network_stats" {
			of = "network"
		}
		asked := ""
		names := map[string]bool{}
		for _, f := range figures {
			if names[f.Name] || f.Unit == "" || !strings.HasSuffix(f.Doc, ".") {
				t.Errorf("figure %+v: want a name of its own, a unit and a sentence", f)
			}
			names[f.Name] = true
			p, err := plan(t, `{"queryType": "statistics", "statistics": {"format": "number", "of": "`+of+`", "what": ["`+f.Name+`"]}}`, env())
			if err != nil {
				t.Errorf("%s: %v", f.Name, err)
				continue
			}
			asked += p.SQL
		}
		columns := columnsOf(t, table)
		if len(columns) < 10 {
			t.Errorf("%s has the columns %q: they are not all read", table, columns)
		}
		for _, c := range columns {
			if !slices.Contains(rowsAre, c) && !regexp.MustCompile(`\b`+c+`\b`).MatchString(asked) {
				t.Errorf("column %s of %s is no figure", c, table)
			}
		}
	}
}
