/*
 * Text of the filter language (docs/reference/filter.md), as far as a browser has to know it: tokens, quoting, conjuncts. What a filter
 * means, and whether it is right, the backend says. Positions are in UTF-16 units from 0, as those of a string.
 */

export type TokenKind = 'word' | 'string' | 'operator' | 'open' | 'close' | 'comma' | 'bad';

export interface Token {
  kind: TokenKind;
  /** What it stands for: of a string its content, of `&&` the word `and`. */
  text: string;
  start: number;
  end: number;
  /** Whether a string has its closing quote; true of all others. */
  closed: boolean;
}

/** Words that are no bare values. */
export const keywords = ['and', 'or', 'not', 'in', 'like', 'has'] as const;

/** Words that mean something else than a name where they stand bare. */
const reserved: readonly string[] = [...keywords, 'none', 'any'];

const wordCharacters = /[\p{L}\p{Nd}\p{M}_\-.:/#+*?@%]+/uy;
const bareValue = /^[\p{L}\p{Nd}\p{M}_\-.:/+@%][\p{L}\p{Nd}\p{M}_\-.:/#+@%]*$/u;
const space = /\s+/uy;

/** Punctuation, longest first, with what it stands for. */
const punctuation: readonly (readonly [string, TokenKind, string])[] = [
  ['&&', 'word', 'and'],
  ['||', 'word', 'or'],
  ['==', 'operator', '='],
  ['!=', 'operator', '!='],
  ['<>', 'operator', '!='],
  ['<=', 'operator', '<='],
  ['>=', 'operator', '>='],
  ['=', 'operator', '='],
  ['<', 'operator', '<'],
  ['>', 'operator', '>'],
  ['!', 'word', 'not'],
  ['(', 'open', '('],
  [')', 'close', ')'],
  [',', 'comma', ','],
];

/** Splits a text into tokens. It takes whatever is written: what is not of the language is `bad`, a string may lack its end. */
export function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < text.length; ) {
    const token = tokenAt(text, at);
    if (token.kind !== 'bad' || token.text !== '') {
      tokens.push(token);
    }
    at = token.end;
  }
  return tokens;
}

/** The token at a place; of white space a bad one without text. */
function tokenAt(text: string, start: number): Token {
  const run = (pattern: RegExp) => {
    pattern.lastIndex = start;
    return pattern.exec(text)?.[0] ?? '';
  };
  const blank = run(space);
  if (blank !== '') {
    return { kind: 'bad', text: '', start, end: start + blank.length, closed: true };
  }
  const word = run(wordCharacters);
  if (word !== '') {
    return { kind: 'word', text: word, start, end: start + word.length, closed: true };
  }
  const first = text.charAt(start);
  if (first === '"' || first === "'") {
    return stringAt(text, start, first);
  }
  const mark = punctuation.find(([written]) => text.startsWith(written, start));
  if (mark) {
    return { kind: mark[1], text: mark[2], start, end: start + mark[0].length, closed: true };
  }
  const bad = String.fromCodePoint(text.codePointAt(start) ?? 0);
  return { kind: 'bad', text: bad, start, end: start + bad.length, closed: true };
}

function stringAt(text: string, start: number, quotes: string): Token {
  let content = '';
  let at = start + 1;
  for (; at < text.length; at++) {
    const c = text.charAt(at);
    if (c === quotes) {
      return { kind: 'string', text: content, start, end: at + 1, closed: true };
    }
    if (c === '\\') {
      at++;
    }
    content += text.charAt(at);
  }
  return { kind: 'string', text: content, start, end: text.length, closed: false };
}

export function isKeyword(token: Token | undefined, ...words: string[]): boolean {
  return token?.kind === 'word' && words.includes(token.text.toLowerCase());
}

/** A value as a string of the language. */
export function quote(value: string): string {
  return `"${escape(value)}"`;
}

/** What stands for a value between quotes, of either kind. */
export function escape(value: string): string {
  return value.replace(/[\\"']/g, '\\$&');
}

/** A value as people write it: bare if that means the same. */
export function written(value: string): string {
  return bareValue.test(value) && !reserved.includes(value.toLowerCase()) ? value : quote(value);
}

/** A comparison of a field, as `vm = "web-01"`. */
export interface Comparison {
  field: string;
  operator: string;
  /** One, but of `in` and `not in` with a list. */
  values: string[];
}

/** A part of a filter that has to hold for all of it to hold. */
export interface Conjunct {
  start: number;
  end: number;
  /** What it says, if it is a single comparison. */
  comparison?: Comparison;
}

/** The parts that `and` joins at the top of a filter; one if `or` does, none of an empty filter. */
export function conjuncts(text: string): Conjunct[] {
  const tokens = tokenize(text);
  const parts: Token[][] = [[]];
  let depth = 0;
  for (const token of tokens) {
    depth += token.kind === 'open' ? 1 : token.kind === 'close' ? -1 : 0;
    if (depth === 0 && isKeyword(token, 'or')) {
      return [{ start: tokens[0]?.start ?? 0, end: tokens.at(-1)?.end ?? 0 }];
    }
    if (depth === 0 && isKeyword(token, 'and')) {
      parts.push([]);
    } else {
      parts.at(-1)?.push(token);
    }
  }
  return parts.flatMap((part) => {
    const [first, last] = [part.at(0), part.at(-1)];
    if (!first || !last) {
      return [];
    }
    const comparison = comparisonOf(part);
    return [{ start: first.start, end: last.end, ...(comparison && { comparison }) }];
  });
}

function comparisonOf(tokens: Token[]): Comparison | undefined {
  const [field, ...rest] = tokens;
  if (field?.kind !== 'word' || isKeyword(field, ...keywords)) {
    return undefined;
  }
  const negated = isKeyword(rest[0], 'not');
  const operator = rest[negated ? 1 : 0];
  if (!operator || (operator.kind !== 'operator' && !isKeyword(operator, 'in', 'like', 'has'))) {
    return undefined;
  }
  const values = rest.slice(negated ? 2 : 1);
  const list = values[0]?.kind === 'open';
  const texts = values.filter((t) => t.kind === 'word' || t.kind === 'string').map((t) => t.text);
  if (texts.length === 0 || (!list && values.length !== 1)) {
    return undefined;
  }
  return { field: field.text.toLowerCase(), operator: (negated ? 'not ' : '') + operator.text.toLowerCase(), values: texts };
}

/** A filter that also asks for a condition, which is a comparison. One that cannot be read stays as it is: the backend says why. */
export function and(filter: string, condition: string): string {
  if (!balanced(filter)) {
    return filter;
  }
  const parts = conjuncts(filter);
  if (parts.length === 0) {
    return condition;
  }
  const single = parts.length === 1 && parts[0]?.comparison === undefined;
  return single ? `(${filter.trim()}) and ${condition}` : `${filter.trim()} and ${condition}`;
}

/** Whether parentheses and quotes are in pairs. */
function balanced(text: string): boolean {
  let depth = 0;
  for (const token of tokenize(text)) {
    depth += token.kind === 'open' ? 1 : token.kind === 'close' ? -1 : 0;
    if (depth < 0 || !token.closed) {
      return false;
    }
  }
  return depth === 0;
}

/** A filter without one of its conjuncts. */
export function without(filter: string, conjunct: Conjunct): string {
  const rest = conjuncts(filter).filter((c) => c.start !== conjunct.start);
  return rest.map((c) => filter.slice(c.start, c.end)).join(' and ');
}

/** The place in a string of a position in its UTF-8, in bytes from 1, as the backend tells it. */
export function placeOfByte(text: string, position: number): number {
  let bytes = 1;
  let place = 0;
  for (const character of text) {
    if (bytes >= position) {
      break;
    }
    bytes += utf8Length(character.codePointAt(0) ?? 0);
    place += character.length;
  }
  return place;
}

function utf8Length(codePoint: number): number {
  return codePoint < 0x80 ? 1 : codePoint < 0x800 ? 2 : codePoint < 0x10000 ? 3 : 4;
}
