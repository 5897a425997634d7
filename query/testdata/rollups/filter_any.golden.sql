SELECT
  'top' AS `row`,
  k1 AS `network`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `network_name`,
  b_sum AS `bytes`
FROM (
  SELECT
    k1,
    sum(b) AS b_sum
  FROM (
    SELECT
      network AS k1,
      bytes AS b
    FROM flows_1h
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
      AND counted
      AND true
      AND true
      AND (true OR NOT (protocol = {p1:UInt8} AND false))
  )
  GROUP BY k1
  ORDER BY b_sum DESC, k1
  LIMIT 10
)
ORDER BY b_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795500000"
-- {to:Int64} = "1795514400"
-- {p1:UInt8} = "17"
-- reads flows_1h (lived) from 2026-11-24T06:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column network key UInt64 network
-- column network_name name String network
-- column bytes value UInt64 bytes
-- note the newest minutes read low until the flows that lived in them have expired
