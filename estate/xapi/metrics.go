package xapi

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	connected                            prometheus.Gauge
	logins, reads, events, drift, writes prometheus.Counter
}

// newMetrics registers the metrics of a pool. Pools are few, and named in the configuration.
func newMetrics(reg prometheus.Registerer, pool string) *metrics {
	labels := prometheus.Labels{"pool": pool}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels})
	}
	m := &metrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_estate_xapi_connected", Help: "Whether the pool answers (1) or not (0).", ConstLabels: labels}),
		logins:    counter("weir_estate_xapi_logins_total", "Sessions that were opened with the pool."),
		reads:     counter("weir_estate_xapi_reads_total", "Times that all records of the pool were read."),
		events:    counter("weir_estate_xapi_events_total", "Records that the pool told of, when all was read and as changes."),
		drift:     counter("weir_estate_xapi_drift_total", "Times that what was known differed from what the pool counts, so that all was read again."),
		writes:    counter("weir_estate_xapi_writes_total", "Values that were written to the pool; none unless the configuration says so."),
	}
	if reg != nil {
		reg.MustRegister(m.connected, m.logins, m.reads, m.events, m.drift, m.writes)
	}
	return m
}
