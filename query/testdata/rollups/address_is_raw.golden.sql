SELECT
  'top' AS `row`,
  k1 AS `dst_addr`,
  b_sum AS `bytes`
FROM (
  SELECT
    k1,
    sum(b) AS b_sum
  FROM (
    SELECT
      dst_addr AS k1,
      bytes * sampling_rate AS b
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
      AND counted
  )
  GROUP BY k1
  ORDER BY b_sum DESC, k1
  LIMIT 10
)
ORDER BY b_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795167010000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-20T09:30:10Z to 2026-11-24T10:00:00Z
-- column row row String
-- column dst_addr key IPv6 dst_addr
-- column bytes value UInt64 bytes
