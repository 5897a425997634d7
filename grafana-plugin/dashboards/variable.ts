// Variables of dashboards.

import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import type { VariableModel } from '@grafana/grafana-foundation-sdk/dashboard';
import {
  AdHocVariableBuilder,
  CustomVariableBuilder,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  TextBoxVariableBuilder,
  VariableHide,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';

import { datasource } from './target.ts';

type Variable = Builder<VariableModel>;

/** Which data source everything asks; the one that the provisioning folder makes, unless another is chosen. */
export function source(): Variable {
  return new DatasourceVariableBuilder('datasource')
    .label('Data source')
    .description('The store that the dashboard asks')
    .type('weir-datasource')
    .current({ text: 'Weir', value: 'weir' })
    .hide(VariableHide.InControlsMenu);
}

/** names lets people choose what exists of a kind, as the field of that name is compared with it: one, or with all several or everything. */
export function names(field: string, label: string, all: boolean): Variable {
  const v = new QueryVariableBuilder(field)
    .label(label)
    .query({ refId: field, version: 1, queryType: 'values', values: { field } })
    .definition(`what exists: ${field}`)
    .datasource(datasource)
    .refresh(VariableRefresh.OnDashboardLoad)
    .sort(VariableSort.NaturalAsc)
    .multi(all)
    .includeAll(all);
  // The filter language has a word for every value, so that All is neither a list of all names nor leaves out what has none.
  return all ? v.allValue('any').current({ text: 'All', value: '$__all' }) : v;
}

/** oneOrAll lets people choose one of what exists, or everything. */
export function oneOrAll(field: string, label: string): Variable {
  return { build: () => ({ ...names(field, label, true).build(), multi: false }) };
}

/** Choice is a word of the query model, and what people read. */
export type Choice = [text: string, value: string];

/** choose lets people choose one of a few words, the first unless they do. */
export function choose(name: string, label: string, ...choices: [Choice, ...Choice[]]): Variable {
  const [[text, value]] = choices;
  return new CustomVariableBuilder(name)
    .label(label)
    .values(choices.map(([t, v]) => `${t} : ${v}`).join(', '))
    .options(choices.map(([t, v], i) => ({ selected: i === 0, text: t, value: v })))
    .current({ selected: true, text, value })
    .allowCustomValue(false);
}

/** text lets people type. */
export function text(name: string, label: string, description: string): Variable {
  return new TextBoxVariableBuilder(name).label(label).description(description).defaultValue('').current({ text: '', value: '' });
}

/** adhoc lets people click filters together. */
export function adhoc(): Variable {
  return new AdHocVariableBuilder('filters').label('Filters').datasource(datasource);
}

export const unit = (): Variable =>
  choose('unit', 'Unit', ['Bit rate', 'bps'], ['Packet rate', 'pps'], ['Flow rate', 'fps'], ['Bytes', 'bytes'], ['Bits', 'bits'], ['Packets', 'packets'], ['Flows', 'flows']);

/** Of graphs that show rates only. */
export const rate = (): Variable => choose('unit', 'Show', ['Bit rate', 'bps'], ['Packets', 'pps'], ['Flows', 'fps']);

export const direction = (): Variable => choose('direction', 'Direction', ['In and out', 'both'], ['In', 'in'], ['Out', 'out']);

export const traffic = (): Variable => choose('traffic', 'Traffic', ['Seen', 'seen'], ['Delivered', 'delivered'], ['Denied', 'denied']);

export const limit = (): Variable => choose('limit', 'Limit', ['10', '10'], ['5', '5'], ['20', '20'], ['50', '50']);

export const order = (): Variable => choose('order', 'Order', ['Top', 'false'], ['Bottom', 'true']);
