package enricher

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	rowsDesc = prometheus.NewDesc("weir_enricher_rows_total",
		"Flow rows enriched.", nil, nil)
	oddRowsDesc = prometheus.NewDesc("weir_enricher_odd_rows_total",
		"Flow rows about which something was not found (unknown_exporter, no_end, no_network, unknown_rule), that totals leave out (not_counted), or that they count in place of those of the source's host, which does not export (stand_in).",
		[]string{"what"}, nil)
	liveHostsDesc = prometheus.NewDesc("weir_enricher_live_hosts",
		"Hosts of the estate that export flows: a datagram came within three active timeouts.", nil, nil)
	lookupsDesc = prometheus.NewDesc("weir_enricher_lookups_total",
		"Look-ups of the ends of flows by kind of key (port, mac, addr) and outcome (hit, miss, ambiguous).",
		[]string{"kind", "result"}, nil)
)

// metrics exposes Stats.
type metrics struct{ e *Enricher }

func (metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- rowsDesc
	ch <- oddRowsDesc
	ch <- liveHostsDesc
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
	count(oddRowsDesc, s.UnknownRule, "unknown_rule")
	count(oddRowsDesc, s.StandIn, "stand_in")
	hosts := 0
	for _, is := range m.e.liveHosts(m.e.deps.Estate.Load(), time.Now().UnixMilli()) {
		hosts += one(is)
	}
	ch <- prometheus.MustNewConstMetric(liveHostsDesc, prometheus.GaugeValue, float64(hosts))
	for _, k := range []struct {
		kind string
		l    Lookups
	}{{"port", s.Port}, {"mac", s.MAC}, {"addr", s.Addr}} {
		count(lookupsDesc, k.l.Hits, k.kind, "hit")
		count(lookupsDesc, k.l.Misses, k.kind, "miss")
		count(lookupsDesc, k.l.Ambiguous, k.kind, "ambiguous")
	}
}
