import { findState, type Get } from './state';

const settings = [
  { type: 'prometheus', uid: 'p', name: 'Prometheus' },
  { type: 'weir-datasource', uid: 'b', name: 'Weir b' },
  { type: 'weir-datasource', uid: 'a', name: 'Weir a' },
];

function answers(of: Record<string, unknown>): Get {
  return (url) => (url in of ? Promise.resolve(of[url]) : Promise.reject(Object.assign(new Error('refused'), { data: of[`!${url}`] })));
}

test('data sources of Weir with their health, and dashboards', async () => {
  const get = answers({
    '/api/search': [{ uid: 'weir-vm', title: 'VM', url: '/d/weir-vm/vm', tags: ['weir'] }, { uid: 7 }, null],
    '/api/datasources/uid/a/health': { status: 'OK', message: 'ClickHouse 25.8' },
    '!/api/datasources/uid/b/health': { status: 'ERROR', message: 'wrong password' },
  });
  expect(await findState(get, settings)).toEqual({
    sources: [
      { uid: 'a', name: 'Weir a', health: { ok: true, message: 'ClickHouse 25.8' } },
      { uid: 'b', name: 'Weir b', health: { ok: false, message: 'wrong password' } },
    ],
    dashboards: [{ uid: 'weir-vm', title: 'VM', url: '/d/weir-vm/vm' }],
  });
});

test('a health that may not be asked for is left out', async () => {
  const get = answers({ '/api/search': [], '!/api/datasources/uid/b/health': { error: 'forbidden' } });
  expect(await findState(get, settings)).toEqual({ sources: [{ uid: 'a', name: 'Weir a' }, { uid: 'b', name: 'Weir b' }], dashboards: [] });
});

test('that dashboards cannot be listed is an error', async () => {
  await expect(findState(answers({}), [])).rejects.toThrow('refused');
});
