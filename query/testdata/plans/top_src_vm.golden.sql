SELECT
  'top' AS `row`,
  k1 AS `src_vm`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `src_vm_name`,
  b_sum AS `bytes`
FROM (
  SELECT
    k1,
    sum(b) AS b_sum
  FROM (
    SELECT
      src_vm AS k1,
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

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column src_vm key UInt64 src_vm
-- column src_vm_name name String src_vm
-- column bytes value UInt64 bytes
