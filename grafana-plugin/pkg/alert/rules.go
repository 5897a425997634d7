package alert

import "time"

const (
	minutes = time.Minute
	days    = 24 * time.Hour
)

// Groups are all rules, in the order of the file and of the page of documentation. It is not to be modified.
var Groups = []Group{
	{Name: "Weir traffic", Interval: time.Minute, Rules: []Rule{
		throughput("vm", "VM", "src_vm != none or dst_vm != none", false, 1e9, "/d/weir-vm?var-vm={{ $labels.vm | urlquery }}"),
		throughput("network", "Network", "network != none", false, 5e9, "/d/weir-network?var-network={{ $labels.network | urlquery }}"),
		throughput("exporter", "Exporter", "", true, 10e9, "/d/weir-collector?var-exporter={{ $labels.exporter | urlquery }}"),
	}},
	{Name: "Weir unusual traffic", Interval: 5 * time.Minute, Rules: []Rule{
		unusual(ofVM, "VM", 50e6, "/d/weir-vm?var-vm={{ $labels.vm | urlquery }}"),
		unusual(ofNetwork, "Network", 100e6, "/d/weir-network?var-network={{ $labels.network | urlquery }}"),
		unusual(ofExporter, "Exporter", 100e6, "/d/weir-collector?var-exporter={{ $labels.exporter | urlquery }}"),
	}},
	{Name: "Weir policy", Interval: time.Minute, Rules: []Rule{
		{
			Name: "denied-vm", Title: "Weir: a VM is denied much", Severity: Warning, NoData: OK, Error: KeepLast,
			Summary: `{{ humanize $values.A.Value }} packets of VM {{ $labels.vm }} were denied by rule {{ $labels.rule }} in five minutes`,
			About:   "A burst of packets of a VM that a rule denied, as far as hosts sample what they decide: many, and many times as many as in the hour before.",
			Jump:    "/d/weir-denies?var-vm={{ $labels.vm | urlquery }}&var-rule={{ if eq $labels.rule \"built-in\" }}$__all{{ else }}{{ $labels.rule | urlquery }}{{ end }}",
			Labels:  []string{"rule", "vm"},
			Figures: []Figure{
				{5 * minutes, Query{SQL: burst("vm, rule", deniedOfVM, "now", "packets")}, Limit{"packets", Above, 1000, "packets in five minutes"}},
				{5 * minutes, Query{SQL: burst("vm, rule", deniedOfVM, timesBefore, "times")}, Limit{"times", Above, 4, "times the mean of five minutes in the hour before"}},
			},
		},
		{
			Name: "denied-rule", Title: "Weir: a rule denies much", Severity: Warning, NoData: OK, Error: KeepLast,
			Summary: `Rule {{ $labels.rule }} ({{ $labels.level }}) denied {{ humanize $values.A.Value }} packets in five minutes`,
			About:   "A burst of packets that a rule denied, by the counters of switches, which are complete: many, and many times as many as in the hour before.",
			Jump:    "/d/weir-policy?var-rule={{ $labels.rule | urlquery }}",
			Labels:  []string{"level", "rule"},
			Figures: []Figure{
				{5 * minutes, Query{SQL: burst("rule, level", deniedOfRule, "now", "packets")}, Limit{"packets", Above, 5000, "packets in five minutes"}},
				{5 * minutes, Query{SQL: burst("rule, level", deniedOfRule, timesBefore, "times")}, Limit{"times", Above, 4, "times the mean of five minutes in the hour before"}},
			},
		},
		{
			Name: "spoofing", Title: "Weir: a VIF spoofs", Severity: Warning, NoData: OK, Error: KeepLast,
			Summary: `Guard {{ $labels.guard }} dropped {{ humanize $values.A.Value }} packets of VIF {{ $labels.vif }}{{ if $labels.vm }} of VM {{ $labels.vm }}{{ end }} at {{ $labels.host }}`,
			About:   "A guard dropped packets of a VIF: with addresses that it may not use, or as servers and routers send.",
			Jump:    "/d/weir-guards?var-vm={{ if $labels.vm }}{{ $labels.vm | urlquery }}{{ else }}$__all{{ end }}",
			Labels:  []string{"guard", "host", "vif", "vm"},
			Figures: []Figure{{15 * minutes, Query{SQL: `SELECT subject AS vif, vm_name AS vm, host_name AS host, guard, toFloat64(sum(dropped)) AS packets
FROM (
  SELECT
    subject,
    vm_name,
    host_name,
    attributes['guard'] AS guard,
    toUInt64OrZero(attributes['packets']) AS dropped
  FROM network_events FINAL
  WHERE $__timeFilter_ms(time) AND kind = 'vif_spoofs'
)
GROUP BY vif, vm, host, guard
ORDER BY packets DESC, vif, guard
LIMIT 100`}, Limit{"packets", Above, 0, "packets dropped in a quarter of an hour"}}},
		},
		{
			Name: "policy-changed", Title: "Weir: policy was changed", Severity: Info, NoData: OK, Error: KeepLast,
			Summary: `{{ $labels.text }}`,
			About:   "Somebody put a policy in force, switched it off or on for something, quarantined or released a VIF, or changed what Weir may do at a host.",
			Jump:    "/d/weir-policy?from=now-24h",
			Labels:  []string{"about", "kind", "text"},
			Figures: []Figure{{10 * minutes, Query{SQL: `SELECT kind, subject AS about, text, toFloat64(count()) AS times
FROM network_events FINAL
WHERE $__timeFilter_ms(time) AND kind IN ('policy_applied', 'policy_bypassed', 'policy_restored', 'host_mode_changed', 'vif_quarantined', 'vif_released')
GROUP BY kind, about, text
ORDER BY max(time) DESC
LIMIT 100`}, Limit{"times", Above, 0, "times in ten minutes"}}},
		},
		{
			Name: "policy-failed", Title: "Weir: a bridge does not hold its policy", Severity: Critical, For: 2 * minutes, NoData: OK, Error: KeepLast,
			Summary: `Bridge {{ $labels.bridge }} of {{ $labels.host }} did not take the flows of the policy`,
			About:   "A bridge did not take the flows of the policy, and does not hold them since.",
			Jump:    "/d/weir-drift?var-host={{ $labels.host | urlquery }}",
			Labels:  []string{"bridge", "host"},
			Figures: []Figure{{7 * days, Query{SQL: lasting("host, bridge", []string{"policy_failed", "policy_installed", "policy_removed"}, []string{"policy_failed"})}, Limit{"bad", Above, 0, "1 of a bridge that failed last"}}},
		},
		{
			Name: "drift", Title: "Weir: somebody else changes what is Weir's", Severity: Warning, NoData: OK, Error: KeepLast,
			Summary: `{{ $labels.host }}: {{ $labels.kind }}, {{ $values.A.Value }} times in a quarter of an hour`,
			About:   "Somebody else changed flows, groups or settings of Weir's at a host, which Weir set right.",
			Jump:    "/d/weir-drift?var-host={{ $labels.host | urlquery }}",
			Labels:  []string{"host", "kind"},
			Figures: []Figure{{15 * minutes, Query{SQL: `SELECT ` + hostOf("about") + ` AS host, kind, toFloat64(count()) AS times
FROM (
  SELECT subject AS about, kind
  FROM network_events FINAL
  WHERE $__timeFilter_ms(time) AND kind IN ('policy_drift', 'export_wiped', 'controller_wiped', 'limits_wiped', 'mirror_wiped')
)
GROUP BY host, kind
ORDER BY times DESC, host, kind
LIMIT 100`}, Limit{"times", Above, 0, "times in a quarter of an hour"}}},
		},
	}},
	{Name: "Weir hosts and exporters", Interval: time.Minute, Rules: []Rule{
		{
			Name: "host-lost", Title: "Weir: a host is lost", Severity: Critical, For: minutes, NoData: OK, Error: KeepLast,
			Summary: `Host {{ $labels.subject }} is not reached`,
			About:   "A host is lost or refused: Weir has no session with its database, sees no change there and makes none.",
			Jump:    "/d/weir-drift?var-host={{ $labels.subject | urlquery }}",
			Labels:  []string{"subject"},
			Figures: []Figure{{7 * days, Query{SQL: lasting("subject", []string{"host_connected", "host_lost", "host_refused"}, []string{"host_lost", "host_refused"})}, Limit{"bad", Above, 0, "1 of a host that was lost or refused last"}}},
		},
		{
			Name: "fail-mode", Title: "Weir: a bridge is in its fail mode", Severity: Critical, NoData: OK, Error: KeepLast,
			Summary: `Bridge {{ $labels.bridge }} of {{ $labels.host }} is without Weir, and does what its fail mode says`,
			About:   "A bridge that enforces policy has been without Weir for longer than it waits, and does what its fail mode says.",
			Jump:    "/d/weir-drift?var-host={{ $labels.host | urlquery }}",
			Labels:  []string{"bridge", "host"},
			Figures: []Figure{{7 * days, Query{SQL: lasting("host, bridge", []string{"fail_mode_entered", "fail_mode_left"}, []string{"fail_mode_entered"})}, Limit{"bad", Above, 0, "1 of a bridge that entered it last"}}},
		},
		{
			Name: "exporter-silent", Title: "Weir: an exporter is silent", Severity: Warning, For: minutes, NoData: OK, Error: KeepLast,
			Summary: `Exporter {{ $labels.exporter }} sends nothing any more`,
			About:   "An exporter that sent flows has sent nothing for three of its active timeouts.",
			Jump:    "/d/weir-collector?var-exporter={{ $labels.exporter | urlquery }}",
			Labels:  []string{"exporter"},
			Figures: []Figure{{7 * days, Query{SQL: lasting("exporter", []string{"exporter_silent", "exporter_heard"}, []string{"exporter_silent"})}, Limit{"bad", Above, 0, "1 of an exporter that fell silent last"}}},
		},
		{
			Name: "exporter-losing", Title: "Weir: flows of an exporter are lost", Severity: Warning, For: 5 * minutes, NoData: OK, Error: KeepLast,
			Summary: `{{ humanizePercentage $values.A.Value }} of what exporter {{ $labels.exporter }} sends does not arrive`,
			About:   "Sequence numbers of an exporter announce more than arrives: what is shown of its traffic is too little.",
			Jump:    "/d/weir-collector?var-exporter={{ $labels.exporter | urlquery }}",
			Labels:  []string{"exporter"},
			Figures: []Figure{{10 * minutes, Query{Exporters: &Exporters{Format: "number", What: []string{"loss"}, By: []string{"exporter"}, Limit: most}}, Limit{"loss", Above, 0.01, "part of what was announced that did not arrive, 0 to 1"}}},
		},
		{
			Name: "exporter-clock", Title: "Weir: the clock of an exporter is off", Severity: Warning, For: 5 * minutes, NoData: OK, Error: KeepLast,
			Summary: `The clock of exporter {{ $labels.exporter }} is off by {{ humanizeDuration $values.A.Value }}`,
			About:   "The clock of an exporter is ahead or behind: the times of its flows are wrong by as much.",
			Jump:    "/d/weir-collector?var-exporter={{ $labels.exporter | urlquery }}",
			Labels:  []string{"exporter"},
			Figures: []Figure{{10 * minutes, Query{SQL: `SELECT ` + exporterText("address") + ` AS exporter, toFloat64(argMax(skew, abs(skew))) / 1000 AS seconds
FROM (
  SELECT exporter AS address, argMax(clock_skew_ms, time) AS skew
  FROM exporter_stats
  WHERE $__timeFilter_ms(time)
  GROUP BY address, observation_domain, version
)
GROUP BY exporter
ORDER BY abs(seconds) DESC, exporter
LIMIT 100`}, Limit{"seconds", Outside, 10, "seconds, ahead or behind"}}},
		},
	}},
	{Name: "Weir itself", Interval: time.Minute, Rules: []Rule{
		{
			Name: "store-away", Title: "Weir: the store is away", Severity: Critical, For: 2 * minutes, NoData: Alerting, Error: Alerting,
			Summary: `{{ if $labels.machine }}{{ $labels.service }} at {{ $labels.machine }} cannot store for {{ humanizeDuration $values.A.Value }}{{ else }}The store does not answer, or nothing has been stored for five minutes{{ end }}`,
			About:   "The store does not answer Grafana, or did not take flows from a process of Weir, or no process of Weir has told how it does for five minutes.",
			Jump:    servers("{{ if $labels.machine }}{{ $labels.machine | urlquery }}{{ else }}$__all{{ end }}"),
			Labels:  []string{"machine", "service"},
			Figures: []Figure{{5 * minutes, Query{SQL: process("argMax(store_away_ms, time) / 1000", "seconds", "service != 'store'")}, Limit{"seconds", Above, 60, "seconds since the store took flows"}}},
		},
		{
			Name: "process-gone", Title: "Weir: a process is gone", Severity: Critical, NoData: OK, Error: KeepLast,
			Summary: `{{ $labels.service }} at {{ $labels.machine }} has told nothing for {{ humanizeDuration $values.A.Value }}`,
			About:   "A process of Weir, which tells every minute how it does, told nothing any more.",
			Jump:    servers("{{ $labels.machine | urlquery }}"),
			Labels:  []string{"machine", "service"},
			Figures: []Figure{{days, Query{SQL: process("dateDiff('second', max(time), $__toTime_ms)", "seconds", "")}, Limit{"seconds", Above, 300, "seconds since it told how it does"}}},
		},
		{
			Name: "losing", Title: "Weir: flows are lost here", Severity: Warning, NoData: OK, Error: KeepLast,
			Summary: `{{ $labels.service }} at {{ $labels.machine }} lost {{ humanize $values.A.Value }} datagrams, flows or events in ten minutes`,
			About:   "A process of Weir lost something: the kernel discarded datagrams for want of buffer, or flows or events were dropped on their way to the store.",
			Jump:    servers("{{ $labels.machine | urlquery }}"),
			Labels:  []string{"machine", "service"},
			Figures: []Figure{{10 * minutes, Query{SQL: process("sum(socket_drops) + sum(flows_dropped) + sum(events_dropped)", "lost", "")}, Limit{"lost", Above, 0, "datagrams, flows and events in ten minutes"}}},
		},
		{
			Name: "wal-growing", Title: "Weir: the write-ahead log grows", Severity: Warning, For: 5 * minutes, NoData: OK, Error: KeepLast,
			Summary: `The write-ahead log of {{ $labels.service }} at {{ $labels.machine }} grew by {{ humanize1024 $values.A.Value }}B in a quarter of an hour`,
			About:   "Flows come faster than the store takes them: the write-ahead log grows.",
			Jump:    servers("{{ $labels.machine | urlquery }}"),
			Labels:  []string{"machine", "service"},
			Figures: []Figure{{15 * minutes, Query{SQL: process("toInt64(argMax(wal_bytes, time)) - toInt64(argMin(wal_bytes, time))", "bytes", "")}, Limit{"bytes", Above, 64 << 20, "bytes in a quarter of an hour"}}},
		},
		{
			Name: "wal-full", Title: "Weir: the write-ahead log is half full", Severity: Critical, NoData: OK, Error: KeepLast,
			Summary: `The write-ahead log of {{ $labels.service }} at {{ $labels.machine }} is full to {{ humanizePercentage $values.A.Value }}; once it is, flows are lost`,
			About:   "The write-ahead log is half full: once it is full, flows are lost.",
			Jump:    servers("{{ $labels.machine | urlquery }}"),
			Labels:  []string{"machine", "service"},
			Figures: []Figure{{5 * minutes, Query{SQL: process("argMax(wal_bytes / wal_max_bytes, time)", "part", "wal_max_bytes > 0")}, Limit{"part", Above, 0.5, "part of the size that it may have, 0 to 1"}}},
		},
		{
			Name: "disk", Title: "Weir: a disk is nearly full", Severity: Critical, For: 5 * minutes, NoData: OK, Error: KeepLast,
			Summary: `Of the disk of {{ $labels.service }} at {{ $labels.machine }} {{ humanizePercentage $values.A.Value }} are free`,
			About:   "The disk that the data of a process of Weir is on is nearly full.",
			Jump:    servers("{{ $labels.machine | urlquery }}"),
			Labels:  []string{"machine", "service"},
			Figures: []Figure{{5 * minutes, Query{SQL: process("argMax(disk_free_bytes / disk_bytes, time)", "part", "disk_bytes > 0")}, Limit{"part", Below, 0.1, "part of the disk that is free, 0 to 1"}}},
		},
	}},
}

// servers leads to how the processes of a machine do.
func servers(machine string) string { return "/d/weir-servers?from=now-6h&var-machine=" + machine }

// throughput is the rule that a thing carries more than a limit.
func throughput(label, title, filter string, observations bool, limit float64, jump string) Rule {
	return Rule{
		Name: label + "-throughput", Title: "Weir: " + article(title) + " carries much", Severity: Warning, For: 5 * minutes, NoData: OK, Error: KeepLast,
		Summary: title + ` {{ $labels.` + label + ` }} carries {{ humanize $values.A.Value }}bit/s`,
		About:   "The mean rate of ten minutes, in and out together, by the time of receipt.",
		Jump:    jump, Labels: []string{label},
		Figures: []Figure{{
			10 * minutes, // which the table of sums by minute can answer
			Query{Flows: &Flows{Format: "number", By: []string{label}, Units: []string{"bps"}, Filter: filter, Basis: "received", Observations: observations, Limit: most}},
			Limit{"rate", Above, limit, "bits a second"},
		}},
	}
}

// unusual is the rule that a thing carries much, and many times what is usual.
func unusual(t thing, title string, least float64, jump string) Rule {
	return Rule{
		Name: t.label + "-unusual", Title: "Weir: " + article(title) + " carries more than usual", Severity: Warning, For: 10 * minutes, NoData: OK, Error: KeepLast,
		Summary: title + ` {{ $labels.` + t.label + ` }} carries {{ humanize $values.A.Value }}bit/s, {{ printf "%.1f" $values.B.Value }} times what is usual at this hour`,
		About:   "The mean rate of a quarter of an hour, in and out together, by the time of receipt, and how many times the median of the rates in the same hour (UTC) of the seven days before it is.",
		Jump:    jump, Labels: []string{t.label},
		Figures: []Figure{
			{15 * minutes, Query{SQL: usual(t, "now", "rate")}, Limit{"rate", Above, least, "bits a second"}},
			{15 * minutes, Query{SQL: usual(t, timesUsual, "times")}, Limit{"times", Above, 5, "times the usual rate, which is taken for 1 Mbit/s at least"}},
		},
	}
}

// article returns a title as it stands within a sentence.
func article(title string) string {
	return map[string]string{"VM": "a VM", "Network": "a network", "Exporter": "an exporter"}[title]
}
