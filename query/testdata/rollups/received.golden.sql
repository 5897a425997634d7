SELECT
  t AS `time`,
  'total' AS `row`,
  f_sum / 60 AS `fps`
FROM (
  SELECT
    t,
    sum(f) AS f_sum
  FROM (
    SELECT
      toDateTime(intDiv(toUnixTimestamp(bucket), 60) * 60, 'UTC') AS t,
      flows AS f
    FROM flows_rx_1m
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
      AND (counted OR verdict NOT IN ('unknown', 'allowed'))
      AND CAST(verdict, 'Int8') = {p1:Int8}
  )
  GROUP BY t
)
ORDER BY t
LIMIT 61

-- {from:Int64} = "1795510800"
-- {to:Int64} = "1795514400"
-- {p1:Int8} = "2"
-- reads flows_rx_1m (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z by 1m0s
-- column time time DateTime('UTC')
-- column row row String
-- column fps value Float64 fps
