-- Why:  a host that only an estate file or a pool tells of is not one that policy is meant to reach: how many are can be told apart.
-- Cost: none to speak of: a column that existing rows have by default.
-- Undo: ALTER TABLE network_stats DROP COLUMN hosts_managed.

ALTER TABLE network_stats ADD COLUMN IF NOT EXISTS hosts_managed UInt64 COMMENT 'Of hosts, the ones that were added to Weir, connected or not: their databases are read, and policy can be in force there. 0 in rows from before it was counted.' CODEC(T64, ZSTD(1)) AFTER hosts_active;
