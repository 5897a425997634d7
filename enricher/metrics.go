package enricher

import "github.com/prometheus/client_golang/prometheus"

var (
	rowsDesc = prometheus.NewDesc("weir_enricher_rows_total",
		"Flow rows enriched.", nil, nil)
	oddRowsDesc = prometheus.NewDesc("weir_enricher_odd_rows_total",
		"Flow rows about which something was not found (unknown_exporter, no_end, no_network), or that totals leave out (not_counted).",
		[]string{"what"}, nil)
	lookupsDesc = prometheus.NewDesc("weir_enricher_lookups_total",
		"Look-ups of the ends of flows by kind of key (port, mac, addr) and outcome (hit, miss, ambiguous).",
		[]string{"kind", "result"}, nil)
)

// metrics exposes Stats.
type metrics struct{ e *Enricher }

func (metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- rowsDesc
	ch <- oddRowsDesc
	ch <- lookupsDesc
}

func (m metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.e.Stats()
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	count(rowsDesc, s.Rows)
	count(oddRowsDesc, s.UnknownExporter, "unknown_exporter")
	count(oddRowsDesc, s.NoEnd, "no_end")
	count(oddRowsDesc, s.NoNetwork, "no_network")
	count(oddRowsDesc, s.NotCounted, "not_counted")
	for _, k := range []struct {
		kind string
		l    Lookups
	}{{"port", s.Port}, {"mac", s.MAC}, {"addr", s.Addr}} {
		count(lookupsDesc, k.l.Hits, k.kind, "hit")
		count(lookupsDesc, k.l.Misses, k.kind, "miss")
		count(lookupsDesc, k.l.Ambiguous, k.kind, "ambiguous")
	}
}
