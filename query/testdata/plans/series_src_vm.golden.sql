WITH best AS (
  SELECT k1
  FROM (
    SELECT
      toDateTime(intDiv(toUnixTimestamp(time_received), 60) * 60, 'UTC') AS t,
      src_vm AS k1,
      bytes * sampling_rate AS b
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
      AND counted
  )
  GROUP BY k1
  ORDER BY sum(b) DESC, k1
  LIMIT 5
)
SELECT
  t AS `time`,
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `src_vm`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `src_vm_name`,
  b_sum * 8 / 60 AS `bps`
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
      b_sum AS b_all
    FROM (
      SELECT
        toDateTime(intDiv(toUnixTimestamp(time_received), 60) * 60, 'UTC') AS t,
        src_vm AS k1,
        bytes * sampling_rate AS b
      FROM flows
      WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
        AND time_received < fromUnixTimestamp64Milli({to:Int64})
        AND counted
    )
    WHERE is_best
    GROUP BY GROUPING SETS ((t, is_best, c1))
  )
)
ORDER BY t, r, b_sum DESC, k1
LIMIT 427

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z by 1m0s
-- column time time DateTime('UTC')
-- column row row String
-- column src_vm key UInt64 src_vm
-- column src_vm_name name String src_vm
-- column bps value Float64 bps
