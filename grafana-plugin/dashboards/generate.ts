// Writes the dashboards that provisioning loads: node dashboards/generate.ts [--check]
//
// With --check nothing is written, and the exit status is 1 if a file is not what it would be.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Dashboard } from './board.ts';
import { collector } from './collector.ts';
import { denies } from './denies.ts';
import { drift } from './drift.ts';
import { events } from './events.ts';
import { flows } from './flows.ts';
import { group } from './group.ts';
import { guards } from './guards.ts';
import { host } from './host.ts';
import { network } from './network.ts';
import { overview } from './overview.ts';
import { policy } from './policy.ts';
import { servers } from './servers.ts';
import { vm } from './vm.ts';

const boards: Dashboard[] = [overview, flows, vm, network, host, group, policy, denies, guards, drift, events, collector, servers];
const directory = join(import.meta.dirname, '..', '..', 'deploy', 'grafana', 'dashboards');

const want = new Map(boards.map((b) => [`${b.uid}.json`, `${JSON.stringify(b, null, 2)}\n`]));
mkdirSync(directory, { recursive: true });
const have = new Map(readdirSync(directory).filter((f) => f.endsWith('.json')).map((f) => [f, readFileSync(join(directory, f), 'utf8')]));
const stale = [...new Set([...want.keys(), ...have.keys()])].filter((f) => want.get(f) !== have.get(f)).sort();

if (process.argv.includes('--check')) {
  for (const f of stale) {
    console.error(`deploy/grafana/dashboards/${f}: not up to date; run npm run dashboards in grafana-plugin and commit it`);
  }
  process.exitCode = stale.length === 0 ? 0 : 1;
} else {
  for (const f of stale) {
    const text = want.get(f);
    if (text === undefined) {
      rmSync(join(directory, f));
    } else {
      writeFileSync(join(directory, f), text);
    }
  }
}
