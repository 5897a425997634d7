// A page that stands in for Grafana: it loads the data source's built module as Grafana does, gives it the libraries that
// Grafana gives it, and shows its query editor (#query) or its settings (#settings). What they ask goes over HTTP to the tests'
// bridge, and from there to the plugin's program. It is for tests only.
import * as emotion from '@emotion/css';
import * as grafanaData from '@grafana/data';
import * as grafanaSelectors from '@grafana/e2e-selectors';
import * as grafanaI18n from '@grafana/i18n';
import * as grafanaRuntime from '@grafana/runtime';
import * as grafanaSchema from '@grafana/schema';
import * as grafanaUI from '@grafana/ui';
import * as React from 'react';
import * as ReactDOM from 'react-dom';
import { createRoot } from 'react-dom/client';
import * as jsxRuntime from 'react/jsx-runtime';
import * as rxjs from 'rxjs';

import { applyFieldOverrides, CoreApp, createTheme, dateTime, FieldColorModeId, FieldType, formattedValueToString, LoadingState, type DataFrame, type DataQueryRequest, type DataQueryResponse, type DataSourceApi, type DataSourceInstanceSettings, type DataSourcePlugin, type DataSourceSettings, type Field, type PanelData, type TimeRange } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import type { DataQuery } from '@grafana/schema';
import { setBackendSrv, setDataSourceSrv, setTemplateSrv, type BackendSrv, type BackendSrvRequest, type DataSourceSrv } from '@grafana/runtime';
import { Alert, Button, GlobalStyles, PortalContainer, TimeSeries } from '@grafana/ui';

const { ThemeContext } = grafanaData;

/** The libraries that Grafana shares with plugins, by the names by which their modules ask for them. */
const libraries: Record<string, unknown> = {
  '@emotion/css': emotion,
  '@grafana/data': grafanaData,
  '@grafana/e2e-selectors': grafanaSelectors,
  '@grafana/i18n': grafanaI18n,
  '@grafana/runtime': grafanaRuntime,
  '@grafana/schema': grafanaSchema,
  '@grafana/ui': grafanaUI,
  react: React,
  'react-dom': ReactDOM,
  'react/jsx-runtime': jsxRuntime,
  rxjs,
};

type Plugin = DataSourcePlugin<DataSourceApi>;
type Settings = DataSourceSettings;

declare global {
  interface Window {
    define: (dependencies: string[], factory: (...libraries: unknown[]) => unknown) => void;
  }
}

/** Loads an AMD module. */
function load(url: string): Promise<{ plugin: Plugin }> {
  return new Promise((resolve, reject) => {
    window.define = Object.assign(
      (dependencies: string[], factory: (...libraries: unknown[]) => unknown) => {
        const missing = dependencies.filter((name) => !(name in libraries));
        if (missing.length > 0) {
          reject(new Error(`${url} asks for ${missing.join(', ')}, which Grafana does not have`));
          return;
        }
        resolve(factory(...dependencies.map((name) => libraries[name])) as { plugin: Plugin });
      },
      { amd: {} },
    );
    const script = document.createElement('script');
    script.src = url;
    script.onerror = () => {
      reject(new Error(`load ${url}: see the console`));
    };
    document.head.append(script);
  });
}

/** Does a request as Grafana's backendSrv does: an answer that is no success is thrown, with its body. */
async function request(options: BackendSrvRequest): Promise<{ data: unknown; ok: boolean; status: number; statusText: string; config: BackendSrvRequest; headers: Headers; url: string; redirected: boolean; type: ResponseType }> {
  const params = new URLSearchParams(Object.entries((options.params ?? {}) as Record<string, unknown>).map(([key, value]) => [key, String(value)])).toString();
  const url = `${options.url.startsWith('/') ? '' : '/'}${options.url}${params === '' ? '' : `?${params}`}`;
  const response = await fetch(url, {
    method: options.method ?? 'GET',
    headers: { 'Content-Type': 'application/json' },
    body: options.data === undefined ? null : JSON.stringify(options.data),
    signal: options.abortSignal ?? null,
  });
  const text = await response.text();
  let data: unknown = text;
  try {
    data = JSON.parse(text);
  } catch {
    // It is text.
  }
  const { ok, status, statusText, headers, redirected, type } = response;
  const answer = { data, ok, status, statusText, config: options, headers, url, redirected, type };
  if (!ok) {
    // eslint-disable-next-line @typescript-eslint/only-throw-error -- what backendSrv throws is an answer, not an Error
    throw answer;
  }
  return answer;
}

const body = (options: BackendSrvRequest) => request(options).then((answer) => answer.data);

const backend = {
  fetch: (options: BackendSrvRequest) => rxjs.defer(() => request(options)),
  get: (url: string, params?: unknown) => body({ url, params: params as Record<string, string> }),
  post: (url: string, data?: unknown) => body({ url, method: 'POST', data }),
  put: (url: string, data?: unknown) => body({ url, method: 'PUT', data }),
  request: body,
  datasourceRequest: request,
};

function range(params: URLSearchParams): TimeRange {
  const from = dateTime(Number(params.get('from')));
  const to = dateTime(Number(params.get('to')));
  return { from, to, raw: { from, to } };
}

/** The query editor, what it makes of its query, and the answer as Explore shows it. */
function QueryPage({ plugin, datasource, range }: { plugin: Plugin; datasource: DataSourceApi; range: TimeRange }) {
  const Editor = plugin.components.QueryEditor;
  const [query, setQuery] = React.useState<DataQuery>(() => ({ refId: 'A', ...datasource.getDefaultQuery?.(CoreApp.Explore) }));
  const latest = React.useRef(query);
  const [answer, setAnswer] = React.useState<DataQueryResponse>();
  if (!Editor) {
    return <Alert title="The data source has no query editor" />;
  }
  const change = (next: DataQuery) => {
    latest.current = next;
    setQuery(next);
  };
  const run = () => {
    const asked = latest.current;
    if (datasource.filterQuery && !datasource.filterQuery(asked)) {
      setAnswer({ data: [], errors: [{ message: 'filterQuery lets the query not through' }] });
      return;
    }
    const question: DataQueryRequest = {
      app: CoreApp.Explore, requestId: 'page', timezone: 'utc', startTime: Date.now(), interval: '1m', intervalMs: 60_000,
      maxDataPoints: 200, range, scopedVars: {}, targets: [asked],
    };
    setAnswer(undefined);
    rxjs.from(datasource.query(question)).subscribe({ next: setAnswer, error: (error: unknown) => setAnswer({ data: [], errors: [{ message: String(error) }] }) });
  };
  const data: PanelData = { state: answer ? LoadingState.Done : LoadingState.NotStarted, series: (answer?.data ?? []) as DataFrame[], timeRange: range, errors: answer?.errors ?? [] };
  return (
    <>
      <Editor datasource={datasource} query={query} onChange={change} onRunQuery={run} app={CoreApp.Explore} range={range} data={data} />
      <Button data-testid="run" onClick={run}>
        Run query
      </Button>
      <pre data-testid="query">{JSON.stringify(query)}</pre>
      {answer && <Answer frames={data.series} range={range} errors={(answer.errors ?? []).map((e) => e.data?.message ?? e.message ?? '')} />}
    </>
  );
}

const theme = createTheme({ colors: { mode: 'dark' } });

const legend = { calcs: [], displayMode: 'list', placement: 'bottom', showLegend: true } as unknown as React.ComponentProps<typeof TimeSeries>['legend'];

function Answer({ frames, range, errors }: { frames: DataFrame[]; range: TimeRange; errors: string[] }) {
  const coloured = frames.map((frame) => ({ ...frame, fields: frame.fields.map((field) => ({ ...field, config: { color: { mode: FieldColorModeId.PaletteClassic }, ...field.config } })) }));
  const shown = applyFieldOverrides({ data: coloured, fieldConfig: { defaults: { custom: {} }, overrides: [] }, theme, timeZone: 'utc', replaceVariables: (text) => text });
  const series = shown.filter((frame) => frame.meta?.type?.startsWith('timeseries'));
  const points = series.reduce((sum, frame) => sum + frame.length * frame.fields.filter((field) => field.type === FieldType.number).length, 0);
  const notices = frames.flatMap((frame) => frame.meta?.notices ?? []).map((notice) => notice.text);
  const width = 1100;
  return (
    <>
      <p data-testid="answer">{`${frames.length} frames, ${series.length} series, ${points} points, ${frames.reduce((sum, frame) => sum + frame.length, 0)} rows`}</p>
      {[...errors, ...notices].map((text, i) => (
        <p key={i} data-testid={i < errors.length ? 'error' : 'notice'}>
          {text}
        </p>
      ))}
      {series.length > 0 && <TimeSeries frames={series} timeRange={range} timeZone="utc" width={width} height={300} legend={legend} />}
      {series.length === 0 && shown[0] && <Rows frame={shown[0]} />}
    </>
  );
}

/** The first rows of a frame, each value as its field says that it is written. */
function Rows({ frame }: { frame: DataFrame }) {
  const text = (field: Field, row: number) => {
    const value: unknown = field.values[row];
    return typeof value === 'object' && value !== null ? JSON.stringify(value) : formattedValueToString(field.display?.(value) ?? { text: String(value) });
  };
  return (
    <table style={{ width: '100%' }}>
      <thead>
        <tr>
          {frame.fields.map((field) => (
            <th key={field.name}>{field.config.displayName ?? field.name}</th>
          ))}
        </tr>
      </thead>
      <tbody>
        {[...Array(Math.min(frame.length, 20)).keys()].map((row) => (
          <tr key={row}>
            {frame.fields.map((field) => (
              <td key={field.name}>{text(field, row)}</td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The settings as Grafana's page of a data source has them. */
function SettingsPage({ plugin, datasource, saved }: { plugin: Plugin; datasource: DataSourceApi; saved: Settings }) {
  const Editor = plugin.components.ConfigEditor;
  const [options, setOptions] = React.useState(saved);
  const [health, setHealth] = React.useState<{ status: string; message: string; hint?: string | undefined }>();
  if (!Editor) {
    return <Alert title="The data source has no settings" />;
  }
  const test = async () => {
    setHealth(undefined);
    await backend.put('/api/datasources/uid/weir', options);
    try {
      setHealth(await datasource.testDatasource());
    } catch (error) {
      // What DataSourceWithBackend throws; Grafana shows the message, and below it verboseMessage.
      const { message, error: cause } = error as { message: string; error?: { details?: { verboseMessage?: string } } };
      setHealth({ status: 'error', message, hint: cause?.details?.verboseMessage });
    }
  };
  return (
    <>
      <Editor options={options} onOptionsChange={setOptions} />
      <Button data-testid="test" onClick={() => void test()}>
        Save &amp; test
      </Button>
      {health && (
        <div data-testid="health">
          <Alert severity={health.status === 'success' ? 'success' : 'error'} title={health.message}>
            {health.hint}
          </Alert>
        </div>
      )}
    </>
  );
}

async function main() {
  await initPluginTranslations('weir-app');
  setBackendSrv(backend as unknown as BackendSrv);
  setTemplateSrv({ replace: (text?: string) => text ?? '', getVariables: () => [], containsTemplate: () => false, updateTimeRange: () => undefined });
  const { plugin } = await load('/public/plugins/weir-app/datasource/module.js');
  const saved = (await backend.get('/api/datasources/uid/weir')) as Settings;
  const meta = (await backend.get('/public/plugins/weir-app/datasource/plugin.json')) as DataSourceInstanceSettings['meta'];
  plugin.meta = meta;
  const datasource = new plugin.DataSourceClass({ ...saved, meta, access: 'proxy' } as unknown as DataSourceInstanceSettings);
  datasource.meta = meta;
  datasource.components = plugin.components;
  setDataSourceSrv({ get: () => Promise.resolve(datasource), getList: () => [], getInstanceSettings: () => ({ ...saved, meta }) } as unknown as DataSourceSrv);

  const params = new URLSearchParams(location.search);
  const root = document.getElementById('root');
  if (root === null) {
    throw new Error('the page has no #root');
  }
  createRoot(root).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <main style={{ background: theme.colors.background.primary, minHeight: '100vh', padding: 16 }}>
        {params.get('show') === 'settings' ? <SettingsPage plugin={plugin} datasource={datasource} saved={saved} /> : <QueryPage plugin={plugin} datasource={datasource} range={range(params)} />}
      </main>
      <PortalContainer />
    </ThemeContext.Provider>,
  );
}

main().catch((error: unknown) => {
  const message = document.createElement('pre');
  message.dataset.testid = 'broken';
  message.textContent = error instanceof Error ? (error.stack ?? error.message) : JSON.stringify(error);
  document.body.append(message);
});
