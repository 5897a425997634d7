SELECT toStartOfInterval(toDateTime(bucket), INTERVAL 60 second) AS time, network_name, sum(bytes) * 8 / 60 AS bps FROM flows_1m WHERE (bucket >= toDateTime(1795665607) AND bucket <= toDateTime(1795687207)) AND (counted) GROUP BY time, network_name ORDER BY time

-- timeseries, at most 200000 rows, raw
