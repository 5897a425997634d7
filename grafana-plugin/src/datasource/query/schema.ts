/* What the backend tells of itself by its resource `schema`: the only list of fields, units, kinds and macros that the editors have. */

export interface Field {
  name: string;
  aliases: string[];
  type: string;
  doc: string;
  operators: string[];
  /** Words of an enumeration. */
  words?: string[];
  /** What its values look like. */
  example: string;
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
  /** As it is written: $__timeFilter(column). */
  usage: string;
}

export interface Schema {
  fields: Field[];
  units: Word[];
  directions: Word[];
  traffic: Word[];
  tables: Word[];
  macros: Macro[];
  eventKinds: Word[];
  severities: Word[];
  exporterFigures: Word[];
  exporterKeys: Word[];
  entityKinds: Word[];
  serverFigures: Word[];
  serverKeys: Word[];
  networkFigures: Word[];
  /** What has values beside fields. */
  lookups: Word[];
}

/** A mistake in what was written, as the backend finds it. */
export interface Mistake {
  message: string;
  hint?: string;
  /** Where in the text, in UTF-16 units from 0; undefined where it has no place. */
  place?: number | undefined;
}

/** The SQL that a query becomes: values are bound to it as parameters, so that none is part of its text. */
export interface Statement {
  sql: string;
  params?: { name: string; type: string; value: string }[];
  notes?: string[];
}
