SELECT
  time AS `time`,
  concat(subject, if(subject = '', '', ': '), replaceAll(what, '_', ' ')) AS `title`,
  text AS `text`,
  arrayFilter(x -> x != '', [what, word, dictGetOrDefault('entity_then', 'name', host, time, ''), dictGetOrDefault('entity_then', 'name', vm, time, '')]) AS `tags`,
  concat(toString(toUnixTimestamp64Milli(time)), '-', toString(id)) AS `id`
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
  WHERE what IN ({kind1:String}, {kind2:String})
  ORDER BY time DESC, id DESC
  LIMIT 1000
)
ORDER BY time DESC, id DESC
LIMIT 1000

-- {from:Int64} = "1795665607000"
-- {to:Int64} = "1795687207000"
-- {kind1:String} = "policy_applied"
-- {kind2:String} = "exporter_silent"
-- annotations, at most 1000 rows
-- column time time
-- column title title
-- column text body
-- column tags tags
-- column id id
