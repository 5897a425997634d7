// Targets: what a panel, an annotation or a variable asks the data source. The forms are those of the query model of the
// data source; values of variables are put in by the data source, quoted as the filter language wants them.

import type { Builder, Dataquery } from '@grafana/grafana-foundation-sdk/cog';
import type { DataSourceRef } from '@grafana/grafana-foundation-sdk/common';

/** The data source that the variable of that name has chosen. */
export const datasource: DataSourceRef = { type: 'weir-datasource', uid: '${datasource}' };

/**
 * Chosen is a variable alone, as "${limit:raw}". Where the model has a number, or true or false, the frontend of the data source puts
 * the value of the variable in as such.
 */
export type Chosen = `\${${string}}`;

export interface Flows {
  format?: 'timeseries' | 'table' | 'number';
  by?: string[];
  filter?: string;
  units?: string[];
  direction?: string;
  split?: boolean;
  limit?: number | Chosen;
  bottom?: boolean | Chosen;
  other?: boolean;
  total?: boolean;
  traffic?: string;
  observations?: boolean;
  basis?: 'received' | 'lived';
}

export interface Records {
  format: 'table' | 'logs';
  columns?: string[];
  filter?: string;
  limit?: number;
}

export interface Events {
  format: 'table' | 'logs' | 'annotations' | 'timeseries' | 'number';
  source?: 'network' | 'admin' | 'all';
  kinds?: string[];
  severity?: 'error' | 'warning' | 'notice' | 'info';
  filter?: string;
  limit?: number;
}

export interface Exporters {
  format: 'timeseries' | 'table' | 'number';
  what?: string[];
  by?: string[];
  filter?: string;
  rate?: boolean;
  limit?: number;
}

export interface Hits {
  format: 'timeseries' | 'table' | 'number';
  rule?: string;
  unit?: 'packets' | 'bytes' | 'pps' | 'bps';
  unused?: boolean;
  system?: boolean;
  limit?: number;
}

export interface Inventory {
  format: 'table' | 'number';
  kind?: 'pool' | 'host' | 'bridge' | 'network' | 'vm' | 'vif' | 'group' | 'exporter';
  match?: string;
  limit?: number;
}

/** Target is one query; its letter is given when the panel is laid out. */
export class Target implements Builder<Dataquery> {
  readonly query: Record<string, unknown>;

  constructor(queryType: string, part: object, refId: string) {
    this.query = { refId, datasource, version: 1, queryType, [queryType]: part };
  }

  build(): Dataquery {
    // The foundation SDK knows no data source of ours: a Dataquery is what has this method, which JSON leaves out.
    return Object.defineProperty({ ...this.query }, '_implementsDataqueryVariant', { value: () => {} }) as unknown as Dataquery;
  }
}

/** flows asks for sums of flows: over time unless the format says otherwise, of everything unless there is a filter. */
export function flows(q: Flows, refId = 'A'): Target {
  return new Target('flows', { format: 'timeseries', by: [], filter: '', units: ['bps'], direction: 'both', ...q }, refId);
}

export function records(q: Records, refId = 'A'): Target {
  return new Target('records', { columns: [], filter: '', ...q }, refId);
}

export function events(q: Events, refId = 'A'): Target {
  return new Target('events', q, refId);
}

export function exporters(q: Exporters, refId = 'A'): Target {
  return new Target('exporters', q, refId);
}

export function hits(q: Hits, refId = 'A'): Target {
  return new Target('hits', q, refId);
}

export function inventory(q: Inventory, refId = 'A'): Target {
  return new Target('inventory', q, refId);
}
