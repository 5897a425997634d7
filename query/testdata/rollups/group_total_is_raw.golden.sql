SELECT
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `group`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `group_name`,
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
      sum(b) AS b_sum,
      sumIf(b, is_first) AS b_all
    FROM (
      SELECT
        arrayJoin(arrayMap((x1, i1) -> (x1, i1 = 1), if(empty(src_groups) AND empty(dst_groups), [toUInt64(0)], arrayDistinct(arrayConcat(src_groups, dst_groups))) AS j1s, arrayEnumerate(j1s))) AS j1,
        j1.1 AS k1,
        j1.2 AS is_first,
        bytes * sampling_rate AS b
      FROM flows
      WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
        AND time_received < fromUnixTimestamp64Milli({to:Int64})
        AND counted
    )
    GROUP BY GROUPING SETS ((k1), ())
    ORDER BY is_total DESC, b_sum DESC, k1
    LIMIT 11
  )
)
ARRAY JOIN if(is_total = 1, [2], [0]) AS r
WHERE r != 1 OR b_sum > b_sum_top
ORDER BY r, b_sum DESC, k1
LIMIT 12

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column group key UInt64 group
-- column group_name name String group
-- column bytes value UInt64 bytes
-- column share share Float64
-- note a flow is in the row of every group that it has: rows add up to more than the total
