import type { Dashboard } from './board.ts';
import { band, board } from './board.ts';
import { cell, to } from './link.ts';
import { alarming, bar, colour, column, link, log, named, series, stat, steps, table } from './panel.ts';
import { events, exporters, inventory } from './target.ts';
import { names } from './variable.ts';

const filter = 'exporter in ($exporter)';
const lost = steps(colour.good, [1, colour.bad]);
const odd = steps(colour.good, [1, colour.warn]);

export const collector: Dashboard = board({
  about: 'collector',
  title: 'Weir collector health',
  description: 'The ledger: what exporters sent, what was lost and where, what was stored; templates, sampling and clocks, by exporter.',
  variables: [names('exporter', 'Exporter', true)],
  from: 'now-6h',
  delay: false,
  sections: [
    {
      bands: [
        band(
          4,
          stat({ title: 'Decoded', description: 'Flows that were decoded of what came.', unit: 'short', targets: [exporters({ format: 'number', what: ['flows'], by: [], filter })] }),
          stat({ title: 'Stored', description: 'Flows that the store took.', unit: 'short', thresholds: steps(colour.good), targets: [exporters({ format: 'number', what: ['stored'], by: [], filter })] }),
          stat({ title: 'Not stored', description: 'Flows lost between decoder and store. It should be 0.', unit: 'short', thresholds: lost, targets: [exporters({ format: 'number', what: ['not_stored'], by: [], filter })], links: [to('Queues and the store', 'servers')] }),
          stat({ title: 'Lost on the way here', description: 'What sequence numbers announced and did not come, in the unit that each exporter numbers: flows, messages or records.', unit: 'short', thresholds: odd, targets: [exporters({ format: 'number', what: ['lost'], by: [], filter })] }),
          stat({ title: 'Not decoded', description: 'Sets, template records and messages that could not be decoded.', unit: 'short', thresholds: odd, targets: [exporters({ format: 'number', what: ['dropped'], by: [], filter })] }),
          stat({ title: 'Exporters', description: 'Exporters that sent in the time range, and all that are known.', unit: 'short', names: true, overrides: [named('active', colour.good), named('total', colour.neutral)], targets: [inventory({ format: 'number', kind: 'exporter' })] }),
        ),
        band(
          9,
          series({
            title: 'Decoded, stored, lost',
            description: 'Flows a second. What is decoded and not yet stored is on its way through the write-ahead log; the areas are to be the same over time.',
            unit: 'short',
            targets: [exporters({ format: 'timeseries', what: ['flows', 'stored', 'not_stored'], by: [], filter, rate: true })],
            overrides: [
              named('flows', colour.quiet, 'Decoded'),
              named('stored', colour.good, 'Stored'),
              named('not_stored', colour.bad, 'Not stored'),
            ],
          }),
          series({
            title: 'Not decoded, by reason',
            description: 'What could not be decoded: sets, template records, messages.',
            unit: 'short',
            bars: true,
            stacked: true,
            calcs: ['sum'],
            targets: [exporters({ format: 'timeseries', what: ['dropped'], by: ['reason'], filter })],
          }),
        ),
      ],
    },
    {
      title: 'Exporters',
      bands: [
        band(
          11,
          table({
            title: 'The ledger by exporter',
            description: 'What each exporter sent in the time range, and what became of it. What sequence numbers count, and so what is received and lost, differs: flows, messages or records.',
            unit: 'short',
            targets: [exporters({ format: 'table', filter })],
            overrides: [
              column('exporter', 'Exporter', link(to('This exporter alone', 'collector', { exporter: cell }))),
              column('datagrams', 'Datagrams'),
              column('flows', 'Decoded', ...bar(colour.quiet)),
              column('stored', 'Stored', ...bar(colour.good)),
              column('not_stored', 'Not stored', ...alarming(lost)),
              column('received', 'Received'),
              column('lost', 'Lost', ...alarming(odd)),
              column('loss', 'Loss', ...alarming(steps(colour.good, [0.0001, colour.warn], [0.01, colour.bad]))),
              column('dropped', 'Not decoded', ...alarming(odd)),
              column('expired_sets', 'No template', ...alarming(odd)),
              column('restarts', 'Restarts'),
              column('sampling_assumed', 'Rate assumed'),
              column('clock_skew', 'Clock', ...alarming(steps(colour.bad, [-10_000, colour.good], [10_000, colour.bad]))),
              column('silence', 'Last heard', ...alarming(steps(colour.good, [180, colour.warn], [3600, colour.bad]))),
            ],
          }),
        ),
        band(
          9,
          series({ title: 'Flows', description: 'Flows a second that were decoded, by exporter.', unit: 'short', stacked: true, targets: [exporters({ format: 'timeseries', what: ['flows'], filter, rate: true })] }),
          series({ title: 'Lost on the way here', description: 'What sequence numbers announced and did not come, by exporter, in the unit that it numbers.', unit: 'short', bars: true, stacked: true, calcs: ['sum'], targets: [exporters({ format: 'timeseries', what: ['lost'], filter })] }),
          series({ title: 'Received', description: 'Size of datagrams, by exporter.', unit: 'Bps', stacked: true, targets: [exporters({ format: 'timeseries', what: ['bytes'], filter, rate: true })] }),
        ),
      ],
    },
    {
      title: 'Templates, sampling, clocks',
      bands: [
        band(
          9,
          series({
            title: 'Clocks',
            description: 'How far the clock of each exporter is ahead of this one; below zero it is behind. Above ten seconds Weir reports it.',
            unit: 'ms',
            calcs: ['lastNotNull', 'min', 'max'],
            targets: [exporters({ format: 'timeseries', what: ['clock_skew'], filter })],
          }),
          series({
            title: 'Templates that were waited for',
            description: 'Data sets that came before their template, and those whose template did not come in time.',
            unit: 'short',
            bars: true,
            calcs: ['sum'],
            targets: [exporters({ format: 'timeseries', what: ['held_sets', 'expired_sets'], by: [], filter })],
            overrides: [named('held_sets', colour.warn, 'Waited'), named('expired_sets', colour.bad, 'In vain')],
          }),
          series({
            title: 'Assumed and changed',
            description: 'Flows whose sampling rate the exporter did not say, and flows whose times could not be true.',
            unit: 'short',
            bars: true,
            calcs: ['sum'],
            targets: [exporters({ format: 'timeseries', what: ['sampling_assumed', 'times_clamped'], by: [], filter })],
            overrides: [named('sampling_assumed', colour.quiet, 'Sampling rate assumed'), named('times_clamped', colour.warn, 'Times changed')],
          }),
        ),
        band(
          9,
          series({
            title: 'Sequence numbers',
            description: 'Messages that came late or twice, and times that an exporter began to number anew or jumped.',
            unit: 'short',
            bars: true,
            calcs: ['sum'],
            targets: [exporters({ format: 'timeseries', what: ['out_of_order', 'duplicates', 'restarts', 'jumps'], by: [], filter })],
            overrides: [
              named('out_of_order', colour.quiet, 'Late'),
              named('duplicates', 'purple', 'Twice'),
              named('restarts', colour.warn, 'Restarts'),
              named('jumps', colour.bad, 'Jumps'),
            ],
          }),
          log({ title: 'Events of exporters', description: 'Exporters that fell silent or came back, and exports that somebody changed, newest first.', targets: [events({ format: 'logs', kinds: ['exporter_silent', 'exporter_heard', 'export_set', 'export_wiped', 'export_foreign'], limit: 100 })] }),
        ),
      ],
    },
  ],
});
