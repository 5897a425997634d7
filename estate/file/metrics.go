package file

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	used, refused prometheus.Counter
	current       prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	reads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_estate_file_reads_total",
		Help: "Contents of the estate file that were read, by whether they were used or refused.",
	}, []string{"result"})
	m := &metrics{
		used: reads.WithLabelValues("used"), refused: reads.WithLabelValues("refused"),
		current: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weir_estate_file_current",
			Help: "Whether the estate in use is that of the file as it is now (1), or of an older content or none (0).",
		}),
	}
	if reg != nil {
		reg.MustRegister(reads, m.current)
	}
	return m
}
