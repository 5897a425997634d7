WITH best AS (
  SELECT k1
  FROM (
    SELECT
      toDateTime(intDiv(toUnixTimestamp(bucket), 300) * 300, 'UTC') AS t,
      protocol AS k1,
      bytes AS b
    FROM flows_1m
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
      AND counted
  )
  GROUP BY k1
  ORDER BY sum(b) DESC, k1
  LIMIT 10
)
SELECT
  t AS `time`,
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `protocol`,
  b_sum AS `bytes`
FROM (
  SELECT
    *,
    multiIf(is_total = 1, 2, is_best, 0, 1) AS r,
    c1 AS k1
  FROM (
    SELECT
      grouping(is_best) AS is_total,
      t,
      (k1) IN (best) AS is_best,
      if(is_best, k1, defaultValueOfArgumentType(k1)) AS c1,
      sum(b) AS b_sum,
      b_sum AS b_all
    FROM (
      SELECT
        toDateTime(intDiv(toUnixTimestamp(bucket), 300) * 300, 'UTC') AS t,
        protocol AS k1,
        bytes AS b
      FROM flows_1m
      WHERE bucket >= fromUnixTimestamp({from:Int64})
        AND bucket < fromUnixTimestamp({to:Int64})
        AND counted
    )
    GROUP BY GROUPING SETS ((t, is_best, c1))
  )
)
ORDER BY t, r, b_sum DESC, k1
LIMIT 156

-- {from:Int64} = "1795510800"
-- {to:Int64} = "1795514400"
-- reads flows_1m (lived) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z by 5m0s
-- column time time DateTime('UTC')
-- column row row String
-- column protocol key UInt8 protocol
-- column bytes value UInt64 bytes
-- note the newest minutes read low until the flows that lived in them have expired
