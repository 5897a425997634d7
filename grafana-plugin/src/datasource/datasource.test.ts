/** @jest-environment jsdom */
import { FieldType, createDataFrame, type AdHocVariableFilter, type DataQueryRequest, type DataSourceInstanceSettings } from '@grafana/data';
import { setBackendSrv, type BackendSrv, type BackendSrvRequest, type TemplateSrv } from '@grafana/runtime';
import { lastValueFrom, of } from 'rxjs';

import type { Options } from './config/settings';
import { WeirDataSource } from './datasource';
import type { WeirQuery } from './query/model';
import type { VariableQuery } from './query/options';

const fields = ['vm', 'src_vm', 'dst_port'].map((name) => ({ name, aliases: [], type: 'name', doc: '', operators: ['='], example: '', groupable: true, rollup: true }));

/** Grafana's variable vm, with the value of a dashboard. */
const templates = {
  getVariables: () => [],
  replace: (text = '', _: unknown, format?: unknown) =>
    text.replace(/\$vm\b|\$\{vm\}/g, () => (typeof format === 'function' ? String((format as (v: unknown, of: object) => unknown)('web-01', { name: 'vm' })) : 'web-01')),
} as unknown as TemplateSrv;

/** The data source, with Grafana's HTTP client answering as given; requests are kept. */
function open(answers: Record<string, unknown>) {
  const requests: BackendSrvRequest[] = [];
  const fetch = (request: BackendSrvRequest) => {
    requests.push(request);
    const name = Object.keys(answers).find((n) => request.url.includes(n)) ?? '';
    const answer = answers[name];
    return of({ data: typeof answer === 'function' ? (answer as (r: BackendSrvRequest) => unknown)(request) : answer });
  };
  setBackendSrv({ fetch } as unknown as BackendSrv);
  const settings = { uid: 'weir', type: 'weir-datasource', name: 'Weir', jsonData: {}, meta: { id: 'weir-datasource' } } as unknown as DataSourceInstanceSettings<Options>;
  return { source: new WeirDataSource(settings, templates), requests };
}

const flows = (filter: string): WeirQuery => ({ refId: 'A', version: 1, queryType: 'flows', flows: { filter } });

test('everything is asked but what is hidden or has no SQL', () => {
  const { source } = open({});
  expect(source.filterQuery({ refId: 'A' } as WeirQuery)).toBe(true);
  expect(source.filterQuery({ ...flows(''), hide: true })).toBe(false);
  expect(source.filterQuery({ refId: 'A', version: 1, queryType: 'sql' })).toBe(false);
  expect(source.getDefaultQuery()).toMatchObject({ queryType: 'flows', flows: { units: ['bps'] } });
});

test('variables are put in, and alerting is told of them; macros are none', () => {
  const { source } = open({});
  expect(source.interpolateVariablesInQueries([flows('vm = $vm')], {})[0]).toMatchObject({ flows: { filter: 'vm = "web-01"' }, datasource: { uid: 'weir' } });
  expect(source.targetContainsTemplate(flows('vm = $vm'))).toBe(true);
  expect(source.targetContainsTemplate(flows('vm = a'))).toBe(false);
  expect(source.targetContainsTemplate({ refId: 'A', version: 1, queryType: 'sql', sql: { text: 'SELECT $__timeFilter(t)' } })).toBe(false);
});

test('a value is filtered for and out, and no more', () => {
  const { source } = open({});
  const options = { key: 'src_vm', value: 'web-01' };
  const wanted = source.toggleQueryFilter(flows('dst_port = 443'), { type: 'FILTER_FOR', options });
  expect(wanted.flows?.filter).toBe('dst_port = 443 and src_vm = web-01');
  expect(source.queryHasFilter(wanted, options)).toBe(true);
  expect(source.toggleQueryFilter(wanted, { type: 'FILTER_OUT', options }).flows?.filter).toBe('dst_port = 443 and src_vm != web-01');
  expect(source.toggleQueryFilter(wanted, { type: 'FILTER_FOR', options }).flows?.filter).toBe('dst_port = 443');
  expect(source.modifyQuery(flows(''), { type: 'ADD_FILTER', options }).flows?.filter).toBe('src_vm = web-01');
  expect(source.modifyQuery(flows(''), { type: 'ADD_FILTER_OUT', options }).flows?.filter).toBe('src_vm != web-01');
  expect(source.modifyQuery(flows('x = 1'), { type: 'SOMETHING', options }).flows?.filter).toBe('x = 1');
});

test('keys of ad hoc filters are fields that are not used yet, values are looked up', async () => {
  const { source, requests } = open({ schema: { fields }, values: { values: [{ value: 'web-01' }] } });
  const filters: AdHocVariableFilter[] = [{ key: 'vm', operator: '=', value: 'a' }];
  expect(await source.getTagKeys({ filters })).toEqual({ data: [{ text: 'src_vm', value: 'src_vm' }, { text: 'dst_port', value: 'dst_port' }] });
  expect((await source.getTagKeys()).data).toHaveLength(3);
  expect(requests).toHaveLength(1);
  expect(await source.getTagValues({ key: 'vm' })).toEqual({ data: [{ text: 'web-01', value: 'web-01' }] });
  expect(requests[1]?.params).toEqual({ field: 'vm', prefix: '', limit: 100 });
});

test('a schema that could not be had is asked for again', async () => {
  let times = 0;
  const { source } = open({
    schema: () => {
      if (times++ === 0) {
        throw new Error('starting');
      }
      return { fields };
    },
  });
  await expect(source.schema()).rejects.toThrow('starting');
  expect((await source.schema()).fields).toHaveLength(3);
});

test('a mistake is found at its place in what was written, whatever stands for variables', async () => {
  const { source, requests } = open({ check: { ok: false, message: 'unknown field', hint: 'did you mean vm?', position: 19 } });
  expect(await source.checkFilter('vm = $vm and vmm = 1', 'flows')).toEqual({ message: 'unknown field', hint: 'did you mean vm?', place: 13 });
  expect(requests[0]?.data).toEqual({ filter: 'vm = "web-01" and vmm = 1' });
  await source.checkFilter('host = a', 'events');
  expect(requests[1]?.data).toEqual({ query: { refId: 'A', version: 1, queryType: 'events', events: { filter: 'host = a' } } });
  expect(await source.checkSQL('SELECT $vm')).toEqual({ message: 'unknown field', hint: 'did you mean vm?', place: undefined });
  expect(await source.checkSQL(' ')).toBeUndefined();
  expect(requests).toHaveLength(3);
});

const request = (target: VariableQuery) => ({ targets: [target], scopedVars: {}, range: undefined }) as unknown as DataQueryRequest<VariableQuery>;

test('values of variables are looked up, or are the texts of an answer', async () => {
  const { source, requests } = open({ values: { values: [{ value: 'a' }, { value: 'b' }] } });
  const { variables } = source;
  const found = await lastValueFrom(variables.query(request({ refId: 'v', queryType: 'values', values: { field: 'src_vm', prefix: '$vm' } })));
  expect(requests[0]?.params).toEqual({ field: 'src_vm', prefix: 'web-01', limit: 1000 });
  expect(found.data).toMatchObject([{ fields: [{ name: 'text', values: ['a', 'b'] }, { name: 'value', values: ['a', 'b'] }] }]);
  await lastValueFrom(variables.query(request({ refId: 'v' })));
  expect(requests[1]?.params).toMatchObject({ field: 'vm' });

  const asked: WeirQuery[] = [];
  source.query = (r) => {
    asked.push(...r.targets);
    return of({ data: [createDataFrame({ fields: [{ name: 'network', type: FieldType.string, values: ['x', 'y', 'x'] }] })] });
  };
  const answer = await lastValueFrom(variables.query(request({ refId: 'v', queryType: 'flows', flows: { format: 'table', by: ['network'] } })));
  expect(asked).toEqual([{ refId: 'v', version: 1, queryType: 'flows', flows: { format: 'table', by: ['network'] } }]);
  expect(answer.data).toMatchObject([{ fields: [{ values: ['x', 'y'] }, { values: ['x', 'y'] }] }]);
});
