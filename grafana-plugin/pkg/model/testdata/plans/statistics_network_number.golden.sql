SELECT
  v1 AS `pools`,
  v2 AS `pools_active`,
  v3 AS `hosts`,
  v4 AS `hosts_active`,
  v5 AS `hosts_managed`,
  v6 AS `networks`,
  v7 AS `networks_active`,
  v8 AS `vms`,
  v9 AS `vms_active`,
  v10 AS `vifs`,
  v11 AS `vifs_active`
FROM (
  SELECT
    toFloat64(argMax(pools, time)) AS v1,
    toFloat64(argMax(pools_active, time)) AS v2,
    toFloat64(argMax(hosts, time)) AS v3,
    toFloat64(argMax(hosts_active, time)) AS v4,
    toFloat64(argMax(hosts_managed, time)) AS v5,
    toFloat64(argMax(networks, time)) AS v6,
    toFloat64(argMax(networks_active, time)) AS v7,
    toFloat64(argMax(vms, time)) AS v8,
    toFloat64(argMax(vms_active, time)) AS v9,
    toFloat64(argMax(vifs, time)) AS v10,
    toFloat64(argMax(vifs_active, time)) AS v11
  FROM (
    SELECT
      *
    FROM network_stats FINAL
    WHERE time > fromUnixTimestamp64Milli({from:Int64})
      AND time <= fromUnixTimestamp64Milli({to:Int64})
  )
  HAVING count() > 0
)

-- {from:Int64} = "1795665607000"
-- {to:Int64} = "1795687207000"
-- number, at most 10 rows
-- column pools value short
-- column pools_active value short
-- column hosts value short
-- column hosts_active value short
-- column hosts_managed value short
-- column networks value short
-- column networks_active value short
-- column vms value short
-- column vms_active value short
-- column vifs value short
-- column vifs_active value short
