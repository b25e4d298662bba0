// docs/changefeeds.md: its JavaScript is run from top to bottom through the official driver, and each line `show(...); // text` must print that text.
// Each Python program in it is run by itself, on a server of its own, through the official Python driver: its lines `print(...)  # text`.
'use strict';
const assert = require('node:assert');
const { execFile } = require('node:child_process');
const { promisify } = require('node:util');
const { test } = require('node:test');
const fs = require('node:fs');
const path = require('node:path');
const r = require('rethinkdb');
const { startServer } = require('../drivers/js/server.js');

const page = fs.readFileSync(path.join(__dirname, '..', '..', 'docs', 'changefeeds.md'), 'utf8');
const blocks = (language, text) => [...text.matchAll(new RegExp('^```' + language + '\\n([\\s\\S]*?)^```', 'gm'))].map(([, code]) => code);
const late = (ms) => new Promise((_, fail) => { setTimeout(() => fail(new Error('a feed does not give what it should')), ms).unref(); });

test('the examples of docs/changefeeds.md', async () => {
  const server = await startServer();
  const conn = await r.connect({ port: server.port });
  try {
    const code = blocks('js', page).join('\n');
    const expected = [...code.matchAll(/^\s*show\(.*\); \/\/ (.*)$/gm)].map(([, text]) => text);
    assert.ok(expected.length >= 8);
    const printed = [];
    const log = { log: (...values) => printed.push(values.join(' ')) };
    const AsyncFunction = Object.getPrototypeOf(async () => null).constructor;
    await Promise.race([new AsyncFunction('r', 'conn', 'console', code)(r, conn, log), late(60000)]);
    assert.deepStrictEqual(printed, expected);
  } finally {
    await conn.close({ noreplyWait: false });
    await server.stop();
  }
});

const programs = page.slice(page.indexOf('## Recipes')).split(/^### /m).slice(1);
for (const recipe of programs) {
  const name = recipe.slice(0, recipe.indexOf('\n'));
  test(`recipe: ${name}`, async () => {
    const [program, ...more] = blocks('python', recipe);
    assert.strictEqual(more.length, 0);
    const server = await startServer();
    try {
      const { stdout } = await promisify(execFile)(process.env.DRIVER_PYTHON, ['-c', program],
        { timeout: 60000, env: { ...process.env, PHOTONDB_PORT: String(server.port) } });
      assert.deepStrictEqual(stdout.trim().split('\n'), [...program.matchAll(/^\s*print\(.*\)  # (.*)$/gm)].map(([, text]) => text));
    } finally {
      await server.stop();
    }
  });
}

test('there are recipes', () => assert.ok(programs.length >= 3));
