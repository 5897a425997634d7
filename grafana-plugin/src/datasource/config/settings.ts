import type { DataSourceJsonData } from '@grafana/data';

/** Roles of Grafana that may run raw SQL, each with those above it. */
export type SQLRole = 'none' | 'Admin' | 'Editor' | 'Viewer';

/** Caps that a data source may lower, or raise within hard limits. */
export type Cap = 'maxRows' | 'maxSeconds' | 'maxBytes' | 'maxReadBytes' | 'maxQueries';

/** Settings as Grafana keeps them; all have defaults, which are the backend's (pkg/clickhouse/settings.go). */
export interface Options extends DataSourceJsonData, Partial<Record<Cap, number>> {
  url?: string;
  database?: string;
  username?: string;
  timeout?: string;
  tlsSkipVerify?: boolean;
  tlsServerName?: string;
  sqlRole?: SQLRole;
  sqlWithoutUser?: boolean;
}

/** What the backend takes where nothing is said; shown in empty fields. */
export const defaults = { url: 'http://127.0.0.1:8123', database: 'default', username: 'weir_ro', timeout: '10s', sqlRole: 'Editor', sqlWithoutUser: true } as const;

/** Secrets, which Grafana encrypts and never gives back. */
export interface Secrets {
  password?: string;
  tlsCACert?: string;
  tlsClientCert?: string;
  tlsClientKey?: string;
}

export const sqlRoles: { value: SQLRole; label: string; description: string }[] = [
  { value: 'none', label: 'Nobody', description: 'Only questions that Weir turns into SQL' },
  { value: 'Admin', label: 'Admins', description: 'Administrators of the organisation' },
  { value: 'Editor', label: 'Editors', description: 'Who may edit dashboards, and admins' },
  { value: 'Viewer', label: 'Viewers', description: 'Everybody who may query the data source' },
];

/** The caps as the page explains them; a test compares them with the backend's. */
export const caps: readonly { name: Cap; label: string; description: string; normal: number }[] = [
  { name: 'maxRows', label: 'Rows', description: 'Of an answer; more are cut.', normal: 10_000 },
  { name: 'maxSeconds', label: 'Seconds', description: 'That a query may run in ClickHouse.', normal: 30 },
  { name: 'maxBytes', label: 'Bytes', description: 'Of an answer in memory; more is cut.', normal: 100 * 2 ** 20 },
  { name: 'maxReadBytes', label: 'Bytes read', description: 'By a query, before compression; more is refused.', normal: 64 * 2 ** 30 },
  { name: 'maxQueries', label: 'Queries', description: 'At the same time; more wait.', normal: 8 },
];
