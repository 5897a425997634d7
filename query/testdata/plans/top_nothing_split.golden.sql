SELECT
  'total' AS `row`,
  b_sum AS `bytes`,
  b_in AS `bytes_in`,
  b_out AS `bytes_out`
FROM (
  SELECT
    sum(b) AS b_sum,
    sumIf(b, is_in) AS b_in,
    sumIf(b, is_out) AS b_out
  FROM (
    SELECT
      dst_addr BETWEEN {p1:IPv6} AND {p2:IPv6} AS is_in,
      src_addr BETWEEN {p1:IPv6} AND {p2:IPv6} AS is_out,
      bytes * sampling_rate AS b
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
      AND counted
      AND (src_addr BETWEEN {p1:IPv6} AND {p2:IPv6} OR dst_addr BETWEEN {p1:IPv6} AND {p2:IPv6})
  )
)
LIMIT 1

-- {p1:IPv6} = "::ffff:10.0.0.0"
-- {p2:IPv6} = "::ffff:10.255.255.255"
-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column bytes value UInt64 bytes
-- column bytes_in value UInt64 bytes
-- column bytes_out value UInt64 bytes
