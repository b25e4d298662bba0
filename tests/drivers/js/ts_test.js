// npm rethinkdb-ts against the built server: the same language cases, and connection pools.
'use strict';
const assert = require('node:assert');
const { test, before, after } = require('node:test');
const { r } = require('rethinkdb-ts');
const { startServer } = require('./server.js');
const { cases, check, people, orders, Failure } = require('./features.js');
const administration = require('./administration.js');

const silent = { silent: true };
let server;
let conn;

before(async () => {
  server = await startServer();
  conn = await r.connect({ host: '127.0.0.1', port: server.port, ...silent });
  await r.dbCreate('drivers').run(conn);
  for (const name of ['people', 'orders', 'scratch']) await r.db('drivers').tableCreate(name).run(conn);
  await r.db('drivers').table('people').insert(people).run(conn);
  await r.db('drivers').table('orders').insert(orders).run(conn);
});
after(async () => {
  await conn.close();
  await server.stop();
});

// this driver gives empty results of a sequence as null or leaves streams to be read
const all = async (result) => (result && typeof result.toArray === 'function' && !Array.isArray(result) ? result.toArray() : result);

test('features', async (t) => {
  for (const [name, query, expected] of cases(r, 'drivers')) {
    await t.test(name, async () => {
      if (!(expected instanceof Failure)) return check(await all(await query().run(conn)), expected);
      const failure = await Promise.resolve().then(() => query().run(conn)).then(async (x) => {
        if (x && typeof x.next === 'function') await x.next(); // a feed says at its first row that there is none
        return { result: x };
      }).catch((e) => e);
      assert.ok(failure instanceof Error, `an error, not ${JSON.stringify(failure.result)}`);
      assert.match(failure.msg || failure.message, expected.message);
    });
  }
});

test('administration', (t) => administration.run(t, {
  r, conn, all, connect: (options) => r.connect({ host: '127.0.0.1', port: server.port, ...options, ...silent }),
  refused: (options, message) => assert.rejects(r.connect({ host: '127.0.0.1', port: server.port, ...options, ...silent }),
    (e) => message.test(`${e.message} ${e.cause && e.cause.message}`)),
}));

test('connecting', async (t) => {
  await t.test('wrong password', () => assert.rejects(
    r.connect({ host: '127.0.0.1', port: server.port, password: 'wrong', ...silent }),
    (e) => /Wrong password/.test(`${e.message} ${e.cause && e.cause.message}`)));
  await t.test('unknown user', () => assert.rejects(
    r.connect({ host: '127.0.0.1', port: server.port, user: 'nobody', ...silent }),
    (e) => /Unknown user/.test(`${e.message} ${e.cause && e.cause.message}`)));
  await t.test('server info', async () => {
    const info = await conn.server();
    assert.ok(info.id && info.name);
  });
});

test('pool', async () => {
  const pool = await r.connectPool({
    servers: [{ host: '127.0.0.1', port: server.port }], db: 'drivers', buffer: 4, max: 16, ...silent, waitForHealthy: true,
  });
  try {
    const answers = await Promise.all(Array.from({ length: 300 }, (x, i) => r.expr(i).add(1).run()));
    assert.ok(answers.every((x, i) => x === i + 1));
    const rows = await Promise.all(Array.from({ length: 50 }, () => r.table('people').orderBy('id')('name').run()));
    assert.ok(rows.every((x) => x.join() === 'Ada,Bob,Cy,Dee,Eve'));
    await assert.rejects(r.table('nope').run(), /does not exist/);
  } finally {
    await pool.drain();
  }
});

test('cursors', async (t) => {
  await r.db('drivers').tableCreate('many').run(conn);
  const table = r.db('drivers').table('many');
  await table.insert(r.range(10000).map((i) => ({ id: i }))).run(conn);
  await t.test('run gives all', async () => assert.strictEqual((await table.run(conn)).length, 10000));
  await t.test('getCursor', async () => {
    const cursor = await table.getCursor(conn, { maxBatchRows: 100 });
    let n = 0;
    for await (const row of cursor) n += row.id >= 0 ? 1 : 0;
    assert.strictEqual(n, 10000);
  });
  await t.test('close early', async () => {
    const cursor = await table.getCursor(conn, { maxBatchRows: 10 });
    await cursor.next();
    await cursor.close();
    assert.strictEqual(await r.expr(1).run(conn), 1);
  });
});

test('noreply', async () => {
  const table = r.db('drivers').table('scratch');
  await table.delete().run(conn);
  for (let i = 0; i < 200; i++) await table.insert({ id: i }).run(conn, { noreply: true, durability: 'soft' });
  await conn.noreplyWait();
  assert.strictEqual(await table.count().run(conn), 200);
});

test('parallel queries', async () => {
  const table = r.db('drivers').table('scratch');
  await table.insert({ id: 'n', n: 0 }).run(conn);
  await Promise.all(Array.from({ length: 100 }, () => table.get('n').update({ n: r.row('n').add(1) }).run(conn)));
  assert.strictEqual(await table.get('n')('n').run(conn), 100);
});
