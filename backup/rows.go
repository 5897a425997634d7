package backup

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirhq/weir/store"
)

// memberBytes is how large the rows of a member are, before compression, as the store has them in columns.
const memberBytes = 48 << 20

func named(name, value string) driver.NamedValue { return clickhouse.Named(name, value) }

// strs runs a query that returns a column of text.
func strs(ctx context.Context, c *store.Client, query string, args ...any) ([]string, error) {
	rows, err := c.Conn().Query(ctx, query, args...)
	if err != nil {
		return nil, store.AsError(ctx, err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, store.AsError(ctx, rows.Err())
}

// str runs a query that returns one text.
func str(ctx context.Context, c *store.Client, query string, args ...any) (string, error) {
	list, err := strs(ctx, c, query, args...)
	if err == nil && len(list) != 1 {
		err = fmt.Errorf("%d rows, want 1: %s", len(list), query)
	}
	if err != nil {
		return "", err
	}
	return list[0], nil
}

// tally counts the rows of a table, or of its clone, that are copied, and sums their hashes, whatever their order.
func tally(ctx context.Context, c *store.Client, t *table, name string) (rows, sum uint64, err error) {
	q := "SELECT count(), sum(cityHash64(" + strings.Join(t.columns, ", ") + ")) FROM " + t.source(name) + " WHERE " + t.where()
	if err := c.Conn().QueryRow(ctx, q).Scan(&rows, &sum); err != nil {
		return 0, 0, fmt.Errorf("count rows of %q: %w", name, store.AsError(ctx, err))
	}
	return rows, sum, nil
}

// part is a part of a clone.
type part struct {
	name        string
	rows, bytes uint64
}

func partsOf(ctx context.Context, c *store.Client, clone string) ([]part, error) {
	// In the order in which rows came: of those that replace each other the last one stays.
	rows, err := c.Conn().Query(ctx, `SELECT name, rows, data_uncompressed_bytes FROM system.parts
		WHERE database = currentDatabase() AND table = {table:String} AND active ORDER BY partition_id, min_block_number`, named("table", clone))
	if err != nil {
		return nil, store.AsError(ctx, err)
	}
	defer rows.Close()
	var list []part
	for rows.Next() {
		var p part
		if err := rows.Scan(&p.name, &p.rows, &p.bytes); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, store.AsError(ctx, rows.Err())
}

// read reads the rows of a part from offset on, n at most, in format Native.
func read(ctx context.Context, c *store.Client, t *table, clone string, p part, from, n uint64) ([]byte, error) {
	q := fmt.Sprintf("SELECT %s FROM %s WHERE _part = '%s' AND _part_offset >= %d AND _part_offset < %d AND %s SETTINGS max_threads = 1, max_block_size = %d, preferred_block_size_bytes = 0",
		strings.Join(t.columns, ", "), clone, p.name, from, from+n, t.where(), n)
	body, err := c.Stream(ctx, q, "Native")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, maxRows+1))
	if err == nil && len(b) > maxRows {
		err = fmt.Errorf("%d rows of part %q are more than %d bytes", n, p.name, maxRows)
	}
	return b, err
}

// dump copies the rows of a clone into the archive. done is told how many rows were looked at.
func (k *clones) dump(ctx context.Context, a *writer, t *table, done func(rows uint64)) (Table, error) {
	clone := k.name(t.name)
	out := Table{Name: t.name}
	parts, err := partsOf(ctx, k.client, clone)
	if err != nil {
		return out, err
	}
	number := 0
	for _, p := range parts {
		step := min(max(memberBytes*p.rows/max(p.bytes, 1), 1000), 1<<20)
		for from := uint64(0); from < p.rows; from += step {
			b, err := read(ctx, k.client, t, clone, p, from, step)
			if err != nil {
				return out, err
			}
			if len(b) > 0 {
				number++
				out.Raw += uint64(len(b))
				if err := a.addRows(t.name, number, b); err != nil {
					return out, err
				}
			}
			done(min(step, p.rows-from))
		}
	}
	out.Rows, out.Sum, err = tally(ctx, k.client, t, clone)
	return out, err
}
