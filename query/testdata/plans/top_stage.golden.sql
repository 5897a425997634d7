SELECT
  'top' AS `row`,
  k1 AS `stage`,
  k2 AS `counted`,
  f_sum AS `flows`
FROM (
  SELECT
    k1,
    k2,
    sum(f) AS f_sum
  FROM (
    SELECT
      stage AS k1,
      counted AS k2,
      1 AS f
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
  )
  GROUP BY k1, k2
  ORDER BY f_sum DESC, k1, k2
  LIMIT 10
)
ORDER BY f_sum DESC, k1, k2
LIMIT 10

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column stage key Enum8('none' = 0, 'egress' = 1, 'ingress' = 2, 'reply' = 3, 'system' = 4) stage
-- column counted key Bool counted
-- column flows value UInt64 flows
