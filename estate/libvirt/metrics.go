package libvirt

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	connected     prometheus.Gauge
	reads, events prometheus.Counter
}

// newMetrics registers the metrics of a host. Hosts are named in the configuration.
func newMetrics(reg prometheus.Registerer, host string) *metrics {
	labels := prometheus.Labels{"host": host}
	m := &metrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_estate_libvirt_connected", Help: "Whether libvirt of the host answers (1) or not (0).", ConstLabels: labels}),
		reads:     prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_estate_libvirt_reads_total", Help: "Times that all domains of the host were read.", ConstLabels: labels}),
		events:    prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_estate_libvirt_events_total", Help: "Changes of domains that libvirt told of.", ConstLabels: labels}),
	}
	if reg != nil {
		reg.MustRegister(m.connected, m.reads, m.events)
	}
	return m
}
