import { adHocCondition, addCondition, hasCondition, toggleCondition, withAdHoc } from './condition';

const condition = (operator: string, value: string, values?: string[]) => adHocCondition({ key: 'vm', operator, value, ...(values && { values }) });

test('ad hoc filters are comparisons of the language', () => {
  expect(condition('=', 'web 01')).toBe('vm = "web 01"');
  expect(condition('=', '')).toBe('vm = none');
  expect(condition('!=', 'none')).toBe('vm != "none"');
  expect(condition('=|', 'a', ['a', 'b"c', ''])).toBe('vm in ("a", "b\\"c", none)');
  expect(condition('!=|', 'a')).toBe('vm not in ("a")');
  expect(adHocCondition({ key: 'bytes', operator: '>=', value: '1kB' })).toBe('bytes >= "1kB"');
});

test('expressions that are patterns are taken, others are refused', () => {
  expect(condition('=~', 'web-.*')).toBe('vm like "web-*"');
  expect(condition('!~', '^web\\.example.+$')).toBe('vm not like "web.example?*"');
  expect(condition('=~', 'a.b')).toBe('vm like "a?b"');
  for (const expression of ['a|b', '(a)', '[ab]', 'a+', 'a*', 'a\\d', 'a\\*', 'a\\', '^^a', 'a?']) {
    expect(() => condition('=~', expression)).toThrow('expected text with .* in it');
  }
  expect(() => condition('~', 'a')).toThrow('found operator "~"');
});

test('ad hoc filters are added to the filter', () => {
  const filters = [{ key: 'vm', operator: '=', value: 'a' }, { key: '', operator: '=', value: '' }, { key: 'dst_port', operator: '!=', value: '443' }];
  expect(withAdHoc('x = 1 or y = 2', filters)).toBe('(x = 1 or y = 2) and vm = "a" and dst_port != "443"');
  expect(withAdHoc('', filters)).toBe('vm = "a" and dst_port != "443"');
  expect(withAdHoc('x = 1')).toBe('x = 1');
});

test('conditions are toggled, and take the place of their opposite', () => {
  expect(toggleCondition('', 'src_vm', 'web-01', '=')).toBe('src_vm = web-01');
  expect(toggleCondition('src_vm = "web-01" and x = 1', 'src_vm', 'web-01', '=')).toBe('x = 1');
  expect(toggleCondition('x = 1 and SRC_VM = web-01', 'src_vm', 'web-01', '!=')).toBe('x = 1 and src_vm != web-01');
  expect(toggleCondition('src_vm != web-01', 'src_vm', 'web-01', '=')).toBe('src_vm = web-01');
  expect(toggleCondition('x = 1 or y = 2', 'vm', 'a b', '=')).toBe('(x = 1 or y = 2) and vm = "a b"');
  expect(addCondition('vm = a', 'vm', 'a', '=')).toBe('vm = a');
  expect(addCondition('x = 1', 'vm', '', '!=')).toBe('x = 1 and vm != none');
});

test('conditions that are there are found', () => {
  expect(hasCondition('x = 1 and vm = "web-01"', 'vm', 'web-01')).toBe(true);
  expect(hasCondition('x = 1 or vm = web-01', 'vm', 'web-01')).toBe(false);
  expect(hasCondition('vm != web-01', 'vm', 'web-01')).toBe(false);
  expect(hasCondition('vm in (web-01, b)', 'vm', 'web-01')).toBe(false);
});
