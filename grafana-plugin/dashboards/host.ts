import type { Dashboard } from './board.ts';
import { band, board } from './board.ts';
import { to } from './link.ts';
import { colour, log, stat, steps } from './panel.ts';
import { events, flows } from './target.ts';
import { lines, over, top } from './traffic.ts';
import { names, rate } from './variable.ts';

const filter = 'pool in ($pool) and host in ($host)';

export const host: Dashboard = board({
  about: 'host',
  title: 'Weir hosts and pools',
  description: 'What passes through the virtual switches of hosts: which VMs, networks and services, what policy stopped, what happened.',
  variables: [names('pool', 'Pool', true), names('host', 'Host', true), rate()],
  events: { filter, kinds: ['host_connected', 'switch_restarted', 'host_detached'] },
  sections: [
    {
      bands: [
        band(
          4,
          stat({ title: 'Throughput', description: 'Mean bit rate, each packet counted once, at the host whose observation is the one that totals take.', unit: 'bps', graph: true, calc: 'mean', targets: [flows({ filter })] }),
          stat({ title: 'Observed', description: 'Mean bit rate of every observation: what passed through the switches, of which traffic between two hosts is there twice.', unit: 'bps', graph: true, calc: 'mean', targets: [flows({ filter, observations: true })] }),
          stat({ title: 'Volume', description: 'Bytes in the time range, each counted once.', unit: 'decbytes', targets: [flows({ format: 'number', units: ['bytes'], filter })] }),
          stat({ title: 'Flows', description: 'Flow records in the time range that are counted.', unit: 'short', targets: [flows({ format: 'number', units: ['flows'], filter })] }),
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
          over({ title: 'By host', description: 'Hosts at which the flows were counted.', by: ['host'], units: ['${unit:raw}'], filter }),
          over({ title: 'By network', description: 'Networks in which the flows were seen.', by: ['network'], units: ['${unit:raw}'], filter }),
        ),
        band(
          9,
          top({ title: 'Hosts', description: 'Hosts with most traffic that was counted there.', by: ['pool', 'host'], units: ['${unit:raw}', 'flows'], filter, limit: 50 }),
          top({ title: 'Pools', description: 'Pools with most traffic.', by: ['pool'], units: ['${unit:raw}', 'flows'], filter, limit: 50 }),
        ),
      ],
    },
    {
      title: 'Who',
      bands: [
        band(
          10,
          top({ title: 'Top VMs', description: 'VMs with most traffic, and what of it they received and sent.', by: ['vm'], units: ['${unit:raw}'], split: true, filter }),
          top({ title: 'Top services', description: 'Services with most traffic.', by: ['service', 'protocol'], units: ['${unit:raw}', 'flows'], filter }),
        ),
      ],
    },
    {
      title: 'Policy and events',
      bands: [
        band(
          9,
          top({ title: 'Rules that decided', description: 'Which rules allowed or stopped packets, as far as hosts sample what they decide.', by: ['rule', 'verdict'], units: ['packets', 'bytes'], filter: `(${filter}) and verdict != unknown` }),
          log({ title: 'Events', description: 'What Weir noticed about the hosts, newest first.', targets: [events({ format: 'logs', filter, limit: 100 })] }),
        ),
      ],
    },
    { title: 'Flow records', closed: true, bands: [band(14, lines('Flow records', filter))] },
  ],
});
