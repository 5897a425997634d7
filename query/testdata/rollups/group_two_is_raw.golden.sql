SELECT
  'top' AS `row`,
  k1 AS `protocol`,
  b_sum AS `bytes`
FROM (
  SELECT
    k1,
    sum(b) AS b_sum
  FROM (
    SELECT
      protocol AS k1,
      bytes * sampling_rate AS b
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
      AND counted
      AND (hasAny(src_groups, (SELECT groupUniqArray(id) FROM entity_now WHERE kind IN ('address_group', 'vm_group') AND (name IN ({p1:String}, {p2:String}) OR key IN ({p1:String}, {p2:String})))) OR hasAny(dst_groups, (SELECT groupUniqArray(id) FROM entity_now WHERE kind IN ('address_group', 'vm_group') AND (name IN ({p1:String}, {p2:String}) OR key IN ({p1:String}, {p2:String})))))
  )
  GROUP BY k1
  ORDER BY b_sum DESC, k1
  LIMIT 10
)
ORDER BY b_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- {p1:String} = "a"
-- {p2:String} = "b"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column protocol key UInt8 protocol
-- column bytes value UInt64 bytes
-- name group [address_group vm_group] "a" at 11
-- name group [address_group vm_group] "b" at 14
