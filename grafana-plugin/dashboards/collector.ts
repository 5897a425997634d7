import type { Dashboard } from './board.ts';
import { band, board } from './board.ts';
import { colour, log, name, series, stat, steps, table } from './panel.ts';
import { events, exporters, inventory } from './target.ts';
import { names } from './variable.ts';

const filter = 'exporter in ($exporter)';
const lost = steps(colour.good, [1, colour.bad]);
const odd = steps(colour.good, [1, colour.warn]);

export const collector: Dashboard = board({
  about: 'collector',
  title: 'Collector health',
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
          stat({ title: 'Not stored', description: 'Flows lost between decoder and store. It should be 0.', unit: 'short', thresholds: lost, targets: [exporters({ format: 'number', what: ['not_stored'], by: [], filter })] }),
          stat({ title: 'Lost on the way here', description: 'What sequence numbers announced and did not come, in the unit that each exporter numbers: flows, messages or records.', unit: 'short', thresholds: odd, targets: [exporters({ format: 'number', what: ['lost'], by: [], filter })] }),
          stat({ title: 'Not decoded', description: 'Sets, template records and messages that could not be decoded.', unit: 'short', thresholds: odd, targets: [exporters({ format: 'number', what: ['dropped'], by: [], filter })] }),
          stat({ title: 'Exporters', description: 'Exporters that sent in the time range.', unit: 'short', targets: [inventory({ format: 'number', kind: 'exporter' })] }),
        ),
        band(
          9,
          series({
            title: 'Decoded, stored, lost',
            description: 'Flows a second. What is decoded and not yet stored is on its way through the write-ahead log; the areas are to be the same over time.',
            unit: 'short',
            targets: [
              exporters({ format: 'timeseries', what: ['flows'], by: [], filter, rate: true }, 'A'),
              exporters({ format: 'timeseries', what: ['stored'], by: [], filter, rate: true }, 'B'),
              exporters({ format: 'timeseries', what: ['not_stored'], by: [], filter, rate: true }, 'C'),
            ],
            overrides: [name('A', 'Decoded', colour.quiet), name('B', 'Stored', colour.good), name('C', 'Not stored', colour.bad)],
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
        band(11, table({ title: 'The ledger by exporter', description: 'What each exporter sent in the time range, and what became of it.', unit: 'short', targets: [exporters({ format: 'table', filter })] })),
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
            targets: [exporters({ format: 'timeseries', what: ['held_sets'], by: [], filter }, 'A'), exporters({ format: 'timeseries', what: ['expired_sets'], by: [], filter }, 'B')],
            overrides: [name('A', 'Waited', colour.warn), name('B', 'In vain', colour.bad)],
          }),
          series({
            title: 'Assumed and changed',
            description: 'Flows whose sampling rate the exporter did not say, and flows whose times could not be true.',
            unit: 'short',
            bars: true,
            calcs: ['sum'],
            targets: [exporters({ format: 'timeseries', what: ['sampling_assumed'], by: [], filter }, 'A'), exporters({ format: 'timeseries', what: ['times_clamped'], by: [], filter }, 'B')],
            overrides: [name('A', 'Sampling rate assumed', colour.quiet), name('B', 'Times changed', colour.warn)],
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
            targets: [
              exporters({ format: 'timeseries', what: ['out_of_order'], by: [], filter }, 'A'),
              exporters({ format: 'timeseries', what: ['duplicates'], by: [], filter }, 'B'),
              exporters({ format: 'timeseries', what: ['restarts'], by: [], filter }, 'C'),
              exporters({ format: 'timeseries', what: ['jumps'], by: [], filter }, 'D'),
            ],
            overrides: [name('A', 'Late', colour.quiet), name('B', 'Twice', 'purple'), name('C', 'Restarts', colour.warn), name('D', 'Jumps', colour.bad)],
          }),
          log({ title: 'Events of exporters', description: 'Exporters that fell silent or came back, and exports that somebody changed, newest first.', targets: [events({ format: 'logs', kinds: ['exporter_silent', 'exporter_heard', 'export_set', 'export_wiped', 'export_foreign'], limit: 100 })] }),
        ),
      ],
    },
  ],
});
