import type { Dashboard } from './board.ts';
import { band, board } from './board.ts';
import { cell, label, to } from './link.ts';
import { bar, colour, column, empty, link, log, named, series, stat, steps, table } from './panel.ts';
import { events, flows, hits } from './target.ts';
import { over, top, words } from './traffic.ts';
import { names, oneOrAll } from './variable.ts';

const about = 'rule in ($rule) and vm in ($vm) and group in ($group)';
const decided = `(${about}) and verdict != unknown`;
const sampled = 'As far as hosts sample what they decide.';
const counted = 'As switches count it: complete, whatever is sampled. Of all VMs: switches count by rule.';

const verdicts = Object.entries(words['verdict'] ?? {}).map(([word, color]) => named(word, color));

/** Rules as they are met: a row for each version. */
const rules = [
  column('rule', 'Rule', link(to('Flows that this rule decided', 'flows', { filter: `rule%20%3D%20%22${cell}%22` }), to('Whom this rule stopped', 'denies', { rule: cell }))),
  column('scope_name', 'Scope', empty('all')),
  column('tier', 'Level'),
  column('action', 'Action'),
  column('text', 'What it says'),
  column('in_force', 'In force'),
  column('egress', 'By senders'),
  column('ingress', 'By receivers'),
  column('reply', 'Replies'),
  column('packets', 'Packets', ...bar(colour.quiet)),
  column('bytes', 'Bytes', { id: 'unit', value: 'decbytes' }),
  column('last_hit', 'Last hit'),
];

export const policy: Dashboard = board({
  about: 'policy',
  title: 'Weir policy',
  description: 'What policy allowed, denied, and would deny: over time, by rule, level, VM and group; which rules are met, and which never are.',
  variables: [oneOrAll('rule', 'Rule'), names('vm', 'VM', true), names('group', 'Group', true)],
  from: 'now-6h',
  sections: [
    {
      bands: [
        band(
          4,
          stat({ title: 'Allowed', description: `Packets that rules allowed. ${sampled}`, unit: 'short', thresholds: steps(colour.good), targets: [flows({ format: 'number', units: ['packets'], filter: `(${about}) and verdict = allowed` })] }),
          stat({
            title: 'Denied',
            description: `Packets that policy stopped. ${sampled}`,
            unit: 'short',
            thresholds: steps(colour.good, [1, colour.warn]),
            targets: [flows({ format: 'number', units: ['packets'], traffic: 'denied', filter: about })],
            links: [to('Who was denied', 'denies')],
          }),
          stat({
            title: 'Would be denied',
            description: `Packets that shadow rules would stop if they denied. ${sampled}`,
            unit: 'short',
            thresholds: steps(colour.good, [1, colour.warn]),
            targets: [flows({ format: 'number', units: ['packets'], filter: `(${about}) and verdict = shadow_denied` })],
            links: [to('Who would be denied', 'denies')],
          }),
          stat({
            title: 'Denied, as switches count',
            description: `Packets that met a rule that denies. ${counted}`,
            unit: 'short',
            thresholds: steps(colour.good, [1, colour.warn]),
            noValue: '0',
            targets: [hits({ format: 'number', by: 'verdict', verdict: 'denied', rule: '${rule:raw}', unit: 'packets', system: true })],
          }),
          stat({
            title: 'Changes',
            description: 'How often a policy was put in force in the time range.',
            unit: 'short',
            targets: [events({ format: 'number', kinds: ['policy_applied'] })],
            links: [to('Events', 'events')],
          }),
        ),
        band(
          9,
          over({ title: 'What policy did', description: `Packets by verdict: allowed, denied, would be denied by a shadow rule, dropped by a guard. ${sampled}`, by: ['verdict'], units: ['pps'], filter: decided }),
          series({
            title: 'What policy did, as switches count',
            description: `Packets that met rules, by the verdict of the rule. ${counted}`,
            unit: 'pps',
            stacked: true,
            overrides: verdicts,
            targets: [hits({ format: 'timeseries', by: 'verdict', rule: '${rule:raw}' })],
          }),
        ),
      ],
    },
    {
      title: 'By rule and level',
      bands: [
        band(
          9,
          series({
            title: 'By rule',
            description: `Packets that met the rules that are met most. ${counted}`,
            unit: 'pps',
            targets: [hits({ format: 'timeseries', rule: '${rule:raw}' })],
            links: [to('Flows that this rule decided', 'flows', { filter: `rule%20%3D%20%22${label('rule')}%22` })],
          }),
          series({ title: 'By level', description: `Packets that met rules, by the level of the hierarchy that decided. ${counted}`, unit: 'pps', stacked: true, targets: [hits({ format: 'timeseries', by: 'tier', rule: '${rule:raw}' })] }),
          series({ title: 'By scope', description: `Packets that met rules, by the pool, network, VM or VIF whose rule it is. ${counted}`, unit: 'pps', stacked: true, targets: [hits({ format: 'timeseries', by: 'scope', rule: '${rule:raw}' })] }),
        ),
        band(11, table({ title: 'Rules', description: `Rules in force, and those that were met in the time range: how often, and when last. ${counted}`, unit: 'short', overrides: rules, targets: [hits({ format: 'table', rule: '${rule:raw}' })] })),
        band(8, table({ title: 'Rules that nothing met', description: 'Rules in force that nothing met in the time range. Last hit is the last one that is known, in the time range or not.', unit: 'short', overrides: rules, targets: [hits({ format: 'table', unused: true })] })),
      ],
    },
    {
      title: 'By VM, group and service',
      bands: [
        band(
          10,
          top({ title: 'VMs, by verdict', description: `VMs at either end of what rules decided. ${sampled}`, by: ['vm', 'verdict'], units: ['packets', 'bytes'], filter: decided }),
          top({ title: 'Groups, by verdict', description: `Groups at either end of what rules decided. ${sampled}`, by: ['group', 'verdict'], units: ['packets', 'bytes'], filter: decided }),
        ),
        band(
          10,
          top({ title: 'Rules, by verdict', description: `Which rules decided, of the VMs and groups chosen above. ${sampled}`, by: ['rule', 'verdict'], units: ['packets', 'bytes'], filter: decided }),
          top({ title: 'Services, by verdict', description: `Services by their port. ${sampled}`, by: ['service', 'protocol', 'verdict'], units: ['packets', 'bytes'], filter: decided }),
        ),
        band(9, series({ title: 'Denied, by host', description: `Packets that met a rule that denies, by host. ${counted}`, unit: 'pps', stacked: true, targets: [hits({ format: 'timeseries', by: 'host', verdict: 'denied', rule: '${rule:raw}', system: true })], links: [to('This host', 'drift', { host: label('host') })] })),
      ],
    },
    {
      title: 'Changes of policy',
      bands: [
        band(
          9,
          log({ title: 'Policy', description: 'Policies that were put in force, switched off and on, and bridges that took them or did not, newest first.', targets: [events({ format: 'logs', kinds: ['policy_applied', 'policy_bypassed', 'policy_restored', 'policy_failed', 'policy_drift', 'policy_foreign', 'policy_removed', 'host_mode_changed', 'vif_quarantined', 'vif_released'], limit: 100 })] }),
          log({ title: 'Who asked for it', description: 'What people changed of policy, or wanted to, newest first.', targets: [events({ format: 'logs', source: 'admin', limit: 100 })] }),
        ),
      ],
    },
  ],
});

