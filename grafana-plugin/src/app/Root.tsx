import { css } from '@emotion/css';
import { locationUtil, type GrafanaTheme2 } from '@grafana/data';
import { PluginPage, config, getBackendSrv } from '@grafana/runtime';
import { Alert, Badge, Card, EmptyState, Icon, LinkButton, LoadingPlaceholder, Stack, Text, TextLink, useStyles2 } from '@grafana/ui';
import { useEffect, useState } from 'react';

import { findState, type State } from './state';

/** The app's page: the dashboards that there are, and what is missing until they show something. */
export function Root() {
  const [state, setState] = useState<State | { error: string }>();
  useEffect(() => {
    let shown = true;
    const get = (url: string, params?: Record<string, string>) => getBackendSrv().get<unknown>(url, params, undefined, { showErrorAlert: false });
    findState(get, Object.values(config.datasources)).then(
      (s) => {
        if (shown) {
          setState(s);
        }
      },
      (e: unknown) => {
        if (shown) {
          setState({ error: e instanceof Error ? e.message : 'Grafana did not answer' });
        }
      }
    );
    return () => {
      shown = false;
    };
  }, []);

  return (
    <PluginPage subTitle="Flows, policy and health of the virtual switches that Weir watches.">
      {state === undefined ? (
        <LoadingPlaceholder text="Looking for dashboards" />
      ) : 'error' in state ? (
        <Alert severity="error" title="Dashboards cannot be listed">
          {state.error}
        </Alert>
      ) : (
        <Overview state={state} />
      )}
    </PluginPage>
  );
}

function Overview({ state }: { state: State }) {
  const styles = useStyles2(getStyles);
  const { sources, dashboards } = state;
  const first = sources[0];
  return (
    <Stack direction="column" gap={3}>
      {first === undefined && (
        <EmptyState variant="call-to-action" message="No data source of Weir yet" button={<LinkButton href={locationUtil.assureBaseUrl('/connections/datasources/new?type=weir-datasource')}>Add a data source</LinkButton>}>
          It needs the address of Weir&apos;s ClickHouse, and the user that can only read. An administrator of Grafana can add it here or provision it by a
          file.
        </EmptyState>
      )}
      {sources.length > 0 && (
        <section>
          <Text element="h3">Data sources</Text>
          <ul className={styles.list}>
            {sources.map((s) => (
              <li key={s.uid}>
                <Card noMargin href={locationUtil.assureBaseUrl(`/connections/datasources/edit/${s.uid}`)}>
                  <Card.Heading>{s.name}</Card.Heading>
                  <Card.Description>{s.health ? s.health.message : 'Its state could not be asked for.'}</Card.Description>
                  <Card.Tags>{s.health && <Badge color={s.health.ok ? 'green' : 'red'} icon={s.health.ok ? 'check' : 'exclamation-triangle'} text={s.health.ok ? 'works' : 'does not work'} />}</Card.Tags>
                </Card>
              </li>
            ))}
          </ul>
        </section>
      )}
      {dashboards.length > 0 && (
        <section>
          <Text element="h3">Dashboards</Text>
          <ul className={styles.list}>
            {dashboards.map((d) => (
              <li key={d.uid}>
                <Card noMargin href={d.url}>
                  <Card.Heading>{d.title}</Card.Heading>
                  <Card.Figure>
                    <Icon name="apps" size="xl" />
                  </Card.Figure>
                </Card>
              </li>
            ))}
          </ul>
        </section>
      )}
      {first !== undefined && dashboards.length === 0 && (
        <Alert severity="info" title="No dashboards of Weir yet">
          Import them from the tab Dashboards of <TextLink href={`/connections/datasources/edit/${first.uid}/dashboards`}>the data source {first.name}</TextLink>, or
          provision them by files.
        </Alert>
      )}
    </Stack>
  );
}

function getStyles(theme: GrafanaTheme2) {
  return {
    list: css({
      display: 'grid',
      gridTemplateColumns: `repeat(auto-fill, minmax(${theme.spacing(40)}, 1fr))`,
      gap: theme.spacing(1),
      listStyle: 'none',
      margin: theme.spacing(1, 0, 0),
    }),
  };
}
