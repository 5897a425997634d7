/*
 * What can be written at a place of a filter. Fields, operators and values are the backend's (its resources schema and values); here is only
 * what follows what.
 */
import type { Field, Schema } from './schema';
import { isKeyword, tokenize, written, type Token } from './filter';

/** The part of the backend's schema that is asked for here. */
export type Fields = Pick<Schema, 'fields'>;

/** What is expected at the cursor. */
export interface Context {
  expects: 'field' | 'operator' | 'value' | 'join';
  /** Of an operator and a value: the field before it, if there is one of that name. */
  field?: Field;
  /** Of a value: whether it stands in a list, and whether one may begin here. */
  list?: 'in' | 'may begin';
  /** What is written of it already, and where: that is what a suggestion replaces. */
  prefix: string;
  start: number;
  end: number;
  /** Parentheses that are open. */
  depth: number;
  /** After `not` of an operator. */
  negated?: boolean;
  /** Of a value: the operator before it, without `not`. */
  operator?: string;
}

export interface Suggestion {
  label: string;
  /** What is inserted. */
  text: string;
  kind: 'field' | 'operator' | 'value' | 'keyword';
  detail?: string;
}

/** The field of that name or alias. */
export function fieldByName(schema: Fields, name: string): Field | undefined {
  const lower = name.toLowerCase();
  return schema.fields.find((f) => f.name === lower || f.aliases.includes(lower));
}

/** What is expected at a place of a filter, which may be wrong before it. */
export function contextAt(text: string, cursor: number, schema: Fields): Context {
  const tokens = tokenize(text);
  const current = tokens.find((t) => t.start < cursor && cursor <= t.end && writable(t, cursor));
  const before = tokens.filter((t) => t.end <= cursor && t !== current);
  const state = before.reduce((s: State, t) => next(s, t, schema), { expects: 'field', depth: 0 });
  return {
    ...state,
    prefix: current ? prefixOf(current, text, cursor) : '',
    start: current?.start ?? cursor,
    end: current?.end ?? cursor,
  };
}

type State = Omit<Context, 'prefix' | 'start' | 'end'>;

/** Whether somebody at the cursor is still writing the token: a word, ! of !=, or a string before its end. */
function writable(token: Token, cursor: number): boolean {
  if (token.kind === 'string') {
    return !token.closed || cursor < token.end;
  }
  return token.kind === 'word';
}

function prefixOf(token: Token, text: string, cursor: number): string {
  const raw = text.slice(token.start, Math.min(cursor, token.end));
  return token.kind === 'string' ? raw.slice(1).replace(/\\(.)/g, '$1') : raw;
}

/** What is expected after one more token. */
function next(state: State, token: Token, schema: Fields): State {
  const { depth } = state;
  switch (state.expects) {
    case 'field':
      if (token.kind === 'open') {
        return { expects: 'field', depth: depth + 1 };
      }
      if (token.kind === 'word' && !isKeyword(token, 'not', 'and', 'or')) {
        const field = fieldByName(schema, token.text);
        return { expects: 'operator', depth, ...(field && { field }) };
      }
      return { expects: 'field', depth };
    case 'operator': {
      const field = state.field && { field: state.field };
      if (isKeyword(token, 'not')) {
        return { ...state, negated: true };
      }
      if (isKeyword(token, 'in')) {
        return { expects: 'value', depth, list: 'may begin', operator: 'in', ...field };
      }
      return { expects: 'value', depth, operator: token.text.toLowerCase(), ...field };
    }
    case 'value':
      if (token.kind === 'open' && state.list === 'may begin') {
        return { ...state, list: 'in' };
      }
      if (state.list === 'in') {
        return token.kind === 'close' ? { expects: 'join', depth } : token.kind === 'comma' ? state : { ...state, expects: 'join' };
      }
      return { expects: 'join', depth };
    case 'join':
      if (state.list === 'in') {
        return token.kind === 'close' ? { expects: 'join', depth } : { ...state, expects: 'value' };
      }
      return token.kind === 'close' ? { expects: 'join', depth: Math.max(0, depth - 1) } : { expects: 'field', depth };
  }
}

/** What can be written there. `values` are those that the backend has for the field and the prefix. */
export function suggestions(context: Context, schema: Fields, values: readonly string[] = []): Suggestion[] {
  const { prefix } = context;
  switch (context.expects) {
    case 'field':
      return [...fields(schema, prefix), ...words(prefix, [['not', 'not '], ['(', '(']])];
    case 'operator':
      return operators(context);
    case 'value':
      return [
        ...values.map((v): Suggestion => ({ label: v, text: written(v), kind: 'value' })),
        ...(context.list === 'may begin' && prefix === '' ? words('', [['(', '(']]) : []),
        ...words(prefix, standIns(context)),
      ];
    case 'join':
      if (context.list === 'in') {
        return words(prefix, [[',', ', '], [')', ') ']]);
      }
      return words(prefix, [['and', 'and '], ['or', 'or '], ...(context.depth > 0 ? ([[')', ') ']] as const) : [])]);
  }
}

function words(prefix: string, from: readonly (readonly [string, string])[]): Suggestion[] {
  return from.filter(([label]) => label.startsWith(prefix.toLowerCase())).map(([label, text]) => ({ label, text, kind: 'keyword' }));
}

/** Words that stand for values: no entity, and whatever it is. */
function standIns({ field, operator = '' }: Context): (readonly [string, string])[] {
  const none = field?.operators.includes('like') && operator !== 'like';
  const any = ['=', '!=', 'in', 'like'].includes(operator);
  return [...(none ? [['none', 'none'] as const] : []), ...(any ? [['any', 'any'] as const] : [])];
}

function operators({ field, prefix, negated }: Context): Suggestion[] {
  const all = field?.operators ?? [];
  const left = negated ? all.filter((o) => o.startsWith('not ')).map((o) => o.slice('not '.length)) : all;
  return left
    .filter((o) => o.startsWith(prefix.toLowerCase()))
    .map((o) => ({ label: o, text: o.endsWith('in') ? `${o} (` : `${o} `, kind: 'operator' }));
}

/** Fields that begin with the prefix, then those that hold it, in name or alias. */
function fields(schema: Fields, prefix: string): Suggestion[] {
  const lower = prefix.toLowerCase();
  const rank = (f: Field) => {
    const names = [f.name, ...f.aliases];
    return names.some((n) => n.startsWith(lower)) ? 0 : names.some((n) => n.includes(lower)) ? 1 : 2;
  };
  return [0, 1].flatMap((r) =>
    schema.fields.filter((f) => rank(f) === r).map((f): Suggestion => ({ label: f.name, text: `${f.name} `, kind: 'field', detail: f.doc }))
  );
}

/** A filter with a suggestion in place, and where the cursor is then. */
export function accept(text: string, context: Context, suggestion: Suggestion): { text: string; cursor: number } {
  const rest = text.slice(context.end).replace(suggestion.text.endsWith(' ') ? /^ / : /^$/, '');
  const head = text.slice(0, context.start) + suggestion.text;
  return { text: head + rest, cursor: head.length };
}
