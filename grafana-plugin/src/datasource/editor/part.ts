import type { QueryType } from '../query/model';
import type { Mistake, Schema } from '../query/schema';

/** What editors ask the data source. */
export interface Source {
  values(field: string, prefix: string): Promise<string[]>;
  checkFilter(filter: string, type: QueryType): Promise<Mistake | undefined>;
  checkSQL(text: string): Promise<Mistake | undefined>;
}

/** Properties of the editor of a part of a query, one for each type. */
export interface PartEditorProps<Part> {
  part: Part;
  onChange: (part: Part) => void;
  onRun: () => void;
  schema: Schema | undefined;
  source: Source;
}
