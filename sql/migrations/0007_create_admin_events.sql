-- Why:  what people asked Weir to change: who, from where, why, and what became of it.
-- Cost: none, the table is new. A row is some hundred bytes on disk, at most 130 KiB before compression; a busy day makes some hundred.
-- Undo: DROP TABLE admin_events. The history of changes is lost.

-- Who writes looks which ids are there before each insert, so that each event is there once; replacing is for the insert that is done after
-- that look, all the same.
CREATE TABLE IF NOT EXISTS admin_events
(
    id UInt64 COMMENT 'Identifier; ascends in the order in which things were changed or refused, with gaps.' CODEC(Delta, ZSTD(1)),
    time DateTime64(3, 'UTC') COMMENT 'When it was changed, or refused.' CODEC(Delta, ZSTD(1)),
    actor LowCardinality(String) COMMENT 'User who asked; weir: by itself, as at a deadline; empty if that is not known.',
    role LowCardinality(String) COMMENT 'Role that the user had: superuser, operator, viewer.',
    via LowCardinality(String) COMMENT 'How the user is known: socket (of the machine itself), session, token, nobody.',
    token String COMMENT 'Id of the token that was presented; empty if none was.' CODEC(ZSTD(1)),
    source String COMMENT 'From where: an address, socket of the machine, or what made Weir do it.' CODEC(ZSTD(1)),
    request String COMMENT 'Id of the request, as in its answer and in the log.' CODEC(ZSTD(1)),
    operation LowCardinality(String) COMMENT 'What was asked: host.add, policy.apply, … (docs/reference/api.md lists all).',
    object String COMMENT 'Name of what was to be changed, of the kind that the operation begins with.' CODEC(ZSTD(1)),
    reason String COMMENT 'Why, as the user said.' CODEC(ZSTD(1)),
    outcome Enum8('done' = 1, 'refused' = 2, 'failed' = 3) COMMENT 'What became of it; unless it is done, nothing was changed.',
    text String COMMENT 'Why it was not done.' CODEC(ZSTD(1)),
    before String COMMENT 'What was there before, JSON without secrets; empty if nothing was.' CODEC(ZSTD(3)),
    after String COMMENT 'What was there afterwards, JSON without secrets.' CODEC(ZSTD(3)),
    INDEX id_range id TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, id)
TTL toDateTime(time) + INTERVAL 3 YEAR
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Administrative events: what people asked Weir to change.';
