// Targets: what a panel or an annotation asks the data source, in its query model. Values of variables are put in by the data source's
// frontend: in a filter quoted as the language wants them, elsewhere as they are; a variable alone, as "${limit:raw}", where the model has a
// number, or true or false, as such.

import type { Builder, Dataquery } from '@grafana/grafana-foundation-sdk/cog';
import type { DataSourceRef } from '@grafana/grafana-foundation-sdk/common';

import type { Events, Exporters, Flows, Hits, Inventory, Parts, Records, Statistics } from '../src/datasource/query/model.ts';

/** The data source that the variable of that name has chosen. */
export const datasource: DataSourceRef = { type: 'weir-datasource', uid: '${datasource}' };

/** Target is one query; its letter is given when the panel is laid out. */
export class Target implements Builder<Dataquery> {
  readonly query: Record<string, unknown>;

  constructor(queryType: keyof Parts, part: object, refId: string) {
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

export function records(q: Records): Target {
  return new Target('records', q, 'A');
}

export function events(q: Events, refId = 'A'): Target {
  return new Target('events', q, refId);
}

export function exporters(q: Exporters): Target {
  return new Target('exporters', q, 'A');
}

export function hits(q: Hits, refId = 'A'): Target {
  return new Target('hits', q, refId);
}

export function inventory(q: Inventory): Target {
  return new Target('inventory', q, 'A');
}

export function statistics(q: Statistics): Target {
  return new Target('statistics', q, 'A');
}
