SELECT
  'top' AS `row`,
  k1 AS `src_vm`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `src_vm_name`,
  k2 AS `dst_vm`,
  dictGetOrDefault('entity_now', 'name', k2, '') AS `dst_vm_name`,
  k3 AS `rule`,
  dictGetOrDefault('entity_now', 'name', k3, '') AS `rule_name`,
  p_sum AS `packets`,
  s_first AS `first_seen`,
  s_last AS `last_seen`
FROM (
  SELECT
    k1,
    k2,
    k3,
    sum(p) AS p_sum,
    min(s) AS s_first,
    max(s) AS s_last
  FROM (
    SELECT
      src_vm AS k1,
      dst_vm AS k2,
      rule_id AS k3,
      packets AS p,
      toDateTime(bucket, 'UTC') AS s
    FROM flows_1h
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({at1:Int64})
      AND verdict IN ('denied', 'spoofed', 'invalid', 'unknown_port')
    UNION ALL
    SELECT
      src_vm AS k1,
      dst_vm AS k2,
      rule_id AS k3,
      packets AS p,
      toDateTime(bucket, 'UTC') AS s
    FROM flows_1m
    WHERE bucket >= fromUnixTimestamp({at1:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
      AND verdict IN ('denied', 'spoofed', 'invalid', 'unknown_port')
  )
  GROUP BY k1, k2, k3
  ORDER BY p_sum DESC, k1, k2, k3
  LIMIT 5
)
ORDER BY p_sum DESC, k1, k2, k3
LIMIT 5

-- {from:Int64} = "1795665600"
-- {at1:Int64} = "1795687200"
-- {to:Int64} = "1795687260"
-- table, at most 7 rows
-- column row row
-- column src_vm key of src_vm
-- column src_vm_name name
-- column dst_vm key of dst_vm
-- column dst_vm_name name
-- column rule key of rule
-- column rule_name name
-- column packets value short or 0
-- column first_seen time
-- column last_seen time
-- note the newest minutes read low until the flows that lived in them have expired
