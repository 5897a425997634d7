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
      AND (src_vm IN (SELECT id FROM entity_now WHERE kind = 'vm' AND (name = {p1:String} OR key = {p1:String})) OR dst_vm IN (SELECT id FROM entity_now WHERE kind = 'vm' AND (name = {p1:String} OR key = {p1:String})))
      AND NOT (src_vm IN (SELECT id FROM entity_now WHERE kind = 'vm' AND (name = {p2:String} OR key = {p2:String})))
      AND (dst_vm IN ({p3:UInt64}, 0) OR dst_vm IN (SELECT id FROM entity_now WHERE kind = 'vm' AND (name = {p4:String} OR key = {p4:String})))
      AND NOT (network IN (SELECT id FROM entity_now WHERE kind = 'network' AND (name = {p5:String} OR key = {p5:String})))
  )
  GROUP BY k1
  ORDER BY f_sum DESC, k1
  LIMIT 10
)
ORDER BY f_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- {p1:String} = "web-01"
-- {p2:String} = "Ünï cödé"
-- {p3:UInt64} = "42"
-- {p4:String} = "db-1"
-- {p5:String} = "prod"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column protocol key UInt8 protocol
-- column flows value UInt64 flows
-- name vm [vm] "web-01" at 6
-- name src_vm [vm] "Ünï cödé" at 27
-- name dst_vm [vm] "db-1" at 57
-- name network [network] "prod" at 94
