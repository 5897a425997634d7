SELECT
  'top' AS `row`,
  k1 AS `src_vm`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `src_vm_name`,
  b_sum AS `bytes`
FROM (
  SELECT
    k1,
    sum(b) AS b_sum
  FROM (
    SELECT
      src_vm AS k1,
      bytes AS b
    FROM flows_1m
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({at1:Int64})
      AND counted
    UNION ALL
    SELECT
      src_vm AS k1,
      bytes AS b
    FROM flows_1h
    WHERE bucket >= fromUnixTimestamp({at1:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
      AND counted
  )
  GROUP BY k1
  ORDER BY b_sum DESC, k1
  LIMIT 10
)
ORDER BY b_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795167000"
-- {at1:Int64} = "1795168800"
-- {to:Int64} = "1795514400"
-- reads flows_1h (lived) from 2026-11-20T09:30:00Z to 2026-11-24T10:00:00Z
-- part flows_1m from 2026-11-20T09:30:00Z to 2026-11-20T10:00:00Z
-- part flows_1h from 2026-11-20T10:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column src_vm key UInt64 src_vm
-- column src_vm_name name String src_vm
-- column bytes value UInt64 bytes
-- note the range is widened to whole buckets of 1h
-- note the newest minutes read low until the flows that lived in them have expired
