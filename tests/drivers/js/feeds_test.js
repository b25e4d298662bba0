// Changefeeds through three drivers: npm rethinkdb (cursors with callbacks, promises and events), rethinkdb-ts (async
// iterators, streams, a pool) and rethinkdbdash.
'use strict';
const assert = require('node:assert');
const { test, before, after } = require('node:test');
const official = require('rethinkdb');
const { r: ts } = require('rethinkdb-ts');
const dash = require('rethinkdbdash');
const { startServer, sleep } = require('./server.js');

const added = (row) => ({ old_val: null, new_val: row });
const gone = (row) => ({ old_val: row, new_val: null });
const within = (promise, what) => {
  let timer;
  const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error(`nothing came: ${what}`)), 30000); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};
// What next() gives now is not asked for: a driver has one request at a time.
const next = (cursor) => within(Promise.resolve(cursor.next()), 'next');
const take = async (cursor, count) => {
  const rows = [];
  while (rows.length < count) rows.push(await next(cursor));
  return rows;
};
let server;

before(async () => { server = await startServer(); });
after(async () => { await server.stop(); });

// The same for each driver: run(query) gives rows or a cursor, feed(query) always a cursor.
async function common(t, { r, run, feed, db, message }) {
  const table = r.db(db).table('t');
  await run(r.dbCreate(db));
  await run(r.db(db).tableCreate('t'));
  t.afterEach(() => run(table.delete()));
  await t.test('rows', async () => {
    const cursor = await feed(table.changes());
    await run(table.insert({ id: 1, a: 1 }));
    await run(table.get(1).update({ a: 2 }));
    await run(table.get(1).delete());
    assert.deepEqual(await take(cursor, 3), [
      added({ id: 1, a: 1 }), { old_val: { id: 1, a: 1 }, new_val: { id: 1, a: 2 } }, gone({ id: 1, a: 2 })]);
    await cursor.close();
  });
  await t.test('the initial result', async () => {
    await run(table.insert([{ id: 1 }, { id: 2 }]));
    const cursor = await feed(table.orderBy({ index: 'id' }).limit(1).changes({ includeInitial: true, includeOffsets: true }));
    assert.deepEqual(await next(cursor), { new_val: { id: 1 }, new_offset: 0 });
    await run(table.get(1).delete());
    assert.deepEqual(await next(cursor), { old_val: { id: 1 }, old_offset: 0, new_val: { id: 2 }, new_offset: 0 });
    await cursor.close();
  });
  await t.test('states', async () => {
    const cursor = await feed(table.changes({ includeInitial: true, includeStates: true, includeTypes: true }));
    assert.deepEqual(await take(cursor, 2), [{ state: 'initializing', type: 'state' }, { state: 'ready', type: 'state' }]);
    await run(table.insert({ id: 1 }));
    assert.deepEqual(await next(cursor), { ...added({ id: 1 }), type: 'add' });
    await cursor.close();
  });
  await t.test('one row', async () => {
    const cursor = await feed(table.get('x').changes({ includeInitial: true }));
    assert.deepEqual(await next(cursor), { new_val: null });
    await run(table.insert([{ id: 'y' }, { id: 'x' }]));
    assert.deepEqual(await next(cursor), added({ id: 'x' }));
    await cursor.close();
  });
  await t.test('a filter', async () => {
    const cursor = await feed(table.filter((row) => row('a').gt(1)).changes());
    await run(table.insert([{ id: 1, a: 1 }, { id: 2, a: 2 }]));
    assert.deepEqual(await next(cursor), added({ id: 2, a: 2 }));
    await run(table.get(2).update({ a: 0 }));
    assert.deepEqual(await next(cursor), gone({ id: 2, a: 2 }));
    await cursor.close();
  });
  await t.test('many changes', async () => {
    const cursor = await feed(table.changes());
    await run(table.insert(r.range(5000).map((i) => ({ id: i }))));
    const ids = (await take(cursor, 5000)).map((change) => change.new_val.id);
    assert.deepEqual(ids.sort((a, b) => a - b), Array.from({ length: 5000 }, (_, i) => i));
    await cursor.close();
  });
  await t.test('many feeds', async () => {
    const cursors = await Promise.all(Array.from({ length: 100 }, (_, i) => feed(table.filter({ room: i }).changes())));
    await run(table.insert(r.range(100).map((i) => ({ id: i, room: i }))));
    const changes = await Promise.all(cursors.map(next));
    assert.deepEqual(changes.map((change) => change.new_val.room), Array.from({ length: 100 }, (_, i) => i));
    await Promise.all(cursors.map((cursor) => cursor.close()));
  });
  await t.test('close while it waits', async () => {
    const cursor = await feed(table.changes());
    // What becomes of this call is the driver's: two of them leave it as it is.
    let row = null;
    Promise.resolve(cursor.next()).then((x) => { row = x; }, () => {});
    await sleep(50);
    await within(Promise.resolve(cursor.close()), 'the end of close');
    await run(table.insert({ id: 1 }));
    assert.strictEqual(row, null);
    assert.strictEqual(await run(r.expr(1)), 1);
  });
  await t.test('the table goes', async () => {
    await run(r.db(db).tableCreate('short'));
    const cursor = await feed(r.db(db).table('short').changes());
    const waits = assert.rejects(next(cursor), (e) => /Changefeed aborted \(unavailable\)/.test(message(e)));
    await run(r.db(db).tableDrop('short'));
    await waits;
  });
  await t.test('no feed', async () => {
    const failure = await Promise.resolve().then(() => run(r.expr([1, 2]).changes())).then(() => null, (e) => e);
    assert.ok(failure instanceof Error);
    assert.match(message(failure), /Cannot call `changes` on an eager stream/);
  });
  await t.test('a system table', async () => {
    const cursor = await feed(r.db('rethinkdb').table('table_config').filter({ db }).getField('name').changes());
    await run(r.db(db).tableCreate('more'));
    assert.deepEqual(await next(cursor), added('more'));
    await run(r.db(db).tableDrop('more'));
    assert.deepEqual(await next(cursor), gone('more'));
    await cursor.close();
  });
}

test('rethinkdb', async (t) => {
  const r = official;
  const conn = await r.connect({ host: '127.0.0.1', port: server.port });
  const run = async (query) => {
    const result = await query.run(conn);
    return result && typeof result.toArray === 'function' && !Array.isArray(result) ? result.toArray() : result;
  };
  const feed = (query) => query.run(conn);
  await common(t, { r, run, feed, db: 'official', message: (e) => e.msg });
  const table = r.db('official').table('t');
  await t.test('kinds', async () => {
    const kinds = [
      ['[object Feed]', table.changes()],
      ['[object AtomFeed]', table.get(1).changes()],
      ['[object OrderByLimitFeed]', table.orderBy({ index: 'id' }).limit(2).changes()],
      ['[object Feed]', table.union(table).changes()],
    ];
    for (const [name, query] of kinds) {
      const cursor = await feed(query);
      assert.strictEqual(cursor.toString(), name);
      assert.throws(() => cursor.toArray(), /`toArray` is not available for feeds/);
      await cursor.close();
    }
  });
  await t.test('each', async () => {
    const cursor = await feed(table.changes());
    const rows = [];
    const done = new Promise((resolve, fail) => {
      cursor.each((error, row) => {
        if (error) return fail(error);
        rows.push(row.new_val.id);
        if (rows.length < 3) return true;
        resolve();
        return false; // ends the loop
      });
    });
    await run(table.insert({ id: 1 }));
    await run(table.insert({ id: 2 }));
    await run(table.insert({ id: 3 }));
    await within(done, 'each');
    assert.deepEqual(rows, [1, 2, 3]);
    await cursor.close();
  });
  await t.test('eachAsync', async () => {
    const cursor = await feed(table.changes());
    const rows = [];
    const over = cursor.eachAsync(async (row) => {
      rows.push(row.new_val.id);
      if (rows.length === 2) await cursor.close();
    }).catch((e) => e);
    await run(table.insert({ id: 1 }));
    await run(table.insert({ id: 2 }));
    await within(over, 'the end of eachAsync');
    assert.deepEqual(rows, [1, 2]);
  });
  await t.test('events', async () => {
    const cursor = await feed(table.changes());
    const first = new Promise((resolve, fail) => { cursor.on('data', resolve); cursor.on('error', fail); });
    await run(table.insert({ id: 'e' }));
    assert.deepEqual(await within(first, 'data'), added({ id: 'e' }));
    cursor.removeAllListeners();
    await cursor.close();
  });
  await t.test('behind changes', async () => {
    const cursor = await feed(table.changes().filter((change) => change('new_val').ne(null))('new_val')('id').limit(2));
    await run(table.insert([{ id: 1 }]));
    await run(table.insert([{ id: 2 }]));
    assert.deepEqual(await take(cursor, 2), [1, 2]);
    await assert.rejects(next(cursor), /No more rows in the/);
  });
  await t.test('tokens', async () => {
    const options = { includeTokens: true, includeStates: false };
    let cursor = await feed(table.changes(options));
    await run(table.insert({ id: 1 }));
    const { token } = await next(cursor);
    assert.strictEqual(typeof token, 'string');
    await cursor.close();
    await run(table.insert({ id: 2 }));
    cursor = await feed(table.changes({ ...options, since: token }));
    assert.deepEqual((await next(cursor)).new_val, { id: 2 });
    await cursor.close();
  });
  await t.test('squash', async () => {
    const cursor = await feed(table.changes({ squash: 0.5 }));
    for (let n = 0; n < 4; n++) await run(table.insert({ id: 1, n }, { conflict: 'replace' }));
    assert.deepEqual(await next(cursor), added({ id: 1, n: 3 }));
    await cursor.close();
  });
  await t.test('the connection ends', async () => {
    const other = await r.connect({ host: '127.0.0.1', port: server.port });
    const cursor = await table.changes().run(other);
    const waits = Promise.resolve(cursor.next()).then(() => 'a row', (e) => e);
    await other.close({ noreplyWait: false });
    assert.ok((await within(waits, 'the end of next')) instanceof Error);
  });
  await conn.close();
});

test('rethinkdb-ts', async (t) => {
  const r = ts;
  const conn = await r.connect({ host: '127.0.0.1', port: server.port, silent: true });
  const run = (query) => query.run(conn);
  const feed = async (query) => {
    const cursor = await query.getCursor(conn); // which does not wait for the first answer: is the feed open?
    await cursor.resolving;
    return cursor;
  };
  await common(t, { r, run, feed, db: 'typed', message: (e) => e.msg || e.message });
  const table = r.db('typed').table('t');
  await t.test('for await', async () => {
    const cursor = await feed(table.changes());
    setTimeout(() => run(table.insert([{ id: 1 }, { id: 2 }])), 20);
    const rows = [];
    for await (const change of cursor) {
      rows.push(change.new_val.id);
      if (rows.length === 2) break;
    }
    assert.deepEqual(rows.sort(), [1, 2]);
    await cursor.close();
  });
  await t.test('a stream', async () => {
    const cursor = await feed(table.changes());
    const first = new Promise((resolve, fail) => { cursor.on('data', resolve); cursor.on('error', fail); });
    await run(table.insert({ id: 's' }));
    assert.deepEqual(await within(first, 'data'), added({ id: 's' }));
    await cursor.close();
  });
  await conn.close();
});

test('rethinkdbdash', async (t) => {
  const r = dash({ servers: [{ host: '127.0.0.1', port: server.port }], silent: true, buffer: 2, max: 200 });
  const run = (query) => query.run();
  const feed = (query) => query.run();
  try {
    await common(t, { r, run, feed, db: 'dash', message: (e) => e.message });
    const table = r.db('dash').table('t');
    await t.test('each', async () => {
      const cursor = await feed(table.changes());
      const first = new Promise((resolve, fail) => cursor.each((error, row) => (error ? fail(error) : resolve(row))));
      await run(table.insert({ id: 1 }));
      assert.deepEqual(await within(first, 'each'), added({ id: 1 }));
      await cursor.close();
    });
    await t.test('a stream', async () => {
      const stream = await table.changes().toStream();
      const first = new Promise((resolve, fail) => { stream.once('data', resolve); stream.once('error', fail); });
      // It does not say when the feed is open.
      let id = 0;
      const writes = setInterval(() => run(table.insert({ id: (id += 1) })), 50);
      const change = await within(first, 'data').finally(() => clearInterval(writes));
      assert.deepEqual(change, added({ id: change.new_val.id }));
      await stream.close();
    });
  } finally {
    await within(Promise.resolve(r.getPoolMaster().drain()), 'the end of the pool');
  }
});
