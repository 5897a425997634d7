WITH best AS (
  SELECT k1, k2
  FROM (
    SELECT
      toDateTime(intDiv(toUnixTimestamp(bucket), 60) * 60, 'UTC') AS t,
      protocol AS k1,
      service AS k2,
      bytes AS b
    FROM flows_1m
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
      AND counted
  )
  GROUP BY k1, k2
  ORDER BY sum(b) DESC, k1, k2
  LIMIT 10
)
SELECT
  t AS `time`,
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `protocol`,
  k2 AS `service`,
  b_sum * 8 / 60 AS `bps`
FROM (
  SELECT
    *,
    multiIf(is_total = 1, 2, is_best, 0, 1) AS r,
    c1 AS k1,
    c2 AS k2
  FROM (
    SELECT
      grouping(is_best) AS is_total,
      t,
      (k1, k2) IN (best) AS is_best,
      if(is_best, k1, defaultValueOfArgumentType(k1)) AS c1,
      if(is_best, k2, defaultValueOfArgumentType(k2)) AS c2,
      sum(b) AS b_sum,
      b_sum AS b_all
    FROM (
      SELECT
        toDateTime(intDiv(toUnixTimestamp(bucket), 60) * 60, 'UTC') AS t,
        protocol AS k1,
        service AS k2,
        bytes AS b
      FROM flows_1m
      WHERE bucket >= fromUnixTimestamp({from:Int64})
        AND bucket < fromUnixTimestamp({to:Int64})
        AND counted
    )
    WHERE is_best
    GROUP BY GROUPING SETS ((t, is_best, c1, c2))
  )
)
ORDER BY t, r, b_sum DESC, k1, k2
LIMIT 4320

-- {from:Int64} = "1795665600"
-- {to:Int64} = "1795687140"
-- timeseries, at most 4320 rows, from 2026-11-26T04:00:00Z to 2026-11-26T09:59:00Z by 1m0s
-- column time time
-- column row row
-- column protocol key of protocol
-- column service key of service
-- column bps value bps or 0
-- note the newest minutes read low until the flows that lived in them have expired
