SELECT
  'top' AS `row`,
  k1 AS `protocol`,
  f_sum AS `flows`
FROM (
  SELECT
    k1,
    sum(f) AS f_sum
  FROM (
    SELECT
      protocol AS k1,
      1 AS f
    FROM flows
    WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
      AND time_received < fromUnixTimestamp64Milli({to:Int64})
      AND counted
      AND (((has(src_groups, {p1:UInt64}) OR empty(src_groups) OR hasAny(src_groups, (SELECT groupUniqArray(id) FROM entity_now WHERE kind IN ('address_group', 'vm_group') AND (name = {p2:String} OR key = {p2:String})))) OR (has(dst_groups, {p1:UInt64}) OR empty(dst_groups) OR hasAny(dst_groups, (SELECT groupUniqArray(id) FROM entity_now WHERE kind IN ('address_group', 'vm_group') AND (name = {p2:String} OR key = {p2:String}))))) OR hasAny(src_groups, (SELECT groupUniqArray(id) FROM entity_now WHERE kind IN ('address_group', 'vm_group') AND (name = {p3:String} OR key = {p3:String}))) OR (hasAny(dst_groups, (SELECT groupUniqArray(id) FROM entity_now WHERE kind IN ('address_group', 'vm_group') AND name ILIKE {p4:String})) AND NOT ((hasAny(src_groups, (SELECT groupUniqArray(id) FROM entity_now WHERE kind IN ('address_group', 'vm_group') AND (name = {p5:String} OR key = {p5:String}))) OR hasAny(dst_groups, (SELECT groupUniqArray(id) FROM entity_now WHERE kind IN ('address_group', 'vm_group') AND (name = {p5:String} OR key = {p5:String})))))))
  )
  GROUP BY k1
  ORDER BY f_sum DESC, k1
  LIMIT 10
)
ORDER BY f_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- {p1:UInt64} = "7"
-- {p2:String} = "databases"
-- {p3:String} = "x"
-- {p4:String} = "db-%"
-- {p5:String} = "a"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column protocol key UInt8 protocol
-- column flows value UInt64 flows
-- name group [address_group vm_group] "databases" at 11
-- name src_group [address_group vm_group] "x" at 47
-- name group [address_group vm_group] "a" at 91
