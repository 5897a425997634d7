/* Variables and ad hoc filters of a dashboard, put into a query before it is sent. */
import type { AdHocVariableFilter, ScopedVars } from '@grafana/data';
import type { TemplateSrv } from '@grafana/runtime';

import { withAdHoc } from './condition';
import { conjuncts, tokenize } from './filter';
import { partOf, type WeirQuery } from './model';
import { hasVariables, interpolateFilter, interpolateSQL, type Interpolated, type Resolve } from './variables';

/** Members of a query that are numbers, or true or false; saved dashboards may have a variable in their place, as "${limit:raw}". */
const numbers = new Set(['limit']);
const flags = new Set(['split', 'bottom', 'other', 'total', 'observations', 'unused', 'system', 'rate']);

/** Resolves references by Grafana's service, which knows the variables; the values are formatted by us. */
export function resolver(service: TemplateSrv, scopedVars: ScopedVars): Resolve {
  return (reference, format) =>
    service.replace(reference, scopedVars, (value: unknown, variable?: { name?: string }) => {
      const values = (Array.isArray(value) ? value : [value]).map(String);
      const all = values.includes('$__all') || (Array.isArray(value) && isAll(service, variable?.name));
      return format(all ? { all } : { all: false, values });
    });
}

/** Whether All is chosen of a variable. What is chosen in a repeated panel is a value by itself, and no list. */
function isAll(service: TemplateSrv, name: string | undefined): boolean {
  const variable = service.getVariables().find((v) => v.name === name);
  if (!variable || !('current' in variable) || !('value' in variable.current)) {
    return false;
  }
  const chosen: unknown = variable.current.value;
  return chosen === '$__all' || (Array.isArray(chosen) && chosen.includes('$__all'));
}

/** A filter with its variables replaced. */
export function replaceInFilter(filter: string, service: TemplateSrv, scopedVars: ScopedVars): Interpolated {
  return interpolateFilter(filter, resolver(service, scopedVars));
}

/** A query as it is sent. */
export function interpolate(query: WeirQuery, service: TemplateSrv, scopedVars: ScopedVars, filters?: readonly AdHocVariableFilter[]): WeirQuery {
  const part = partOf(query);
  if (!part) {
    return query;
  }
  const plain = (text: string) => (hasVariables(text) ? service.replace(text, scopedVars, 'csv') : text);
  const value = (name: string, v: unknown): unknown => {
    if (Array.isArray(v)) {
      const texts = v.flatMap((x: unknown) => (typeof x === 'string' && hasVariables(x) ? plain(x).split(',') : [x]));
      return [...new Set(texts.map((x) => (typeof x === 'string' ? x.trim() : x)).filter((x) => x !== ''))];
    }
    if (typeof v !== 'string') {
      return v;
    }
    if (name === 'filter') {
      return hasVariables(v) ? withoutEmpty(replaceInFilter(v, service, scopedVars).text) : v;
    }
    if (query.queryType === 'sql' && name === 'text') {
      return interpolateSQL(v, resolver(service, scopedVars));
    }
    return numbers.has(name) || flags.has(name) ? typed(plain(v)) : plain(v);
  };
  const sent: Record<string, unknown> = Object.fromEntries(Object.entries(part).map(([name, v]) => [name, value(name, v)]));
  if (query.queryType === 'flows' || query.queryType === 'records') {
    sent.filter = withAdHoc(typeof sent.filter === 'string' ? sent.filter : '', filters);
  }
  return { ...query, [query.queryType]: sent };
}

/** A filter without parts that are nothing, as () of a text box that nobody wrote in. */
function withoutEmpty(filter: string): string {
  const parts = conjuncts(filter).map((c) => filter.slice(c.start, c.end));
  const full = parts.filter((p) => tokenize(p).some((t) => t.kind !== 'open' && t.kind !== 'close'));
  return full.join(' and ');
}

function typed(text: string): unknown {
  const trimmed = text.trim();
  if (trimmed === '') {
    return undefined;
  }
  if (trimmed === 'true' || trimmed === 'false') {
    return trimmed === 'true';
  }
  return /^\d+$/.test(trimmed) ? Number(trimmed) : text;
}
