package bench_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/bench/corpus"
	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/enricher"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/flowgen"
	"github.com/weirhq/weir/store"
)

// inserters is how many inserts are under way at a time: as many as store.DefaultWriterConfig has.
const inserters = 2

// BenchmarkStored brings flows over UDP into a running Weir, to the last row of the table flows and of the rollups, and in
// turns with that inserts the same rows, encoded beforehand, into the flows of the same store without rollups: what the
// engine takes, a batch an insert, and as many as Weir joins when the store is behind. The sender offers half as much
// again as the engine took of single batches; the write-ahead log holds what waits. More than that, beside the sender and the engine on two
// cores, Weir cannot even write down.
func BenchmarkStored(b *testing.B) {
	const rounds = 3
	i := up(b, filepath.Join(b.TempDir(), "data"), flowgen.Demo())
	s := newSender(b, -1, i.port)
	batch := enrichedBatch(b, 50_000)
	block := batch.AppendNative(nil)
	flows := storedFlowsWanted(b)
	joined := store.DefaultWriterConfig().JoinRows / batch.Len()
	var single, raw, udp best
	for b.Loop() {
		for range rounds {
			single.take(i.insert(b, block, batch.Len(), flows))
			i.exec(b, "TRUNCATE TABLE flows")
			raw.take(i.insert(b, bytes.Repeat(block, joined), joined*batch.Len(), flows))
			i.exec(b, "TRUNCATE TABLE flows")
			udp.take(i.receive(b, s, flows, 1.5*single.rate))
			i.exec(b, "TRUNCATE TABLE flows")
		}
	}
	b.ReportMetric(0, "ns/op")
	raw.take(single)
	b.ReportMetric(single.rate, "raw-single-rows/s")
	b.ReportMetric(raw.rate, "raw-rows/s")
	b.ReportMetric(udp.rate, "rows/s")
	b.ReportMetric(100*udp.rate/raw.rate, "%of-raw")
	b.ReportMetric(raw.store, "raw-store-cpu-ns/row")
	b.ReportMetric(udp.store, "store-cpu-ns/row")
	b.ReportMetric(udp.weir, "weir-cpu-ns/row")
}

// best is the best round of a way to store rows.
type best struct {
	rate        float64 // rows a second
	store, weir float64 // CPU time of the processes, ns a row
}

func (b *best) take(r best) {
	if r.rate > b.rate {
		*b = r
	}
}

func storedFlowsWanted(tb testing.TB) uint64 { return uint64(seconds(tb) * 1e6) }

// measure times what stores rows.
func (i instance) measure(tb testing.TB, rows uint64, work func()) best {
	tb.Helper()
	storeCPU, weirCPU, begin := cpu(tb, i.StorePID), cpu(tb, i.PID), time.Now()
	work()
	took := time.Since(begin)
	perRow := func(d time.Duration) float64 { return float64(d) / float64(rows) }
	return best{float64(rows) / took.Seconds(), perRow(cpu(tb, i.StorePID) - storeCPU), perRow(cpu(tb, i.PID) - weirCPU)}
}

// insert inserts block of some rows until the table has got that many rows.
func (i instance) insert(tb testing.TB, block []byte, blockRows int, rows uint64) best {
	tb.Helper()
	blocks := int64(math.Ceil(float64(rows) / float64(blockRows)))
	return i.measure(tb, uint64(blocks)*uint64(blockRows), func() {
		var begun atomic.Int64
		var g errgroup.Group
		for range inserters {
			g.Go(func() error {
				for begun.Add(1) <= blocks {
					if _, err := i.client.InsertNative(context.Background(), "flows", block, ""); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			tb.Fatal(err)
		}
	})
}

// receive sends flows at a rate and waits until all of them are stored.
func (i instance) receive(tb testing.TB, s sender, flows uint64, rate float64) best {
	tb.Helper()
	before := i.status(tb)
	b := i.measure(tb, flows, func() {
		done := s.send(rate, flows)
		flows = done.Flows
		apptest.Eventually(tb, patience, "all flows are stored", func() error {
			now := i.status(tb)
			stored := now.Writer.Stored.Rows - before.Writer.Stored.Rows
			if lost := now.Lost(); len(lost) > 0 {
				tb.Fatalf("lost: %v", lost)
			}
			if drops := now.Collector.KernelDrops - before.Collector.KernelDrops; drops > 0 {
				tb.Fatalf("the kernel dropped %d datagrams", drops)
			}
			if stored != done.Flows {
				return fmt.Errorf("%d of %d", stored, done.Flows)
			}
			return nil
		})
	})
	if text := i.MustSQL("SELECT count() FROM flows"); text != strconv.FormatUint(flows, 10) {
		tb.Fatal(errors.New("flows has " + text + " rows, want " + strconv.FormatUint(flows, 10)))
	}
	return b
}

// enrichedBatch makes a batch of the flows that the sender sends, as the collector hands it to the writer.
func enrichedBatch(tb testing.TB, rows int) *flow.Batch {
	tb.Helper()
	hosts, now := flowgen.Demo(), time.Now()
	corpora, err := corpus.Estate(hosts, now, datagramsPerHost)
	if err != nil {
		tb.Fatal(err)
	}
	model := hosts.Model()
	snapshot, err := estate.Compile(&model)
	if err != nil {
		tb.Fatal(err)
	}
	holder := estate.NewHolder()
	holder.Store(snapshot)
	batch := flow.NewBatch(rows + flowsPerDatagram)
	d := netflow.New(netflow.Config{}, template.New(template.DefaultConfig()))
	for at := 0; batch.Len() < rows; at += burst {
		for _, c := range corpora {
			datagrams := c.Data[at%len(c.Data):][:burst]
			if at == 0 {
				datagrams = append(c.Templates, datagrams...)
			}
			for _, datagram := range datagrams {
				if err := d.Decode(datagram, c.Exporter, now.UnixMilli(), batch); err != nil {
					tb.Fatal(err)
				}
			}
		}
	}
	batch.Truncate(rows)
	enricher.New(enricher.Deps{Estate: holder, Live: estate.NewLiveness(time.Minute)}).Enrich(batch)
	return batch
}
