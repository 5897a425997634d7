SELECT
  word AS kind,
  active,
  total
FROM (
  SELECT
    toString(kind) AS word,
    CAST(if(word IN ('bridge', 'vif'), NULL, toUInt64(countIf(n = 1 AND id IN (
    SELECT
      arrayJoin([pool, host, network, src_vm, dst_vm]) AS id
    FROM flows_1h
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
    GROUP BY id
    UNION ALL
    SELECT
      group AS id
    FROM flows_group_1m
    WHERE bucket >= fromUnixTimestamp({from_group:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
    GROUP BY id
  )))), 'Nullable(UInt64)') AS active,
    toUInt64(sum(n)) AS total
  FROM (
    SELECT
      id,
      toString(kind) AS kind,
      1 AS n
    FROM entities_now
    WHERE NOT removed
      AND has(['pool', 'host', 'bridge', 'network', 'vm', 'vif', 'address_group', 'vm_group'], toString(kind))
    UNION ALL
    SELECT toUInt64(0) AS id, arrayJoin(['pool', 'host', 'bridge', 'network', 'vm', 'vif', 'address_group', 'vm_group']) AS kind, 0 AS n
  )
  GROUP BY word
  UNION ALL
  SELECT
    'exporter' AS word,
    CAST(uniqExactIf(exporter, time > fromUnixTimestamp64Milli({since:Int64}) AND time <= fromUnixTimestamp64Milli({until:Int64})), 'Nullable(UInt64)') AS active,
    uniqExact(exporter) AS total
  FROM exporter_stats
)
ORDER BY word

-- {from:Int64} = "1795665600"
-- {to:Int64} = "1795687207"
-- {from_group:Int64} = "1795665600"
-- {since:Int64} = "1795665607000"
-- {until:Int64} = "1795687207000"
-- number, at most 10 rows, whole
-- column kind key
-- column active value short
-- column total value short
