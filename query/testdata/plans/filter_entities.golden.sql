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
      AND (counted OR verdict NOT IN ('unknown', 'allowed'))
      AND (src_vif IN (SELECT id FROM entity_now WHERE kind = 'vif' AND (name = {p1:String} OR key = {p1:String})) OR dst_vif IN (SELECT id FROM entity_now WHERE kind = 'vif' AND (name = {p1:String} OR key = {p1:String})))
      AND bridge IN (SELECT id FROM entity_now WHERE kind = 'bridge' AND (name = {p2:String} OR key = {p2:String}))
      AND host IN (SELECT id FROM entity_now WHERE kind = 'host' AND (name = {p3:String} OR key = {p3:String}))
      AND pool IN (SELECT id FROM entity_now WHERE kind = 'pool' AND (name = {p4:String} OR key = {p4:String}))
      AND rule_id IN (SELECT id FROM entity_now WHERE kind = 'rule' AND (name = {p5:String} OR key = {p5:String}))
      AND src_vif = 0
      AND NOT (dst_vif = 0)
  )
  GROUP BY k1
  ORDER BY f_sum DESC, k1
  LIMIT 10
)
ORDER BY f_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795510800000"
-- {to:Int64} = "1795514400000"
-- {p1:String} = "a"
-- {p2:String} = "xen-1/xenbr0"
-- {p3:String} = "xen-1"
-- {p4:String} = "p"
-- {p5:String} = "r"
-- reads flows (received) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column protocol key UInt8 protocol
-- column flows value UInt64 flows
-- name vif [vif] "a" at 7
-- name bridge [bridge] "xen-1/xenbr0" at 22
-- name host [host] "xen-1" at 46
-- name pool [pool] "p" at 63
-- name rule [rule] "r" at 76
