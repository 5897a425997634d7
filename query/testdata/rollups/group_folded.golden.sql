SELECT
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `group`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `group_name`,
  multiIf(r = 2, b_all, r = 1, toUInt64(b_sum - b_sum_top), b_sum) AS `bytes`,
  multiIf(r = 2, b_in, r = 1, toUInt64(b_in - b_in_top), b_in) AS `bytes_in`,
  multiIf(r = 2, b_out, r = 1, toUInt64(b_out - b_out_top), b_out) AS `bytes_out`
FROM (
  SELECT
    *,
    sumIf(b_sum, is_total = 0) OVER () AS b_sum_top,
    sumIf(b_in, is_total = 0) OVER () AS b_in_top,
    sumIf(b_out, is_total = 0) OVER () AS b_out_top,
    maxIf(b_all, is_total = 1) OVER () AS total
  FROM (
    SELECT
      grouping(k1) AS is_total,
      k1,
      sum(b) AS b_sum,
      sumIf(b, is_in) AS b_in,
      sumIf(b, is_out) AS b_out,
      b_sum AS b_all
    FROM (
      SELECT
        group AS k1,
        group != 0 AND end IN ('in', 'both') AS is_in,
        group != 0 AND end IN ('out', 'both') AS is_out,
        bytes AS b
      FROM flows_group_1m
      WHERE bucket >= fromUnixTimestamp({from:Int64})
        AND bucket < fromUnixTimestamp({to:Int64})
        AND counted
        AND (group != 0 OR end = 'both')
        AND protocol = {p1:UInt8}
    )
    GROUP BY GROUPING SETS ((k1), ())
    ORDER BY is_total DESC, b_sum DESC, k1
    LIMIT 11
  )
)
ARRAY JOIN if(is_total = 1, [1], [0]) AS r
WHERE r != 1 OR b_sum > b_sum_top
ORDER BY r, b_sum DESC, k1
LIMIT 12

-- {from:Int64} = "1795510800"
-- {to:Int64} = "1795514400"
-- {p1:UInt8} = "6"
-- reads flows_group_1m (lived) from 2026-11-24T09:00:00Z to 2026-11-24T10:00:00Z
-- column row row String
-- column group key UInt64 group
-- column group_name name String group
-- column bytes value UInt64 bytes
-- column bytes_in value UInt64 bytes
-- column bytes_out value UInt64 bytes
-- note the newest minutes read low until the flows that lived in them have expired
