/*
 * Variables of dashboards in filters and in SQL. A value is never pasted: in a filter it becomes a string of the filter language, in SQL a
 * literal, and where it stands within quotes it is escaped for them. Who wants it as it is, writes ${name:raw}.
 */
import { escape, quote, tokenize } from './filter';

/** A reference to a variable: $name, ${name}, ${name.path:format}, [[name]], [[name:format]]. */
const references = /\$\{(\w+)(?:\.[^:}]+)?(:[^}]+)?\}|\[\[(\w+)(:\w+)?\]\]|\$(\w+)/g;

const wordCharacter = /[\p{L}\p{Nd}\p{M}_\-.:/#+*?@%]/u;

/** The value of a variable: All, or what is chosen. */
export type Value = { all: true } | { all: false; values: string[] };

/** Replaces a reference by what `format` makes of its value; one of no variable stays, one with a format of its own gets that. */
export type Resolve = (reference: string, format: (value: Value) => string) => string;

/** A text with its variables replaced, and where in the text it was what is at a place of it. */
export interface Interpolated {
  text: string;
  place: (at: number) => number;
}

interface Reference {
  start: number;
  end: number;
  text: string;
  name: string;
  formatted: boolean;
}

function referencesIn(text: string): Reference[] {
  return Array.from(text.matchAll(references), (m) => ({
    start: m.index,
    end: m.index + m[0].length,
    text: m[0],
    name: m[1] ?? m[3] ?? m[5] ?? '',
    formatted: m[2] !== undefined || m[4] !== undefined,
  }));
}

/** Whether a text refers to variables. */
export function hasVariables(text: string): boolean {
  return text.search(references) >= 0;
}

/** Collects a text piece by piece, and remembers where the pieces were. */
class Writer {
  private text = '';
  private readonly pieces: { at: number; from: number; copied: boolean }[] = [];

  constructor(private readonly source: string) {}

  copy(from: number, to: number) {
    if (to > from) {
      this.pieces.push({ at: this.text.length, from, copied: true });
      this.text += this.source.slice(from, to);
    }
  }

  put(replacement: string, from: number) {
    this.pieces.push({ at: this.text.length, from, copied: false });
    this.text += replacement;
  }

  done(): Interpolated {
    const { text, pieces, source } = this;
    const place = (at: number) => {
      if (at >= text.length) {
        return source.length;
      }
      const piece = pieces.findLast((p) => p.at <= at);
      return piece ? piece.from + (piece.copied ? at - piece.at : 0) : at;
    };
    return { text, place };
  }
}

/** What stands for a value where the filter language wants values: All, or nothing chosen, is any. */
export function filterValues(value: Value): string {
  const values = value.all ? [] : value.values.filter((v) => v !== '');
  return values.length === 0 ? 'any' : values.map(quote).join(', ');
}

function filterText(value: Value): string {
  return value.all ? '*' : value.values.map(escape).join(',');
}

/**
 * Replaces the variables of a filter: `vm in ($vm)`, `vm = "$vm"` and `vm = $vm` are all right, as are `src_vm like "$prefix-*"` and
 * `addr in $net/24`, which become one value.
 */
export function interpolateFilter(text: string, resolve: Resolve): Interpolated {
  const out = new Writer(text);
  const strings = tokenize(text).filter((t) => t.kind === 'string');
  let at = 0;
  for (const word of words(text, strings)) {
    out.copy(at, word.start);
    at = word.end;
    const only = word.references[0];
    if (only && word.references.length === 1 && word.end - word.start === only.end - only.start + 2 * word.quotes) {
      out.put(resolve(only.text, filterValues), word.start);
      continue;
    }
    const quoted = word.quotes === 0 && !word.references.some((r) => r.formatted);
    if (quoted) {
      out.put('"', word.start);
    }
    at = word.start;
    for (const r of word.references) {
      out.copy(at, r.start);
      out.put(resolve(r.text, filterText), r.start);
      at = r.end;
    }
    out.copy(at, word.end);
    at = word.end;
    if (quoted) {
      out.put('"', word.end);
    }
  }
  out.copy(at, text.length);
  return out.done();
}

interface Word {
  start: number;
  end: number;
  /** Quotes at its beginning, and as many at its end. */
  quotes: 0 | 1;
  references: Reference[];
}

/** The strings and bare words that hold references. */
function words(text: string, strings: { start: number; end: number; closed: boolean }[]): Word[] {
  const found: Word[] = [];
  for (const r of referencesIn(text)) {
    const last = found.at(-1);
    if (last && r.start < last.end) {
      last.references.push(r);
      continue;
    }
    const string = strings.find((s) => s.start < r.start && r.end <= s.end);
    if (string) {
      found.push({ start: string.start, end: string.end, quotes: 1, references: [r] });
      continue;
    }
    let start = r.start;
    while (start > 0 && wordCharacter.test(text.charAt(start - 1))) {
      start--;
    }
    if (last && start <= last.end && last.quotes === 0) {
      last.references.push(r);
      last.end = wordEnd(text, r.end);
    } else {
      found.push({ start, end: wordEnd(text, r.end), quotes: 0, references: [r] });
    }
  }
  return found;
}

function wordEnd(text: string, at: number): number {
  while (at < text.length && wordCharacter.test(text.charAt(at))) {
    at++;
  }
  return at;
}

const sqlQuotes = new Set(["'", '"', '`']);

/** A value as a string literal of ClickHouse, several with commas between; NULL if nothing is chosen, which is equal to nothing. */
export function sqlLiterals(value: Value): string {
  const values = value.all ? [] : value.values;
  return values.length === 0 ? 'NULL' : values.map((v) => `'${sqlText(v)}'`).join(', ');
}

function sqlText(value: string): string {
  return value.replace(/[\\'"`]/g, '\\$&');
}

/** Macros, which are the backend's: it puts the same into a panel and into an alert rule. */
const macro = /^\$__/;

/** Replaces the variables of SQL: outside of quotes by literals, within quotes by escaped text, and none in comments; macros stay. */
export function interpolateSQL(text: string, resolve: Resolve): string {
  let out = '';
  let at = 0;
  for (const part of sqlParts(text)) {
    for (const r of referencesIn(text.slice(part.start, part.end))) {
      const start = part.start + r.start;
      out += text.slice(at, start);
      at = part.start + r.end;
      if (part.kind === 'comment' || macro.test(r.text)) {
        out += r.text;
      } else {
        out += resolve(r.text, part.kind === 'quoted' ? (v) => (v.all ? '' : v.values.map(sqlText).join(',')) : sqlLiterals);
      }
    }
  }
  return out + text.slice(at);
}

interface SQLPart {
  kind: 'code' | 'quoted' | 'comment';
  start: number;
  end: number;
}

/** Splits SQL into what is code, what is in quotes and what is a comment. */
function sqlParts(text: string): SQLPart[] {
  const parts: SQLPart[] = [];
  let start = 0;
  const close = (kind: SQLPart['kind'], end: number) => {
    if (end > start) {
      parts.push({ kind, start, end });
    }
    start = end;
  };
  const to = (mark: string, from: number) => {
    const end = text.indexOf(mark, from);
    return end < 0 ? text.length : end + mark.length;
  };
  for (let at = 0; at < text.length; ) {
    const c = text.charAt(at);
    if (sqlQuotes.has(c)) {
      close('code', at);
      at++;
      while (at < text.length && text.charAt(at) !== c) {
        at += text.charAt(at) === '\\' ? 2 : 1;
      }
      at = Math.min(at + 1, text.length);
      close('quoted', at);
    } else if (text.startsWith('--', at)) {
      close('code', at);
      at = to('\n', at);
      close('comment', at);
    } else if (text.startsWith('/*', at)) {
      close('code', at);
      at = to('*/', at);
      close('comment', at);
    } else {
      at++;
    }
  }
  close('code', text.length);
  return parts;
}
