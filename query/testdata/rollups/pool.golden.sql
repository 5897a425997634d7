SELECT
  'top' AS `row`,
  k1 AS `pool`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `pool_name`,
  k2 AS `verdict`,
  b_sum AS `bytes`
FROM (
  SELECT
    k1,
    k2,
    sum(b) AS b_sum
  FROM (
    SELECT
      pool AS k1,
      verdict AS k2,
      bytes AS b
    FROM flows_1m
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
      AND (counted OR verdict NOT IN ('unknown', 'allowed'))
      AND pool IN (SELECT id FROM entity_now WHERE kind = 'pool' AND (name = {p1:String} OR key = {p1:String}))
  )
  GROUP BY k1, k2
  ORDER BY b_sum DESC, k1, k2
  LIMIT 10
)
ORDER BY b_sum DESC, k1, k2
LIMIT 10

-- {from:Int64} = "1795510800"
-- {to:Int64} = "1795514400"
-- {p1:String} = "p"
-- reads flows_1m (lived) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column pool key UInt64 pool
-- column pool_name name String pool
-- column verdict key Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6) verdict
-- column bytes value UInt64 bytes
-- name pool [pool] "p" at 8
-- note the newest minutes read low until the flows that lived in them have expired
