// docs/query-language.md: every example in it is run through the official JavaScript driver and must give what the page says, and every
// term of src/reql/terms.def must be in the page's index and have an example in the section that the index points to.
// How examples are written is told at the top of the page. A part of them: DOCS_ONLY=heading.
'use strict';
const assert = require('node:assert');
const { test, before, after } = require('node:test');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const r = require('rethinkdb');
const { startServer } = require('../drivers/js/server.js');
const { _, canonical, examplesOf, fits, fitsAnyOrder, readPage } = require('./examples.js');

const root = path.join(__dirname, '..', '..');
const page = fs.readFileSync(path.join(root, 'docs', 'query-language.md'), 'utf8');
const terms = [...fs.readFileSync(path.join(root, 'src', 'reql', 'terms.def'), 'utf8').matchAll(/^TERM\((\d+), (\w+),/gm)]
  .map(([, number, name]) => ({ number: Number(number), name }));
// what the index calls those terms whose wire name nobody writes
const written = {
  DATUM: 'expr', MAKE_ARRAY: 'array', MAKE_OBJ: 'object literal', VAR: 'function', FUNC: 'function', IMPLICIT_VAR: 'row',
  JAVASCRIPT: 'js', FUNCALL: 'do', BETWEEN_DEPRECATED: 'between',
};
const plain = (name) => name.toLowerCase().replace(/[^a-z0-9 ]/g, '');

// --- running ---
let server;
let conn;
let web;
const used = new Set(); // numbers of the terms that an example sent
const writes = new Set(terms.filter(({ name }) => /^(INSERT|UPDATE|REPLACE|DELETE|FOR_EACH|GRANT|SET_WRITE_HOOK|RECONFIGURE|DB_CREATE|DB_DROP)$|^(TABLE|INDEX)_(CREATE|DROP|RENAME)$/.test(name))
  .map(({ number }) => number));

function note(built) {
  if (Array.isArray(built)) {
    if (typeof built[0] === 'number') used.add(built[0]);
    built.slice(1).forEach((part) => (Array.isArray(part) ? part.forEach(note) : note(part)));
  } else if (built && typeof built === 'object') {
    used.add(3); // an object is a MAKE_OBJ, another constant a DATUM
    Object.values(built).forEach(note);
  } else used.add(1);
}

const all = async (result) => (result && typeof result.toArray === 'function' && !Array.isArray(result) ? result.toArray() : result);
const listen = (connection) => {
  const { _start } = connection;
  connection._start = function start(term, ...others) {
    note(term.build());
    return _start.call(this, term, ...others);
  };
  return connection;
};
// a term as it goes over the wire
function wire(built) {
  const term = r.expr(null);
  term.build = () => built;
  return term;
}
// The first documents of a feed; `write` is done when it is open.
async function feed(count, query, write) {
  const cursor = await query.run(conn);
  const documents = [];
  try {
    if (write) await write.run(conn);
    while (documents.length < count) documents.push(await cursor.next());
  } finally {
    await cursor.close();
  }
  return documents;
}
async function as(user, password, query) {
  const other = listen(await r.connect({ port: server.port, user, password }));
  try {
    return await all(await query.run(other));
  } finally {
    await other.close();
  }
}

const names = ['r', 'conn', 'wire', 'as', 'feed', '_', 'url'];
const evaluate = (code) => new Function(...names, `return (${code.trim().replace(/;$/, '')}\n)`)(r, conn, wire, as, feed, _, web && web.url);
async function runCode(code) {
  const made = evaluate(code);
  return all(await (typeof made.build === 'function' ? made.run(conn) : made));
}

async function check(example) {
  const where = `docs/query-language.md:${example.line}`;
  let result;
  let failure = null;
  try {
    result = await runCode(example.code);
  } catch (e) {
    if (!(e instanceof r.Error.ReqlError)) throw new Error(`${where}: ${e.stack}`);
    failure = e;
  }
  if (example.kind === '!>') {
    const [, kind, message] = example.expected.match(/^(\w+)(?:: ([\s\S]*))?$/);
    assert.ok(failure, `${where}: an error, not ${JSON.stringify(result)}`);
    assert.strictEqual(`${failure.name}: ${failure.msg.slice(0, (message || '').length)}`, `${kind}: ${message || ''}`, where);
    return;
  }
  if (failure) assert.fail(`${where}: ${failure.name}: ${failure.message}`);
  const expected = evaluate(example.expected);
  const right = example.kind === '~>' ? fitsAnyOrder(expected, result) : fits(expected, result);
  if (!right) assert.deepStrictEqual(canonical(result), canonical(expected), where);
}

const sections = readPage(page);
const setup = sections.flatMap((section) => section.blocks).filter((block) => block.setup).flatMap(examplesOf);

// The data set at the top of the page, as if nothing had been there.
async function fresh() {
  for (const name of await r.dbList().run(conn)) if (name !== 'rethinkdb') await r.dbDrop(name).run(conn);
  await r.db('rethinkdb').table('users').filter((user) => user('id').ne('admin')).delete().run(conn).catch(() => null);
  await r.dbCreate('test').run(conn);
  for (const example of setup) await check(example);
  used.clear();
}

before(async () => {
  server = await startServer();
  conn = listen(await r.connect({ port: server.port, db: 'test' }));
  web = http.createServer((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      const at = new URL(request.url, 'http://127.0.0.1');
      if (at.pathname === '/none') response.statusCode = 404;
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ method: request.method, query: Object.fromEntries(at.searchParams), body: Buffer.concat(chunks).toString() }));
    });
  });
  await new Promise((done) => web.listen(0, '127.0.0.1', done));
  web.url = `http://127.0.0.1:${web.address().port}`;
});
after(async () => {
  await conn.close();
  web.close();
  await server.stop();
});

const shown = new Map(); // anchor -> numbers of terms
let stale = true;
for (const section of sections) {
  const blocks = section.blocks.filter((block) => !block.setup);
  if (!blocks.length || (process.env.DOCS_ONLY && process.env.DOCS_ONLY !== section.heading)) continue;
  test(`${section.heading}`, async () => {
    const numbers = new Set();
    const wrong = [];
    for (const block of blocks) {
      if (stale) await fresh();
      stale = false;
      used.clear();
      for (const example of examplesOf(block)) await check(example).catch((e) => wrong.push(e.message));
      used.forEach((number) => numbers.add(number));
      stale = [...used].some((number) => writes.has(number));
    }
    shown.set(section.anchor, numbers);
    if (wrong.length) assert.fail(wrong.join('\n'));
  });
}

test('every term is in the index, and has an example where it says', { skip: process.env.DOCS_ONLY !== undefined }, () => {
  const index = page.slice(page.indexOf('## Index'), page.indexOf('\n## ', page.indexOf('## Index') + 5));
  const links = new Map([...index.matchAll(/\[`?([^\]`]+)`?\]\(#([^)]+)\)/g)].map(([, name, anchor]) => [plain(name), anchor]));
  const missing = [];
  for (const { number, name } of terms) {
    const anchor = links.get(plain(written[name] || name));
    if (!anchor) missing.push(`${name} is not in the index`);
    else if (!sections.some((section) => section.anchor === anchor)) missing.push(`${name}: there is no section #${anchor}`);
    else if (!shown.has(anchor) || !shown.get(anchor).has(number)) missing.push(`${name}: no example in #${anchor}`);
  }
  assert.deepStrictEqual(missing, []);
});

test('links lead somewhere', () => {
  const anchors = new Set(sections.map((section) => section.anchor));
  const broken = [...page.matchAll(/\]\(#([^)]+)\)/g)].map(([, anchor]) => anchor).filter((anchor) => !anchors.has(anchor));
  assert.deepStrictEqual(broken, []);
});
