// docs/plans.md: every example in it is run through the official JavaScript driver, and must give the text below it, but for times. "..." at
// the end stands for further lines.
'use strict';
const assert = require('node:assert');
const { test, before, after } = require('node:test');
const fs = require('node:fs');
const path = require('node:path');
const r = require('rethinkdb');
const { startServer } = require('../drivers/js/server.js');

const page = fs.readFileSync(path.join(__dirname, '..', '..', 'docs', 'plans.md'), 'utf8');
const blocks = [...page.matchAll(/```(js setup|js|text)\n([\s\S]*?)```/g)].map(([all, kind, text]) => ({
  kind, text, line: page.slice(0, page.indexOf(all)).split('\n').length,
}));

let server;
let conn;
const run = (code) => new Function('r', 'conn', `return (async () => { ${code} })()`)(r, conn);

before(async () => {
  server = await startServer();
  conn = await r.connect({ port: server.port, db: 'test' });
  if (!(await r.dbList().run(conn)).includes('test')) await r.dbCreate('test').run(conn);
  for (const { kind, text } of blocks) if (kind === 'js setup') await run(text);
});
after(async () => {
  await conn.close();
  await server.stop();
});

blocks.forEach(({ kind, text, line }, i) => {
  if (kind !== 'js') return;
  test(`line ${line}`, async () => {
    const given = await run(`return (${text.trim()}\n)`);
    const lines = (typeof given === 'string' ? given : JSON.stringify(given)).replace(/\d+\.\d+ ms/g, '_ ms').split('\n');
    const expected = blocks[i + 1].text.trimEnd().split('\n');
    if (expected[expected.length - 1] === '...') {
      expected.pop();
      lines.length = expected.length;
    }
    assert.deepStrictEqual(lines, expected);
  });
});
