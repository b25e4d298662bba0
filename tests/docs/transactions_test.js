// docs/transactions.md: its JavaScript is run from top to bottom through the official driver, on one server, and each line
// `console.log(...); // text` must print that text. Then its Python, over what that left: transactions_test.py.
'use strict';
const assert = require('node:assert');
const { execFileSync } = require('node:child_process');
const { test, before, after } = require('node:test');
const fs = require('node:fs');
const path = require('node:path');
const r = require('rethinkdb');
const { startServer } = require('../drivers/js/server.js');

const page = fs.readFileSync(path.join(__dirname, '..', '..', 'docs', 'transactions.md'), 'utf8');
const blocks = (language) => [...page.matchAll(new RegExp('^```' + language + '\\n([\\s\\S]*?)^```', 'gm'))].map(([, code]) => code).join('\n');

// What rethinkdb-ts makes of the option, and of an error type that it does not know.
test('rethinkdb-ts', async () => {
  const ts = require('rethinkdb-ts').r;
  const other = await ts.connect({ host: '127.0.0.1', port: server.port, silent: true });
  try {
    const transactions = ts.db('rethinkdb').table('transactions');
    await ts.tableCreate('ts').run(other);
    await ts.table('ts').insert({ id: 1, n: 0 }).run(other, { transaction: true });
    const id = (await transactions.insert({}).run(other)).generated_keys[0];
    await ts.table('ts').get(1).update({ n: 1 }).run(other, { transaction: id });
    assert.strictEqual((await ts.table('ts').get(1).run(other)).n, 0);
    assert.strictEqual((await ts.table('ts').get(1).run(other, { transaction: id })).n, 1);
    await ts.table('ts').get(1).update({ n: 2 }).run(other);
    const error = await transactions.get(id).update({ state: 'committed' }).run(other).catch((e) => e);
    assert.ok(error instanceof Error);
    assert.match(error.msg, /^Transaction conflict: .* Run it again\.$/);
  } finally {
    await other.close();
  }
});

let server;
let conn;
before(async () => {
  server = await startServer();
  conn = await r.connect({ port: server.port });
});
after(async () => {
  if (conn) await conn.close();
  if (server) await server.stop();
});

test('the examples of docs/transactions.md', async () => {
  const code = blocks('js');
  const expected = [...code.matchAll(/^\s*console\.log\(.*\); \/\/ (.*)$/gm)].map(([, text]) => text);
  assert.ok(expected.length > 15);
  const printed = [];
  const log = { log: (...values) => printed.push(values.join(' ')) };
  const AsyncFunction = Object.getPrototypeOf(async () => null).constructor;
  await new AsyncFunction('r', 'conn', 'console', code)(r, conn, log);
  assert.deepStrictEqual(printed, expected);
  if (process.env.DRIVER_PYTHON) {
    const out = execFileSync(process.env.DRIVER_PYTHON, ['-c', [
      'from rethinkdb import r', 'from rethinkdb.errors import ReqlRuntimeError', `conn = r.connect(port=${server.port})`, blocks('python'),
    ].join('\n')], { encoding: 'utf8' });
    assert.deepStrictEqual(out.trim().split('\n'), [...blocks('python').matchAll(/^\s*print\(.*\)  # (.*)$/gm)].map(([, text]) => text));
  }
});
