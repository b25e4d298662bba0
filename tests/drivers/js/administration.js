// What needs more than one query: indexes, write hooks, users, settings, system tables, code and the network. Shared by both JavaScript
// drivers. run(t, {r, conn, connect, refused, all}): `connect(options)` opens another connection, `refused(options, message)` fails to,
// `all` reads a cursor to its end.
'use strict';
const assert = require('node:assert');
const http = require('node:http');
const { sleep } = require('./server.js');

const DB = 'administration';

// Arrays of the driver have methods of their own.
const same = (actual, expected) => assert.deepStrictEqual(JSON.parse(JSON.stringify(actual)), expected);

async function fails(promise, message) {
  const failure = await promise.then((x) => ({ result: x }), (e) => e);
  assert.ok(failure instanceof Error, `an error, not ${JSON.stringify(failure.result)}`);
  assert.match(failure.msg || failure.message, message);
  return failure;
}

const cases = {
  async 'indexes'({ r, get }) {
    const t = r.db(DB).table('rows');
    await get(t.insert([
      { id: 1, a: 1, b: 'x', tags: ['p', 'q'] }, { id: 2, a: 2, b: 'x', tags: ['q'] }, { id: 3, a: 2, b: 'y', tags: [] },
      { id: 4, a: null }, { id: 5, a: [1, 2] }, { id: 6, b: 'z', a: 'str' },
    ]));
    same(await get(t.indexCreate('a')), { created: 1 });
    await get(t.indexCreate('ab', [r.row('a'), r.row('b')]));
    await get(t.indexCreate('tags', { multi: true }));
    await get(t.indexCreate('twice', (row) => row('a').mul(2)));
    await fails(get(t.indexCreate('a')), /Index `a` already exists on table `administration\.rows`\./);
    const ready = await get(t.indexWait());
    same(ready.map((x) => [x.index, x.ready, x.multi, x.geo, x.outdated]),
      [['a', true, false, false, false], ['ab', true, false, false, false], ['tags', true, true, false, false], ['twice', true, false, false, false]]);
    same(await get(t.indexList()), ['a', 'ab', 'tags', 'twice']);
    assert.match((await get(t.indexStatus('twice')))[0].query, /^indexCreate\('twice', function\(/);
    const ids = async (query) => (await get(query)).map((row) => row.id);
    same((await ids(t.getAll(2, { index: 'a' }))).sort(), [2, 3]);
    same(await ids(t.getAll([2, 'y'], { index: 'ab' })), [3]);
    same((await ids(t.getAll('p', 'q', { index: 'tags' }))).sort(), [1, 1, 2]);
    same(await ids(t.getAll(2, { index: 'twice' })), [1]);
    same(await ids(t.orderBy({ index: 'a' })), [5, 1, 2, 3, 6]);
    same(await ids(t.orderBy({ index: r.desc('a') })), [6, 3, 2, 1, 5]);
    same(await ids(t.between(1, 2, { index: 'a', rightBound: 'closed' }).orderBy({ index: 'a' })), [1, 2, 3]);
    same((await ids(t.between([2, r.minval], [2, r.maxval], { index: 'ab' }))).sort(), [2, 3]);
    same(await get(t.distinct({ index: 'tags' })), ['p', 'q']);
    assert.strictEqual((await get(t.min({ index: 'a' }))).id, 5);
    assert.strictEqual((await get(t.max({ index: 'a' }))).id, 6);
    assert.strictEqual(await get(r.expr([{ n: 2 }]).eqJoin('n', t, { index: 'a' }).count()), 2);
    await get(t.get(1).update({ a: 7 }));
    same(await ids(t.getAll(7, { index: 'a' })), [1]);
    same(await ids(t.getAll(14, { index: 'twice' })), [1]);
    await fails(get(t.getAll(1, { index: 'none' })), /Index `none` was not found on table `administration\.rows`\./);

    // to another table, by the function's binary form
    const copy = (await get(t.indexStatus('twice')))[0].function;
    same(await get(r.db(DB).table('others').indexCreate('twice', r.binary(copy))), { created: 1 });
    await get(r.db(DB).table('others').indexWait());
    await get(r.db(DB).table('others').insert({ id: 1, a: 21 }));
    same(await ids(r.db(DB).table('others').getAll(42, { index: 'twice' })), [1]);

    same(await get(t.indexRename('twice', 'double')), { renamed: 1 });
    await fails(get(t.indexRename('double', 'a')), /Index `double` does not exist or index `a` already exists/);
    same(await get(t.indexRename('double', 'a', { overwrite: true })), { renamed: 1 });
    same(await ids(t.getAll(14, { index: 'a' })), [1]);
    same(await get(t.indexDrop('tags')), { dropped: 1 });
    await fails(get(t.indexDrop('tags')), /Index `tags` does not exist on table `administration\.rows`\./);
    await fails(get(t.indexCreate('bad', () => r.now())), /Could not prove function deterministic\./);
  },

  async 'geography'({ r, get }) {
    const t = r.db(DB).table('places');
    await get(t.indexCreate('at', { geo: true }));
    await get(t.indexCreate('all', r.row('list'), { geo: true, multi: true }));
    await get(t.indexWait());
    await get(t.insert([
      { id: 'berlin', at: r.point(13.4, 52.5), list: [r.point(0, 0), r.point(1, 1)] },
      { id: 'paris', at: r.point(2.35, 48.86), list: [r.point(1, 1)] },
      { id: 'square', at: r.polygon([0, 0], [0, 2], [2, 2], [2, 0]) }, { id: 'nowhere', at: 'x' },
    ]));
    const near = await get(t.getIntersecting(r.circle([2, 49], 100, { unit: 'km' }), { index: 'at' }));
    same(near.map((row) => row.id), ['paris']);
    same((await get(t.getIntersecting(r.point(1, 1), { index: 'at' }))).map((row) => row.id), ['square']);
    same((await get(t.getIntersecting(r.point(1, 1), { index: 'all' }))).map((row) => row.id).sort(), ['berlin', 'paris']);
    const nearest = await get(t.getNearest(r.point(10, 50), { index: 'at', maxDist: 1000, unit: 'km', maxResults: 2 }));
    same(nearest.map((x) => x.doc.id), ['berlin', 'paris']);
    assert.ok(nearest[0].dist > 300 && nearest[0].dist < 400, `${nearest[0].dist}`);
    await fails(get(t.getIntersecting(r.point(1, 1), { index: 'id' })), /./);
  },

  async 'write hooks'({ r, get }) {
    const t = r.db(DB).table('hooked');
    assert.strictEqual(await get(t.getWriteHook()), null);
    same(await get(t.setWriteHook((context, before, after) =>
      r.branch(after.eq(null), after, after('bad').default(false), r.error('refused'), after.merge({ by: context('primary_key') })))), { created: 1 });
    assert.strictEqual((await get(t.insert({ id: 1 }))).inserted, 1);
    same(await get(t.get(1)), { id: 1, by: 1 });
    const refused = await get(t.insert({ id: 2, bad: true }));
    same([refused.errors, /refused/.test(refused.first_error)], [1, true]);
    assert.strictEqual((await get(t.insert({ id: 2, bad: true }, { ignoreWriteHook: true }))).inserted, 1);
    assert.match((await get(t.getWriteHook())).query, /^setWriteHook\(function\(/);
    assert.strictEqual((await get(t.get(1).delete())).deleted, 1);
    same(await get(t.setWriteHook((context, before, after) => after)), { replaced: 1 });
    same(await get(t.setWriteHook(null)), { deleted: 1 });
  },

  async 'users and permissions'({ r, get, connect, refused, all }) {
    const users = r.db('rethinkdb').table('users');
    const t = r.db(DB).table('rows');
    assert.strictEqual((await get(users.insert({ id: 'bob', password: 'secret' }))).inserted, 1);
    same(await get(users.get('bob')), { id: 'bob', password: true });
    await refused({ user: 'bob', password: 'wrong' }, /Wrong password/);
    const bob = await connect({ user: 'bob', password: 'secret' });
    const asBob = async (query) => all(await query.run(bob));
    try {
      await fails(asBob(t.count()), /User `bob` does not have the required `read` permission\./);
      same(await get(r.db(DB).grant('bob', { read: true })),
        { granted: 1, permissions_changes: [{ old_val: null, new_val: { read: true } }] });
      assert.strictEqual(await asBob(t.count()), 6);
      await fails(asBob(t.insert({ id: 99 })), /User `bob` does not have the required `write` permission\./);
      await get(t.grant('bob', { write: true }));
      assert.strictEqual((await asBob(t.insert({ id: 99 }))).inserted, 1);
      assert.strictEqual((await asBob(t.get(99).delete())).deleted, 1);
      await get(t.grant('bob', { read: false }));
      await fails(asBob(t.count()), /`read` permission/);
      await fails(asBob(r.db(DB).tableCreate('x')), /`config` permission/);
      await fails(asBob(t.indexCreate('x')), /`config` permission/);
      await fails(asBob(users), /permission/);
      await fails(asBob(r.grant('bob', { config: true })), /permission/);
      await get(r.grant('bob', { read: true, write: true, config: true }));
      await get(t.grant('bob', { read: null, write: null }));
      assert.strictEqual(await asBob(t.count()), 6);
      same(await get(r.grant('bob', { read: false, write: false, config: false })).then((x) => x.granted), 1);
    } finally {
      await bob.close();
    }
    assert.strictEqual((await get(users.get('bob').update({ password: false }))).replaced, 1);
    const open = await connect({ user: 'bob', password: '' });
    await open.close();
    const rows = await get(r.db('rethinkdb').table('permissions').filter({ user: 'bob' }));
    assert.ok(rows.length >= 1 && rows.every((row) => row.user === 'bob' && row.permissions), JSON.stringify(rows));
    assert.strictEqual((await get(users.get('bob').delete())).deleted, 1);
    assert.match((await get(users.get('admin').delete())).first_error, /admin/);
  },

  async 'settings'({ r, get }) {
    const t = r.db(DB).table('others');
    const config = await get(t.config());
    same([config.name, config.db, config.primary_key, config.durability], ['others', DB, 'id', 'hard']);
    assert.strictEqual((await get(t.config().update({ durability: 'soft' }))).replaced, 1);
    assert.strictEqual((await get(t.config())).durability, 'soft');
    assert.strictEqual((await get(t.config().update({ name: 'renamed' }))).replaced, 1);
    await fails(get(t.count()), /Table `administration\.others` does not exist\./);
    assert.strictEqual((await get(r.db(DB).table('renamed').config().update({ name: 'others' }))).replaced, 1);
    const config2 = await get(r.db('rethinkdb').table('table_config').filter({ db: DB, name: 'others' }));
    assert.strictEqual(config2.length, 1);
    assert.strictEqual((await get(t.reconfigure({ shards: 2, replicas: 1 }))).reconfigured, 1);
    assert.strictEqual((await get(t.config())).shards.length, 2);
    assert.strictEqual((await get(t.reconfigure({ shards: 1, replicas: 1, dryRun: true }))).reconfigured, 0);
    assert.strictEqual((await get(t.rebalance())).rebalanced, 1);
    same(await get(t.wait()), { ready: 1 });
    assert.strictEqual((await get(t.status())).status.all_replicas_ready, true);
    assert.ok((await get(r.db(DB).wait())).ready >= 4);
    assert.strictEqual((await get(r.db(DB).config())).name, DB);
  },

  async 'system tables'({ r, get }) {
    const system = r.db('rethinkdb');
    same(await get(system.tableList()), ['cluster_config', 'current_issues', 'db_config', 'jobs', 'logs', 'permissions',
      'server_config', 'server_status', 'stats', 'table_config', 'table_status', 'users']);
    for (const name of await get(system.tableList())) assert.ok(Array.isArray(await get(system.table(name))), name);
    const [server] = await get(system.table('server_status'));
    assert.ok(server.id && server.name && server.process && server.network, JSON.stringify(server));
    same((await get(system.table('stats')('id'))).map((id) => id[0]).includes('cluster'), true);
    await fails(get(system.tableCreate('x')), /./);
  },

  async 'a query ended through the jobs table'({ r, get, connect }) {
    const other = await connect({});
    try {
      const slow = r.range(1e12).map((x) => x.mul(2)).filter((x) => x.lt(0)).count().run(other).then((x) => ({ result: x }), (e) => e);
      const mine = r.db('rethinkdb').table('jobs').filter((job) => job('type').eq('query').and(job('info')('query').match('lt')).and(job('info')('query').match('jobs').not()));
      let found = [];
      for (let i = 0; i < 200 && !found.length; i++) {
        found = await get(mine);
        if (!found.length) await sleep(10);
      }
      assert.strictEqual(found.length, 1, 'the query is in the table');
      assert.strictEqual(found[0].info.user, 'admin');
      assert.strictEqual((await get(r.db('rethinkdb').table('jobs').get(found[0].id).delete())).deleted, 1);
      const failure = await slow;
      assert.ok(failure instanceof Error);
      assert.match(failure.msg || failure.message, /terminated/i);
      assert.strictEqual(await r.expr(1).run(other), 1);
    } finally {
      await other.close();
    }
  },

  async 'JavaScript'({ r, get }) {
    same(await get(r.js('[1, 2].map(function (x) { return x * 10; })')), [10, 20]);
    same(await get(r.expr([1, 2]).map(r.js('(function (x) { return x + 1; })'))), [2, 3]);
    await fails(get(r.js('throw new Error("mine")')), /mine/);
    await fails(get(r.js('for (;;) {}', { timeout: 0.2 })), /timed out after 0\.200 seconds/);
    assert.strictEqual(await get(r.js('1')), 1, 'and it goes on');
  },

  async 'HTTP'({ r, get }) {
    const web = http.createServer((request, response) => {
      const at = new URL(request.url, 'http://127.0.0.1');
      if (at.pathname === '/none') response.statusCode = 404;
      if (at.pathname === '/text') {
        response.setHeader('content-type', 'text/plain');
        response.end('words');
        return;
      }
      if (at.pathname === '/page' && at.searchParams.get('n') !== '3') {
        const next = Number(at.searchParams.get('n') || 1) + 1;
        response.setHeader('link', `<http://127.0.0.1:${web.address().port}/page?n=${next}>; rel="next"`);
      }
      response.setHeader('content-type', 'application/json');
      request.resume().on('end', () => response.end(JSON.stringify({ method: request.method, path: request.url, auth: request.headers.authorization || null })));
    });
    await new Promise((done) => web.listen(0, '127.0.0.1', done));
    const url = `http://127.0.0.1:${web.address().port}`;
    try {
      same(await get(r.http(`${url}/a`, { params: { q: 'x y' } })), { method: 'GET', path: '/a?q=x%20y', auth: null });
      assert.strictEqual((await get(r.http(url, { method: 'PUT', data: 'x' }))).method, 'PUT');
      assert.strictEqual(await get(r.http(`${url}/text`)), 'words');
      assert.strictEqual((await get(r.http(url, { auth: { user: 'u', pass: 'p' } }))).auth, `Basic ${Buffer.from('u:p').toString('base64')}`);
      await fails(get(r.http(`${url}/none`, { attempts: 1 })), /404/);
      assert.strictEqual(await get(r.http(`${url}/none`, { attempts: 1 }).default('nothing')), 'nothing');
      const pages = await get(r.http(`${url}/page`, { page: 'link-next', pageLimit: 5 }));
      assert.strictEqual(pages.length, 3);
    } finally {
      web.closeAllConnections();
      web.close();
    }
  },

  async 'noreply and array_limit'({ r, get, conn, all }) {
    const t = r.db(DB).table('counted');
    for (let i = 0; i < 100; i++) await t.insert({ id: i }, { durability: 'soft' }).run(conn, { noreply: true });
    await conn.noreplyWait();
    assert.strictEqual(await get(t.count()), 100);
    await fails(r.range(10).coerceTo('array').run(conn, { arrayLimit: 4 }).then(all), /Array over size limit `4`\./);
    assert.strictEqual((await all(await t.run(conn, { arrayLimit: 4 }))).length, 100);
  },
};

async function run(t, { r, conn, connect, refused, all }) {
  const get = async (query) => all(await query.run(conn));
  await get(r.dbCreate(DB));
  for (const name of ['rows', 'others', 'places', 'hooked', 'counted']) await get(r.db(DB).tableCreate(name));
  for (const [name, body] of Object.entries(cases)) await t.test(name, () => body({ r, conn, connect, refused, all, get }));
  await get(r.dbDrop(DB));
}

module.exports = { run };
