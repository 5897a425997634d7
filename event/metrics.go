package event

import "github.com/prometheus/client_golang/prometheus"

// metrics shows Stats.
type metrics struct {
	log                                      *Log
	emitted, found, stored, waiting, dropped *prometheus.Desc
}

func newMetrics(l *Log) *metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("weir_event_log_"+name, help, labels, nil)
	}
	return &metrics{
		log:     l,
		emitted: desc("emitted_total", "Network events that were noticed."),
		found:   desc("found_total", "Network events that an earlier run left on disk."),
		stored:  desc("stored_total", "Network events that the store took."),
		waiting: desc("waiting_events", "Network events that wait for the store."),
		dropped: desc("dropped_total", "Network events that the store will not get, by reason.", "reason"),
	}
}

// Describe sends the descriptions.
func (m *metrics) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.emitted, m.found, m.stored, m.waiting, m.dropped} {
		c <- d
	}
}

// Collect sends the values.
func (m *metrics) Collect(c chan<- prometheus.Metric) {
	s := m.log.Stats()
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	count(m.emitted, s.Emitted)
	count(m.found, s.Found)
	count(m.stored, s.Stored)
	c <- prometheus.MustNewConstMetric(m.waiting, prometheus.GaugeValue, float64(s.Waiting))
	for reason, n := range s.Dropped {
		count(m.dropped, n, reason)
	}
}
