// The README's "by hand" part, taken from its text and run: its commands as a shell would, its JavaScript through the official driver.
'use strict';
const test = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { startServer, cli } = require('./js/server');
const { dataSets } = require('../../demo/data');

const readme = fs.readFileSync(path.join(__dirname, '..', '..', 'README.md'), 'utf8');

test('the commands and the program in the README', async () => {
  const commands = [...readme.matchAll(/^ {4}build\/release\/photondb (.*)$/gm)].map((m) => m[1].split(/\s+/));
  const program = readme.match(/```js\n([\s\S]*?)```/)[1];
  assert.ok(commands.length >= 3, 'the README shows commands');
  const server = await startServer();
  try {
    const movies = dataSets.find((set) => set.table === 'movies').file;
    const environment = { ...process.env, PHOTONDB_PORT: String(server.port) };
    const outputs = commands.map((args) => cli(args, { cwd: path.dirname(movies), env: environment }));
    assert.match(outputs.at(-1), /3,?201/, 'table info tells how many rows were imported');
    assert.ok(program.includes('port: 28015'));
    const run = new Function('require', `return (async () => { ${program.replace('28015', server.port)}
      await conn.close(); return best; })()`);
    const best = await run(require);
    assert.equal(best.length, 5);
    assert.equal(best[0]['IMDB Rating'], 9.2);
  } finally {
    await server.stop();
  }
});
