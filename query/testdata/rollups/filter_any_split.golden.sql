SELECT
  t AS `time`,
  'total' AS `row`,
  b_sum * 8 / 60 AS `bps`,
  b_in * 8 / 60 AS `bps_in`,
  b_out * 8 / 60 AS `bps_out`
FROM (
  SELECT
    t,
    sum(b) AS b_sum,
    sumIf(b, is_in) AS b_in,
    sumIf(b, is_out) AS b_out
  FROM (
    SELECT
      toDateTime(intDiv(toUnixTimestamp(bucket), 60) * 60, 'UTC') AS t,
      true AS is_in,
      true AS is_out,
      bytes AS b
    FROM flows_1m
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
      AND counted
      AND true
  )
  GROUP BY t
)
ORDER BY t
LIMIT 241

-- {from:Int64} = "1795500000"
-- {to:Int64} = "1795514400"
-- reads flows_1m (lived) from 2026-11-24T06:00:00Z to 2026-11-24T10:00:00Z by 1m0s
-- column time time DateTime('UTC')
-- column row row String
-- column bps value Float64 bps
-- column bps_in value Float64 bps
-- column bps_out value Float64 bps
-- note the newest minutes read low until the flows that lived in them have expired
