import { AppPlugin } from '@grafana/data';

import { Root } from './app/Root';

export const plugin = new AppPlugin().setRootPage(Root);
