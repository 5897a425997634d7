SELECT
  time AS `time`,
  word AS `severity`,
  what AS `kind`,
  subject AS `subject`,
  text AS `text`,
  dictGetOrDefault('entity_then', 'name', pool, time, '') AS `pool_name`,
  dictGetOrDefault('entity_then', 'name', host, time, '') AS `host_name`,
  dictGetOrDefault('entity_then', 'name', bridge, time, '') AS `bridge_name`,
  dictGetOrDefault('entity_then', 'name', network, time, '') AS `network_name`,
  dictGetOrDefault('entity_then', 'name', vm, time, '') AS `vm_name`,
  dictGetOrDefault('entity_then', 'name', vif, time, '') AS `vif_name`,
  concat(toString(toUnixTimestamp64Milli(time)), '-', toString(id)) AS `id`
FROM (
  SELECT * FROM (
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
    ORDER BY time DESC, id DESC
    LIMIT 1000
  )
  UNION ALL
  SELECT * FROM (
    SELECT
      *
    FROM (
      SELECT
        time,
        id,
        toString(operation) AS what,
        ['notice', 'warning', 'error'][CAST(outcome, 'Int8')] AS word,
        [5, 4, 3][CAST(outcome, 'Int8')] AS level,
        toUInt64(0) AS pool,
        toUInt64(0) AS host,
        toUInt64(0) AS bridge,
        toUInt64(0) AS network,
        toUInt64(0) AS vm,
        toUInt64(0) AS vif,
        object AS subject,
        concat(toString(outcome), if(actor = '', '', concat(', by ', toString(actor))), if(reason = '', '', concat(': ', reason)), if(admin_events.text = '', '', concat(': ', admin_events.text))) AS text,
        map('actor', toString(actor), 'role', toString(role), 'via', toString(via), 'source', source, 'request', request, 'reason', reason, 'outcome', toString(outcome)) AS facts
      FROM admin_events FINAL
      WHERE time >= fromUnixTimestamp64Milli({from:Int64})
        AND time < fromUnixTimestamp64Milli({to:Int64})
    )
    ORDER BY time DESC, id DESC
    LIMIT 1000
  )
)
ORDER BY time DESC, id DESC
LIMIT 1000

-- {from:Int64} = "1795665607000"
-- {to:Int64} = "1795687207000"
-- table, at most 1000 rows
-- column time time
-- column severity text
-- column kind text
-- column subject text
-- column text text
-- column pool_name text
-- column host_name text
-- column bridge_name text
-- column network_name text
-- column vm_name text
-- column vif_name text
-- column id text
