SELECT
  'top' AS `row`,
  k1 AS `network`,
  dictGetOrDefault('entity_now', 'name', k1, '') AS `network_name`,
  toUInt64(greatest(b_sum, 0)) * 8 / 21600 AS `bps`,
  toUInt64(greatest(f_sum, 0)) AS `flows`
FROM (
  SELECT
    k1,
    sum(b) AS b_sum,
    sum(f) AS f_sum
  FROM (
    SELECT
      network AS k1,
      if(counted, toInt64(bytes), -toInt64(bytes)) AS b,
      if(counted, toInt64(flows), -toInt64(flows)) AS f
    FROM flows_1m
    WHERE bucket >= fromUnixTimestamp({from:Int64})
      AND bucket < fromUnixTimestamp({at1:Int64})
      AND if(counted, verdict IN ('unknown', 'allowed'), verdict IN ('denied', 'spoofed', 'invalid', 'unknown_port') AND (stage != 'ingress' OR dst_vm != 0))
    UNION ALL
    SELECT
      network AS k1,
      if(counted, toInt64(bytes), -toInt64(bytes)) AS b,
      if(counted, toInt64(flows), -toInt64(flows)) AS f
    FROM flows_1h
    WHERE bucket >= fromUnixTimestamp({at1:Int64})
      AND bucket < fromUnixTimestamp({at2:Int64})
      AND if(counted, verdict IN ('unknown', 'allowed'), verdict IN ('denied', 'spoofed', 'invalid', 'unknown_port') AND (stage != 'ingress' OR dst_vm != 0))
    UNION ALL
    SELECT
      network AS k1,
      if(counted, toInt64(bytes), -toInt64(bytes)) AS b,
      if(counted, toInt64(flows), -toInt64(flows)) AS f
    FROM flows_1m
    WHERE bucket >= fromUnixTimestamp({at2:Int64})
      AND bucket < fromUnixTimestamp({to:Int64})
      AND if(counted, verdict IN ('unknown', 'allowed'), verdict IN ('denied', 'spoofed', 'invalid', 'unknown_port') AND (stage != 'ingress' OR dst_vm != 0))
  )
  GROUP BY k1
  ORDER BY b_sum DESC, k1
  LIMIT 10
)
ORDER BY b_sum DESC, k1
LIMIT 10

-- {from:Int64} = "1795665540"
-- {at1:Int64} = "1795665600"
-- {at2:Int64} = "1795683600"
-- {to:Int64} = "1795687140"
-- number, at most 12 rows
-- column row row
-- column network key of network
-- column network_name name
-- column bps value bps or 0
-- column flows value short or 0
-- note the newest minutes read low until the flows that lived in them have expired
