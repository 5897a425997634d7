package embedded

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	queries *prometheus.CounterVec
	refused *prometheus.CounterVec
	running *prometheus.GaugeVec
	seconds *prometheus.HistogramVec
}

// newMetrics registers the metrics; reg may be nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_store_server_queries_total",
			Help: "Statements that a user sent to the embedded store, by how they ended.",
		}, []string{"user", "outcome"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_store_server_refused_total",
			Help: "Requests refused before they were a statement, by what was wrong.",
		}, []string{"reason"}),
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "weir_store_server_queries_running",
			Help: "Statements that run in the embedded store.",
		}, []string{"user"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "weir_store_server_query_seconds",
			Help:    "Time from request to the end of the answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10),
		}, []string{"user"}),
	}
	if reg != nil {
		reg.MustRegister(m.queries, m.refused, m.running, m.seconds)
	}
	return m
}
