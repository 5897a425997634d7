package collector

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/collector/template"
)

// metrics shows a collector's counters to Prometheus. It keeps none of its own: a scrape reads Stats.
type metrics struct{ c *Collector }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("weir_collector_"+name, help, labels, nil)
}

var (
	udpDatagrams = desc("udp_datagrams_total", "Datagrams read from a socket.", "addr", "shard")
	udpBytes     = desc("udp_bytes_total", "UDP payload read from a socket.", "addr", "shard")
	udpTruncated = desc("udp_truncated_datagrams_total", "Datagrams that were longer than the receive slot.", "addr", "shard")
	udpReads     = desc("udp_reads_total", "Reads that returned datagrams; datagrams by reads is the mean batch.", "addr", "shard")
	udpDrops     = desc("udp_dropped_datagrams_total", "Datagrams that the kernel discarded because the socket's receive buffer was full.", "addr", "shard")
	udpQueue     = desc("udp_queue_bytes", "Kernel memory held by datagrams that wait in a socket's receive buffer.", "addr", "shard")
	udpLimit     = desc("udp_queue_limit_bytes", "Queue at which the kernel begins to drop.", "addr", "shard")

	decodeDatagrams = desc("decode_datagrams_total", "Datagrams by what became of them: decoded without fault, or the reason for which all or a part was dropped. Their sum is all that were taken.", "outcome")
	decodeBytes     = desc("decode_bytes_total", "UDP payload of the datagrams taken.")
	decodeFlows     = desc("decode_flows_total", "Flows decoded.")
	batchFlows      = desc("batch_flows_total", "Flows handed over in sealed batches.")
	batchAssumed    = desc("batch_assumed_sampling_flows_total", "Flows handed over whose sampling rate the exporter did not say; see column sampling_assumed.")
	batchSealed     = desc("batch_sealed_total", "Batches sealed.")
	batchPending    = desc("batch_pending_flows", "Flows in batches that are not sealed yet.")
	batchWait       = desc("batch_seal_wait_seconds_total", "Time that workers waited for a batch to be taken over.")
	templateStale   = desc("template_stale_total", "Templates from before a restart that did not fit the first data and were forgotten.")
	stateBytes      = desc("state_bytes", "Size of the file in which templates and sampling rates outlive a restart.")
	stateDomains    = desc("state_domains", "Observation domains that the state file holds.")
	stateUnsaved    = desc("state_unsaved_domains", "Observation domains for which the state file has no room; see collector.state.max_size.")
	stateWritten    = desc("state_written_bytes_total", "Octets written to state files.")
	stateFailures   = desc("state_failures_total", "Attempts to save the state that failed.")
	stateTemplates  = desc("state_templates", "Templates found in the state file at the start, by what became of them: restored, expired (not sent for collector.templates.timeout) or refused (unreadable, or no room).", "outcome")
	records         = desc("records_total", "Data records decoded: flows, records that are no flow, and option data.", "kind")
	recordsDropped  = desc("records_dropped_total", "Sets, template records and messages that could not be used, by reason; a datagram may have several.", "reason")
	recordsHeld     = desc("records_held_sets_total", "Data sets that came before their template and were held.")
	recordsReplayed = desc("records_replayed_sets_total", "Held data sets whose template came.")
	recordsExpired  = desc("records_expired_sets_total", "Held data sets whose template did not come in time.")
	recordsWaiting  = desc("records_waiting_sets", "Data sets that wait for their template.")
	recordsClamped  = desc("records_clamped_flows_total", "Flows whose times could not be true and were changed: collector.times.")

	seqReceived = desc("sequence_received_total", "What came of that which exporters number: flows of NetFlow 5, messages of NetFlow 9, data records of IPFIX.", "protocol")
	seqLost     = desc("sequence_lost_total", "What did not come, in the same unit.", "protocol")
	seqMissing  = desc("sequence_missing", "What did not come yet and may, in the same unit.", "protocol")
	seqMessages = desc("sequence_messages_total", "Messages that did not continue the one before: out_of_order, duplicate, restart of the exporter, jump without a known reason, unchecked because data before was of an unknown template.", "protocol", "kind")
	clocksOff   = desc("clock_off_domains", "Observation domains whose clock differs by more than collector.times.max_skew.")

	templateMemory = desc("template_memory_bytes", "Memory charged for templates, names and held data, bounded by collector.templates.max_memory.")
)

// Describe implements prometheus.Collector.
func (m metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	s := m.c.Stats()
	for _, k := range s.Sockets {
		addr, shard := k.Addr.String(), strconv.Itoa(k.Shard)
		put(udpDatagrams, prometheus.CounterValue, float64(k.Datagrams), addr, shard)
		put(udpBytes, prometheus.CounterValue, float64(k.Bytes), addr, shard)
		put(udpTruncated, prometheus.CounterValue, float64(k.Truncated), addr, shard)
		put(udpReads, prometheus.CounterValue, float64(k.Calls), addr, shard)
		put(udpDrops, prometheus.CounterValue, float64(k.KernelDrops), addr, shard)
		put(udpQueue, prometheus.GaugeValue, float64(k.QueueBytes), addr, shard)
		put(udpLimit, prometheus.GaugeValue, float64(k.QueueLimit), addr, shard)
	}
	put(decodeDatagrams, prometheus.CounterValue, float64(s.Decoded), "decoded")
	for _, reason := range []string{reasonNotAllowed, reasonPanic} {
		put(decodeDatagrams, prometheus.CounterValue, float64(s.Dropped[reason]), reason)
	}
	for _, r := range template.Reasons() {
		put(decodeDatagrams, prometheus.CounterValue, float64(s.Dropped[r.String()]), r.String())
	}
	put(decodeBytes, prometheus.CounterValue, float64(s.Bytes))
	put(decodeFlows, prometheus.CounterValue, float64(s.Flows))
	put(batchFlows, prometheus.CounterValue, float64(s.Sealed))
	put(batchAssumed, prometheus.CounterValue, float64(s.Assumed))
	put(batchSealed, prometheus.CounterValue, float64(s.Batches))
	put(batchPending, prometheus.GaugeValue, float64(s.Pending))
	put(batchWait, prometheus.CounterValue, s.SealWait.Seconds())
	put(templateStale, prometheus.CounterValue, float64(s.StaleTemplates))
	if k := s.State; k != nil {
		put(stateBytes, prometheus.GaugeValue, float64(k.Bytes))
		put(stateDomains, prometheus.GaugeValue, float64(k.Domains))
		put(stateUnsaved, prometheus.GaugeValue, float64(k.Unsaved))
		put(stateWritten, prometheus.CounterValue, float64(k.Written))
		put(stateFailures, prometheus.CounterValue, float64(k.Failures))
		put(stateTemplates, prometheus.GaugeValue, float64(k.Restored.Templates), "restored")
		put(stateTemplates, prometheus.GaugeValue, float64(k.Restored.Expired), "expired")
		put(stateTemplates, prometheus.GaugeValue, float64(k.Restored.Refused), "refused")
	}
	r := &s.Records
	put(records, prometheus.CounterValue, float64(r.Flows), "flow")
	put(records, prometheus.CounterValue, float64(r.NoFlow), "no_flow")
	put(records, prometheus.CounterValue, float64(r.OptionRecords), "option")
	for _, reason := range template.Reasons() {
		put(recordsDropped, prometheus.CounterValue, float64(r.Dropped[reason.String()]), reason.String())
	}
	put(recordsHeld, prometheus.CounterValue, float64(r.Held))
	put(recordsReplayed, prometheus.CounterValue, float64(r.Replayed))
	put(recordsExpired, prometheus.CounterValue, float64(r.Expired))
	put(recordsWaiting, prometheus.GaugeValue, float64(r.Waiting))
	put(recordsClamped, prometheus.CounterValue, float64(r.Clamped))
	for _, p := range protocols {
		n := s.Sequence[p.label]
		put(seqReceived, prometheus.CounterValue, float64(n.Received), p.label)
		put(seqLost, prometheus.CounterValue, float64(n.Lost), p.label)
		put(seqMissing, prometheus.GaugeValue, float64(n.Missing), p.label)
		for _, m := range []struct {
			kind string
			n    uint64
		}{
			{"out_of_order", n.OutOfOrder}, {"duplicate", n.Duplicates}, {"restart", n.Restarts}, {"jump", n.Jumps}, {"unchecked", n.Unchecked},
		} {
			put(seqMessages, prometheus.CounterValue, float64(m.n), p.label, m.kind)
		}
	}
	put(clocksOff, prometheus.GaugeValue, float64(s.ClocksOff))
	put(templateMemory, prometheus.GaugeValue, float64(m.c.deps.Templates.Memory()))
}
