SELECT
  'top' AS `row`,
  k1 AS `vm`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `vm_name`,
  b_sum AS `bytes`
FROM (
  SELECT
    k1,
    sum(b) AS b_sum
  FROM (
    SELECT
      arrayJoin(arrayMap((x1, i1) -> (x1, i1 = 1), if(src_vm = dst_vm OR dst_vm = defaultValueOfArgumentType(src_vm), [src_vm], if(src_vm = defaultValueOfArgumentType(src_vm), [dst_vm], [src_vm, dst_vm])) AS j1s, arrayEnumerate(j1s))) AS j1,
      j1.1 AS k1,
      j1.2 AS is_first,
      bytes * sampling_rate AS b
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
      AND counted
  )
  GROUP BY k1
  ORDER BY b_sum DESC, k1
  LIMIT 10
)
ORDER BY b_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795514100000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:55:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column vm key UInt64 vm
-- column vm_name name String vm
-- column bytes value UInt64 bytes
-- note a flow is in the row of every vm that it has: rows add up to more than the total
