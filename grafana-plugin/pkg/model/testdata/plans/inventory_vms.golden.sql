SELECT
  name AS `name`,
  kind AS `kind`,
  toBool(id IN (
  SELECT
    arrayJoin([src_vm, dst_vm]) AS id
  FROM flows_1h
  WHERE bucket >= fromUnixTimestamp({from:Int64})
    AND bucket < fromUnixTimestamp({to:Int64})
  GROUP BY id
)) AS `active`,
  dictGetOrDefault('entity_now', 'name', parent, '') AS `parent_name`,
  dictGetOrDefault('entity_now', 'name', pool, '') AS `pool_name`,
  valid_from AS `since`,
  source AS `source`,
  key AS `key`,
  attributes AS `attributes`,
  toString(id) AS `id`
FROM (
  SELECT
    id,
    toString(kind) AS kind,
    name,
    key,
    parent,
    pool,
    valid_from,
    toString(source) AS source,
    toJSONString(mapSort(attributes)) AS attributes
  FROM entities_now
  WHERE NOT removed
    AND kind IN ('vm')
    AND name ILIKE {match:String}
  ORDER BY name, kind, key
  LIMIT 5000
) AS e
ORDER BY e.name, e.kind, e.key
LIMIT 5000

-- {from:Int64} = "1795665600"
-- {to:Int64} = "1795687207"
-- {match:String} = "web-%"
-- table, at most 5000 rows, whole
-- column name text
-- column kind text
-- column active text
-- column parent_name text
-- column pool_name text
-- column since text
-- column source text
-- column key text
-- column attributes text
-- column id text
