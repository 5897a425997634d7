/** @jest-environment jsdom */
import { act, fireEvent, render, screen } from '@testing-library/react';
import { useState } from 'react';

import type { Mistake, Schema } from '../query/schema';
import { FilterField } from './FilterField';

const schema: Pick<Schema, 'fields'> = {
  fields: [
    { name: 'vm', type: 'name', operators: ['=', '!=', 'in', 'not in', 'like', 'not like'], aliases: [], doc: 'VM at either end.', example: '', groupable: true, rollup: true },
    { name: 'dst_port', type: 'port', operators: ['=', '<'], aliases: [], doc: 'Destination port.', example: '', groupable: true, rollup: false },
  ],
};

beforeEach(() => jest.useFakeTimers());
afterEach(() => jest.useRealTimers());

/** Time goes by and what was asked for is answered. */
const pause = () => act(() => jest.advanceTimersByTimeAsync(1000));

interface Options {
  start?: string;
  check?: (filter: string) => Promise<Mistake | undefined>;
}

function show({ start = '', check = () => Promise.resolve(undefined) }: Options = {}) {
  const changes: string[] = [];
  const asked: string[] = [];
  let runs = 0;
  const Page = () => {
    const [value, setValue] = useState(start);
    return (
      <FilterField
        value={value}
        schema={schema}
        values={(field, prefix) => {
          asked.push(`${field} ${prefix}`);
          return Promise.resolve(['web-01', 'web 02']);
        }}
        check={check}
        onChange={(v) => {
          changes.push(v);
          setValue(v);
        }}
        onRun={() => runs++}
      />
    );
  };
  render(<Page />);
  const input = screen.getByRole<HTMLInputElement>('combobox');
  return {
    input,
    changes,
    asked,
    runs: () => runs,
    type: (text: string) => {
      act(() => input.focus());
      fireEvent.change(input, { target: { value: text } });
    },
    press: (key: string) => fireEvent.keyDown(input, { key }),
    options: () => screen.queryAllByRole('option').map((o) => o.firstChild?.textContent),
  };
}

test('fields, operators and values are completed by keyboard', async () => {
  const f = show();
  f.type('v');
  expect(f.options()).toEqual(['vm']);
  f.press('Tab');
  expect(f.input.value).toBe('vm ');
  expect(f.options()).toEqual(['=', '!=', 'in', 'not in', 'like', 'not like']);
  f.press('ArrowDown');
  f.press('Enter');
  expect(f.input.value).toBe('vm = ');
  f.type('vm = w');
  await pause();
  expect(f.asked).toEqual(['vm w']);
  expect(f.options()).toEqual(['web-01', 'web 02']);
  f.press('ArrowUp');
  expect(screen.getByRole('option', { selected: true }).textContent).toBe('web 02');
  f.press('Enter');
  expect(f.input.value).toBe('vm = "web 02"');
  expect([f.changes, f.runs()]).toEqual([[], 0]);
  f.press('Enter');
  expect([f.changes, f.runs()]).toEqual([['vm = "web 02"'], 0]);
  f.press('Enter');
  expect([f.changes, f.runs()]).toEqual([['vm = "web 02"'], 1]);
});

test('a suggestion is taken by mouse, without leaving the field', () => {
  const f = show();
  f.type('dst');
  fireEvent.mouseDown(screen.getByRole('option'));
  expect(f.input.value).toBe('dst_port ');
  expect(document.activeElement).toBe(f.input);
  expect(f.changes).toEqual([]);
});

test('Escape closes the list, and leaving the field gives what was written', () => {
  const f = show({ start: 'vm = a' });
  f.type('vm = a a');
  expect(f.options()).toEqual(['and']);
  f.press('Escape');
  expect(f.options()).toEqual([]);
  fireEvent.blur(f.input);
  expect(f.changes).toEqual(['vm = a a']);
});

test('a mistake is underlined and told, with what to write instead', async () => {
  const check = (filter: string) => Promise.resolve(filter.startsWith('srcvm') ? { message: 'unknown field "srcvm"', hint: 'did you mean src_vm?', place: 0 } : undefined);
  const f = show({ start: 'srcvm = a and vm = b', check });
  await pause();
  expect(screen.getByTestId('mistake').textContent).toBe('srcvm');
  expect(screen.getByText('unknown field "srcvm": did you mean src_vm?')).toBeTruthy();
  expect(f.input.getAttribute('aria-invalid')).toBe('true');
  f.type('vm = a');
  await pause();
  expect(screen.queryByTestId('mistake')).toBeNull();
  expect(f.input.getAttribute('aria-invalid')).toBe('false');
});

test('what is not finished is no mistake while somebody writes it', async () => {
  const f = show({ check: (filter) => Promise.resolve({ message: 'found the end', place: filter.length }) });
  f.type('vm = ');
  await pause();
  expect(screen.queryByText('found the end')).toBeNull();
  fireEvent.blur(f.input);
  await pause();
  expect(screen.getByText('found the end')).toBeTruthy();
});

test('a text that was overtaken is not judged by the answer to an earlier one', async () => {
  const answers: ((m: Mistake) => void)[] = [];
  const f = show({ check: () => new Promise((resolve) => answers.push(resolve)) });
  f.type('first');
  await pause();
  f.type('second and');
  await pause();
  await act(async () => {
    answers.at(-1)?.({ message: 'of the second', place: 0 });
    answers.at(-2)?.({ message: 'of the first', place: 0 });
    await Promise.resolve();
  });
  expect(screen.queryByText('of the first')).toBeNull();
  expect(screen.getByText('of the second')).toBeTruthy();
});
