SELECT
  k1 AS `time_received`,
  k2 AS `flow_start`,
  k3 AS `network`,
  dictGetOrDefault('entity_now', 'name', k3, '') AS `network_name`,
  k4 AS `src_vm`,
  dictGetOrDefault('entity_now', 'name', k4, '') AS `src_vm_name`,
  k5 AS `src_addr`,
  k6 AS `src_port`,
  k7 AS `dst_vm`,
  dictGetOrDefault('entity_now', 'name', k7, '') AS `dst_vm_name`,
  k8 AS `dst_addr`,
  k9 AS `dst_port`,
  k10 AS `protocol`,
  k11 AS `bytes`,
  k12 AS `packets`,
  k13 AS `sampling_rate`,
  k14 AS `duration_ms`,
  k15 AS `verdict`,
  k16 AS `counted`,
  k17 AS `exporter`
FROM (
  SELECT
    time_received AS k1,
    flow_start AS k2,
    network AS k3,
    src_vm AS k4,
    src_addr AS k5,
    src_port AS k6,
    dst_vm AS k7,
    dst_addr AS k8,
    dst_port AS k9,
    protocol AS k10,
    bytes AS k11,
    packets AS k12,
    sampling_rate AS k13,
    duration_ms AS k14,
    verdict AS k15,
    counted AS k16,
    exporter AS k17
  FROM flows
  WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
    AND time_received < fromUnixTimestamp64Milli({to:Int64})
    AND (src_vm IN (SELECT id FROM entity_now WHERE kind = 'vm' AND (name = {p1:String} OR key = {p1:String})) OR dst_vm IN (SELECT id FROM entity_now WHERE kind = 'vm' AND (name = {p1:String} OR key = {p1:String})))
  ORDER BY time_received DESC
  LIMIT 100
)
ORDER BY k1 DESC
LIMIT 100

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- {p1:String} = "a"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column time_received time DateTime64(3, 'UTC')
-- column flow_start time DateTime64(3, 'UTC')
-- column network key UInt64 network
-- column network_name name String network
-- column src_vm key UInt64 src_vm
-- column src_vm_name name String src_vm
-- column src_addr key IPv6 src_addr
-- column src_port key UInt16 src_port
-- column dst_vm key UInt64 dst_vm
-- column dst_vm_name name String dst_vm
-- column dst_addr key IPv6 dst_addr
-- column dst_port key UInt16 dst_port
-- column protocol key UInt8 protocol
-- column bytes key UInt64 bytes bytes
-- column packets key UInt64 packets packets
-- column sampling_rate key UInt32 sampling_rate
-- column duration_ms key UInt32 duration
-- column verdict key Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6) verdict
-- column counted key Bool counted
-- column exporter key IPv6 exporter
-- name vm [vm] "a" at 6
