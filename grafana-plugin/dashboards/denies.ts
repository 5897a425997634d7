import type { Dashboard } from './board.ts';
import { band, board } from './board.ts';
import { to } from './link.ts';
import { colour, stat, steps } from './panel.ts';
import { flows } from './target.ts';
import { lines, over, rows, top } from './traffic.ts';
import { names, oneOrAll } from './variable.ts';

const filter = 'vm in ($vm) and network in ($network) and rule in ($rule)';
const shadow = `(${filter}) and verdict = shadow_denied`;
const stopped = `(${filter}) and verdict in (denied, spoofed, invalid, unknown_port)`;
const sampled = 'As far as hosts sample what they decide.';
const since = 'First and last are of the time range.';

export const denies: Dashboard = board({
  about: 'denies',
  title: 'Weir denies',
  description: 'Who was denied, to whom, by which rule, and since when; and who would be, if shadow rules denied.',
  variables: [names('vm', 'VM', true), names('network', 'Network', true), oneOrAll('rule', 'Rule')],
  from: 'now-6h',
  sections: [
    {
      bands: [
        band(
          4,
          stat({ title: 'Denied', description: `Packets that policy stopped. ${sampled}`, unit: 'short', thresholds: steps(colour.good, [1, colour.warn]), targets: [flows({ format: 'number', units: ['packets'], traffic: 'denied', filter })], links: [to('Policy', 'policy')] }),
          stat({ title: 'Flows denied', description: `Flow records of what policy stopped. ${sampled}`, unit: 'short', thresholds: steps(colour.good, [1, colour.warn]), targets: [flows({ format: 'number', units: ['flows'], traffic: 'denied', filter })], links: [to('Flows that were denied', 'flows', { traffic: 'denied' })] }),
          stat({ title: 'Would be denied', description: `Packets that shadow rules would stop if they denied. ${sampled}`, unit: 'short', thresholds: steps(colour.good, [1, colour.warn]), targets: [flows({ format: 'number', units: ['packets'], filter: shadow })], links: [to('Policy', 'policy')] }),
        ),
        band(
          9,
          over({ title: 'Denied, by rule', description: `Packets that policy stopped, by the rule that did. ${sampled}`, by: ['rule'], units: ['pps'], traffic: 'denied', filter }, { bars: true }),
          over({ title: 'Denied, by sender', description: `Packets that policy stopped, by the VM that sent them. ${sampled}`, by: ['src_vm'], units: ['pps'], traffic: 'denied', filter }, { bars: true }),
        ),
      ],
    },
    {
      title: 'Who, whom, by which rule',
      bands: [
        band(12, top({ title: 'Denied', description: `VMs that sent what policy stopped, to which VM and service, by which rule, and since when. A VM without a name is elsewhere. ${since} ${sampled}`, by: ['src_vm', 'dst_vm', 'service', 'protocol', 'rule', 'verdict'], units: ['packets', 'flows'], traffic: 'denied', seen: true, filter, limit: 200 })),
        band(12, top({ title: 'Would be denied', description: `What shadow rules would stop if they denied: from whom, to whom, by which rule, and since when. ${since} ${sampled}`, by: ['src_vm', 'dst_vm', 'service', 'protocol', 'rule'], units: ['packets', 'flows'], seen: true, filter: shadow, limit: 200 })),
      ],
    },
    {
      title: 'By address',
      closed: true, // it reads single records
      bands: [
        band(12, top({ title: 'Denied, by address', description: `Addresses of what policy stopped. Read from single records, which are kept for a shorter time than sums. ${since} ${sampled}`, by: ['src_vm', 'src_addr', 'dst_vm', 'dst_addr', 'service', 'rule'], units: ['packets', 'flows'], traffic: 'denied', seen: true, filter, limit: 200 })),
        band(12, rows('Records of what was denied', stopped)),
      ],
    },
    { title: 'Records as logs', closed: true, bands: [band(14, lines('Records of what was denied, as logs', stopped))] },
  ],
});
