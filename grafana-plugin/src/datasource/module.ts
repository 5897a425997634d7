import { DataSourcePlugin } from '@grafana/data';

import { WeirDataSource } from './datasource';

export const plugin = new DataSourcePlugin(WeirDataSource);
