package export

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/mirror"
	"github.com/weirhq/weir/policyd/shape"
)

// metrics are those of all hosts.
type metrics struct {
	transactions    *prometheus.CounterVec // by outcome
	wiped           prometheus.Counter
	controllerWiped prometheus.Counter
	limitsWiped     prometheus.Counter
	mirrorWiped     prometheus.Counter
	renewed         prometheus.Counter
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
		controllerWiped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_policyd_attach_wiped_total",
			Help: "Times that others removed or changed what makes a bridge dial Weir by OpenFlow.",
		}),
		limitsWiped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_policyd_limits_wiped_total",
			Help: "Times that others removed or changed what limits the rate of VIFs' ports in the database of a host.",
		}),
		mirrorWiped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_policyd_mirror_wiped_total",
			Help: "Times that others removed or changed mirrors of a bridge that Weir had set up.",
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
		reg.MustRegister(m.transactions, m.wiped, m.controllerWiped, m.limitsWiped, m.mirrorWiped, m.renewed, states{e})
	}
	return m
}

var (
	statesDesc = prometheus.NewDesc("weir_policyd_export_bridges",
		"Bridges of hosts by how their export stands: off, set, setting, foreign, yielded, failed.", []string{"state"}, nil)
	rulesDesc = prometheus.NewDesc("weir_policyd_export_rules_bridges",
		"Bridges of hosts that enforce policy, by how the export of what their flows sample stands: off, set, setting, foreign, yielded.", []string{"state"}, nil)
	attachedDesc = prometheus.NewDesc("weir_policyd_attach_bridges",
		"Bridges of hosts that enforce policy, by how what makes them dial Weir stands: off, set, setting, unconfirmed, yielded, failed.", []string{"state"}, nil)
	limitsDesc = prometheus.NewDesc("weir_policyd_limits_rates",
		"Rates that are asked of ports of VIFs, by what has them in force (meter, policing, htb) and how they stand in the database of the host: set, setting, foreign, yielded, failed.", []string{"by", "state"}, nil)
	mirrorsDesc = prometheus.NewDesc("weir_policyd_mirrors",
		"Mirrors of bridges that policy asks for, by how they stand: active, setting, waiting, failed, left_out, yielded.", []string{"state"}, nil)
)

// states counts bridges when it is asked.
type states struct{ e *Exports }

func (states) Describe(ch chan<- *prometheus.Desc) {
	ch <- statesDesc
	ch <- rulesDesc
	ch <- attachedDesc
	ch <- limitsDesc
	ch <- mirrorsDesc
}

func (s states) Collect(ch chan<- prometheus.Metric) {
	n := map[State]int{StateOff: 0, StateSet: 0, StateSetting: 0, StateForeign: 0, StateYielded: 0, StateFailed: 0}
	rules := map[State]int{StateOff: 0, StateSet: 0, StateSetting: 0, StateForeign: 0, StateYielded: 0}
	attached := map[attach.State]int{
		attach.StateOff: 0, attach.StateSet: 0, attach.StateSetting: 0, attach.StateUnconfirmed: 0, attach.StateYielded: 0, attach.StateFailed: 0,
	}
	copied := map[mirror.State]int{}
	for _, state := range mirror.States {
		copied[state] = 0
	}
	rates := map[shape.Means]map[shape.State]int{}
	for _, by := range shape.AllMeans {
		rates[by] = map[shape.State]int{}
	}
	for _, h := range s.e.Status() {
		for i := range h.Bridges {
			b := &h.Bridges[i]
			n[b.State]++
			if b.Rules != nil {
				rules[b.Rules.State]++
			}
			if b.Controller != nil {
				attached[b.Controller.State]++
			}
			for j := range b.Mirrors {
				copied[b.Mirrors[j].State]++
			}
			if b.Limits == nil {
				continue
			}
			for _, p := range b.Limits.Ports {
				for _, d := range []*shape.Direction{p.Out, p.In} {
					if d != nil {
						rates[d.By][d.State]++
					}
				}
			}
		}
	}
	send(ch, statesDesc, n)
	send(ch, rulesDesc, rules)
	send(ch, attachedDesc, attached)
	for by, n := range rates {
		for _, state := range shape.States {
			ch <- prometheus.MustNewConstMetric(limitsDesc, prometheus.GaugeValue, float64(n[state]), string(by), string(state))
		}
	}
	send(ch, mirrorsDesc, copied)
}

func send[S ~string](ch chan<- prometheus.Metric, desc *prometheus.Desc, n map[S]int) {
	for state, count := range n {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(count), string(state))
	}
}
