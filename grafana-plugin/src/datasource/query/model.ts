/*
 * The query of a target, as it is saved in dashboards and alert rules. It is the backend's model (pkg/model), which reads the same JSON; the files in
 * testdata/queries are read by tests of both.
 */
import type { DataQuery } from '@grafana/schema';

/** The version that new queries have. */
export const version = 1;

export type QueryType = 'flows' | 'records' | 'events' | 'exporters' | 'hits' | 'inventory' | 'sql';

/** A number, or the text of a variable that is put in its place before the query is sent. */
export type Count = number | string;

/** Sums of flows. */
export interface Flows {
  format: 'timeseries' | 'table' | 'number';
  by?: string[];
  filter?: string;
  units?: string[];
  direction?: string;
  split?: boolean;
  limit?: Count | undefined;
  bottom?: boolean | string;
  other?: boolean;
  total?: boolean;
  step?: string;
  traffic?: string;
  observations?: boolean;
  basis?: string;
}

/** Single flow records, newest first. */
export interface Records {
  format: 'table' | 'logs';
  columns?: string[];
  filter?: string;
  limit?: Count | undefined;
}

/** What Weir noticed, and what people did. */
export interface Events {
  format: 'logs' | 'table' | 'annotations' | 'timeseries' | 'number';
  source?: string;
  kinds?: string[];
  severity?: string;
  filter?: string;
  limit?: Count | undefined;
}

/** The ledger of exporters. */
export interface Exporters {
  format: 'timeseries' | 'table' | 'number';
  what?: string[];
  by?: string[];
  filter?: string;
  rate?: boolean;
  limit?: Count | undefined;
}

/** How often rules were met. */
export interface Hits {
  format: 'timeseries' | 'table' | 'number';
  rule?: string;
  unit?: string;
  unused?: boolean;
  system?: boolean;
  limit?: Count | undefined;
}

/** What exists. */
export interface Inventory {
  format: 'table' | 'number';
  kind?: string;
  match?: string;
  limit?: Count | undefined;
}

/** SQL of somebody's own. */
export interface SQL {
  format: 'timeseries' | 'table' | 'number' | 'logs';
  text: string;
}

/** The parts of a query, one for each type; that of the type is the one that is asked. */
export interface Parts {
  flows: Flows;
  records: Records;
  events: Events;
  exporters: Exporters;
  hits: Hits;
  inventory: Inventory;
  sql: SQL;
}

export interface WeirQuery extends DataQuery, Partial<Parts> {
  version: number;
  queryType: QueryType;
}

/** The parts as they begin: each shows something without more being said. */
export const initial: Parts = {
  flows: { format: 'timeseries', by: [], filter: '', units: ['bps'], direction: 'both' },
  records: { format: 'table', columns: [], filter: '' },
  events: { format: 'logs' },
  exporters: { format: 'timeseries' },
  hits: { format: 'table' },
  inventory: { format: 'number' },
  sql: { format: 'table', text: '' },
};

/** The forms of an answer that each type has. */
export const formats: { [T in QueryType]: readonly Parts[T]['format'][] } = {
  flows: ['timeseries', 'table', 'number'],
  records: ['table', 'logs'],
  events: ['logs', 'table', 'annotations', 'timeseries', 'number'],
  exporters: ['timeseries', 'table', 'number'],
  hits: ['timeseries', 'table', 'number'],
  inventory: ['number', 'table'],
  sql: ['timeseries', 'table', 'number', 'logs'],
};

/** What a new query asks: the bit rate of everything, over time. */
export function defaultQuery(): Omit<WeirQuery, 'refId'> {
  return { version, queryType: 'flows', flows: { ...initial.flows } };
}

/** A query as the present version has it; one of a later version, or of a type that is not known, stays as it is. */
export function migrate(query: Partial<WeirQuery> & { refId: string }): WeirQuery {
  if (!query.queryType) {
    return { ...query, ...defaultQuery(), ...(query.flows && { flows: query.flows }) };
  }
  const type = query.queryType;
  const known = query.version ?? version;
  return { ...query, queryType: type, version: known, ...(type in initial && known <= version && { [type]: { ...initial[type], ...query[type] } }) };
}

/** The part that is asked, if there is one. */
export function partOf(query: WeirQuery): Parts[QueryType] | undefined {
  return query[query.queryType];
}

/** Whether there is something to ask. Only SQL has no beginning. */
export function isComplete(query: WeirQuery): boolean {
  return query.queryType !== 'sql' || (query.sql?.text ?? '').trim() !== '';
}

/** The filter of a query of flows or records; undefined of others. */
export function filterOf(query: WeirQuery): string | undefined {
  return query.queryType === 'flows' || query.queryType === 'records' ? (query[query.queryType]?.filter ?? '') : undefined;
}

/** A query with another filter, if it is one of flows or records. */
export function withFilter(query: WeirQuery, change: (filter: string) => string): WeirQuery {
  switch (query.queryType) {
    case 'flows':
      return { ...query, flows: { ...initial.flows, ...query.flows, filter: change(query.flows?.filter ?? '') } };
    case 'records':
      return { ...query, records: { ...initial.records, ...query.records, filter: change(query.records?.filter ?? '') } };
    default:
      return query;
  }
}
