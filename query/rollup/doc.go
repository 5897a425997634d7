// Package rollup sums the rows of a sealed batch for the tables that answer most questions: flows_1m, flows_rx_1m and
// flows_group_1m. It is pure: a batch in, blocks of rows out, in the collector's own process, because the same sums as
// materialized views cost the store three quarters of its insert rate.
//
//	flow.Batch ──► Aggregator.Derive ──► flows_1m_rows        bucket, exporter, host, network, VMs, protocol, service, rule …
//	                                     flows_rx_1m_rows     receive minute, exporter, network, VMs, rule, stage, verdict, counted
//	                                     flows_group_1m_rows  bucket, group, end, protocol, stage, verdict, counted
//
// bytes and packets are multiplied by the sampling rate of their row. A flow that lived in several minutes is spread
// over them in proportion to the time it spent in each, exact to the integer: the sums over all buckets are the sums of
// the rows. Its count (column flows) is in the bucket of its start.
package rollup
