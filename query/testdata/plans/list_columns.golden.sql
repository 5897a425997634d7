SELECT
  k1 AS `time_received`,
  k2 AS `flow_start`,
  k3 AS `src_vm`,
  dictGetOrDefault('entity_now', 'name', k3, '') AS `src_vm_name`,
  k4 AS `dst_vm`,
  dictGetOrDefault('entity_now', 'name', k4, '') AS `dst_vm_name`,
  k5 AS `src_groups`,
  arrayMap(id -> dictGetOrDefault('entity_now', 'name', id, ''), k5) AS `src_groups_names`,
  k6 AS `dst_groups`,
  arrayMap(id -> dictGetOrDefault('entity_now', 'name', id, ''), k6) AS `dst_groups_names`,
  k7 AS `src_mac`,
  k8 AS `dst_mac`,
  k9 AS `tcp_flags`,
  k10 AS `duration_ms`,
  k11 AS `bytes`
FROM (
  SELECT
    time_received AS k1,
    flow_start AS k2,
    src_vm AS k3,
    dst_vm AS k4,
    src_groups AS k5,
    dst_groups AS k6,
    src_mac AS k7,
    dst_mac AS k8,
    tcp_flags AS k9,
    duration_ms AS k10,
    bytes AS k11
  FROM flows
  WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
    AND time_received < fromUnixTimestamp64Milli({to:Int64})
    AND dst_port = {p1:UInt16}
    AND NOT (src_vm = 0)
  ORDER BY time_received DESC
  LIMIT 7
)
ORDER BY k1 DESC
LIMIT 7

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- {p1:UInt16} = "443"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column time_received time DateTime64(3, 'UTC')
-- column flow_start time DateTime64(3, 'UTC')
-- column src_vm key UInt64 vm
-- column src_vm_name name String vm
-- column dst_vm key UInt64 vm
-- column dst_vm_name name String vm
-- column src_groups key Array(UInt64) group
-- column src_groups_names name Array(String) group
-- column dst_groups key Array(UInt64) group
-- column dst_groups_names name Array(String) group
-- column src_mac key UInt64 mac
-- column dst_mac key UInt64 mac
-- column tcp_flags key UInt16 tcp_flags
-- column duration_ms key UInt32 duration
-- column bytes key UInt64 bytes bytes
