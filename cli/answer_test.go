package cli_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/query"
)

// What a server answers is refused unless it is what was asked for; nothing that it could answer breaks the table.
func TestAnsweredRefusesWhatWasNotAsked(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	list := query.Request{Kind: query.List, From: now.Add(-time.Hour), To: now, By: []string{"src_vm", "src_groups", "src_mac", "src_addr", "bytes"}}
	plan, err := query.Build(list, query.Tables, now)
	if err != nil {
		t.Fatal(err)
	}
	f := func(want string, columns []query.Column, rows string) {
		t.Helper()
		var out bytes.Buffer
		err := cli.Answered(list, &cli.Answer{Columns: columns, Rows: json.RawMessage(rows), Notes: []string{"a note\x1b[2J"}}, query.Tables, &cli.Output{W: &out}, now)
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("rows %s: %v, want %q", rows, err, want)
		case strings.Contains(out.String(), "\x1b"):
			t.Errorf("rows %s: control characters of a server reach the terminal: %q", rows, out.String())
		}
	}
	row := map[string]any{}
	for _, c := range plan.Columns {
		switch {
		case strings.HasPrefix(c.Type, "Array"):
			row[c.Name] = []string{"1"}
		case c.Type == "IPv6":
			row[c.Name] = "192.0.2.1"
		case c.Name == "src_mac":
			row[c.Name] = "02:00:00:00:00:01"
		case c.Name == "src_vm":
			row[c.Name] = "18446744073709551615"
		case strings.HasPrefix(c.Type, "DateTime"):
			row[c.Name] = "2026-11-24T11:00:00.000Z"
		case strings.HasPrefix(c.Type, "UInt"):
			row[c.Name] = 1
		default:
			row[c.Name] = "evil\x1b[2J"
		}
	}
	with := func(name string, value any) string {
		changed := maps.Clone(row)
		changed[name] = value
		text, err := json.Marshal([]any{changed})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	f("", plan.Columns, with("bytes", 1))
	f("", plan.Columns, "[]")
	f("another version", plan.Columns[:1], "[]")
	f("read answer", plan.Columns, "{}")
	f("read answer", plan.Columns, "")
	f("row 1", plan.Columns, "[{}]")
	f("names of 1 ids", plan.Columns, with("src_groups_names", []string{"a", "b"}))
	for name, value := range map[string]any{"src_vm": 5, "src_mac": "02:00", "src_addr": "x", "bytes": "1", "src_groups": []int{1}} {
		f(`column "`+name+`"`, plan.Columns, with(name, value))
	}
}
