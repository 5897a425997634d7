// Tables and graphs of flows that several dashboards have.

import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import type { Panel } from '@grafana/grafana-foundation-sdk/dashboard';

import type { Flows } from '../src/datasource/query/model.ts';
import type { Jump } from './link.ts';
import { cell, label, to } from './link.ts';
import type { Override, Series } from './panel.ts';
import { bar, below, colour, column, empty, link, log, name, named, series, table } from './panel.ts';
import { flows, records } from './target.ts';

/** A field of flows: what stands above its column, where its values lead, and what is shown for none. */
interface Shown {
  title: string;
  jump?: (value: string) => Jump;
  further?: (value: string) => Jump; // another place
  none?: string;
}

const toVM = (v: string) => to('Traffic of this VM', 'vm', { vm: v });
const toFlows = (of: string, condition: (v: string) => string) => (v: string) => to(`Flows ${of}`, 'flows', { filter: condition(v) });
const toAddress = toFlows('of this address', (v) => `addr%20%3D%20${v}`);

const fields: Record<string, Shown> = {
  vm: { title: 'VM', jump: toVM, none: 'no VM' },
  src_vm: { title: 'From VM', jump: toVM, none: 'elsewhere' },
  dst_vm: { title: 'To VM', jump: toVM, none: 'elsewhere' },
  network: { title: 'Network', jump: (v) => to('Traffic in this network', 'network', { network: v }), none: 'unknown' },
  host: { title: 'Host', jump: (v) => to('Traffic at this host', 'host', { host: v }), none: 'no host' },
  pool: { title: 'Pool', jump: (v) => to('Hosts of this pool', 'host', { pool: v }), none: 'no pool' },
  group: { title: 'Group', jump: (v) => to('Traffic of this group', 'group', { group: v }), none: 'no group' },
  exporter: { title: 'Exporter', jump: (v) => to('What this exporter sent', 'collector', { exporter: v }) },
  addr: { title: 'Address', jump: toAddress, none: 'no address' },
  src_addr: { title: 'From address', jump: toAddress, none: 'no address' },
  dst_addr: { title: 'To address', jump: toAddress, none: 'no address' },
  src_port: { title: 'From port' },
  dst_port: { title: 'To port' },
  service: { title: 'Service', jump: toFlows('of this service', (v) => `service%20%3D%20${v}`) },
  protocol: { title: 'Protocol', jump: toFlows('of this protocol', (v) => `protocol%20%3D%20${v}`) },
  verdict: { title: 'Verdict', jump: toFlows('with this verdict', (v) => `verdict%20%3D%20${v}`) },
  rule: { title: 'Rule', jump: toFlows('that this rule decided', (v) => `rule%20%3D%20%22${v}%22`), further: (v) => to('Hits of this rule', 'policy', { rule: v }), none: 'no rule' },
  src_mac: { title: 'From MAC', jump: toFlows('of this MAC address', (v) => `mac%20%3D%20${v}`) },
};

function shown(field: string, { title, none, ...rest }: Shown): Override {
  const jumps = jumpsOf(rest, cell);
  return column(field, title, ...(jumps.length > 0 ? [link(...jumps)] : []), ...(none === undefined ? [] : [empty(none)]));
}

function jumpsOf({ jump, further }: Pick<Shown, 'jump' | 'further'>, value: string): Jump[] {
  return [jump, further].flatMap((j) => (j ? [j(value)] : []));
}

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
    ...among(fields, q.by ?? []).map(([field, how]) => shown(field, how)),
    ...figures.map(([unit, title]) => column(unit, title, ...bar(colour.quiet))),
    ...(q.seen ? [column('first_seen', 'First seen'), column('last_seen', 'Last seen')] : []),
    ...(q.split ? figures.flatMap(([unit]) => [column(`${unit}_in`, 'In', ...bar(colour.in)), column(`${unit}_out`, 'Out', ...bar(colour.out))]) : []),
  ];
}

/** Words that mean the same wherever they are shown, by field. */
export const words: Record<string, Record<string, string>> = {
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
  const links = (q.by ?? []).flatMap((field) => jumpsOf(fields[field] ?? {}, label(field)));
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

const single = 'Single records as exporters sent them, newest first, every observation of a flow: what is under totals, before it is summed. Sampling is not multiplied in.';

/** Fields whose column in a list of records has another name. */
const columnOf: Record<string, string> = { rule: 'rule_id' };

/** rows are single records as a table. */
export function rows(title: string, filter: string): Builder<Panel> {
  const asked = ['network', 'src_vm', 'src_addr', 'src_port', 'dst_vm', 'dst_addr', 'dst_port', 'protocol', 'bytes', 'packets', 'duration', 'verdict', 'rule', 'exporter'];
  return table({
    title,
    description: single,
    unit: 'short',
    targets: [records({ format: 'table', columns: asked, filter, limit: 200 })],
    overrides: [
      ...asked.flatMap((field) => (fields[field] ? [shown(columnOf[field] ?? field, fields[field])] : [])),
      column('time_received', 'Received'),
      column('flow_start', 'Began'),
      column('bytes', 'Bytes'),
      column('packets', 'Packets'),
      column('duration_ms', 'Duration', { id: 'unit', value: 'ms' }),
    ],
  });
}

/** lines are single records as logs. */
export function lines(title: string, filter: string): Builder<Panel> {
  return log({ title, description: single, targets: [records({ format: 'logs', filter, limit: 200 })] });
}
