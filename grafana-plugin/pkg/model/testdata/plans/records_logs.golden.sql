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
  k17 AS `exporter`,
  k18 AS `src_vif`,
  dictGetOrDefault('entity_now', 'name', k18, '') AS `src_vif_name`
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
    exporter AS k17,
    src_vif AS k18
  FROM flows
  WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
    AND time_received < fromUnixTimestamp64Milli({to:Int64})
    AND CAST(verdict, 'Int8') = {p1:Int8}
  ORDER BY time_received DESC
  LIMIT 1000
)
ORDER BY k1 DESC
LIMIT 1000

-- {from:Int64} = "1795665607000"
-- {to:Int64} = "1795687207000"
-- {p1:Int8} = "2"
-- logs, at most 1000 rows
-- column time_received time
-- column flow_start time
-- column network key of network
-- column network_name name
-- column src_vm key of src_vm
-- column src_vm_name name
-- column src_addr key of src_addr
-- column src_port key of src_port
-- column dst_vm key of dst_vm
-- column dst_vm_name name
-- column dst_addr key of dst_addr
-- column dst_port key of dst_port
-- column protocol key of protocol
-- column bytes key decbytes of bytes
-- column packets key short of packets
-- column sampling_rate key of sampling_rate
-- column duration_ms key ms of duration
-- column verdict key of verdict
-- column counted key of counted
-- column exporter key of exporter
-- column src_vif key of src_vif
-- column src_vif_name name
