SELECT
  'top' AS `row`,
  k1 AS `vm`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `vm_name`,
  b_sum * 8 / 3600 AS `bps`
FROM (
  SELECT
    k1,
    sum(b) AS b_sum
  FROM (
    SELECT
      arrayJoin(arrayMap((x1, i1) -> (x1, i1 = 1), if(src_vm = dst_vm OR dst_vm = defaultValueOfArgumentType(src_vm), [src_vm], if(src_vm = defaultValueOfArgumentType(src_vm), [dst_vm], [src_vm, dst_vm])) AS j1s, arrayEnumerate(j1s))) AS j1,
      j1.1 AS k1,
      j1.2 AS is_first,
      bytes AS b
    FROM flows_1m
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
      AND counted
      AND network IN (SELECT id FROM entity_now WHERE kind = 'network' AND (name = {p1:String} OR key = {p1:String}))
  )
  GROUP BY k1
  ORDER BY b_sum DESC, k1
  LIMIT 10
)
ORDER BY b_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795510800"
-- {to:Int64} = "1795514400"
-- {p1:String} = "prod"
-- reads flows_1m (lived) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column vm key UInt64 vm
-- column vm_name name String vm
-- column bps value Float64 bps
-- name network [network] "prod" at 11
-- note the newest minutes read low until the flows that lived in them have expired
-- note a flow is in the row of every vm that it has: rows add up to more than the total
