-- Code generated from sql/migrations by `go test ./store -run Schema -update`. DO NOT EDIT.

CREATE TABLE admin_events
(
    `id` UInt64 COMMENT 'Identifier; ascends in the order in which things were changed or refused, with gaps.' CODEC(Delta(8), ZSTD(1)),
    `time` DateTime64(3, 'UTC') COMMENT 'When it was changed, or refused.' CODEC(Delta(8), ZSTD(1)),
    `actor` LowCardinality(String) COMMENT 'User who asked; weir: by itself, as at a deadline; empty if that is not known.',
    `role` LowCardinality(String) COMMENT 'Role that the user had: superuser, operator, viewer.',
    `via` LowCardinality(String) COMMENT 'How the user is known: socket (of the machine itself), session, token, nobody.',
    `token` String COMMENT 'Id of the token that was presented; empty if none was.' CODEC(ZSTD(1)),
    `source` String COMMENT 'From where: an address, socket of the machine, or what made Weir do it.' CODEC(ZSTD(1)),
    `request` String COMMENT 'Id of the request, as in its answer and in the log.' CODEC(ZSTD(1)),
    `operation` LowCardinality(String) COMMENT 'What was asked: host.add, policy.apply, … (docs/reference/api.md lists all).',
    `object` String COMMENT 'Name of what was to be changed, of the kind that the operation begins with.' CODEC(ZSTD(1)),
    `reason` String COMMENT 'Why, as the user said.' CODEC(ZSTD(1)),
    `outcome` Enum8('done' = 1, 'refused' = 2, 'failed' = 3) COMMENT 'What became of it; unless it is done, nothing was changed.',
    `text` String COMMENT 'Why it was not done.' CODEC(ZSTD(1)),
    `before` String COMMENT 'What was there before, JSON without secrets; empty if nothing was.' CODEC(ZSTD(3)),
    `after` String COMMENT 'What was there afterwards, JSON without secrets.' CODEC(ZSTD(3)),
    INDEX id_range id TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, id)
TTL toDateTime(time) + toIntervalYear(3)
SETTINGS ttl_only_drop_parts = 1, index_granularity = 8192
COMMENT 'Administrative events: what people asked Weir to change.';

CREATE TABLE collectors
(
    `number` UInt16 COMMENT 'Number of the collector, 1 to 299; column collector of other tables has it.',
    `key` UInt64 COMMENT 'Random number by which the collector knows the row as its own.',
    `name` String COMMENT 'Name of its machine when it registered.',
    `registered` DateTime64(3, 'UTC') COMMENT 'When it registered.'
)
ENGINE = MergeTree
ORDER BY number
SETTINGS non_replicated_deduplication_window = 1000, index_granularity = 8192
COMMENT 'Collectors that ever wrote to the database. A number is given once: its deduplication token is that of the row.';

CREATE TABLE entities
(
    `id` UInt64 COMMENT 'Identifier, the same everywhere and for ever: the first 8 bytes of SHA-256(kind, 0, key).',
    `valid_from` DateTime64(3, 'UTC') COMMENT 'From when on the row holds, until valid_from of the next row of the id.',
    `kind` Enum8('pool' = 1, 'host' = 2, 'bridge' = 3, 'network' = 4, 'vm' = 5, 'vif' = 6, 'address_group' = 7, 'vm_group' = 8, 'rule' = 9) COMMENT 'What it is.',
    `key` String COMMENT 'Canonical key: the UUID of the platform, else the key of the parent, a slash and the name.',
    `name` String COMMENT 'Name that people gave it.',
    `parent` UInt64 COMMENT 'Entity that it belongs to: the VM of a VIF, the host of a bridge, the pool of a host or network; 0 is none.',
    `pool` UInt64 COMMENT 'Pool that it is in; 0 is none.',
    `attributes` Map(String, String) COMMENT 'Further properties and tags, as the source told them.',
    `same_as` UInt64 COMMENT 'Another id of the same thing, found later; 0 is none.',
    `removed` Bool COMMENT 'From valid_from on it no longer exists. Its name stays, for the flows that refer to it.',
    `source` LowCardinality(String) COMMENT 'Who told it: file, xapi, libvirt, …'
)
ENGINE = ReplacingMergeTree
ORDER BY (id, valid_from)
SETTINGS index_granularity = 8192
COMMENT 'What exists and what it was called, with the time from which on it was so.';

CREATE TABLE exporter_names
(
    `exporter` IPv6 COMMENT 'Exporter that told it, as in flows.',
    `domain` UInt32 COMMENT 'Observation domain in which it told it.',
    `kind` Enum8('interface' = 1, 'application' = 2, 'vrf' = 3) COMMENT 'What is named.',
    `key` UInt64 COMMENT 'Number that flows carry: in_if or out_if, application, vrf_in or vrf_out.',
    `name` String COMMENT 'Name. From: interfaceName, applicationName, VRFname.',
    `description` String COMMENT 'Longer text. From: interfaceDescription, applicationDescription.',
    `seen` DateTime64(3, 'UTC') COMMENT 'When the exporter told it first in this form.'
)
ENGINE = ReplacingMergeTree(seen)
ORDER BY (exporter, domain, kind, key)
SETTINGS index_granularity = 8192
COMMENT 'Names of interfaces, applications and VRFs, as exporters tell them.';

CREATE TABLE exporter_stats
(
    `time` DateTime64(3, 'UTC') COMMENT 'End of the interval that the row is about.' CODEC(Delta(8), ZSTD(1)),
    `interval_ms` UInt64 COMMENT 'Its length, since the collector looked before, or since the domain was heard of. Unit: ms.' CODEC(ZSTD(1)),
    `instance` UInt64 COMMENT 'Run of the collector: a random number.' CODEC(ZSTD(1)),
    `collector` UInt16 COMMENT 'Collector that received it; 0 wrote before there were numbers.' CODEC(ZSTD(1)),
    `exporter` IPv6 COMMENT 'Exporter, as in flows.' CODEC(ZSTD(1)),
    `version` UInt8 COMMENT 'Protocol, as in flows.' CODEC(ZSTD(1)),
    `observation_domain` UInt32 COMMENT 'Observation domain, as in flows.' CODEC(ZSTD(1)),
    `datagrams` UInt64 COMMENT 'Datagrams, or messages where a datagram has several.' CODEC(T64, ZSTD(1)),
    `bytes` UInt64 COMMENT 'Size of those, UDP payload. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `flows` UInt64 COMMENT 'Flows decoded.' CODEC(T64, ZSTD(1)),
    `no_flow` UInt64 COMMENT 'Data records that are no flow.' CODEC(T64, ZSTD(1)),
    `option_records` UInt64 COMMENT 'Records of option data.' CODEC(T64, ZSTD(1)),
    `templates` UInt64 COMMENT 'Template records, repeated ones too.' CODEC(T64, ZSTD(1)),
    `sealed` UInt64 COMMENT 'Flows in batches that were closed.' CODEC(T64, ZSTD(1)),
    `logged` UInt64 COMMENT 'Flows that the write-ahead log took.' CODEC(T64, ZSTD(1)),
    `stored` UInt64 COMMENT 'Flows that the store took. Not those that a later run of the collector found in the log.' CODEC(T64, ZSTD(1)),
    `not_stored` UInt64 COMMENT 'Flows lost between decoder and store.' CODEC(T64, ZSTD(1)),
    `unclear` UInt64 COMMENT 'Flows of batches of which a part was lost: it is not known whose.' CODEC(T64, ZSTD(1)),
    `sequence_unit` Enum8('flows' = 1, 'messages' = 2, 'records' = 3) COMMENT 'What sequence numbers of the exporter count.' CODEC(ZSTD(1)),
    `received` UInt64 COMMENT 'What came of that, each once.' CODEC(T64, ZSTD(1)),
    `lost` UInt64 COMMENT 'What did not come. From: sequence numbers.' CODEC(T64, ZSTD(1)),
    `out_of_order` UInt64 COMMENT 'Messages that came after a later one.' CODEC(T64, ZSTD(1)),
    `duplicates` UInt64 COMMENT 'Messages that came again, or too late to count.' CODEC(T64, ZSTD(1)),
    `restarts` UInt64 COMMENT 'Times that the exporter, or a process of it, began to number anew.' CODEC(T64, ZSTD(1)),
    `jumps` UInt64 COMMENT 'Times that the number jumped further than loss can explain.' CODEC(T64, ZSTD(1)),
    `unchecked` UInt64 COMMENT 'Messages whose number could not be checked, for want of a template.' CODEC(T64, ZSTD(1)),
    `held_sets` UInt64 COMMENT 'Data sets that came before their template.' CODEC(T64, ZSTD(1)),
    `expired_sets` UInt64 COMMENT 'Of those, the ones whose template did not come in time.' CODEC(T64, ZSTD(1)),
    `sampling_assumed` UInt64 COMMENT 'Flows whose sampling rate the exporter did not say.' CODEC(T64, ZSTD(1)),
    `times_clamped` UInt64 COMMENT 'Flows whose times could not be true and were changed.' CODEC(T64, ZSTD(1)),
    `dropped` Map(String, UInt64) COMMENT 'What could not be decoded, by reason: sets, template records, messages.',
    `clock_skew_ms` Int64 COMMENT 'How far the exporter\'s clock was ahead at the end, smoothed; 0 also where it was not measured. Unit: ms.' CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (exporter, observation_domain, version, time, instance)
TTL toDateTime(time) + toIntervalDay(90)
SETTINGS ttl_only_drop_parts = 1, index_granularity = 8192
COMMENT 'What each observation domain of each exporter sent, lost and got stored, by interval; only intervals in which something changed. Sum with FINAL.';

CREATE TABLE flows_1h_rows
(
    `bucket` DateTime('UTC') COMMENT 'Start of the hour in which the packets passed.' CODEC(Delta(4), ZSTD(1)),
    `exporter` IPv6 COMMENT 'Exporter, as in flows.' CODEC(ZSTD(1)),
    `host` UInt64 COMMENT 'Host that exported the flows.' CODEC(ZSTD(1)),
    `network` UInt64 COMMENT 'Network in which they were seen.' CODEC(ZSTD(1)),
    `src_vm` UInt64 COMMENT 'VM that sent them; 0 is none known.' CODEC(ZSTD(1)),
    `dst_vm` UInt64 COMMENT 'VM that received them; 0 is none known.' CODEC(ZSTD(1)),
    `protocol` UInt8 COMMENT 'IP protocol number.' CODEC(ZSTD(1)),
    `service` UInt16 COMMENT 'Service port, as in flows_1m.' CODEC(ZSTD(1)),
    `rule_id` UInt64 COMMENT 'Policy rule that decided; 0 is none known.' CODEC(ZSTD(1)),
    `stage` Enum8('none' = 0, 'egress' = 1, 'ingress' = 2, 'reply' = 3, 'system' = 4) COMMENT 'Stage of policy at which the flows were sampled.' CODEC(ZSTD(1)),
    `verdict` Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6) COMMENT 'What policy did with the packets.' CODEC(ZSTD(1)),
    `counted` Bool COMMENT 'Totals count the row; others are observations of the same packets.' CODEC(ZSTD(1)),
    `bytes` UInt64 COMMENT 'Bytes, sampling applied. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `packets` UInt64 COMMENT 'Packets, sampling applied. Unit: packets.' CODEC(T64, ZSTD(1)),
    `flows` UInt64 COMMENT 'Flows that began in the bucket.' CODEC(T64, ZSTD(1)),
    `slot` DateTime('UTC') COMMENT 'Slot in which the row was written; it begins at that time.' CODEC(Delta(4), ZSTD(1)),
    `collector` UInt16 COMMENT 'Collector that wrote the row. No two have a slot in common.' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(slot)
ORDER BY (bucket, network, src_vm, dst_vm)
TTL slot + toIntervalYear(3)
SETTINGS ttl_only_drop_parts = 1, index_granularity = 8192
COMMENT 'Storage of flows_1h.';

CREATE TABLE flows_1m_rows
(
    `bucket` DateTime('UTC') COMMENT 'Start of the minute in which the packets passed.' CODEC(Delta(4), ZSTD(1)),
    `exporter` IPv6 COMMENT 'Exporter, as in flows.' CODEC(ZSTD(1)),
    `host` UInt64 COMMENT 'Host that exported the flows.' CODEC(ZSTD(1)),
    `network` UInt64 COMMENT 'Network in which they were seen.' CODEC(ZSTD(1)),
    `src_vm` UInt64 COMMENT 'VM that sent them; 0 is none known.' CODEC(ZSTD(1)),
    `dst_vm` UInt64 COMMENT 'VM that received them; 0 is none known.' CODEC(ZSTD(1)),
    `protocol` UInt8 COMMENT 'IP protocol number.' CODEC(ZSTD(1)),
    `service` UInt16 COMMENT 'Service port: the lower port if it is one of a known service, else the lower one below 32768, else 0.' CODEC(ZSTD(1)),
    `rule_id` UInt64 COMMENT 'Policy rule that decided; 0 is none known.' CODEC(ZSTD(1)),
    `stage` Enum8('none' = 0, 'egress' = 1, 'ingress' = 2, 'reply' = 3, 'system' = 4) COMMENT 'Stage of policy at which the flows were sampled.' CODEC(ZSTD(1)),
    `verdict` Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6) COMMENT 'What policy did with the packets.' CODEC(ZSTD(1)),
    `counted` Bool COMMENT 'Totals count the row; others are observations of the same packets.' CODEC(ZSTD(1)),
    `bytes` UInt64 COMMENT 'Bytes, sampling applied. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `packets` UInt64 COMMENT 'Packets, sampling applied. Unit: packets.' CODEC(T64, ZSTD(1)),
    `flows` UInt64 COMMENT 'Flows that began in the bucket.' CODEC(T64, ZSTD(1)),
    `slot` DateTime('UTC') COMMENT 'Slot in which the row was written; it begins at that time.' CODEC(Delta(4), ZSTD(1)),
    `folded` Bool COMMENT 'The row sums the slot, not one batch.' CODEC(ZSTD(1)),
    `batch` UInt64 COMMENT 'Batch that the row sums; 0 if folded.' CODEC(ZSTD(1)),
    `collector` UInt16 COMMENT 'Collector that wrote the row. No two have a slot in common.' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY if(folded, toYYYYMMDD(slot), toUnixTimestamp(slot))
ORDER BY (bucket, network, src_vm, dst_vm)
TTL slot + toIntervalDay(90)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, index_granularity = 8192
COMMENT 'Storage of flows_1m.';

CREATE TABLE flows_group_1m_rows
(
    `bucket` DateTime('UTC') COMMENT 'Start of the minute in which the packets passed.' CODEC(Delta(4), ZSTD(1)),
    `group` UInt64 COMMENT 'Address group or VM group; 0 is none at that end.' CODEC(ZSTD(1)),
    `end` Enum8('in' = 1, 'out' = 2, 'both' = 3) COMMENT 'End of the flows at which the group is: in is the destination, out the source.' CODEC(ZSTD(1)),
    `protocol` UInt8 COMMENT 'IP protocol number.' CODEC(ZSTD(1)),
    `stage` Enum8('none' = 0, 'egress' = 1, 'ingress' = 2, 'reply' = 3, 'system' = 4) COMMENT 'Stage of policy at which the flows were sampled.' CODEC(ZSTD(1)),
    `verdict` Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6) COMMENT 'What policy did with the packets.' CODEC(ZSTD(1)),
    `counted` Bool COMMENT 'Totals count the row; others are observations of the same packets.' CODEC(ZSTD(1)),
    `bytes` UInt64 COMMENT 'Bytes, sampling applied. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `packets` UInt64 COMMENT 'Packets, sampling applied. Unit: packets.' CODEC(T64, ZSTD(1)),
    `flows` UInt64 COMMENT 'Flows that began in the bucket.' CODEC(T64, ZSTD(1)),
    `slot` DateTime('UTC') COMMENT 'Slot in which the row was written; it begins at that time.' CODEC(Delta(4), ZSTD(1)),
    `folded` Bool COMMENT 'The row sums the slot, not one batch.' CODEC(ZSTD(1)),
    `batch` UInt64 COMMENT 'Batch that the row sums; 0 if folded.' CODEC(ZSTD(1)),
    `collector` UInt16 COMMENT 'Collector that wrote the row. No two have a slot in common.' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY if(folded, toYYYYMMDD(slot), toUnixTimestamp(slot))
ORDER BY (bucket, group)
TTL slot + toIntervalDay(90)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, index_granularity = 8192
COMMENT 'Storage of flows_group_1m.';

CREATE TABLE flows_rx_1m_rows
(
    `bucket` DateTime('UTC') COMMENT 'Start of the minute in which the flows were received.' CODEC(Delta(4), ZSTD(1)),
    `exporter` IPv6 COMMENT 'Exporter, as in flows.' CODEC(ZSTD(1)),
    `network` UInt64 COMMENT 'Network in which they were seen.' CODEC(ZSTD(1)),
    `src_vm` UInt64 COMMENT 'VM that sent them; 0 is none known.' CODEC(ZSTD(1)),
    `dst_vm` UInt64 COMMENT 'VM that received them; 0 is none known.' CODEC(ZSTD(1)),
    `rule_id` UInt64 COMMENT 'Policy rule that decided; 0 is none known.' CODEC(ZSTD(1)),
    `stage` Enum8('none' = 0, 'egress' = 1, 'ingress' = 2, 'reply' = 3, 'system' = 4) COMMENT 'Stage of policy at which the flows were sampled.' CODEC(ZSTD(1)),
    `verdict` Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6) COMMENT 'What policy did with the packets.' CODEC(ZSTD(1)),
    `counted` Bool COMMENT 'Totals count the row; others are observations of the same packets.' CODEC(ZSTD(1)),
    `bytes` UInt64 COMMENT 'Bytes, sampling applied. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `packets` UInt64 COMMENT 'Packets, sampling applied. Unit: packets.' CODEC(T64, ZSTD(1)),
    `flows` UInt64 COMMENT 'Flows.' CODEC(T64, ZSTD(1)),
    `slot` DateTime('UTC') COMMENT 'Slot in which the row was written; it begins at that time.' CODEC(Delta(4), ZSTD(1)),
    `folded` Bool COMMENT 'The row sums the slot, not one batch.' CODEC(ZSTD(1)),
    `batch` UInt64 COMMENT 'Batch that the row sums; 0 if folded.' CODEC(ZSTD(1)),
    `collector` UInt16 COMMENT 'Collector that wrote the row. No two have a slot in common.' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY if(folded, toYYYYMMDD(slot), toUnixTimestamp(slot))
ORDER BY (bucket, network, src_vm, dst_vm)
TTL slot + toIntervalDay(90)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, index_granularity = 8192
COMMENT 'Storage of flows_rx_1m.';

CREATE TABLE network_stats
(
    `time` DateTime64(3, 'UTC') COMMENT 'When it was so.' CODEC(Delta(8), ZSTD(1)),
    `instance` UInt64 COMMENT 'Run of policyd, which counts: a random number.' CODEC(ZSTD(1)),
    `pools` UInt64 COMMENT 'Pools that there are.' CODEC(T64, ZSTD(1)),
    `pools_active` UInt64 COMMENT 'Of those, the ones with an active host.' CODEC(T64, ZSTD(1)),
    `hosts` UInt64 COMMENT 'Hosts that there are.' CODEC(T64, ZSTD(1)),
    `hosts_active` UInt64 COMMENT 'Of those, the ones that are connected; of hosts that Weir has no session with, the ones that send flows.' CODEC(T64, ZSTD(1)),
    `hosts_managed` UInt64 COMMENT 'Of hosts, the ones that were added to Weir, connected or not: their databases are read, and policy can be in force there. 0 in rows from before it was counted.' CODEC(T64, ZSTD(1)),
    `networks` UInt64 COMMENT 'Networks that there are.' CODEC(T64, ZSTD(1)),
    `networks_active` UInt64 COMMENT 'Of those, the ones with an active VIF.' CODEC(T64, ZSTD(1)),
    `vms` UInt64 COMMENT 'VMs that there are.' CODEC(T64, ZSTD(1)),
    `vms_active` UInt64 COMMENT 'Of those, the ones that run: their power state says so, or, where nobody tells it, the host is known where they are.' CODEC(T64, ZSTD(1)),
    `vifs` UInt64 COMMENT 'VIFs that there are.' CODEC(T64, ZSTD(1)),
    `vifs_active` UInt64 COMMENT 'Of those, the ones of VMs that run.' CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, instance)
TTL toDateTime(time) + toIntervalDay(90)
SETTINGS ttl_only_drop_parts = 1, index_granularity = 8192
COMMENT 'How much there is in the estate, and how much of that is active: a row once a minute.';

CREATE TABLE rollup_folds
(
    `collector` UInt16 COMMENT 'Collector whose slots these are; 0 wrote before there were numbers.',
    `until` DateTime('UTC') COMMENT 'Of the slots before this one folded rows count. The latest row holds.',
    `folded_at` DateTime64(3, 'UTC') COMMENT 'When that began to be so.',
    `rows_before` UInt64 COMMENT 'Rows that were folded.',
    `rows_after` UInt64 COMMENT 'Rows that they were folded into.'
)
ENGINE = MergeTree
ORDER BY until
SETTINGS index_granularity = 8192
COMMENT 'Up to where sums are folded.';

CREATE TABLE rule_instances
(
    `instance` UInt32 COMMENT 'Number of the rule instance; column rule_instance of other tables has it. Up to 255 it is a built-in rule.',
    `valid_from` DateTime64(3, 'UTC') COMMENT 'From when on it was in force.',
    `valid_to` DateTime64(3, 'UTC') COMMENT 'Until when it was; 2200 as long as it is.',
    `rule_id` UInt64 COMMENT 'Rule that it is an instance of; 0 of the built-in rules.',
    `rule` String COMMENT 'Name of the rule.',
    `scope` UInt64 COMMENT 'Pool, network, VM or VIF whose rule it is; 0 is all.',
    `tier` LowCardinality(String) COMMENT 'Tier of the hierarchy, as global_mandatory; system of the built-in rules.',
    `action` LowCardinality(String) COMMENT 'What it does: allow, deny, shadow.',
    `verdict` Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6) COMMENT 'Verdict of the flows that it decided.',
    `text` String COMMENT 'The rule in a line.',
    `written` DateTime64(3, 'UTC') COMMENT 'When the row was written: of several for one period the last holds.'
)
ENGINE = ReplacingMergeTree(written)
ORDER BY (instance, valid_from)
SETTINGS index_granularity = 8192
COMMENT 'Rule instances: each rule with one action in one version, and when it was in force.';

CREATE TABLE server_stats
(
    `time` DateTime64(3, 'UTC') COMMENT 'End of the interval that the row is about.' CODEC(Delta(8), ZSTD(1)),
    `interval_ms` UInt64 COMMENT 'Its length, since the row before, or since the process started. Unit: ms.' CODEC(ZSTD(1)),
    `instance` UInt64 COMMENT 'Run of the process: a random number.' CODEC(ZSTD(1)),
    `service` LowCardinality(String) COMMENT 'What the process is: up, policyd, collector, or store, which is the embedded one.',
    `machine` LowCardinality(String) COMMENT 'Name of the machine that it runs on.',
    `pid` UInt32 COMMENT 'Number of the process.' CODEC(ZSTD(1)),
    `version` LowCardinality(String) COMMENT 'Version of Weir.',
    `collector` UInt16 COMMENT 'Collector that it is, as in flows; 0 if it is none, or has no number yet.' CODEC(ZSTD(1)),
    `uptime_ms` UInt64 COMMENT 'Since the process started. Unit: ms.' CODEC(T64, ZSTD(1)),
    `cpu_ms` UInt64 COMMENT 'Time of CPUs that the process used in the interval. Unit: ms.' CODEC(T64, ZSTD(1)),
    `memory_bytes` UInt64 COMMENT 'Memory that it has, resident. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `threads` UInt32 COMMENT 'Its threads.' CODEC(T64, ZSTD(1)),
    `open_files` UInt32 COMMENT 'Files and sockets that it has open.' CODEC(T64, ZSTD(1)),
    `max_open_files` UInt64 COMMENT 'So many it may have.' CODEC(T64, ZSTD(1)),
    `machine_cpus` UInt32 COMMENT 'CPUs of the machine.' CODEC(T64, ZSTD(1)),
    `machine_cpu_ms` UInt64 COMMENT 'Time of CPUs that anything on the machine used in the interval; 0 in the first row of a run. Unit: ms.' CODEC(T64, ZSTD(1)),
    `machine_load` Float64 COMMENT 'Load of the machine, the mean of a minute. From: /proc/loadavg.' CODEC(ZSTD(1)),
    `machine_memory_bytes` UInt64 COMMENT 'Memory of the machine. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `machine_memory_free_bytes` UInt64 COMMENT 'Of that, what programs could still get. From: MemAvailable of /proc/meminfo. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `machine_uptime_ms` UInt64 COMMENT 'Since the machine started. Unit: ms.' CODEC(T64, ZSTD(1)),
    `disk_bytes` UInt64 COMMENT 'Size of the file system that the data of the process is on. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `disk_free_bytes` UInt64 COMMENT 'Of that, what the process can still use. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `datagrams` UInt64 COMMENT 'Datagrams received in the interval.' CODEC(T64, ZSTD(1)),
    `socket_drops` UInt64 COMMENT 'Datagrams that the kernel discarded in the interval, for want of buffer.' CODEC(T64, ZSTD(1)),
    `socket_queue_bytes` UInt64 COMMENT 'Memory of datagrams that wait in the kernel, of all sockets. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `socket_queue_max_bytes` UInt64 COMMENT 'So much the kernel lets wait. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `flows` UInt64 COMMENT 'Flows decoded in the interval.' CODEC(T64, ZSTD(1)),
    `flows_stored` UInt64 COMMENT 'Flows that the store took in the interval, those of former runs that were in the write-ahead log, too.' CODEC(T64, ZSTD(1)),
    `flows_dropped` UInt64 COMMENT 'Flows that were lost in the interval, between decoder and store.' CODEC(T64, ZSTD(1)),
    `flows_waiting` UInt64 COMMENT 'Flows that wait for the store, in the write-ahead log or in memory.' CODEC(T64, ZSTD(1)),
    `wal_bytes` UInt64 COMMENT 'Size of the write-ahead log. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `wal_max_bytes` UInt64 COMMENT 'Size that it may have. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `wal_age_ms` UInt64 COMMENT 'Age of the oldest flow that waits there; 0 if none does. Unit: ms.' CODEC(T64, ZSTD(1)),
    `store_away_ms` UInt64 COMMENT 'Since when the store takes no flows; 0 if it does. Unit: ms.' CODEC(T64, ZSTD(1)),
    `events_waiting` UInt64 COMMENT 'Network events that wait for the store.' CODEC(T64, ZSTD(1)),
    `events_dropped` UInt64 COMMENT 'Network events that were lost in the interval.' CODEC(T64, ZSTD(1)),
    `hits_waiting` UInt64 COMMENT 'Packets that met rules, in rows that wait for the store.' CODEC(T64, ZSTD(1)),
    `hits_dropped` UInt64 COMMENT 'Packets that met rules, of which it will not be stored, since too much waited in the interval.' CODEC(T64, ZSTD(1)),
    `store_bytes` UInt64 COMMENT 'Size of all tables on disk, as who keeps the store in bounds knows it; 0 from others. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `store_max_bytes` UInt64 COMMENT 'Size that they may have; 0 is no limit. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `store_restarts` UInt64 COMMENT 'Times in the interval that the embedded store ended by itself and was started again.' CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, machine, service, instance)
TTL toDateTime(time) + toIntervalDay(90)
SETTINGS ttl_only_drop_parts = 1, index_granularity = 8192
COMMENT 'How every process of Weir does, and its machine: a row for each once a minute. What a process has nothing to do with is 0. Sum with FINAL.';

CREATE VIEW entities_now
(
    `id` UInt64,
    `kind` Enum8('pool' = 1, 'host' = 2, 'bridge' = 3, 'network' = 4, 'vm' = 5, 'vif' = 6, 'address_group' = 7, 'vm_group' = 8, 'rule' = 9),
    `key` String,
    `name` String,
    `parent` UInt64,
    `pool` UInt64,
    `attributes` Map(String, String),
    `same_as` UInt64,
    `removed` Bool,
    `valid_from` DateTime64(3, 'UTC'),
    `source` LowCardinality(String)
)
COMMENT 'The last row of each entity, of removed ones too.'
AS SELECT
    id,
    kind,
    key,
    name,
    parent,
    pool,
    attributes,
    same_as,
    removed,
    valid_from,
    source
FROM entities
FINAL
ORDER BY
    id ASC,
    valid_from DESC
LIMIT 1 BY id;

CREATE VIEW entities_then
(
    `id` UInt64,
    `kind` Enum8('pool' = 1, 'host' = 2, 'bridge' = 3, 'network' = 4, 'vm' = 5, 'vif' = 6, 'address_group' = 7, 'vm_group' = 8, 'rule' = 9),
    `key` String,
    `name` String,
    `parent` UInt64,
    `pool` UInt64,
    `attributes` Map(String, String),
    `same_as` UInt64,
    `removed` Bool,
    `source` LowCardinality(String),
    `valid_from` DateTime64(3, 'UTC'),
    `valid_to` DateTime64(3, 'UTC')
)
COMMENT 'Every row of each entity with the time in which it holds: valid_from to valid_to, both included.'
AS SELECT
    id,
    kind,
    key,
    name,
    parent,
    pool,
    attributes,
    same_as,
    removed,
    source,
    if(row_number() OVER history = 1, toDateTime64(0, 3, 'UTC'), e.valid_from) AS valid_from,
    leadInFrame(e.valid_from, 1, toDateTime64('2200-01-01 00:00:00', 3, 'UTC')) OVER history - toIntervalMillisecond(1) AS valid_to
FROM entities AS e
FINAL
WINDOW history AS (PARTITION BY id ORDER BY e.valid_from ASC ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING);

CREATE VIEW exporter_names_now
(
    `exporter` IPv6,
    `domain` UInt32,
    `kind` Enum8('interface' = 1, 'application' = 2, 'vrf' = 3),
    `key` UInt64,
    `name` String,
    `description` String,
    `seen` DateTime64(3, 'UTC')
)
COMMENT 'The last name that each exporter told of each thing.'
AS SELECT
    exporter,
    domain,
    kind,
    key,
    name,
    description,
    seen
FROM exporter_names
FINAL;

CREATE VIEW rollup_lines
(
    `lines` Array(DateTime('UTC'))
)
COMMENT 'Up to where sums are folded: of collector n, lines[n + 1].'
AS SELECT groupArrayInsertAt(toDateTime(0, 'UTC'), 300)(until, collector) AS lines
FROM
(
    SELECT
        collector,
        max(until) AS until
    FROM rollup_folds
    GROUP BY collector
);

CREATE VIEW rule_instances_now
(
    `instance` UInt64,
    `rule_id` UInt64,
    `rule` String,
    `scope` UInt64,
    `tier` LowCardinality(String),
    `action` LowCardinality(String),
    `verdict` String,
    `text` String,
    `valid_from` DateTime64(3, 'UTC'),
    `valid_to` DateTime64(3, 'UTC')
)
COMMENT 'The last period of each rule instance.'
AS SELECT
    toUInt64(instance) AS instance,
    rule_id,
    rule,
    scope,
    toString(tier) AS tier,
    toString(action) AS action,
    toString(verdict) AS verdict,
    text,
    valid_from,
    valid_to
FROM rule_instances
FINAL
ORDER BY
    instance ASC,
    valid_from DESC
LIMIT 1 BY instance;

CREATE DICTIONARY entity_now
(
    `id` UInt64,
    `kind` String,
    `key` String,
    `name` String,
    `parent` UInt64,
    `pool` UInt64,
    `removed` UInt8
)
PRIMARY KEY id
SOURCE(CLICKHOUSE(TABLE 'entities_now'))
LIFETIME(MIN 30 MAX 60)
LAYOUT(HASHED())
COMMENT 'Names of entities as they are now, by id.';

CREATE DICTIONARY entity_then
(
    `id` UInt64,
    `valid_from` DateTime64(3, 'UTC'),
    `valid_to` DateTime64(3, 'UTC'),
    `name` String,
    `parent` UInt64
)
PRIMARY KEY id
SOURCE(CLICKHOUSE(TABLE 'entities_then'))
LIFETIME(MIN 30 MAX 60)
LAYOUT(RANGE_HASHED())
RANGE(MIN valid_from MAX valid_to)
COMMENT 'Names of entities as they were, by id and time.';

CREATE DICTIONARY exporter_name
(
    `exporter` IPv6,
    `domain` UInt32,
    `kind` String,
    `key` UInt64,
    `name` String,
    `description` String
)
PRIMARY KEY exporter, domain, kind, key
SOURCE(CLICKHOUSE(TABLE 'exporter_names_now'))
LIFETIME(MIN 30 MAX 60)
LAYOUT(COMPLEX_KEY_HASHED())
COMMENT 'Names of interfaces, applications and VRFs, by exporter, observation domain, kind and number.';

CREATE DICTIONARY rule_instance
(
    `instance` UInt64,
    `rule_id` UInt64,
    `rule` String,
    `scope` UInt64,
    `tier` String,
    `action` String,
    `verdict` String,
    `text` String
)
PRIMARY KEY instance
SOURCE(CLICKHOUSE(TABLE 'rule_instances_now'))
LIFETIME(MIN 30 MAX 60)
LAYOUT(HASHED())
COMMENT 'Rule instances by number.';

CREATE TABLE flows
(
    `time_received` DateTime64(3, 'UTC') COMMENT 'When the datagram reached the collector.' CODEC(T64, ZSTD(1)),
    `start_age_ms` Int64 COMMENT 'Time from the flow\'s first packet to time_received; flow_start is computed from it. Unit: ms. From: flowStart*, first switched.' CODEC(T64, ZSTD(1)),
    `duration_ms` UInt32 COMMENT 'Time from the flow\'s first packet to its last; flow_end is computed from it. Unit: ms. From: flowEnd*, last switched.' CODEC(ZSTD(1)),
    `exporter` IPv6 COMMENT 'Source address of the datagram; IPv4 is IPv4-mapped.' CODEC(ZSTD(1)),
    `observation_domain` UInt32 COMMENT 'Part of the exporter that numbers its own templates and sequence. From: observationDomainId, source id, engine type × 256 + engine id.' CODEC(ZSTD(1)),
    `version` UInt8 COMMENT 'Protocol: 5 and 9 NetFlow, 10 IPFIX; 105 is reserved for sFlow 5.' CODEC(ZSTD(1)),
    `sampling_rate` UInt32 COMMENT 'One packet in this many was looked at; multiply bytes and packets by it for totals. Unit: packets. From: samplingInterval, samplingPacketInterval, samplingPacketSpace, …' CODEC(ZSTD(1)),
    `sampling_assumed` Bool COMMENT 'The exporter did not say its sampling rate; sampling_rate is the configured default.' CODEC(ZSTD(1)),
    `src_addr` IPv6 COMMENT 'Source address; IPv4 is IPv4-mapped, :: is none. From: sourceIPv4Address, sourceIPv6Address.' CODEC(ZSTD(1)),
    `dst_addr` IPv6 COMMENT 'Destination address; IPv4 is IPv4-mapped, :: is none. From: destinationIPv4Address, destinationIPv6Address.' CODEC(ZSTD(1)),
    `src_port` UInt16 COMMENT 'Source port of TCP, UDP, SCTP. From: sourceTransportPort, udpSourcePort, tcpSourcePort.' CODEC(ZSTD(1)),
    `dst_port` UInt16 COMMENT 'Destination port of TCP, UDP, SCTP. From: destinationTransportPort, udpDestinationPort, tcpDestinationPort.' CODEC(ZSTD(1)),
    `protocol` UInt8 COMMENT 'IP protocol number; 0 where the frame is not IP or the exporter did not say. From: protocolIdentifier.' CODEC(ZSTD(1)),
    `ethertype` UInt16 COMMENT 'EtherType; 0 where the exporter did not say. From: ethernetType.' CODEC(ZSTD(1)),
    `bytes` UInt64 COMMENT 'Bytes as reported, before sampling_rate; bytes_layer says what they include. Unit: bytes. From: octetDeltaCount, layer2OctetDeltaCount, initiatorOctets, …' CODEC(ZSTD(1)),
    `packets` UInt64 COMMENT 'Packets as reported, before sampling_rate. Unit: packets. From: packetDeltaCount, initiatorPackets, …' CODEC(ZSTD(1)),
    `bytes_layer` Enum8('unknown' = 0, 'layer2' = 2, 'layer3' = 3) COMMENT 'Layer from which bytes count: layer2 with the Ethernet header, layer3 from the IP header.' CODEC(ZSTD(1)),
    `tcp_flags` UInt16 COMMENT 'TCP flags seen, ORed. From: tcpControlBits.' CODEC(ZSTD(1)),
    `tos` UInt8 COMMENT 'IPv4 type of service or IPv6 traffic class. From: ipClassOfService, ipDiffServCodePoint.' CODEC(ZSTD(1)),
    `icmp_type` UInt8 COMMENT 'ICMP or ICMPv6 type. From: icmpTypeIPv4, icmpTypeIPv6, icmpTypeCodeIPv4, icmpTypeCodeIPv6.' CODEC(ZSTD(1)),
    `icmp_code` UInt8 COMMENT 'ICMP or ICMPv6 code. From: icmpCodeIPv4, icmpCodeIPv6, icmpTypeCodeIPv4, icmpTypeCodeIPv6.' CODEC(ZSTD(1)),
    `in_if` UInt32 COMMENT 'Interface index by which the flow came in; 0 is unknown or local. From: ingressInterface.' CODEC(ZSTD(1)),
    `out_if` UInt32 COMMENT 'Interface index by which the flow left; 0 is unknown, local or dropped. From: egressInterface.' CODEC(ZSTD(1)),
    `src_mac` UInt64 COMMENT 'Source MAC address in the low 48 bits, first octet highest; 0 is none. MACNumToString prints it. From: sourceMacAddress, postSourceMacAddress.' CODEC(ZSTD(3)),
    `dst_mac` UInt64 COMMENT 'Destination MAC address in the low 48 bits, first octet highest; 0 is none. From: destinationMacAddress, postDestinationMacAddress.' CODEC(ZSTD(3)),
    `vlan_in` UInt16 COMMENT 'VLAN at the ingress; 0 is untagged or unknown. From: vlanId, dot1qVlanId.' CODEC(ZSTD(1)),
    `vlan_out` UInt16 COMMENT 'VLAN at the egress; 0 is untagged or unknown. From: postVlanId, postDot1qVlanId.' CODEC(ZSTD(1)),
    `vrf_in` UInt32 COMMENT 'VRF at the ingress. From: ingressVRFID.' CODEC(ZSTD(1)),
    `vrf_out` UInt32 COMMENT 'VRF at the egress. From: egressVRFID.' CODEC(ZSTD(1)),
    `application` UInt64 COMMENT 'Application as the exporter numbers it (RFC 6759 §4: engine in the first octet), read as one big-endian number. From: applicationId.' CODEC(ZSTD(1)),
    `observed` Enum8('unknown' = 0, 'ingress' = 1, 'egress' = 2) COMMENT 'Side of the interface at which the exporter saw the flow. From: flowDirection.' CODEC(ZSTD(1)),
    `forwarding_status` UInt8 COMMENT 'RFC 7270 §4.12: status in the two high bits (1 forwarded, 2 dropped, 3 consumed), reason below. From: forwardingStatus.' CODEC(ZSTD(1)),
    `end_reason` UInt8 COMMENT 'RFC 5102 §5.11.3: 1 idle timeout, 2 active timeout, 3 end of flow, 4 forced, 5 lack of resources. From: flowEndReason.' CODEC(ZSTD(1)),
    `observation_point` UInt32 COMMENT 'Observation point as exported, also where it has no meaning for Weir. From: observationPointId.' CODEC(ZSTD(1)),
    `direction` Enum8('unknown' = 0, 'inbound' = 1, 'outbound' = 2, 'internal' = 3) COMMENT 'How the flow crosses the border of the estate.' CODEC(ZSTD(1)),
    `pool` UInt64 COMMENT 'Pool of the exporting host.' CODEC(ZSTD(1)),
    `host` UInt64 COMMENT 'Host that exported the flow.' CODEC(ZSTD(1)),
    `bridge` UInt64 COMMENT 'Bridge at which the flow was seen.' CODEC(ZSTD(1)),
    `network` UInt64 COMMENT 'Network in which the flow was seen.' CODEC(ZSTD(1)),
    `src_vm` UInt64 COMMENT 'VM that sent it; 0 is none known.' CODEC(ZSTD(1)),
    `dst_vm` UInt64 COMMENT 'VM that received it; 0 is none known.' CODEC(ZSTD(1)),
    `src_vif` UInt64 COMMENT 'VIF that sent it; 0 is none known.' CODEC(ZSTD(1)),
    `dst_vif` UInt64 COMMENT 'VIF that received it; 0 is none known.' CODEC(ZSTD(1)),
    `src_groups` Array(UInt64) COMMENT 'Address groups and VM groups of the source, in ascending order.' CODEC(ZSTD(3)),
    `dst_groups` Array(UInt64) COMMENT 'Address groups and VM groups of the destination, in ascending order.' CODEC(ZSTD(3)),
    `rule_id` UInt64 COMMENT 'Policy rule that decided; 0 is none known.' CODEC(ZSTD(1)),
    `rule_instance` UInt32 COMMENT 'Version of the rule that decided: its rule, action and text at that time. From: observationPointId.' CODEC(ZSTD(1)),
    `stage` Enum8('none' = 0, 'egress' = 1, 'ingress' = 2, 'reply' = 3, 'system' = 4) COMMENT 'Stage of policy at which the row was sampled. From: observationPointId.' CODEC(ZSTD(1)),
    `verdict` Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6) COMMENT 'What policy did with the packets of this row.' CODEC(ZSTD(1)),
    `counted` Bool COMMENT 'This observation is the one that totals count; others of the same packets are false.' CODEC(ZSTD(1)),
    `batch` UInt64 COMMENT 'Batch in which the collector sealed the row.' CODEC(ZSTD(1)),
    `flow_start` DateTime64(3, 'UTC') ALIAS time_received - toIntervalMillisecond(start_age_ms) COMMENT 'When the first packet of the flow was seen: time_received - start_age_ms.',
    `flow_end` DateTime64(3, 'UTC') ALIAS time_received - toIntervalMillisecond(start_age_ms - duration_ms) COMMENT 'When the last packet of the flow was seen: flow_start + duration_ms.',
    `exporter_text` String ALIAS replaceRegexpOne(toString(exporter), '^::ffff:([0-9]+\\.)', '\\1') COMMENT 'The address of the exporter as people write it: IPv4 without ::ffff: in front.',
    `src_addr_text` String ALIAS replaceRegexpOne(toString(src_addr), '^::ffff:([0-9]+\\.)', '\\1') COMMENT 'The address of the source as people write it: IPv4 without ::ffff: in front.',
    `dst_addr_text` String ALIAS replaceRegexpOne(toString(dst_addr), '^::ffff:([0-9]+\\.)', '\\1') COMMENT 'The address of the destination as people write it: IPv4 without ::ffff: in front.',
    `src_mac_text` String ALIAS if(src_mac = 0, '', MACNumToString(src_mac)) COMMENT 'Source MAC address, as in 52:54:00:12:34:56; empty is none.',
    `dst_mac_text` String ALIAS if(dst_mac = 0, '', MACNumToString(dst_mac)) COMMENT 'Destination MAC address, as in 52:54:00:12:34:56; empty is none.',
    `pool_name` String ALIAS dictGetOrDefault('entity_now', 'name', pool, '') COMMENT 'Name that the pool has now, or had last; empty is none known.',
    `host_name` String ALIAS dictGetOrDefault('entity_now', 'name', host, '') COMMENT 'Name that the exporting host has now, or had last; empty is none known.',
    `bridge_name` String ALIAS dictGetOrDefault('entity_now', 'name', bridge, '') COMMENT 'Name that the bridge has now, or had last; empty is none known.',
    `network_name` String ALIAS dictGetOrDefault('entity_now', 'name', network, '') COMMENT 'Name that the network has now, or had last; empty is none known.',
    `src_vm_name` String ALIAS dictGetOrDefault('entity_now', 'name', src_vm, '') COMMENT 'Name that the VM that sent it has now, or had last; empty is none known.',
    `dst_vm_name` String ALIAS dictGetOrDefault('entity_now', 'name', dst_vm, '') COMMENT 'Name that the VM that received it has now, or had last; empty is none known.',
    `src_vif_name` String ALIAS dictGetOrDefault('entity_now', 'name', src_vif, '') COMMENT 'Name that the VIF that sent it has now, or had last; empty is none known.',
    `dst_vif_name` String ALIAS dictGetOrDefault('entity_now', 'name', dst_vif, '') COMMENT 'Name that the VIF that received it has now, or had last; empty is none known.',
    `rule_name` String ALIAS dictGetOrDefault('rule_instance', 'rule', toUInt64(rule_instance), '') COMMENT 'Name of the rule that decided, built-in ones too; empty is none known.',
    `rule_text` String ALIAS dictGetOrDefault('rule_instance', 'text', toUInt64(rule_instance), '') COMMENT 'The rule that decided, in a line, as it was when it did.',
    `pool_name_then` String ALIAS dictGetOrDefault('entity_then', 'name', pool, time_received, '') COMMENT 'Name that the pool had at time_received.',
    `host_name_then` String ALIAS dictGetOrDefault('entity_then', 'name', host, time_received, '') COMMENT 'Name that the exporting host had at time_received.',
    `bridge_name_then` String ALIAS dictGetOrDefault('entity_then', 'name', bridge, time_received, '') COMMENT 'Name that the bridge had at time_received.',
    `network_name_then` String ALIAS dictGetOrDefault('entity_then', 'name', network, time_received, '') COMMENT 'Name that the network had at time_received.',
    `src_vm_name_then` String ALIAS dictGetOrDefault('entity_then', 'name', src_vm, time_received, '') COMMENT 'Name that the VM that sent it had at time_received.',
    `dst_vm_name_then` String ALIAS dictGetOrDefault('entity_then', 'name', dst_vm, time_received, '') COMMENT 'Name that the VM that received it had at time_received.',
    `src_vif_name_then` String ALIAS dictGetOrDefault('entity_then', 'name', src_vif, time_received, '') COMMENT 'Name that the VIF that sent it had at time_received.',
    `dst_vif_name_then` String ALIAS dictGetOrDefault('entity_then', 'name', dst_vif, time_received, '') COMMENT 'Name that the VIF that received it had at time_received.',
    `src_group_names` Array(String) ALIAS arrayMap(id -> dictGetOrDefault('entity_now', 'name', id, ''), src_groups) COMMENT 'Names that the groups of the source have now, in the order of src_groups.',
    `dst_group_names` Array(String) ALIAS arrayMap(id -> dictGetOrDefault('entity_now', 'name', id, ''), dst_groups) COMMENT 'Names that the groups of the destination have now, in the order of dst_groups.',
    `in_if_name` String ALIAS dictGetOrDefault('exporter_name', 'name', (exporter, observation_domain, 'interface', toUInt64(in_if)), '') COMMENT 'Name of the interface by which the flow came in, as the exporter told it in options data; empty is not told.',
    `out_if_name` String ALIAS dictGetOrDefault('exporter_name', 'name', (exporter, observation_domain, 'interface', toUInt64(out_if)), '') COMMENT 'Name of the interface by which the flow left, as the exporter told it in options data; empty is not told.',
    `vrf_in_name` String ALIAS dictGetOrDefault('exporter_name', 'name', (exporter, observation_domain, 'vrf', toUInt64(vrf_in)), '') COMMENT 'Name of the VRF at the ingress, as the exporter told it in options data; empty is not told.',
    `vrf_out_name` String ALIAS dictGetOrDefault('exporter_name', 'name', (exporter, observation_domain, 'vrf', toUInt64(vrf_out)), '') COMMENT 'Name of the VRF at the egress, as the exporter told it in options data; empty is not told.',
    `application_name` String ALIAS dictGetOrDefault('exporter_name', 'name', (exporter, observation_domain, 'application', application), '') COMMENT 'Name of the application, as the exporter told it in options data; empty is not told.',
    INDEX src_addr_bloom src_addr TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX dst_addr_bloom dst_addr TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX src_vm_bloom src_vm TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX dst_vm_bloom dst_vm TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(time_received)
ORDER BY (toStartOfFiveMinutes(time_received), network, src_vm, dst_vm)
TTL toDateTime(time_received) + toIntervalDay(30)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, index_granularity = 8192
COMMENT 'Flows as exporters reported them, with what Weir knows about both ends.';

CREATE TABLE network_events
(
    `id` UInt64 COMMENT 'Identifier; ascends in the order in which events were noticed, with gaps.' CODEC(Delta(8), ZSTD(1)),
    `time` DateTime64(3, 'UTC') COMMENT 'When it was noticed.' CODEC(Delta(8), ZSTD(1)),
    `kind` LowCardinality(String) COMMENT 'What happened: host_connected, host_lost, vif_plugged, … (docs/howto/watch-events.md lists all).',
    `severity` Enum8('emergency' = 0, 'alert' = 1, 'critical' = 2, 'error' = 3, 'warning' = 4, 'notice' = 5, 'info' = 6, 'debug' = 7) COMMENT 'How urgent it is. From: RFC 5424 §6.2.1.',
    `pool` UInt64 COMMENT 'Pool that it is about; 0 is none.' CODEC(ZSTD(1)),
    `host` UInt64 COMMENT 'Host that it is about; 0 is none.' CODEC(ZSTD(1)),
    `bridge` UInt64 COMMENT 'Bridge that it is about; 0 is none.' CODEC(ZSTD(1)),
    `network` UInt64 COMMENT 'Network that it is about; 0 is none.' CODEC(ZSTD(1)),
    `vm` UInt64 COMMENT 'VM that it is about; 0 is none.' CODEC(ZSTD(1)),
    `vif` UInt64 COMMENT 'VIF that it is about; 0 is none.' CODEC(ZSTD(1)),
    `subject` String COMMENT 'Name, as it was then, of what it is about.' CODEC(ZSTD(1)),
    `text` String COMMENT 'What happened, in a line.' CODEC(ZSTD(1)),
    `attributes` Map(String, String) COMMENT 'Facts in the text, for programs.' CODEC(ZSTD(1)),
    `pool_name` String ALIAS dictGetOrDefault('entity_then', 'name', pool, time, '') COMMENT 'Name that the pool had then.',
    `host_name` String ALIAS dictGetOrDefault('entity_then', 'name', host, time, '') COMMENT 'Name that the host had then.',
    `bridge_name` String ALIAS dictGetOrDefault('entity_then', 'name', bridge, time, '') COMMENT 'Name that the bridge had then.',
    `network_name` String ALIAS dictGetOrDefault('entity_then', 'name', network, time, '') COMMENT 'Name that the network had then.',
    `vm_name` String ALIAS dictGetOrDefault('entity_then', 'name', vm, time, '') COMMENT 'Name that the VM had then.',
    `vif_name` String ALIAS dictGetOrDefault('entity_then', 'name', vif, time, '') COMMENT 'Name that the VIF had then.',
    INDEX id_range id TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, id)
TTL toDateTime(time) + toIntervalDay(365)
SETTINGS ttl_only_drop_parts = 1, index_granularity = 8192
COMMENT 'Network events: what Weir noticed in the estate.';

CREATE TABLE rule_hits_1m
(
    `minute` DateTime('UTC') COMMENT 'Start of the minute in which the switch was asked.' CODEC(Delta(4), ZSTD(1)),
    `host` UInt64 COMMENT 'Host of the bridge.' CODEC(ZSTD(1)),
    `bridge` UInt64 COMMENT 'Bridge whose flows counted.' CODEC(ZSTD(1)),
    `rule_id` UInt64 COMMENT 'Rule that was met; 0 of the built-in rules.' CODEC(ZSTD(1)),
    `rule_instance` UInt32 COMMENT 'Version of the rule.' CODEC(ZSTD(1)),
    `stage` Enum8('none' = 0, 'egress' = 1, 'ingress' = 2, 'reply' = 3, 'system' = 4) COMMENT 'Stage of policy at which it was met.' CODEC(ZSTD(1)),
    `run` UInt64 COMMENT 'Run of policyd that counted: a random number.' CODEC(ZSTD(1)),
    `packets` UInt64 COMMENT 'Packets that met the rule there. From: flow statistics of the switch. Unit: packets.' CODEC(T64, ZSTD(1)),
    `bytes` UInt64 COMMENT 'Bytes of those, from the Ethernet header on. From: flow statistics of the switch. Unit: bytes.' CODEC(T64, ZSTD(1)),
    `host_name` String ALIAS dictGetOrDefault('entity_now', 'name', host, '') COMMENT 'Name that the host has now, or had last; empty is none known.',
    `bridge_name` String ALIAS dictGetOrDefault('entity_now', 'name', bridge, '') COMMENT 'Name that the bridge has now, or had last; empty is none known.',
    `rule_name` String ALIAS dictGetOrDefault('rule_instance', 'rule', toUInt64(rule_instance), '') COMMENT 'Name of the rule; empty is none known.'
)
ENGINE = ReplacingMergeTree(packets)
PARTITION BY toYYYYMM(minute)
ORDER BY (minute, rule_instance, stage, host, bridge, rule_id, run)
TTL minute + toIntervalDay(90)
SETTINGS ttl_only_drop_parts = 1, index_granularity = 8192
COMMENT 'How often rules were met, by minute, as the switches count it: complete, whatever is sampled. Sum with FINAL.';

CREATE VIEW flows_1h
(
    `bucket` DateTime('UTC'),
    `exporter` IPv6,
    `host` UInt64,
    `network` UInt64,
    `src_vm` UInt64,
    `dst_vm` UInt64,
    `protocol` UInt8,
    `service` UInt16,
    `rule_id` UInt64,
    `stage` Enum8('none' = 0, 'egress' = 1, 'ingress' = 2, 'reply' = 3, 'system' = 4),
    `verdict` Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6),
    `counted` Bool,
    `bytes` UInt64,
    `packets` UInt64,
    `flows` UInt64,
    `pool` UInt64,
    `host_name` String,
    `network_name` String,
    `src_vm_name` String,
    `dst_vm_name` String,
    `rule_name` String
)
COMMENT 'Sums of flows by the hour in which the packets passed.'
AS WITH
    (
        SELECT lines
        FROM rollup_lines
    ) AS folded_until
SELECT
    bucket,
    exporter,
    host,
    network,
    src_vm,
    dst_vm,
    protocol,
    service,
    rule_id,
    stage,
    verdict,
    counted,
    bytes,
    packets,
    flows,
    dictGetOrDefault('entity_now', 'pool', host, 0) AS pool,
    dictGetOrDefault('entity_now', 'name', host, '') AS host_name,
    dictGetOrDefault('entity_now', 'name', network, '') AS network_name,
    dictGetOrDefault('entity_now', 'name', src_vm, '') AS src_vm_name,
    dictGetOrDefault('entity_now', 'name', dst_vm, '') AS dst_vm_name,
    dictGetOrDefault('entity_now', 'name', rule_id, '') AS rule_name
FROM
(
    SELECT
        bucket,
        exporter,
        host,
        network,
        src_vm,
        dst_vm,
        protocol,
        service,
        rule_id,
        stage,
        verdict,
        counted,
        bytes,
        packets,
        flows
    FROM flows_1h_rows
    WHERE slot < (folded_until[collector + 1])
    UNION ALL
    SELECT
        toStartOfHour(bucket) AS bucket,
        exporter,
        host,
        network,
        src_vm,
        dst_vm,
        protocol,
        service,
        rule_id,
        stage,
        verdict,
        counted,
        bytes,
        packets,
        flows
    FROM flows_1m_rows
    WHERE (NOT folded) AND (slot >= (folded_until[collector + 1]))
);

CREATE VIEW flows_1m
(
    `bucket` DateTime('UTC'),
    `exporter` IPv6,
    `host` UInt64,
    `network` UInt64,
    `src_vm` UInt64,
    `dst_vm` UInt64,
    `protocol` UInt8,
    `service` UInt16,
    `rule_id` UInt64,
    `stage` Enum8('none' = 0, 'egress' = 1, 'ingress' = 2, 'reply' = 3, 'system' = 4),
    `verdict` Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6),
    `counted` Bool,
    `bytes` UInt64,
    `packets` UInt64,
    `flows` UInt64,
    `pool` UInt64,
    `host_name` String,
    `network_name` String,
    `src_vm_name` String,
    `dst_vm_name` String,
    `rule_name` String
)
COMMENT 'Sums of flows by the minute in which the packets passed. The newest minutes read low until their flows have expired.'
AS WITH
    (
        SELECT lines
        FROM rollup_lines
    ) AS folded_until
SELECT
    bucket,
    exporter,
    host,
    network,
    src_vm,
    dst_vm,
    protocol,
    service,
    rule_id,
    stage,
    verdict,
    counted,
    bytes,
    packets,
    flows,
    dictGetOrDefault('entity_now', 'pool', host, 0) AS pool,
    dictGetOrDefault('entity_now', 'name', host, '') AS host_name,
    dictGetOrDefault('entity_now', 'name', network, '') AS network_name,
    dictGetOrDefault('entity_now', 'name', src_vm, '') AS src_vm_name,
    dictGetOrDefault('entity_now', 'name', dst_vm, '') AS dst_vm_name,
    dictGetOrDefault('entity_now', 'name', rule_id, '') AS rule_name
FROM flows_1m_rows
WHERE folded = (slot < (folded_until[collector + 1]));

CREATE VIEW flows_group_1m
(
    `bucket` DateTime('UTC'),
    `group` UInt64,
    `end` Enum8('in' = 1, 'out' = 2, 'both' = 3),
    `protocol` UInt8,
    `stage` Enum8('none' = 0, 'egress' = 1, 'ingress' = 2, 'reply' = 3, 'system' = 4),
    `verdict` Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6),
    `counted` Bool,
    `bytes` UInt64,
    `packets` UInt64,
    `flows` UInt64,
    `group_name` String
)
COMMENT 'Sums of flows by minute and group of either end. A flow is in as many rows as it has groups: sums over groups are no totals.'
AS WITH
    (
        SELECT lines
        FROM rollup_lines
    ) AS folded_until
SELECT
    bucket,
    group,
    end,
    protocol,
    stage,
    verdict,
    counted,
    bytes,
    packets,
    flows,
    dictGetOrDefault('entity_now', 'name', group, '') AS group_name
FROM flows_group_1m_rows
WHERE folded = (slot < (folded_until[collector + 1]));

CREATE VIEW flows_rx_1m
(
    `bucket` DateTime('UTC'),
    `exporter` IPv6,
    `network` UInt64,
    `src_vm` UInt64,
    `dst_vm` UInt64,
    `rule_id` UInt64,
    `stage` Enum8('none' = 0, 'egress' = 1, 'ingress' = 2, 'reply' = 3, 'system' = 4),
    `verdict` Enum8('unknown' = 0, 'allowed' = 1, 'denied' = 2, 'shadow_denied' = 3, 'spoofed' = 4, 'invalid' = 5, 'unknown_port' = 6),
    `counted` Bool,
    `bytes` UInt64,
    `packets` UInt64,
    `flows` UInt64,
    `network_name` String,
    `src_vm_name` String,
    `dst_vm_name` String,
    `rule_name` String
)
COMMENT 'Sums of flows by the minute in which they were received, which is complete at once: for alerts.'
AS WITH
    (
        SELECT lines
        FROM rollup_lines
    ) AS folded_until
SELECT
    bucket,
    exporter,
    network,
    src_vm,
    dst_vm,
    rule_id,
    stage,
    verdict,
    counted,
    bytes,
    packets,
    flows,
    dictGetOrDefault('entity_now', 'name', network, '') AS network_name,
    dictGetOrDefault('entity_now', 'name', src_vm, '') AS src_vm_name,
    dictGetOrDefault('entity_now', 'name', dst_vm, '') AS dst_vm_name,
    dictGetOrDefault('entity_now', 'name', rule_id, '') AS rule_name
FROM flows_rx_1m_rows
WHERE folded = (slot < (folded_until[collector + 1]));
