WITH best AS (
  SELECT k1
  FROM (
    SELECT
      toDateTime(intDiv(toUnixTimestamp(time_received), 600) * 600, 'UTC') AS t,
      dst_addr AS k1,
      1 AS f,
      bytes * sampling_rate AS b
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
      AND counted
  )
  GROUP BY k1
  ORDER BY sum(f) DESC, k1
  LIMIT 10
)
SELECT
  t AS `time`,
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `dst_addr`,
  if(r = 2, f_all, f_sum) AS `flows`,
  if(r = 2, b_all, b_sum) AS `bytes`
FROM (
  SELECT
    *,
    multiIf(is_total = 1, 2, is_best, 0, 1) AS r,
    c1 AS k1
  FROM (
    SELECT
      grouping(is_best) AS is_total,
      t,
      (k1) IN (best) AS is_best,
      if(is_best, k1, defaultValueOfArgumentType(k1)) AS c1,
      sum(f) AS f_sum,
      f_sum AS f_all,
      sum(b) AS b_sum,
      b_sum AS b_all
    FROM (
      SELECT
        toDateTime(intDiv(toUnixTimestamp(time_received), 600) * 600, 'UTC') AS t,
        dst_addr AS k1,
        1 AS f,
        bytes * sampling_rate AS b
      FROM flows
      WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
        AND time_received < fromUnixTimestamp64Milli({to:Int64})
        AND counted
    )
    GROUP BY GROUPING SETS ((t, is_best, c1), (t))
  )
)
WHERE r != 1
ORDER BY t, r, f_sum DESC, k1
LIMIT 84

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z by 10m0s
-- column time time DateTime('UTC')
-- column row row String
-- column dst_addr key IPv6 dst_addr
-- column flows value UInt64 flows
-- column bytes value UInt64 bytes
