SELECT
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `rule`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `rule_name`,
  k2 AS `verdict`,
  multiIf(r = 2, p_all, r = 1, toUInt64(p_sum - p_sum_top), p_sum) AS `packets`,
  if(total = 0, 0, multiIf(r = 2, p_all, r = 1, toUInt64(p_sum - p_sum_top), p_sum) / total) AS `share`
FROM (
  SELECT
    *,
    sumIf(p_sum, is_total = 0) OVER () AS p_sum_top,
    maxIf(p_all, is_total = 1) OVER () AS total
  FROM (
    SELECT
      grouping(k1) AS is_total,
      k1,
      k2,
      sum(p) AS p_sum,
      p_sum AS p_all
    FROM (
      SELECT
        rule_id AS k1,
        verdict AS k2,
        packets * sampling_rate AS p
      FROM flows
      WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
        AND time_received < fromUnixTimestamp64Milli({to:Int64})
        AND verdict IN ('denied', 'spoofed', 'invalid', 'unknown_port')
    )
    GROUP BY GROUPING SETS ((k1, k2), ())
    ORDER BY is_total DESC, p_sum DESC, k1, k2
    LIMIT 11
  )
)
ARRAY JOIN if(is_total = 1, [2], [0]) AS r
WHERE r != 1 OR p_sum > p_sum_top
ORDER BY r, p_sum DESC, k1, k2
LIMIT 12

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column rule key UInt64 rule
-- column rule_name name String rule
-- column verdict key Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6) verdict
-- column packets value UInt64 packets
-- column share share Float64
