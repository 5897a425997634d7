import { Stack } from '@grafana/ui';

import type { Flows } from '../query/model';
import { Choice, CountField, Flag, Several, TextField } from './controls';
import type { PartEditorProps } from './part';
import { Filter } from './Filter';
import { Fold } from './Fold';

/** A question about sums of flows. */
export function FlowsEditor({ part, onChange, onRun, schema, source }: PartEditorProps<Flows>) {
  const set = (change: Partial<Flows>) => onChange({ ...part, ...change });
  const series = part.format === 'timeseries';
  return (
    <Stack direction="column" gap={1}>
      <Stack direction="row" wrap="wrap" gap={1} alignItems="flex-start">
        <Several label="Units" words={schema?.units ?? []} value={part.units ?? []} onChange={(units) => set({ units })} placeholder="bytes" minWidth={16} />
        <Several
          label="Group by"
          words={(schema?.fields ?? []).filter((f) => f.groupable)}
          value={part.by ?? []}
          onChange={(by) => set({ by })}
          placeholder="nothing: one total"
          minWidth={26}
        />
        <Choice label="Direction" words={schema?.directions ?? []} value={part.direction || 'both'} onChange={(direction) => set({ direction })} />
        <CountField label={part.bottom === true ? 'Smallest' : 'Largest'} value={part.limit} onChange={(limit) => set({ limit })} onRun={onRun} placeholder="10" />
      </Stack>
      <Filter value={part.filter ?? ''} onChange={(filter) => set({ filter })} onRun={onRun} schema={schema} source={source} type="flows" />
      <Fold label="Options" summary={summary(part)}>
        <Stack direction="row" wrap="wrap" gap={1} alignItems="flex-end">
          <Choice label="Traffic" words={schema?.traffic ?? []} value={part.traffic || 'seen'} onChange={(traffic) => set({ traffic })} />
          <Choice
            label="Time of a flow"
            words={[
              { name: '', label: 'any', doc: 'Whichever the coarsest table has' },
              { name: 'received', doc: 'When the collector received the record' },
              { name: 'lived', doc: 'When the packets passed' },
            ]}
            value={part.basis ?? ''}
            onChange={(basis) => set({ basis })}
          />
          {series && <TextField label="Step" value={part.step ?? ''} onChange={(step) => set({ step })} onRun={onRun} placeholder="by the panel" width={14} />}
          <Flag label="Smallest first" value={part.bottom} onChange={(bottom) => set({ bottom })} description="The groups with least, instead of those with most" />
          <Flag label="Other" value={part.other} onChange={(other) => set({ other })} description="All other groups together" />
          <Flag label="Total" value={part.total} onChange={(total) => set({ total })} description="The total, and in a table each group's share of it" />
          <Flag label="In and out" value={part.split} onChange={(split) => set({ split })} description="What of it came in and what went out, of the group or else of what is filtered" />
          {part.format === 'table' && (
            <Flag label="When seen" value={part.seen} onChange={(seen) => set({ seen })} description="When each group was seen first and last in the time range" />
          )}
          <Flag
            label="Every observation"
            value={part.observations}
            onChange={(observations) => set({ observations })}
            description="Also those that totals do not count, because the packets were counted elsewhere"
          />
        </Stack>
      </Fold>
    </Stack>
  );
}

/** The options that are not as they come. */
export function summary(part: Flows): string {
  const said = [
    part.traffic && part.traffic !== 'seen' ? part.traffic : '',
    part.basis ? `when ${part.basis}` : '',
    part.format === 'timeseries' && part.step ? `every ${part.step}` : '',
    part.bottom ? 'smallest first' : '',
    part.other ? 'other' : '',
    part.total ? 'total' : '',
    part.split ? 'in and out' : '',
    part.format === 'table' && part.seen ? 'when seen' : '',
    part.observations ? 'every observation' : '',
  ].filter((s) => s !== '');
  return said.length === 0 ? 'as they come' : said.join(', ');
}
