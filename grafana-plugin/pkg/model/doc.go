// Package model is what a query of the data source is: the JSON of a panel's or an alert rule's target, read strictly, and the
// plan by which it is answered. It is pure: the target, the range and the time come in, a statement with bound parameters and
// the description of its answer come out. Package frame makes frames of the answer.
//
//	JSON ──► Parse ──► Query ──► Plan(Env) ──► Plan{SQL, Params, Names, Notes, Shape} ──► rows ──► frame.Build
//
// # The form
//
// A target is an object with these properties; testdata/queries has one file for each case, and src/datasource/query/model.ts is
// the same in TypeScript. What Grafana adds (refId, hide, datasource, intervalMs, maxDataPoints, key, …) is passed over.
//
//	version    1. Absent: 1.
//	queryType  flows, records, events, exporters, hits, inventory, statistics or sql. Absent or empty: flows.
//	flows, records, …  an object of that name says what is asked. Only the one of queryType is read, and strictly: a property that
//	           it does not have is an error. Absent: all its defaults. The others may stay, so that an editor can go back.
//
// Every property is optional but sql.text. Where a default is not said it is false, empty, or all.
//
//	flows      sums of flows: a [query.Request]
//	  format        timeseries (default), table, number
//	  by            fields to group by
//	  filter        filter, docs/reference/filter.md
//	  units         bytes, bits, packets, flows, bps, pps, fps, at most 4; default [bps]. The first ranks
//	  direction     both (default), in, out
//	  split         also what is in and what is out
//	  limit         groups; default 10
//	  bottom        the smallest instead of the largest
//	  other         a row or series of all other groups
//	  total         a row or series of the total
//	  step          least step of a series, as 30s, 5m, 1h, 1d; default as the panel is wide
//	  traffic       seen (default), delivered, denied
//	  seen          of a table: when each group was seen first and last in the range
//	  observations  sum every observation, also those that are not counted
//	  basis         received, lived; default as fits, in alert rules received
//
//	records    single flow records, newest first
//	  format        table (default), logs
//	  columns       fields; default those that weir flows list shows. In logs they become labels
//	  filter        filter
//	  limit         default 100, of logs 1000
//
//	events     what Weir noticed (table network_events), and what people changed (admin_events, where that table is)
//	  format        logs (default), table, annotations, timeseries, number. The last two count
//	  source        network (default), admin, all
//	  kinds         only these; docs/howto/watch-events.md lists them. ["any"] is all
//	  severity      only these and more urgent ones: error, warning, notice, info
//	  text          only events that have it in text or subject, in upper or lower case
//	  filter        filter with the fields pool, host, bridge, network, vm, vif
//	  limit         default 1000
//
//	exporters  the ledger (table exporter_stats): what came, what was lost and where
//	  format        timeseries (default), table, number
//	  what          measures, see [Measures]; default [flows] of a series, [lost] of a number, the ledger of a table
//	  by            exporter, observation_domain, version, reason (with dropped only); default [exporter]. [] is all together
//	  filter        filter with the fields exporter, observation_domain, version
//	  rate          counters by second
//	  limit         rows or series, the largest; default 1000, of series 10
//	  step          as of flows
//
//	hits       how often rules were met, as switches count it (table rule_hits_1m)
//	  format        table (default), timeseries, number
//	  by            of series and numbers: rule (default), tier, verdict, scope, host
//	  rule          name of the only rule; default all
//	  verdict       of series and numbers: only rules of this verdict; default all
//	  unit          of series and numbers: packets, bytes, pps (default), bps
//	  unused        of a table: only rules in force that were not met
//	  system        built-in rules, too
//	  limit         rules; default 1000, of series 10
//	  step          as of flows
//
//	inventory  what exists (table entities)
//	  format        number (default), table
//	  kind          pool, host, bridge, network, vm, vif, group, address_group, vm_group, exporter; default all
//	  match         pattern of the name with * and ?; default all
//	  limit         of a table; default 1000
//
//	statistics  how processes of Weir and their machines do (table server_stats), how much of the estate is active (network_stats)
//	  format        timeseries (default), table, number. Over time each step has the worst that was, a table and a number the latest
//	  of            servers (default), network
//	  what          figures, see [ServerStatistics] and [NetworkStatistics]; default [cpu] of a series, [memory] of a number, those of a
//	                table that say how a process does; of the network all
//	  by            of servers: machine, service, version; default [machine, service], which is each process. [] is all together
//	  machine       name of the only machine; default all
//	  service       the only process of each machine: up, policyd, collector, store; default all
//	  rate          counters by second
//	  limit         rows or series, those with most; default 1000, of series 10
//	  step          as of flows
//
//	sql        a statement of one's own
//	  format        table (default), timeseries, number, logs
//	  text          SELECT, with the macros of package macro
//
// # What is where in the answer
//
// See package frame. A mistake in a target is a [*query.Error]: its Part is the property that is wrong, or "query" for the whole,
// and its Pos the place in a text.
package model
