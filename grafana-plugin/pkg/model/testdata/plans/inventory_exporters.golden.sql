SELECT
  replaceRegexpOne(toString(exporter), '^::ffff:([0-9]+\\.)', '\\1') AS `name`,
  toBool(countIf(time > fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})) > 0) AS `active`,
  arrayStringConcat(arrayMap(x -> toString(x), arraySort(groupUniqArray(version))), ', ') AS `versions`,
  uniqExact(observation_domain) AS `domains`,
  sumIf(flows, time > fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})) AS `flows`,
  min(time) AS `first`,
  max(time) AS `last`
FROM exporter_stats FINAL
GROUP BY exporter
ORDER BY last DESC, exporter
LIMIT 1000

-- {from:Int64} = "1795665607000"
-- {to:Int64} = "1795687207000"
-- table, at most 1000 rows, whole
-- column name text
-- column active text
-- column versions text
-- column domains value short
-- column flows value short
-- column first text
-- column last text
