/*
 * Conditions that come from elsewhere than the filter's text: ad hoc filters of a dashboard, and "filter for this value" of tables, legends
 * and Explore. Each becomes a conjunct of the filter.
 */
import type { AdHocVariableFilter } from '@grafana/data';

import { and, conjuncts, quote, without, written, type Comparison } from './filter';

/** An ad hoc filter as a comparison of the filter language. It throws where there is none that means the same. */
export function adHocCondition({ key, operator, value, values }: AdHocVariableFilter): string {
  const list = () => (values && values.length > 0 ? values : [value]).map(named).join(', ');
  switch (operator) {
    case '=|':
      return `${key} in (${list()})`;
    case '!=|':
      return `${key} not in (${list()})`;
    case '=~':
      return `${key} like ${quote(pattern(key, value))}`;
    case '!~':
      return `${key} not like ${quote(pattern(key, value))}`;
    case '=':
    case '!=':
    case '<':
    case '<=':
    case '>':
    case '>=':
      return `${key} ${operator} ${named(value)}`;
    default:
      throw new Error(`ad hoc filter of ${key}: found operator "${operator}", expected =, !=, one of, not one of, =~, !~, <, <=, > or >=`);
  }
}

/** Nothing stands for what has no name. */
function named(value: string): string {
  return value === '' ? 'none' : quote(value);
}

/** A regular expression of the kind that people choose by hand, `web-.*`, as a pattern of like, which is of the whole name too. */
function pattern(key: string, expression: string): string {
  const parts = /^\^?((?:\\[^A-Za-z0-9*?]|\.[*+]?|[^\\.*+?()[\]{}|^$])*)\$?$/.exec(expression);
  if (!parts) {
    throw new Error(`ad hoc filter of ${key}: found the expression "${expression}", expected text with .* in it, as web-.*`);
  }
  const patterns: Record<string, string> = { '.*': '*', '.+': '?*', '.': '?' };
  return (parts[1] ?? '').replace(/\\(.)|\.[*+]?/g, (written, character: string | undefined) => character ?? patterns[written] ?? '');
}

/** A filter with the conditions of ad hoc filters; those without a key are not ready yet. */
export function withAdHoc(filter: string, filters: readonly AdHocVariableFilter[] = []): string {
  return filters.filter((f) => f.key !== '').reduce((text, f) => and(text, adHocCondition(f)), filter);
}

const opposite: Record<string, string> = { '=': '!=', '!=': '=' };

/** Whether the filter asks for the value of the field, by itself. */
export function hasCondition(filter: string, field: string, value: string, operator: '=' | '!=' = '='): boolean {
  return find(filter, field, value, operator) !== undefined;
}

/** A filter that asks for the value of the field, or for any other; that no longer does if it did. What asks for the opposite goes. */
export function toggleCondition(filter: string, field: string, value: string, operator: '=' | '!='): string {
  const present = find(filter, field, value, operator);
  return present ? without(filter, present) : addCondition(filter, field, value, operator);
}

/** A filter that also asks for the value of the field, or for any other. */
export function addCondition(filter: string, field: string, value: string, operator: '=' | '!='): string {
  if (find(filter, field, value, operator)) {
    return filter;
  }
  const contrary = find(filter, field, value, opposite[operator] ?? '');
  return and(contrary ? without(filter, contrary) : filter, `${field} ${operator} ${value === '' ? 'none' : written(value)}`);
}

function find(filter: string, field: string, value: string, operator: string) {
  const same = (c: Comparison | undefined) =>
    c?.field === field.toLowerCase() && c.operator === operator && c.values.length === 1 && c.values[0] === (value === '' ? 'none' : value);
  return conjuncts(filter).find((c) => same(c.comparison));
}
