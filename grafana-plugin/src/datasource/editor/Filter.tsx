import { filterFields, type QueryType } from '../query/model';
import type { Schema } from '../query/schema';
import { Labeled } from './controls';
import { FilterField } from './FilterField';
import type { Source } from './part';

interface Props {
  value: string;
  onChange: (filter: string) => void;
  onRun: () => void;
  schema: Schema | undefined;
  source: Source;
  /** Type of the query, which says what the filter may name. */
  type: QueryType;
  label?: string;
  placeholder?: string;
}

/** The filter of a query, which the data source completes and checks. */
export function Filter({ label = 'Filter', source, type, schema, ...rest }: Props) {
  const fields = schema?.fields.filter((f) => filterFields[type]?.includes(f.name) ?? true);
  return (
    <Labeled label={label}>
      {(id) => (
        <FilterField
          {...rest}
          id={id}
          schema={fields && { fields }}
          values={(field, prefix) => source.values(field, prefix)}
          check={(filter) => source.checkFilter(filter, type)}
        />
      )}
    </Labeled>
  );
}
