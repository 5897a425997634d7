import { Combobox, Stack } from '@grafana/ui';

import type { Inventory } from '../query/model';
import { CountField, Labeled, TextField } from './controls';
import type { PartEditorProps } from './part';

/** A question for what exists. */
export function InventoryEditor({ part, onChange, onRun, schema }: PartEditorProps<Inventory>) {
  const set = (change: Partial<Inventory>) => onChange({ ...part, ...change });
  return (
    <Stack direction="row" wrap="wrap" gap={1} alignItems="flex-end">
      <Labeled label="Kind">
        {(id) => (
          <Combobox
            id={id}
            width={24}
            createCustomValue
            customValueDescription="Variable"
            options={[{ value: '', label: 'all' }, ...(schema?.entityKinds ?? []).map((k) => ({ value: k.name, label: k.name }))]}
            value={part.kind ?? ''}
            onChange={(o) => set({ kind: o.value })}
          />
        )}
      </Labeled>
      <TextField label="Name like" value={part.match ?? ''} onChange={(match) => set({ match })} onRun={onRun} placeholder="web-*" />
      <CountField label="At most" value={part.limit} onChange={(limit) => set({ limit })} onRun={onRun} placeholder="1000" />
    </Stack>
  );
}
