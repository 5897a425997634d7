SELECT
  'top' AS `row`,
  k1 AS `protocol`,
  f_sum AS `flows`
FROM (
  SELECT
    k1,
    sum(f) AS f_sum
  FROM (
    SELECT
      protocol AS k1,
      1 AS f
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
      AND (counted OR verdict NOT IN ('unknown', 'allowed'))
      AND bytes > {p1:UInt64}
      AND packets <= {p2:UInt64}
      AND duration_ms >= {p3:UInt32}
      AND in_if = {p4:UInt32}
      AND ((in_if = {p5:UInt32} OR in_if BETWEEN {p6:UInt32} AND {p7:UInt32}) OR (out_if = {p5:UInt32} OR out_if BETWEEN {p6:UInt32} AND {p7:UInt32}))
      AND (vlan_in = {p8:UInt16} OR vlan_out = {p8:UInt16})
      AND NOT (vrf_in = {p9:UInt32} OR vrf_out = {p9:UInt32})
      AND batch = {p10:UInt64}
      AND sampling_rate > {p5:UInt32}
      AND version IN ({p11:UInt8}, {p12:UInt8}, {p13:UInt8})
      AND end_reason = {p14:UInt8}
      AND forwarding_status = {p15:UInt8}
      AND observation_domain = {p5:UInt32}
      AND observation_point = {p9:UInt32}
      AND rule_instance = {p4:UInt32}
      AND icmp_type = {p16:UInt8}
      AND icmp_code = {p17:UInt8}
      AND application = {p18:UInt64}
      AND tos = {p19:UInt8}
  )
  GROUP BY k1
  ORDER BY f_sum DESC, k1
  LIMIT 10
)
ORDER BY f_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- {p1:UInt64} = "1048576"
-- {p2:UInt64} = "10000"
-- {p3:UInt32} = "1500"
-- {p4:UInt32} = "3"
-- {p5:UInt32} = "1"
-- {p6:UInt32} = "5"
-- {p7:UInt32} = "9"
-- {p8:UInt16} = "100"
-- {p9:UInt32} = "2"
-- {p10:UInt64} = "18446744073709551615"
-- {p11:UInt8} = "5"
-- {p12:UInt8} = "9"
-- {p13:UInt8} = "10"
-- {p14:UInt8} = "2"
-- {p15:UInt8} = "64"
-- {p16:UInt8} = "8"
-- {p17:UInt8} = "0"
-- {p18:UInt64} = "50331728"
-- {p19:UInt8} = "184"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column protocol key UInt8 protocol
-- column flows value UInt64 flows
