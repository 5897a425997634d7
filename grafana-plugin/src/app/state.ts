/* What the app's page shows, as Grafana answers it. */

export interface Source {
  uid: string;
  name: string;
  /** What its health check says; undefined where that could not be asked for. */
  health?: { ok: boolean; message: string };
}

export interface Dashboard {
  uid: string;
  title: string;
  url: string;
}

export interface State {
  sources: Source[];
  dashboards: Dashboard[];
}

/** Asks Grafana's HTTP API. */
export type Get = (url: string, params?: Record<string, string>) => Promise<unknown>;

/** Finds the data sources of Weir that the user may see, how they are, and the dashboards tagged as Weir's. */
export async function findState(get: Get, settings: readonly { type: string; uid: string; name: string }[]): Promise<State> {
  const found = get('/api/search', { type: 'dash-db', tag: 'weir', limit: '100' });
  const sources = settings
    .filter((s) => s.type === 'weir-datasource')
    .sort((a, b) => a.name.localeCompare(b.name))
    .map((s) => health(get, s.uid).then((h): Source => ({ uid: s.uid, name: s.name, ...(h && { health: h }) })));
  const [dashboards, ...all] = await Promise.all([found, ...sources]);
  return { sources: all, dashboards: dashboardsIn(dashboards) };
}

/** The answer of a health check. Grafana answers 400 with the same body where something is wrong. */
async function health(get: Get, uid: string): Promise<Source['health']> {
  const answer = await get(`/api/datasources/uid/${uid}/health`).catch((e: unknown) => (isRecord(e) ? e.data : undefined));
  if (!isRecord(answer) || typeof answer.message !== 'string') {
    return undefined;
  }
  return { ok: answer.status === 'OK', message: answer.message };
}

function dashboardsIn(answer: unknown): Dashboard[] {
  const all: unknown[] = Array.isArray(answer) ? answer : [];
  return all.flatMap((d) =>
    isRecord(d) && typeof d.uid === 'string' && typeof d.title === 'string' && typeof d.url === 'string' ? [{ uid: d.uid, title: d.title, url: d.url }] : []
  );
}

function isRecord(x: unknown): x is Record<string, unknown> {
  return typeof x === 'object' && x !== null;
}
