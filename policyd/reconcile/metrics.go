package reconcile

import "github.com/prometheus/client_golang/prometheus"

// metrics are those of all bridges.
type metrics struct {
	bundles *prometheus.CounterVec // by outcome
	seconds prometheus.Histogram
	changes *prometheus.CounterVec // by what
	audits  *prometheus.CounterVec // by result
	drift   prometheus.Counter
	refused *prometheus.CounterVec // connections, by reason
	packets prometheus.Counter
	bytes   prometheus.Counter
}

// Outcomes of a bundle.
const (
	outcomeDone    = "done"
	outcomeRefused = "refused" // by the switch: nothing was changed
	outcomeUnknown = "unknown" // no answer came; looked again
)

// Changes that bundles made.
const (
	changeAdded    = "added"
	changeReplaced = "replaced"
	changeRemoved  = "removed"
	changeGroup    = "group"
	changeMeter    = "meter"
)

// Results of reading all flows of a bridge.
const (
	auditRight  = "right"
	auditWrong  = "wrong"  // something was to be changed
	auditFailed = "failed" // they could not be read
)

// Reasons for which a connection is closed.
const (
	refusedStranger = "stranger" // no bridge is known whose it could be, or several
	refusedCrowd    = "crowd"    // too many strangers wait
	refusedSecond   = "second"   // its bridge has one that answers
)

func newMetrics(reg prometheus.Registerer, r *Reconciler) *metrics {
	vec := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		for _, x := range values {
			v.WithLabelValues(x)
		}
		return v
	}
	m := &metrics{
		bundles: vec("weir_policyd_reconcile_bundles_total",
			"Bundles of changes that were sent to bridges, by outcome: done, refused (by the switch; nothing was changed), unknown (no answer came; looked again).",
			"outcome", outcomeDone, outcomeRefused, outcomeUnknown),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "weir_policyd_reconcile_bundle_duration_seconds", Help: "Time from sending a bundle of changes to a bridge to its answer.",
			Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 30},
		}),
		changes: vec("weir_policyd_reconcile_changes_total",
			"Changes of flows, groups and meters that bridges took, by what: added, replaced and removed are flows; group and meter are one in any of these ways.",
			"what", changeAdded, changeReplaced, changeRemoved, changeGroup, changeMeter),
		audits: vec("weir_policyd_reconcile_audits_total",
			"Times that all flows of a bridge were read, by result: right, wrong (something was to be changed), failed (they could not be read).",
			"result", auditRight, auditWrong, auditFailed),
		drift: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_policyd_reconcile_drift_total",
			Help: "Flows and groups of Weir's that others were found to have changed, removed or added.",
		}),
		refused: vec("weir_policyd_reconcile_refused_connections_total",
			"OpenFlow connections that were closed, by reason: stranger (no bridge is known whose it could be, or several), crowd (too many of these wait), second (its bridge has one that answers).",
			"reason", refusedStranger, refusedCrowd, refusedSecond),
		packets: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_policyd_reconcile_hit_packets_total", Help: "Packets that flows of rules counted, as far as they were read and handed over.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_policyd_reconcile_hit_bytes_total", Help: "Bytes that flows of rules counted, as far as they were read and handed over.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.bundles, m.seconds, m.changes, m.audits, m.drift, m.refused, m.packets, m.bytes, states{r})
	}
	return m
}

// changed counts the changes of a plan.
func (m *metrics) changed(p *plan) {
	for what, n := range map[string]int{
		changeAdded: len(p.add), changeReplaced: len(p.replace), changeRemoved: len(p.remove), changeGroup: len(p.groups) + len(p.unused), changeMeter: p.meters(),
	} {
		m.changes.WithLabelValues(what).Add(float64(n))
	}
}

var (
	bridgesDesc = prometheus.NewDesc("weir_policyd_reconcile_bridges",
		"Bridges by how their flows stand: offline, waiting, pending, installed, yielding, failed, detached.", []string{"state"}, nil)
	flowsDesc = prometheus.NewDesc("weir_policyd_reconcile_flows",
		"Flows of Weir's on bridges, as far as is known: desired, installed, learned (made by the switch by others of Weir's), bypassing (of others, that bypass policy; groups that stand in its way, too).", []string{"what"}, nil)
)

// states counts bridges and flows when it is asked.
type states struct{ r *Reconciler }

func (states) Describe(ch chan<- *prometheus.Desc) { ch <- bridgesDesc; ch <- flowsDesc }

func (s states) Collect(ch chan<- prometheus.Metric) {
	bridges := make(map[State]int, len(States))
	flows := map[string]int{"desired": 0, "installed": 0, "learned": 0, "bypassing": 0}
	for _, b := range s.r.Status() {
		bridges[b.State]++
		flows["desired"] += b.Desired
		flows["installed"] += b.Installed
		flows["learned"] += b.Learned
		flows["bypassing"] += b.Bypasses
	}
	for _, state := range States {
		ch <- prometheus.MustNewConstMetric(bridgesDesc, prometheus.GaugeValue, float64(bridges[state]), string(state))
	}
	for what, n := range flows {
		ch <- prometheus.MustNewConstMetric(flowsDesc, prometheus.GaugeValue, float64(n), what)
	}
}
