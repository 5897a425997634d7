package store

import "github.com/prometheus/client_golang/prometheus"

// metrics shows a Writer's counters to Prometheus. It keeps none of its own but the histogram: a scrape reads Stats.
type metrics struct{ w *Writer }

func newLatency() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "weir_store_writer_insert_seconds", Help: "Time of one try to insert, good or bad.",
		Buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
	})
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("weir_store_writer_"+name, help, labels, nil)
}

var (
	inRows         = desc("in_rows_total", "Rows in sealed batches that were handed over to be stored. With the replayed ones they are the stored, the dropped and the waiting ones.")
	inBatches      = desc("in_batches_total", "Sealed batches that were handed over to be stored.")
	joinedBatches  = desc("joined_batches_total", "Batches that went on as a part of another, since the store was behind: they are in no other figure of batches but those handed over.")
	replayedRows   = desc("replayed_rows_total", "Rows that were found in the write-ahead log, from former runs.")
	storedRows     = desc("stored_rows_total", "Rows that the store has committed.")
	storedBatches  = desc("stored_batches_total", "Batches that the store has committed.")
	droppedRows    = desc("dropped_rows_total", "Rows that were lost on the way to the store, by reason.", "reason")
	droppedBatches = desc("dropped_batches_total", "Batches that were lost on the way to the store, by reason.", "reason")
	waitingRows    = desc("waiting_rows", "Rows in batches that wait or are being inserted.")
	waitingBatches = desc("waiting_batches", "Batches that wait or are being inserted.")
	storedBytes    = desc("stored_bytes_total", "Size of the stored batches in ClickHouse's Native format, before compression.")
	inserts        = desc("inserts_total", "Inserts that succeeded.")
	retries        = desc("retries_total", "Tries to insert that failed and were repeated.")
	found          = desc("found_pieces_total", "Blocks that it was not known of whether they are stored, and that the store had.")
	respent        = desc("respent_tokens_total", "Blocks that were sent again under another deduplication token because the store knew the first without having the rows.")
	doubledRows    = desc("doubled_rows_total", "Rows that the store has more of than were sent.")
	derivedStored  = desc("derived_stored_rows_total", "Rows of rollups that the store has committed.")
	derivedDropped = desc("derived_dropped_rows_total", "Rows of rollups that were lost on the way to the store.")
)

// Describe implements prometheus.Collector.
func (m metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, t prometheus.ValueType, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, float64(v), labels...)
	}
	s := m.w.Stats()
	put(inRows, prometheus.CounterValue, s.In.Rows)
	put(inBatches, prometheus.CounterValue, s.In.Batches)
	put(joinedBatches, prometheus.CounterValue, s.Joined)
	put(replayedRows, prometheus.CounterValue, s.Replayed.Rows)
	put(storedRows, prometheus.CounterValue, s.Stored.Rows)
	put(storedBatches, prometheus.CounterValue, s.Stored.Batches)
	for _, reason := range DropReasons {
		put(droppedRows, prometheus.CounterValue, s.Dropped[reason].Rows, reason)
		put(droppedBatches, prometheus.CounterValue, s.Dropped[reason].Batches, reason)
	}
	put(waitingRows, prometheus.GaugeValue, s.Waiting.Rows)
	put(waitingBatches, prometheus.GaugeValue, s.Waiting.Batches)
	put(storedBytes, prometheus.CounterValue, s.Bytes)
	put(inserts, prometheus.CounterValue, s.Inserts)
	put(retries, prometheus.CounterValue, s.Retries)
	put(found, prometheus.CounterValue, s.Found)
	put(respent, prometheus.CounterValue, s.Respent)
	put(doubledRows, prometheus.CounterValue, s.Doubled)
	put(derivedStored, prometheus.CounterValue, s.DerivedStored)
	put(derivedDropped, prometheus.CounterValue, s.DerivedDropped)
	m.w.latency.Collect(ch)
}

// retentionMetrics shows a Retention's Stats to Prometheus.
type retentionMetrics struct{ r *Retention }

func retentionDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("weir_store_retention_"+name, help, labels, nil)
}

var (
	diskFree          = retentionDesc("disk_free_bytes", "Free space on the store's disk.")
	diskTotal         = retentionDesc("disk_size_bytes", "Size of the store's disk; 0 if it is not known.")
	diskLow           = retentionDesc("disk_low", "Whether less than warn_free is free on the store's disk.")
	storeFull         = retentionDesc("full", "Whether the store takes too much of its disk and has nothing left to drop but the newest partitions.")
	retentionFailing  = retentionDesc("failing", "Whether the store could not be looked at, or did not do what it was told.")
	storeBytes        = retentionDesc("store_bytes", "Size of all tables on disk.")
	tableBytes        = retentionDesc("table_bytes", "Size of a table on disk.", "table")
	tableRows         = retentionDesc("table_rows", "Rows of a table.", "table")
	droppedPartitions = retentionDesc("dropped_partitions_total", "Partitions that were dropped for want of space, by reason.", "reason")
	retentionRows     = retentionDesc("dropped_rows_total", "Rows in partitions that were dropped for want of space, by reason.", "reason")
	retentionBytes    = retentionDesc("dropped_bytes_total", "Size of partitions that were dropped for want of space, by reason.", "reason")
)

// Describe implements prometheus.Collector.
func (m retentionMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m retentionMetrics) Collect(ch chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, t prometheus.ValueType, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, float64(v), labels...)
	}
	truth := func(b bool) uint64 {
		if b {
			return 1
		}
		return 0
	}
	s := m.r.Stats()
	put(diskFree, prometheus.GaugeValue, s.DiskFree)
	put(diskTotal, prometheus.GaugeValue, s.DiskTotal)
	put(diskLow, prometheus.GaugeValue, truth(s.Low))
	put(storeFull, prometheus.GaugeValue, truth(s.Full))
	put(retentionFailing, prometheus.GaugeValue, truth(s.Problem != ""))
	put(storeBytes, prometheus.GaugeValue, s.Bytes)
	sizes := map[string]TableSize{}
	for _, t := range s.Tables {
		sizes[t.Table] = t
	}
	for _, t := range keptTables {
		put(tableBytes, prometheus.GaugeValue, sizes[t.name].Bytes, t.name)
		put(tableRows, prometheus.GaugeValue, sizes[t.name].Rows, t.name)
	}
	for _, reason := range retentionReasons {
		d := s.Dropped[reason]
		put(droppedPartitions, prometheus.CounterValue, d.Partitions, reason)
		put(retentionRows, prometheus.CounterValue, d.Rows, reason)
		put(retentionBytes, prometheus.CounterValue, d.Bytes, reason)
	}
}
