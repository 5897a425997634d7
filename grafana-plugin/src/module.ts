import { AppPlugin } from '@grafana/data';

import { Config } from './app/Config';
import { Root } from './app/Root';

export const plugin = new AppPlugin().setRootPage(Root).addConfigPage({ id: 'configuration', title: 'Configuration', icon: 'cog', body: Config });
