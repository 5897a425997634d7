import type { Dashboard } from './board.ts';
import { band, board } from './board.ts';
import { cell, to } from './link.ts';
import { colour, column, link, log, series, stat, steps, table } from './panel.ts';
import * as ask from './target.ts';
import { choose, names, text } from './variable.ts';

const filter = 'pool in ($pool) and host in ($host) and vm in ($vm)';
const said = { severity: '${severity:raw}', text: '${text:raw}', filter };

export const events: Dashboard = board({
  about: 'events',
  title: 'Weir events',
  description: 'What Weir noticed in the estate, and what people changed or wanted to.',
  variables: [
    names('pool', 'Pool', true),
    names('host', 'Host', true),
    names('vm', 'VM', true),
    choose('severity', 'At least', ['Anything', 'any'], ['Errors', 'error'], ['Warnings', 'warning'], ['Notices', 'notice']),
    text('text', 'Text', 'Only events with this in their text or subject'),
  ],
  from: 'now-24h',
  delay: false,
  sections: [
    {
      bands: [
        band(
          4,
          stat({ title: 'Errors', description: 'Network events that say that something does not work.', unit: 'short', calc: 'sum', noValue: '0', thresholds: steps(colour.good, [1, colour.bad]), targets: [ask.events({ format: 'number', severity: 'error', filter })] }),
          stat({ title: 'Policies applied', description: 'How often a policy was put in force.', unit: 'short', targets: [ask.events({ format: 'number', kinds: ['policy_applied'] })], links: [to('Policy', 'policy')] }),
          stat({ title: 'VIFs that spoofed', description: 'How often Weir told of a VIF that a guard stopped.', unit: 'short', thresholds: steps(colour.good, [1, colour.bad]), targets: [ask.events({ format: 'number', kinds: ['vif_spoofs'], filter })], links: [to('Spoofing and guards', 'guards')] }),
          stat({ title: 'Hosts lost', description: 'How often a host was lost.', unit: 'short', thresholds: steps(colour.good, [1, colour.bad]), targets: [ask.events({ format: 'number', kinds: ['host_lost'], filter })], links: [to('Hosts and drift', 'drift')] }),
          stat({ title: 'VMs moved', description: 'How often a VIF moved from one host to another.', unit: 'short', targets: [ask.events({ format: 'number', kinds: ['vif_moved'], filter })] }),
        ),
        band(
          9,
          series({ title: 'Network events', description: 'What Weir noticed, by kind.', unit: 'short', bars: true, stacked: true, calcs: ['sum'], targets: [ask.events({ format: 'timeseries', ...said })] }),
          series({ title: 'Administrative events', description: 'What people asked for, by operation.', unit: 'short', bars: true, stacked: true, calcs: ['sum'], targets: [ask.events({ format: 'timeseries', source: 'admin', text: '${text:raw}' })] }),
        ),
        band(
          12,
          log({ title: 'Network events', description: 'What Weir noticed, newest first. Details hold all that is known of each.', targets: [ask.events({ format: 'logs', ...said, limit: 200 })] }),
          log({ title: 'Administrative events', description: 'What people changed or wanted to, newest first: who, by what right, why.', targets: [ask.events({ format: 'logs', source: 'admin', text: '${text:raw}', limit: 200 })] }),
        ),
        band(
          12,
          table({
            title: 'Network events as a table',
            description: 'What Weir noticed, newest first. Names lead to the traffic of what they name.',
            unit: 'short',
            targets: [ask.events({ format: 'table', ...said, limit: 200 })],
            overrides: [
              column('time', 'Time'),
              column('severity', 'Severity'),
              column('kind', 'What'),
              column('subject', 'About'),
              column('text', 'Text'),
              column('pool_name', 'Pool', link(to('Hosts of this pool', 'host', { pool: cell }))),
              column('host_name', 'Host', link(to('Traffic at this host', 'host', { host: cell }), to('Drift of this host', 'drift', { host: cell }))),
              column('bridge_name', 'Bridge'),
              column('network_name', 'Network', link(to('Traffic in this network', 'network', { network: cell }))),
              column('vm_name', 'VM', link(to('Traffic of this VM', 'vm', { vm: cell }), to('Whom policy denied', 'denies', { vm: cell }))),
              column('vif_name', 'VIF'),
              column('id', 'Id'),
            ],
          }),
        ),
      ],
    },
  ],
});
