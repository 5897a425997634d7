import { Labeled } from './controls';
import { FilterField } from './FilterField';
import type { Source } from './part';
import type { Schema } from '../query/schema';

interface Props {
  value: string;
  onChange: (filter: string) => void;
  onRun: () => void;
  schema: Schema | undefined;
  source: Source;
  label?: string;
}

/** The filter of a query, which the data source completes and checks. */
export function Filter({ label = 'Filter', source, ...rest }: Props) {
  return (
    <Labeled label={label}>
      {(id) => <FilterField {...rest} id={id} values={(field, prefix) => source.values(field, prefix)} check={(filter) => source.checkFilter(filter)} />}
    </Labeled>
  );
}
