import type { QueryEditorProps } from '@grafana/data';
import { Alert, Combobox, RadioButtonGroup, Stack } from '@grafana/ui';

import type { Options } from '../config/settings';
import type { WeirDataSource } from '../datasource';
import { formats, initial, isComplete, migrate, version, type Parts, type QueryType, type WeirQuery } from '../query/model';
import { useAnswer } from './answer';
import { EventsEditor } from './EventsEditor';
import { ExportersEditor } from './ExportersEditor';
import { FlowsEditor } from './FlowsEditor';
import { Fold } from './Fold';
import { HitsEditor } from './HitsEditor';
import { InventoryEditor } from './InventoryEditor';
import { RecordsEditor } from './RecordsEditor';
import { Preview } from './Preview';
import { SQLEditor } from './SQLEditor';
import { StatisticsEditor } from './StatisticsEditor';

type Props = QueryEditorProps<WeirDataSource, WeirQuery, Options>;

const types: { value: QueryType; label: string; description: string }[] = [
  { value: 'flows', label: 'Flows', description: 'How much passed: over time, or the largest' },
  { value: 'records', label: 'Flow records', description: 'Single records, newest first' },
  { value: 'events', label: 'Events', description: 'What Weir noticed' },
  { value: 'exporters', label: 'Exporters', description: 'What exporters sent, and what was lost' },
  { value: 'hits', label: 'Hits of rules', description: 'Which rules of the policy were met' },
  { value: 'inventory', label: 'Inventory', description: 'What exists: hosts, networks, VMs' },
  { value: 'statistics', label: 'Statistics', description: 'How Weir itself does, how much of the estate is active' },
  { value: 'sql', label: 'SQL', description: 'SQL of your own, if your role may' },
];

const formatLabels: Record<NonNullable<Parts[QueryType]['format']>, string> = {
  timeseries: 'Time series',
  table: 'Table',
  number: 'Number',
  logs: 'Logs',
  annotations: 'Annotations',
};

/** The editor of a query, in panels, Explore, alert rules and annotations. */
export function QueryEditor({ datasource, query: saved, onChange, onRunQuery, range, data }: Props) {
  const query = migrate(saved);
  const type = query.queryType;
  const schema = useAnswer(datasource.uid, () => datasource.schema(), 0);

  if (query.version > version || !(type in initial)) {
    return (
      <Alert severity="warning" title="This query was made by a newer version of the plugin">
        It is sent as it is, but cannot be shown here.
      </Alert>
    );
  }
  /** A change that is complete is asked at once; one of text when it is run. */
  const change = <T extends QueryType>(of: T, part: Parts[T], run = true) => {
    onChange({ ...query, queryType: of, [of]: part });
    if (run) {
      onRunQuery();
    }
  };
  const shared = { onRun: onRunQuery, schema: schema.value, source: datasource };

  return (
    <Stack direction="column" gap={1}>
      <Stack direction="row" wrap="wrap" gap={1} alignItems="center">
        <Combobox
          aria-label="Question"
          width={28}
          options={types}
          value={type}
          onChange={(o) => change(o.value, { ...initial[o.value], ...query[o.value] }, o.value !== 'sql')}
        />
        <RadioButtonGroup
          aria-label="Form of the answer"
          options={formats[type].map((f) => ({ value: f, label: formatLabels[f] }))}
          value={query[type]?.format}
          onChange={(format) => change(type, { ...initial[type], ...query[type], format })}
        />
      </Stack>
      {schema.error !== undefined && (
        <Alert severity="warning" title="The data source does not tell its fields">
          {schema.error}
        </Alert>
      )}
      {type === 'flows' && <FlowsEditor {...shared} part={query.flows ?? initial.flows} onChange={(p) => change('flows', p)} />}
      {type === 'records' && <RecordsEditor {...shared} part={query.records ?? initial.records} onChange={(p) => change('records', p)} />}
      {type === 'events' && <EventsEditor {...shared} part={query.events ?? initial.events} onChange={(p) => change('events', p)} />}
      {type === 'exporters' && <ExportersEditor {...shared} part={query.exporters ?? initial.exporters} onChange={(p) => change('exporters', p)} />}
      {type === 'hits' && <HitsEditor {...shared} part={query.hits ?? initial.hits} onChange={(p) => change('hits', p)} />}
      {type === 'inventory' && <InventoryEditor {...shared} part={query.inventory ?? initial.inventory} onChange={(p) => change('inventory', p)} />}
      {type === 'statistics' && <StatisticsEditor {...shared} part={query.statistics ?? initial.statistics} onChange={(p) => change('statistics', p)} />}
      {type === 'sql' && <SQLEditor {...shared} part={query.sql ?? initial.sql} onChange={(p) => change('sql', p, false)} />}
      {isComplete(query) && (
        <Fold label="SQL that is run">
          <Preview query={query} range={range ?? data?.timeRange} intervalMs={data?.request?.intervalMs} source={datasource} />
        </Fold>
      )}
    </Stack>
  );
}
