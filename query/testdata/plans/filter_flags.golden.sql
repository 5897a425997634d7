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
      AND bitAnd(tcp_flags, {p1:UInt16}) = {p1:UInt16}
      AND NOT (bitAnd(tcp_flags, {p2:UInt16}) = {p2:UInt16})
      AND tcp_flags IN ({p3:UInt16}, {p4:UInt16}, {p1:UInt16})
      AND counted
      AND NOT (sampling_assumed)
      AND NOT (NOT sampling_assumed)
  )
  GROUP BY k1
  ORDER BY f_sum DESC, k1
  LIMIT 10
)
ORDER BY f_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- {p1:UInt16} = "18"
-- {p2:UInt16} = "4"
-- {p3:UInt16} = "0"
-- {p4:UInt16} = "2"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column protocol key UInt8 protocol
-- column flows value UInt64 flows
