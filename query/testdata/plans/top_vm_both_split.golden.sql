SELECT
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `vm`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `vm_name`,
  multiIf(r = 2, b_all, r = 1, toUInt64(b_sum - b_sum_top), b_sum) * 8 / 3600 AS `bps`,
  multiIf(r = 2, b_in, r = 1, toUInt64(b_in - b_in_top), b_in) * 8 / 3600 AS `bps_in`,
  multiIf(r = 2, b_out, r = 1, toUInt64(b_out - b_out_top), b_out) * 8 / 3600 AS `bps_out`,
  multiIf(r = 2, p_all, r = 1, toUInt64(p_sum - p_sum_top), p_sum) / 3600 AS `pps`,
  multiIf(r = 2, p_in, r = 1, toUInt64(p_in - p_in_top), p_in) / 3600 AS `pps_in`,
  multiIf(r = 2, p_out, r = 1, toUInt64(p_out - p_out_top), p_out) / 3600 AS `pps_out`,
  if(total = 0, 0, multiIf(r = 2, b_all, r = 1, toUInt64(b_sum - b_sum_top), b_sum) / total) AS `share`
FROM (
  SELECT
    *,
    sumIf(b_sum, is_total = 0) OVER () AS b_sum_top,
    sumIf(b_in, is_total = 0) OVER () AS b_in_top,
    sumIf(b_out, is_total = 0) OVER () AS b_out_top,
    sumIf(p_sum, is_total = 0) OVER () AS p_sum_top,
    sumIf(p_in, is_total = 0) OVER () AS p_in_top,
    sumIf(p_out, is_total = 0) OVER () AS p_out_top,
    maxIf(b_all, is_total = 1) OVER () AS total
  FROM (
    SELECT
      grouping(k1) AS is_total,
      k1,
      sum(b) AS b_sum,
      sumIf(b, is_in) AS b_in,
      sumIf(b, is_out) AS b_out,
      sumIf(b, is_first) AS b_all,
      sum(p) AS p_sum,
      sumIf(p, is_in) AS p_in,
      sumIf(p, is_out) AS p_out,
      sumIf(p, is_first) AS p_all
    FROM (
      SELECT
        arrayJoin(arrayMap((x1, i1) -> (x1, i1 = 1, x1 = dst_vm, x1 = src_vm), if(src_vm = dst_vm OR dst_vm = defaultValueOfArgumentType(src_vm), [src_vm], if(src_vm = defaultValueOfArgumentType(src_vm), [dst_vm], [src_vm, dst_vm])) AS j1s, arrayEnumerate(j1s))) AS j1,
        j1.1 AS k1,
        j1.3 AS is_in,
        j1.4 AS is_out,
        j1.2 AS is_first,
        bytes * sampling_rate AS b,
        packets * sampling_rate AS p
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
ARRAY JOIN if(is_total = 1, [1, 2], [0]) AS r
WHERE r != 1 OR b_sum > b_sum_top
ORDER BY r, b_sum DESC, k1
LIMIT 12

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column vm key UInt64 vm
-- column vm_name name String vm
-- column bps value Float64 bps
-- column bps_in value Float64 bps
-- column bps_out value Float64 bps
-- column pps value Float64 pps
-- column pps_in value Float64 pps
-- column pps_out value Float64 pps
-- column share share Float64
-- note a flow is in the row of every vm that it has: rows add up to more than the total
