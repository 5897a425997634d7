package store

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// Schema returns the statements that would make the tables, views and dictionaries of the database as they are now, in
// an order in which they can be run, without the name of the database and without the runner's own weir_migrations. The
// text is ClickHouse's, so versions of ClickHouse may differ in it.
func Schema(ctx context.Context, c *Client) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	// Views read tables, dictionaries read views, what looks names up needs the dictionaries, and views of that come last.
	const order = "multiIf(create_table_query LIKE '%dictGet%', if(engine = 'View', 4, 3), engine = 'Dictionary', 2, engine = 'View', 1, 0), name"
	rows, err := c.conn.Query(ctx, "SELECT name FROM system.tables WHERE database = currentDatabase() AND name != 'weir_migrations' ORDER BY "+order)
	if err != nil {
		return "", fmt.Errorf("dump schema: %w", classify(ctx, err))
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return "", fmt.Errorf("dump schema: %w", err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		return "", fmt.Errorf("dump schema: %w", classify(ctx, err))
	}
	if len(names) == 0 {
		return "", nil
	}
	qualified := regexp.MustCompile(`\b` + regexp.QuoteMeta(c.cfg.Database) + `\.(` + strings.Join(names, "|") + `)\b`)
	var out strings.Builder
	out.WriteString("-- Code generated from sql/migrations by `go test ./store -run Schema -update`. DO NOT EDIT.\n")
	for _, name := range names {
		var statement string
		if err := c.conn.QueryRow(ctx, "SHOW CREATE TABLE `"+name+"`").Scan(&statement); err != nil {
			return "", fmt.Errorf("dump schema of %q: %w", name, classify(ctx, err))
		}
		fmt.Fprintf(&out, "\n%s;\n", qualified.ReplaceAllString(statement, "$1"))
	}
	return out.String(), nil
}
