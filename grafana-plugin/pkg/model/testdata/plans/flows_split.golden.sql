SELECT
  t AS `time`,
  'total' AS `row`,
  b_sum * 8 / 60 AS `bps`,
  b_in * 8 / 60 AS `bps_in`,
  b_out * 8 / 60 AS `bps_out`
FROM (
  SELECT
    t,
    sum(b) AS b_sum,
    sumIf(b, is_in) AS b_in,
    sumIf(b, is_out) AS b_out
  FROM (
    SELECT
      toDateTime(intDiv(toUnixTimestamp(bucket), 60) * 60, 'UTC') AS t,
      dst_vm IN (SELECT id FROM entity_now WHERE kind = 'vm' AND (name IN ({p1:String}, {p2:String}) OR key IN ({p1:String}, {p2:String}))) AS is_in,
      src_vm IN (SELECT id FROM entity_now WHERE kind = 'vm' AND (name IN ({p1:String}, {p2:String}) OR key IN ({p1:String}, {p2:String}))) AS is_out,
      bytes AS b
    FROM flows_1m
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
      AND counted
      AND (src_vm IN (SELECT id FROM entity_now WHERE kind = 'vm' AND (name IN ({p1:String}, {p2:String}) OR key IN ({p1:String}, {p2:String}))) OR dst_vm IN (SELECT id FROM entity_now WHERE kind = 'vm' AND (name IN ({p1:String}, {p2:String}) OR key IN ({p1:String}, {p2:String}))))
  )
  GROUP BY t
)
ORDER BY t
LIMIT 360

-- {p1:String} = "web-01"
-- {p2:String} = "db"
-- {from:Int64} = "1795665600"
-- {to:Int64} = "1795687140"
-- timeseries, at most 4320 rows, from 2026-11-26T04:00:00Z to 2026-11-26T09:59:00Z by 1m0s, whole
-- column time time
-- column row row
-- column bps value bps or 0
-- column bps_in value bps or 0
-- column bps_out value bps or 0
-- name vm [vm] "web-01" at 8
-- name vm [vm] "db" at 18
-- note the newest minutes read low until the flows that lived in them have expired
