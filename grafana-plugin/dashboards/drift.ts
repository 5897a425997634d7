import type { Dashboard } from './board.ts';
import { band, board } from './board.ts';
import { cell, label, to } from './link.ts';
import { colour, column, link, log, named, series, stat, steps, table } from './panel.ts';
import { events, hits, inventory } from './target.ts';
import { over } from './traffic.ts';
import { names } from './variable.ts';

const filter = 'pool in ($pool) and host in ($host)';
const away = ['host_lost', 'host_refused', 'pool_lost', 'libvirt_lost', 'switch_restarted', 'fail_mode_entered'];
const drifted = ['policy_drift', 'export_wiped', 'controller_wiped', 'limits_wiped', 'mirror_wiped'];
const foreign = ['policy_foreign', 'foreign_controller', 'export_foreign', 'limits_foreign', 'pool_controller'];
const states = ['host_connected', 'host_detached', 'host_mode_changed', 'policy_installed', 'policy_failed', 'policy_removed', 'controller_set', 'export_set', 'limits_set', 'fail_mode_changed', 'fail_mode_left'];

const problem = steps(colour.good, [1, colour.bad]);
const odd = steps(colour.good, [1, colour.warn]);

export const drift: Dashboard = board({
  about: 'drift',
  title: 'Weir hosts and drift',
  description: 'Whether hosts are reached and hold what they are to hold: which were lost, what somebody else changed, what Weir leaves alone, what did not go in.',
  variables: [names('pool', 'Pool', true), names('host', 'Host', true)],
  events: { filter, kinds: [...away, ...drifted, 'policy_failed', 'policy_installed', 'host_connected'] },
  from: 'now-24h',
  delay: false,
  sections: [
    {
      bands: [
        band(
          4,
          stat({ title: 'Hosts', description: 'Hosts of which there was traffic in the time range, and all that exist.', unit: 'short', names: true, overrides: [named('active', colour.good), named('total', colour.neutral)], targets: [inventory({ format: 'number', kind: 'host' })], links: [to('Hosts and pools', 'host')] }),
          stat({ title: 'Lost', description: 'How often a host was lost.', unit: 'short', thresholds: problem, targets: [events({ format: 'number', kinds: ['host_lost'], filter })] }),
          stat({ title: 'Switches restarted', description: 'How often ovs-vswitchd of a host was started anew: its flows were gone.', unit: 'short', thresholds: odd, targets: [events({ format: 'number', kinds: ['switch_restarted'], filter })] }),
          stat({ title: 'Drift', description: 'How often somebody else changed flows, groups or settings of Weir, which set them right.', unit: 'short', names: true, thresholds: problem, targets: [events({ format: 'number', kinds: drifted, filter })] }),
          stat({ title: 'Not taken', description: 'How often a bridge did not take the flows of the policy.', unit: 'short', thresholds: problem, targets: [events({ format: 'number', kinds: ['policy_failed'], filter })], links: [to('Policy', 'policy')] }),
        ),
        band(
          9,
          series({ title: 'Lost, refused, restarted', description: 'Hosts and sources that were not reached any more or refused, switches that were started anew, and bridges that did what their fail mode says.', unit: 'short', bars: true, stacked: true, calcs: ['sum'], targets: [events({ format: 'timeseries', kinds: away, filter })] }),
          series({ title: 'Drift', description: 'What somebody else changed of what is Weir’s, and Weir set right.', unit: 'short', bars: true, stacked: true, calcs: ['sum'], targets: [events({ format: 'timeseries', kinds: drifted, filter })] }),
          series({ title: 'Of others', description: 'What is there of others beside Weir, which leaves it alone: flows that bypass policy, controllers, exports.', unit: 'short', bars: true, stacked: true, calcs: ['sum'], targets: [events({ format: 'timeseries', kinds: foreign, filter })] }),
        ),
      ],
    },
    {
      title: 'Which hosts',
      bands: [
        band(
          12,
          table({
            title: 'What happened to hosts',
            description: 'Events of hosts, newest first: lost and connected, drift, what was and was not installed.',
            unit: 'short',
            targets: [events({ format: 'table', kinds: [...away, ...drifted, ...foreign, ...states], filter, limit: 200 })],
            overrides: [
              column('time', 'Time'),
              column('severity', 'Severity'),
              column('kind', 'What'),
              column('subject', 'About'),
              column('text', 'Text'),
              column('pool_name', 'Pool', link(to('Hosts of this pool', 'host', { pool: cell }))),
              column('host_name', 'Host', link(to('Traffic at this host', 'host', { host: cell }), to('This host alone', 'drift', { host: cell }))),
              column('bridge_name', 'Bridge'),
              column('network_name', 'Network', link(to('Traffic in this network', 'network', { network: cell }))),
              column('vm_name', 'VM', link(to('Traffic of this VM', 'vm', { vm: cell }))),
              column('vif_name', 'VIF'),
              column('id', 'Id'),
            ],
          }),
        ),
        band(
          9,
          over({ title: 'Traffic, by host', description: 'Hosts at which the flows were counted: one that is lost goes on without Weir.', by: ['host'], units: ['bps'], filter }),
          series({ title: 'Hits of rules, by host', description: 'Packets that met rules, as switches count it, of all hosts: one that stops is not asked any more.', unit: 'pps', stacked: true, targets: [hits({ format: 'timeseries', by: 'host' })], links: [to('This host alone', 'drift', { host: label('host') })] }),
        ),
        band(10, log({ title: 'Errors and warnings', description: 'What Weir noticed about the hosts that somebody should look at, newest first.', targets: [events({ format: 'logs', severity: 'warning', filter, limit: 100 })] })),
      ],
    },
  ],
});
