package fold_test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/flowgen"
	"github.com/weirhq/weir/query/rollup"
	"github.com/weirhq/weir/store/fold"
	"github.com/weirhq/weir/store/storetest"
)

// BenchmarkFold folds an hour of an estate's traffic: 360 000 flows in 360 batches, or as many flows as WEIR_BENCH_FOLD_FLOWS says.
func BenchmarkFold(b *testing.B) {
	flows := 360_000
	if text := os.Getenv("WEIR_BENCH_FOLD_FLOWS"); text != "" {
		var err error
		if flows, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	estate, err := flowgen.NewEstate(flowgen.Size{Hosts: 64, VMs: 3200})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		srv := storetest.ClickHouse(b)
		c := open(b, config(srv, "default"))
		migrate(b, c)
		now := &clock{now: time.Now().Truncate(time.Hour)}
		f := folder(b, c, b.TempDir(), now)
		collector, slot := f.Slot()
		rows, err := flowgen.NewRows(flowgen.RowsConfig{Estate: estate, Start: slot, Rate: float64(flows) / 3600, Enriched: true})
		if err != nil {
			b.Fatal(err)
		}
		sums := rollup.New(1)
		var buf []byte
		var inserting time.Duration
		made := 0
		before := cpu(b, srv)
		for number := range 360 {
			batch := flow.NewBatch(flows / 360)
			rows.Fill(batch)
			for i := range batch.Len() {
				batch.ID[i] = uint64(number + 1)
			}
			sums.Derive([]*flow.Batch{batch}, collector, slot, func(table, _ string, n int, encode func([]byte) []byte) {
				buf = encode(buf[:0])
				made += n
				start := time.Now()
				if _, err := c.InsertNative(b.Context(), table, buf, ""); err != nil {
					b.Fatal(err)
				}
				inserting += time.Since(start)
			})
		}
		inserted := cpu(b, srv)
		size := func(table, rows string) float64 {
			return float64(number(b, c, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() AND table = '"+table+"'")) /
				float64(max(1, number(b, c, "SELECT count() FROM "+table+" WHERE "+rows)))
		}
		unfolded := size("flows_1m_rows", "1")
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", srv.PID()), []byte("5"), 0); err != nil { // the peak begins anew
			b.Fatal(err)
		}
		resident := status(b, srv, "VmRSS")
		now.add(time.Hour)
		start := time.Now()
		if err := f.Round(b.Context()); err != nil {
			b.Fatal(err)
		}
		s := f.Stats()
		n := float64(flows)
		b.ReportMetric(float64(made)/n, "rows/flow")
		b.ReportMetric(float64(inserting)/float64(made), "insert-ns/row")
		b.ReportMetric(float64(inserted-before)/n, "insert-cpu-ns/flow")
		b.ReportMetric(float64(s.RowsBefore)/n, "minute-rows/flow")
		b.ReportMetric(float64(s.RowsAfter)/n, "folded-rows/flow")
		b.ReportMetric(float64(number(b, c, "SELECT count() FROM flows_1h_rows"))/n, "hour-rows/flow")
		b.ReportMetric(time.Since(start).Seconds(), "fold-s")
		b.ReportMetric(float64(cpu(b, srv)-inserted)/n, "fold-cpu-ns/flow")
		b.ReportMetric((status(b, srv, "VmHWM")-resident)/1024, "fold-peak-MiB")
		b.ReportMetric(unfolded, "B/row")
		b.ReportMetric(size("flows_1m_rows", "folded"), "B/folded-row")
		b.ReportMetric(size("flows_1h_rows", "1"), "B/hour-row")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkReadWithLines asks the view, which compares each row's slot with the line of its collector, beside one line for all and no
// line: 360 000 flows in 360 batches of each of two collectors, or as many as WEIR_BENCH_FOLD_FLOWS says; one has folded them.
func BenchmarkReadWithLines(b *testing.B) {
	flows := 360_000
	if text := os.Getenv("WEIR_BENCH_FOLD_FLOWS"); text != "" {
		var err error
		if flows, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	estate, err := flowgen.NewEstate(flowgen.Size{Hosts: 64, VMs: 3200})
	if err != nil {
		b.Fatal(err)
	}
	srv := storetest.ClickHouse(b)
	c := open(b, config(srv, "default"))
	migrate(b, c)
	now := &clock{now: time.Now().Truncate(time.Hour)}
	folders := []*fold.Folder{folder(b, c, b.TempDir(), now), folder(b, c, b.TempDir(), now)}
	sums := rollup.New(1)
	var buf []byte
	for _, f := range folders {
		collector, slot := f.Slot()
		rows, err := flowgen.NewRows(flowgen.RowsConfig{Estate: estate, Start: slot, Rate: float64(flows) / 3600, Enriched: true})
		if err != nil {
			b.Fatal(err)
		}
		for number := range 360 {
			batch := flow.NewBatch(flows / 360)
			rows.Fill(batch)
			for i := range batch.Len() {
				batch.ID[i] = uint64(number + 1)
			}
			sums.Derive([]*flow.Batch{batch}, collector, slot, func(table, _ string, _ int, encode func([]byte) []byte) {
				buf = encode(buf[:0])
				if _, err := c.InsertNative(b.Context(), table, buf, ""); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
	now.add(time.Hour)
	if err := folders[0].Round(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := c.Exec(b.Context(), "OPTIMIZE TABLE flows_1m_rows FINAL"); err != nil {
		b.Fatal(err)
	}
	rows := float64(number(b, c, "SELECT count() FROM flows_1m_rows"))
	one := "(SELECT * FROM flows_1m_rows WHERE (folded AND slot < (SELECT max(until) FROM rollup_folds)) OR (NOT folded AND slot >= (SELECT toDateTime(0, 'UTC'))))"
	for _, from := range []struct{ name, table string }{{"none", "flows_1m_rows"}, {"one", one}, {"by-collector", "flows_1m"}} {
		for _, question := range []struct{ name, query string }{
			{"total", "SELECT sum(bytes) FROM " + from.table + " WHERE counted"},
			{"by-vm", "SELECT max(b) FROM (SELECT src_vm, sum(bytes) AS b FROM " + from.table + " WHERE counted GROUP BY src_vm)"},
		} {
			b.Run(from.name+"/"+question.name, func(b *testing.B) {
				before := cpu(b, srv)
				for b.Loop() {
					number(b, c, question.query)
				}
				b.ReportMetric(float64(cpu(b, srv)-before)/float64(b.N)/rows, "cpu-ns/row")
			})
		}
	}
}

// cpu is the CPU time of the store's process.
func cpu(b *testing.B, srv *storetest.Server) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", srv.PID()))
	if err != nil {
		b.Fatal(err)
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	ticks := 0
	for _, f := range fields[11:13] { // utime, stime: proc(5)
		n, err := strconv.Atoi(string(f))
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100
}

// status returns a size of the store's process in KiB.
func status(b *testing.B, srv *storetest.Server, what string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", srv.PID()))
	if err != nil {
		b.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == what+":" {
			n, err := strconv.Atoi(string(f[1]))
			if err != nil {
				b.Fatal(err)
			}
			return float64(n)
		}
	}
	b.Fatalf("no %s in\n%s", what, text)
	return 0
}
