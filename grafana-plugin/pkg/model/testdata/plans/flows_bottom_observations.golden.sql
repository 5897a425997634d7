SELECT
  'top' AS `row`,
  k1 AS `exporter`,
  f_sum AS `flows`
FROM (
  SELECT
    k1,
    sum(f) AS f_sum
  FROM (
    SELECT
      exporter AS k1,
      flows AS f
    FROM flows_1h
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({at1:Int64})
    UNION ALL
    SELECT
      exporter AS k1,
      flows AS f
    FROM flows_1m
    WHERE bucket >= fromUnixTimestamp({at1:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
  )
  GROUP BY k1
  ORDER BY f_sum ASC, k1
  LIMIT 10
)
ORDER BY f_sum ASC, k1
LIMIT 10

-- {from:Int64} = "1795665600"
-- {at1:Int64} = "1795687200"
-- {to:Int64} = "1795687260"
-- table, at most 12 rows
-- column row row
-- column exporter key of exporter
-- column flows value short or 0
-- note the newest minutes read low until the flows that lived in them have expired
