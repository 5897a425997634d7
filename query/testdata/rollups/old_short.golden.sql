SELECT
  'top' AS `row`,
  k1 AS `service`,
  b_sum AS `bytes`
FROM (
  SELECT
    k1,
    sum(b) AS b_sum
  FROM (
    SELECT
      service AS k1,
      bytes AS b
    FROM flows_1m
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
      AND counted
  )
  GROUP BY k1
  ORDER BY b_sum DESC, k1
  LIMIT 10
)
ORDER BY b_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1789896600"
-- {to:Int64} = "1789896960"
-- reads flows_1m (lived) from 2026-09-20T09:30:00Z to 2026-09-20T09:36:00Z
-- column row row String
-- column service key UInt16 service
-- column bytes value UInt64 bytes
-- note the range is widened to whole buckets of 1m
