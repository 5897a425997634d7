import { css } from '@emotion/css';
import type { GrafanaTheme2 } from '@grafana/data';
import { Button, useStyles2 } from '@grafana/ui';
import { useId, useState, type ReactNode } from 'react';

interface Props {
  label: string;
  /** What is in it, in a few words, for as long as it is closed. */
  summary?: string;
  children: ReactNode;
}

/** What is not always looked at: a line that opens it. */
export function Fold({ label, summary, children }: Props) {
  const styles = useStyles2(getStyles);
  const [open, setOpen] = useState(false);
  const id = useId();
  return (
    <div>
      <Button className={styles.line} variant="secondary" fill="text" size="sm" icon={open ? 'angle-down' : 'angle-right'} aria-expanded={open} aria-controls={id} onClick={() => setOpen(!open)}>
        {label}
        {!open && summary !== undefined && <span className={styles.summary}>{summary}</span>}
      </Button>
      <div id={id}>{open && children}</div>
    </div>
  );
}

function getStyles(theme: GrafanaTheme2) {
  return {
    line: css({ paddingLeft: 0 }),
    summary: css({ marginLeft: theme.spacing(1), color: theme.colors.text.secondary, fontWeight: theme.typography.fontWeightRegular }),
  };
}
