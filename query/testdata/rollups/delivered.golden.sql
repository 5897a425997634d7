SELECT
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `src_vm`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `src_vm_name`,
  k2 AS `dst_vm`,
  dictGetOrDefault('entity_now', 'name', k2, '') AS `dst_vm_name`,
  toUInt64(greatest(multiIf(r = 2, b_all, r = 1, b_sum - b_sum_top, b_sum), 0)) AS `bytes`,
  if(total <= 0, 0, toUInt64(greatest(multiIf(r = 2, b_all, r = 1, b_sum - b_sum_top, b_sum), 0)) / total) AS `share`
FROM (
  SELECT
    *,
    sumIf(b_sum, is_total = 0) OVER () AS b_sum_top,
    maxIf(b_all, is_total = 1) OVER () AS total
  FROM (
    SELECT
      grouping(k1) AS is_total,
      k1,
      k2,
      sum(b) AS b_sum,
      b_sum AS b_all
    FROM (
      SELECT
        src_vm AS k1,
        dst_vm AS k2,
        if(counted, toInt64(bytes), -toInt64(bytes)) AS b
      FROM flows_1m
      WHERE bucket >= fromUnixTimestamp({from:Int64})
        AND bucket < fromUnixTimestamp({to:Int64})
        AND if(counted, verdict IN ('unknown', 'allowed'), verdict IN ('denied', 'spoofed', 'invalid', 'unknown_port') AND (stage != 'ingress' OR dst_vm != 0))
    )
    GROUP BY GROUPING SETS ((k1, k2), ())
    ORDER BY is_total DESC, b_sum DESC, k1, k2
    LIMIT 11
  )
)
ARRAY JOIN if(is_total = 1, [2], [0]) AS r
WHERE r != 1 OR b_sum > b_sum_top
ORDER BY r, b_sum DESC, k1, k2
LIMIT 12

-- {from:Int64} = "1795510800"
-- {to:Int64} = "1795514400"
-- reads flows_1m (lived) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column src_vm key UInt64 src_vm
-- column src_vm_name name String src_vm
-- column dst_vm key UInt64 dst_vm
-- column dst_vm_name name String dst_vm
-- column bytes value UInt64 bytes
-- column share share Float64
-- note the newest minutes read low until the flows that lived in them have expired
