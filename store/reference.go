package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/weirhq/weir/flow"
)

// Comment is the comment of the column of table flows that holds f.
func Comment(f flow.Field) string {
	s := f.Doc
	if f.Unit != "" {
		s += " Unit: " + f.Unit + "."
	}
	if f.Elements != "" {
		s += " From: " + strings.TrimSuffix(f.Elements, "…")
		if strings.HasSuffix(f.Elements, "…") {
			s += "…"
		} else {
			s += "."
		}
	}
	return s
}

// Reference returns the reference page of the schema in Markdown, from what the database says about itself: every
// table with its columns, then the views and dictionaries.
func Reference(ctx context.Context, c *Client) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	rows, err := c.conn.Query(ctx, `
		SELECT t.name, t.engine, t.comment, c.name, c.type, c.default_kind = 'ALIAS', c.comment
		FROM system.tables AS t JOIN system.columns AS c ON c.database = t.database AND c.table = t.name
		WHERE t.database = currentDatabase() AND t.name != 'weir_migrations'
		ORDER BY multiIf(t.name = 'flows', 0, t.engine LIKE '%MergeTree', 1, t.engine = 'View', 2, 3), t.name, c.position`)
	if err != nil {
		return "", fmt.Errorf("describe schema: %w", classify(ctx, err))
	}
	defer rows.Close()
	var out strings.Builder
	out.WriteString("# Schema\n\nGenerated from the comments in `sql/migrations` (`go generate ./store`); do not edit.\n\n" +
		"Tables of ClickHouse, in the database that `store.database` names. A column marked *computed* takes no space: it is\n" +
		"worked out when a query names it, and `SELECT *` leaves it out.\n")
	last := ""
	for rows.Next() {
		var table, engine, about, name, typ, comment string
		var computed uint8
		if err := rows.Scan(&table, &engine, &about, &name, &typ, &computed, &comment); err != nil {
			return "", fmt.Errorf("describe schema: %w", err)
		}
		commented := strings.HasSuffix(engine, "MergeTree") // views and dictionaries have no comments on columns
		if table != last {
			last = table
			kind, head := "Table", "| column | type | meaning |\n|---|---|---|\n"
			if !commented {
				kind, head = engine, "| column | type |\n|---|---|\n"
			}
			fmt.Fprintf(&out, "\n## %s `%s`\n\n%s\n\n%s", kind, table, about, head)
		}
		fmt.Fprintf(&out, "| `%s` | `%s` |", name, typ)
		if computed != 0 {
			comment = "*Computed.* " + comment
		}
		if commented {
			fmt.Fprintf(&out, " %s |", strings.ReplaceAll(comment, "|", "\\|"))
		}
		out.WriteByte('\n')
	}
	if err := rows.Err(); err != nil {
		return "", fmt.Errorf("describe schema: %w", classify(ctx, err))
	}
	return out.String(), nil
}
