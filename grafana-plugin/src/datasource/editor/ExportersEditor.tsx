import { Stack } from '@grafana/ui';

import type { Exporters } from '../query/model';
import { CountField, Flag, Several } from './controls';
import { Filter } from './Filter';
import type { PartEditorProps } from './part';

/** A question about what exporters sent, and what became of it. */
export function ExportersEditor({ part, onChange, onRun, schema, source }: PartEditorProps<Exporters>) {
  const set = (change: Partial<Exporters>) => onChange({ ...part, ...change });
  return (
    <Stack direction="column" gap={1}>
      <Stack direction="row" wrap="wrap" gap={1} alignItems="flex-end">
        <Several label="Figures" words={schema?.exporterFigures ?? []} value={part.what ?? []} onChange={(what) => set({ what })} placeholder="received and lost" minWidth={30} />
        <CountField label="Exporters" value={part.limit} onChange={(limit) => set({ limit })} onRun={onRun} placeholder="100" />
        <Flag label="Per second" value={part.rate} onChange={(rate) => set({ rate })} />
      </Stack>
      <Filter value={part.filter ?? ''} onChange={(filter) => set({ filter })} onRun={onRun} schema={schema} source={source} />
    </Stack>
  );
}
