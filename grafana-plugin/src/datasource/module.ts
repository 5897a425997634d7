import { DataSourcePlugin } from '@grafana/data';

import { ConfigEditor } from './config/ConfigEditor';
import type { Options, Secrets } from './config/settings';
import { WeirDataSource } from './datasource';
import { Help } from './editor/Help';
import { QueryEditor } from './editor/QueryEditor';
import type { WeirQuery } from './query/model';

export const plugin = new DataSourcePlugin<WeirDataSource, WeirQuery, Options, Secrets>(WeirDataSource)
  .setConfigEditor(ConfigEditor)
  .setQueryEditor(QueryEditor)
  .setQueryEditorHelp(Help);
