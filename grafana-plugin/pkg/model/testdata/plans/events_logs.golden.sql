SELECT
  time AS `timestamp`,
  concat(subject, if(subject = '', '', ': '), text) AS `body`,
  word AS `severity`,
  concat(toString(toUnixTimestamp64Milli(time)), '-', toString(id)) AS `id`,
  mapFilter((k, v) -> v != '', mapConcat(facts, map('kind', what, 'pool', dictGetOrDefault('entity_then', 'name', pool, time, ''), 'host', dictGetOrDefault('entity_then', 'name', host, time, ''), 'bridge', dictGetOrDefault('entity_then', 'name', bridge, time, ''), 'network', dictGetOrDefault('entity_then', 'name', network, time, ''), 'vm', dictGetOrDefault('entity_then', 'name', vm, time, ''), 'vif', dictGetOrDefault('entity_then', 'name', vif, time, '')))) AS `labels`
FROM (
  SELECT
    *
  FROM (
    SELECT
      time,
      id,
      toString(kind) AS what,
      toString(severity) AS word,
      CAST(severity, 'Int8') AS level,
      pool,
      host,
      bridge,
      network,
      vm,
      vif,
      subject,
      text,
      CAST(attributes, 'Map(String, String)') AS facts
    FROM network_events FINAL
    WHERE time >= fromUnixTimestamp64Milli({from:Int64})
      AND time < fromUnixTimestamp64Milli({to:Int64})
  )
  WHERE (true AND ((vm IN (SELECT id FROM entity_now WHERE kind = 'vm' AND (name = {p1:String} OR key = {p1:String})) OR vm IN (SELECT id FROM entity_now WHERE kind = 'vm' AND (name = {p1:String} OR key = {p1:String}))) OR network IN (SELECT id FROM entity_now WHERE kind = 'network' AND (name = {p2:String} OR key = {p2:String}))))
    AND level <= 6
    AND (positionCaseInsensitiveUTF8(text, {text:String}) > 0 OR positionCaseInsensitiveUTF8(subject, {text:String}) > 0)
  ORDER BY time DESC, id DESC
  LIMIT 100
)
ORDER BY time DESC, id DESC
LIMIT 100

-- {p1:String} = "web-01"
-- {p2:String} = "db"
-- {from:Int64} = "1795665607000"
-- {to:Int64} = "1795687207000"
-- {text:String} = "WEB"
-- logs, at most 100 rows
-- column timestamp time
-- column body body
-- column severity level
-- column id id
-- column labels labels
-- name vm [vm] "web-01" at 25
-- name network [network] "db" at 47
