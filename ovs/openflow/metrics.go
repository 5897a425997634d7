package openflow

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	accepted prometheus.Counter
	ended    map[Reason]prometheus.Counter
	dropped  prometheus.Counter
	unasked  prometheus.Counter
	errors   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		accepted: counter("weir_openflow_accepted_total", "Connections of switches that introduced themselves."),
		dropped:  counter("weir_openflow_events_dropped_total", "Events of switches that were not taken in time and dropped; what they were about is looked up again."),
		unasked:  counter("weir_openflow_unasked_total", "Messages of switches that nobody waits for; they are ignored."),
		errors:   counter("weir_openflow_errors_total", "Errors of switches about what nobody waits for, or about one of several changes of a bundle."),
		ended:    map[Reason]prometheus.Counter{},
	}
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_openflow_ended_total", Help: "Connections to the OpenFlow port that ended or were refused, by reason.",
	}, []string{"reason"})
	for _, r := range reasons {
		m.ended[r] = vec.WithLabelValues(string(r))
	}
	if reg != nil {
		reg.MustRegister(m.accepted, vec, m.dropped, m.unasked, m.errors)
	}
	return m
}

func (m *metrics) end(r Reason) { m.ended[r].Inc() }
