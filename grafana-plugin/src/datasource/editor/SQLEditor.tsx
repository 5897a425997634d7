import { css } from '@emotion/css';
import type { GrafanaTheme2 } from '@grafana/data';
import { CodeEditor, CodeEditorSuggestionItemKind, FieldValidationMessage, Stack, useStyles2, type CodeEditorSuggestionItem } from '@grafana/ui';
import { useState } from 'react';

import type { SQL } from '../query/model';
import type { Schema } from '../query/schema';
import { useAnswer } from './answer';
import { Fold } from './Fold';
import type { PartEditorProps } from './part';

/** SQL as it is sent to ClickHouse, but for macros and variables. */
export function SQLEditor({ part, onChange, onRun, schema, source }: PartEditorProps<SQL>) {
  const styles = useStyles2(getStyles);
  const { text: saved = '' } = part;
  const [draft, setDraft] = useState({ text: saved, of: saved });
  const text = draft.of === saved ? draft.text : saved;
  const checked = useAnswer(text, (t) => source.checkSQL(t), 500);
  const mistake = checked.current ? checked.value : undefined;
  const commit = (now: string) => {
    if (now !== saved) {
      onChange({ ...part, text: now });
    }
  };
  return (
    <Stack direction="column" gap={0.5}>
      <CodeEditor
        language="sql"
        value={text}
        height={180}
        showMiniMap={false}
        showLineNumbers
        wordWrap
        getSuggestions={() => sqlSuggestions(schema)}
        onChange={(now) => setDraft({ text: now, of: saved })}
        onBlur={commit}
        onSave={(now) => {
          commit(now);
          onRun();
        }}
      />
      {mistake && <FieldValidationMessage>{[lineOf(text, mistake.place), mistake.message, mistake.hint].filter(Boolean).join(': ')}</FieldValidationMessage>}
      <Fold label="Macros and tables">
        <dl className={styles.list}>
          {(schema?.macros ?? []).map((m) => (
            <div key={m.name}>
              <dt>{m.usage}</dt>
              <dd>{m.doc}</dd>
            </div>
          ))}
          {(schema?.tables ?? []).map((t) => (
            <div key={t.name}>
              <dt>{t.name}</dt>
              <dd>{t.doc}</dd>
            </div>
          ))}
        </dl>
      </Fold>
    </Stack>
  );
}

function lineOf(text: string, place: number | undefined): string {
  return place === undefined ? '' : `line ${text.slice(0, place).split('\n').length}`;
}

function sqlSuggestions(schema: Schema | undefined): CodeEditorSuggestionItem[] {
  return [
    ...(schema?.macros ?? []).map((m) => ({ label: m.name, insertText: m.usage, detail: m.doc, kind: CodeEditorSuggestionItemKind.Method })),
    ...(schema?.tables ?? []).map((t) => ({ label: t.name, detail: t.doc, kind: CodeEditorSuggestionItemKind.Property })),
  ];
}

function getStyles(theme: GrafanaTheme2) {
  return {
    list: css({
      margin: 0,
      maxHeight: theme.spacing(40),
      overflowY: 'auto',
      fontSize: theme.typography.bodySmall.fontSize,
      '& > div': { display: 'flex', gap: theme.spacing(2), padding: theme.spacing(0.25, 0) },
      dt: { fontFamily: theme.typography.fontFamilyMonospace, fontWeight: theme.typography.fontWeightRegular, flex: `0 0 ${theme.spacing(36)}` },
      dd: { margin: 0, color: theme.colors.text.secondary },
    }),
  };
}
