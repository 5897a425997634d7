import { Field, Input, InlineSwitch, MultiCombobox, RadioButtonGroup, type ComboboxOption } from '@grafana/ui';
import { useId, useState, type ReactElement, type ReactNode } from 'react';

/** A word that can be chosen, with what it means. */
export interface Word {
  name: string;
  doc?: string;
}

interface LabeledProps {
  label: string;
  description?: ReactNode;
  children: (id: string) => ReactElement<Record<string, unknown>>;
}

/** A control with its label above it. */
export function Labeled({ label, description, children }: LabeledProps) {
  const id = useId();
  return (
    <Field label={label} description={description} htmlFor={id} noMargin>
      {children(id)}
    </Field>
  );
}

interface TextProps {
  label: string;
  value: string;
  onChange: (text: string) => void;
  onRun: () => void;
  placeholder?: string;
  width?: number;
  type?: 'text' | 'number';
}

/** A line of text, which is taken when it is left or Enter is pressed; onRun is called where Enter changes nothing. */
export function TextField({ label, value, onChange, onRun, placeholder, width = 24 }: TextProps) {
  const [draft, setDraft] = useState({ text: value, of: value });
  const text = draft.of === value ? draft.text : value;
  const commit = (otherwise?: () => void) => {
    if (text !== value) {
      onChange(text);
    } else {
      otherwise?.();
    }
  };
  return (
    <Labeled label={label}>
      {(id) => (
        <Input
          id={id}
          width={width}
          value={text}
          placeholder={placeholder}
          onChange={(e) => setDraft({ text: e.currentTarget.value, of: value })}
          onBlur={() => commit()}
          onKeyDown={(e) => {
            if (e.key === 'Enter') {
              commit(onRun);
            }
          }}
        />
      )}
    </Labeled>
  );
}

interface CountProps {
  label: string;
  /** A number, or the text of a variable. */
  value: number | string | undefined;
  onChange: (count: number | string | undefined) => void;
  onRun: () => void;
  placeholder?: string;
}

/** A number, for which a variable may stand. */
export function CountField({ value, onChange, ...rest }: CountProps) {
  return <TextField {...rest} width={12} value={value === undefined ? '' : String(value)} onChange={(text) => onChange(countOf(text))} />;
}

function countOf(text: string): number | string | undefined {
  const trimmed = text.trim();
  return trimmed === '' ? undefined : /^\d+$/.test(trimmed) ? Number(trimmed) : trimmed;
}

interface ChoiceProps<T extends string> {
  label: string;
  words: readonly { name: T; label?: string; doc?: string }[];
  value: T;
  onChange: (word: T) => void;
}

/** One of a few words, all of which are seen. */
export function Choice<T extends string>({ label, words, value, onChange }: ChoiceProps<T>) {
  return (
    <Labeled label={label}>
      {(id) => (
        <RadioButtonGroup<T>
          id={id}
          options={words.map((w) => ({ value: w.name, label: w.label ?? w.name, ...(w.doc && { description: w.doc }) }))}
          value={value}
          onChange={onChange}
        />
      )}
    </Labeled>
  );
}

interface FlagProps {
  label: string;
  /** True or false, or the text of a variable. */
  value: boolean | string | undefined;
  onChange: (on: boolean) => void;
  description?: string;
}

/** On or off. */
export function Flag({ label, value, onChange, description }: FlagProps) {
  const id = useId();
  return <InlineSwitch id={id} label={label} title={description} showLabel value={value === true} onChange={(e) => onChange(e.currentTarget.checked)} />;
}

interface SeveralProps {
  label: string;
  words: readonly Word[];
  value: readonly string[];
  onChange: (words: string[]) => void;
  placeholder?: string;
  minWidth?: number;
}

/** Several words in an order, of a list or of a variable. */
export function Several({ label, words, value, onChange, placeholder, minWidth = 20 }: SeveralProps) {
  const options = words.map((w): ComboboxOption => ({ value: w.name, label: w.name, ...(w.doc && { description: w.doc }) }));
  const unknown = value.filter((v) => !words.some((w) => w.name === v)).map((v): ComboboxOption => ({ value: v, label: v }));
  return (
    <Labeled label={label}>
      {(id) => (
        <MultiCombobox
          id={id}
          width="auto"
          minWidth={minWidth}
          maxWidth={80}
          createCustomValue
          customValueDescription="Variable"
          options={[...options, ...unknown]}
          value={[...value]}
          placeholder={placeholder}
          isClearable
          onChange={(chosen) => onChange(chosen.map((o) => o.value))}
        />
      )}
    </Labeled>
  );
}
