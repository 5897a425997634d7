import { Stack } from '@grafana/ui';

import type { Inventory } from '../query/model';
import { Choice, CountField, TextField } from './controls';
import type { PartEditorProps } from './part';

/** A question for what exists. */
export function InventoryEditor({ part, onChange, onRun, schema }: PartEditorProps<Inventory>) {
  const set = (change: Partial<Inventory>) => onChange({ ...part, ...change });
  return (
    <Stack direction="row" wrap="wrap" gap={1} alignItems="flex-end">
      <Choice label="Kind" words={[{ name: '', label: 'all' }, ...(schema?.entityKinds ?? [])]} value={part.kind ?? ''} onChange={(kind) => set({ kind })} />
      <TextField label="Name like" value={part.match ?? ''} onChange={(match) => set({ match })} onRun={onRun} placeholder="web-*" />
      <CountField label="At most" value={part.limit} onChange={(limit) => set({ limit })} onRun={onRun} placeholder="1000" />
    </Stack>
  );
}
