WITH best AS (
  SELECT k1, k2
  FROM (
    SELECT
      toDateTime(intDiv(toUnixTimestamp(time_received), 300) * 300, 'UTC') AS t,
      arrayJoin(arrayMap((x1, i1) -> (x1, i1 = 1, x1 = dst_vm, x1 = src_vm), if(src_vm = dst_vm OR dst_vm = defaultValueOfArgumentType(src_vm), [src_vm], if(src_vm = defaultValueOfArgumentType(src_vm), [dst_vm], [src_vm, dst_vm])) AS j1s, arrayEnumerate(j1s))) AS j1,
      j1.1 AS k1,
      j1.3 AS is_in,
      j1.4 AS is_out,
      protocol AS k2,
      j1.2 AS is_first,
      bytes * sampling_rate AS b
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
      AND counted
  )
  GROUP BY k1, k2
  ORDER BY sum(b) DESC, k1, k2
  LIMIT 10
)
SELECT
  t AS `time`,
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `vm`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `vm_name`,
  k2 AS `protocol`,
  if(r = 2, b_all, b_sum) AS `bytes`,
  b_in AS `bytes_in`,
  b_out AS `bytes_out`
FROM (
  SELECT
    *,
    multiIf(is_total = 1, 2, is_best, 0, 1) AS r,
    c1 AS k1,
    c2 AS k2
  FROM (
    SELECT
      grouping(is_best) AS is_total,
      t,
      (k1, k2) IN (best) AS is_best,
      if(is_best, k1, defaultValueOfArgumentType(k1)) AS c1,
      if(is_best, k2, defaultValueOfArgumentType(k2)) AS c2,
      sum(b) AS b_sum,
      sumIf(b, is_in) AS b_in,
      sumIf(b, is_out) AS b_out,
      sumIf(b, is_first) AS b_all
    FROM (
      SELECT
        toDateTime(intDiv(toUnixTimestamp(time_received), 300) * 300, 'UTC') AS t,
        arrayJoin(arrayMap((x1, i1) -> (x1, i1 = 1, x1 = dst_vm, x1 = src_vm), if(src_vm = dst_vm OR dst_vm = defaultValueOfArgumentType(src_vm), [src_vm], if(src_vm = defaultValueOfArgumentType(src_vm), [dst_vm], [src_vm, dst_vm])) AS j1s, arrayEnumerate(j1s))) AS j1,
        j1.1 AS k1,
        j1.3 AS is_in,
        j1.4 AS is_out,
        protocol AS k2,
        j1.2 AS is_first,
        bytes * sampling_rate AS b
      FROM flows
      WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
        AND time_received < fromUnixTimestamp64Milli({to:Int64})
        AND counted
    )
    GROUP BY GROUPING SETS ((t, is_best, c1, c2), (t))
  )
)
ORDER BY t, r, b_sum DESC, k1, k2
LIMIT 156

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z by 5m0s
-- column time time DateTime('UTC')
-- column row row String
-- column vm key UInt64 vm
-- column vm_name name String vm
-- column protocol key UInt8 protocol
-- column bytes value UInt64 bytes
-- column bytes_in value UInt64 bytes
-- column bytes_out value UInt64 bytes
-- note a flow is in the row of every vm that it has: rows add up to more than the total
