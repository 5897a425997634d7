import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { caps, defaults } from './settings';

const source = readFileSync(join(__dirname, '../../../pkg/clickhouse/settings.go'), 'utf8');

/** A number as Go has it: 10_000, 100 << 20. */
function numberOf(text: string): number {
  const [base = '', shift = '0'] = text.replace(/_/g, '').split('<<');
  return Number(base) * 2 ** Number(shift);
}

test('the caps are those of the backend, with their defaults', () => {
  const listed = [...source.matchAll(/^\t\{"(\w+)", "[^"]*", "\w+", ([^,]+),/gm)].map((m) => [m[1], numberOf(m[2] ?? '')]);
  expect(listed.length).toBeGreaterThan(0);
  expect(caps.map((c) => [c.name, c.normal])).toEqual(listed);
});

test('the defaults are those of the backend', () => {
  const constants = Object.fromEntries([...source.matchAll(/^\tDefault(\w+)\s+= "(.*)"/gm)].map((m) => [(m[1] ?? '').toLowerCase(), m[2]]));
  expect(constants).toEqual({ url: defaults.url, database: defaults.database, username: defaults.username });
  expect(source).toContain('defaultTimeout = 10 * time.Second');
});
