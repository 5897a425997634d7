SELECT
  'top' AS `row`,
  k1 AS `application`,
  k2 AS `tos`,
  k3 AS `dscp`,
  k4 AS `tcp_flags`,
  k5 AS `ethertype`,
  k6 AS `vlan`,
  k7 AS `mac`,
  k8 AS `src_mac`,
  f_sum / 3600 AS `fps`
FROM (
  SELECT
    k1,
    k2,
    k3,
    k4,
    k5,
    k6,
    k7,
    k8,
    sum(f) AS f_sum
  FROM (
    SELECT
      application AS k1,
      tos AS k2,
      bitShiftRight(tos, 2) AS k3,
      tcp_flags AS k4,
      ethertype AS k5,
      arrayJoin(arrayMap((x6, i6) -> (x6, i6 = 1), if(vlan_in = vlan_out OR vlan_out = defaultValueOfArgumentType(vlan_in), [vlan_in], if(vlan_in = defaultValueOfArgumentType(vlan_in), [vlan_out], [vlan_in, vlan_out])) AS j6s, arrayEnumerate(j6s))) AS j6,
      j6.1 AS k6,
      arrayJoin(arrayMap((x7, i7) -> (x7, i7 = 1), if(src_mac = dst_mac OR dst_mac = defaultValueOfArgumentType(src_mac), [src_mac], if(src_mac = defaultValueOfArgumentType(src_mac), [dst_mac], [src_mac, dst_mac])) AS j7s, arrayEnumerate(j7s))) AS j7,
      j7.1 AS k7,
      src_mac AS k8,
      j6.2 AND j7.2 AS is_first,
      1 AS f
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
      AND counted
  )
  GROUP BY k1, k2, k3, k4, k5, k6, k7, k8
  ORDER BY f_sum DESC, k1, k2, k3, k4, k5, k6, k7, k8
  LIMIT 10
)
ORDER BY f_sum DESC, k1, k2, k3, k4, k5, k6, k7, k8
LIMIT 10

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column application key UInt64 application
-- column tos key UInt8 tos
-- column dscp key UInt8 dscp
-- column tcp_flags key UInt16 tcp_flags
-- column ethertype key UInt16 ethertype
-- column vlan key UInt16 vlan
-- column mac key UInt64 mac
-- column src_mac key UInt64 src_mac
-- column fps value Float64 fps
-- note each exporter numbers application for itself: group by exporter too
-- note a flow is in the row of every vlan that it has: rows add up to more than the total
-- note a flow is in the row of every mac that it has: rows add up to more than the total
