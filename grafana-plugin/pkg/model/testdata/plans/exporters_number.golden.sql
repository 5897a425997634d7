SELECT
  v1 AS `loss`,
  v2 AS `silence`
FROM (
  SELECT
    toFloat64(if(sum(lost) + sum(received) = 0, 0, sum(lost) / (sum(lost) + sum(received)))) AS v1,
    dateDiff('millisecond', greatest(max(time), fromUnixTimestamp64Milli({from:Int64})), fromUnixTimestamp64Milli({now:Int64})) / 1000 AS v2
  FROM (
    SELECT
      *
    FROM exporter_stats FINAL
    WHERE time > fromUnixTimestamp64Milli({from:Int64})
      AND time <= fromUnixTimestamp64Milli({to:Int64})
  )
  LIMIT 10
)

-- {now:Int64} = "1795687207000"
-- {from:Int64} = "1795665607000"
-- {to:Int64} = "1795687207000"
-- number, at most 10 rows, whole
-- column loss value percentunit
-- column silence value s
