import { hasVariables, interpolateFilter, interpolateSQL, type Resolve, type Value } from './variables';

const values: Record<string, Value> = {
  vm: { all: false, values: ['web-01'] },
  vms: { all: false, values: ['web-01', 'a "b"'] },
  all: { all: true },
  none: { all: false, values: [] },
  empty: { all: false, values: [''] },
  evil: { all: false, values: ["x' OR 1=1 --", 'y") or vm in ("z', '\\'] },
  net: { all: false, values: ['10.0.0.0'] },
};

/** As Grafana does: a format of the reference's own takes precedence, and what it does not know stays. */
const resolve: Resolve = (reference, format) => {
  const name = /\w+/.exec(reference)?.[0] ?? '';
  const value = values[name];
  if (!value) {
    return reference;
  }
  return reference.includes(':raw') && !value.all ? value.values.join(',') : format(value);
};

test.each([
  ['vm in ($vms)', 'vm in ("web-01", "a \\"b\\"")'],
  ['vm in (${vms}) and vm in ([[vms]])', 'vm in ("web-01", "a \\"b\\"") and vm in ("web-01", "a \\"b\\"")'],
  ['vm = $vm', 'vm = "web-01"'],
  ['vm = "$vm"', 'vm = "web-01"'],
  ["vm = '${vm}'", 'vm = "web-01"'],
  ['vm=$vm and x=1', 'vm="web-01" and x=1'],
  ['vm in ($all) and vm = "$all"', 'vm in (any) and vm = any'],
  ['vm in ($none) and vm = $empty', 'vm in (any) and vm = any'],
  ['vm in ($vm, other)', 'vm in ("web-01", other)'],
  ['src_vm like "$vm-*"', 'src_vm like "web-01-*"'],
  ['src_vm like "x-$all"', 'src_vm like "x-*"'],
  ['addr in $net/8', 'addr in "10.0.0.0/8"'],
  ['addr in $net-$net', 'addr in "10.0.0.0-10.0.0.0"'],
  ['vm in ($evil)', 'vm in ("x\\\' OR 1=1 --", "y\\") or vm in (\\"z", "\\\\")'],
  ['vm like "a$evil"', 'vm like "ax\\\' OR 1=1 --,y\\") or vm in (\\"z,\\\\"'],
  ['src_${vm:raw} = 1', 'src_web-01 = 1'],
  ['(${vm:raw}) and x = 1', '(web-01) and x = 1'],
  ['vm = $unknown and x = "a$b"', 'vm = $unknown and x = "a$b"'],
  ['x = 1', 'x = 1'],
])('filter %s', (text, want) => {
  expect(interpolateFilter(text, resolve).text).toBe(want);
});

test('places in a filter are found in what it was made of', () => {
  const from = 'vm in ($all) and src_vmx = "$vm"';
  const { text, place } = interpolateFilter(from, resolve);
  expect(text).toBe('vm in (any) and src_vmx = "web-01"');
  expect(place(text.indexOf('src_vmx'))).toBe(from.indexOf('src_vmx'));
  expect(place(text.indexOf('any') + 2)).toBe(from.indexOf('$all'));
  expect(place(text.indexOf('"web') + 3)).toBe(from.indexOf('"$vm"'));
  expect(place(text.length)).toBe(from.length);
  expect(place(0)).toBe(0);
});

test.each([
  ['vm IN ($vms)', "vm IN ('web-01', 'a \\\"b\\\"')"],
  ["vm = '$vm' AND x = $vm", "vm = 'web-01' AND x = 'web-01'"],
  ['x IN ($none)', 'x IN (NULL)'],
  ['x IN ($evil)', "x IN ('x\\' OR 1=1 --', 'y\\\") or vm in (\\\"z', '\\\\')"],
  ["x = '$evil'", "x = 'x\\' OR 1=1 --,y\\\") or vm in (\\\"z,\\\\'"],
  ['SELECT `$vm` -- of $vm\n, /* $vm */ $vm', "SELECT `web-01` -- of $vm\n, /* $vm */ 'web-01'"],
  ["'it''s $vm' || '\\'$vm'", "'it''s web-01' || '\\'web-01'"],
  ['SELECT ${vm:raw}', 'SELECT web-01'],
  ['$__timeFilter(t) AND $unknown', '$__timeFilter(t) AND $unknown'],
])('SQL %s', (text, want) => {
  expect(interpolateSQL(text, resolve)).toBe(want);
});

test('what refers to variables', () => {
  expect(['$a', '${a}', '${a.b:csv}', '[[a]]'].map(hasVariables)).toEqual([true, true, true, true]);
  expect(['', 'a = 1', '5$', '$ a'].map(hasVariables)).toEqual([false, false, false, false]);
});
