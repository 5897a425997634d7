SELECT
  'top' AS `row`,
  k1 AS `rule`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `rule_name`,
  p_sum AS `packets`
FROM (
  SELECT
    k1,
    sum(p) AS p_sum
  FROM (
    SELECT
      rule_id AS k1,
      packets AS p
    FROM flows_1m
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
      AND verdict IN ('denied', 'spoofed', 'invalid', 'unknown_port')
  )
  GROUP BY k1
  ORDER BY p_sum DESC, k1
  LIMIT 10
)
ORDER BY p_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795510800"
-- {to:Int64} = "1795514400"
-- reads flows_1m (lived) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column rule key UInt64 rule
-- column rule_name name String rule
-- column packets value UInt64 packets
-- note the newest minutes read low until the flows that lived in them have expired
