package backup

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/store"
)

// ClonePrefix begins the names of clones; the name of the data directory that is backed up (see nameOf), and that of the table follow. Clones are
// there while a backup is written. What an interrupted one left, the next one of the same data directory drops, or, if there is none, that of
// any other which the same server has, once it is stale.
const ClonePrefix = store.ClonePrefix

// stale is how old clones of another data directory are that nobody reads any more. No backup takes as long: one that does fails.
const stale = 7 * 24 * time.Hour

// The tables of flows and of sums, in which a clone has to agree with another, and where the sums say up to where they are folded.
const (
	flowsTable    = "flows"
	receivedTable = "flows_rx_1m_rows"
	foldsTable    = "rollup_folds"
)

// sumTables have rows of batches until those are folded.
var sumTables = []string{receivedTable, "flows_1m_rows", "flows_group_1m_rows"}

// ofFlows tells whether a table is left out with the flows.
func ofFlows(table string) bool {
	return table == flowsTable || table == foldsTable || table == "collectors" || strings.HasPrefix(table, "flows_")
}

// table is a table that is to be copied.
type table struct {
	name    string
	replace bool     // rows replace others when parts are merged: there are as many as a question with FINAL finds
	ttl     bool     // rows expire
	columns []string // that are stored, quoted
	since   string   // SQL of: the row is new enough; empty: all are
	kept    string   // SQL of: the row is not of later than the moment; empty: none is
}

// where is the SQL of: the row is copied.
func (t *table) where() string {
	return "(" + cmp.Or(t.since, "1") + ") AND (" + cmp.Or(t.kept, "1") + ")"
}

// source is what follows FROM, of a table or of its clone.
func (t *table) source(name string) string {
	if t.replace {
		return name + " FINAL"
	}
	return name
}

// clones are the clones of tables that exist in the store.
type clones struct {
	client *store.Client
	prefix string        // of their names
	stale  time.Duration // how old those of others are when they are dropped
	tables []table
	moment time.Time
}

// name is that of the clone of a table.
func (k *clones) name(table string) string { return k.prefix + table }

// findTables lists the tables whose rows are to be copied, without those that this package or migrations made.
func findTables(ctx context.Context, c *store.Client) ([]table, error) {
	rows, err := c.Conn().Query(ctx, `SELECT t.name, t.engine LIKE 'Replacing%', t.engine_full LIKE '% TTL %', groupArray(c.name)
		FROM system.tables AS t JOIN (SELECT * FROM system.columns WHERE default_kind NOT IN ('ALIAS', 'MATERIALIZED') ORDER BY position) AS c
			ON c.database = t.database AND c.table = t.name
		WHERE t.database = currentDatabase() AND t.engine LIKE '%MergeTree' AND t.name != 'weir_migrations' AND NOT startsWith(t.name, {prefix:String})
		GROUP BY ALL ORDER BY t.name`, named("prefix", ClonePrefix))
	if err != nil {
		return nil, store.AsError(ctx, err)
	}
	defer rows.Close()
	var list []table
	for rows.Next() {
		var t table
		var replace, ttl uint8
		if err := rows.Scan(&t.name, &replace, &ttl, &t.columns); err != nil {
			return nil, err
		}
		t.replace, t.ttl = replace != 0, ttl != 0
		for i, c := range t.columns {
			t.columns[i] = "`" + c + "`"
		}
		list = append(list, t)
	}
	return list, store.AsError(ctx, rows.Err())
}

// cloneAll clones tables for the data directory of that name, so that sums and flows among them are of one moment. The caller, who is the only one
// that does this for it, drops the clones, also after an error.
func cloneAll(ctx context.Context, c *store.Client, of string, tables []table, deadline time.Duration) (*clones, error) {
	k := &clones{client: c, prefix: ClonePrefix + of + "_", stale: stale, tables: tables}
	for end := time.Now().Add(deadline); ; {
		if err := k.drop(ctx); err != nil {
			return k, err
		}
		why, err := k.try(ctx)
		if err != nil || why == "" {
			return k, err
		}
		if time.Now().After(end) {
			return k, fmt.Errorf("clone tables: sums and flows do not agree after %s: %s; is the store behind, or restarted just now?", deadline, why)
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
			return k, ctx.Err()
		}
	}
}

// try clones all tables. why says what does not agree, as it may for a moment.
func (k *clones) try(ctx context.Context) (why string, err error) {
	order := func(t table) int {
		switch t.name {
		case foldsTable:
			return 0
		case flowsTable:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(k.tables, func(a, b table) int { return order(a) - order(b) })
	for i := range k.tables {
		if err := k.clone(ctx, &k.tables[i]); err != nil {
			return "", err
		}
		if k.tables[i].name == flowsTable {
			k.moment = time.Now().UTC().Truncate(time.Millisecond)
		}
	}
	if k.moment.IsZero() {
		k.moment = time.Now().UTC().Truncate(time.Millisecond)
	}
	if !slices.ContainsFunc(k.tables, func(t table) bool { return t.name == flowsTable }) {
		return "", nil
	}
	return k.agree(ctx)
}

func (k *clones) clone(ctx context.Context, t *table) error {
	clone := k.name(t.name)
	// Parts stay as they are: nothing is merged, and nothing expires.
	statements := []string{"CREATE TABLE " + clone + " AS " + t.name +
		" SETTINGS max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1, non_replicated_deduplication_window = 0"}
	if t.ttl {
		statements = append(statements, "ALTER TABLE "+clone+" REMOVE TTL")
	}
	for _, s := range append(statements, "ALTER TABLE "+clone+" ATTACH PARTITION ALL FROM "+t.name) {
		if err := k.client.Exec(ctx, s); err != nil {
			return fmt.Errorf("clone table %q: %w", t.name, err)
		}
	}
	return nil
}

// drop drops all clones of the same data directory, and stale ones of others.
func (k *clones) drop(ctx context.Context) error {
	names, err := strs(ctx, k.client, `SELECT name FROM system.tables WHERE database = currentDatabase()
		AND (startsWith(name, {own:String}) OR startsWith(name, {any:String}) AND metadata_modification_time < now() - toIntervalSecond({stale:Int64}))`,
		named("own", k.prefix), named("any", ClonePrefix), named("stale", strconv.FormatInt(int64(k.stale/time.Second), 10)))
	if err != nil {
		return fmt.Errorf("drop clones: %w", err)
	}
	for _, name := range names {
		if err := k.client.Exec(ctx, "DROP TABLE IF EXISTS "+name+" SYNC"); err != nil {
			return fmt.Errorf("drop clone %q: %w", name, err)
		}
	}
	return nil
}

// agree sees to it that the clones of sums have what the clone of flows has, and nothing else: batches that were stored since are left out. why
// says what they lack.
func (k *clones) agree(ctx context.Context) (why string, err error) {
	const line = "SELECT groupArray((collector, until)) FROM (SELECT collector, toUnixTimestamp(max(until)) AS until FROM %s GROUP BY collector ORDER BY collector)"
	before, err := str(ctx, k.client, fmt.Sprintf("SELECT toString(("+line+"))", k.name(foldsTable)))
	if err != nil {
		return "", err
	}
	now, err := str(ctx, k.client, fmt.Sprintf("SELECT toString(("+line+"))", foldsTable))
	if err != nil {
		return "", err
	}
	if before != now {
		return "sums were folded meanwhile", nil
	}
	lines := "(SELECT groupArrayInsertAt(toDateTime(0, 'UTC'), 300)(until, collector) FROM (SELECT collector, max(until) AS until FROM " + k.name(foldsTable) + " GROUP BY collector))"
	open := "NOT folded AND slot >= " + lines + "[collector + 1]"
	// Batches of which there are sums that are not folded, and those of them whose flows are there.
	var of []string
	for _, t := range sumTables {
		of = append(of, "SELECT DISTINCT batch FROM "+k.name(t)+" WHERE "+open)
	}
	batches := strings.Join(of, " UNION DISTINCT ")
	late, err := strs(ctx, k.client, "SELECT toString(batch) FROM ("+batches+") WHERE batch NOT IN (SELECT DISTINCT batch FROM "+k.name(flowsTable)+" WHERE batch IN ("+batches+"))")
	if err != nil {
		return "", err
	}
	kept := "1"
	if len(late) > 0 {
		kept = "NOT (NOT folded AND batch IN (" + strings.Join(late, ", ") + "))"
	}
	var counts []string
	for _, t := range sumTables {
		n, err := str(ctx, k.client, "SELECT toString(uniqExact(batch)) FROM "+k.name(t)+" WHERE "+open+" AND "+kept)
		if err != nil {
			return "", err
		}
		counts = append(counts, n)
		for i := range k.tables {
			if k.tables[i].name == t {
				k.tables[i].kept = kept
			}
		}
	}
	if len(slices.Compact(slices.Clone(counts))) > 1 {
		return fmt.Sprintf("%s have batches %s", strings.Join(sumTables, ", "), strings.Join(counts, ", ")), nil
	}
	// What was received in the latest minutes is there as often in flows and in sums.
	const recent = "toStartOfMinute(now('UTC')) - INTERVAL 2 MINUTE"
	inFlows, err := str(ctx, k.client, "SELECT toString(count()) FROM "+k.name(flowsTable)+" WHERE time_received >= "+recent)
	if err != nil {
		return "", err
	}
	inSums, err := str(ctx, k.client, "SELECT toString(sum(flows)) FROM "+k.name(receivedTable)+" WHERE bucket >= "+recent+" AND folded = (slot < "+lines+"[collector + 1]) AND "+kept)
	if err != nil {
		return "", err
	}
	if inFlows != inSums {
		return fmt.Sprintf("%s flows of the latest minutes, %s in sums", inFlows, inSums), nil
	}
	return "", nil
}
