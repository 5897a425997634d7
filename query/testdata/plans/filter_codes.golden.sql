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
      AND protocol IN ({p1:UInt8}, {p2:UInt8}, {p3:UInt8})
      AND ethertype = {p4:UInt16}
      AND (bitShiftRight(tos, 2) = {p5:UInt8} OR bitShiftRight(tos, 2) BETWEEN {p6:UInt8} AND {p7:UInt8})
      AND (src_mac = {p8:UInt64} OR dst_mac = {p8:UInt64})
  )
  GROUP BY k1
  ORDER BY f_sum DESC, k1
  LIMIT 10
)
ORDER BY f_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- {p1:UInt8} = "6"
-- {p2:UInt8} = "17"
-- {p3:UInt8} = "47"
-- {p4:UInt16} = "34525"
-- {p5:UInt8} = "46"
-- {p6:UInt8} = "0"
-- {p7:UInt8} = "7"
-- {p8:UInt64} = "90520731923542"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column protocol key UInt8 protocol
-- column flows value UInt64 flows
