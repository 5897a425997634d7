SELECT
  rule,
  scope,
  action,
  sum(packets) AS `packets`
FROM (
  SELECT
    dictGetOrDefault('rule_instance', 'rule', toUInt64(rule_instance), '') AS rule,
    dictGetOrDefault('entity_now', 'name', dictGetOrDefault('rule_instance', 'scope', toUInt64(rule_instance), 0), '') AS scope,
    dictGetOrDefault('rule_instance', 'action', toUInt64(rule_instance), '') AS action,
    packets,
    bytes
  FROM rule_hits_1m FINAL
  WHERE minute >= fromUnixTimestamp({from:Int64})
    AND minute < fromUnixTimestamp({to:Int64})
    AND rule_instance > 255
    AND dictGetOrDefault('rule_instance', 'rule', toUInt64(rule_instance), '') = {rule:String}
)
GROUP BY rule, scope, action
ORDER BY `packets` DESC, rule, scope, action
LIMIT 10

-- {from:Int64} = "1795665600"
-- {to:Int64} = "1795687207"
-- {rule:String} = "deny-telnet"
-- number, at most 10 rows, whole
-- column rule key
-- column scope key
-- column action key
-- column packets value short or 0
-- name rule [rule] "deny-telnet" at 1
