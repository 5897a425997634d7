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
      AND ((src_port IN ({p1:UInt16}, {p2:UInt16}) OR src_port BETWEEN {p3:UInt16} AND {p4:UInt16}) OR (dst_port IN ({p1:UInt16}, {p2:UInt16}) OR dst_port BETWEEN {p3:UInt16} AND {p4:UInt16}))
      AND src_port > {p5:UInt16}
      AND NOT (dst_port BETWEEN {p6:UInt16} AND {p5:UInt16})
      AND if(if(least(src_port, dst_port) = 0, greatest(src_port, dst_port), least(src_port, dst_port)) < 32768 OR if(least(src_port, dst_port) = 0, greatest(src_port, dst_port), least(src_port, dst_port)) IN (47808, 51820), if(least(src_port, dst_port) = 0, greatest(src_port, dst_port), least(src_port, dst_port)), 0) = {p7:UInt16}
  )
  GROUP BY k1
  ORDER BY f_sum DESC, k1
  LIMIT 10
)
ORDER BY f_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- {p1:UInt16} = "80"
-- {p2:UInt16} = "443"
-- {p3:UInt16} = "8000"
-- {p4:UInt16} = "8100"
-- {p5:UInt16} = "1023"
-- {p6:UInt16} = "0"
-- {p7:UInt16} = "53"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column protocol key UInt8 protocol
-- column flows value UInt64 flows
