import type { Dashboard } from './board.ts';
import { band, board } from './board.ts';
import type { Jump } from './link.ts';
import { cell, label, to } from './link.ts';
import type { Series } from './panel.ts';
import { alarming, bar, colour, column, link, log, named, series, stat, steps, table } from './panel.ts';
import { events, statistics } from './target.ts';
import { oneOrAll } from './variable.ts';

const machine = '$machine';

// Where the alert rules on a disk, on the write-ahead log and on a store that is away fire, figures are red here.
const busy = steps(colour.good, [0.8, colour.warn], [0.95, colour.bad]);
const disk = steps(colour.good, [0.8, colour.warn], [0.9, colour.bad]);
const half = steps(colour.good, [0.1, colour.warn], [0.5, colour.bad]);
const away = steps(colour.good, [1, colour.warn], [60_000, colour.bad]);
const waits = steps(colour.good, [1_000_000, colour.warn]);
const lost = steps(colour.good, [1, colour.bad]);

/** A figure of now: of several machines that of the one that is worst off. */
function latest(title: string, description: string, what: string[], unit: string, thresholds: ReturnType<typeof steps>, ...links: Jump[]) {
  return stat({ title, description, unit, thresholds, targets: [statistics({ format: 'number', what, by: [], machine })], links });
}

/** A kind of things over time: how many there are, and how many of them are active. */
function activeOverTime(title: string, what: string, description: string, links: Jump[], managed: string[] = []) {
  return series({
    title,
    description,
    unit: 'short',
    calcs: ['lastNotNull', 'min', 'max'],
    links,
    targets: [statistics({ format: 'timeseries', of: 'network', what: [`${what}_active`, ...managed, what] })],
    overrides: [named(`${what}_active`, colour.good, 'Active'), ...managed.map((x) => named(x, colour.quiet, 'Managed')), named(what, colour.neutral, 'All')],
  });
}

/** The same of now. */
function active(title: string, what: string, description: string, links: Jump[], managed: string[] = []) {
  return stat({
    title,
    description,
    unit: 'short',
    names: true,
    targets: [statistics({ format: 'number', of: 'network', what: [`${what}_active`, ...managed, what] })],
    overrides: [named(`${what}_active`, colour.good, 'active'), ...managed.map((x) => named(x, colour.quiet, 'managed')), named(what, colour.neutral, 'total')],
    links,
  });
}

const alone = to('This machine alone', 'servers', { machine: label('machine') });

/** A figure of each process over time, or of each machine. */
function each(title: string, description: string, what: string, unit: string, more: Partial<Series> = {}, by?: string[]) {
  return series({
    title,
    description,
    unit,
    links: [alone],
    calcs: ['lastNotNull', 'mean', 'max'],
    targets: [statistics({ format: 'timeseries', what: [what], machine, limit: 20, ...(by !== undefined && { by }) })],
    ...more,
  });
}

const ofMachine = ['machine'];
const hosts = to('Hosts and pools', 'host');

export const servers: Dashboard = board({
  about: 'servers',
  title: 'Weir servers and network',
  description: 'How the machines and processes of Weir do: CPU, memory, disk, uptime, what waits and what was lost; and how much of the estate is active.',
  variables: [oneOrAll('machine', 'Machine')],
  from: 'now-6h',
  delay: false,
  sections: [
    {
      bands: [
        band(
          4,
          latest('CPU', 'Part of the CPUs of a machine that anything used, the mean of the time range; of the machine that is worst off.', ['machine_cpu'], 'percentunit', busy),
          latest('Memory', 'Part of the memory of a machine that is used; of the machine that is worst off.', ['machine_memory_used'], 'percentunit', busy),
          latest('Disk', 'Part of the disk that the data of a process is on that is used; of the process that is worst off.', ['disk_used'], 'percentunit', disk),
          latest('Flows that wait', 'Flows that wait for the store, in the write-ahead logs and in memory of all processes. Nothing is lost until a log is full.', ['flows_waiting'], 'short', waits, to('Collector health', 'collector')),
          latest('Write-ahead log', 'Part of the size that the write-ahead log may have; of the process that is worst off.', ['wal_used'], 'percentunit', half, to('Collector health', 'collector')),
          latest('Store away', 'How long the store has taken no flows.', ['store_away'], 'ms', away),
        ),
        band(
          4,
          active('Pools', 'pools', 'Pools with an active host, and all that exist.', [hosts]),
          active('Hosts', 'hosts', 'Hosts that are connected, those that Weir manages (weir hosts add), and all that exist; one that is not managed is active while it sends flows, and policy does not reach it.', [hosts, to('Hosts and drift', 'drift')], ['hosts_managed']),
          active('Networks', 'networks', 'Networks with a VIF of a VM that runs, and all that exist.', [to('Networks', 'network')]),
          active('VMs', 'vms', 'VMs that run, and all that exist.', [to('VMs', 'vm')]),
          active('VIFs', 'vifs', 'VIFs of VMs that run, and all that exist.', [to('VMs', 'vm')]),
        ),
      ],
    },
    {
      title: 'Processes now',
      bands: [
        band(
          9,
          table({
            title: 'How each process does',
            description: 'What each process of Weir told last in the time range, and its machine; CPU is the mean. One that has been silent for minutes does not run, or does not reach the store.',
            unit: 'short',
            targets: [statistics({ format: 'table', by: ['machine', 'service', 'version'], machine })],
            overrides: [
              column('machine', 'Machine', link(to('This machine alone', 'servers', { machine: cell }))),
              column('service', 'Process'),
              column('version', 'Version'),
              column('uptime', 'Up for'),
              column('cpu', 'CPUs', ...bar(colour.quiet)),
              column('memory', 'Memory', ...bar(colour.quiet)),
              column('machine_cpu', 'CPU of machine', ...alarming(busy)),
              column('machine_memory_used', 'Memory of machine', ...alarming(busy)),
              column('disk_used', 'Disk', ...alarming(disk)),
              column('socket_queue_used', 'Sockets', ...alarming(half)),
              column('flows_waiting', 'Flows wait', ...alarming(waits)),
              column('wal_used', 'Log', ...alarming(half)),
              column('wal_age', 'Oldest'),
              column('store_away', 'Store away', ...alarming(away)),
              column('events_waiting', 'Events wait'),
              column('hits_waiting', 'Hits wait'),
              column('store', 'Store'),
              column('silence', 'Last told', ...alarming(steps(colour.good, [120, colour.warn], [300, colour.bad]))),
            ],
          }),
        ),
      ],
    },
    {
      title: 'Servers over time',
      bands: [
        band(
          9,
          each('CPU of machines', 'Part of the CPUs that anything on the machine used.', 'machine_cpu', 'percentunit', { max: 1 }, ofMachine),
          each('CPU of processes', 'CPUs that each process used: 1 is one CPU all the time.', 'cpu', 'short', { stacked: true }),
          each('Load', 'Load of each machine, the mean of a minute.', 'machine_load', 'short', {}, ofMachine),
        ),
        band(
          9,
          each('Memory of machines', 'Part of the memory of the machine that is used.', 'machine_memory_used', 'percentunit', { max: 1 }, ofMachine),
          each('Memory of processes', 'Memory that each process has, resident.', 'memory', 'bytes', { stacked: true }),
          each('Uptime', 'Time since each process started: a line that falls to zero is a start.', 'uptime', 'ms'),
        ),
        band(
          9,
          each('Disk', 'Part of the disk that the data of each process is on that is used.', 'disk_used', 'percentunit', { max: 1 }),
          each('Disk that is free', 'What each process can still use of its disk.', 'disk_free', 'bytes'),
          each('Store', 'Size of all tables on disk, as who keeps the store in bounds knows it.', 'store', 'bytes', {}, ofMachine),
        ),
      ],
    },
    {
      title: 'Queues and losses',
      bands: [
        band(
          9,
          each('Flows that wait', 'Flows that wait for the store, in the write-ahead log or in memory.', 'flows_waiting', 'short', { stacked: true }),
          each('Write-ahead log', 'Size of the write-ahead log of each process.', 'wal', 'bytes'),
          each('Oldest flow that waits', 'Age of the oldest flow in the write-ahead log.', 'wal_age', 'ms'),
        ),
        band(
          9,
          each('Store away', 'How long the store has taken no flows of each process.', 'store_away', 'ms'),
          each('Datagrams that wait', 'Memory of datagrams that wait in the kernel for a collector.', 'socket_queue', 'bytes'),
          series({
            title: 'Decoded and stored',
            description: 'Flows a second that were decoded, and that the store took.',
            unit: 'short',
            targets: [statistics({ format: 'timeseries', what: ['flows', 'flows_stored'], by: [], machine, rate: true })],
            overrides: [named('flows', colour.quiet, 'Decoded'), named('flows_stored', colour.good, 'Stored')],
            links: [to('Collector health', 'collector')],
          }),
        ),
        band(
          9,
          series({
            title: 'Lost',
            description: 'Datagrams that the kernel discarded, and flows, events and hits of rules that were dropped on their way to the store. It should be empty.',
            unit: 'short',
            bars: true,
            stacked: true,
            calcs: ['sum'],
            targets: [statistics({ format: 'timeseries', what: ['socket_drops', 'flows_dropped', 'events_dropped', 'hits_dropped'], by: [], machine })],
            overrides: [named('socket_drops', colour.warn, 'Datagrams'), named('flows_dropped', colour.bad, 'Flows'), named('events_dropped', 'purple', 'Events'), named('hits_dropped', colour.quiet, 'Hits')],
            links: [to('Collector health', 'collector')],
          }),
          series({
            title: 'Events and hits that wait',
            description: 'Network events, and packets that met rules, that wait for the store.',
            unit: 'short',
            targets: [statistics({ format: 'timeseries', what: ['events_waiting', 'hits_waiting'], by: [], machine })],
            overrides: [named('events_waiting', 'purple', 'Events'), named('hits_waiting', colour.quiet, 'Hits')],
          }),
          latest('Lost in the time range', 'Datagrams that the kernel discarded, and flows that were dropped. It should be 0.', ['socket_drops', 'flows_dropped'], 'short', lost, to('Collector health', 'collector')),
        ),
      ],
    },
    {
      title: 'Network over time',
      bands: [
        band(
          9,
          activeOverTime('Pools over time', 'pools', 'Pools with an active host, and all that exist.', [hosts]),
          activeOverTime('Hosts over time', 'hosts', 'Hosts that are connected or send flows, those that Weir manages, and all that exist.', [hosts, to('Hosts and drift', 'drift')], ['hosts_managed']),
        ),
        band(
          9,
          activeOverTime('Networks over time', 'networks', 'Networks with a VIF of a VM that runs, and all that exist.', [to('Networks', 'network')]),
          activeOverTime('VMs over time', 'vms', 'VMs that run, and all that exist.', [to('VMs', 'vm')]),
        ),
        band(10, log({ title: 'Errors and warnings', description: 'What Weir noticed that somebody should look at, newest first.', targets: [events({ format: 'logs', severity: 'warning', limit: 100 })] })),
      ],
    },
  ],
});
