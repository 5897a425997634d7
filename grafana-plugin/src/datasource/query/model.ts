/*
 * The query of a target, as it is saved in dashboards and alert rules. It is the backend's model (pkg/model), which reads the same JSON; the files in
 * testdata/queries are read by tests of both.
 */
import type { DataQuery } from '@grafana/schema';

/** The version that new queries have. */
export const version = 1;

export type QueryType = 'flows' | 'records' | 'events' | 'exporters' | 'hits' | 'inventory' | 'statistics' | 'sql';

/** A number, or the text of a variable that is put in its place before the query is sent. */
export type Count = number | string;

/** Yes or no, or the text of such a variable. */
export type Flag = boolean | string;

/** Sums of flows. */
export interface Flows {
  format?: 'timeseries' | 'table' | 'number';
  by?: string[];
  filter?: string;
  units?: string[];
  direction?: string;
  split?: Flag;
  limit?: Count | undefined;
  bottom?: Flag;
  other?: Flag;
  total?: Flag;
  step?: string;
  traffic?: string;
  seen?: Flag;
  observations?: Flag;
  basis?: string;
}

/** Single flow records, newest first. */
export interface Records {
  format?: 'table' | 'logs';
  columns?: string[];
  filter?: string;
  limit?: Count | undefined;
}

/** What Weir noticed, and what people changed. */
export interface Events {
  format?: 'logs' | 'table' | 'annotations' | 'timeseries' | 'number';
  source?: string;
  kinds?: string[];
  severity?: string;
  text?: string;
  filter?: string;
  limit?: Count | undefined;
}

/** The ledger of exporters. */
export interface Exporters {
  format?: 'timeseries' | 'table' | 'number';
  what?: string[];
  /** None is by exporter; an empty list is all together. */
  by?: string[] | undefined;
  filter?: string;
  rate?: Flag;
  limit?: Count | undefined;
  step?: string;
}

/** How often rules were met. */
export interface Hits {
  format?: 'timeseries' | 'table' | 'number';
  by?: string;
  rule?: string;
  verdict?: string;
  unit?: string;
  unused?: Flag;
  system?: Flag;
  limit?: Count | undefined;
  step?: string;
}

/** What exists. */
export interface Inventory {
  format?: 'table' | 'number';
  kind?: string;
  match?: string;
  limit?: Count | undefined;
}

/** How processes of Weir and their machines do, and how much of the estate is active. */
export interface Statistics {
  format?: 'timeseries' | 'table' | 'number';
  of?: string;
  what?: string[];
  /** None is by machine and service, which is each process; an empty list is all together. */
  by?: string[] | undefined;
  machine?: string;
  service?: string;
  rate?: Flag;
  limit?: Count | undefined;
  step?: string;
}

/** SQL of somebody's own. */
export interface SQL {
  format?: 'timeseries' | 'table' | 'number' | 'logs';
  text?: string;
}

/** The parts of a query, one for each type; that of the type is the one that is asked. */
export interface Parts {
  flows: Flows;
  records: Records;
  events: Events;
  exporters: Exporters;
  hits: Hits;
  inventory: Inventory;
  statistics: Statistics;
  sql: SQL;
}

export interface WeirQuery extends DataQuery, Partial<Parts> {
  version: number;
  queryType: QueryType;
}

/** What a member of a part is, which says how variables are put into it. */
export type Member = 'word' | 'words' | 'filter' | 'count' | 'flag' | 'sql';

/** All members of all parts. */
export const members: { readonly [T in QueryType]: Readonly<Record<keyof Required<Parts[T]>, Member>> } = {
  flows: {
    format: 'word',
    by: 'words',
    filter: 'filter',
    units: 'words',
    direction: 'word',
    split: 'flag',
    limit: 'count',
    bottom: 'flag',
    other: 'flag',
    total: 'flag',
    step: 'word',
    traffic: 'word',
    seen: 'flag',
    observations: 'flag',
    basis: 'word',
  },
  records: { format: 'word', columns: 'words', filter: 'filter', limit: 'count' },
  events: { format: 'word', source: 'word', kinds: 'words', severity: 'word', text: 'word', filter: 'filter', limit: 'count' },
  exporters: { format: 'word', what: 'words', by: 'words', filter: 'filter', rate: 'flag', limit: 'count', step: 'word' },
  hits: { format: 'word', by: 'word', rule: 'word', verdict: 'word', unit: 'word', unused: 'flag', system: 'flag', limit: 'count', step: 'word' },
  inventory: { format: 'word', kind: 'word', match: 'word', limit: 'count' },
  statistics: { format: 'word', of: 'word', what: 'words', by: 'words', machine: 'word', service: 'word', rate: 'flag', limit: 'count', step: 'word' },
  sql: { format: 'word', text: 'sql' },
};

/** The forms that an answer of each type has, the one that it has if nothing is said first. */
export const formats: { readonly [T in QueryType]: readonly NonNullable<Parts[T]['format']>[] } = {
  flows: ['timeseries', 'table', 'number'],
  records: ['table', 'logs'],
  events: ['logs', 'table', 'annotations', 'timeseries', 'number'],
  exporters: ['timeseries', 'table', 'number'],
  hits: ['table', 'timeseries', 'number'],
  inventory: ['number', 'table'],
  statistics: ['timeseries', 'table', 'number'],
  sql: ['table', 'timeseries', 'number', 'logs'],
};

/** Whose events there are. */
export const sources = ['network', 'admin', 'all'] as const;

/** What statistics are of. */
export const subjects = ['servers', 'network'] as const;

/** What hits over time can be grouped by. */
export const hitKeys = ['rule', 'tier', 'verdict', 'scope', 'host'] as const;

/** Units of hits over time. */
export const hitUnits = ['packets', 'bytes', 'pps', 'bps'] as const;

/** Of filters that take only some of the fields: which. */
export const filterFields: { readonly [T in QueryType]?: readonly string[] } = {
  events: ['pool', 'host', 'bridge', 'network', 'vm', 'vif'],
  exporters: ['exporter', 'observation_domain', 'version'],
};

/** The parts as an editor begins them. */
export const initial: { readonly [T in QueryType]: Parts[T] } = {
  flows: { format: 'timeseries', by: [], filter: '', units: ['bps'], direction: 'both' },
  records: { format: 'table', columns: [], filter: '' },
  events: { format: 'logs' },
  exporters: { format: 'timeseries', what: ['flows', 'lost'] },
  hits: { format: 'table' },
  inventory: { format: 'number' },
  statistics: { format: 'timeseries', of: 'servers', what: ['cpu'] },
  sql: { format: 'table', text: '' },
};

/** What a new query asks: the bit rate of everything, over time. */
export function defaultQuery(): Omit<WeirQuery, 'refId'> {
  return { version, queryType: 'flows', flows: { ...initial.flows } };
}

/** The type of a query; of one that does not say it, that which the backend takes. */
export function typeOf(query: Partial<WeirQuery>): QueryType {
  return query.queryType || 'flows';
}

/**
 * A query as the present version has it. What is saved without a type or a form means the ones that the backend takes then. One of a later version,
 * or of a type that is not known here, stays as it is.
 */
export function migrate(saved: Partial<WeirQuery> & { refId: string }): WeirQuery {
  const query: WeirQuery = { ...saved, version: saved.version ?? version, queryType: typeOf(saved) };
  if (query.version > version || !(query.queryType in formats)) {
    return query;
  }
  if (!saved.queryType && !saved.flows) {
    return { ...query, ...defaultQuery() };
  }
  const type = query.queryType;
  return { ...query, version, [type]: { format: formats[type][0], ...query[type] } };
}

/** The part that is asked, if it says anything. */
export function partOf(query: WeirQuery): Parts[QueryType] | undefined {
  return query[typeOf(query)];
}

/** Whether there is something to ask. Only SQL has no beginning. */
export function isComplete(query: WeirQuery): boolean {
  return typeOf(query) !== 'sql' || (query.sql?.text ?? '').trim() !== '';
}

/** The filter of a query whose type has one that is of the fields of flows, or of some of them. */
export function filterOf(query: WeirQuery): string | undefined {
  const type = typeOf(query);
  const part = query[type];
  return type in members && 'filter' in members[type] ? ((part && 'filter' in part && part.filter) || '') : undefined;
}

/** A query with another filter, if its type has one. */
export function withFilter(query: WeirQuery, change: (filter: string) => string): WeirQuery {
  const filter = filterOf(query);
  return filter === undefined ? query : { ...query, [typeOf(query)]: { ...query[typeOf(query)], filter: change(filter) } };
}
