// Panels in the house style: the same colours, legends and cells wherever the same thing is shown.

import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import {
  AxisPlacement,
  BarGaugeDisplayMode,
  BarGaugeValueMode,
  BigValueColorMode,
  BigValueGraphMode,
  BigValueTextMode,
  FieldTextAlignment,
  GraphDrawStyle,
  GraphGradientMode,
  LegendDisplayMode,
  LegendPlacement,
  LineInterpolation,
  LogsDedupStrategy,
  LogsSortOrder,
  ReduceDataOptionsBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TableCellHeight,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizOrientation,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import type { DashboardLink, DynamicConfigValue, Panel, Threshold } from '@grafana/grafana-foundation-sdk/dashboard';
import { FieldColorBuilder, FieldColorModeId, MappingType, SpecialValueMatch, ThresholdsConfigBuilder, ThresholdsMode } from '@grafana/grafana-foundation-sdk/dashboard';
import * as logsPanel from '@grafana/grafana-foundation-sdk/logs';
import * as statPanel from '@grafana/grafana-foundation-sdk/stat';
import * as tablePanel from '@grafana/grafana-foundation-sdk/table';
import * as timeseriesPanel from '@grafana/grafana-foundation-sdk/timeseries';

import type { Jump } from './link.ts';
import type { Target } from './target.ts';
import { datasource } from './target.ts';

/** Colours that mean something. What has no meaning takes the palette, by name, so that a VM keeps its colour. */
export const colour = {
  in: 'blue',
  out: 'green',
  internal: 'purple',
  neutral: 'text',
  good: 'green',
  warn: 'orange',
  bad: 'red',
  quiet: 'blue',
} as const;

/** Common are the parts of every panel. */
export interface Common {
  title: string;
  description: string; // what the figures are, for who hovers over the title
  targets: Target[];
  overrides?: Override[];
}

/** Figures are panels that show numbers. */
export interface Figures extends Common {
  unit: string; // of values whose unit the data source does not say
}

/** Override changes how the fields of one name, or of one query, are shown. */
export interface Override {
  field?: string;
  pattern?: string;
  query?: string;
  properties: DynamicConfigValue[];
}

/** Steps of thresholds: the colour below the first, and from each on. */
export function steps(base: string, ...above: [number, string][]): Threshold[] {
  return [{ value: null, color: base }, ...above.map(([value, color]) => ({ value, color }))];
}

interface Styled {
  title(t: string): this;
  description(d: string): this;
  datasource(d: typeof datasource): this;
  withTarget(t: Target): this;
  overrideByName(name: string, p: DynamicConfigValue[]): this;
  overrideByRegexp(pattern: string, p: DynamicConfigValue[]): this;
  overrideByQuery(refId: string, p: DynamicConfigValue[]): this;
}

function dress<P extends Styled>(panel: P, c: Common): P {
  panel.title(c.title).description(c.description).datasource(datasource);
  for (const t of c.targets) {
    panel.withTarget(t);
  }
  for (const o of c.overrides ?? []) {
    if (o.field !== undefined) {
      panel.overrideByName(o.field, o.properties);
    } else if (o.pattern !== undefined) {
      panel.overrideByRegexp(o.pattern, o.properties);
    } else if (o.query !== undefined) {
      panel.overrideByQuery(o.query, o.properties);
    }
  }
  return panel;
}

/** name shows the series of a query under a name, in a colour that means something. */
export function name(query: string, text: string, color?: string): Override {
  const properties: DynamicConfigValue[] = [{ id: 'displayName', value: text }];
  if (color !== undefined) {
    properties.push(fixed(color));
  }
  return { query, properties };
}

/** below draws a query downwards from zero, as what leaves opposite what comes in. */
export function below(o: Override): Override {
  return { ...o, properties: [...o.properties, { id: 'custom.transform', value: 'negative-Y' }] };
}

/** named gives a field a colour that means something, and perhaps another name. */
export function named(field: string, color: string, text?: string): Override {
  return { field, properties: [...(text === undefined ? [] : [{ id: 'displayName', value: text }]), fixed(color)] };
}

function fixed(color: string): DynamicConfigValue {
  return { id: 'color', value: { mode: FieldColorModeId.Fixed, fixedColor: color } };
}

/**
 * Least step of graphs of flows: sums by the minute answer them, which is quick, and an exporter tells of a flow once in its active
 * timeout, so that what is finer shows the exporter's clock rather than the traffic.
 */
const minute = '1m';

export interface Series extends Figures {
  links?: Jump[];
  stacked?: boolean;
  bars?: boolean;
  legend?: 'table' | 'list' | 'none';
  calcs?: string[];
  thresholds?: Threshold[]; // drawn as lines
  max?: number;
}

/** series draws values over time; its legend is a table with the figures of the range, the largest first. */
export function series(s: Series): Builder<Panel> {
  const legend = s.legend ?? 'table';
  const calcs = s.calcs ?? ['mean', 'max'];
  const p = dress(new timeseriesPanel.PanelBuilder(), s)
    .unit(s.unit)
    .interval(minute)
    .drawStyle(s.bars ? GraphDrawStyle.Bars : GraphDrawStyle.Line)
    .lineInterpolation(LineInterpolation.Linear)
    .lineWidth(s.bars ? 0 : 1)
    .fillOpacity(s.bars ? 80 : s.stacked ? 40 : 15)
    .gradientMode(s.stacked || s.bars ? GraphGradientMode.None : GraphGradientMode.Opacity)
    .showPoints(VisibilityMode.Never)
    .axisPlacement(AxisPlacement.Auto)
    .axisSoftMin(0)
    .stacking(new StackingConfigBuilder().mode(s.stacked ? StackingMode.Normal : StackingMode.None).group('A'))
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.PaletteClassicByName))
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending).hideZeros(true))
    .legend(
      new VizLegendOptionsBuilder()
        .showLegend(legend !== 'none')
        .displayMode(legend === 'list' ? LegendDisplayMode.List : LegendDisplayMode.Table)
        .placement(LegendPlacement.Bottom)
        .calcs(legend === 'table' ? calcs : []),
    );
  if (s.max !== undefined) {
    p.max(s.max);
  }
  if (s.links !== undefined) {
    p.dataLinks(s.links.map(dataLink));
  }
  return p;
}

/** dataLink is a link as fields have it, for which the SDK has the type of a dashboard's. */
function dataLink(l: Jump): Builder<DashboardLink> {
  return { build: () => l as DashboardLink };
}

export interface Stat extends Figures {
  thresholds?: Threshold[];
  graph?: boolean; // of targets that are series
  calc?: string; // that makes one value of a series
  names?: boolean; // each value with its name
  values?: boolean; // a value for each row
  links?: Jump[];
  noValue?: string;
  decimals?: number;
}

/** stat shows figures that are read at one glance. */
export function stat(s: Stat): Builder<Panel> {
  const p = dress(new statPanel.PanelBuilder(), s)
    .unit(s.unit)
    .interval(minute)
    .graphMode(s.graph ? BigValueGraphMode.Area : BigValueGraphMode.None)
    .colorMode(BigValueColorMode.Value)
    .textMode(s.names ? BigValueTextMode.ValueAndName : BigValueTextMode.Value)
    .wideLayout(false)
    .orientation(VizOrientation.Vertical)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs([s.calc ?? 'lastNotNull']).values(s.values ?? false).fields(''))
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Thresholds))
    .thresholds(new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(s.thresholds ?? steps(colour.quiet)))
    .noValue(s.noValue ?? '–');
  if (s.decimals !== undefined) {
    p.decimals(s.decimals);
  }
  if (s.links !== undefined) {
    p.dataLinks(s.links.map(dataLink));
  }
  return p;
}

/** table shows rows; columns are dressed by overrides, see column and bar. */
export function table(c: Figures): Builder<Panel> {
  return dress(new tablePanel.PanelBuilder(), c)
    .unit(c.unit)
    .align(FieldTextAlignment.Auto)
    .cellHeight(TableCellHeight.Sm)
    .showHeader(true)
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Thresholds))
    .thresholds(new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(steps(colour.neutral)));
}

/** column heads the column of a field, with a link for each of its cells if there is one. */
export function column(field: string, title: string, ...more: DynamicConfigValue[]): Override {
  return { field, properties: [{ id: 'displayName', value: title }, ...more] };
}

/** link makes cells lead somewhere, to one place or to a choice of several. */
export function link(...jumps: Jump[]): DynamicConfigValue {
  return { id: 'links', value: jumps };
}

/** empty is what is shown where there is nothing. */
export function empty(text: string): DynamicConfigValue {
  return { id: 'mappings', value: [{ type: MappingType.SpecialValue, options: { match: SpecialValueMatch.Empty, result: { text, index: 0 } } }] };
}

/** bar draws a bar behind the figures of a column, as long as the largest is full. */
export function bar(color: string): DynamicConfigValue[] {
  return [
    { id: 'custom.cellOptions', value: { type: 'gauge', mode: BarGaugeDisplayMode.Basic, valueDisplayMode: BarGaugeValueMode.Text } },
    { id: 'min', value: 0 },
    fixed(color),
  ];
}

/** alarming colours the text of a column's cells by what they say. */
export function alarming(s: Threshold[]): DynamicConfigValue[] {
  return [
    { id: 'custom.cellOptions', value: { type: 'color-text' } },
    { id: 'thresholds', value: { mode: ThresholdsMode.Absolute, steps: s } },
  ];
}

/** log shows lines, newest first. */
export function log(c: Common): Builder<Panel> {
  return dress(new logsPanel.PanelBuilder(), c)
    .showTime(true)
    .showLabels(false)
    .showCommonLabels(false)
    .wrapLogMessage(true)
    .prettifyLogMessage(false)
    .enableLogDetails(true)
    .dedupStrategy(LogsDedupStrategy.None)
    .sortOrder(LogsSortOrder.Descending);
}
