SELECT
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `src_group`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `src_group_name`,
  k2 AS `dst_group`,
  dictGetOrDefault('entity_now', 'name', k2, '') AS `dst_group_name`,
  multiIf(r = 2, b_all, r = 1, toUInt64(b_sum - b_sum_top), b_sum) AS `bytes`,
  if(total = 0, 0, multiIf(r = 2, b_all, r = 1, toUInt64(b_sum - b_sum_top), b_sum) / total) AS `share`
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
      sum(b) AS b_sum,
      sumIf(b, is_first) AS b_all
    FROM (
      SELECT
        arrayJoin(arrayMap((x1, i1) -> (x1, i1 = 1), if(empty(src_groups), [toUInt64(0)], src_groups) AS j1s, arrayEnumerate(j1s))) AS j1,
        j1.1 AS k1,
        arrayJoin(arrayMap((x2, i2) -> (x2, i2 = 1), if(empty(dst_groups), [toUInt64(0)], dst_groups) AS j2s, arrayEnumerate(j2s))) AS j2,
        j2.1 AS k2,
        j1.2 AND j2.2 AS is_first,
        bytes * sampling_rate AS b
      FROM flows
      WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
        AND time_received < fromUnixTimestamp64Milli({to:Int64})
        AND counted
    )
    GROUP BY GROUPING SETS ((k1, k2), ())
    ORDER BY is_total DESC, b_sum DESC, k1, k2
    LIMIT 11
  )
)
ARRAY JOIN if(is_total = 1, [2], [0]) AS r
WHERE r != 1 OR b_sum > b_sum_top
ORDER BY r, b_sum DESC, k1, k2
LIMIT 12

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column src_group key UInt64 src_group
-- column src_group_name name String src_group
-- column dst_group key UInt64 dst_group
-- column dst_group_name name String dst_group
-- column bytes value UInt64 bytes
-- column share share Float64
-- note a flow is in the row of every src_group that it has: rows add up to more than the total
-- note a flow is in the row of every dst_group that it has: rows add up to more than the total
