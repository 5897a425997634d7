import type { Dashboard } from './board.ts';
import { band, board } from './board.ts';
import { to } from './link.ts';
import { colour, log, stat, steps } from './panel.ts';
import { events, flows } from './target.ts';
import { lines, opposite, over, top } from './traffic.ts';
import { names, rate } from './variable.ts';

const filter = 'vm in ($vm)';
const received = 'dst_vm in ($vm)';
const sent = 'src_vm in ($vm)';

export const vm: Dashboard = board({
  about: 'vm',
  title: 'Weir VM',
  description: 'What one VM receives and sends, with whom, which rules decide, and what happened to it.',
  variables: [names('vm', 'VM', false), rate()],
  events: { filter, kinds: ['vif_plugged', 'vif_unplugged', 'vif_moved'] },
  sections: [
    {
      bands: [
        band(
          4,
          stat({
            title: 'In',
            description: 'Mean bit rate that the VM received. By the time of receipt, so that the newest minutes are complete.',
            unit: 'bps',
            graph: true,
            calc: 'mean',
            thresholds: steps(colour.in),
            targets: [flows({ filter: received, basis: 'received' })],
          }),
          stat({
            title: 'Out',
            description: 'Mean bit rate that the VM sent.',
            unit: 'bps',
            graph: true,
            calc: 'mean',
            thresholds: steps(colour.out),
            targets: [flows({ filter: sent, basis: 'received' })],
          }),
          stat({ title: 'Received', description: 'Bytes that the VM received in the time range.', unit: 'decbytes', thresholds: steps(colour.in), targets: [flows({ format: 'number', units: ['bytes'], filter: received })] }),
          stat({ title: 'Sent', description: 'Bytes that the VM sent in the time range.', unit: 'decbytes', thresholds: steps(colour.out), targets: [flows({ format: 'number', units: ['bytes'], filter: sent })] }),
          stat({ title: 'Flows', description: 'Flow records of the VM in the time range.', unit: 'short', targets: [flows({ format: 'number', units: ['flows'], filter })] }),
          stat({
            title: 'Denied',
            description: 'Packets to or from the VM that policy stopped in the time range.',
            unit: 'short',
            thresholds: steps(colour.good, [1, colour.warn]),
            targets: [flows({ format: 'number', units: ['packets'], traffic: 'denied', filter })],
            links: [to('Who was denied', 'denies', { vm: '${vm:percentencode}' }), to('Flows that were denied', 'flows', { traffic: 'denied', filter: 'vm%20%3D%20%22${vm:percentencode}%22' })],
          }),
        ),
        band(
          9,
          opposite({ title: 'In and out', description: 'What the VM receives, upwards, and sends, downwards.', units: ['${unit:raw}'], filter }),
          over({ title: 'By service', description: 'Services by their port.', by: ['service'], units: ['${unit:raw}'], filter }),
        ),
      ],
    },
    {
      title: 'With whom',
      bands: [
        band(
          9,
          top({ title: 'Receives from', description: 'VMs that send most to it. A row without a name is all that comes from elsewhere.', by: ['src_vm'], units: ['${unit:raw}', 'flows'], filter: received }),
          top({ title: 'Sends to', description: 'VMs that it sends most to. A row without a name is all that goes elsewhere.', by: ['dst_vm'], units: ['${unit:raw}', 'flows'], filter: sent }),
        ),
        band(
          9,
          top({ title: 'Receives from addresses', description: 'Addresses that send most to it. Read from single records, which are kept for a shorter time than sums.', by: ['src_addr', 'service'], units: ['${unit:raw}', 'flows'], filter: received }),
          top({ title: 'Sends to addresses', description: 'Addresses that it sends most to. Read from single records, which are kept for a shorter time than sums.', by: ['dst_addr', 'service'], units: ['${unit:raw}', 'flows'], filter: sent }),
        ),
      ],
    },
    {
      title: 'Policy and events',
      bands: [
        band(
          9,
          top({ title: 'Rules that decided', description: 'Which rules allowed or stopped packets of the VM, as far as its hosts sample what they decide.', by: ['rule', 'verdict'], units: ['packets', 'bytes'], filter: `(${filter}) and verdict != unknown` }),
          log({ title: 'Events', description: 'What Weir noticed about the VM, newest first.', targets: [events({ format: 'logs', filter, limit: 100 })] }),
        ),
      ],
    },
    { title: 'Flow records', closed: true, bands: [band(14, lines('Flow records', filter))] },
  ],
});
