SELECT
  k1 AS `time_received`,
  k2 AS `flow_start`,
  k3 AS `src_vm`,
  dictGetOrDefault('entity_now', 'name', k3, '') AS `src_vm_name`,
  k4 AS `src_addr`,
  k5 AS `src_mac`,
  k6 AS `src_groups`,
  arrayMap(id -> dictGetOrDefault('entity_now', 'name', id, ''), k6) AS `src_groups_names`,
  k7 AS `dst_addr`,
  k8 AS `dst_port`,
  k9 AS `protocol`,
  k10 AS `tcp_flags`,
  k11 AS `bytes`,
  k12 AS `duration_ms`,
  k13 AS `verdict`,
  k14 AS `counted`
FROM (
  SELECT
    time_received AS k1,
    flow_start AS k2,
    src_vm AS k3,
    src_addr AS k4,
    src_mac AS k5,
    src_groups AS k6,
    dst_addr AS k7,
    dst_port AS k8,
    protocol AS k9,
    tcp_flags AS k10,
    bytes AS k11,
    duration_ms AS k12,
    verdict AS k13,
    counted AS k14
  FROM flows
  WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
    AND time_received < fromUnixTimestamp64Milli({to:Int64})
    AND (src_addr BETWEEN {p1:IPv6} AND {p2:IPv6} OR dst_addr BETWEEN {p1:IPv6} AND {p2:IPv6})
  ORDER BY time_received DESC
  LIMIT 50
)
ORDER BY k1 DESC
LIMIT 50

-- {from:Int64} = "1795665607000"
-- {to:Int64} = "1795687207000"
-- {p1:IPv6} = "::ffff:10.0.0.0"
-- {p2:IPv6} = "::ffff:10.255.255.255"
-- table, at most 50 rows
-- column time_received time
-- column flow_start time
-- column src_vm key of src_vm
-- column src_vm_name name
-- column src_addr key of src_addr
-- column src_mac key of src_mac
-- column src_groups key of src_group
-- column src_groups_names name
-- column dst_addr key of dst_addr
-- column dst_port key of dst_port
-- column protocol key of protocol
-- column tcp_flags key of tcp_flags
-- column bytes key decbytes of bytes
-- column duration_ms key ms of duration
-- column verdict key of verdict
-- column counted key of counted
