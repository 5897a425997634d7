package feed

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("weir_estate_feed_"+name, help, labels, nil)
}

var (
	sentMessages  = desc("sent_messages_total", "Messages with records that went to collectors: of all of the estate, or of what changed in it.", "kind")
	sentBytes     = desc("sent_bytes_total", "Size of all messages to collectors, compressed.")
	sentRefused   = desc("refused_requests_total", "Requests of whom is no collector.")
	collectorsNow = desc("following_collectors", "Streams that are open.")
	followed      = desc("following", "1 while this collector follows the estate, else 0.")
	followedAge   = desc("unheard_seconds", "How long ago something came of the feed; what came is used until then. 0 if nothing ever came.")
	failures      = desc("failures_total", "Times that the feed could not be followed, or broke.")
	gotMessages   = desc("received_messages_total", "Messages that changed the estate here: of all of it, or of what changed in it.", "kind")
	cacheFailures = desc("cache_failures_total", "Times that the estate could not be kept in its file.")
)

// publisherMetrics shows a Publisher to Prometheus.
type publisherMetrics struct{ p *Publisher }

// Describe implements prometheus.Collector.
func (m publisherMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m publisherMetrics) Collect(ch chan<- prometheus.Metric) {
	m.p.mu.Lock()
	sent, streams := m.p.sent, m.p.streams
	m.p.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(sentMessages, prometheus.CounterValue, float64(sent.snapshots), "all")
	ch <- prometheus.MustNewConstMetric(sentMessages, prometheus.CounterValue, float64(sent.deltas), "changes")
	ch <- prometheus.MustNewConstMetric(sentBytes, prometheus.CounterValue, float64(sent.octets))
	ch <- prometheus.MustNewConstMetric(sentRefused, prometheus.CounterValue, float64(sent.refused))
	ch <- prometheus.MustNewConstMetric(collectorsNow, prometheus.GaugeValue, float64(streams))
}

// followerMetrics shows a Follower to Prometheus.
type followerMetrics struct{ f *Follower }

// Describe implements prometheus.Collector.
func (m followerMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m followerMetrics) Collect(ch chan<- prometheus.Metric) {
	s := m.f.Status()
	on, age := 0.0, 0.0
	if s.Following {
		on = 1
	}
	if !s.Heard.IsZero() {
		age = time.Since(s.Heard).Seconds()
	}
	ch <- prometheus.MustNewConstMetric(followed, prometheus.GaugeValue, on)
	ch <- prometheus.MustNewConstMetric(followedAge, prometheus.GaugeValue, age)
	ch <- prometheus.MustNewConstMetric(failures, prometheus.CounterValue, float64(s.Failures))
	ch <- prometheus.MustNewConstMetric(gotMessages, prometheus.CounterValue, float64(s.Snapshots), "all")
	ch <- prometheus.MustNewConstMetric(gotMessages, prometheus.CounterValue, float64(s.Deltas), "changes")
	ch <- prometheus.MustNewConstMetric(cacheFailures, prometheus.CounterValue, float64(s.CacheFailures))
}
