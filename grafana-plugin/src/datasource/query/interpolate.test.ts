import type { ScopedVars } from '@grafana/data';
import type { TemplateSrv } from '@grafana/runtime';

import { interpolate } from './interpolate';
import type { Parts, QueryType, WeirQuery } from './model';

type Variable = { chosen: string | string[]; options?: string[]; multi?: boolean };

/** Variables as Grafana's service replaces them: with a function it gives the value, and for All the values of all options. */
function service(variables: Record<string, Variable>): TemplateSrv {
  const list = Object.entries(variables).map(([name, v]) => ({ name, current: { text: '', value: v.chosen } }));
  return {
    getVariables: () => list,
    containsTemplate: () => true,
    updateTimeRange: () => undefined,
    replace: (text = '', scoped: ScopedVars = {}, format: unknown) =>
      text.replace(/\$\{(\w+)(?::(\w+))?\}|\$(\w+)/g, (match, braced: string | undefined, own: string | undefined, bare: string | undefined) => {
        const name = braced ?? bare ?? '';
        const variable = variables[name];
        const chosen = (scoped[name]?.value as string | string[] | undefined) ?? variable?.chosen;
        if (chosen === undefined) {
          return match;
        }
        const value = chosen === '$__all' ? (variable?.options ?? []) : chosen;
        if (own === undefined && typeof format === 'function') {
          return String((format as (v: unknown, of: { name: string }) => unknown)(value, { name }));
        }
        return Array.isArray(value) ? value.join(',') : value;
      }),
  } as unknown as TemplateSrv;
}

const dashboard = service({
  vm: { chosen: ['web-01', 'a "b"'] },
  network: { chosen: '$__all', options: ['blue', 'red'] },
  by: { chosen: ['vm', 'service'] },
  unit: { chosen: 'pps' },
  limit: { chosen: '20' },
  order: { chosen: 'true' },
  filter: { chosen: '' },
  typed: { chosen: 'x = 1 or y = 2' },
});

const sent = <T extends QueryType>(queryType: T, part: Parts[T], scoped: ScopedVars = {}, filters: { key: string; operator: string; value: string }[] = []) =>
  interpolate({ refId: 'A', version: 1, queryType, [queryType]: part }, dashboard, scoped, filters)[queryType];

test('variables in every kind of member', () => {
  expect(
    sent('flows', {
      format: 'timeseries',
      by: ['${by:raw}', 'host', 'vm'],
      units: ['$unit'],
      filter: 'vm in ($vm) and network in ($network)',
      limit: '${limit:raw}',
      bottom: '${order:raw}',
      direction: 'both',
      total: true,
    })
  ).toEqual({
    format: 'timeseries',
    by: ['vm', 'service', 'host'],
    units: ['pps'],
    filter: 'vm in ("web-01", "a \\"b\\"") and network in (any)',
    limit: 20,
    bottom: true,
    direction: 'both',
    total: true,
  });
  expect(sent('sql', { text: 'SELECT $__timeFilter(t), $__interval_s FROM x WHERE v IN ($vm)' })).toEqual({
    text: "SELECT $__timeFilter(t), $__interval_s FROM x WHERE v IN ('web-01', 'a \\\"b\\\"')",
  });
  expect(sent('events', { text: '$unit', kinds: ['$unknown'] })).toEqual({ text: 'pps', kinds: ['$unknown'] });
});

test('in a repeated panel a variable is the value of the panel', () => {
  expect(sent('flows', { filter: 'network = $network' }, { network: { text: 'blue', value: 'blue' } })).toEqual({ filter: 'network = "blue"' });
});

test('a text box that nobody wrote in is no condition', () => {
  expect(sent('flows', { filter: '${filter:raw}' })).toEqual({ filter: '' });
  expect(sent('flows', { filter: '(${filter:raw}) and vm = a' })).toEqual({ filter: 'vm = a' });
  expect(sent('flows', { filter: '(${typed:raw}) and vm = a' })).toEqual({ filter: '(x = 1 or y = 2) and vm = a' });
});

test('ad hoc filters are conjuncts of flows and records, and of nothing else', () => {
  const filters = [{ key: 'vm', operator: '=', value: 'db' }];
  expect(sent('flows', { filter: '${typed:raw}' }, {}, filters)).toEqual({ filter: '(x = 1 or y = 2) and vm = "db"' });
  expect(sent('records', {}, {}, filters)).toEqual({ filter: 'vm = "db"' });
  expect(sent('events', { filter: 'host = a' }, {}, filters)).toEqual({ filter: 'host = a' });
});

test('a query without a type is one of flows, one of a type that is not known stays', () => {
  const bare = { refId: 'A' } as WeirQuery;
  expect(interpolate(bare, dashboard, {}, [{ key: 'vm', operator: '=', value: 'db' }])).toMatchObject({ queryType: 'flows', flows: { filter: 'vm = "db"' } });
  const unknown = { refId: 'A', version: 1, queryType: 'topology' } as unknown as WeirQuery;
  expect(interpolate(unknown, dashboard, {})).toBe(unknown);
});
