SELECT time AS timestamp, text AS body, toString(severity) AS severity, attributes AS labels FROM network_events WHERE (time >= fromUnixTimestamp64Milli(1795665607000) AND time <= fromUnixTimestamp64Milli(1795687207000))

-- logs, at most 10000 rows, raw
