import { useEffect, useRef, useState } from 'react';

export interface Answer<T> {
  /** The newest answer that came, which may be of an earlier key; undefined until there was one. */
  value?: T;
  /** What went wrong with the newest question. */
  error?: string;
  /** Whether the answer is of the present key. */
  current: boolean;
}

/**
 * Asks once a key has been the same for `delay` ms, and gives the answer; it does not ask while there is no key. Answers to earlier keys that come
 * late are dropped.
 */
export function useAnswer<T>(key: string | undefined, ask: (key: string) => Promise<T>, delay: number): Answer<T> {
  const [answer, setAnswer] = useState<{ key?: string; value?: T; error?: string }>({});
  const latest = useRef(ask);
  useEffect(() => {
    latest.current = ask;
  });
  useEffect(() => {
    if (key === undefined) {
      return;
    }
    let wanted = true;
    const timer = setTimeout(() => {
      latest.current(key).then(
        (value) => {
          if (wanted) {
            setAnswer({ key, value });
          }
        },
        (error: unknown) => {
          if (wanted) {
            setAnswer({ key, error: messageOf(error) });
          }
        }
      );
    }, delay);
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [key, delay]);
  const { key: answered, ...rest } = answer;
  return { ...rest, current: key !== undefined && answered === key };
}

/** What an error says: of an answer of the backend its message and hint, else its own text. */
export function messageOf(error: unknown): string {
  if (typeof error !== 'object' || error === null) {
    return typeof error === 'string' ? error : '';
  }
  const { data, message, hint, statusText } = error as Record<string, unknown>;
  const inner = data === undefined ? '' : messageOf(data);
  if (inner !== '') {
    return inner;
  }
  const said = [message, statusText].find((text) => typeof text === 'string' && text !== '');
  return [said, hint].filter((text) => typeof text === 'string' && text !== '').join(': ');
}
