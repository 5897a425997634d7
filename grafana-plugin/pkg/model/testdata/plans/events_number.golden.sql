SELECT
  kind,
  toUInt64(sum(n)) AS events
FROM (
  SELECT
    what AS kind,
    1 AS n
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
  WHERE what IN ({kind1:String})
  UNION ALL
  SELECT
    arrayJoin([{kind1:String}]) AS kind,
    0 AS n
)
GROUP BY kind
ORDER BY events DESC, kind
LIMIT 100

-- {from:Int64} = "1795665607000"
-- {to:Int64} = "1795687207000"
-- {kind1:String} = "host_lost"
-- number, at most 100 rows
-- column kind key
-- column events value short or 0
