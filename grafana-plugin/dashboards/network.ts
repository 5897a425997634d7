import type { Dashboard } from './board.ts';
import { band, board } from './board.ts';
import { to } from './link.ts';
import { colour, stat, steps } from './panel.ts';
import { flows } from './target.ts';
import { lines, over, top } from './traffic.ts';
import { names, rate } from './variable.ts';

const filter = 'network in ($network)';

export const network: Dashboard = board({
  about: 'network',
  title: 'Weir network',
  description: 'What passes through a network, or several: which VMs, which services, at which hosts.',
  variables: [names('network', 'Network', true), rate()],
  events: { filter, kinds: ['vif_moved'] },
  sections: [
    {
      bands: [
        band(
          4,
          stat({ title: 'Throughput', description: 'Mean bit rate, each packet counted once. By the time of receipt, so that the newest minutes are complete.', unit: 'bps', graph: true, calc: 'mean', targets: [flows({ filter, basis: 'received' })] }),
          stat({ title: 'Packets', description: 'Mean rate of packets.', unit: 'pps', graph: true, calc: 'mean', targets: [flows({ filter, units: ['pps'], basis: 'received' })] }),
          stat({ title: 'Volume', description: 'Bytes in the time range.', unit: 'decbytes', targets: [flows({ format: 'number', units: ['bytes'], filter })] }),
          stat({ title: 'Flows', description: 'Flow records in the time range.', unit: 'short', targets: [flows({ format: 'number', units: ['flows'], filter })] }),
          stat({
            title: 'Delivered',
            description: 'Bytes of what was seen that no rule stopped on its way.',
            unit: 'decbytes',
            thresholds: steps(colour.good),
            targets: [flows({ format: 'number', units: ['bytes'], traffic: 'delivered', filter })],
          }),
          stat({
            title: 'Denied',
            description: 'Packets that policy stopped in the time range.',
            unit: 'short',
            thresholds: steps(colour.good, [1, colour.warn]),
            targets: [flows({ format: 'number', units: ['packets'], traffic: 'denied', filter })],
            links: [to('Who was denied', 'denies')],
          }),
        ),
        band(
          9,
          over({ title: 'By network', description: 'Networks in which the flows were seen.', by: ['network'], units: ['${unit:raw}'], filter }),
          over({ title: 'By service', description: 'Services by their port.', by: ['service'], units: ['${unit:raw}'], filter }),
        ),
      ],
    },
    {
      title: 'Who',
      bands: [
        band(
          10,
          top({ title: 'Top VMs', description: 'VMs with most traffic, and what of it they received and sent.', by: ['vm'], units: ['${unit:raw}'], split: true, filter }),
          top({ title: 'Top conversations', description: 'Pairs of VMs with most traffic, each way by itself. A row without a name at one end is all that comes from elsewhere, or goes there.', by: ['src_vm', 'dst_vm'], units: ['${unit:raw}', 'flows'], filter }),
        ),
        band(
          9,
          top({ title: 'Top services', description: 'Services with most traffic.', by: ['service', 'protocol'], units: ['${unit:raw}', 'flows'], filter }),
          top({ title: 'At hosts', description: 'Hosts at which the flows were counted.', by: ['host'], units: ['${unit:raw}', 'flows'], filter }),
        ),
      ],
    },
    { title: 'Flow records', closed: true, bands: [band(14, lines('Flow records', filter))] },
  ],
});
