import { PluginPage } from '@grafana/runtime';

/** The app's page. */
export function Root() {
  return <PluginPage>Weir</PluginPage>;
}
