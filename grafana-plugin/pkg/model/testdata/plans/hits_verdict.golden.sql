SELECT
  of AS `host`,
  `packets`
FROM (
  SELECT
    of,
    sum(packets) AS `packets`
  FROM (
    SELECT
      dictGetOrDefault('entity_now', 'name', host, '') AS of,
      packets,
      bytes
    FROM rule_hits_1m FINAL
    WHERE minute >= fromUnixTimestamp({from:Int64})
      AND minute < fromUnixTimestamp({to:Int64})
      AND rule_instance > 255
      AND dictGetOrDefault('rule_instance', 'verdict', toUInt64(rule_instance), '') = {verdict:String}
  )
  GROUP BY of
  ORDER BY `packets` DESC, of
  LIMIT 10
)
ORDER BY `packets` DESC, of

-- {from:Int64} = "1795665600"
-- {to:Int64} = "1795687207"
-- {verdict:String} = "denied"
-- number, at most 10 rows
-- column host key
-- column packets value short or 0
