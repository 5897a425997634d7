SELECT
  toUInt32(instance) AS instance,
  toUInt64(rule_id) AS rule_id,
  rule,
  dictGetOrDefault('entity_now', 'name', toUInt64(scope), '') AS scope_name,
  tier,
  action,
  text,
  toBool(valid_to > fromUnixTimestamp64Milli({now:Int64}) AND instance > 255) AS in_force,
  egress,
  ingress,
  reply,
  system,
  packets,
  bytes,
  last_hit
FROM (
  SELECT
    instance,
    max(rule_id) AS rule_id,
    max(rule) AS rule,
    max(scope) AS scope,
    max(tier) AS tier,
    max(action) AS action,
    max(text) AS text,
    max(valid_to) AS valid_to,
    sum(egress) AS egress,
    sum(ingress) AS ingress,
    sum(reply) AS reply,
    sum(system) AS system,
    sum(packets) AS packets,
    sum(bytes) AS bytes,
    max(last_hit) AS last_hit
  FROM (
    SELECT * FROM (
      SELECT instance, rule_id, rule, scope, toString(tier) AS tier, toString(action) AS action, text, valid_to, 0 AS egress, 0 AS ingress, 0 AS reply, 0 AS system, 0 AS packets, 0 AS bytes, toDateTime(0, 'UTC') AS last_hit
      FROM rule_instances FINAL
      ORDER BY instance, valid_from DESC
      LIMIT 1 BY instance
    )
    UNION ALL
    SELECT rule_instance AS instance, rule_id, '' AS rule, 0 AS scope, '' AS tier, '' AS action, '' AS text, toDateTime64(0, 3, 'UTC') AS valid_to, sumIf(h.packets, h.stage = 'egress') AS egress, sumIf(h.packets, h.stage = 'ingress') AS ingress, sumIf(h.packets, h.stage = 'reply') AS reply, sumIf(h.packets, h.stage = 'system') AS system, sum(h.packets) AS packets, sum(h.bytes) AS bytes, toDateTime(0, 'UTC') AS last_hit
    FROM rule_hits_1m AS h FINAL
    WHERE minute >= fromUnixTimestamp({from:Int64}) AND minute < fromUnixTimestamp({to:Int64})
    GROUP BY rule_instance, rule_id
    UNION ALL
    SELECT rule_instance AS instance, 0 AS rule_id, '' AS rule, 0 AS scope, '' AS tier, '' AS action, '' AS text, toDateTime64(0, 3, 'UTC') AS valid_to, 0 AS egress, 0 AS ingress, 0 AS reply, 0 AS system, 0 AS packets, 0 AS bytes, max(minute) AS last_hit
    FROM rule_hits_1m
    GROUP BY rule_instance
  )
  GROUP BY instance
)
WHERE packets = 0 AND valid_to > fromUnixTimestamp64Milli({now:Int64}) AND instance > 255 AND instance > 255
ORDER BY packets DESC, tier, rule, instance
LIMIT 1000

-- {now:Int64} = "1795687207000"
-- {from:Int64} = "1795665600"
-- {to:Int64} = "1795687260"
-- table, at most 1000 rows
-- column instance id
-- column rule_id id
-- column rule text
-- column scope_name text
-- column tier text
-- column action text
-- column text text
-- column in_force text
-- column egress value short
-- column ingress value short
-- column reply value short
-- column system value short
-- column packets value short
-- column bytes value decbytes
-- column last_hit time
