package store_test

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/flowgen"
	"github.com/weirhq/weir/sql"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/storetest"
)

// variant is table flows with other clauses.
type variant struct {
	name string
	edit func(statement string) string
}

// orderBy replaces the sorting key.
func orderBy(key string) func(string) string {
	return func(s string) string { return replaceOne(`\nORDER BY [^\n]+`, s, "\nORDER BY "+key) }
}

// codec replaces the codec of some columns.
func codec(codec string, columns ...string) func(string) string {
	return func(s string) string {
		for _, c := range columns {
			s = replaceOne(`(\n    `+c+` [^\n]*) CODEC\([^\n]*\)(,?\n)`, s, "${1} CODEC("+codec+")${2}")
		}
		return s
	}
}

// replaceOne replaces the one match of pattern.
func replaceOne(pattern, s, by string) string {
	re := regexp.MustCompile(pattern)
	if n := len(re.FindAllString(s, -1)); n != 1 {
		panic(fmt.Sprintf("BUG: %d matches of %s in table flows", n, pattern))
	}
	return re.ReplaceAllString(s, by)
}

// flowVariants are the alternatives to the schema that docs/adr/0006-flows-schema.md weighs.
var flowVariants = []variant{
	{"schema", func(s string) string { return s }},
	{"order=received", orderBy("time_received")},
	{"order=exporter", orderBy("(toStartOfFiveMinutes(time_received), exporter, in_if)")},
	{"order=hour", orderBy("(toStartOfHour(time_received), network, src_vm, dst_vm)")},
	{"order=vms,ports", orderBy("(toStartOfFiveMinutes(time_received), network, src_vm, dst_vm, protocol, src_port, dst_port)")},
	{"order=vms,addr", orderBy("(toStartOfFiveMinutes(time_received), network, src_vm, dst_vm, src_addr, dst_addr)")},
	{"order=vms,received", orderBy("(toStartOfFiveMinutes(time_received), network, src_vm, dst_vm, time_received)")},
	{"received=DoubleDelta", codec("DoubleDelta, ZSTD(1)", "time_received")},
	{"received=Delta", codec("Delta, ZSTD(1)", "time_received")},
	{"received=ZSTD", codec("ZSTD(1)", "time_received")},
	{"age=ZSTD", codec("ZSTD(1)", "start_age_ms")},
	{"duration=T64", codec("T64, ZSTD(1)", "duration_ms")},
	{"bytes=T64", codec("T64, ZSTD(1)", "bytes", "packets")},
	{"ids=ZSTD(3)", codec("ZSTD(3)", "src_vm", "dst_vm", "src_vif", "dst_vif", "src_addr", "dst_addr")},
}

const (
	sizeRows  = 1_000_000
	sizeRate  = 2000 // flows a second: what a collector of some hundred hosts sees
	sizeBlock = 50_000
)

// BenchmarkFlowSize stores a million flows of the generator in the embedded store, merges them, and reports the bytes that
// each takes on disk; of the schema also by column. It takes minutes, so it runs only where WEIR_SCHEMA is set:
//
//	WEIR_SCHEMA=1 go test ./store -run '^$' -bench FlowSize -benchtime 1x
func BenchmarkFlowSize(b *testing.B) {
	if os.Getenv("WEIR_SCHEMA") == "" {
		b.Skip("WEIR_SCHEMA is not set")
	}
	var blocks [][]byte
	for _, v := range flowVariants {
		b.Run(v.name, func(b *testing.B) {
			if blocks == nil {
				blocks = generated(b)
			}
			database, srv := storetest.Database(b)
			c := openConfig(b, config(srv, database))
			migrate(b, c)
			if v.name != "schema" {
				if err := c.Exec(b.Context(), "DROP TABLE flows SYNC"); err != nil {
					b.Fatal(err)
				}
				if err := c.Exec(b.Context(), v.edit(flowsStatement(b))); err != nil {
					b.Fatal(err)
				}
			}
			var spent time.Duration
			for b.Loop() {
				if err := c.Exec(b.Context(), "TRUNCATE TABLE flows"); err != nil {
					b.Fatal(err)
				}
				before := cpuTime(b, srv.PID())
				for _, block := range blocks {
					if _, err := c.InsertNative(b.Context(), "flows", block, ""); err != nil {
						b.Fatal(err)
					}
				}
				spent += cpuTime(b, srv.PID()) - before
				if err := c.Exec(b.Context(), "OPTIMIZE TABLE flows FINAL"); err != nil {
					b.Fatal(err)
				}
			}
			sizes := flowSizes(b, c)
			b.ReportMetric(sizes[0].bytes, "B/flow")
			b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N*sizeRows), "insert-cpu-ns/flow")
			if v.name == "schema" {
				fmt.Print("\n" + sizeTable(sizes))
			}
		})
	}
}

// cpuTime is what a process has used, merges in the background included.
func cpuTime(b *testing.B, pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		b.Fatalf("stat of %d: %q", pid, text)
	}
	var ticks time.Duration
	for _, field := range f[11:13] { // utime, stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
}

// generated is the flows, encoded.
func generated(b *testing.B) [][]byte {
	start := time.Now().UTC().Truncate(24 * time.Hour).Add(-10 * time.Hour) // of another day what is old would expire
	rows, err := flowgen.NewRows(flowgen.RowsConfig{Start: start, Rate: sizeRate, Enriched: true, Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	batch := flow.NewBatch(sizeBlock)
	var blocks [][]byte
	for range sizeRows / sizeBlock {
		batch.Reset()
		rows.Fill(batch)
		blocks = append(blocks, batch.AppendNative(nil))
	}
	return blocks
}

func flowsStatement(b *testing.B) string {
	migrations, err := store.LoadMigrations(sql.Migrations())
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range migrations {
		for _, s := range m.Statements {
			if strings.Contains(s, "CREATE TABLE IF NOT EXISTS flows\n") {
				return s
			}
		}
	}
	b.Fatal("no migration creates table flows")
	return ""
}

// columnSize is what a column takes for each flow.
type columnSize struct {
	name  string
	bytes float64 // on disk
	plain float64 // before compression; 0 where that has no meaning
}

// flowSizes returns the size of all, then those of the parts of it, the largest first.
func flowSizes(b *testing.B, c *store.Client) []columnSize {
	var total, marks, key, indices uint64
	scan(b, c, `SELECT sum(bytes_on_disk), sum(marks_bytes), sum(primary_key_size), sum(secondary_indices_compressed_bytes + secondary_indices_marks_bytes)
		FROM system.parts WHERE active AND database = currentDatabase() AND table = 'flows'`, &total, &marks, &key, &indices)
	per := func(n uint64) float64 { return float64(n) / sizeRows }
	sizes := []columnSize{{"(marks)", per(marks), 0}, {"(primary key)", per(key), 0}, {"(indices)", per(indices), 0}}
	rest := total - marks - key - indices
	rows, err := c.Conn().Query(b.Context(), `SELECT column, sum(column_data_compressed_bytes), sum(column_data_uncompressed_bytes)
		FROM system.parts_columns WHERE active AND database = currentDatabase() AND table = 'flows' GROUP BY column`)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var s columnSize
		var disk, plain uint64
		if err := rows.Scan(&s.name, &disk, &plain); err != nil {
			b.Fatal(err)
		}
		rest -= disk
		s.bytes, s.plain = per(disk), per(plain)
		sizes = append(sizes, s)
	}
	if err := rows.Err(); err != nil {
		b.Fatal(err)
	}
	sizes = append(sizes, columnSize{"(other files)", per(rest), 0})
	slices.SortFunc(sizes, func(a, b columnSize) int {
		return cmp.Or(cmp.Compare(b.bytes, a.bytes), strings.Compare(a.name, b.name))
	})
	return append([]columnSize{{"all", per(total), 0}}, sizes...)
}

func sizeTable(sizes []columnSize) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%-20s %8s %8s\n", "column", "B/flow", "plain")
	for _, c := range sizes {
		plain := ""
		if c.plain > 0 {
			plain = fmt.Sprintf("%.2f", c.plain)
		}
		fmt.Fprintf(&s, "%-20s %8.3f %8s\n", c.name, c.bytes, plain)
	}
	return s.String()
}
