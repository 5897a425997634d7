import { css, cx } from '@emotion/css';
import type { GrafanaTheme2 } from '@grafana/data';
import { FieldValidationMessage, Portal, getInputStyles, useStyles2 } from '@grafana/ui';
import { useEffect, useId, useLayoutEffect, useRef, useState, type KeyboardEvent, type RefObject, type SyntheticEvent } from 'react';

import { accept, contextAt, suggestions, type Fields, type Suggestion } from '../query/completion';
import { tokenize } from '../query/filter';
import type { Mistake } from '../query/schema';
import { useAnswer } from './answer';

interface Props {
  value: string;
  schema: Fields | undefined;
  /** Values of a field that begin with a prefix, a bounded number of them. */
  values: (field: string, prefix: string) => Promise<string[]>;
  /** The first mistake in a filter, with its place in the text; undefined if it is right. */
  check: (filter: string) => Promise<Mistake | undefined>;
  /** Called with what was written, if that is something else, when the field is left or Enter is pressed. */
  onChange: (filter: string) => void;
  /** Called when Enter is pressed and nothing was changed: what is changed is asked anyhow. */
  onRun: () => void;
  id?: string;
  placeholder?: string;
}

/** Pauses of a writer, in ms, after which values are asked for and the text is checked. */
const valuesDelay = 150;
const checkDelay = 300;

/** A line for a filter: it completes fields, operators and values, and underlines a mistake. */
export function FilterField({ value, schema, values, check, onChange, onRun, id, placeholder = 'everything; as: vm = web-01 and dst_port in (80, 443)' }: Props) {
  const styles = useStyles2(getStyles);
  const listId = useId();
  const messageId = useId();
  const input = useRef<HTMLInputElement>(null);
  const anchor = useRef<HTMLSpanElement>(null);
  const [draft, setDraft] = useState(() => draftOf(value));
  const [focused, setFocused] = useState(false);
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const [scroll, setScroll] = useState(0);
  const [moved, setMoved] = useState<number>();

  // A value from outside, as by undo or "filter for value", takes the place of what is written.
  const { text, cursor } = draft.of === value ? draft : draftOf(value);

  const context = schema && contextAt(text, cursor, schema);
  const looked = context?.expects === 'value' && context.field && open ? JSON.stringify([context.field.name, context.prefix]) : undefined;
  const found = useAnswer(
    looked,
    (key) => {
      const [field, prefix] = JSON.parse(key) as [string, string];
      return values(field, prefix);
    },
    valuesDelay
  );
  const items = open && context ? offered(suggestions(context, schema, found.current ? found.value : []), context.prefix) : [];
  const checked = useAnswer(text, check, checkDelay);
  const mistake = checked.current && !(focused && unfinished(checked.value, text, cursor)) ? checked.value : undefined;
  const marked = mistake && place(mistake, text);

  useLayoutEffect(() => {
    if (moved !== undefined) {
      input.current?.setSelectionRange(moved, moved);
    }
  }, [moved, text]);

  const write = (next: string, at: number) => {
    setDraft({ text: next, cursor: at, of: value });
    setActive(-1);
    setOpen(true);
  };
  const take = (suggestion: Suggestion) => {
    if (context) {
      const next = accept(text, context, suggestion);
      write(next.text, next.cursor);
      setMoved(next.cursor);
      input.current?.focus();
    }
  };
  const commit = (otherwise?: () => void) => {
    setOpen(false);
    if (text !== value) {
      onChange(text);
    } else {
      otherwise?.();
    }
  };
  const follow = (e: SyntheticEvent<HTMLInputElement>) => {
    const { value: shown, selectionStart: at, scrollLeft } = e.currentTarget;
    // Not while what is shown is about to be replaced: the cursor is that of the replacement then.
    setDraft((d) => (shown === (d.of === value ? d : draftOf(value)).text ? { text: shown, cursor: at ?? shown.length, of: value } : d));
    setScroll(scrollLeft);
  };
  const onKeyDown = (e: KeyboardEvent) => {
    const chosen = items[active];
    const only = active < 0 && e.key === 'Tab' && context?.prefix ? items[0] : undefined;
    if ((e.key === 'Enter' || e.key === 'Tab') && !e.shiftKey && (chosen ?? only)) {
      take((chosen ?? only) as Suggestion);
    } else if (e.key === 'Enter') {
      commit(onRun);
    } else if (e.key === 'Escape' && items.length > 0) {
      setOpen(false);
    } else if (e.key === ' ' && e.ctrlKey) {
      setOpen(true);
    } else if (e.key === 'ArrowDown' && !open) {
      setOpen(true);
    } else if ((e.key === 'ArrowDown' || e.key === 'ArrowUp') && items.length > 0) {
      setActive(step(active, e.key === 'ArrowDown' ? 1 : -1, items.length));
    } else {
      return;
    }
    e.preventDefault();
    e.stopPropagation();
  };

  return (
    <div className={styles.field}>
      <div className={styles.line}>
        <input
          ref={input}
          id={id}
          className={cx(styles.input, marked && styles.invalid)}
          type="text"
          role="combobox"
          aria-autocomplete="list"
          aria-expanded={items.length > 0}
          aria-controls={listId}
          aria-activedescendant={items[active] ? `${listId}-${active}` : undefined}
          aria-invalid={mistake !== undefined}
          aria-describedby={mistake ? messageId : undefined}
          autoComplete="off"
          autoCapitalize="off"
          autoCorrect="off"
          spellCheck={false}
          placeholder={placeholder}
          value={text}
          onChange={(e) => {
            setMoved(undefined);
            write(e.target.value, e.target.selectionStart ?? e.target.value.length);
            setScroll(e.target.scrollLeft);
          }}
          onSelect={follow}
          onScroll={follow}
          onKeyDown={onKeyDown}
          onFocus={() => setFocused(true)}
          onMouseDown={() => setOpen(true)}
          onBlur={() => {
            setFocused(false);
            commit();
          }}
        />
        <div className={styles.overlay} aria-hidden="true">
          <div style={{ transform: `translateX(${-scroll}px)` }}>
            <span>{text.slice(0, context?.start ?? 0)}</span>
            <span ref={anchor} />
          </div>
        </div>
        <div className={styles.overlay} aria-hidden="true">
          {marked && (
            <div style={{ transform: `translateX(${-scroll}px)` }}>
              <span>{text.slice(0, marked.start)}</span>
              <span className={styles.mistake} data-testid="mistake">
                {text.slice(marked.start, marked.end) || '\u00a0'}
              </span>
            </div>
          )}
        </div>
      </div>
      {items.length > 0 && (
        <Suggestions id={listId} items={items} active={active} anchor={anchor} input={input} at={`${text.slice(0, context?.start)}|${scroll}`} onTake={take} />
      )}
      {mistake && (
        <FieldValidationMessage className={styles.message}>
          <span id={messageId}>{mistake.hint ? `${mistake.message}: ${mistake.hint}` : mistake.message}</span>
        </FieldValidationMessage>
      )}
    </div>
  );
}

interface SuggestionsProps {
  id: string;
  items: Suggestion[];
  active: number;
  anchor: RefObject<HTMLSpanElement | null>;
  input: RefObject<HTMLInputElement | null>;
  /** Changes when the anchor moves. */
  at: string;
  onTake: (suggestion: Suggestion) => void;
}

const listHeight = 260;

/** The list under the word that is written, or above it where there is no room below. */
function Suggestions({ id, items, active, anchor, input, at, onTake }: SuggestionsProps) {
  const styles = useStyles2(getStyles);
  const list = useRef<HTMLUListElement>(null);
  const [position, setPosition] = useState<{ left: number; top?: number; bottom?: number }>();

  useLayoutEffect(() => {
    const place = () => {
      const word = anchor.current?.getBoundingClientRect();
      const line = input.current?.getBoundingClientRect();
      if (word && line) {
        const left = Math.min(Math.max(word.left, line.left), window.innerWidth - 320);
        const below = window.innerHeight - line.bottom > listHeight || line.top < listHeight;
        setPosition(below ? { left, top: line.bottom + 2 } : { left, bottom: window.innerHeight - line.top + 2 });
      }
    };
    place();
    window.addEventListener('scroll', place, true);
    window.addEventListener('resize', place);
    return () => {
      window.removeEventListener('scroll', place, true);
      window.removeEventListener('resize', place);
    };
  }, [anchor, input, at]);

  useEffect(() => {
    list.current?.children[active]?.scrollIntoView({ block: 'nearest' });
  }, [active]);

  return (
    <Portal>
      <ul ref={list} id={id} role="listbox" aria-label="Suggestions" className={styles.list} style={position}>
        {items.map((item, i) => (
          <li
            key={`${item.kind} ${item.label}`}
            id={`${id}-${i}`}
            role="option"
            aria-selected={i === active}
            className={cx(styles.item, i === active && styles.active)}
            // The field keeps the focus.
            onMouseDown={(e) => {
              e.preventDefault();
              onTake(item);
            }}
          >
            <span className={cx(styles.label, item.kind === 'keyword' && styles.keyword)}>{item.label}</span>
            {item.detail && <span className={styles.detail}>{item.detail}</span>}
          </li>
        ))}
      </ul>
    </Portal>
  );
}

/** What is being written, from which value it departs, and where the cursor is. */
function draftOf(value: string) {
  return { text: value, cursor: value.length, of: value };
}

/** Nothing is offered where all that could be is written already. */
function offered(items: Suggestion[], prefix: string): Suggestion[] {
  return items.length === 1 && items[0]?.label === prefix ? [] : items;
}

function step(active: number, by: number, count: number): number {
  return active < 0 ? (by > 0 ? 0 : count - 1) : (active + by + count) % count;
}

/** Whether the mistake is only that what is being written has no end yet. */
function unfinished(mistake: Mistake | undefined, text: string, cursor: number): boolean {
  return mistake?.place !== undefined && place(mistake, text).end >= text.trimEnd().length && cursor >= text.trimEnd().length;
}

/** What is underlined: the token at the mistake, or what is after the end. */
function place(mistake: Mistake, text: string): { start: number; end: number } {
  if (mistake.place === undefined) {
    return { start: 0, end: text.length };
  }
  const at = mistake.place;
  const token = tokenize(text).find((t) => t.start <= at && at < t.end);
  return token ? { start: token.start, end: token.end } : { start: at, end: at + 1 };
}

function getStyles(theme: GrafanaTheme2) {
  const base = getInputStyles({ theme });
  const text = css({ fontFamily: theme.typography.fontFamilyMonospace, fontSize: theme.typography.bodySmall.fontSize, letterSpacing: 0, padding: theme.spacing(0, 1) });
  return {
    field: css({ flex: '1 1 auto', minWidth: theme.spacing(30) }),
    line: css({ position: 'relative', width: '100%' }),
    input: cx(base.input, text, css({ height: theme.spacing(theme.components.height.md), width: '100%' })),
    invalid: css({ '&, &:hover': { borderColor: theme.colors.error.border } }),
    overlay: cx(
      text,
      css({
        position: 'absolute',
        inset: '1px',
        overflow: 'hidden',
        whiteSpace: 'pre',
        color: 'transparent',
        pointerEvents: 'none',
        display: 'flex',
        alignItems: 'center',
      })
    ),
    mistake: css({ textDecoration: `underline wavy ${theme.colors.error.text}`, textDecorationSkipInk: 'none', textUnderlineOffset: '3px' }),
    message: css({ marginTop: theme.spacing(0.5) }),
    list: css({
      position: 'fixed',
      zIndex: theme.zIndex.portal,
      margin: 0,
      padding: theme.spacing(0.5),
      listStyle: 'none',
      maxHeight: listHeight,
      minWidth: theme.spacing(24),
      maxWidth: `min(${theme.spacing(70)}, 95vw)`,
      overflowY: 'auto',
      background: theme.colors.background.elevated,
      border: `1px solid ${theme.colors.border.weak}`,
      borderRadius: theme.shape.radius.default,
      boxShadow: theme.shadows.z3,
    }),
    item: css({
      display: 'flex',
      gap: theme.spacing(2),
      alignItems: 'baseline',
      padding: theme.spacing(0.5, 1),
      borderRadius: theme.shape.radius.default,
      cursor: 'pointer',
      '&:hover': { background: theme.colors.action.hover },
    }),
    active: css({ background: theme.colors.action.focus }),
    label: css({ fontFamily: theme.typography.fontFamilyMonospace, fontSize: theme.typography.bodySmall.fontSize, whiteSpace: 'pre', flexShrink: 0 }),
    keyword: css({ color: theme.colors.text.secondary }),
    detail: css({ color: theme.colors.text.secondary, fontSize: theme.typography.bodySmall.fontSize, overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }),
  };
}
