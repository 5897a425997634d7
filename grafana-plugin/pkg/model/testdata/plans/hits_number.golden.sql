SELECT
  of AS `rule`,
  `packets`
FROM (
  SELECT
    of,
    sum(packets) AS `packets`
  FROM (
    SELECT
      dictGetOrDefault('rule_instance', 'rule', toUInt64(rule_instance), '') AS of,
      packets,
      bytes
    FROM rule_hits_1m FINAL
    WHERE minute >= fromUnixTimestamp({from:Int64})
      AND minute < fromUnixTimestamp({to:Int64})
      AND rule_instance > 255
      AND dictGetOrDefault('rule_instance', 'rule', toUInt64(rule_instance), '') = {rule:String}
    UNION ALL
    SELECT
      {rule:String} AS of,
      toUInt64(0) AS packets,
      toUInt64(0) AS bytes
  )
  GROUP BY of
  ORDER BY `packets` DESC, of
  LIMIT 10
)
ORDER BY `packets` DESC, of

-- {from:Int64} = "1795665600"
-- {to:Int64} = "1795687207"
-- {rule:String} = "deny-telnet"
-- number, at most 10 rows
-- column rule key
-- column packets value short or 0
-- name rule [rule] "deny-telnet" at 1
