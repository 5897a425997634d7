package ovsdb

import (
	"encoding/json"
	"testing"
)

// SchemaJSON is a schema with all that this package reads.
func SchemaJSON(t testing.TB) string {
	t.Helper()
	all := map[string]any{}
	for _, table := range tables {
		columns := map[string]any{}
		for _, f := range table.fields {
			typ := map[string]any{"key": f.is.key, "min": 0, "max": "unlimited"}
			if f.is.value != "" {
				typ["value"] = f.is.value
			}
			columns[f.name] = map[string]any{"type": typ}
		}
		all[table.name] = map[string]any{"columns": columns}
	}
	text, err := json.Marshal(map[string]any{"name": database, "version": "9.9.9", "tables": all})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
