// Tables and graphs of flows that several dashboards have.

import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import type { Panel } from '@grafana/grafana-foundation-sdk/dashboard';

import type { Jump } from './link.ts';
import { cell, label, to } from './link.ts';
import type { Override, Series } from './panel.ts';
import { bar, below, colour, column, hidden, link, log, name, named, series, table, width } from './panel.ts';
import type { Flows } from './target.ts';
import { flows, records } from './target.ts';

/** Fields of flows: what stands above their column, and where their values lead. */
const fields: Record<string, [title: string, jump?: (value: string) => Jump]> = {
  vm: ['VM', (v) => to('Traffic of this VM', 'vm', { vm: v })],
  src_vm: ['From VM', (v) => to('Traffic of this VM', 'vm', { vm: v })],
  dst_vm: ['To VM', (v) => to('Traffic of this VM', 'vm', { vm: v })],
  network: ['Network', (v) => to('Traffic in this network', 'network', { network: v })],
  host: ['Host', (v) => to('Traffic at this host', 'host', { host: v })],
  pool: ['Pool', (v) => to('Hosts of this pool', 'host', { pool: v })],
  group: ['Group', (v) => to('Traffic of this group', 'group', { group: v })],
  exporter: ['Exporter', (v) => to('What this exporter sent', 'collector', { exporter: v })],
  addr: ['Address', (v) => to('Flows of this address', 'flows', { filter: `addr%20%3D%20${v}` })],
  src_addr: ['From address', (v) => to('Flows of this address', 'flows', { filter: `addr%20%3D%20${v}` })],
  dst_addr: ['To address', (v) => to('Flows of this address', 'flows', { filter: `addr%20%3D%20${v}` })],
  service: ['Service', (v) => to('Flows of this service', 'flows', { filter: `service%20%3D%20${v}` })],
  protocol: ['Protocol', (v) => to('Flows of this protocol', 'flows', { filter: `protocol%20%3D%20${v}` })],
  verdict: ['Verdict', (v) => to('Flows with this verdict', 'flows', { filter: `verdict%20%3D%20${v}` })],
  rule: ['Rule', (v) => to('Flows that this rule decided', 'flows', { filter: `rule%20%3D%20%22${v}%22` })],
};

/** Units of figures: what stands above them, and Grafana's name where the data source does not say. */
const units: Record<string, string> = {
  bps: 'Bit rate',
  pps: 'Packet rate',
  fps: 'Flow rate',
  bytes: 'Bytes',
  bits: 'Bits',
  packets: 'Packets',
  flows: 'Flows',
};

/** columns dresses what a table of that question has; of a field or unit that a variable chooses, every one it may be. */
function columns(q: Flows): Override[] {
  const among = <T>(all: Record<string, T>, asked: string[]): [string, T][] =>
    Object.entries(all).filter(([word]) => asked.includes(word) || asked.some((a) => a.includes('$')));
  const figures = among(units, q.units ?? ['bps']);
  return [
    ...among(fields, q.by ?? []).map(([field, [title, jump]]) => column(field, title, ...(jump ? [link(jump(cell))] : []))),
    ...figures.map(([unit, title]) => column(unit, title, ...bar(colour.quiet))),
    ...(q.split ? figures.flatMap(([unit]) => [column(`${unit}_in`, 'In', ...bar(colour.in)), column(`${unit}_out`, 'Out', ...bar(colour.out))]) : []),
    ...(q.total ? [column('share', 'Share', width(80))] : []),
    ...(q.total || q.other ? [hidden('row')] : []),
  ];
}

/** Words that mean the same wherever they are shown, by field. */
const words: Record<string, Record<string, string>> = {
  direction: { inbound: colour.in, outbound: colour.out, internal: colour.internal },
  verdict: { allowed: colour.good, denied: colour.bad, shadow_denied: colour.warn, spoofed: 'dark-red', invalid: 'dark-orange' },
};

function coloured(q: Flows): Override[] {
  const known = (q.by ?? []).flatMap((field) => Object.entries(words[field] ?? {}));
  return [...known.map(([word, color]) => named(word, color)), ...(q.other ? [named('other', 'gray')] : [])];
}

export interface Question extends Flows {
  title: string;
  description: string;
}

/** top is the table of the largest. */
export function top({ title, description, ...q }: Question): Builder<Panel> {
  return table({ title, description, unit: 'short', targets: [flows({ format: 'table', limit: 10, ...q })], overrides: columns(q) });
}

/** over is the largest over time, on top of each other, and the rest. */
export function over({ title, description, ...rest }: Question, more: Partial<Series> = {}): Builder<Panel> {
  const q: Flows = { limit: 10, other: true, ...rest };
  const links = (q.by ?? []).flatMap((field) => fields[field]?.[1]?.(label(field)) ?? []);
  return series({ title, description, unit: 'short', stacked: true, targets: [flows(q)], overrides: coloured(q), links, ...more });
}

/** opposite is what comes in above zero, and what goes out below, of what the filter says. */
export function opposite({ title, description, filter, ...q }: Question & { filter: string }): Builder<Panel> {
  return series({
    title,
    description,
    unit: 'short',
    targets: [flows({ ...q, filter, direction: 'in' }, 'A'), flows({ ...q, filter, direction: 'out' }, 'B')],
    overrides: [name('A', 'In', colour.in), below(name('B', 'Out', colour.out))],
  });
}

/** lines are single records, as logs. */
export function lines(title: string, filter: string): Builder<Panel> {
  return log({
    title,
    description: 'Single records as exporters sent them, newest first, every observation of a flow: what is under totals, before it is summed.',
    targets: [records({ format: 'logs', filter, limit: 200 })],
  });
}
