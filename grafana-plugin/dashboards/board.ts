// The frame that all dashboards have in common, and the grid that panels are laid out on.

import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import type { AnnotationQuery, Panel, RowPanel, VariableModel } from '@grafana/grafana-foundation-sdk/dashboard';
import { AnnotationQueryPlacement, DashboardBuilder, DashboardCursorSync, TimePickerBuilder } from '@grafana/grafana-foundation-sdk/dashboard';

import type { Events } from '../src/datasource/query/model.ts';
import { menu, tag, uid } from './link.ts';
import { datasource, events } from './target.ts';
import { source } from './variable.ts';

const columns = 24; // of Grafana's grid

/** Band is a line of panels of one height that fill the width. */
export interface Band {
  height: number;
  panels: [width: number, panel: Builder<Panel>][];
}

/** band shares the width among panels, equally but for those that come with a width; what is left over goes to the first. */
export function band(height: number, ...panels: (Builder<Panel> | [number, Builder<Panel>])[]): Band {
  const given = panels.reduce((sum, p) => sum + (Array.isArray(p) ? p[0] : 0), 0);
  const open = panels.filter((p) => !Array.isArray(p)).length;
  const rest = columns - given;
  if (rest < open || (open === 0 && rest !== 0)) {
    throw new Error(`${panels.length} panels that are to have ${given} of ${columns} columns`);
  }
  let extra = open === 0 ? 0 : rest % open;
  return { height, panels: panels.map((p) => (Array.isArray(p) ? p : [Math.floor(rest / open) + (extra-- > 0 ? 1 : 0), p])) };
}

/** Section is bands under a heading; a closed one asks nothing until somebody opens it. */
export interface Section {
  title?: string;
  closed?: boolean;
  bands: Band[];
}

export interface Board {
  about: keyof typeof uid;
  title: string;
  description: string;
  variables: Builder<VariableModel>[];
  events?: { filter: string; kinds: string[] }; // what is marked on every graph: errors and warnings of these only, and these kinds too
  from?: string; // default an hour
  delay?: boolean; // false if its newest minutes are complete
  refresh?: string; // default a minute
  sections: Section[];
}

// The classic form and not the newer one: every Grafana of the versions that the plugin is for loads it from files.
// eslint-disable-next-line @typescript-eslint/no-deprecated -- see above
const classic = (title: string) => new DashboardBuilder(title);

/** Dashboard is one as Grafana loads it from a file. */
export type Dashboard = ReturnType<ReturnType<typeof classic>['build']>;

export function board(b: Board): Dashboard {
  const d = classic(b.title)
    .uid(uid[b.about])
    .description(b.description)
    .tags([tag])
    .time({ from: b.from ?? 'now-1h', to: 'now' })
    .refresh(b.refresh ?? '1m')
    .tooltip(DashboardCursorSync.Crosshair)
    .variables([source(), ...b.variables])
    .links([{ build: () => menu }])
    .annotations(marks(b.events).map((a) => ({ build: () => a })))
    .build();
  if (b.delay ?? true) {
    // The newest minute of a graph reads low until the flows that lived in it have expired, which looks like an outage.
    d.timepicker = new TimePickerBuilder().nowDelay('1m').build();
  }
  d.panels = layOut(b.sections);
  return d;
}

function marks(own: Board['events']): AnnotationQuery[] {
  const placement = AnnotationQueryPlacement.InControlsMenu;
  const mark = (name: string, iconColor: string, q: Omit<Events, 'format'>): AnnotationQuery => ({
    name,
    datasource,
    enable: true,
    iconColor,
    placement,
    target: events({ format: 'annotations', ...q }, 'Anno').build(),
  });
  const about = own === undefined ? {} : { filter: own.filter };
  return [
    {
      name: 'Annotations & Alerts',
      type: 'dashboard',
      builtIn: 1,
      datasource: { type: 'grafana', uid: '-- Grafana --' },
      enable: true,
      hide: true,
      iconColor: 'rgba(0, 211, 255, 1)',
    },
    mark('Errors and warnings', 'orange', { severity: 'warning', ...about }),
    mark('Changes of policy', 'purple', { kinds: ['policy_applied', 'policy_bypassed', 'policy_restored', 'host_mode_changed', 'vif_quarantined', 'vif_released'] }),
    ...(own === undefined ? [] : [mark('What happened', 'blue', { kinds: own.kinds, ...about })]),
  ];
}

function layOut(sections: Section[]): (Panel | RowPanel)[] {
  const all: (Panel | RowPanel)[] = [];
  let id = 0;
  let y = 0;
  for (const s of sections) {
    let into: (Panel | RowPanel)[] = all;
    if (s.title !== undefined) {
      const row: RowPanel = { type: 'row', id: ++id, title: s.title, collapsed: s.closed ?? false, gridPos: { x: 0, y, w: columns, h: 1 }, panels: [] };
      all.push(row);
      y++;
      into = row.collapsed ? row.panels : all;
    }
    for (const b of s.bands) {
      let x = 0;
      for (const [w, builder] of b.panels) {
        const p = builder.build();
        p.id = ++id;
        p.gridPos = { x, y, w, h: b.height };
        into.push(p);
        x += w;
      }
      y += b.height;
    }
  }
  return all;
}
