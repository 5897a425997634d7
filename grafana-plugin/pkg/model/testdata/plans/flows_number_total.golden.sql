SELECT
  'total' AS `row`,
  p_sum / 21600 AS `pps`
FROM (
  SELECT
    sum(p) AS p_sum
  FROM (
    SELECT
      packets AS p
    FROM flows_rx_1m
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
      AND verdict IN ('denied', 'spoofed', 'invalid', 'unknown_port')
  )
)
LIMIT 1

-- {from:Int64} = "1795665540"
-- {to:Int64} = "1795687140"
-- number, at most 12 rows, whole
-- column row row
-- column pps value pps or 0
