import { Stack } from '@grafana/ui';

import type { Hits } from '../query/model';
import { CountField, Flag, TextField } from './controls';
import type { PartEditorProps } from './part';

/** A question how often rules were met. */
export function HitsEditor({ part, onChange, onRun }: PartEditorProps<Hits>) {
  const set = (change: Partial<Hits>) => onChange({ ...part, ...change });
  return (
    <Stack direction="row" wrap="wrap" gap={1} alignItems="flex-end">
      <TextField label="Rule" value={part.rule ?? ''} onChange={(rule) => set({ rule })} onRun={onRun} placeholder="all" />
      <CountField label="Most met" value={part.limit} onChange={(limit) => set({ limit })} onRun={onRun} placeholder="1000" />
      <Flag label="Not met only" value={part.unused} onChange={(unused) => set({ unused })} description="Rules in force that nothing met in the time range" />
      <Flag label="Built-in rules too" value={part.system} onChange={(system) => set({ system })} />
    </Stack>
  );
}
