/** @jest-environment jsdom */
import { act, renderHook } from '@testing-library/react';

import { messageOf, useAnswer } from './answer';

beforeEach(() => jest.useFakeTimers());
afterEach(() => jest.useRealTimers());

test('it is asked once the key rests, and the answer to it is what counts', async () => {
  const asked: string[] = [];
  const ask = (key: string) => {
    asked.push(key);
    return key === 'bad' ? Promise.reject(new Error('refused')) : Promise.resolve(`answer to ${key}`);
  };
  const first: { key?: string } = { key: 'a' };
  const { result, rerender } = renderHook(({ key }: { key?: string }) => useAnswer(key, ask, 100), { initialProps: first });
  const pause = () => act(() => jest.advanceTimersByTimeAsync(150));
  rerender({ key: 'ab' });
  await pause();
  expect(asked).toEqual(['ab']);
  expect(result.current).toEqual({ value: 'answer to ab', current: true });
  rerender({ key: 'bad' });
  expect(result.current).toEqual({ value: 'answer to ab', current: false });
  await pause();
  expect(result.current).toEqual({ error: 'refused', current: true });
  rerender({});
  await pause();
  expect(asked).toEqual(['ab', 'bad']);
  expect(result.current.current).toBe(false);
});

test('what errors say', () => {
  expect(messageOf({ status: 400, statusText: 'Bad Request', data: { message: 'unknown field', hint: 'did you mean vm?' } })).toBe('unknown field: did you mean vm?');
  expect(messageOf({ status: 502, statusText: 'Bad Gateway', data: {} })).toBe('Bad Gateway');
  expect(messageOf(new Error('no network'))).toBe('no network');
  expect(messageOf('text')).toBe('text');
  expect(messageOf(undefined)).toBe('');
});
