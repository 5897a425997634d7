SELECT exporter_text, count() AS n FROM flows WHERE (time_received >= toDateTime(1795665607) AND time_received <= toDateTime(1795687207)) AND (counted) GROUP BY exporter_text ORDER BY n DESC

-- table, at most 10000 rows, raw
