import { FieldType, type DataFrame } from '@grafana/data';
import type { DataQuery } from '@grafana/schema';

import type { Parts } from './model';

/** What a new variable looks up. */
export const firstValues = { field: 'vm', prefix: '' };

/** Where the values of a variable come from: what a field can be, which it is if nothing is said, or the answer to a query. */
export interface VariableQuery extends DataQuery, Partial<Parts> {
  version?: number;
  queryType?: 'values' | 'flows' | 'sql';
  /** Names and words that the field can be compared with: what exists, whether there is traffic of it or not. */
  values?: { field: string; prefix?: string };
}

/** Values of a variable in the answer to a query: of the column that is called value or text, else of the first with text; each once. */
export function valuesOf(frames: readonly DataFrame[]): string[] {
  const values = frames.flatMap((frame) => {
    const field =
      frame.fields.find((f) => f.name === 'value' && f.type === FieldType.string) ??
      frame.fields.find((f) => f.name === 'text') ??
      frame.fields.find((f) => f.type === FieldType.string);
    return field ? (field.values as unknown[]) : [];
  });
  return [...new Set(values.filter((v): v is string => typeof v === 'string' && v !== ''))];
}
