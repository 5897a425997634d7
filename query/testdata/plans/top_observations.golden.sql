SELECT
  'top' AS `row`,
  k1 AS `host`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `host_name`,
  k2 AS `pool`,
  dictGetOrDefault('entity_now', 'name', k2, '') AS `pool_name`,
  k3 AS `network`,
  dictGetOrDefault('entity_now', 'name', k3, '') AS `network_name`,
  b_sum AS `bytes`
FROM (
  SELECT
    k1,
    k2,
    k3,
    sum(b) AS b_sum
  FROM (
    SELECT
      host AS k1,
      pool AS k2,
      network AS k3,
      bytes * sampling_rate AS b
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
  )
  GROUP BY k1, k2, k3
  ORDER BY b_sum DESC, k1, k2, k3
  LIMIT 10
)
ORDER BY b_sum DESC, k1, k2, k3
LIMIT 10

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column host key UInt64 host
-- column host_name name String host
-- column pool key UInt64 pool
-- column pool_name name String pool
-- column network key UInt64 network
-- column network_name name String network
-- column bytes value UInt64 bytes
