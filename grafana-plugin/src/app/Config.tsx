import { Alert, Stack, Text, TextLink } from '@grafana/ui';

/** The app's page of settings: it has none of its own, and says where they are. */
export function Config() {
  return (
    <Stack direction="column" gap={2}>
      <Text element="p">
        The app has no settings of its own. What it shows comes from data sources of type <TextLink href="/connections/datasources/new?type=weir-datasource">Weir</TextLink>, each of which
        reads the ClickHouse of one Weir; its page Weir says how they are, and links the dashboards.
      </Text>
      <Alert severity="info" title="Provisioning">
        Data source and dashboards can be provisioned by files; the folder deploy/grafana of Weir&apos;s sources has them ready to use.
      </Alert>
    </Stack>
  );
}
