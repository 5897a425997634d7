WITH best AS (
  SELECT k1
  FROM (
    SELECT
      toDateTime(intDiv(toUnixTimestamp(time_received), 300) * 300, 'UTC') AS t,
      network AS k1,
      if(counted, toInt64(bytes * sampling_rate), -toInt64(bytes * sampling_rate)) AS b
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
      AND if(counted, verdict IN ('unknown', 'allowed'), verdict IN ('denied', 'spoofed', 'invalid', 'unknown_port') AND (stage != 'ingress' OR dst_vm != 0))
      AND protocol = {p1:UInt8}
  )
  GROUP BY k1
  ORDER BY sum(b) DESC, k1
  LIMIT 10
)
SELECT
  t AS `time`,
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `network`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `network_name`,
  toUInt64(greatest(if(r = 2, b_all, b_sum), 0)) * 8 / 300 AS `bps`
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
        toDateTime(intDiv(toUnixTimestamp(time_received), 300) * 300, 'UTC') AS t,
        network AS k1,
        if(counted, toInt64(bytes * sampling_rate), -toInt64(bytes * sampling_rate)) AS b
      FROM flows
      WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
        AND time_received < fromUnixTimestamp64Milli({to:Int64})
        AND if(counted, verdict IN ('unknown', 'allowed'), verdict IN ('denied', 'spoofed', 'invalid', 'unknown_port') AND (stage != 'ingress' OR dst_vm != 0))
        AND protocol = {p1:UInt8}
    )
    GROUP BY GROUPING SETS ((t, is_best, c1), (t))
  )
)
WHERE r != 1
ORDER BY t, r, b_sum DESC, k1
LIMIT 156

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- {p1:UInt8} = "6"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z by 5m0s
-- column time time DateTime('UTC')
-- column row row String
-- column network key UInt64 network
-- column network_name name String network
-- column bps value Float64 bps
