WITH figures AS (
  SELECT
    t,
    machine,
    max(v1) AS v1,
    max(v2) AS v2
  FROM (
    SELECT
      t,
      machine,
      service,
      toFloat64(if(max(machine_cpu_ms) = 0, 0, sum(machine_cpu_ms) / greatest(sumIf(interval_ms * machine_cpus, machine_cpu_ms > 0), 1))) AS v1,
      toFloat64(max(if(disk_bytes = 0, 0, (disk_bytes - disk_free_bytes) / disk_bytes))) AS v2
    FROM (
      SELECT
        *,
        toDateTime(intDiv(toUnixTimestamp64Milli(time) - 1, 600000) * 600, 'UTC') AS t
      FROM server_stats FINAL
      WHERE time > fromUnixTimestamp64Milli({from:Int64})
        AND time <= fromUnixTimestamp64Milli({to:Int64})
    )
    GROUP BY t, machine, service
  )
  GROUP BY t, machine
)
SELECT
  t AS time,
  machine,
  v1 AS `machine_cpu`,
  v2 AS `disk_used`
FROM figures
WHERE (machine) IN (
  SELECT
    machine
  FROM figures
  GROUP BY machine
  ORDER BY max(v1) DESC, machine
  LIMIT 10
)
ORDER BY t, machine
LIMIT 360

-- {from:Int64} = "1795665600000"
-- {to:Int64} = "1795686600000"
-- timeseries, at most 360 rows, from 2026-11-26T04:00:00Z to 2026-11-26T09:50:00Z by 10m0s
-- column time time
-- column machine key
-- column machine_cpu value percentunit
-- column disk_used value percentunit
