SELECT
  t AS time,
  kind,
  toUInt64(sum(n)) AS events
FROM (
  SELECT
    toDateTime(intDiv(toUnixTimestamp64Milli(time), 60000) * 60, 'UTC') AS t,
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
)
GROUP BY t, kind
ORDER BY t, kind
LIMIT 36000

-- {from:Int64} = "1795665600000"
-- {to:Int64} = "1795687140000"
-- timeseries, at most 36000 rows, from 2026-11-26T04:00:00Z to 2026-11-26T09:59:00Z by 1m0s
-- column time time
-- column kind key
-- column events value short or 0
