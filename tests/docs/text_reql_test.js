// docs/text-reql.md: every example in it is sent as text (term 10001) and must give what the page says.
'use strict';
const assert = require('node:assert');
const { test, before, after } = require('node:test');
const fs = require('node:fs');
const path = require('node:path');
const r = require('rethinkdb');
const { startServer } = require('../drivers/js/server.js');
const { _, canonical, examplesOf, fits, fitsAnyOrder, readPage } = require('./examples.js');

const page = fs.readFileSync(path.join(__dirname, '..', '..', 'docs', 'text-reql.md'), 'utf8');
const sections = readPage(page);
let server;
let conn;

async function run(text) {
  const term = r.expr(null);
  term.build = () => [10001, [text]];
  const result = await term.run(conn);
  return result && typeof result.toArray === 'function' && !Array.isArray(result) ? result.toArray() : result;
}

async function check(example) {
  const where = `docs/text-reql.md:${example.line}`;
  let result;
  let failure = null;
  try {
    result = await run(example.code);
  } catch (e) {
    if (!(e instanceof r.Error.ReqlError)) throw e;
    failure = e;
  }
  if (example.kind === '!>') {
    assert.ok(failure, `${where}: an error, not ${JSON.stringify(result)}`);
    const said = `${failure.name}: ${failure.msg}`;
    assert.strictEqual(said.slice(0, example.expected.length), example.expected, where);
    return;
  }
  if (failure) assert.fail(`${where}: ${failure.name}: ${failure.message}`);
  const expected = new Function('_', `return (${example.expected})`)(_);
  const right = example.kind === '~>' ? fitsAnyOrder(expected, result) : fits(expected, result);
  if (!right) assert.deepStrictEqual(canonical(result), canonical(expected), where);
}

before(async () => {
  server = await startServer();
  conn = await r.connect({ port: server.port, db: 'test' });
  for (const block of sections.flatMap((section) => section.blocks).filter(({ setup }) => setup)) {
    for (const example of examplesOf(block)) await check(example);
  }
});
after(async () => {
  await conn.close();
  await server.stop();
});

for (const section of sections) {
  const examples = section.blocks.filter((block) => !block.setup).flatMap(examplesOf);
  if (!examples.length) continue;
  test(section.heading, async () => {
    const wrong = [];
    for (const example of examples) await check(example).catch((e) => wrong.push(e.message));
    if (wrong.length) assert.fail(wrong.join('\n'));
  });
}
