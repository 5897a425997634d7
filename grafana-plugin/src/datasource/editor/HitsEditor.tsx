import { Stack } from '@grafana/ui';

import { hitKeys, hitUnits, type Hits } from '../query/model';
import { Choice, CountField, Flag, TextField } from './controls';
import type { PartEditorProps } from './part';

/** A question how often rules were met. */
export function HitsEditor({ part, onChange, onRun }: PartEditorProps<Hits>) {
  const set = (change: Partial<Hits>) => onChange({ ...part, ...change });
  const table = (part.format ?? 'table') === 'table';
  return (
    <Stack direction="row" wrap="wrap" gap={1} alignItems="flex-end">
      {!table && <Choice<string> label="By" words={hitKeys.map((name) => ({ name }))} value={part.by || 'rule'} onChange={(by) => set({ by })} />}
      <TextField label="Rule" value={part.rule ?? ''} onChange={(rule) => set({ rule })} onRun={onRun} placeholder="all" />
      {!table && <TextField label="Verdict" value={part.verdict ?? ''} onChange={(verdict) => set({ verdict })} onRun={onRun} placeholder="all" width={14} />}
      {!table && <Choice<string> label="Unit" words={hitUnits.map((name) => ({ name }))} value={part.unit || 'pps'} onChange={(unit) => set({ unit })} />}
      <CountField label="Most met" value={part.limit} onChange={(limit) => set({ limit })} onRun={onRun} placeholder={table ? '1000' : '10'} />
      {table && <Flag label="Not met only" value={part.unused} onChange={(unused) => set({ unused })} description="Rules in force that nothing met in the time range" />}
      <Flag label="Built-in rules too" value={part.system} onChange={(system) => set({ system })} />
      {part.format === 'timeseries' && (
        <TextField label="Step" value={part.step ?? ''} onChange={(step) => set({ step })} onRun={onRun} placeholder="by the panel" width={14} />
      )}
    </Stack>
  );
}
