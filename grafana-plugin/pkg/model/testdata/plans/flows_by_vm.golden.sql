WITH best AS (
  SELECT k1
  FROM (
    SELECT
      toDateTime(intDiv(toUnixTimestamp(time_received), 300) * 300, 'UTC') AS t,
      dst_vm AS k1,
      bytes * sampling_rate AS b,
      packets * sampling_rate AS p
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
      AND counted
      AND true
      AND (src_port = {p1:UInt16} OR dst_port = {p1:UInt16})
  )
  GROUP BY k1
  ORDER BY sum(b) DESC, k1
  LIMIT 5
)
SELECT
  t AS `time`,
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `vm`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `vm_name`,
  if(r = 2, b_all, b_sum) * 8 / 300 AS `bps`,
  if(r = 2, p_all, p_sum) / 300 AS `pps`
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
      sum(b) AS b_sum,
      b_sum AS b_all,
      sum(p) AS p_sum,
      p_sum AS p_all
    FROM (
      SELECT
        toDateTime(intDiv(toUnixTimestamp(time_received), 300) * 300, 'UTC') AS t,
        dst_vm AS k1,
        bytes * sampling_rate AS b,
        packets * sampling_rate AS p
      FROM flows
      WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
        AND time_received < fromUnixTimestamp64Milli({to:Int64})
        AND counted
        AND true
        AND (src_port = {p1:UInt16} OR dst_port = {p1:UInt16})
    )
    GROUP BY GROUPING SETS ((t, is_best, c1), (t))
  )
)
ORDER BY t, r, b_sum DESC, k1
LIMIT 504

-- {from:Int64} = "1795665600000"
-- {to:Int64} = "1795686900000"
-- {p1:UInt16} = "443"
-- timeseries, at most 504 rows, from 2026-11-26T04:00:00Z to 2026-11-26T09:55:00Z by 5m0s
-- column time time
-- column row row
-- column vm key of vm
-- column vm_name name
-- column bps value bps or 0
-- column pps value pps or 0
