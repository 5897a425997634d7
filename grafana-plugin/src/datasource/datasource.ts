import { DataSourceWithBackend } from '@grafana/runtime';

/** The data source: what it is asked goes to its backend. */
export class WeirDataSource extends DataSourceWithBackend {}
