import { Stack } from '@grafana/ui';

import type { Events } from '../query/model';
import { Choice, CountField, Several } from './controls';
import { Filter } from './Filter';
import type { PartEditorProps } from './part';

/** A question for events. */
export function EventsEditor({ part, onChange, onRun, schema, source }: PartEditorProps<Events>) {
  const set = (change: Partial<Events>) => onChange({ ...part, ...change });
  return (
    <Stack direction="column" gap={1}>
      <Stack direction="row" wrap="wrap" gap={1} alignItems="flex-end">
        <Several label="Kinds" words={schema?.eventKinds ?? []} value={part.kinds ?? []} onChange={(kinds) => set({ kinds })} placeholder="all" minWidth={30} />
        <Choice
          label="At least"
          words={[{ name: '', label: 'any' }, ...(schema?.severities ?? [])]}
          value={part.severity ?? ''}
          onChange={(severity) => set({ severity })}
        />
        <CountField label="Newest" value={part.limit} onChange={(limit) => set({ limit })} onRun={onRun} placeholder="100" />
      </Stack>
      <Filter value={part.filter ?? ''} onChange={(filter) => set({ filter })} onRun={onRun} schema={schema} source={source} />
    </Stack>
  );
}
