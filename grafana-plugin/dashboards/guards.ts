import type { Dashboard } from './board.ts';
import { band, board } from './board.ts';
import { label, to } from './link.ts';
import { colour, log, series, stat, steps } from './panel.ts';
import { events, flows, hits } from './target.ts';
import { lines, over, top } from './traffic.ts';
import { names } from './variable.ts';

const about = 'vm in ($vm) and network in ($network)';
const filter = `(${about}) and verdict = spoofed`;
const sampled = 'As far as hosts sample what they drop.';
const counted = 'As switches count it: complete, whatever is sampled, and of all VMs.';
const odd = ['vif_duplicate', 'address_conflict', 'address_differs', 'address_flood'];

export const guards: Dashboard = board({
  about: 'guards',
  title: 'Weir spoofing and guards',
  description: 'Packets with addresses that their VIF may not use, and what only servers and routers may send: how many, which guard dropped them, whose they were.',
  variables: [names('vm', 'VM', true), names('network', 'Network', true)],
  events: { filter: about, kinds: ['vif_spoofs', ...odd] },
  from: 'now-6h',
  sections: [
    {
      bands: [
        band(
          4,
          stat({ title: 'Dropped by guards', description: `Packets that guards dropped. ${counted}`, unit: 'short', thresholds: steps(colour.good, [1, colour.bad]), noValue: '0', targets: [hits({ format: 'number', by: 'verdict', verdict: 'spoofed', unit: 'packets', system: true })] }),
          stat({ title: 'Seen of them', description: `Packets that guards dropped, of the VMs and networks chosen above. ${sampled}`, unit: 'short', thresholds: steps(colour.good, [1, colour.bad]), targets: [flows({ format: 'number', units: ['packets'], traffic: 'denied', filter })], links: [to('Their flows', 'flows', { traffic: 'denied', filter: 'verdict%20%3D%20spoofed' })] }),
          stat({ title: 'Offences', description: 'How often Weir told of a VIF that a guard stopped: at most each ten minutes by VIF and guard.', unit: 'short', thresholds: steps(colour.good, [1, colour.bad]), targets: [events({ format: 'number', kinds: ['vif_spoofs'], filter: about })], links: [to('Events', 'events')] }),
          stat({ title: 'Odd addresses', description: 'Duplicate VIFs, conflicts of addresses, addresses that no source tells of, and VIFs with too many.', unit: 'short', names: true, thresholds: steps(colour.good, [1, colour.warn]), targets: [events({ format: 'number', kinds: odd, filter: about })], links: [to('Events', 'events')] }),
        ),
        band(
          9,
          series({ title: 'Dropped, by guard', description: `Packets that each guard dropped. ${counted}`, unit: 'pps', stacked: true, bars: true, calcs: ['sum', 'max'], targets: [hits({ format: 'timeseries', verdict: 'spoofed', system: true })] }),
          over({ title: 'Dropped, by sender', description: `Packets that guards dropped, by the VM whose VIF sent them. ${sampled}`, by: ['src_vm'], units: ['pps'], traffic: 'denied', filter }, { bars: true }),
        ),
      ],
    },
    {
      title: 'Offenders',
      bands: [
        band(
          11,
          top({ title: 'Offenders', description: `VMs whose VIFs sent what guards dropped, in which network, at which host, and since when. First and last are of the time range. ${sampled}`, by: ['src_vm', 'network', 'host'], units: ['packets', 'flows'], traffic: 'denied', seen: true, filter, limit: 100 }),
          log({ title: 'What Weir told', description: 'VIFs that a guard stopped: which guard, how many packets, newest first.', targets: [events({ format: 'logs', kinds: ['vif_spoofs'], filter: about, limit: 100 })] }),
        ),
        band(
          9,
          series({ title: 'Dropped, by host', description: `Packets that guards dropped, by host. ${counted}`, unit: 'pps', stacked: true, bars: true, targets: [hits({ format: 'timeseries', by: 'host', verdict: 'spoofed', system: true })], links: [to('This host', 'drift', { host: label('host') })] }),
          log({ title: 'Odd addresses', description: 'Duplicate VIFs, conflicts of addresses, addresses that no source tells of, VIFs with too many, newest first.', targets: [events({ format: 'logs', kinds: odd, filter: about, limit: 100 })] }),
        ),
      ],
    },
    {
      title: 'Which addresses they used',
      closed: true, // it reads single records
      bands: [
        band(11, top({ title: 'Addresses', description: `Source addresses of what guards dropped. Read from single records, which are kept for a shorter time than sums. ${sampled}`, by: ['src_vm', 'src_mac', 'src_addr', 'dst_addr'], units: ['packets', 'flows'], traffic: 'denied', seen: true, filter, limit: 100 })),
        band(14, lines('Records of what guards dropped', filter)),
      ],
    },
  ],
});
