/* What the backend tells of itself by its resource `schema`: the only list of fields, units, kinds and macros that the editors have. */

export interface Field {
  name: string;
  aliases: string[];
  type: string;
  doc: string;
  operators: string[];
  /** Words of an enumeration. */
  words?: string[];
  groupable: boolean;
  /** Whether tables of minutes and hours have it. */
  rollup: boolean;
}

/** A word with what it means. */
export interface Word {
  name: string;
  doc: string;
}

export interface Macro extends Word {
  /** As "(column)"; empty if it takes none. */
  args: string;
}

export interface Schema {
  fields: Field[];
  units: Word[];
  directions: Word[];
  traffic: Word[];
  tables: Word[];
  macros: Macro[];
  eventSources: Word[];
  eventKinds: Word[];
  severities: Word[];
  measures: Word[];
  exporterKeys: Word[];
  hitUnits: Word[];
  entityKinds: Word[];
  /** Of types of queries whose filters take some of the fields only: which. */
  filterFields?: Partial<Record<string, string[]>>;
}

/** A mistake in what was written, as the backend finds it. */
export interface Mistake {
  message: string;
  hint?: string;
  /** Where in the text, in UTF-16 units from 0; undefined where it has no place. */
  place?: number;
}
