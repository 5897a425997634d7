import type { Flows } from '../src/datasource/query/model.ts';
import type { Dashboard } from './board.ts';
import { band, board } from './board.ts';
import { to } from './link.ts';
import { colour, stat, steps } from './panel.ts';
import { flows } from './target.ts';
import { lines, opposite, over, top } from './traffic.ts';
import { choose, direction, limit, names, order, unit } from './variable.ts';

const filter = 'group = $group'; // and not in: of one group the sums by minute know
const chosen: Flows = { units: ['${unit:raw}'], limit: '${limit:raw}', bottom: '${order:raw}' };

export const group: Dashboard = board({
  about: 'group',
  title: 'Weir address and VM groups',
  description: 'Statistics of flows by address group and VM group: in, out and both; bytes, bits, packets and flows; the largest or the smallest.',
  variables: [
    names('group', 'Group', false),
    choose('by', 'By', ['VM', 'vm'], ['Address', 'addr'], ['Protocol', 'protocol'], ['Service', 'service'], ['Network', 'network'], ['Verdict', 'verdict']),
    unit(),
    direction(),
    order(),
    limit(),
  ],
  sections: [
    {
      bands: [
        band(
          4,
          stat({ title: 'In', description: 'Mean bit rate that members of the group received.', unit: 'bps', graph: true, calc: 'mean', thresholds: steps(colour.in), targets: [flows({ filter, direction: 'in' })] }),
          stat({ title: 'Out', description: 'Mean bit rate that members of the group sent.', unit: 'bps', graph: true, calc: 'mean', thresholds: steps(colour.out), targets: [flows({ filter, direction: 'out' })] }),
          stat({ title: 'Volume', description: 'Bytes that members of the group received or sent in the time range; what passed between two members is there once.', unit: 'decbytes', targets: [flows({ format: 'number', units: ['bytes'], filter })] }),
          stat({ title: 'Flows', description: 'Flow records of members of the group in the time range.', unit: 'short', targets: [flows({ format: 'number', units: ['flows'], filter })] }),
          stat({ title: 'Denied', description: 'Packets to or from members of the group that policy stopped in the time range.', unit: 'short', thresholds: steps(colour.good, [1, colour.warn]), targets: [flows({ format: 'number', units: ['packets'], traffic: 'denied', filter })], links: [to('Policy', 'policy', { group: '${group:percentencode}' })] }),
        ),
        band(
          9,
          opposite({ title: '$group: in and out', description: 'What members of the group receive, upwards, and send, downwards.', units: ['${unit:raw}'], filter }),
          over({ title: '$group: ${by:text}', description: 'The parts of the traffic of the group that the variables choose, over time.', ...chosen, by: ['${by:raw}'], direction: '${direction:raw}', filter, other: false }),
        ),
        band(
          10,
          top({ title: '$group: in, out and total by ${by:text}', description: 'Of each row the total, and what of it came in and went out: of the row itself where that is an end of flows, else of the group.', ...chosen, by: ['${by:raw}'], split: true, filter }),
        ),
      ],
    },
    {
      title: 'All groups',
      bands: [
        band(
          10,
          over({ title: 'Groups', description: 'The groups with most traffic. A flow is in every group that one of its ends is in: they add up to more than the total.', ...chosen, by: ['group'], direction: '${direction:raw}', other: false }, { stacked: false }),
          top({ title: 'Groups: in, out and total', description: 'Of each group the total, and what of it its members received and sent.', ...chosen, by: ['group'], split: true }),
        ),
      ],
    },
    { title: 'Flow records', closed: true, bands: [band(14, lines('Flow records', filter))] },
  ],
});
