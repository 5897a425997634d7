SELECT
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `dst_vm`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `dst_vm_name`,
  toUInt64(greatest(multiIf(r = 2, b_all, r = 1, b_sum - b_sum_top, b_sum), 0)) AS `bytes`,
  toUInt64(greatest(multiIf(r = 2, p_all, r = 1, p_sum - p_sum_top, p_sum), 0)) / 3600 AS `pps`,
  if(total <= 0, 0, toUInt64(greatest(multiIf(r = 2, b_all, r = 1, b_sum - b_sum_top, b_sum), 0)) / total) AS `share`
FROM (
  SELECT
    *,
    sumIf(b_sum, is_total = 0) OVER () AS b_sum_top,
    sumIf(p_sum, is_total = 0) OVER () AS p_sum_top,
    maxIf(b_all, is_total = 1) OVER () AS total
  FROM (
    SELECT
      grouping(k1) AS is_total,
      k1,
      sum(b) AS b_sum,
      b_sum AS b_all,
      sum(p) AS p_sum,
      p_sum AS p_all
    FROM (
      SELECT
        dst_vm AS k1,
        if(counted, toInt64(bytes * sampling_rate), -toInt64(bytes * sampling_rate)) AS b,
        if(counted, toInt64(packets * sampling_rate), -toInt64(packets * sampling_rate)) AS p
      FROM flows
      WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
        AND time_received < fromUnixTimestamp64Milli({to:Int64})
        AND if(counted, verdict IN ('unknown', 'allowed'), verdict IN ('denied', 'spoofed', 'invalid', 'unknown_port') AND (stage != 'ingress' OR dst_vm != 0))
    )
    GROUP BY GROUPING SETS ((k1), ())
    ORDER BY is_total DESC, b_sum DESC, k1
    LIMIT 11
  )
)
ARRAY JOIN if(is_total = 1, [1, 2], [0]) AS r
WHERE r != 1 OR b_sum > b_sum_top
ORDER BY r, b_sum DESC, k1
LIMIT 12

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column dst_vm key UInt64 dst_vm
-- column dst_vm_name name String dst_vm
-- column bytes value UInt64 bytes
-- column pps value Float64 pps
-- column share share Float64
