import {
  type AdHocVariableFilter,
  type DataSourceGetTagKeysOptions,
  type DataSourceGetTagValuesOptions,
  type DataSourceInstanceSettings,
  type DataSourceWithToggleableQueryFiltersSupport,
  type GetTagResponse,
  type QueryFilterOptions,
  type QueryFixAction,
  type ScopedVars,
  type TimeRange,
  type ToggleFilterAction,
} from '@grafana/data';
import { DataSourceWithBackend, getTemplateSrv, type TemplateSrv } from '@grafana/runtime';

import type { Options } from './config/settings';
import { addCondition, hasCondition, toggleCondition } from './query/condition';
import { describe } from './query/describe';
import { placeOfByte } from './query/filter';
import { interpolate, replaceInFilter } from './query/interpolate';
import { defaultQuery, filterOf, isComplete, withFilter, type WeirQuery } from './query/model';
import type { Mistake, Schema } from './query/schema';
import { hasVariables } from './query/variables';
import { Variables } from './variables';

/** Values that a look-up gives at most; more are found by writing more of them. */
const valuesLimit = 100;

/** The data source. What it is asked goes to its backend; here variables are put in, and what editors need is fetched. */
export class WeirDataSource extends DataSourceWithBackend<WeirQuery, Options> implements DataSourceWithToggleableQueryFiltersSupport<WeirQuery> {
  /** Events as annotations; Grafana's own editor of annotations shows the query editor. */
  override annotations = {};
  private known: Promise<Schema> | undefined;

  constructor(
    settings: DataSourceInstanceSettings<Options>,
    private readonly templates: TemplateSrv = getTemplateSrv()
  ) {
    super(settings);
    this.variables = new Variables(this);
  }

  override getDefaultQuery(): Partial<WeirQuery> {
    return defaultQuery();
  }

  /** Everything is asked but what is hidden or empty: what the backend takes in an alert rule, it gets from a panel as well. */
  override filterQuery(query: WeirQuery): boolean {
    return query.hide !== true && isComplete(query);
  }

  override applyTemplateVariables(query: WeirQuery, scopedVars: ScopedVars, filters?: AdHocVariableFilter[]): WeirQuery {
    return interpolate(query, this.templates, scopedVars, filters);
  }

  override interpolateVariablesInQueries(queries: WeirQuery[], scopedVars: ScopedVars, filters?: AdHocVariableFilter[]): WeirQuery[] {
    return queries.map((query) => ({ ...this.applyTemplateVariables(query, scopedVars, filters), datasource: this.getRef() }));
  }

  override targetContainsTemplate(query: WeirQuery): boolean {
    return hasVariables(JSON.stringify(query).replace(/\$__\w+/g, ''));
  }

  override getQueryDisplayText(query: WeirQuery): string {
    return describe(query);
  }

  /** From Explore and tables: a value is wanted, or not wanted. */
  override modifyQuery(query: WeirQuery, action: QueryFixAction): WeirQuery {
    const { key, value } = action.options ?? {};
    const operator = { ADD_FILTER: '=', ADD_FILTER_OUT: '!=' }[action.type] as '=' | '!=' | undefined;
    return key !== undefined && value !== undefined && operator ? withFilter(query, (f) => addCondition(f, key, value, operator)) : query;
  }

  toggleQueryFilter(query: WeirQuery, { type, options }: ToggleFilterAction): WeirQuery {
    const { key, value } = options;
    return key !== undefined && value !== undefined ? withFilter(query, (f) => toggleCondition(f, key, value, type === 'FILTER_FOR' ? '=' : '!=')) : query;
  }

  queryHasFilter(query: WeirQuery, { key, value }: QueryFilterOptions): boolean {
    return key !== undefined && value !== undefined && hasCondition(filterOf(query) ?? '', key, value);
  }

  /** A text with its variables replaced. */
  replace(text: string, scopedVars: ScopedVars): string {
    return this.templates.replace(text, scopedVars);
  }

  /** Keys of ad hoc filters: fields that no other filter names. */
  override async getTagKeys({ filters }: Partial<DataSourceGetTagKeysOptions<WeirQuery>> = {}): Promise<GetTagResponse> {
    const used = new Set((filters ?? []).map((f) => f.key));
    const { fields } = await this.schema();
    return { data: fields.filter((f) => !used.has(f.name)).map((f) => ({ text: f.name, value: f.name })) };
  }

  override async getTagValues({ key }: Pick<DataSourceGetTagValuesOptions<WeirQuery>, 'key'>): Promise<GetTagResponse> {
    return { data: (await this.values(key, '')).map((v) => ({ text: v, value: v })) };
  }

  /** What the backend knows: asked for once. */
  schema(): Promise<Schema> {
    this.known ??= this.getResource<Schema>('schema').catch((e: unknown) => {
      this.known = undefined;
      throw e;
    });
    return this.known;
  }

  /** Values of a field that begin with a prefix, a bounded number of them. */
  async values(field: string, prefix: string, limit = valuesLimit): Promise<string[]> {
    const { values } = await this.getResource<{ values: { value: string }[] }>('values', { field, prefix, limit });
    return values.map((v) => v.value);
  }

  /** The mistake in a filter, as it will be sent; at its place in what was written. */
  async checkFilter(filter: string, type: string): Promise<Mistake | undefined> {
    const { text, place } = replaceInFilter(filter, this.templates, {});
    return this.check({ filter: text, queryType: type }, text, place);
  }

  async checkSQL(text: string): Promise<Mistake | undefined> {
    return this.check({ sql: text, queryType: 'sql' }, text, (at) => at);
  }

  private async check(question: Record<string, string>, text: string, place: (at: number) => number): Promise<Mistake | undefined> {
    const answer = await this.postResource<CheckAnswer>('check', question);
    if (answer.ok) {
      return undefined;
    }
    return {
      message: answer.message ?? 'it cannot be read',
      ...(answer.hint && { hint: answer.hint }),
      ...(answer.position && { place: place(placeOfByte(text, answer.position)) }),
    };
  }

  /** The SQL that a query becomes. */
  async preview(query: WeirQuery, range: TimeRange | undefined): Promise<string> {
    const sent = this.applyTemplateVariables(query, {});
    const { sql } = await this.postResource<{ sql: string }>('preview', { query: sent, from: range?.from.valueOf(), to: range?.to.valueOf() });
    return sql;
  }
}

interface CheckAnswer {
  ok: boolean;
  message?: string;
  hint?: string;
  /** In bytes of UTF-8 from 1; 0 or nothing where there is no place. */
  position?: number;
}
