WITH hits AS (
  SELECT
    t,
    of,
    sum(packets) AS `packets`
  FROM (
    SELECT
      dictGetOrDefault('rule_instance', 'tier', toUInt64(rule_instance), '') AS of,
      toDateTime(intDiv(toInt64(toUnixTimestamp(minute)) * 1000, 600000) * 600, 'UTC') AS t,
      packets,
      bytes
    FROM rule_hits_1m FINAL
    WHERE minute >= fromUnixTimestamp({from:Int64})
      AND minute < fromUnixTimestamp({to:Int64})
      AND rule_instance > 255
  )
  GROUP BY t, of
)
SELECT
  t AS time,
  of AS `tier`,
  `packets`
FROM hits
WHERE of IN (
  SELECT
    of
  FROM hits
  GROUP BY of
  ORDER BY sum(`packets`) DESC, of
  LIMIT 10
)
ORDER BY t, of
LIMIT 360

-- {from:Int64} = "1795665600"
-- {to:Int64} = "1795686600"
-- timeseries, at most 360 rows, from 2026-11-26T04:00:00Z to 2026-11-26T09:50:00Z by 10m0s
-- column time time
-- column tier key
-- column packets value short or 0
