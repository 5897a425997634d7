package hosts

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/ovs/ovsdb"
)

// refused is why a connection that was accepted is not a session's, or not yet.
type refused string

const (
	refusedBusy      refused = "busy"      // too many handshakes at a time
	refusedHandshake refused = "handshake" // TLS did not come about
	refusedSilent    refused = "silent"    // it does not answer as a database does
	refusedTwice     refused = "twice"     // the host is connected already
	refusedUnknown   refused = "unknown"   // it waits to be confirmed
	refusedFull      refused = "full"      // so many wait already
)

var refusals = []refused{refusedBusy, refusedHandshake, refusedSilent, refusedTwice, refusedUnknown, refusedFull}

// states are those that are counted of sessions.
var states = []ovsdb.State{
	ovsdb.StateNew, ovsdb.StateWaiting, ovsdb.StateConnecting, ovsdb.StateConnected, ovsdb.StateBackoff, ovsdb.StateConfirm,
	ovsdb.StateRefused, ovsdb.StateStopped,
}

type metrics struct {
	refused map[refused]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, f *Fleet) *metrics {
	m := &metrics{refused: map[refused]prometheus.Counter{}}
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_hosts_refused_total", Help: "Connections of hosts that dialled in and were not, or not at once, taken for a configured host's, by reason.",
	}, []string{"reason"})
	for _, r := range refusals {
		m.refused[r] = vec.WithLabelValues(string(r))
	}
	if reg != nil {
		reg.MustRegister(vec, &collector{f})
	}
	return m
}

func (m *metrics) refuse(r refused) { m.refused[r].Inc() }

var (
	descSessions = prometheus.NewDesc("weir_hosts_sessions", "Configured hosts, by the state of the session with their database.", []string{"state"}, nil)
	descStarts   = prometheus.NewDesc("weir_hosts_connections_total", "Connections to hosts whose database became known, of the hosts that are configured now.", nil, nil)
	descWaiting  = prometheus.NewDesc("weir_hosts_waiting", "Hosts that dialled in and wait to be confirmed.", nil, nil)
)

// collector counts the hosts when it is asked.
type collector struct{ fleet *Fleet }

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- descSessions
	ch <- descStarts
	ch <- descWaiting
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	count := map[ovsdb.State]int{}
	starts := uint64(0)
	for _, h := range c.fleet.Hosts() {
		count[h.Session.State]++
		starts += h.Session.Starts
	}
	for _, s := range states {
		ch <- prometheus.MustNewConstMetric(descSessions, prometheus.GaugeValue, float64(count[s]), string(s))
	}
	ch <- prometheus.MustNewConstMetric(descStarts, prometheus.CounterValue, float64(starts))
	ch <- prometheus.MustNewConstMetric(descWaiting, prometheus.GaugeValue, float64(len(c.fleet.Strangers())))
}
