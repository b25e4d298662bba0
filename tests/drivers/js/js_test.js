// The official JavaScript driver (npm rethinkdb) against the built server.
'use strict';
const assert = require('node:assert');
const { test, before, after } = require('node:test');
const net = require('node:net');
const fs = require('node:fs');
const path = require('node:path');
const r = require('rethinkdb');
const { startServer, sleep } = require('./server.js');
const { cases, check, people, orders, Failure } = require('./features.js');
const administration = require('./administration.js');

const kinds = {
  op_failed: 'ReqlOpFailedError', logic: 'ReqlQueryLogicError', non_existence: 'ReqlNonExistenceError', user: 'ReqlUserError',
};
// A login that is refused. The driver leaves its timer running then, which would end the process later: it is taken away.
async function refused(options, message) {
  const timers = [];
  const { setTimeout: original } = global;
  global.setTimeout = (...args) => { timers.push(original(...args)); return timers.at(-1); };
  try {
    await assert.rejects(r.connect(options), (e) => e.name === 'ReqlAuthError' && message.test(e.message));
  } finally {
    global.setTimeout = original;
    timers.forEach(clearTimeout);
  }
}
const all = async (result) => (result && typeof result.toArray === 'function' ? result.toArray() : result);
let server;
let conn;

before(async () => {
  server = await startServer();
  conn = await r.connect({ host: '127.0.0.1', port: server.port });
  await r.dbCreate('drivers').run(conn);
  for (const name of ['people', 'orders', 'scratch']) await r.db('drivers').tableCreate(name).run(conn);
  await r.db('drivers').table('people').insert(people).run(conn);
  await r.db('drivers').table('orders').insert(orders).run(conn);
});
after(async () => {
  await conn.close();
  await server.stop();
});

test('features', async (t) => {
  for (const [name, query, expected] of cases(r, 'drivers')) {
    await t.test(name, async () => {
      if (!(expected instanceof Failure)) return check(await all(await query().run(conn)), expected);
      const failure = await query().run(conn).then(all).then((x) => ({ result: x }), (e) => e);
      assert.ok(failure instanceof Error, `an error, not ${JSON.stringify(failure.result)}`);
      assert.match(failure.msg, expected.message);
      if (expected.kind !== 'any') assert.strictEqual(failure.name, kinds[expected.kind]);
    });
  }
});

test('errors point at the place', async () => {
  const failure = await r.expr([1, 2]).map((x) => x.add('a')).run(conn).then(() => null, (e) => e);
  assert.ok(failure instanceof r.Error.ReqlQueryLogicError);
  assert.strictEqual(failure.msg, 'Expected type NUMBER but found STRING.');
  assert.ok(failure.message.includes('^'), failure.message);
  const marks = failure.message.split('\n').filter((line) => line.includes('^'));
  assert.strictEqual(marks.length, 1);
  assert.ok(marks[0].trim().startsWith('^') && marks[0].trim().length < failure.message.split('\n')[1].length, failure.message);
});

test('compile errors', async () => {
  const table = r.table('t');
  const wrong = r.expr(1);
  wrong.build = () => [9999, []]; // a term that nobody knows
  await assert.rejects(wrong.run(conn), (e) => e instanceof r.Error.ReqlCompileError);
  await assert.rejects(table.run(conn), (e) => e instanceof r.Error.ReqlOpFailedError);
});

test('administration', (t) => administration.run(t, {
  r, conn, all, connect: (options) => r.connect({ host: '127.0.0.1', port: server.port, ...options }),
  refused: (options, message) => refused({ host: '127.0.0.1', port: server.port, ...options }, message),
}));

test('connecting', async (t) => {
  await t.test('admin without a password', async () => {
    const c = await r.connect({ host: '127.0.0.1', port: server.port, user: 'admin', password: '' });
    assert.strictEqual(await r.expr(1).run(c), 1);
    await c.close();
  });
  await t.test('wrong password', () => refused({ host: '127.0.0.1', port: server.port, password: 'wrong' }, /Wrong password/));
  await t.test('unknown user', () => refused({ host: '127.0.0.1', port: server.port, user: 'nobody', password: 'x' }, /Unknown user/));
  await t.test('nobody listens', () => assert.rejects(
    r.connect({ host: '127.0.0.1', port: 1 }), (e) => e.name === 'ReqlDriverError'));
  await t.test('default database', async () => {
    const c = await r.connect({ host: '127.0.0.1', port: server.port, db: 'drivers' });
    assert.strictEqual(await r.table('people').count().run(c), 5);
    c.use('nope');
    await assert.rejects(r.table('people').count().run(c), /Database `nope` does not exist/);
    await c.close();
  });
  await t.test('server info', async () => {
    const info = await conn.server();
    assert.ok(info.id && info.name);
    assert.strictEqual(info.proxy, false);
  });
  await t.test('reconnect', async () => {
    const c = await r.connect({ host: '127.0.0.1', port: server.port });
    await c.close();
    await assert.rejects(Promise.resolve().then(() => r.expr(1).run(c)), /closed/);
    await c.reconnect();
    assert.strictEqual(await r.expr(2).run(c), 2);
    await c.close();
  });
  await t.test('100 connections', async () => {
    const many = await Promise.all(Array.from({ length: 100 }, () => r.connect({ host: '127.0.0.1', port: server.port })));
    assert.deepStrictEqual(await Promise.all(many.map((c, i) => r.expr(i).run(c))), many.map((c, i) => i));
    await Promise.all(many.map((c) => c.close({ noreplyWait: false })));
  });
});

test('a password', async () => {
  const dir = fs.mkdtempSync(path.join(require('node:os').tmpdir(), 'photondb-password-'));
  const file = path.join(dir, 'password');
  fs.writeFileSync(file, 'sécret "1"\n', { mode: 0o600 });
  const locked = await startServer(['--initial-password-file', file]);
  const to = { host: '127.0.0.1', port: locked.port };
  try {
    const c = await r.connect({ ...to, password: 'sécret "1"' });
    assert.strictEqual(await r.expr(1).run(c), 1);
    await c.close();
    await refused(to, /Wrong password/);
    await refused({ ...to, password: 'secret' }, /Wrong password/);
  } finally {
    await locked.stop();
    fs.rmSync(dir, { recursive: true });
  }
});

test('cursors', async (t) => {
  const table = r.db('drivers').table('many');
  await r.db('drivers').tableCreate('many').run(conn);
  const inserted = await table.insert(r.range(20000).map((i) => ({ id: i, text: 'some text to fill the batches' }))).run(conn);
  assert.strictEqual(inserted.inserted, 20000);
  await t.test('many batches', async () => {
    const cursor = await table.run(conn, { maxBatchRows: 100 });
    const rows = await cursor.toArray();
    assert.strictEqual(rows.length, 20000);
    assert.strictEqual(new Set(rows.map((x) => x.id)).size, 20000);
  });
  await t.test('next and end', async () => {
    const cursor = await table.between(0, 3).run(conn);
    for (let i = 0; i < 3; i++) await cursor.next();
    await assert.rejects(cursor.next(), /No more rows in the cursor/);
  });
  await t.test('eachAsync', async () => {
    let sum = 0;
    await (await table.map(r.row('id')).run(conn)).eachAsync((id) => { sum += id; return Promise.resolve(); });
    assert.strictEqual(sum, 20000 * 19999 / 2);
  });
  await t.test('close early', async () => {
    const cursor = await table.run(conn, { maxBatchRows: 10 });
    await cursor.next();
    await cursor.close();
    assert.strictEqual(await r.expr(1).run(conn), 1);
  });
  await t.test('many open at once', async () => {
    const cursors = await Promise.all(Array.from({ length: 30 }, (x, i) => table.filter(r.row('id').mod(30).eq(i)).run(conn, { maxBatchRows: 50 })));
    const lengths = await Promise.all(cursors.map((c) => c.toArray().then((rows) => rows.length)));
    assert.strictEqual(lengths.reduce((a, b) => a + b), 20000);
  });
  await t.test('an error in the middle', async () => {
    const cursor = await r.range(5000).map((i) => r.branch(i.eq(4000), r.error('at 4000'), i)).run(conn);
    await assert.rejects(cursor.toArray(), /at 4000/);
  });
  await t.test('a snapshot of the start', async () => {
    const cursor = await table.run(conn, { maxBatchRows: 100 });
    await cursor.next();
    await table.between(19000, 20000).delete().run(conn);
    const rest = await cursor.toArray();
    assert.ok(rest.length >= 18999 && rest.length <= 19999);
  });
});

test('noreply', async () => {
  const table = r.db('drivers').table('scratch');
  await table.delete().run(conn);
  for (let i = 0; i < 500; i++) await table.insert({ id: i }, { durability: 'soft' }).run(conn, { noreply: true });
  await conn.noreplyWait();
  assert.strictEqual(await table.count().run(conn), 500);
  await r.error('nobody hears this').run(conn, { noreply: true });
  await conn.noreplyWait();
});

test('parallel queries', async () => {
  const table = r.db('drivers').table('scratch');
  await table.delete().run(conn);
  await table.insert({ id: 'n', n: 0 }).run(conn);
  const answers = await Promise.all(Array.from({ length: 400 }, (x, i) => (i % 2
    ? table.get('n').update({ n: r.row('n').add(1) }).run(conn)
    : r.expr(i).mul(2).run(conn))));
  assert.ok(answers.every((x, i) => (i % 2 ? x.replaced === 1 : x === i * 2)));
  assert.strictEqual(await table.get('n')('n').run(conn), 200);
});

test('big documents', async () => {
  const table = r.db('drivers').table('scratch');
  const text = 'x'.repeat(5 << 20);
  await table.insert({ id: 'big', text }).run(conn);
  assert.strictEqual((await table.get('big').run(conn)).text, text);
  await table.get('big').delete().run(conn);
});

test('formats', async () => {
  const raw = await r.expr({ t: r.epochTime(1), b: r.binary(Buffer.from('a')) }).run(conn, { timeFormat: 'raw', binaryFormat: 'raw' });
  assert.deepStrictEqual(raw, {
    t: { $reql_type$: 'TIME', epoch_time: 1, timezone: '+00:00' }, b: { $reql_type$: 'BINARY', data: 'YQ==' } });
  const grouped = await r.expr([1, 2]).group((x) => x).count().run(conn, { groupFormat: 'raw' });
  assert.deepStrictEqual(grouped, { $reql_type$: 'GROUPED_DATA', data: [[1, 1], [2, 1]] });
});

test('a client that goes away', async () => {
  const socket = net.connect(server.port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write(Buffer.from([0xc3, 0xbd, 0xc2, 0x34]));
  await sleep(50);
  socket.destroy();
  const c = await r.connect({ host: '127.0.0.1', port: server.port });
  await r.db('drivers').table('many').run(c, { maxBatchRows: 10 });
  await c.close({ noreplyWait: false }); // with an open cursor
  assert.strictEqual(await r.expr(1).run(conn), 1);
});

test('health', async () => {
  const answer = await new Promise((done, fail) => require('node:http').get(
    { host: '127.0.0.1', port: server.httpPort, path: '/health' }, (res) => { res.resume(); done(res.statusCode); }).on('error', fail));
  assert.strictEqual(answer, 200);
});
