import { version, type WeirQuery } from '../query/model';

/** Questions that the help of the query editor offers. */
export const examples: { title: string; ask: Omit<WeirQuery, 'refId'> }[] = [
  {
    title: 'Bit rate of the ten largest VMs, in and out',
    ask: { version, queryType: 'flows', flows: { format: 'timeseries', by: ['vm'], units: ['bps'], filter: '', direction: 'both', limit: 10, other: true } },
  },
  {
    title: 'Who talks to whom, in bytes',
    ask: { version, queryType: 'flows', flows: { format: 'table', by: ['src_vm', 'dst_vm'], units: ['bytes', 'packets', 'flows'], filter: '', limit: 50, total: true } },
  },
  {
    title: 'Services of one VM',
    ask: { version, queryType: 'flows', flows: { format: 'table', by: ['service', 'protocol'], units: ['bytes'], filter: 'dst_vm = web-01', limit: 20 } },
  },
  {
    title: 'Packets that policy denied, by VM',
    ask: { version, queryType: 'flows', flows: { format: 'timeseries', by: ['vm'], units: ['pps'], filter: '', traffic: 'denied' } },
  },
  { title: 'The newest flow records of a port, as logs', ask: { version, queryType: 'records', records: { format: 'logs', filter: 'port = 22', limit: 200 } } },
  { title: 'What Weir noticed', ask: { version, queryType: 'events', events: { format: 'logs' } } },
  {
    title: 'Bytes over time, as SQL',
    ask: {
      version,
      queryType: 'sql',
      sql: {
        format: 'timeseries',
        text: 'SELECT $__timeInterval(time_received) AS time, sum($__bytes) AS bytes\nFROM flows\nWHERE $__timeFilter(time_received) AND $__counted\nGROUP BY time\nORDER BY time',
      },
    },
  },
];
