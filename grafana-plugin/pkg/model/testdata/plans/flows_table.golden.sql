SELECT
  ['top', 'other', 'total'][r + 1] AS `row`,
  k1 AS `src_vm`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `src_vm_name`,
  k2 AS `dst_addr`,
  k3 AS `verdict`,
  multiIf(r = 2, b_all, r = 1, toUInt64(b_sum - b_sum_top), b_sum) AS `bytes`,
  multiIf(r = 2, p_all, r = 1, toUInt64(p_sum - p_sum_top), p_sum) AS `packets`,
  multiIf(r = 2, f_all, r = 1, toUInt64(f_sum - f_sum_top), f_sum) AS `flows`,
  if(total = 0, 0, multiIf(r = 2, b_all, r = 1, toUInt64(b_sum - b_sum_top), b_sum) / total) AS `share`
FROM (
  SELECT
    *,
    sumIf(b_sum, is_total = 0) OVER () AS b_sum_top,
    sumIf(p_sum, is_total = 0) OVER () AS p_sum_top,
    sumIf(f_sum, is_total = 0) OVER () AS f_sum_top,
    maxIf(b_all, is_total = 1) OVER () AS total
  FROM (
    SELECT
      grouping(k1) AS is_total,
      k1,
      k2,
      k3,
      sum(b) AS b_sum,
      b_sum AS b_all,
      sum(p) AS p_sum,
      p_sum AS p_all,
      sum(f) AS f_sum,
      f_sum AS f_all
    FROM (
      SELECT
        src_vm AS k1,
        dst_addr AS k2,
        verdict AS k3,
        bytes * sampling_rate AS b,
        packets * sampling_rate AS p,
        1 AS f
      FROM flows
      WHERE time_received >= fromUnixTimestamp64Milli({from:Int64})
        AND time_received < fromUnixTimestamp64Milli({to:Int64})
        AND (counted OR verdict NOT IN ('unknown', 'allowed'))
    )
    GROUP BY GROUPING SETS ((k1, k2, k3), ())
    ORDER BY is_total DESC, b_sum DESC, k1, k2, k3
    LIMIT 21
  )
)
ARRAY JOIN if(is_total = 1, [1, 2], [0]) AS r
WHERE r != 1 OR b_sum > b_sum_top
ORDER BY r, b_sum DESC, k1, k2, k3
LIMIT 22

-- {from:Int64} = "1795665600000"
-- {to:Int64} = "1795687260000"
-- table, at most 22 rows
-- column row row
-- column src_vm key of src_vm
-- column src_vm_name name
-- column dst_addr key of dst_addr
-- column verdict key of verdict
-- column bytes value decbytes or 0
-- column packets value short or 0
-- column flows value short or 0
-- column share value percentunit
