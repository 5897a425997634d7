import { accept, contextAt, suggestions } from './completion';
import type { Field, Schema } from './schema';

const field = (name: string, type: string, operators: string[], aliases: string[] = []): Field => ({ name, type, operators, aliases, doc: `${name}.`, example: '', groupable: true, rollup: true });
const schema: Pick<Schema, 'fields'> = {
  fields: [
    field('vm', 'name', ['=', '!=', 'in', 'not in', 'like', 'not like']),
    field('src_vm', 'name', ['=', '!=', 'in', 'not in', 'like', 'not like']),
    field('dst_port', 'port', ['=', '!=', '<', '<=', '>', '>=', 'in', 'not in'], ['dport']),
    field('tcp_flags', 'TCP flags', ['=', '!=', 'has', 'not has'], ['flags']),
  ],
};

/** What is expected at the | of a text. */
const at = (marked: string) => {
  const cursor = marked.indexOf('|');
  const text = marked.replace('|', '');
  return { text, context: contextAt(text, cursor, schema) };
};
const labels = (marked: string, values: string[] = []) => suggestions(at(marked).context, schema, values).map((s) => s.label);

test.each([
  ['|', 'field', ''],
  ['v|', 'field', 'v'],
  ['(not v|', 'field', 'v'],
  ['vm |', 'operator', ''],
  ['vm|', 'field', 'vm'],
  ['vm !|', 'operator', '!'],
  ['vm =|', 'value', ''],
  ['vm = |', 'value', ''],
  ['vm = we|b', 'value', 'we'],
  ['vm = "we b|', 'value', 'we b'],
  ['vm = "we|b"', 'value', 'we'],
  ['vm = "web"|', 'join', ''],
  ['vm = web |', 'join', ''],
  ['vm = web a|', 'join', 'a'],
  ['vm = web and |', 'field', ''],
  ['vm in |', 'value', ''],
  ['vm in (|', 'value', ''],
  ['vm in (a|', 'value', 'a'],
  ['vm in (a |', 'join', ''],
  ['vm in (a, |', 'value', ''],
  ['vm in (a, b) |', 'join', ''],
  ['vm not in (a|', 'value', 'a'],
  ['vm not |', 'operator', ''],
  ['tcp_flags has s|', 'value', 's'],
  ['nonsense = x|', 'value', 'x'],
])('at %s a %s is expected', (marked, expects, prefix) => {
  expect(at(marked).context).toMatchObject({ expects, prefix });
});

test('the field of a value is known, by any of its names', () => {
  expect(at('dport = |').context.field?.name).toBe('dst_port');
  expect(at('VM in (a, |').context.field?.name).toBe('vm');
  expect(at('nonsense = |').context.field).toBeUndefined();
});

test('suggestions', () => {
  expect(labels('|')).toEqual(['vm', 'src_vm', 'dst_port', 'tcp_flags', 'not', '(']);
  expect(labels('vm|')).toEqual(['vm', 'src_vm']);
  expect(labels('dp|')).toEqual(['dst_port']);
  expect(labels('n|')).toEqual(['not']);
  expect(labels('vm |')).toEqual(['=', '!=', 'in', 'not in', 'like', 'not like']);
  expect(labels('dst_port < |')).toEqual([]);
  expect(labels('tcp_flags has |')).toEqual([]);
  expect(labels('vm like |')).toEqual(['any']);
  expect(labels('vm not |')).toEqual(['in', 'like']);
  expect(labels('vm = |', ['web-01', 'a b'])).toEqual(['web-01', 'a b', 'none', 'any']);
  expect(labels('dst_port in |')).toEqual(['(', 'any']);
  expect(labels('vm in (a |')).toEqual([',', ')']);
  expect(labels('vm = a |')).toEqual(['and', 'or']);
  expect(labels('(vm = a |')).toEqual(['and', 'or', ')']);
  expect(labels('(vm = a) |')).toEqual(['and', 'or']);
  expect(labels('nonsense |')).toEqual([]);
});

/** The text after the suggestion of that label was taken, with | at the cursor. */
const taken = (marked: string, label: string, values: string[] = []) => {
  const { text, context } = at(marked);
  const suggestion = suggestions(context, schema, values).find((s) => s.label === label);
  if (!suggestion) {
    throw new Error(`no suggestion ${label} at ${marked}`);
  }
  const result = accept(text, context, suggestion);
  return `${result.text.slice(0, result.cursor)}|${result.text.slice(result.cursor)}`;
};

test('what is accepted takes the place of what was begun', () => {
  expect(taken('v|', 'src_vm')).toBe('src_vm |');
  expect(taken('s| = web', 'src_vm')).toBe('src_vm |= web');
  expect(taken('vm |', 'not in')).toBe('vm not in (|');
  expect(taken('vm in (w|, x)', 'web 01', ['web 01'])).toBe('vm in ("web 01"|, x)');
  expect(taken('vm = "we|', 'web-01', ['web-01'])).toBe('vm = web-01|');
  expect(taken('vm = a o|', 'or')).toBe('vm = a or |');
  expect(taken('vm in (a |', ')')).toBe('vm in (a ) |');
});
