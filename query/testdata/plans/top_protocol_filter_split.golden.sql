SELECT
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `protocol`,
  multiIf(r = 2, b_all, r = 1, toUInt64(b_sum - b_sum_top), b_sum) AS `bytes`,
  multiIf(r = 2, b_in, r = 1, toUInt64(b_in - b_in_top), b_in) AS `bytes_in`,
  multiIf(r = 2, b_out, r = 1, toUInt64(b_out - b_out_top), b_out) AS `bytes_out`,
  if(total = 0, 0, multiIf(r = 2, b_all, r = 1, toUInt64(b_sum - b_sum_top), b_sum) / total) AS `share`
FROM (
  SELECT
    *,
    sumIf(b_sum, is_total = 0) OVER () AS b_sum_top,
    sumIf(b_in, is_total = 0) OVER () AS b_in_top,
    sumIf(b_out, is_total = 0) OVER () AS b_out_top,
    maxIf(b_all, is_total = 1) OVER () AS total
  FROM (
    SELECT
      grouping(k1) AS is_total,
      k1,
      sum(b) AS b_sum,
      sumIf(b, is_in) AS b_in,
      sumIf(b, is_out) AS b_out,
      b_sum AS b_all
    FROM (
      SELECT
        protocol AS k1,
        (dst_vm IN (SELECT id FROM entity_now WHERE kind = 'vm' AND (name = {p1:String} OR key = {p1:String})) OR hasAny(dst_groups, (SELECT groupUniqArray(id) FROM entity_now WHERE kind IN ('address_group', 'vm_group') AND (name = {p2:String} OR key = {p2:String})))) AS is_in,
        (src_vm IN (SELECT id FROM entity_now WHERE kind = 'vm' AND (name = {p1:String} OR key = {p1:String})) OR hasAny(src_groups, (SELECT groupUniqArray(id) FROM entity_now WHERE kind IN ('address_group', 'vm_group') AND (name = {p2:String} OR key = {p2:String})))) AS is_out,
        bytes * sampling_rate AS b
      FROM flows
      WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
        AND time_received < fromUnixTimestamp64Milli({to:Int64})
        AND counted
        AND ((src_vm IN (SELECT id FROM entity_now WHERE kind = 'vm' AND (name = {p1:String} OR key = {p1:String})) OR dst_vm IN (SELECT id FROM entity_now WHERE kind = 'vm' AND (name = {p1:String} OR key = {p1:String}))) OR (hasAny(src_groups, (SELECT groupUniqArray(id) FROM entity_now WHERE kind IN ('address_group', 'vm_group') AND (name = {p2:String} OR key = {p2:String}))) OR hasAny(dst_groups, (SELECT groupUniqArray(id) FROM entity_now WHERE kind IN ('address_group', 'vm_group') AND (name = {p2:String} OR key = {p2:String})))))
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

-- {p1:String} = "web-01"
-- {p2:String} = "databases"
-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column protocol key UInt8 protocol
-- column bytes value UInt64 bytes
-- column bytes_in value UInt64 bytes
-- column bytes_out value UInt64 bytes
-- column share share Float64
-- name vm [vm] "web-01" at 6
-- name group [address_group vm_group] "databases" at 24
