SELECT
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `exporter`,
  k2 AS `observation_domain`,
  k3 AS `in_if`,
  k4 AS `out_if`,
  multiIf(r = 2, b_all, r = 1, toUInt64(b_sum - b_sum_top), b_sum) AS `bytes`
FROM (
  SELECT
    *,
    sumIf(b_sum, is_total = 0) OVER () AS b_sum_top,
    maxIf(b_all, is_total = 1) OVER () AS total
  FROM (
    SELECT
      grouping(k1) AS is_total,
      k1,
      k2,
      k3,
      k4,
      sum(b) AS b_sum,
      b_sum AS b_all
    FROM (
      SELECT
        exporter AS k1,
        observation_domain AS k2,
        in_if AS k3,
        out_if AS k4,
        bytes * sampling_rate AS b
      FROM flows
      WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
        AND time_received < fromUnixTimestamp64Milli({to:Int64})
        AND counted
    )
    GROUP BY GROUPING SETS ((k1, k2, k3, k4), ())
    ORDER BY is_total DESC, b_sum ASC, k1, k2, k3, k4
    LIMIT 11
  )
)
ARRAY JOIN if(is_total = 1, [1], [0]) AS r
WHERE r != 1 OR b_sum > b_sum_top
ORDER BY r, b_sum ASC, k1, k2, k3, k4
LIMIT 12

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column exporter key IPv6 exporter
-- column observation_domain key UInt32 observation_domain
-- column in_if key UInt32 in_if
-- column out_if key UInt32 out_if
-- column bytes value UInt64 bytes
