import type { DataSourceJsonData } from '@grafana/data';

/** Roles of Grafana that may run raw SQL, each with those above it. */
export type SQLRole = 'none' | 'Admin' | 'Editor' | 'Viewer';

/** Settings as Grafana keeps them; all have defaults, which are the backend's (pkg/clickhouse). */
export interface Options extends DataSourceJsonData {
  url?: string;
  database?: string;
  username?: string;
  timeout?: string;
  tlsSkipVerify?: boolean;
  tlsServerName?: string;
  sqlRole?: SQLRole;
  sqlWithoutUser?: boolean;
  maxRows?: number;
  maxSeconds?: number;
  maxBytes?: number;
}

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

/** The caps that a data source may lower, or raise within hard limits of the backend. */
export const caps: { name: 'maxRows' | 'maxSeconds' | 'maxBytes'; label: string; description: string; placeholder: string }[] = [
  { name: 'maxRows', label: 'Rows', description: 'Of a table or of logs.', placeholder: '10000' },
  { name: 'maxSeconds', label: 'Seconds', description: 'That a query may run in ClickHouse.', placeholder: '30' },
  { name: 'maxBytes', label: 'Bytes', description: 'Of an answer, in memory.', placeholder: '104857600' },
];
