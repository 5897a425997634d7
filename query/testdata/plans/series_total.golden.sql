SELECT
  t AS `time`,
  'total' AS `row`,
  b_sum * 8 / 30 AS `bps`
FROM (
  SELECT
    t,
    sum(b) AS b_sum
  FROM (
    SELECT
      toDateTime(intDiv(toUnixTimestamp(time_received), 30) * 30, 'UTC') AS t,
      bytes * sampling_rate AS b
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
      AND counted
  )
  GROUP BY t
)
ORDER BY t
LIMIT 121

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z by 30s
-- column time time DateTime('UTC')
-- column row row String
-- column bps value Float64 bps
