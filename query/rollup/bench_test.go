package rollup_test

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/flowgen"
	"github.com/weirhq/weir/query/rollup"
)

// BenchmarkDerive sums and encodes batches of a second of an estate's traffic. Figures are CPU time, so that they mean
// something beside other work.
func BenchmarkDerive(b *testing.B) {
	for _, c := range []struct {
		size flowgen.Size
		rows int
	}{
		{flowgen.DemoSize, 500},
		{flowgen.Size{Hosts: 16, VMs: 400}, 5000},
		{flowgen.Size{Hosts: 64, VMs: 3200}, 50_000},
	} {
		b.Run(fmt.Sprintf("hosts=%d/vms=%d/rows=%d", c.size.Hosts, c.size.VMs, c.rows), func(b *testing.B) {
			estate, err := flowgen.NewEstate(c.size)
			if err != nil {
				b.Fatal(err)
			}
			rows, err := flowgen.NewRows(flowgen.RowsConfig{
				Estate: estate, Start: time.Date(2026, 1, 2, 14, 0, 0, 0, time.UTC), Rate: float64(c.rows), Enriched: true,
			})
			if err != nil {
				b.Fatal(err)
			}
			batches := make([]*flow.Batch, max(1, min(64, 200_000/c.rows)))
			for i := range batches {
				batches[i] = flow.NewBatch(c.rows)
				rows.Fill(batches[i])
				for n := range batches[i].Len() {
					batches[i].ID[n] = uint64(i + 1)
				}
			}
			a := rollup.New(1)
			var buf []byte
			made := map[string]int{}
			add := func(table, _ string, rows int, encode func([]byte) []byte) {
				made[table] += rows
				buf = encode(buf)
			}
			derive := func(i int) {
				buf = buf[:0]
				a.Derive(batches[i%len(batches):][:1], 1, time.Unix(1_767_362_400, 0), add)
			}
			for i := range batches { // warm
				derive(i)
			}
			clear(made)
			b.ReportAllocs()
			i, before := 0, cpuTime(b)
			for b.Loop() {
				derive(i)
				i++
			}
			flows := float64(i * c.rows)
			b.ReportMetric(float64(cpuTime(b)-before)/flows, "cpu-ns/flow")
			b.ReportMetric(float64(made[rollup.MinuteTable])/flows, "minute-rows/flow")
			b.ReportMetric(float64(made[rollup.ReceivedTable])/flows, "received-rows/flow")
			b.ReportMetric(float64(made[rollup.GroupTable])/flows, "group-rows/flow")
			b.ReportMetric(float64(len(buf))/float64(c.rows), "B/flow")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
