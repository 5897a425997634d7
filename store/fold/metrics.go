package fold

import "github.com/prometheus/client_golang/prometheus"

// metrics shows a Folder's Stats to Prometheus.
type metrics struct{ f *Folder }

func desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("weir_store_fold_"+name, help, nil, nil)
}

var (
	slots       = desc("slots_total", "Slots of rollups that were folded.")
	rowsBefore  = desc("before_rows_total", "Rows of flows_1m that were folded.")
	rowsAfter   = desc("after_rows_total", "Rows of flows_1m that they were folded into.")
	lateRows    = desc("late_rows_total", "Rows of rollups that came into a slot after it was folded and are in no sum: doubles after a loss of power, or of a copy of the collector.")
	failures    = desc("failures_total", "Folds that failed and were tried again.")
	waitingSlot = desc("waiting_slots", "Slots that are closed and not folded yet.")
	lastSeconds = desc("last_seconds", "How long the latest fold worked, without its pauses.")
)

// Describe implements prometheus.Collector.
func (m metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.f.Stats()
	put := func(d *prometheus.Desc, t prometheus.ValueType, v float64) {
		ch <- prometheus.MustNewConstMetric(d, t, v)
	}
	put(slots, prometheus.CounterValue, float64(s.Slots))
	put(rowsBefore, prometheus.CounterValue, float64(s.RowsBefore))
	put(rowsAfter, prometheus.CounterValue, float64(s.RowsAfter))
	put(lateRows, prometheus.CounterValue, float64(s.LateRows))
	put(failures, prometheus.CounterValue, float64(s.Failures))
	put(waitingSlot, prometheus.GaugeValue, float64(s.Waiting))
	put(lastSeconds, prometheus.GaugeValue, s.Took.Seconds())
}
