// Loads real data with `photondb import` and asks ten questions through the RethinkDB driver.
//   node demo.js --photondb PROGRAM --port PORT [--host HOST] [--password-file FILE]
'use strict';
const fs = require('node:fs');
const { parseArgs } = require('node:util');
const r = require('rethinkdb');
const { dataSets, load } = require('./data.js');
const { queries } = require('./queries.js');

function print(columns, rows) {
  const cells = rows.map((row) => columns.map(([, field, format]) => (format ? format(row[field]) : String(row[field]))));
  const widths = columns.map(([title], i) => Math.max(title.length, ...cells.map((line) => [...line[i]].length)));
  const line = (texts, pad) => console.log(`  ${texts.map((text, i) => (columns[i][2] && pad ? ' '.repeat(widths[i] - [...text].length) + text
    : text + ' '.repeat(widths[i] - [...text].length))).join('   ').trimEnd()}`);
  line(columns.map(([title], i) => (columns[i][2] ? title.padStart(widths[i]) : title)), false);
  line(widths.map((w) => '-'.repeat(w)), false);
  cells.forEach((texts) => line(texts, true));
}

async function main() {
  const { values } = parseArgs({ options: {
    photondb: { type: 'string' }, host: { type: 'string', default: '127.0.0.1' }, port: { type: 'string' }, 'password-file': { type: 'string' } } });
  const passwordFile = values['password-file'];
  const to = { host: values.host, port: Number(values.port) };
  console.log('\nLoading:');
  for (const set of dataSets) console.log(`  ${set.table.padEnd(10)} ${set.what}`);
  console.log();
  const password = passwordFile ? fs.readFileSync(passwordFile, 'utf8').split(/\r?\n/)[0] : '';
  const conn = await r.connect({ ...to, password });
  try {
    if ((await r.dbList().run(conn)).includes('demo')) {
      throw new Error('the server has a database `demo` already; photondb db drop demo removes it');
    }
    load(values.photondb, { ...to, passwordFile });
    let number = 0;
    for (const { title, query, options, columns } of queries(r)) {
      const began = process.hrtime.bigint();
      const result = await query.run(conn, options || {});
      const rows = await result.toArray();
      const ms = Number(process.hrtime.bigint() - began) / 1e6;
      number += 1;
      console.log(`\n${number}. ${title}  (${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms)\n`);
      print(columns, rows);
    }
  } finally {
    await conn.close();
  }
}

main().catch((error) => {
  console.error(`demo: ${error.message}`);
  process.exit(1);
});
