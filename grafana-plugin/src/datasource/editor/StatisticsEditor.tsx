import { Stack } from '@grafana/ui';

import { subjects, type Statistics } from '../query/model';
import { Choice, CountField, Flag, Several, TextField } from './controls';
import type { PartEditorProps } from './part';

/** A question how processes of Weir and their machines do, or how much of the estate is active. */
export function StatisticsEditor({ part, onChange, onRun, schema }: PartEditorProps<Statistics>) {
  const set = (change: Partial<Statistics>) => onChange({ ...part, ...change });
  const { format = 'timeseries', of = 'servers' } = part;
  const network = of === 'network';
  const together = part.by?.length === 0;
  const normal = network ? 'all' : { timeseries: 'cpu', number: 'memory', table: 'how each process does' }[format];
  // Figures and keys of the one are none of the other.
  const change = (to: string) => onChange({ format, of: to });
  return (
    <Stack direction="row" wrap="wrap" gap={1} alignItems="flex-end">
      <Choice<string> label="Of" words={subjects.map((name) => ({ name }))} value={of} onChange={change} />
      <Several
        label="Figures"
        words={(network ? schema?.networkFigures : schema?.serverFigures) ?? []}
        value={part.what ?? []}
        onChange={(what) => set({ what })}
        placeholder={normal}
        minWidth={30}
      />
      {!network && !together && (
        <Several label="Group by" words={schema?.serverKeys ?? []} value={part.by ?? []} onChange={(by) => set({ by: by.length > 0 ? by : undefined })} placeholder="machine, service" />
      )}
      {!network && <Flag label="All together" value={together} onChange={(on) => set({ by: on ? [] : undefined })} />}
      {!network && <Flag label="Per second" value={part.rate} onChange={(rate) => set({ rate })} />}
      {!network && <TextField label="Machine" value={part.machine ?? ''} onChange={(machine) => set({ machine })} onRun={onRun} placeholder="all" />}
      {!network && <TextField label="Service" value={part.service ?? ''} onChange={(service) => set({ service })} onRun={onRun} placeholder="all" width={14} />}
      {!network && (
        <CountField label="Largest" value={part.limit} onChange={(limit) => set({ limit })} onRun={onRun} placeholder={format === 'table' ? '1000' : '10'} />
      )}
      {format === 'timeseries' && <TextField label="Step" value={part.step ?? ''} onChange={(step) => set({ step })} onRun={onRun} placeholder="by the panel" width={14} />}
    </Stack>
  );
}
