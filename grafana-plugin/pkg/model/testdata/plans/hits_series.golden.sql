WITH hits AS (
  SELECT
    t,
    of,
    sum(packets) / 60 AS `pps`
  FROM (
    SELECT
      dictGetOrDefault('rule_instance', 'rule', toUInt64(rule_instance), '') AS of,
      toDateTime(intDiv(toInt64(toUnixTimestamp(minute)) * 1000, 60000) * 60, 'UTC') AS t,
      packets,
      bytes
    FROM rule_hits_1m FINAL
    WHERE minute >= fromUnixTimestamp({from:Int64})
      AND minute < fromUnixTimestamp({to:Int64})
  )
  GROUP BY t, of
)
SELECT
  t AS time,
  of AS `rule`,
  `pps`
FROM hits
WHERE of IN (
  SELECT
    of
  FROM hits
  GROUP BY of
  ORDER BY sum(`pps`) DESC, of
  LIMIT 3
)
ORDER BY t, of
LIMIT 1080

-- {from:Int64} = "1795665600"
-- {to:Int64} = "1795687140"
-- timeseries, at most 1080 rows, from 2026-11-26T04:00:00Z to 2026-11-26T09:59:00Z by 1m0s
-- column time time
-- column rule key
-- column pps value pps or 0
