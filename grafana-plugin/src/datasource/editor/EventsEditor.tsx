import { Stack } from '@grafana/ui';

import { sources, type Events } from '../query/model';
import { Choice, CountField, Several, TextField } from './controls';
import { Filter } from './Filter';
import type { PartEditorProps } from './part';

const sourceDocs = { network: 'What Weir noticed', admin: 'What people changed', all: 'Both' };

/** A question for events. */
export function EventsEditor({ part, onChange, onRun, schema, source }: PartEditorProps<Events>) {
  const set = (change: Partial<Events>) => onChange({ ...part, ...change });
  const counted = part.format === 'timeseries' || part.format === 'number';
  return (
    <Stack direction="column" gap={1}>
      <Stack direction="row" wrap="wrap" gap={1} alignItems="flex-start">
        <Choice<string> label="Of" words={sources.map((name) => ({ name, doc: sourceDocs[name] }))} value={part.source || sources[0]} onChange={(of) => set({ source: of })} />
        <Several label="Kinds" words={schema?.eventKinds ?? []} value={part.kinds ?? []} onChange={(kinds) => set({ kinds })} placeholder="all" minWidth={30} />
        <Choice
          label="At least"
          words={[{ name: '', label: 'any' }, ...(schema?.severities ?? [])]}
          value={part.severity ?? ''}
          onChange={(severity) => set({ severity })}
        />
        <TextField label="With text" value={part.text ?? ''} onChange={(text) => set({ text })} onRun={onRun} placeholder="any" />
        {!counted && <CountField label="Newest" value={part.limit} onChange={(limit) => set({ limit })} onRun={onRun} placeholder="1000" />}
      </Stack>
      <Filter
        label="Filter by pool, host, bridge, network, vm or vif"
        placeholder="all; as: host = xcp1 or vm in (web-01, db)"
        value={part.filter ?? ''}
        onChange={(filter) => set({ filter })}
        onRun={onRun}
        schema={schema}
        source={source}
        type="events"
      />
    </Stack>
  );
}
