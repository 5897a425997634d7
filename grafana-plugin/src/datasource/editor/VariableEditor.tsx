import { Combobox, Stack } from '@grafana/ui';

import type { WeirDataSource } from '../datasource';
import { initial, version } from '../query/model';
import { firstValues, type VariableQuery } from '../query/options';
import { useAnswer } from './answer';
import { Choice, Labeled, TextField } from './controls';
import { FlowsEditor } from './FlowsEditor';
import { SQLEditor } from './SQLEditor';

interface Props {
  datasource: WeirDataSource;
  query: VariableQuery;
  onChange: (query: VariableQuery) => void;
  onRunQuery: () => void;
}

const kinds: { name: NonNullable<VariableQuery['queryType']>; label: string; doc: string }[] = [
  { name: 'values', label: 'What exists', doc: 'Names and words that a field is compared with' },
  { name: 'flows', label: 'What has traffic', doc: 'The largest groups of flows in the time range, as of a network that another variable chooses' },
  { name: 'sql', label: 'SQL', doc: 'The column value, or the first one with text' },
];

/** The editor of a variable. */
export function VariableEditor({ datasource, query, onChange, onRunQuery }: Props) {
  const { value: schema } = useAnswer(datasource.uid, () => datasource.schema(), 0);
  const fields = [...(schema?.fields ?? []), ...(schema?.lookups ?? [])].map((f) => ({ value: f.name, label: f.name, description: f.doc }));
  const { queryType: type = 'values' } = query;
  const { field, prefix = '' } = query.values ?? firstValues;
  const change = (to: Partial<VariableQuery>) => {
    onChange({ ...query, version, ...to });
    onRunQuery();
  };
  return (
    <Stack direction="column" gap={1}>
      <Choice
        label="Values"
        words={kinds}
        value={type}
        onChange={(queryType) =>
          change({
            queryType,
            ...(queryType === 'flows' && { flows: { ...initial.flows, by: [field], limit: 100, ...query.flows, format: 'table' } }),
            ...(queryType === 'sql' && { sql: { ...initial.sql, ...query.sql } }),
          })
        }
      />
      {type === 'values' && (
        <Stack direction="row" wrap="wrap" gap={1}>
          <Labeled label="Field">
            {(id) => <Combobox id={id} width={30} options={fields} value={field} onChange={(o) => change({ values: { field: o.value, prefix } })} />}
          </Labeled>
          <TextField label="Begins with" value={prefix} onChange={(p) => change({ values: { field, prefix: p } })} onRun={onRunQuery} placeholder="anything" />
        </Stack>
      )}
      {type === 'flows' && (
        <FlowsEditor part={query.flows ?? initial.flows} onChange={(flows) => change({ flows })} onRun={onRunQuery} schema={schema} source={datasource} />
      )}
      {type === 'sql' && <SQLEditor part={query.sql ?? initial.sql} onChange={(sql) => change({ sql })} onRun={onRunQuery} schema={schema} source={datasource} />}
    </Stack>
  );
}
