SELECT
  time AS `time`,
  toString(severity) AS `severity`,
  toString(kind) AS `kind`,
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
  SELECT
    time,
    id,
    kind,
    severity,
    pool,
    host,
    bridge,
    network,
    vm,
    vif,
    subject,
    text,
    attributes
  FROM network_events FINAL
  WHERE time >= fromUnixTimestamp64Milli({from:Int64})
    AND time < fromUnixTimestamp64Milli({to:Int64})
  ORDER BY time DESC, id DESC
  LIMIT 1000
  UNION ALL
  SELECT
    time,
    id,
    kind,
    severity,
    pool,
    host,
    bridge,
    network,
    vm,
    vif,
    subject,
    text,
    attributes
  FROM admin_events FINAL
  WHERE time >= fromUnixTimestamp64Milli({from:Int64})
    AND time < fromUnixTimestamp64Milli({to:Int64})
  ORDER BY time DESC, id DESC
  LIMIT 1000
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
