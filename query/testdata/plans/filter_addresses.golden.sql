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
      AND counted
      AND ((src_addr = {p3:IPv6} OR src_addr BETWEEN {p1:IPv6} AND {p2:IPv6} OR src_addr BETWEEN {p4:IPv6} AND {p5:IPv6} OR src_addr BETWEEN {p6:IPv6} AND {p7:IPv6}) OR (dst_addr = {p3:IPv6} OR dst_addr BETWEEN {p1:IPv6} AND {p2:IPv6} OR dst_addr BETWEEN {p4:IPv6} AND {p5:IPv6} OR dst_addr BETWEEN {p6:IPv6} AND {p7:IPv6}))
      AND NOT (src_addr = {p8:IPv6})
      AND exporter = {p3:IPv6}
  )
  GROUP BY k1
  ORDER BY f_sum DESC, k1
  LIMIT 10
)
ORDER BY f_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- {p1:IPv6} = "::ffff:10.0.0.0"
-- {p2:IPv6} = "::ffff:10.255.255.255"
-- {p3:IPv6} = "::ffff:192.0.2.1"
-- {p4:IPv6} = "2001:db8::"
-- {p5:IPv6} = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"
-- {p6:IPv6} = "::ffff:192.0.2.5"
-- {p7:IPv6} = "::ffff:192.0.2.9"
-- {p8:IPv6} = "::1"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column protocol key UInt8 protocol
-- column flows value UInt64 flows
