package wal

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics shows a log's Stats to Prometheus.
type metrics struct{ l *Log }

func desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("weir_store_wal_"+name, help, nil, nil)
}

var (
	sizeBytes      = desc("size_bytes", "Size of the write-ahead log on disk.")
	maxSizeBytes   = desc("max_size_bytes", "Most that the write-ahead log may take on disk.")
	segments       = desc("segments", "Files of the write-ahead log.")
	waitingBatches = desc("waiting_batches", "Batches in the write-ahead log that the store does not have yet.")
	waitingRows    = desc("waiting_rows", "Flows in these batches.")
	volatile       = desc("volatile_batches", "Batches that wait in memory only because the disk does not take them.")
	oldestAge      = desc("oldest_age_seconds", "Time since the oldest waiting flow was received; 0 if none waits.")
	recovered      = desc("recovered_batches_total", "Batches that waited when the write-ahead log was opened.")
	appended       = desc("appended_batches_total", "Batches appended.")
	appendedBytes  = desc("appended_bytes_total", "Bytes appended to the files.")
	retiredTotal   = desc("retired_batches_total", "Batches that were done with: stored, or refused by the store.")
	syncs          = desc("syncs_total", "Syncs of a file to disk that succeeded.")
	syncErrors     = desc("sync_errors_total", "Syncs of a file to disk that failed.")
	torn           = desc("torn_total", "Ends of files that were cut off because their last batch was not whole.")
	corrupt        = desc("corrupt_total", "Damaged places of the write-ahead log that were skipped.")
	full           = desc("full", "Whether the write-ahead log refuses batches for want of room.")
	failing        = desc("failing", "Whether the disk does not take batches.")
)

// Describe implements prometheus.Collector.
func (m metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.l.Stats()
	put := func(d *prometheus.Desc, t prometheus.ValueType, v float64) {
		ch <- prometheus.MustNewConstMetric(d, t, v)
	}
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	age := 0.0
	if !s.Oldest.IsZero() {
		age = max(0, time.Since(s.Oldest).Seconds())
	}
	put(sizeBytes, prometheus.GaugeValue, float64(s.Bytes))
	put(maxSizeBytes, prometheus.GaugeValue, float64(s.MaxBytes))
	put(segments, prometheus.GaugeValue, float64(s.Segments))
	put(waitingBatches, prometheus.GaugeValue, float64(s.Waiting))
	put(waitingRows, prometheus.GaugeValue, float64(s.Rows))
	put(volatile, prometheus.GaugeValue, float64(s.Volatile))
	put(oldestAge, prometheus.GaugeValue, age)
	put(recovered, prometheus.CounterValue, float64(s.Recovered))
	put(appended, prometheus.CounterValue, float64(s.Appended))
	put(appendedBytes, prometheus.CounterValue, float64(s.AppendedBytes))
	put(retiredTotal, prometheus.CounterValue, float64(s.Retired))
	put(syncs, prometheus.CounterValue, float64(s.Syncs))
	put(syncErrors, prometheus.CounterValue, float64(s.SyncErrors))
	put(torn, prometheus.CounterValue, float64(s.Torn))
	put(corrupt, prometheus.CounterValue, float64(s.Corrupt))
	put(full, prometheus.GaugeValue, truth(!s.FullSince.IsZero()))
	put(failing, prometheus.GaugeValue, truth(s.Problem != ""))
}
