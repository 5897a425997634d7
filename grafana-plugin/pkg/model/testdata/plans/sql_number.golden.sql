SELECT count() AS flows FROM flows WHERE time_received >= fromUnixTimestamp64Milli(1795665607000) AND time_received < fromUnixTimestamp64Milli(1795687207000)

-- number, at most 100 rows, raw
