SELECT
  exporter,
  v1 AS `datagrams`,
  v2 AS `flows`,
  v3 AS `stored`,
  v4 AS `not_stored`,
  v5 AS `received`,
  v6 AS `lost`,
  v7 AS `loss`,
  v8 AS `dropped`,
  v9 AS `expired_sets`,
  v10 AS `restarts`,
  v11 AS `sampling_assumed`,
  v12 AS `clock_skew`,
  v13 AS `silence`
FROM (
  SELECT
    exporter,
    sum(datagrams) AS v1,
    sum(flows) AS v2,
    sum(stored) AS v3,
    sum(not_stored) AS v4,
    sum(received) AS v5,
    sum(lost) AS v6,
    toFloat64(if(sum(lost) + sum(received) = 0, 0, sum(lost) / (sum(lost) + sum(received)))) AS v7,
    sum(arraySum(mapValues(dropped))) AS v8,
    sum(expired_sets) AS v9,
    sum(restarts) AS v10,
    sum(sampling_assumed) AS v11,
    toFloat64(argMax(clock_skew_ms, abs(clock_skew_ms))) AS v12,
    dateDiff('millisecond', greatest(max(time), fromUnixTimestamp64Milli({from:Int64})), fromUnixTimestamp64Milli({now:Int64})) / 1000 AS v13
  FROM (
    SELECT
      *
    FROM exporter_stats FINAL
    WHERE time > fromUnixTimestamp64Milli({from:Int64})
      AND time <= fromUnixTimestamp64Milli({to:Int64})
  )
  GROUP BY exporter
  ORDER BY v1 DESC, exporter
  LIMIT 1000
)
ORDER BY v1 DESC, exporter

-- {now:Int64} = "1795687207000"
-- {from:Int64} = "1795665607000"
-- {to:Int64} = "1795687207000"
-- table, at most 1000 rows
-- column exporter key of exporter
-- column datagrams value short or 0
-- column flows value short or 0
-- column stored value short or 0
-- column not_stored value short or 0
-- column received value short or 0
-- column lost value short or 0
-- column loss value percentunit
-- column dropped value short or 0
-- column expired_sets value short or 0
-- column restarts value short or 0
-- column sampling_assumed value short or 0
-- column clock_skew value ms
-- column silence value s
