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
import { interpolate, replaceInFilter, resolver } from './query/interpolate';
import { defaultQuery, filterFields, filterOf, isComplete, version, withFilter, type QueryType, type WeirQuery } from './query/model';
import type { Mistake, Schema, Statement } from './query/schema';
import { hasVariables, interpolateSQL } from './query/variables';
import { Variables } from './variables';

/** Values that a look-up gives at most; more are found by writing more of them. */
const valuesLimit = 100;

/** The data source. What it is asked goes to its backend; here variables are put in, and what editors need is fetched. */
export class WeirDataSource extends DataSourceWithBackend<WeirQuery, Options> implements DataSourceWithToggleableQueryFiltersSupport<WeirQuery> {
  /** Events as annotations; Grafana's own editor of annotations shows the query editor. */
  override annotations = { getDefaultQuery: () => ({ version, queryType: 'events' as const, events: { format: 'annotations' as const } }) };
  override variables = new Variables(this);
  private known: Promise<Schema> | undefined;

  constructor(
    settings: DataSourceInstanceSettings<Options>,
    private readonly templates: TemplateSrv = getTemplateSrv()
  ) {
    super(settings);
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
    this.known ??= this.getResource<Schema>('schema', undefined, quietly).catch((e: unknown) => {
      this.known = undefined;
      throw e;
    });
    return this.known;
  }

  /** Values of a field that begin with a prefix, a bounded number of them. */
  async values(field: string, prefix: string, limit = valuesLimit): Promise<string[]> {
    const { values } = await this.getResource<{ values: { value: string }[] }>('values', { field, prefix, limit }, quietly);
    return values.map((v) => v.value);
  }

  /** The mistake in a filter, as it will be sent; at its place in what was written. */
  async checkFilter(filter: string, type: QueryType): Promise<Mistake | undefined> {
    const { text, place } = replaceInFilter(filter, this.templates, {});
    const question = filterFields[type] ? { query: { refId: 'A', version, queryType: type, [type]: { filter: text } } } : { filter: text };
    return this.check(question, text, place);
  }

  /** The mistake in SQL, as it will be sent; its place is known where no variables are in it. */
  async checkSQL(text: string): Promise<Mistake | undefined> {
    const sql = interpolateSQL(text, resolver(this.templates, {}));
    const mistake = sql.trim() === '' ? undefined : await this.check({ sql }, sql, (at) => at);
    return mistake && sql !== text ? { ...mistake, place: undefined } : mistake;
  }

  private async check(question: object, text: string, place: (at: number) => number): Promise<Mistake | undefined> {
    const answer = await this.postResource<CheckAnswer>('check', question, quietly);
    if (answer.ok) {
      return undefined;
    }
    return {
      message: answer.message ?? 'it cannot be read',
      ...(answer.hint && { hint: answer.hint }),
      ...(answer.position && { place: place(placeOfByte(text, answer.position)) }),
    };
  }

  /** The SQL that a query becomes in a range, with steps of about `intervalMs`. */
  preview(query: WeirQuery, range: TimeRange | undefined, intervalMs: number | undefined): Promise<Statement> {
    const sent = this.applyTemplateVariables(query, {});
    return this.postResource<Statement>('preview', { query: sent, from: range?.from.valueOf(), to: range?.to.valueOf(), intervalMs }, quietly);
  }
}

/** What went wrong is said in the editor, not in a message over the page. */
const quietly = { showErrorAlert: false };

interface CheckAnswer {
  ok: boolean;
  message?: string;
  hint?: string;
  /** In bytes of UTF-8 from 1; 0 or nothing where there is no place. */
  position?: number;
}
