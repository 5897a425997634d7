SELECT
  active,
  total
FROM (
  SELECT
    'host' AS word,
    CAST(toUInt64(countIf(n = 1 AND id IN (
    SELECT
      arrayJoin([host]) AS id
    FROM flows_1h
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
    GROUP BY id
  ))), 'Nullable(UInt64)') AS active,
    toUInt64(sum(n)) AS total
  FROM (
    SELECT
      id,
      toString(kind) AS kind,
      1 AS n
    FROM entities_now
    WHERE NOT removed
      AND has(['host'], toString(kind))
    UNION ALL
    SELECT toUInt64(0) AS id, arrayJoin(['host']) AS kind, 0 AS n
  )
  GROUP BY word
)
ORDER BY word

-- {from:Int64} = "1795665600"
-- {to:Int64} = "1795687207"
-- number, at most 10 rows, whole
-- column active value short
-- column total value short
