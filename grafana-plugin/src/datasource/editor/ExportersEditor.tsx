import { Stack } from '@grafana/ui';

import type { Exporters } from '../query/model';
import { CountField, Flag, Several, TextField } from './controls';
import { Filter } from './Filter';
import type { PartEditorProps } from './part';

/** A question about what exporters sent, and what became of it. */
export function ExportersEditor({ part, onChange, onRun, schema, source }: PartEditorProps<Exporters>) {
  const set = (change: Partial<Exporters>) => onChange({ ...part, ...change });
  const together = part.by?.length === 0;
  const normal = { timeseries: 'flows', number: 'lost', table: 'the ledger' }[part.format ?? 'timeseries'];
  return (
    <Stack direction="column" gap={1}>
      <Stack direction="row" wrap="wrap" gap={1} alignItems="flex-end">
        <Several label="Figures" words={schema?.exporterFigures ?? []} value={part.what ?? []} onChange={(what) => set({ what })} placeholder={normal} minWidth={30} />
        {!together && (
          <Several label="Group by" words={schema?.exporterKeys ?? []} value={part.by ?? []} onChange={(by) => set({ by: by.length > 0 ? by : undefined })} placeholder="exporter" />
        )}
        <Flag label="All together" value={together} onChange={(on) => set({ by: on ? [] : undefined })} />
        <Flag label="Per second" value={part.rate} onChange={(rate) => set({ rate })} />
        <CountField label="Largest" value={part.limit} onChange={(limit) => set({ limit })} onRun={onRun} placeholder={part.format === 'table' ? '1000' : '10'} />
        {part.format === 'timeseries' && (
          <TextField label="Step" value={part.step ?? ''} onChange={(step) => set({ step })} onRun={onRun} placeholder="by the panel" width={14} />
        )}
      </Stack>
      <Filter
        label="Filter by exporter, observation_domain or version"
        placeholder="all; as: exporter in 192.0.2.0/24"
        value={part.filter ?? ''}
        onChange={(filter) => set({ filter })}
        onRun={onRun}
        schema={schema}
        source={source}
        type="exporters"
      />
    </Stack>
  );
}
