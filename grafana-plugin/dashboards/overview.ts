import type { Dashboard } from './board.ts';
import { band, board } from './board.ts';
import type { Jump } from './link.ts';
import { to } from './link.ts';
import { colour, log, named, stat, steps } from './panel.ts';
import { events, exporters, flows, inventory } from './target.ts';
import { over, top } from './traffic.ts';
import { rate } from './variable.ts';

/** Of a kind of things: how many are active, and how many there are. */
const activeOfAll = [named('active', colour.good), named('total', colour.neutral)];

function existing(title: string, kind: string, jump: Jump) {
  return stat({
    title,
    description: `${title} of which there was traffic in the time range, and all that exist.`,
    unit: 'short',
    names: true,
    overrides: activeOfAll,
    targets: [inventory({ format: 'number', kind })],
    links: [jump],
  });
}

const withVM = 'src_vm != none or dst_vm != none';

export const overview: Dashboard = board({
  about: 'overview',
  title: 'Weir overview',
  description: 'What passes through the virtual switches of the estate, who sends it, and what happened.',
  variables: [rate()],
  sections: [
    {
      bands: [
        band(
          4,
          stat({
            title: 'Throughput',
            description: 'Mean bit rate of the time range; each packet is counted once, wherever it was seen. By the time of receipt, so that the newest minutes are complete.',
            unit: 'bps',
            graph: true,
            calc: 'mean',
            targets: [flows({ units: ['bps'], basis: 'received' })],
            links: [to('Flows', 'flows')],
          }),
          stat({
            title: 'Packets',
            description: 'Mean rate of packets, each counted once.',
            unit: 'pps',
            graph: true,
            calc: 'mean',
            targets: [flows({ units: ['pps'], basis: 'received' })],
            links: [to('Flows', 'flows')],
          }),
          stat({
            title: 'Flows',
            description: 'Mean rate of flow records that are counted.',
            unit: 'short',
            graph: true,
            calc: 'mean',
            targets: [flows({ units: ['fps'], basis: 'received' })],
            links: [to('Flows', 'flows')],
          }),
          stat({
            title: 'Volume',
            description: 'Bytes that passed in the time range, each counted once.',
            unit: 'decbytes',
            targets: [flows({ format: 'number', units: ['bytes'] })],
            links: [to('Flows', 'flows')],
          }),
          stat({
            title: 'Denied',
            description: 'Packets that policy stopped in the time range, wherever that was.',
            unit: 'short',
            thresholds: steps(colour.good, [1, colour.warn]),
            targets: [flows({ format: 'number', units: ['packets'], traffic: 'denied' })],
            links: [to('Policy', 'policy'), to('Who was denied', 'denies'), to('Flows that were denied', 'flows', { traffic: 'denied' })],
          }),
          stat({
            title: 'Lost on the way here',
            description: 'Share of what exporters announced by sequence numbers that did not arrive. Totals lack as much.',
            unit: 'percentunit',
            thresholds: steps(colour.good, [0.0001, colour.warn], [0.01, colour.bad]),
            targets: [exporters({ format: 'number', what: ['loss'], by: [] })],
            links: [to('Collector health', 'collector')],
          }),
        ),
        band(
          4,
          existing('Pools', 'pool', to('Hosts and pools', 'host')),
          existing('Hosts', 'host', to('Hosts and pools', 'host')),
          existing('Networks', 'network', to('Networks', 'network')),
          existing('VMs', 'vm', to('VMs', 'vm')),
          stat({
            title: 'Exporters',
            description: 'Exporters that sent in the time range, and all that are known.',
            unit: 'short',
            names: true,
            overrides: activeOfAll,
            targets: [inventory({ format: 'number', kind: 'exporter' })],
            links: [to('Collector health', 'collector')],
          }),
          stat({
            title: 'Stored',
            description: 'Flows that the store took, a second.',
            unit: 'short',
            graph: true,
            calc: 'mean',
            thresholds: steps(colour.good),
            targets: [exporters({ format: 'timeseries', what: ['stored'], by: [], rate: true })],
            links: [to('Collector health', 'collector'), to('Servers and network', 'servers')],
          }),
        ),
      ],
    },
    {
      title: 'Traffic',
      bands: [
        band(
          9,
          over({ title: 'By VM', description: 'The VMs with most traffic, at either end: a flow between two VMs is in both.', by: ['vm'], filter: withVM, units: ['${unit:raw}'], limit: 8, other: false }, { stacked: false }),
          over({ title: 'By protocol', description: 'IP protocols.', by: ['protocol'], units: ['${unit:raw}'], limit: 8 }),
          over({ title: 'By service', description: 'Services by their port: the lower of the two ports, where that has a name or is below 32768.', by: ['service'], units: ['${unit:raw}'], limit: 8 }),
        ),
        band(
          10,
          top({ title: 'Top VMs', description: 'VMs with most traffic in the time range, and what of it they received and sent.', by: ['vm'], filter: withVM, units: ['${unit:raw}'], split: true }),
          top({ title: 'Top protocols', description: 'IP protocols with most traffic in the time range.', by: ['protocol'], units: ['${unit:raw}', 'flows'] }),
          top({ title: 'Top services', description: 'Services with most traffic in the time range, as applications are called by their port.', by: ['service'], units: ['${unit:raw}', 'flows'] }),
        ),
        band(
          9,
          over({ title: 'By network', description: 'Networks in which the flows were seen.', by: ['network'], units: ['${unit:raw}'], limit: 8 }),
          over({ title: 'By host', description: 'Hosts at which the flows were counted.', by: ['host'], units: ['${unit:raw}'], limit: 8 }),
        ),
      ],
    },
    {
      title: 'What happened',
      bands: [
        band(
          10,
          log({ title: 'Network events', description: 'What Weir noticed in the estate, newest first.', targets: [events({ format: 'logs', limit: 100 })] }),
          log({ title: 'Administrative events', description: 'What people changed, newest first.', targets: [events({ format: 'logs', source: 'admin', limit: 100 })] }),
        ),
      ],
    },
    {
      title: 'Across the border of the estate',
      closed: true, // it reads single records
      bands: [
        band(
          9,
          over({ title: 'Across the border', description: 'Traffic that comes into the estate, leaves it, and stays within.', by: ['direction'], units: ['${unit:raw}'], other: false }),
          top({ title: 'Top addresses', description: 'Addresses with most traffic that crosses the border of the estate. Read from single records, which are kept for a shorter time than sums.', by: ['addr'], filter: 'direction in (inbound, outbound)', units: ['${unit:raw}'], split: true }),
        ),
      ],
    },
  ],
});
