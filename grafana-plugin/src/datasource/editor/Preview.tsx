import { css } from '@emotion/css';
import type { GrafanaTheme2, TimeRange } from '@grafana/data';
import { ClipboardButton, FieldValidationMessage, useStyles2 } from '@grafana/ui';

import type { WeirDataSource } from '../datasource';
import type { WeirQuery } from '../query/model';
import type { Statement } from '../query/schema';
import { useAnswer } from './answer';

interface Props {
  query: WeirQuery;
  range: TimeRange | undefined;
  intervalMs: number | undefined;
  source: WeirDataSource;
}

/** The SQL that a query becomes, with its parameters. */
export function Preview({ query, range, intervalMs, source }: Props) {
  const styles = useStyles2(getStyles);
  const key = JSON.stringify([query, range?.raw, intervalMs]);
  const { value, error } = useAnswer(key, () => source.preview(query, range, intervalMs), 300);
  if (error !== undefined) {
    return <FieldValidationMessage>{error}</FieldValidationMessage>;
  }
  const text = value ? textOf(value) : '…';
  return (
    <div className={styles.box}>
      <pre className={styles.text}>{text}</pre>
      <ClipboardButton className={styles.copy} variant="secondary" size="sm" icon="copy" aria-label="Copy" getText={() => text} />
    </div>
  );
}

/** A statement with what it says beside its text, as comments. */
function textOf({ sql, params = [], notes = [] }: Statement): string {
  return [sql, ...params.map((p) => `-- ${p.name} ${p.type} = ${p.value}`), ...notes.map((n) => `-- ${n}`)].join('\n');
}

function getStyles(theme: GrafanaTheme2) {
  return {
    box: css({ position: 'relative' }),
    text: css({ margin: 0, maxHeight: theme.spacing(40), overflow: 'auto', fontSize: theme.typography.bodySmall.fontSize, whiteSpace: 'pre-wrap' }),
    copy: css({ position: 'absolute', top: theme.spacing(1), right: theme.spacing(1) }),
  };
}
