SELECT
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `verdict`,
  k2 AS `direction`,
  multiIf(r = 2, f_all, r = 1, toUInt64(f_sum - f_sum_top), f_sum) AS `flows`,
  if(total = 0, 0, multiIf(r = 2, f_all, r = 1, toUInt64(f_sum - f_sum_top), f_sum) / total) AS `share`
FROM (
  SELECT
    *,
    sumIf(f_sum, is_total = 0) OVER () AS f_sum_top,
    maxIf(f_all, is_total = 1) OVER () AS total
  FROM (
    SELECT
      grouping(k1) AS is_total,
      k1,
      k2,
      sum(f) AS f_sum,
      f_sum AS f_all
    FROM (
      SELECT
        verdict AS k1,
        direction AS k2,
        1 AS f
      FROM flows
      WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
        AND time_received < fromUnixTimestamp64Milli({to:Int64})
        AND (counted OR verdict NOT IN ('unknown', 'allowed'))
    )
    GROUP BY GROUPING SETS ((k1, k2), ())
    ORDER BY is_total DESC, f_sum DESC, k1, k2
    LIMIT 11
  )
)
ARRAY JOIN if(is_total = 1, [2], [0]) AS r
WHERE r != 1 OR f_sum > f_sum_top
ORDER BY r, f_sum DESC, k1, k2
LIMIT 12

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column verdict key Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6) verdict
-- column direction key Enum8('unknown' = 0, 'inbound' = 1, 'outbound' = 2, 'internal' = 3) direction
-- column flows value UInt64 flows
-- column share share Float64
