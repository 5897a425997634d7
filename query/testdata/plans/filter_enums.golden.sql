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
      AND (CAST(verdict, 'Int8') = {p1:Int8} OR CAST(direction, 'Int8') IN ({p2:Int8}, {p1:Int8}) OR NOT (CAST(stage, 'Int8') = {p3:Int8}) OR CAST(observed, 'Int8') = {p2:Int8} OR CAST(bytes_layer, 'Int8') = {p4:Int8})
  )
  GROUP BY k1
  ORDER BY f_sum DESC, k1
  LIMIT 10
)
ORDER BY f_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- {p1:Int8} = "2"
-- {p2:Int8} = "1"
-- {p3:Int8} = "0"
-- {p4:Int8} = "3"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column protocol key UInt8 protocol
-- column flows value UInt64 flows
