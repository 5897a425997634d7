// What a program does with the client, at a server that the Go test TestTypeScriptClient starts: node journey.ts BASE TOKEN.
// It ends with 1 and says why if something is not as it should be.

import { ApiError, Client } from './api.ts';

declare const process: { argv: string[]; exitCode: number };

function want(what: string, holds: boolean): void {
  if (!holds) {
    throw new Error(what);
  }
}

async function journey(base: string, token: string): Promise<void> {
  const client = new Client(base, token);
  const me = await client.getSession();
  want('the token is that of sue', me.user === 'sue' && me.role === 'superuser' && me.via === 'token');

  const vera = await client.getUser({ user: 'vera' });
  const changed = await client.setUser({ user: 'vera', ifMatch: vera.etag, body: { role: 'viewer', comment: 'by TypeScript' } });
  want('the tag is another one', changed.etag !== vera.etag && changed.value.comment === 'by TypeScript');
  try {
    await client.setUser({ user: 'vera', ifMatch: vera.etag, body: { role: 'operator' } });
    want('a change of what was changed is refused', false);
  } catch (e) {
    want('it is refused with 412', e instanceof ApiError && e.status === 412);
  }

  const names: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await client.listUsers({ limit: 1, ...(cursor === undefined ? {} : { cursor }) });
    names.push(...(page.users ?? []).map((u) => u.name));
    cursor = page.next;
  } while (cursor !== undefined);
  want('pages have everybody once', names.join(' ') === 'olaf sue vera');

  try {
    await client.queryFlows({ filter: 'prt = 443' });
    want('a filter that is wrong is refused', false);
  } catch (e) {
    want('the place is named', e instanceof ApiError && e.problem.errors?.[0]?.location === 'query.filter');
  }
  want('names in paths are quoted', (await client.getEntity({ kind: 'vm', entity: 'web-01' })).name === 'web-01');
  want('YAML is text', typeof (await client.applyPolicy({ body: { policy: 'default: allow\n' } })).revision === 'number' && (await client.exportPolicy()).includes('default'));
}

journey(process.argv[2] ?? '', process.argv[3] ?? '').catch((e: unknown) => {
  console.error(e);
  process.exitCode = 1;
});
