import { Stack } from '@grafana/ui';

import type { Records } from '../query/model';
import { CountField, Several } from './controls';
import { Filter } from './Filter';
import type { PartEditorProps } from './part';

/** A question for single records. */
export function RecordsEditor({ part, onChange, onRun, schema, source }: PartEditorProps<Records>) {
  const set = (change: Partial<Records>) => onChange({ ...part, ...change });
  return (
    <Stack direction="column" gap={1}>
      <Stack direction="row" wrap="wrap" gap={1} alignItems="flex-end">
        <Several label="Columns" words={schema?.fields ?? []} value={part.columns ?? []} onChange={(columns) => set({ columns })} placeholder="those of most use" minWidth={30} />
        <CountField label="Newest" value={part.limit} onChange={(limit) => set({ limit })} onRun={onRun} placeholder="100" />
      </Stack>
      <Filter value={part.filter ?? ''} onChange={(filter) => set({ filter })} onRun={onRun} schema={schema} source={source} type="records" />
    </Stack>
  );
}
