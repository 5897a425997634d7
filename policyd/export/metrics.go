package export

import "github.com/prometheus/client_golang/prometheus"

// metrics are those of all hosts.
type metrics struct {
	transactions *prometheus.CounterVec // by outcome
	wiped        prometheus.Counter
	renewed      prometheus.Counter
}

// Outcomes of a transaction.
const (
	outcomeDone    = "done"
	outcomeChanged = "changed" // others changed something in the meantime; tried again
	outcomeUnknown = "unknown" // no answer came; looked again
	outcomeFailed  = "failed"
)

func newMetrics(reg prometheus.Registerer, e *Exports) *metrics {
	m := &metrics{
		transactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_policyd_export_transactions_total",
			Help: "Transactions with hosts that set up or undo the export of flows, by outcome: done, changed (others changed something in the meantime; tried again), unknown (no answer came; looked again), failed.",
		}, []string{"outcome"}),
		wiped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_policyd_export_wiped_total",
			Help: "Times that others removed or changed the export of a bridge that Weir had set up.",
		}),
		renewed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_policyd_export_renewed_total",
			Help: "Times that the IPFIX export of a bridge was made anew so that its templates are sent.",
		}),
	}
	for _, o := range []string{outcomeDone, outcomeChanged, outcomeUnknown, outcomeFailed} {
		m.transactions.WithLabelValues(o)
	}
	if reg != nil {
		reg.MustRegister(m.transactions, m.wiped, m.renewed, states{e})
	}
	return m
}

var statesDesc = prometheus.NewDesc("weir_policyd_export_bridges",
	"Bridges of hosts by how their export stands: off, set, setting, foreign, yielded, failed.", []string{"state"}, nil)

// states counts bridges when it is asked.
type states struct{ e *Exports }

func (states) Describe(ch chan<- *prometheus.Desc) { ch <- statesDesc }

func (s states) Collect(ch chan<- prometheus.Metric) {
	n := map[State]int{StateOff: 0, StateSet: 0, StateSetting: 0, StateForeign: 0, StateYielded: 0, StateFailed: 0}
	for _, h := range s.e.Status() {
		for i := range h.Bridges {
			n[h.Bridges[i].State]++
		}
	}
	for state, count := range n {
		ch <- prometheus.MustNewConstMetric(statesDesc, prometheus.GaugeValue, float64(count), string(state))
	}
}
