SELECT
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `protocol`,
  multiIf(r = 2, b_all, r = 1, toUInt64(b_sum - b_sum_top), b_sum) AS `bytes`,
  if(total = 0, 0, multiIf(r = 2, b_all, r = 1, toUInt64(b_sum - b_sum_top), b_sum) / total) AS `share`
FROM (
  SELECT
    *,
    sumIf(b_sum, is_total = 0) OVER () AS b_sum_top,
    maxIf(b_all, is_total = 1) OVER () AS total
  FROM (
    SELECT
      grouping(k1) AS is_total,
      k1,
      sum(b) AS b_sum,
      b_sum AS b_all
    FROM (
      SELECT
        protocol AS k1,
        bytes AS b
      FROM flows_group_1m
      WHERE bucket >= fromUnixTimestamp({from:Int64})
        AND bucket < fromUnixTimestamp({to:Int64})
        AND counted
        AND end IN ('out', 'both')
        AND group IN (SELECT id FROM entity_now WHERE kind IN ('address_group', 'vm_group') AND (name = {p1:String} OR key = {p1:String}))
        AND NOT (protocol = {p2:UInt8})
    )
    GROUP BY GROUPING SETS ((k1), ())
    ORDER BY is_total DESC, b_sum DESC, k1
    LIMIT 11
  )
)
ARRAY JOIN if(is_total = 1, [2], [0]) AS r
WHERE r != 1 OR b_sum > b_sum_top
ORDER BY r, b_sum DESC, k1
LIMIT 12

-- {from:Int64} = "1795510800"
-- {to:Int64} = "1795514400"
-- {p1:String} = "databases"
-- {p2:UInt8} = "1"
-- reads flows_group_1m (lived) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column protocol key UInt8 protocol
-- column bytes value UInt64 bytes
-- column share share Float64
-- name group [address_group vm_group] "databases" at 9
-- note the newest minutes read low until the flows that lived in them have expired
