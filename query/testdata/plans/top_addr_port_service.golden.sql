SELECT
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `addr`,
  k2 AS `port`,
  k3 AS `service`,
  multiIf(r = 2, b_all, r = 1, toUInt64(b_sum - b_sum_top), b_sum) AS `bytes`
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
      k3,
      sum(b) AS b_sum,
      sumIf(b, is_first) AS b_all
    FROM (
      SELECT
        arrayJoin(arrayMap((x1, i1) -> (x1, i1 = 1), if(src_addr = dst_addr OR dst_addr = defaultValueOfArgumentType(src_addr), [src_addr], if(src_addr = defaultValueOfArgumentType(src_addr), [dst_addr], [src_addr, dst_addr])) AS j1s, arrayEnumerate(j1s))) AS j1,
        j1.1 AS k1,
        arrayJoin(arrayMap((x2, i2) -> (x2, i2 = 1), if(src_port = dst_port OR dst_port = defaultValueOfArgumentType(src_port), [src_port], if(src_port = defaultValueOfArgumentType(src_port), [dst_port], [src_port, dst_port])) AS j2s, arrayEnumerate(j2s))) AS j2,
        j2.1 AS k2,
        if(if(least(src_port, dst_port) = 0, greatest(src_port, dst_port), least(src_port, dst_port)) < 32768 OR if(least(src_port, dst_port) = 0, greatest(src_port, dst_port), least(src_port, dst_port)) IN (47808, 51820), if(least(src_port, dst_port) = 0, greatest(src_port, dst_port), least(src_port, dst_port)), 0) AS k3,
        j1.2 AND j2.2 AS is_first,
        bytes * sampling_rate AS b
      FROM flows
      WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
        AND time_received < fromUnixTimestamp64Milli({to:Int64})
        AND counted
    )
    GROUP BY GROUPING SETS ((k1, k2, k3), ())
    ORDER BY is_total DESC, b_sum DESC, k1, k2, k3
    LIMIT 11
  )
)
ARRAY JOIN if(is_total = 1, [1], [0]) AS r
WHERE r != 1 OR b_sum > b_sum_top
ORDER BY r, b_sum DESC, k1, k2, k3
LIMIT 12

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column addr key IPv6 addr
-- column port key UInt16 port
-- column service key UInt16 service
-- column bytes value UInt64 bytes
-- note a flow is in the row of every addr that it has: rows add up to more than the total
-- note a flow is in the row of every port that it has: rows add up to more than the total
