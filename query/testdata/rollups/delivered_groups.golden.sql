SELECT
  'top' AS `row`,
  k1 AS `group`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `group_name`,
  toUInt64(greatest(b_sum, 0)) AS `bytes`
FROM (
  SELECT
    k1,
    sum(b) AS b_sum
  FROM (
    SELECT
      arrayJoin(arrayMap((x1, i1) -> (x1, i1 = 1), if(empty(src_groups) AND empty(dst_groups), [toUInt64(0)], arrayDistinct(arrayConcat(src_groups, dst_groups))) AS j1s, arrayEnumerate(j1s))) AS j1,
      j1.1 AS k1,
      j1.2 AS is_first,
      if(counted, toInt64(bytes * sampling_rate), -toInt64(bytes * sampling_rate)) AS b
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
      AND if(counted, verdict IN ('unknown', 'allowed'), verdict IN ('denied', 'spoofed', 'invalid', 'unknown_port') AND (stage != 'ingress' OR dst_vm != 0))
  )
  GROUP BY k1
  ORDER BY b_sum DESC, k1
  LIMIT 10
)
ORDER BY b_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column group key UInt64 group
-- column group_name name String group
-- column bytes value UInt64 bytes
-- note a flow is in the row of every group that it has: rows add up to more than the total
