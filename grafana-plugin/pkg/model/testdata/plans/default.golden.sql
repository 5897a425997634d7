SELECT
  t AS `time`,
  'total' AS `row`,
  b_sum * 8 / 60 AS `bps`
FROM (
  SELECT
    t,
    sum(b) AS b_sum
  FROM (
    SELECT
      toDateTime(intDiv(toUnixTimestamp(bucket), 60) * 60, 'UTC') AS t,
      bytes AS b
    FROM flows_1m
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
      AND counted
  )
  GROUP BY t
)
ORDER BY t
LIMIT 360

-- {from:Int64} = "1795665600"
-- {to:Int64} = "1795687140"
-- timeseries, at most 4320 rows, from 2026-11-26T04:00:00Z to 2026-11-26T09:59:00Z by 1m0s, whole
-- column time time
-- column row row
-- column bps value bps or 0
-- note the newest minutes read low until the flows that lived in them have expired
