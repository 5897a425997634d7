// Links between dashboards. Each keeps the time range and the data source, and says which thing it is about.

import type { DashboardLink } from '@grafana/grafana-foundation-sdk/dashboard';
import { DashboardLinkType } from '@grafana/grafana-foundation-sdk/dashboard';

/** The dashboards, by what they are about: their uids are part of links that people keep, and do not change. */
export const uid = {
  overview: 'weir-overview',
  flows: 'weir-flows',
  vm: 'weir-vm',
  network: 'weir-network',
  host: 'weir-host',
  group: 'weir-group',
  policy: 'weir-policy',
  denies: 'weir-denies',
  guards: 'weir-guards',
  drift: 'weir-drift',
  events: 'weir-events',
  collector: 'weir-collector',
  servers: 'weir-servers',
} as const;

/** The tag by which the dashboards list each other. */
export const tag = 'weir';

/** Jump is a link of a cell or a figure. */
export interface Jump {
  title: string;
  url: string;
}

/** What was clicked: the value of a cell, whatever is shown for it. */
export const cell = '${__value.raw:percentencode}';

/** What was clicked: the label of a series. */
export function label(name: string): string {
  return `\${__field.labels.${name}:percentencode}`;
}

/** to leads to a dashboard with variables set; the values are what was clicked, or plain words, encoded. */
export function to(title: string, dashboard: keyof typeof uid, variables: Record<string, string> = {}): Jump {
  const query = Object.entries(variables).map(([name, value]) => `var-${name}=${value}`);
  return { title, url: `/d/${uid[dashboard]}?${['${datasource:queryparam}', ...query, '${__url_time_range}'].join('&')}` };
}

/** The list of all dashboards, at the top of each. */
export const menu: DashboardLink = {
  title: 'Weir',
  type: DashboardLinkType.Dashboards,
  icon: 'external link',
  tooltip: 'Other dashboards of Weir, at the same time range',
  tags: [tag],
  asDropdown: true,
  targetBlank: false,
  includeVars: false,
  keepTime: true,
};
