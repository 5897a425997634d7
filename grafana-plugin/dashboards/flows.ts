import type { Flows } from '../src/datasource/query/model.ts';
import type { Dashboard } from './board.ts';
import { band, board } from './board.ts';
import { stat } from './panel.ts';
import * as ask from './target.ts';
import { lines, over, rows, top } from './traffic.ts';
import { adhoc, choose, direction, limit, order, text, traffic, unit } from './variable.ts';

const filter = '${filter:raw}';
const asked: Flows = { filter, direction: '${direction:raw}', traffic: '${traffic:raw}' };
const chosen: Flows = {
  ...asked,
  units: ['${unit:raw}'],
  limit: '${limit:raw}',
  bottom: '${order:raw}',
};

export const flows: Dashboard = board({
  about: 'flows',
  title: 'Weir flow explorer',
  description: 'Any question about flows: a filter, what to group by, in which unit; the answer over time, as a table, and down to single records.',
  variables: [
    text('filter', 'Filter', 'In the filter language, for example: vm = web-01 and service in (http, https) and not addr = 10.0.0.0/8'),
    choose(
      'by',
      'By',
      ['VM', 'vm'],
      ['From VM', 'src_vm'],
      ['To VM', 'dst_vm'],
      ['Address', 'addr'],
      ['From address', 'src_addr'],
      ['To address', 'dst_addr'],
      ['Service', 'service'],
      ['Protocol', 'protocol'],
      ['Network', 'network'],
      ['Host', 'host'],
      ['Pool', 'pool'],
      ['Group', 'group'],
      ['Rule', 'rule'],
      ['Verdict', 'verdict'],
      ['Direction', 'direction'],
      ['Exporter', 'exporter'],
      ['VLAN', 'vlan'],
      ['DSCP', 'dscp'],
      ['TCP flags', 'tcp_flags'],
      ['MAC', 'mac'],
      ['Application', 'application'],
    ),
    unit(),
    direction(),
    traffic(),
    order(),
    limit(),
    adhoc(),
  ],
  sections: [
    {
      bands: [
        band(
          4,
          stat({ title: 'Bit rate', description: 'Mean bit rate of what the filter holds for.', unit: 'bps', graph: true, calc: 'mean', targets: [ask.flows({ ...asked })] }),
          stat({ title: 'Bytes', description: 'Bytes in the time range.', unit: 'decbytes', targets: [ask.flows({ format: 'number', units: ['bytes'], ...asked })] }),
          stat({ title: 'Packets', description: 'Packets in the time range.', unit: 'short', targets: [ask.flows({ format: 'number', units: ['packets'], ...asked })] }),
          stat({ title: 'Flows', description: 'Flow records in the time range.', unit: 'short', targets: [ask.flows({ format: 'number', units: ['flows'], ...asked })] }),
        ),
        band(10, over({ title: '${unit:text} by ${by:text}', description: 'The groups that the variables choose, over time, and all others together.', ...chosen, by: ['${by:raw}'] })),
        band(11, top({ title: '${unit:text} by ${by:text}', description: 'The groups that the variables choose, in the time range.', ...chosen, by: ['${by:raw}'], units: ['${unit:raw}'] })),
      ],
    },
    {
      title: 'Single records',
      bands: [
        band(
          12,
          rows('Records', filter),
        ),
      ],
    },
    { title: 'Single records as logs', closed: true, bands: [band(14, lines('Records as logs', filter))] },
  ],
});
