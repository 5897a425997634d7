package bench_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/flowgen"
	"github.com/weirhq/weir/query/rollup"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/wal"
)

// question is one that people ask of a store of flows.
type question struct {
	name  string
	reach reach
	span  time.Duration // back from the newest flow
	ask   url.Values    // of GET /api/v1/flows; the range is added
}

// reach is what a question has to read.
type reach string

const (
	summed reach = "summed" // sums that are there already: below 100 ms is the goal
	keyed  reach = "keyed"  // single records of a short time or of a key that has an index: below 1 s is the goal
	scan   reach = "scan"   // all records
)

const day = 24 * time.Hour

// month is less than the 30 days for which records are kept by as much as a run may take.
const month = 30*day - 2*time.Hour

// questions are those of BenchmarkFull about its estate.
func questions(hosts *flowgen.Estate) []question {
	database := hosts.VMs[slices.IndexFunc(hosts.VMs, func(vm flowgen.VM) bool { return vm.Name == "db-01" })]
	return []question{
		{"top_vms_1h", summed, time.Hour, url.Values{"by": {"vm"}}},
		{"top_vms_24h", summed, day, url.Values{"by": {"vm"}}},
		{"top_vms_30d", summed, month, url.Values{"by": {"vm"}}},
		{"one_vm_over_30d", summed, month, url.Values{"kind": {"series"}, "filter": {"vm = web-01"}, "unit": {"bps"}}},
		{"what_two_vms_say_7d", summed, 7 * day, url.Values{"by": {"service"}, "filter": {"src_vm = app-01 and dst_vm = db-01"}}},
		{"who_talks_to_a_vm_24h", summed, day, url.Values{"by": {"src_vm"}, "filter": {"dst_vm = db-01"}, "total": {"true"}, "other": {"true"}}},
		{"groups_in_30d", summed, month, url.Values{"by": {"group"}, "direction": {"in"}}},
		{"denied_by_vm_24h", summed, day, url.Values{"by": {"dst_vm"}, "filter": {"verdict = denied"}, "unit": {"flows"}}},
		{"records_of_an_address_1h", keyed, time.Hour, url.Values{"kind": {"list"}, "filter": {"addr = " + database.VIFs[0].IPv4.String()}}},
		{"who_used_a_port_24h", keyed, day, url.Values{"by": {"src_addr"}, "filter": {"dst_port = 5432"}}},
		{"top_addresses_30d", scan, month, url.Values{"by": {"src_addr"}}},
	}
}

// BenchmarkFull fills a store with a month of flows, WEIR_BENCH_ROWS of them, through Weir's own writer, and asks questions
// of it by the API: each first cold, after a start of Weir with none of the store's files in memory, and then warm.
func BenchmarkFull(b *testing.B) {
	text := os.Getenv("WEIR_BENCH_ROWS")
	if text == "" {
		b.Skip("needs WEIR_BENCH_ROWS, the number of flows: 1e8 takes minutes and some GB of disk (make bench-full)")
	}
	wanted, err := strconv.ParseFloat(text, 64)
	if err != nil || wanted < 1e5 {
		b.Fatalf("WEIR_BENCH_ROWS is %q, want a number from 1e5", text)
	}
	hosts, err := flowgen.NewEstate(flowgen.Size{Hosts: 20, VMs: 240})
	if err != nil {
		b.Fatal(err)
	}
	i := up(b, filepath.Join(fullDir(b), "data"), hosts)
	begin, storeCPU, end := time.Now(), cpu(b, i.StorePID), time.Now().Truncate(time.Second)
	i.fill(b, hosts, end.Add(-month), end, uint64(wanted))
	report(b, "load", metrics{"rows/s": wanted / time.Since(begin).Seconds(), "store-cpu-ns/row": float64(cpu(b, i.StorePID)-storeCPU) / wanted})
	i.settle(b, hosts)
	i.reportSizes(b)
	for _, q := range questions(hosts) {
		i.restart(b, hosts, true)
		cold, table := i.ask(b, q, end)
		var warm []time.Duration
		for range 7 {
			took, _ := i.ask(b, q, end)
			warm = append(warm, took)
		}
		slices.Sort(warm)
		report(b, "question="+q.name+"/reach="+string(q.reach)+"/table="+table, metrics{
			"cold-ms": cold.Seconds() * 1000, "warm-ms": warm[len(warm)/2].Seconds() * 1000,
		})
	}
}

// BenchmarkSize reports what flows take on disk: two million of the demo's estate, as 2000 a second would come, merged.
func BenchmarkSize(b *testing.B) {
	const flows, rate = 2_000_000, 2000
	hosts, end := flowgen.Demo(), time.Now()
	i := up(b, filepath.Join(b.TempDir(), "data"), hosts)
	i.fill(b, hosts, end.Add(-flows/rate*time.Second), end, flows)
	i.settle(b, hosts)
	for table := range strings.Lines(i.MustSQL("SELECT DISTINCT table FROM system.parts WHERE active AND database = currentDatabase() AND rows > 1000")) {
		i.exec(b, "OPTIMIZE TABLE "+table+" FINAL")
	}
	i.reportSizes(b)
}

// metrics are figures by unit.
type metrics map[string]float64

// report prints figures as those of a benchmark.
func report(b *testing.B, name string, m metrics) {
	b.Run(name, func(b *testing.B) {
		b.ReportMetric(0, "ns/op")
		for unit, value := range m {
			b.ReportMetric(value, unit)
		}
	})
}

// fullDir is a new directory in WEIR_BENCH_DIR, or where temporary files are.
func fullDir(tb testing.TB) string {
	dir, err := os.MkdirTemp(os.Getenv("WEIR_BENCH_DIR"), "weir-bench-full-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// fill stores rows of a time, through a writer and a log in memory.
func (i instance) fill(b *testing.B, hosts *flowgen.Estate, from, to time.Time, wanted uint64) {
	b.Helper()
	const batchRows, waiting = 50_000, 8
	const slot = day // of rollups: fewer, and so sooner folded, than the hours of a running Weir; the sums are the same
	rows, err := flowgen.NewRows(flowgen.RowsConfig{
		Estate: hosts, Start: from, Rate: float64(wanted) / to.Sub(from).Seconds(), Enriched: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	cfg := wal.Default()
	cfg.Dir = filepath.Join(memoryDir(b), "wal")
	quiet := slog.New(slog.DiscardHandler)
	log, err := wal.Open(cfg, wal.Deps{Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	free := store.NewFreeList(waiting, batchRows)
	sums := rollup.New(rand.Uint64())
	self, err := store.Collectors(context.Background(), i.client) // the Weir that folds later
	if err != nil || len(self) != 1 {
		b.Fatalf("%d collectors are registered, want one: %v", len(self), err)
	}
	number := self[0].Number
	w, err := store.NewWriter(store.DefaultWriterConfig(), store.WriterDeps{
		Log: quiet, Client: i.client, WAL: log, Recycle: free.Put,
		Derive: func(r *wal.Record, batches []*flow.Batch) {
			sums.Derive(batches, number, time.UnixMilli(batches[0].TimeReceived[0]).Truncate(slot).Add(time.Duration(number)*time.Second), r.Add)
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	ids := store.NewBatchIDs(rand.Uint64)
	for sealed := uint64(0); sealed < wanted; {
		if w.Stats().Waiting.Batches >= waiting {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		batch := free.Get()
		rows.Fill(batch)
		batch.Truncate(int(min(uint64(batch.Len()), wanted-sealed)))
		decide(batch)
		id := ids.Next()
		for n := range batch.Len() {
			batch.ID[n] = id
		}
		sealed += uint64(batch.Len())
		w.Seal(batch)
	}
	until(b, "all flows are stored", longPatience, func() bool { return w.Stats().Waiting.Rows == 0 })
	stop()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	if s := w.Stats(); s.Stored.Rows != wanted {
		b.Fatalf("%d flows stored, want %d: %+v", s.Stored.Rows, wanted, s)
	}
}

// decide gives rows the verdict that a policy would: of TCP connections that were never answered that they are denied.
func decide(b *flow.Batch) {
	const syn, tcp = 2, 6
	for i := range b.Len() {
		b.Verdict[i] = flow.VerdictAllowed
		if b.Protocol[i] == tcp && b.TCPFlags[i] == syn {
			b.Verdict[i] = flow.VerdictDenied
		}
	}
}

// settle has the rollups folded, by a Weir that is started again, and waits until the store has merged what it wants to merge.
func (i *instance) settle(b *testing.B, hosts *flowgen.Estate) {
	b.Helper()
	i.restart(b, hosts, false)
	until(b, "rollups are folded", longPatience, func() bool {
		s := i.status(b).Fold
		if s.Problem != "" {
			b.Fatalf("fold rollups: %s", s.Problem)
		}
		return s.Slots > 0 && s.Waiting == 0
	})
	quiet := 0
	until(b, "the store has merged", longPatience, func() bool {
		if quiet++; i.MustSQL("SELECT count() FROM system.merges") != "0" {
			quiet = 0
		}
		return quiet > 10
	})
}

// reportSizes reports the bytes that each table takes on disk, and of the flows each column and the indexes, by flow.
func (i instance) reportSizes(b *testing.B) {
	b.Helper()
	const tables = `SELECT table, sum(bytes_on_disk), sum(rows) FROM system.parts
WHERE active AND database = currentDatabase() GROUP BY table HAVING sum(rows) > 1000 ORDER BY 2 DESC`
	const columns = `SELECT name, bytes, 0 FROM (
  SELECT column AS name, sum(column_data_compressed_bytes) + sum(column_marks_bytes) AS bytes
  FROM system.parts_columns WHERE active AND database = currentDatabase() AND table = 'flows' GROUP BY column
  UNION ALL
  SELECT 'indexes', sum(secondary_indices_compressed_bytes) + sum(secondary_indices_marks_bytes)
  FROM system.parts WHERE active AND database = currentDatabase() AND table = 'flows')
ORDER BY bytes DESC`
	flows, err := strconv.ParseFloat(i.MustSQL("SELECT count() FROM flows"), 64)
	if err != nil {
		b.Fatal(err)
	}
	for _, list := range []struct{ kind, query string }{{"table", tables}, {"column", columns}} {
		for line := range strings.Lines(i.MustSQL(list.query)) {
			var name string
			var size, rows float64
			if _, err := fmt.Sscan(line, &name, &size, &rows); err != nil {
				b.Fatalf("%q: %v", line, err)
			}
			m := metrics{"B/flow": size / flows}
			if list.kind == "table" {
				m["rows/flow"] = rows / flows
			}
			report(b, list.kind+"="+name, m)
		}
	}
}

// ask asks and returns how long the answer took and which table it is from. Questions must have answers.
func (i instance) ask(b *testing.B, q question, end time.Time) (took time.Duration, table string) {
	b.Helper()
	values := url.Values{"from": {end.Add(-q.span).UTC().Format(time.RFC3339)}, "to": {end.UTC().Format(time.RFC3339)}}
	maps.Copy(values, q.ask)
	var answer api.FlowsAnswer
	begin := time.Now()
	i.get(b, "/api/v1/flows?"+values.Encode(), &answer)
	took = time.Since(begin)
	var rows []json.RawMessage
	if err := json.Unmarshal(answer.Rows, &rows); err != nil || len(rows) == 0 {
		b.Fatalf("the answer to %s has %d rows: %v", q.name, len(rows), err)
	}
	return took, answer.Table
}

// forget takes the files below dir out of the page cache.
func forget(tb testing.TB, dir string) {
	tb.Helper()
	unix.Sync()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
	if err != nil {
		tb.Fatal(err)
	}
}
