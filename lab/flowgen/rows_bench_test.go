package flowgen_test

import (
	"testing"
	"time"

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
			for b.Loop() {
				batch.Reset()
				rows.Fill(batch)
			}
			b.ReportMetric(float64(b.N*batch.Len())/b.Elapsed().Seconds()/1e6, "Mrows/s")
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
	for b.Loop() {
		g.Next(&o)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
}
