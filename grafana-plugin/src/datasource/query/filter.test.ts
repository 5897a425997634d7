import { and, conjuncts, escape, placeOfByte, quote, tokenize, without, written } from './filter';

const kinds = (text: string) => tokenize(text).map((t) => `${t.kind}:${t.text}`);

test('tokens are those of the language', () => {
  expect(kinds(`src_vm="web 01" and not dst_port IN(80,https)`)).toEqual([
    'word:src_vm', 'operator:=', 'string:web 01', 'word:and', 'word:not', 'word:dst_port', 'word:IN', 'open:(', 'word:80', 'comma:,', 'word:https', 'close:)',
  ]);
  expect(kinds('a<>1&&b>=2||!c==d')).toEqual([
    'word:a', 'operator:!=', 'word:1', 'word:and', 'word:b', 'operator:>=', 'word:2', 'word:or', 'word:not', 'word:c', 'operator:=', 'word:d',
  ]);
  expect(kinds('addr in 2001:db8::/32')).toEqual(['word:addr', 'word:in', 'word:2001:db8::/32']);
  expect(kinds('vm = größe-1')).toEqual(['word:vm', 'operator:=', 'word:größe-1']);
});

test('tokens of an unfinished or wrong text', () => {
  expect(tokenize('vm = "we\\"b')).toEqual([
    { kind: 'word', text: 'vm', start: 0, end: 2, closed: true },
    { kind: 'operator', text: '=', start: 3, end: 4, closed: true },
    { kind: 'string', text: 'we"b', start: 5, end: 11, closed: false },
  ]);
  expect(kinds('vm ~ 😀 $x')).toEqual(['word:vm', 'bad:~', 'bad:😀', 'bad:$', 'word:x']);
  expect(tokenize('"a\\').at(0)?.end).toBe(3);
  expect(tokenize('  ')).toEqual([]);
});

test.each(['web-01', '', 'a "name"', "o'brien", 'back\\slash', 'a) or (b', 'ünïcode 😀', '\\'])('a quoted %p is one string token that stands for it', (value) => {
  expect(tokenize(quote(value))).toEqual([expect.objectContaining({ kind: 'string', text: value, closed: true })]);
  for (const mark of ['"', "'"]) {
    expect(tokenize(mark + escape(value) + mark)).toEqual([expect.objectContaining({ kind: 'string', text: value, closed: true })]);
  }
});

test('values are written bare where that means the same', () => {
  expect(['web-01', '10.0.0.0/8', '52:54:00:12:34:56', 'a@b'].map(written)).toEqual(['web-01', '10.0.0.0/8', '52:54:00:12:34:56', 'a@b']);
  expect(['', 'a b', 'None', 'any', 'AND', 'web-*', '#7', 'x?', 'a"b'].map(written)).toEqual(
    ['""', '"a b"', '"None"', '"any"', '"AND"', '"web-*"', '"#7"', '"x?"', '"a\\"b"'],
  );
});

const texts = (filter: string) => conjuncts(filter).map((c) => filter.slice(c.start, c.end));

test('conjuncts', () => {
  expect(texts('vm = a and (x = 1 or y = 2) and not z in (1, 2)')).toEqual(['vm = a', '(x = 1 or y = 2)', 'not z in (1, 2)']);
  expect(texts('vm = a and x = 1 or y = 2')).toEqual(['vm = a and x = 1 or y = 2']);
  expect(texts('vm = "a and b" && x = 1')).toEqual(['vm = "a and b"', 'x = 1']);
  expect(texts('  ')).toEqual([]);
  expect(conjuncts('VM not in ("a", b) and tcp_flags has syn and not x = 1').map((c) => c.comparison)).toEqual([
    { field: 'vm', operator: 'not in', values: ['a', 'b'] },
    { field: 'tcp_flags', operator: 'has', values: ['syn'] },
    undefined,
  ]);
});

test('a condition is added so that it holds for all of the filter', () => {
  expect(and('', 'vm = a')).toBe('vm = a');
  expect(and('x = 1', 'vm = a')).toBe('x = 1 and vm = a');
  expect(and('x = 1 and y = 2', 'vm = a')).toBe('x = 1 and y = 2 and vm = a');
  expect(and('x = 1 or y = 2', 'vm = a')).toBe('(x = 1 or y = 2) and vm = a');
  expect(and('not x = 1', 'vm = a')).toBe('(not x = 1) and vm = a');
});

test.each(['x = 1) or (y = 2', '(x = 1', 'x = "1', "x = '"])('to %p, which is wrong, nothing is added', (filter) => {
  expect(and(filter, 'vm = a')).toBe(filter);
});

test('a conjunct is taken out', () => {
  const filter = 'vm = a and (x = 1 or y = 2) and z = 3';
  const [first, second] = conjuncts(filter);
  expect(first && without(filter, first)).toBe('(x = 1 or y = 2) and z = 3');
  expect(second && without(filter, second)).toBe('vm = a and z = 3');
});

test('positions of the backend, in bytes from 1, are found in the text', () => {
  expect([1, 2, 4, 5, 9, 10, 99].map((p) => placeOfByte('aéb😀c', p))).toEqual([0, 1, 2, 3, 5, 6, 6]);
});
