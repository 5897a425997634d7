import { css } from '@emotion/css';
import type { GrafanaTheme2, TimeRange } from '@grafana/data';
import { ClipboardButton, FieldValidationMessage, useStyles2 } from '@grafana/ui';

import type { WeirDataSource } from '../datasource';
import type { WeirQuery } from '../query/model';
import { useAnswer } from './answer';

interface Props {
  query: WeirQuery;
  range: TimeRange | undefined;
  source: WeirDataSource;
}

/** The SQL that a query becomes, with its parameters. */
export function Preview({ query, range, source }: Props) {
  const styles = useStyles2(getStyles);
  const key = JSON.stringify([query, range?.raw]);
  const answer = useAnswer(key, () => source.preview(query, range), 300);
  const { value, error } = answer;
  if (error !== undefined) {
    return <FieldValidationMessage>{error}</FieldValidationMessage>;
  }
  return (
    <div className={styles.box}>
      <pre className={styles.text}>{value ?? '…'}</pre>
      <ClipboardButton className={styles.copy} variant="secondary" size="sm" icon="copy" aria-label="Copy" getText={() => value ?? ''} />
    </div>
  );
}

function getStyles(theme: GrafanaTheme2) {
  return {
    box: css({ position: 'relative' }),
    text: css({ margin: 0, maxHeight: theme.spacing(40), overflow: 'auto', fontSize: theme.typography.bodySmall.fontSize, whiteSpace: 'pre-wrap' }),
    copy: css({ position: 'absolute', top: theme.spacing(1), right: theme.spacing(1) }),
  };
}
