SELECT
  'total' AS `row`,
  b_sum AS `bytes`,
  b_sum * 8 / 3600 AS `bps`,
  f_sum / 3600 AS `fps`,
  p_sum / 3600 AS `pps`
FROM (
  SELECT
    sum(b) AS b_sum,
    sum(f) AS f_sum,
    sum(p) AS p_sum
  FROM (
    SELECT
      bytes * sampling_rate AS b,
      1 AS f,
      packets * sampling_rate AS p
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
      AND counted
  )
)
LIMIT 1

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column bytes value UInt64 bytes
-- column bps value Float64 bps
-- column fps value Float64 fps
-- column pps value Float64 pps
