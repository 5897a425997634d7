SELECT
  'top' AS `row`,
  k1 AS `src_vm`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `src_vm_name`,
  k2 AS `dst_vm`,
  dictGetOrDefault('entity_now', 'name', k2, '') AS `dst_vm_name`,
  k3 AS `rule`,
  dictGetOrDefault('entity_now', 'name', k3, '') AS `rule_name`,
  p_sum AS `packets`
FROM (
  SELECT
    k1,
    k2,
    k3,
    sum(p) AS p_sum
  FROM (
    SELECT
      src_vm AS k1,
      dst_vm AS k2,
      rule_id AS k3,
      packets * sampling_rate AS p
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
      AND (counted OR verdict NOT IN ('unknown', 'allowed'))
      AND CAST(verdict, 'Int8') IN ({p1:Int8}, {p2:Int8})
  )
  GROUP BY k1, k2, k3
  ORDER BY p_sum DESC, k1, k2, k3
  LIMIT 10
)
ORDER BY p_sum DESC, k1, k2, k3
LIMIT 10

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- {p1:Int8} = "2"
-- {p2:Int8} = "4"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column src_vm key UInt64 src_vm
-- column src_vm_name name String src_vm
-- column dst_vm key UInt64 dst_vm
-- column dst_vm_name name String dst_vm
-- column rule key UInt64 rule
-- column rule_name name String rule
-- column packets value UInt64 packets
