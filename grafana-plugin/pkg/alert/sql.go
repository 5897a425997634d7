package alert

import (
	"fmt"
	"strings"
)

// most is how many figures a question answers at most, those that matter most first: what the data source gives.
const most = 100

// name returns the SQL of the name of an entity.
func name(id string) string { return "dictGetOrDefault('entity_now', 'name', " + id + ", '')" }

// exporterText returns the SQL of an exporter as filters and dashboards write it.
func exporterText(column string) string {
	return "replaceRegexpOne(toString(" + column + `), '^::ffff:([0-9]+\\.)', '\\1')`
}

// thing is what traffic is compared of: the SQL of its name over the rows of flows_rx_1m, and of which rows.
type thing struct{ label, of, rows string }

var (
	ofVM       = thing{"vm", name("arrayJoin(arrayDistinct(arrayFilter(x -> x != 0, [src_vm, dst_vm])))"), "counted AND (src_vm != 0 OR dst_vm != 0)"}
	ofNetwork  = thing{"network", name("network"), "counted AND network != 0"}
	ofExporter = thing{"exporter", exporterText("exporter"), "true"}
)

// Traffic is compared with what is usual: its rate in the last quarter of an hour with the median of the rates in the same hour of the day (UTC) of the
// seven days before. Days of which the store has nothing of that hour are no days; less than three are too few to say what is usual. Of a usual rate below
// leastUsual it is leastUsual.
const (
	usualDays  = 7
	knownDays  = 3
	leastUsual = 1_000_000 // bits a second
)

// usual returns the SQL of a figure of things: now is their rate in bits a second, usual that which is usual.
func usual(t thing, figure, as string) string {
	var hours []string
	for day := 1; day <= usualDays; day++ {
		hours = append(hours, fmt.Sprintf("bucket >= hour - %d AND bucket < hour - %d", day*86400, day*86400-3600))
	}
	past := "(" + strings.Join(hours, "\n      OR ") + ")"
	return fmt.Sprintf(`WITH
  toStartOfMinute($__toTime - 15) AS until,
  toStartOfHour(until - 1) AS hour,
  assumeNotNull((
    SELECT uniqExact(toDate(bucket)) FROM flows_rx_1m
    WHERE %[6]s
  )) AS days
SELECT
  what AS %[1]s,
  toFloat64(%[4]s) AS %[5]s
FROM (
  SELECT
    what,
    sumIf(rate, day = 0) AS now,
    arraySort(arrayResize(groupArrayIf(rate, day > 0), days, toFloat64(0)))[greatest(intDiv(days + 1, 2), 1)] AS usual
  FROM (
    SELECT
      %[2]s AS what,
      if(bucket >= until - 900, 0, dateDiff('day', bucket, hour)) AS day,
      sum(bytes) * 8 / if(day = 0, 900, 3600) AS rate
    FROM flows_rx_1m
    WHERE %[3]s AND (bucket >= until - 900 AND bucket < until
      OR %[6]s)
    GROUP BY what, day
  )
  GROUP BY what
)
WHERE now > 0 AND days >= %[7]d
ORDER BY now DESC, what
LIMIT %[8]d`, t.label, t.of, t.rows, figure, as, past, knownDays, most)
}

// A burst of denied packets is told from a steady stream of them: those of the last five minutes are compared with the mean of five minutes in
// the hour before. Of a mean below one packet it is one.
const (
	burstSeconds  = 300
	beforeSeconds = 3600
)

// burst returns the SQL of a figure of denied packets, by labels: now are those of the last five minutes, before those of five minutes in the hour before.
// rows has the columns at and packets, and those of the labels; it may say until.
func burst(labels, rows, figure, as string) string {
	return fmt.Sprintf(`WITH toStartOfMinute($__toTime - 30) AS until
SELECT
  %[1]s,
  toFloat64(%[3]s) AS %[4]s
FROM (
  SELECT
    %[1]s,
    sumIf(packets, at >= until - %[5]d) AS now,
    sumIf(packets, at < until - %[5]d) / %[7]d AS before
  FROM (
    %[2]s
  )
  WHERE at >= until - %[6]d AND at < until
  GROUP BY %[1]s
)
WHERE now > 0
ORDER BY now DESC, %[1]s
LIMIT %[8]d`, labels, strings.ReplaceAll(rows, "\n", "\n    "), figure, as, burstSeconds, beforeSeconds+burstSeconds, beforeSeconds/burstSeconds, most)
}

var (
	// The VM is the one whose rule it was: the sender's as it leaves, the receiver's as it arrives.
	deniedOfVM = `SELECT
  bucket AS at,
  ` + name("if(stage = 'ingress' AND dst_vm != 0 OR src_vm = 0, dst_vm, src_vm)") + ` AS vm,
  if(rule_id = 0, 'built-in', ` + name("rule_id") + `) AS rule,
  packets
FROM flows_rx_1m
WHERE bucket >= until - 3900 AND bucket < until AND verdict = 'denied' AND (src_vm != 0 OR dst_vm != 0)`

	deniedOfRule = `SELECT
  minute AS at,
  dictGetOrDefault('rule_instance', 'rule', toUInt64(rule_instance), '') AS rule,
  dictGetOrDefault('rule_instance', 'tier', toUInt64(rule_instance), '') AS level,
  packets
FROM rule_hits_1m FINAL
WHERE minute >= until - 3900 AND minute < until
  AND dictGetOrDefault('rule_instance', 'verdict', toUInt64(rule_instance), '') = 'denied'`
)

const (
	timesUsual  = "now / greatest(usual, 1000000)"
	timesBefore = "now / greatest(before, 1)"
)

// hostOf and bridgeOf return the SQL of the names in the subject of an event, HOST or HOST/BRIDGE. The subject is what people read in the event, and
// not, as a name by id, empty where the estate has forgotten it.
func hostOf(subject string) string   { return "splitByChar('/', " + subject + ")[1]" }
func bridgeOf(subject string) string { return "splitByChar('/', " + subject + ")[2]" }

// lasting returns the SQL of a figure that is 1 of those things of which the last event, of several kinds, is one of bad.
func lasting(labels string, kinds, bad []string) string {
	quote := func(words []string) string { return "'" + strings.Join(words, "', '") + "'" }
	var columns []string
	for label := range strings.SplitSeq(labels, ", ") {
		columns = append(columns, map[string]string{"host": hostOf("about"), "bridge": bridgeOf("about"), "subject": "about", "exporter": "about"}[label]+" AS "+label)
	}
	return fmt.Sprintf(`SELECT
  %[1]s,
  toFloat64(max(last IN (%[4]s))) AS bad
FROM (
  SELECT subject AS about, argMax(kind, (time, id)) AS last
  FROM network_events
  WHERE $__timeFilter_ms(time) AND kind IN (%[3]s)
    AND dictGetOrDefault('entity_now', 'removed', host, toUInt8(0)) = 0
  GROUP BY about
)
GROUP BY %[2]s
ORDER BY bad DESC, %[2]s
LIMIT %[5]d`, strings.Join(columns, ",\n  "), labels, quote(kinds), quote(bad), most)
}

// process returns the SQL of a figure of the processes of Weir.
func process(figure, as, rows string) string {
	if rows != "" {
		rows = " AND " + rows
	}
	return fmt.Sprintf(`SELECT machine, service, toFloat64(%s) AS %s
FROM server_stats FINAL
WHERE $__timeFilter_ms(time)%s
GROUP BY machine, service
ORDER BY machine, service
LIMIT %d`, figure, as, rows, most)
}
