SELECT
  'top' AS `row`,
  k1 AS `group`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `group_name`,
  b_sum AS `bytes`
FROM (
  SELECT
    k1,
    sum(b) AS b_sum
  FROM (
    SELECT
      group AS k1,
      bytes AS b
    FROM flows_group_1m
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
      AND verdict IN ('denied', 'spoofed', 'invalid', 'unknown_port')
      AND (group != 0 OR end = 'both')
  )
  GROUP BY k1
  ORDER BY b_sum DESC, k1
  LIMIT 10
)
ORDER BY b_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795510800"
-- {to:Int64} = "1795514400"
-- reads flows_group_1m (lived) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column group key UInt64 group
-- column group_name name String group
-- column bytes value UInt64 bytes
-- note the newest minutes read low until the flows that lived in them have expired
