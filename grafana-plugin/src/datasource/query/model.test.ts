import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import { examples } from '../editor/examples';
import { describe as inWords } from './describe';
import { defaultQuery, filterFields, filterOf, formats, hitKeys, hitUnits, initial, isComplete, members, migrate, partOf, sources, subjects, withFilter, type QueryType, type WeirQuery } from './model';

const plugin = join(__dirname, '../../..');
const types = Object.keys(formats) as QueryType[];

/** The targets that the backend's tests read as well. */
const fixtures = readdirSync(join(plugin, 'testdata/queries')).map((file): [string, Partial<WeirQuery> & { refId: string }] => [
  file,
  JSON.parse(readFileSync(join(plugin, 'testdata/queries', file), 'utf8')) as Partial<WeirQuery> & { refId: string },
]);

test('there are fixtures of every type and form', () => {
  const found = new Set(fixtures.map(([, q]) => migrate(q)).map((q) => `${q.queryType} ${partOf(q)?.format ?? ''}`));
  const wanted = types.flatMap((type) => formats[type].map((format) => `${type} ${format}`));
  expect([...found].sort()).toEqual(wanted.sort());
});

test.each(fixtures)('%s is of the model', (_, saved) => {
  const query = migrate(saved);
  expect(query.version).toBe(1);
  expect(query.refId).toBe(saved.refId);
  expect(Object.keys(members[query.queryType])).toEqual(expect.arrayContaining(Object.keys(partOf(query) ?? {})));
  // Nothing that was saved is lost, and what was migrated stays as it is.
  expect(query).toMatchObject(saved);
  expect(migrate(query)).toEqual(query);
  expect(isComplete(query)).toBe(true);
  expect(inWords(query)).not.toBe('');
});

/** Properties of the Go struct of a type, in order, from their tags. */
function tagsOf(source: string, struct: string): string[] {
  const body = new RegExp(`^type ${struct} struct \\{$([^}]*)`, 'm').exec(source)?.[1] ?? '';
  return [...body.matchAll(/json:"(\w+)/g)].map((m) => m[1] ?? '');
}

test('the members are those that the backend reads', () => {
  const source = readFileSync(join(plugin, 'pkg/model/query.go'), 'utf8');
  for (const type of types) {
    const struct = type === 'sql' ? 'SQL' : type.charAt(0).toUpperCase() + type.slice(1);
    expect([type, ...Object.keys(members[type])]).toEqual([type, ...tagsOf(source, struct)]);
  }
  const names = [...source.matchAll(/^\tType(\w+)\s+Type = "(\w+)"/gm)].map((m) => m[2]);
  expect(names).toEqual(types);
  const listed = [...source.matchAll(/^\tType(\w+):\s+\{(.*)\},$/gm)].map((m) => (m[2] ?? '').toLowerCase().split(', '));
  expect(listed).toEqual(types.map((t) => formats[t]));
});

test('words that only the model has are those that the backend reads', () => {
  const source = readFileSync(join(plugin, 'pkg/model/query.go'), 'utf8');
  expect([...source.matchAll(/^\t\w+\s+Source = "(\w+)"/gm)].map((m) => m[1])).toEqual(sources);
  const statistics = readFileSync(join(plugin, 'pkg/model/statistics.go'), 'utf8');
  expect([...statistics.matchAll(/^\t\w+\s+Subject = "(\w+)"/gm)].map((m) => m[1])).toEqual(subjects);
  const doc = readFileSync(join(plugin, 'pkg/model/doc.go'), 'utf8');
  expect([...doc.matchAll(/filter with the fields ([\w, ]+)/g)].map((m) => (m[1] ?? '').split(', '))).toEqual([filterFields.events, filterFields.exporters]);
  expect(/unit\s+of series and numbers: ([\w, ]+?) \(default\), (\w+)/.exec(doc)?.slice(1).join(', ').split(', ')).toEqual(hitUnits);
  expect(/by\s+of series and numbers: (\w+) \(default\), ([\w, ]+)/.exec(doc)?.slice(1).join(', ').split(', ')).toEqual(hitKeys);
});

test('a query of which nothing is said is the default query', () => {
  expect(migrate({ refId: 'A' })).toEqual({ refId: 'A', ...defaultQuery() });
  expect(migrate({ refId: 'A', queryType: '' as QueryType })).toEqual({ refId: 'A', ...defaultQuery() });
  expect(migrate({ refId: 'A', flows: { by: ['vm'] } })).toEqual({ refId: 'A', version: 1, queryType: 'flows', flows: { format: 'timeseries', by: ['vm'] } });
});

test('what a later version saved, or another type, stays as it is', () => {
  const later = { refId: 'A', version: 2, queryType: 'flows' as const, flows: { shape: 'new' } as object };
  expect(migrate(later)).toEqual(later);
  const unknown = { refId: 'A', version: 1, queryType: 'topology' as QueryType };
  expect(migrate(unknown)).toEqual(unknown);
});

test('only SQL has nothing to ask at first', () => {
  for (const queryType of types) {
    expect([queryType, isComplete({ refId: 'A', version: 1, queryType, [queryType]: initial[queryType] })]).toEqual([queryType, queryType !== 'sql']);
  }
  expect(isComplete({ refId: 'A', version: 1, queryType: 'sql', sql: { text: ' \n' } })).toBe(false);
  expect(isComplete({ refId: 'A', version: 1, queryType: 'flows' })).toBe(true);
});

test('filters are read and changed where there are any', () => {
  const query: WeirQuery = { refId: 'A', version: 1, queryType: 'records', records: { format: 'logs', filter: 'vm = a' } };
  expect(filterOf(query)).toBe('vm = a');
  expect(withFilter(query, (f) => `${f} and x = 1`).records).toEqual({ format: 'logs', filter: 'vm = a and x = 1' });
  expect(withFilter({ refId: 'A', version: 1, queryType: 'flows' }, (f) => `${f}x = 1`).flows).toEqual({ filter: 'x = 1' });
  const hits: WeirQuery = { refId: 'A', version: 1, queryType: 'hits' };
  expect(filterOf(hits)).toBeUndefined();
  expect(withFilter(hits, () => 'x = 1')).toBe(hits);
});

test('queries in words', () => {
  const words = (q: Partial<WeirQuery>) => inWords({ refId: 'A', version: 1, queryType: 'flows', ...q });
  expect(words({})).toBe('bps');
  expect(words({ flows: { by: ['vm', 'service'], units: ['bps', 'pps'], filter: 'vm = a', direction: 'in', traffic: 'denied' } })).toBe(
    'bps, pps by vm, service where vm = a direction in traffic denied'
  );
  expect(words({ queryType: 'events', events: { kinds: ['vif_added'], severity: 'warning' } })).toBe('events of vif_added from warning');
  expect(words({ queryType: 'hits', hits: { unused: true } })).toBe('rules that were not met');
  expect(words({ queryType: 'statistics', statistics: { of: 'servers', what: ['cpu', 'memory'], machine: 'weir-1' } })).toBe('statistics of the servers cpu, memory at weir-1');
  expect(words({ queryType: 'sql', sql: { text: 'SELECT 1\n  FROM x' } })).toBe('SELECT 1 FROM x');
  expect(new Set(examples.map((e) => words(e.ask))).size).toBe(examples.length);
});
