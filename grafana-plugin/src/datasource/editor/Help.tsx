import { css } from '@emotion/css';
import type { GrafanaTheme2, QueryEditorHelpProps } from '@grafana/data';
import { Button, TextLink, useStyles2 } from '@grafana/ui';

import type { WeirQuery } from '../query/model';
import { examples } from './examples';

const reference = 'https://github.com/weirhq/weir/blob/main/docs/reference/filter.md';

/** Help of the query editor: questions to try, and what the filter language is like. */
export function Help({ onClickExample, query }: QueryEditorHelpProps<WeirQuery>) {
  const styles = useStyles2(getStyles);
  return (
    <div>
      <h3>Questions to begin with</h3>
      <ul className={styles.examples}>
        {examples.map(({ title, ask }) => (
          <li key={title}>
            <Button fill="text" size="sm" onClick={() => onClickExample({ refId: query.refId, ...ask })}>
              {title}
            </Button>
          </li>
        ))}
      </ul>
      <h3>Filters</h3>
      <p>
        A filter compares fields with values: <code>src_vm = web-01 and dst_port in (80, 443)</code>. The words <code>and</code>, <code>or</code>, <code>not</code> and parentheses join
        comparisons; names with blanks stand in quotes, <code>like &quot;web-*&quot;</code> takes patterns, <code>none</code> is no known name and <code>any</code> whatever it is. Fields as{' '}
        <code>vm</code>, <code>addr</code> and <code>port</code> mean either end. Press Ctrl and the space bar to see what can be written;{' '}
        <TextLink inline external href={reference}>
          the reference
        </TextLink>{' '}
        lists all fields.
      </p>
      <h3>Variables</h3>
      <p>
        Write <code>vm in ($vm)</code>: one value or several, quoted as they must be, and <code>any</code> where All is chosen. In SQL they become literals: <code>WHERE name IN ($vm)</code>.{' '}
        <code>{'${name:raw}'}</code> is the text as it is. Ad hoc filters are added to the filters of flows and flow records; of regular expressions they take those with <code>.*</code> in them.
      </p>
    </div>
  );
}

function getStyles(theme: GrafanaTheme2) {
  return { examples: css({ listStyle: 'none', margin: theme.spacing(0, 0, 2), padding: 0 }) };
}
