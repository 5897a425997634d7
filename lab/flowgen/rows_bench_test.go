package flowgen_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/flowgen"
)

var start = time.Date(2026, 1, 2, 14, 0, 0, 0, time.UTC)

func BenchmarkRows(b *testing.B) {
	for _, enriched := range []bool{false, true} {
		b.Run(map[bool]string{false: "decoded", true: "enriched"}[enriched], func(b *testing.B) {
			rows, err := flowgen.NewRows(flowgen.RowsConfig{Start: start, Rate: 100_000, Enriched: enriched})
			if err != nil {
				b.Fatal(err)
			}
			batch := flow.NewBatch(65536)
			rows.Fill(batch)
			b.ReportAllocs()
			before := cpuTime(b)
			for b.Loop() {
				batch.Reset()
				rows.Fill(batch)
			}
			report(b, before, batch.Len())
		})
	}
}

func BenchmarkGenerator(b *testing.B) {
	g, err := flowgen.New(flowgen.Config{Start: start, Rate: 10_000, Warmup: 20 * time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	var o flowgen.Observation
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		g.Next(&o)
	}
	report(b, before, 1)
}

// report says how many rows a core makes in a second of its time: what it does beside others does not count.
func report(b *testing.B, before time.Duration, rows int) {
	b.ReportMetric(float64(b.N*rows)/(cpuTime(b)-before).Seconds()/1e6, "Mrows/s/core")
}

// cpuTime returns that of the process.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
