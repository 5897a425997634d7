/* Variables and ad hoc filters of a dashboard, put into a query before it is sent. */
import type { AdHocVariableFilter, ScopedVars } from '@grafana/data';
import type { TemplateSrv } from '@grafana/runtime';

import { withAdHoc } from './condition';
import { conjuncts, tokenize } from './filter';
import { members, partOf, typeOf, type Member, type WeirQuery } from './model';
import { hasVariables, interpolateFilter, interpolateSQL, type Interpolated, type Resolve } from './variables';

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

/** A query as it is sent. Of a type that is not known it is sent as it is. */
export function interpolate(saved: WeirQuery, service: TemplateSrv, scopedVars: ScopedVars, filters: readonly AdHocVariableFilter[] = []): WeirQuery {
  const query: WeirQuery = { ...saved, queryType: typeOf(saved) };
  const known = (members as Partial<Record<string, Readonly<Record<string, Member>>>>)[query.queryType];
  if (!known) {
    return saved;
  }
  const replaced = Object.entries(partOf(query) ?? {}).map(([name, v]: [string, unknown]): [string, unknown] => [name, replace(known[name], v, service, scopedVars)]);
  const sent: Record<string, unknown> = Object.fromEntries(replaced);
  // Others have filters of a few fields only, and would be wrong with a condition on the rest.
  if (filters.length > 0 && (query.queryType === 'flows' || query.queryType === 'records')) {
    sent.filter = withAdHoc(typeof sent.filter === 'string' ? sent.filter : '', filters);
  }
  return { ...query, [query.queryType]: sent };
}

function replace(member: Member | undefined, value: unknown, service: TemplateSrv, scopedVars: ScopedVars): unknown {
  const plain = (text: string) => (hasVariables(text) ? service.replace(text, scopedVars, 'csv') : text);
  if (Array.isArray(value)) {
    const texts = value.flatMap((v: unknown) => (typeof v === 'string' && hasVariables(v) ? plain(v).split(',').map((x) => x.trim()) : [v]));
    return [...new Set(texts)].filter((x) => x !== '');
  }
  if (typeof value !== 'string') {
    return value;
  }
  switch (member) {
    case 'filter':
      return hasVariables(value) ? withoutEmpty(replaceInFilter(value, service, scopedVars).text) : value;
    case 'sql':
      return interpolateSQL(value, resolver(service, scopedVars));
    case 'count':
    case 'flag':
      return typed(plain(value));
    default:
      return plain(value);
  }
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
